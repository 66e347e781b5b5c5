/** What a failed call of the library throws. */

import { Status } from "./c.js";
import { word } from "./names.js";

export class OllmError extends Error {
  /** `status` is the name of an `ollm_status`, such as `"busy"`; `message` says what, where and what to do. */
  constructor(status, message) {
    super(message);
    this.name = "OllmError";
    this.status = status;
  }

  /** That of a number of C. */
  static of(code, message) {
    return new OllmError(word(Status, code) ?? "unknown", message);
  }
}
