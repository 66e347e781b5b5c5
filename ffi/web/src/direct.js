/**
 * The API in this thread, which computes while a call runs: for workers of your own, and for
 * Node.js. Pages use `index.js`, which has the same API over a worker.
 */

export { OllmError } from "./error.js";
export { Branches } from "./branches.js";
export { Model } from "./model.js";
export { Plugin } from "./plugin.js";
export { Runtime } from "./runtime.js";
export { Generation, Session } from "./session.js";
