/** A module that runs, and the models that are loaded into it. */

import { integer } from "./check.js";
import { OllmError } from "./error.js";
import { Library } from "./library.js";
import { Model } from "./model.js";
import { startPool } from "./pool.js";
import { forgetFiles, open } from "./store.js";
import { areThreadsThere, defaultThreads } from "./threads.js";
import { addressOf, bestModule, compile, isShared, sharedMemory } from "./wasm.js";

export class Runtime {
  #each;
  #threads;

  /**
   * Starts a module: the best one, or `module`, which is `"simd"`, `"relaxed"`, an address or a
   * `WebAssembly.Module`. `threads` compute together; 0 is as many as there are processors, where
   * threads may share memory, and else one.
   */
  static async start({ module = bestModule(), threads = 0, log } = {}) {
    const count = integer(threads, "size", "threads") || (await defaultThreads());
    if (count > 1 && !areThreadsThere()) {
      const needs = "serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";
      throw new OllmError("unsupported", `a page has threads only where it is cross-origin isolated: ${needs}`);
    }
    const compiled = module instanceof WebAssembly.Module ? module : await compile(addressOf(module, count));
    if (!isShared(compiled)) {
      if (threads > 1) throw new OllmError("unsupported", "this module has one thread");
      return new Runtime(await Library.start(compiled, undefined, log), { count: 1 });
    }
    const memory = sharedMemory();
    const library = await Library.start(compiled, memory, log);
    return new Runtime(library, { count, ...(await startPool(library, compiled, memory, count)) });
  }

  constructor(library, threads) {
    this.library = library;
    this.#threads = threads;
  }

  /** The threads that compute together. */
  async threads() {
    return this.#threads.count;
  }

  /** The handle of the pool of all sessions; 0 for none. */
  get pool() {
    return this.#threads.pool ?? 0;
  }

  /** The version of the library. */
  async version() {
    return this.library.textAt(this.library.functions.ollm_version());
  }

  /** Loads a model: see `Model`. */
  async model(file, { memoryLimit = 0, ...options } = {}) {
    integer(memoryLimit, "size", "memoryLimit");
    const load = (source) =>
      this.library.with((arena) => {
        const settings = arena.struct("ollm_load_options", { memoryLimit });
        return this.library.handle("ollm_model_load", source, settings);
      });
    return new Model(this, await this.lend(file, options, load));
  }

  /** Forgets the files that the browser keeps. */
  async forgetFiles() {
    await forgetFiles();
  }

  /** Ends the runtime: what was made with it cannot be used any more. */
  async close() {
    this.#threads.end?.();
  }

  /** The callback that a search calls after each step, which calls `onStep`. */
  eachStep() {
    this.#each ??= this.library.callback("ollm_branches_fn", () => void this.onStep?.());
    return this.#each;
  }

  /**
   * Copies a file into the module, once, and gives it to `load(source)`, which uses it in place;
   * frees it if that fails.
   */
  async lend(file, { progress, signal, ...options }, load) {
    const [address, length] = await this.#place(await open(file, { signal, ...options }), progress, signal);
    try {
      return this.library.with((arena) => {
        const release = this.library.functions.ollm_web_release();
        const source = arena.struct("ollm_source", { kind: "memory" }, { data: address, length, release });
        return load(source);
      });
    } catch (error) {
      this.library.free(address, length);
      throw error;
    }
  }

  /** The address and the length of a file's bytes in the module. */
  async #place(file, progress, signal) {
    let [room, length] = [file.length ?? 1 << 20, 0];
    let address = this.#roomFor(file, room);
    const move = (size) => {
      address = this.#move(address, room, size, length);
      room = size;
    };
    try {
      for await (const piece of file.pieces()) {
        signal?.throwIfAborted();
        if (length + piece.length > room) move(Math.max(2 * room, length + piece.length));
        this.library.bytes.set(piece, address + length);
        length += piece.length;
        progress?.(length, file.length);
      }
      if (file.length !== undefined && length !== file.length) {
        throw new OllmError("io", `the file has ended after ${length} of ${file.length} bytes`);
      }
      if (length < room) move(length);
      return [address, length];
    } catch (error) {
      this.library.free(address, room);
      throw error;
    }
  }

  /** Memory for the file, which is not read if there is none. */
  #roomFor(file, length) {
    try {
      return this.library.allocate(length);
    } catch (error) {
      file.end?.();
      throw error;
    }
  }

  /** Moves the first `length` bytes to memory of another size. */
  #move(from, room, size, length) {
    const to = this.library.allocate(size);
    this.library.bytes.copyWithin(to, from, from + length);
    this.library.free(from, room);
    return to;
  }
}
