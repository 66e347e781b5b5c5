/** The API of `ollm-web` in this thread, which computes while a call runs. */
export * from "./index.js";
