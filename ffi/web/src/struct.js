/** Structs of C in the module's memory, by the layouts of `c.js`. */

import { bigInteger, integer, real } from "./check.js";
import { camelCase, number, word } from "./names.js";

const WRITERS = {
  i32: (view, at, value, what) => view.setInt32(at, integer(value, "i32", what), true),
  u32: (view, at, value, what) => view.setUint32(at, integer(value, "u32", what), true),
  u64: (view, at, value, what) => view.setBigUint64(at, bigInteger(value, what), true),
  f32: (view, at, value, what) => view.setFloat32(at, real(value, what), true),
  f64: (view, at, value, what) => view.setFloat64(at, real(value, what), true),
};

const READERS = {
  i32: (view, at) => view.getInt32(at, true),
  u32: (view, at) => view.getUint32(at, true),
  u64: (view, at) => view.getBigUint64(at, true),
  f32: (view, at) => view.getFloat32(at, true),
  f64: (view, at) => view.getFloat64(at, true),
};

/** Addresses and sizes are unsigned numbers of 32 bits. */
const stored = (type) => (type in READERS ? type : "u32");

const isHidden = (name, type) => type === "ptr" || type === "len" || name === "struct_size" || name.startsWith("reserved");

/** Writes one field, an address too. */
export function setField(view, layout, base, name, value) {
  const [at, type, values] = layout.fields[name];
  const plain = values && typeof value === "string" ? number(values, value, name) : value;
  WRITERS[stored(type)](view, base + at, plain, name);
}

/** Reads one field, an address too. */
export function getField(view, layout, base, name) {
  const [at, type] = layout.fields[name];
  return READERS[stored(type)](view, base + at);
}

/** The size of the struct in its first field, if it has one. */
export function begin(view, layout, base) {
  if ("struct_size" in layout.fields) setField(view, layout, base, "struct_size", layout.size);
}

/**
 * Writes values by their names of JavaScript: those that are undefined stay 0, which is the
 * default. A name that the struct has not is an error.
 */
export function setValues(view, layout, base, values, what) {
  const names = Object.fromEntries(
    Object.entries(layout.fields)
      .filter(([name, [, type]]) => !isHidden(name, type))
      .map(([name]) => [camelCase(name), name]),
  );
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(names, key)) throw new TypeError(`${what} has no ${key}: it has ${Object.keys(names).join(", ")}`);
    const [, , words] = layout.fields[names[key]];
    if (value !== undefined) {
      setField(view, layout, base, names[key], words ? number(words, value, key) : value);
    }
  }
}

/** The values of a struct, without addresses; numbers of an enum are their names. */
export function getValues(view, layout, base) {
  const values = {};
  for (const [name, [at, type, words]] of Object.entries(layout.fields)) {
    if (isHidden(name, type)) continue;
    const value = READERS[stored(type)](view, base + at);
    values[camelCase(name)] = words ? (word(words, value) ?? value) : value;
  }
  return values;
}
