/**
 * Workers of browsers and of Node.js by one interface: `post`, `listen`, `hold`, `end`.
 * `hold(isHeld)` says whether the worker keeps the process of Node.js alive, as it does at first.
 */

export const isNode = typeof process === "object" && typeof process.versions?.node === "string";

// Browsers do not have it, and bundlers need not look for it.
const NODE_THREADS = "node:worker_threads";

/** Whether threads may share memory here. */
export const areThreadsThere = () =>
  typeof SharedArrayBuffer === "function" && (isNode || globalThis.crossOriginIsolated === true);

/** As many threads as there are processors, where threads may share memory. */
export async function defaultThreads() {
  if (!areThreadsThere()) return 1;
  return isNode ? (await import(/* @vite-ignore */ "node:os")).availableParallelism() : navigator.hardwareConcurrency;
}

// Bundlers see which files are workers by this form.
const WORKERS = {
  api: (Kind, options) => new Kind(new URL("./worker.js", import.meta.url), options),
  thread: (Kind, options) => new Kind(new URL("./thread.js", import.meta.url), options),
};

/** Starts `worker.js` or `thread.js`. `failed` is told of an error that no call has. */
export async function spawnWorker(kind, failed) {
  if (isNode) {
    const { Worker } = await import(/* @vite-ignore */ NODE_THREADS);
    const worker = WORKERS[kind](Worker);
    worker.on("error", failed);
    return {
      post: (message) => worker.postMessage(message),
      listen: (hear) => worker.on("message", hear),
      hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
      end: () => worker.terminate(),
    };
  }
  const worker = WORKERS[kind](Worker, { type: "module", name: `ollm-${kind}` });
  worker.onerror = (event) => failed(new Error(event.message || "the worker could not be started"));
  return {
    post: (message) => worker.postMessage(message),
    listen: (hear) => (worker.onmessage = ({ data }) => hear(data)),
    hold: () => {},
    end: () => worker.terminate(),
  };
}

/** The other side, in the worker. */
export async function parent() {
  if (isNode) {
    const { parentPort } = await import(/* @vite-ignore */ NODE_THREADS);
    return {
      post: (message) => parentPort.postMessage(message),
      listen: (hear) => parentPort.on("message", hear),
    };
  }
  return {
    post: (message) => self.postMessage(message),
    listen: (hear) => (self.onmessage = ({ data }) => hear(data)),
  };
}

/** Lets the thread see what else there is to do, such as messages that cancel. */
export function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
