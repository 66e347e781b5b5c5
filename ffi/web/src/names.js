/** Names of C as JavaScript has them: `top_k` is `topK`, `OLLM_SELECT_FIXED` is `"fixed"`. */

/** `top_k` to `topK`. */
export function camelCase(name) {
  return name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}

/** The name of a number of an enum, such as `"fixed"`; undefined if it has none. */
export function word(values, number) {
  return Object.keys(values).find((name) => values[name] === number)?.toLowerCase();
}

/** The number of a name of an enum. */
export function number(values, name, what) {
  const found = typeof name === "string" ? values[name.toUpperCase()] : undefined;
  if (found === undefined) {
    const names = Object.keys(values).map((known) => JSON.stringify(known.toLowerCase()));
    throw new TypeError(`${what} is ${JSON.stringify(name)}, not one of ${names.join(", ")}`);
  }
  return found;
}
