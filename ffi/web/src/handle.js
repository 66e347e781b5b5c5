/** Objects of the library, by their handles. */

import { integer, list } from "./check.js";
import { OllmError } from "./error.js";

/** How long a thread computes before it sees what else there is to do, in milliseconds. */
export const TURN = 12;

export class Handle {
  #number;
  #free;
  #busy = false;

  constructor(runtime, number, free) {
    this.runtime = runtime;
    this.library = runtime.library;
    this.#number = number;
    this.#free = free;
  }

  /** The handle of C, for calls on it: not while a call waits for its turn. */
  get c() {
    if (this.#number === 0) throw new OllmError("invalid_handle", `this ${this.constructor.name} is closed`);
    if (this.#busy) throw new OllmError("busy", `this ${this.constructor.name} is in use by another call`);
    return this.#number;
  }

  /** Runs `work(handle)`, which may let other calls come between: those on this object are refused. */
  async alone(work) {
    const number = this.c;
    this.#busy = true;
    try {
      return await work(number);
    } finally {
      this.#busy = false;
    }
  }

  /** Frees it now; closing twice is fine. */
  async close() {
    const number = this.#number;
    if (number === 0) return;
    this.#number = 0;
    this.library.with((arena) => this.library.call(this.#free, arena.numbers("u32", [number])[0]));
  }
}

/** Token ids. */
export const tokensIn = (tokens, what = "tokens") =>
  tokens instanceof Uint32Array ? tokens : list(tokens, what).map((token) => integer(token, "u32", what));

/** A latent, where C says -1 for none. */
export const latent = (number) => (number < 0 ? null : number);
