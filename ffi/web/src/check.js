/** Checks of arguments: WebAssembly itself cuts numbers that are too long, and takes text for 0. */

const RANGES = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
  size: [0, 2 ** 32 - 1],
};

/** An integer of a type of C. */
export function integer(value, type, what) {
  const [least, most] = RANGES[type];
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new TypeError(`${what} is ${String(value)}, not a whole number of ${least} to ${most}`);
  }
  return value;
}

/** An unsigned integer of 64 bits, which may be a number. */
export function bigInteger(value, what) {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isWhole || BigInt(value) < 0n || BigInt(value) >= 2n ** 64n) {
    throw new TypeError(`${what} is ${String(value)}, not a whole number of 0 to 2^64 - 1`);
  }
  return BigInt(value);
}

export function real(value, what) {
  if (typeof value !== "number") throw new TypeError(`${what} is ${String(value)}, not a number`);
  return value;
}

export function text(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} is not a text`);
  return value;
}

export function list(value, what) {
  if (typeof value === "string" || typeof value?.[Symbol.iterator] !== "function") {
    throw new TypeError(`${what} is not a list`);
  }
  return Array.from(value);
}

/** An object made by the library. */
export function instance(value, kind, what) {
  if (!(value instanceof kind)) throw new TypeError(`${what} is not a ${kind.name}`);
  return value;
}
