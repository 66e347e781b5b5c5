/** A module that runs, and the models that are loaded into it. */

import { integer } from "./check.js";
import { OllmError } from "./error.js";
import { Library } from "./library.js";
import { Model } from "./model.js";
import { forgetFiles, open } from "./store.js";
import { MODULES, bestModule, compile } from "./wasm.js";

export class Runtime {
  #each;

  /**
   * Starts a module: the best of both, or `module`, which is `"simd"`, `"relaxed"`, an address or a
   * `WebAssembly.Module`.
   */
  static async start({ module = bestModule(), log } = {}) {
    const compiled = module instanceof WebAssembly.Module ? module : await compile(MODULES[module] ?? module);
    return new Runtime(await Library.start(compiled, log));
  }

  constructor(library) {
    this.library = library;
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
  async close() {}

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
    let address = this.library.allocate(room);
    try {
      for await (const piece of file.pieces()) {
        signal?.throwIfAborted();
        if (length + piece.length > room) {
          address = this.#move(address, room, (room = Math.max(2 * room, length + piece.length)), length);
        }
        this.library.bytes.set(piece, address + length);
        length += piece.length;
        progress?.(length, file.length);
      }
      if (file.length !== undefined && length !== file.length) {
        throw new OllmError("io", `the file has ended after ${length} of ${file.length} bytes`);
      }
      return [length === room ? address : this.#move(address, room, length, length), length];
    } catch (error) {
      this.library.free(address, room);
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
