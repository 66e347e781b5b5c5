/** Stop strings over text that comes in pieces, as `ollm_session_run` has them. */

export class Stops {
  #stops;
  #held = "";

  constructor(stops) {
    if (stops.includes("")) throw new TypeError("a stop string is empty");
    this.#stops = stops;
  }

  /** The text that is sure with this piece, and whether a stop string has come, which is no part of it. */
  push(piece) {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const at = this.#begin(text);
    this.#held = text.slice(at);
    return { text: text.slice(0, at), stopped: false };
  }

  /** What is still held back, once. */
  rest() {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Where the beginning of a stop string begins that the text ends with. */
  #begin(text) {
    for (let at = 0; at < text.length; at++) {
      if (this.#stops.some((stop) => stop.startsWith(text.slice(at)))) return at;
    }
    return text.length;
  }
}
