/**
 * The API of pages: everything happens in a worker, so that no call blocks the page. It is that of
 * `direct.js`, and every method gives a promise there too.
 */

import { OllmError } from "./error.js";
import { CALLS_OWN, METHODS, isPlain, reasonOf } from "./methods.js";
import { spawnWorker } from "./threads.js";

export { OllmError };

/** A worker, and the calls that it has not answered yet, which keep a process of Node.js alive. */
class Connection {
  #worker;
  #calls = new Map();
  #last = 0;
  #failure;

  static async open() {
    const connection = new Connection();
    await connection.#start();
    return connection;
  }

  async #start() {
    this.#worker = await spawnWorker("api", (error) => this.end(error));
    await new Promise((resolve, reject) => {
      this.#calls.set(0, { resolve, reject });
      this.#worker.listen((message) => this.#hear(message));
    });
  }

  call(target, method, values) {
    if (this.#failure) return Promise.reject(this.#failure);
    this.#last += 1;
    const call = this.#last;
    const own = values.find((value) => value?.signal || value?.progress) ?? {};
    if (own.signal?.aborted) return Promise.reject(own.signal.reason);
    const cancel = () => this.#worker.post({ cancel: call });
    return new Promise((resolve, reject) => {
      // Throws where a value cannot go to a worker, such as a function.
      this.#worker.post({ call, target, method, values: values.map((value) => encode(value)) });
      this.#calls.set(call, { resolve, reject, cancel, progress: own.progress, signal: own.signal });
      this.#worker.hold(true);
      own.signal?.addEventListener("abort", cancel);
    }).finally(() => own.signal?.removeEventListener("abort", cancel));
  }

  forget(target) {
    if (!this.#failure) this.#worker.post({ forget: target });
  }

  /** Ends the worker; every call fails from now on. */
  end(failure) {
    this.#failure ??= failure;
    for (const { reject } of this.#calls.values()) reject(failure);
    this.#calls.clear();
    this.#worker.end();
  }

  #hear(message) {
    const call = message.ready ? 0 : message.call;
    const pending = this.#calls.get(call);
    if (!pending) return;
    if ("progress" in message) {
      show(pending, message.progress);
      return;
    }
    this.#calls.delete(call);
    this.#worker.hold(this.#calls.size > 0);
    if ("raised" in pending) pending.reject(pending.raised);
    else if (!("error" in message)) pending.resolve(this.#decode(message.result));
    else if (pending.signal?.aborted) pending.reject(pending.signal.reason);
    else pending.reject(failureOf(message.error));
  }

  #decode(value) {
    return value?.ollmObject ? new CLASSES[value.kind](this, value.ollmObject) : value;
  }
}

/**
 * Shows the progress of a call. What the page's function throws ends the call, and comes out of it.
 */
function show(call, progress) {
  if ("raised" in call) return;
  try {
    call.progress?.(...progress);
  } catch (error) {
    call.raised = error;
    call.cancel();
  }
}

function failureOf({ status, type, message }) {
  if (status) return new OllmError(status, message);
  return type === "TypeError" ? new TypeError(message) : new Error(message);
}

/** An argument as it goes to the worker: what belongs to the call stays here. */
function encode(value, own = ["signal", "progress"]) {
  if (value instanceof Remote) return { ollmObject: value.target };
  if (isIterator(value)) return Array.from(value);
  if (!isPlain(value)) return value;
  const one = (name) => (own.includes(name) && value[name] ? CALLS_OWN : encode(value[name], []));
  return Object.fromEntries(Object.keys(value).map((name) => [name, one(name)]));
}

/** Whether a value is a list that is made as it is read, which no worker can be sent. */
const isIterator = (value) => typeof value === "object" && typeof value?.next === "function" && Symbol.iterator in value;

/** An object of the worker. */
class Remote {
  isClosed = false;

  constructor(connection, target) {
    this.connection = connection;
    this.target = target;
  }

  call(method, ...values) {
    return this.connection.call(this.target, method, values);
  }
}

export class Runtime extends Remote {
  /** Starts a worker, and the module in it. */
  static async start(options = {}) {
    const { module, threads = 0 } = options;
    const connection = await Connection.open();
    try {
      const named = module === undefined ? {} : { module: module instanceof URL ? module.href : module };
      return await connection.call(0, "start", [{ ...named, threads }]);
    } catch (error) {
      connection.end(error);
      throw error;
    }
  }

  /** Ends the worker, with all that was made in it. */
  async close() {
    this.connection.end(new OllmError("invalid_handle", "the runtime is closed"));
  }
}

export class Model extends Remote {}
export class Plugin extends Remote {}
export class Session extends Remote {}
export class Branches extends Remote {}

/** The tokens of an answer, as an async iterator. */
export class Generation {
  #session;
  #options;
  #signal;
  #remote;
  #turn = Promise.resolve();

  /** Why it ended: a name of `ollm_reason`; null while it has not. */
  reason = null;

  constructor(session, { signal, ...options } = {}) {
    [this.#session, this.#signal, this.#options] = [session, signal, options];
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** The next token, after those that were asked for before. */
  next() {
    const own = this.#turn.then(() => this.#next());
    this.#turn = own.catch(() => {});
    return own;
  }

  async #next() {
    if (this.reason !== null) return { done: true, value: this.reason };
    try {
      this.#signal?.throwIfAborted();
      this.#remote ??= await this.#session.call("generate", this.#options);
      const step = await this.#remote.call("next");
      if (step.done) this.#end(step.value);
      return step;
    } catch (error) {
      this.#end(reasonOf(error));
      throw error;
    }
  }

  /** Ends it before its end. */
  async return() {
    if (this.reason === null) this.#end("callback");
    return { done: true, value: this.reason };
  }

  #end(reason) {
    this.reason = reason;
    if (this.#remote) this.#remote.connection.forget(this.#remote.target);
  }
}

const CLASSES = { Runtime, Model, Plugin, Session, Branches, Generation: Remote };

for (const [kind, methods] of Object.entries(METHODS)) {
  for (const method of methods.filter(() => kind !== "Generation")) {
    CLASSES[kind].prototype[method] = function (...values) {
      return this.call(method, ...values);
    };
  }
}

/** Addresses are those of the page, and not of the worker's file. */
const absolute = (file) =>
  typeof file === "string" || file instanceof URL ? new URL(file, globalThis.document?.baseURI).href : file;

Runtime.prototype.model = async function (file, options) {
  return this.call("model", absolute(file), options);
};

Model.prototype.plugin = async function (file, options) {
  return this.call("plugin", absolute(file), options);
};

Session.prototype.generate = function (options) {
  return new Generation(this, options);
};

for (const kind of [Model, Plugin, Session, Branches]) {
  kind.prototype.close = async function () {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.call("close");
    this.connection.forget(this.target);
  };
}
