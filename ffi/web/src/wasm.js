/** Chooses the module for this processor, and compiles it. */

import { OllmError } from "./error.js";
import { isNode } from "./threads.js";

/** `f(a, b, c)` is `f32x4.relaxed_madd` of them, `g(a, b, c)` `i32x4.relaxed_dot_i8x16_i7x16_add_s`. */
const PROBE = Uint8Array.of(
  // Magic number, version.
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  // Type 0: three f32 to one. Type 1: three i32 to one.
  0x01, 0x0f, 0x02, 0x60, 0x03, 0x7d, 0x7d, 0x7d, 0x01, 0x7d, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x01, 0x7f,
  // Functions 0 and 1 are of these types, and exported as "f" and "g".
  0x03, 0x03, 0x02, 0x00, 0x01, 0x07, 0x09, 0x02, 0x01, 0x66, 0x00, 0x00, 0x01, 0x67, 0x00, 0x01,
  // Their code: each parameter in all lanes, the instruction, the first lane.
  0x0a, 0x2b, 0x02,
  0x14, 0x00, 0x20, 0x00, 0xfd, 0x13, 0x20, 0x01, 0xfd, 0x13, 0x20, 0x02, 0xfd, 0x13,
  0xfd, 0x85, 0x02, 0xfd, 0x1f, 0x00, 0x0b,
  0x14, 0x00, 0x20, 0x00, 0xfd, 0x0f, 0x20, 0x01, 0xfd, 0x0f, 0x20, 0x02, 0xfd, 0x11,
  0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b,
);

/**
 * Whether the relaxed instructions are there and exact, which the engine and the processor decide:
 * the multiply-add rounds once, and the dot product is right (the baseline compiler of V8 11.3, in
 * Node.js 20, adds the products to themselves).
 */
export function areRelaxedExact() {
  if (!WebAssembly.validate(PROBE)) return false;
  const { f, g } = new WebAssembly.Instance(new WebAssembly.Module(PROBE)).exports;
  // The square has 25 bits. Rounded before the sum, it loses the last one, and nothing is left.
  const x = 1 + 2 ** -12;
  return f(x, x, -(1 + 2 ** -11)) === 2 ** -24 && g(-3, 127, 1000) === 4 * -3 * 127 + 1000;
}

/** The modules, for one thread and for several: all give the same bits, `relaxed` faster, where it may be used. */
const MODULES = {
  simd: [new URL("../wasm/ollm.wasm", import.meta.url), new URL("../wasm/ollm-threads.wasm", import.meta.url)],
  relaxed: [
    new URL("../wasm/ollm-relaxed.wasm", import.meta.url),
    new URL("../wasm/ollm-relaxed-threads.wasm", import.meta.url),
  ],
};

/** The address of a module: `simd`, `relaxed`, or the best one where none is named. */
export const addressOf = (module, threads) => MODULES[module]?.[threads > 1 ? 1 : 0] ?? module;

/** The module that is best here: `simd` or `relaxed`. */
export const bestModule = () => (areRelaxedExact() ? "relaxed" : "simd");

/** Whether a module takes the memory of the host, which threads share. */
export const isShared = (module) => WebAssembly.Module.imports(module).some(({ kind }) => kind === "memory");

/** Memory that threads share, as large as can be had; a module begins with 4 MiB. */
export function sharedMemory() {
  for (let maximum = 1 << 16; ; maximum >>= 1) {
    try {
      return new WebAssembly.Memory({ initial: 64, maximum, shared: true });
    } catch (error) {
      if (maximum <= 1 << 12) throw error;
    }
  }
}

/** An instance of a module; several of one `memory` are its threads. */
export async function instantiate(module, memory) {
  const imports = { ollm: { now: () => performance.now() }, env: { memory } };
  return (await WebAssembly.instantiate(module, imports)).exports;
}

/**
 * The address of memory for the thread-local variables of a thread, for `__wasm_init_tls`. Each
 * thread needs its own, the first one too: not every linker gives it one.
 */
export function allocateVariables({ ollm_web_alloc: allocate, __tls_size: size, __tls_align: alignment }) {
  const address = allocate(size.value + alignment.value) >>> 0;
  if (address === 0) throw new OllmError("out_of_memory", "there is no memory for a thread");
  return Math.ceil(address / alignment.value) * alignment.value;
}

/** Compiles the module at an address. */
export async function compile(url) {
  if (isNode && String(url).startsWith("file:")) {
    const fs = await import(/* @vite-ignore */ "node:fs/promises");
    return WebAssembly.compile(await fs.readFile(new URL(url)));
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const isTyped = response.headers.get("content-type")?.startsWith("application/wasm");
  return isTyped ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}
