/**
 * The module as a library of C: its memory, arguments and results of calls, callbacks.
 *
 * One thread at a time computes in it. A trap (a bug, or a stack that is too small) ends the
 * module: every later call fails.
 */

import { LogLevel, callbacks, structs } from "./c.js";
import { text as checkText, list } from "./check.js";
import { OllmError } from "./error.js";
import { begin, getField, getValues, setField, setValues } from "./struct.js";
import { allocateVariables, instantiate } from "./wasm.js";

const encoder = new TextEncoder();
/** A U+FEFF at the beginning is text too. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes of an element of an array. */
const ARRAYS = { u32: Uint32Array, i32: Int32Array, f32: Float32Array, u8: Uint8Array };

export class Library {
  #exports;
  #memory;
  #trap;
  #raised;
  /** The last bug that the library has told of. */
  #bug = "";

  /**
   * Instantiates a compiled module, in this memory if it takes one. `log(level, text)` is told what
   * the library logs.
   */
  static async start(module, memory, log) {
    const exports = await instantiate(module, memory);
    if (memory) exports.__wasm_init_tls(allocateVariables(exports));
    return new Library(exports, memory, log);
  }

  constructor(exports, memory, log) {
    this.#exports = exports;
    this.#memory = memory ?? exports.memory;
    const hear = (level, address, length) => {
      const text = this.text(address, length);
      if (level === LogLevel.ERROR) this.#bug = ` (${text})`;
      log?.(level, text);
    };
    this.call("ollm_set_log", this.callback("ollm_log_fn", hear), 0);
  }

  get functions() {
    return this.#exports;
  }

