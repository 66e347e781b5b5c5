// The primitives of the vector instructions: exact results, and those of portable code.

import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";

import { modules } from "./helper.mjs";

const COUNT = 1024;
const [FMA, LOAD_F16, STORE_F16, STORE_I8] = [0, 1, 2, 3];
const folder = new URL("../wasm/", import.meta.url);

/** A float as a whole number times 2^-149. */
function exact(x) {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0];
  const exponent = (bits >>> 23) & 0xff;
  const digits = BigInt(bits & 0x7fffff) + (exponent ? 0x800000n : 0n);
  const magnitude = digits << BigInt(Math.max(exponent, 1) - 1);
  return bits >>> 31 ? -magnitude : magnitude;
}

/** The float nearest to a whole number times 2^-298, ties to even. */
function rounded(value) {
  const magnitude = value < 0n ? -value : value;
  const length = magnitude.toString(2).length;
  // The last digit is worth 2^-149 at least.
  const cut = BigInt(Math.max(length - 24, 149));
  const [floor, rest] = [magnitude >> cut, magnitude & ((1n << cut) - 1n)];
  const half = 1n << (cut - 1n);
  const up = rest > half || (rest === half && floor & 1n) ? 1n : 0n;
  const float = Number(floor + up) * 2 ** (Number(cut) - 298);
  return Math.fround(value < 0n ? -float : float);
}

const fma = (a, b, c) => rounded(exact(a) * exact(b) + (exact(c) << 149n));

let state = 1n;
function random() {
  state = (state * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
  return Number(state >> 32n);
}
const floatOf = (bits) => new Float32Array(Uint32Array.of(bits).buffer)[0];

/** Floats whose products and sums are near ties, cancel, or are denormal. */
function hard() {
  const sign = random() & 0x80000000;
  const digits = [random() & 0x7fffff, 0, 1, 0x7fffff, 0x400000, 0x400001, 0x7ff000, 0x001000][random() & 7];
  const exponent = [127, 126, 115, 139, 103, 151, 1, 0, 64, 63, 190, 74][random() % 12];
  return floatOf((sign | (exponent << 23) | digits) >>> 0);
}

const same = (a, b) => Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b));

for (const { kind } of modules) {
  const path = new URL(`primitives-${kind}.wasm`, folder);
  if (!fs.existsSync(path)) continue;
  const module = new WebAssembly.Module(fs.readFileSync(path));
  const { exports } = new WebAssembly.Instance(module, { ollm: { now: () => 0 } });
  const base = exports.arrays();
  const array = (Kind, words, count = COUNT) => new Kind(exports.memory.buffer, base + 4 * COUNT * words, count);
  const [a, b, c, out] = [0, 1, 2, 3].map((i) => array(Float32Array, i));
  const [halves, bytes] = [array(Uint16Array, 4), array(Int8Array, 4.5)];
  const run = (which, isPortable = 0) => exports.run(which, isPortable, base);

  test(`${kind}: fma rounds once`, () => {
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < COUNT; i++) {
        [a[i], b[i]] = [hard(), hard()];
        // Every third sum nearly cancels the product, or makes a tie of it.
        const near = -Math.fround(a[i] * b[i]) * [1, 1 + 2 ** -23, 2 ** -24, 2 ** 24][random() & 3];
        c[i] = i % 3 || !Number.isFinite(Math.fround(near)) ? hard() : near;
      }
      run(FMA);
      const fast = out.slice();
      for (let i = 0; i < COUNT; i++) {
        const expected = fma(a[i], b[i], c[i]);
        if (expected === 0) continue;
        assert.ok(same(fast[i], expected), `${a[i]} * ${b[i]} + ${c[i]} is ${expected}, not ${fast[i]}`);
      }
      run(FMA, 1);
      fast.forEach((value, i) => assert.ok(same(out[i], value), `${a[i]} * ${b[i]} + ${c[i]}: ${out[i]}, ${value}`));
    }
  });

  test(`${kind}: fma of what is not finite, and of zeros`, () => {
    const values = [0, -0, 1, -1, Infinity, -Infinity, NaN, 3.4e38, -3.4e38, 1e-45];
    const all = values.flatMap((x) => values.flatMap((y) => values.map((z) => [x, y, z])));
    for (let i = 0; i < COUNT; i++) [a[i], b[i], c[i]] = all[i % all.length];
    run(FMA);
    const fast = out.slice();
    run(FMA, 1);
    fast.forEach((value, i) => assert.ok(same(out[i], value), `${a[i]} * ${b[i]} + ${c[i]}: ${out[i]}, ${value}`));
  });

  test(`${kind}: every half is widened`, () => {
    for (let first = 0; first < 1 << 16; first += COUNT) {
      for (let i = 0; i < COUNT; i++) halves[i] = first + i;
      run(LOAD_F16);
      for (let i = 0; i < COUNT; i++) {
        const [sign, exponent, digits] = [halves[i] >> 15, (halves[i] >> 10) & 31, halves[i] & 1023];
        const magnitude = exponent === 31 ? (digits ? NaN : Infinity)
          : exponent ? (1024 + digits) * 2 ** (exponent - 25) : digits * 2 ** -24;
        assert.ok(same(out[i], sign ? -magnitude : magnitude), `${halves[i].toString(16)}: ${out[i]}`);
      }
    }
  });

  test(`${kind}: floats are narrowed as portable code does`, () => {
    // Each half, the ties between two, and the neighbours of both.
    for (let first = 0; first < 1 << 16; first += COUNT / 8) {
      for (let i = 0; i < COUNT / 8; i++) halves[i] = first + i;
      run(LOAD_F16);
      const wide = out.slice(0, COUNT / 8);
      for (let i = 0; i < COUNT; i++) {
        const bits = new Uint32Array(Float32Array.of(wide[i >> 3]).buffer)[0];
        a[i] = floatOf((bits + [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, -1, 0x3000][i & 7]) >>> 0);
      }
      run(STORE_F16);
      const fast = halves.slice();
      run(STORE_F16, 1);
      for (let i = 0; i < COUNT; i++) assert.equal(fast[i], halves[i], String(a[i]));
    }
  });

  test(`${kind}: bytes are rounded and saturated as portable code does`, () => {
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < COUNT; i++) a[i] = i & 1 ? hard() : (random() % 1200) / 4 - 150;
      run(STORE_I8);
      const fast = bytes.slice();
      run(STORE_I8, 1);
      for (let i = 0; i < COUNT; i++) assert.equal(fast[i], bytes[i], String(a[i]));
    }
  });
}
