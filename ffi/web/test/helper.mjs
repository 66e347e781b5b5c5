// What the tests have in common: `tests/tests/wasm.rs` writes the files and what is expected of
// them.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import v8 from "node:v8";

// Node.js 20 has the relaxed instructions behind a flag, and its baseline compiler computes one of
// them wrongly (see `areRelaxedExact`): the other compiler is used from the start.
if (Number(process.versions.node.split(".")[0]) < 21) {
  for (const flag of ["--experimental-wasm-relaxed-simd", "--no-liftoff"]) v8.setFlagsFromString(flag);
}

export const folder = process.env.OLLM_WEB_FIXTURES;
assert.ok(folder, "run these tests by `OLLM_WEB=1 cargo test -p ollm-tests --test wasm`");

export const expected = JSON.parse(fs.readFileSync(path.join(folder, "expected.json"), "utf8"));
export const file = (name) => fs.readFileSync(path.resolve(folder, name));

const wasm = (name) => new URL(`../wasm/${name}.wasm`, import.meta.url);
const { areRelaxedExact } = await import("../src/wasm.js");

const MODULES = {
  simd: "ollm",
  relaxed: "ollm-relaxed",
  "simd-threads": "ollm-threads",
  "relaxed-threads": "ollm-relaxed-threads",
  scalar: "ollm-scalar",
};

/** Every module that is there and may be used. `scalar` has no vectors: `build.sh test` builds it. */
export const modules = Object.entries(MODULES)
  .filter(([kind, name]) => fs.existsSync(wasm(name)) && (!kind.startsWith("relaxed") || areRelaxedExact()))
  .map(([kind, name]) => ({ kind, url: wasm(name), threads: kind.endsWith("threads") ? 3 : 1 }));

/** The bits of numbers as the processor has them. */
export const bits = (floats) => Array.from(new Uint32Array(Float32Array.from(floats).buffer));
export const bit = (float) => bits([float])[0];
/** Those of a double, as text. */
export const bits64 = (float) => String(new BigUint64Array(Float64Array.of(float).buffer)[0]);
/** The double of these bits. */
export const fromBits64 = (bits) => new Float64Array(BigUint64Array.of(BigInt(bits)).buffer)[0];