  get view() {
    return new DataView(this.#memory.buffer);
  }

  get bytes() {
    return new Uint8Array(this.#memory.buffer);
  }

  /** Calls a function of the C API that gives a status: throws if it is not OK. */
  call(name, ...values) {
    const status = this.#run(name, values);
    if (this.#raised) {
      const { error } = this.#raised;
      this.#raised = undefined;
      throw error;
    }
    if (status !== 0) throw OllmError.of(status, this.lastError());
  }

  #run(name, values) {
    if (this.#trap) throw this.#trap;
    try {
      return this.#exports[name](...values);
    } catch (error) {
      const why = `${error.message}${this.#bug}`;
      this.#trap = new OllmError("internal", `the module has ended in ${name}, start another one: ${why}`);
      throw this.#trap;
    }
  }

  lastError() {
    return this.textAt(this.#exports.ollm_last_error());
  }

  /** Text that ends in a zero. */
  textAt(address) {
    const bytes = this.bytes.subarray(address >>> 0);
    return this.text(address, bytes.indexOf(0));
  }

  /** Text of `length` bytes. */
  text(address, length) {
    // A copy: memory that threads share is not decoded.
    return decoder.decode(this.bytes.slice(address >>> 0, (address >>> 0) + length));
  }

  /** A copy of an array of the module. */
  array(type, address, length) {
    const Kind = ARRAYS[type];
    return length ? new Kind(this.#memory.buffer, address >>> 0, length).slice() : new Kind();
  }

  field(struct, address, name) {
    return getField(this.view, structs[struct], address >>> 0, name);
  }

  values(struct, address) {
    return getValues(this.view, structs[struct], address >>> 0);
  }

  /** Text by its two fields, `name` and `name_length`. */
  textField(struct, address, name) {
    return this.text(this.field(struct, address, name), this.field(struct, address, `${name}_length`));
  }

  /** Memory of the module, at a multiple of 64: free it, or lend it to a source. */
  allocate(length) {
    // WebAssembly would take a longer number by its last 32 bits.
    const address = length < 2 ** 32 ? this.#run("ollm_web_alloc", [length]) >>> 0 : 0;
    if (address === 0) throw new OllmError("out_of_memory", `there are no ${length} bytes of memory`);
    return address;
  }

  free(address, length) {
    if (!this.#trap) this.#exports.ollm_web_free(0, address, length);
  }

  /** Runs `work(arena)`; what the arena has given is freed afterwards. */
  with(work) {
    const arena = new Arena(this);
    try {
      return work(arena);
    } finally {
      arena.free();
    }
  }

  /** The handle that a call writes to its last argument. */
  handle(name, ...values) {
    return this.output("u32", name, ...values);
  }

  /** The number that a call writes to its last argument. */
  output(type, name, ...values) {
    return this.with((arena) => {
      const out = arena.take(8);
      this.call(name, ...values, out);
      return this.array(type, out, 1)[0];
    });
  }

  /** The array that a call gives by its last three arguments: buffer, capacity, length. */
  outputs(type, name, ...values) {
    const count = this.output("u32", name, ...values, 0, 0);
    if (count === 0) return new ARRAYS[type]();
    return this.with((arena) => {
      // Text has a zero after it.
      const room = type === "u8" ? count + 1 : count;
      const [buffer, out] = [arena.take(room * ARRAYS[type].BYTES_PER_ELEMENT), arena.take(4)];
      this.call(name, ...values, buffer, room, out);
      return this.array(type, buffer, this.array("u32", out, 1)[0]);
    });
  }

  /** The text that a call gives in the same way. */
  outputText(name, ...values) {
    return decoder.decode(this.outputs("u8", name, ...values));
  }

  /** The bytes of structs that a call gives in the same way, each read by `read(address)`. */
  outputStructs(struct, read, name, ...values) {
    const count = this.output("u32", name, ...values, 0, 0);
    return this.with((arena) => {
      const { size } = structs[struct];
      const [buffer, out] = [arena.take(Math.max(count, 1) * size), arena.take(4)];
      this.call(name, ...values, buffer, count, out);
      return Array.from({ length: count }, (_, i) => read(buffer + i * size));
    });
  }

  /**
   * The address of a JavaScript function as a callback of C of this type. It is called without its
   * first argument, `user`. What it throws comes out of the call that called it, which `refusal`
   * ends.
   */
  callback(type, call, refusal = 1) {
    const guarded = (_user, ...values) => {
      if (this.#raised) return refusal;
      try {
        return call(...values) ?? 0;
      } catch (error) {
        this.#raised = { error };
        return refusal;
      }
    };
    const table = this.#exports.__indirect_function_table;
    const at = table.grow(1);
    table.set(at, exported(guarded, callbacks[type]));
    return at;
  }
}

/** Memory for the arguments of a call. */
class Arena {
  #library;
  #taken = [];

  constructor(library) {
    this.#library = library;
  }

  free() {
    for (const [address, length] of this.#taken) this.#library.free(address, length);
  }

  /** `length` bytes of 0. */
  take(length) {
    const address = this.#library.allocate(length);
    this.#taken.push([address, length]);
    this.#library.bytes.fill(0, address, address + length);
    return address;
  }

  /** The address and the length of these bytes; of none, no address. */
  bytes(bytes) {
    if (bytes.length === 0) return [0, 0];
    const address = this.take(bytes.length);
    this.#library.bytes.set(bytes, address);
    return [address, bytes.length];
  }

  /** The same of a text as UTF-8. */
  text(text, what) {
    return this.bytes(encoder.encode(checkText(text, what)));
  }

  /** The same of a list of numbers. */
  numbers(type, numbers) {
    const array = numbers instanceof ARRAYS[type] ? numbers : ARRAYS[type].from(numbers);
    const [address] = this.bytes(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    return [address, array.length];
  }

  /** The same of a list of texts, as `ollm_text`. */
  texts(texts, what) {
    const all = list(texts, what).map((text) => this.text(text, what));
    return [this.numbers("u32", all.flat())[0], all.length];
  }

  /** A struct with these values, by names of JavaScript, and these addresses, by names of C. */
  struct(name, values = {}, addresses = {}) {
    const layout = structs[name];
    const address = this.take(layout.size);
    const { view } = this.#library;
    begin(view, layout, address);
    setValues(view, layout, address, values, name.replace("ollm_", ""));
    for (const [field, value] of Object.entries(addresses)) setField(view, layout, address, field, value);
    return address;
  }

  /** An array of structs. */
  structs(name, all) {
    const layout = structs[name];
    if (all.length === 0) return [0, 0];
    const address = this.take(layout.size * all.length);
    all.forEach((values, i) => setValues(this.#library.view, layout, address + i * layout.size, values, name));
    return [address, all.length];
  }
}

const TYPES = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c };

/** A JavaScript function as one of WebAssembly, which tables take: imported by a module and exported again. */
function exported(call, { parameters, results }) {
  const types = (names) => [names.length, ...names.map((name) => TYPES[name])];
  const type = [0x60, ...types(parameters), ...types(results)];
  const bytes = Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...[0x01, type.length + 1, 0x01, ...type],
    // Imports "f" of "m", a function of type 0, and exports it.
    ...[0x02, 0x07, 0x01, 0x01, 0x6d, 0x01, 0x66, 0x00, 0x00],
    ...[0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00],
  );
  return new WebAssembly.Instance(new WebAssembly.Module(bytes), { m: { f: call } }).exports.f;
}
