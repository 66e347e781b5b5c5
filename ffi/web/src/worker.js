/**
 * The worker: calls of the page on objects that live here.
 *
 * A call is `{ call, target, method, values }`; its answer is `{ call, result }` or
 * `{ call, error }`, with `{ call, progress }` before it. `{ cancel }` aborts the signal of a call,
 * `{ forget }` lets go of an object. Objects are numbers on the way.
 */

import * as direct from "./direct.js";
import { CALLS_OWN, METHODS, isPlain } from "./methods.js";
import { parent } from "./threads.js";

const port = await parent();
/** The first one starts everything else. */
const objects = new Map([[0, direct.Runtime]]);
const calls = new Map();
let last = 0;

port.listen((message) => {
  if ("call" in message) answer(message);
  else if ("cancel" in message) calls.get(message.cancel)?.abort();
  else objects.delete(message.forget);
});
port.post({ ready: true });

async function answer({ call, target, method, values }) {
  const abort = new AbortController();
  calls.set(call, abort);
  try {
    const progress = (...shown) => port.post({ call, progress: shown });
    const decoded = values.map((value) => decode(value, { signal: abort.signal, progress }));
    port.post({ call, result: encode(await objectOf(target)[method](...decoded)) });
  } catch (error) {
    const { name: type, message, status = null } = error;
    port.post({ call, error: { type, message, status } });
  } finally {
    calls.delete(call);
  }
}

/** The object of a number: the page has let go of one that it has closed. */
function objectOf(number) {
  if (!objects.has(number)) throw new direct.OllmError("invalid_handle", "this object is closed");
  return objects.get(number);
}

/** What a call gives, with an object of the API as `{ ollmObject, kind }`. */
function encode(value) {
  const kind = Object.keys(METHODS).find((name) => value instanceof direct[name]);
  if (!kind) return value;
  last += 1;
  objects.set(last, value);
  return { ollmObject: last, kind };
}

/** An argument: an object, or options with objects, and with what belongs to the call. */
function decode(value, own) {
  if (!isPlain(value)) return value;
  if ("ollmObject" in value) return objectOf(value.ollmObject);
  const one = (name) => (value[name] === CALLS_OWN && Object.hasOwn(own, name) ? own[name] : decode(value[name], {}));
  return Object.fromEntries(Object.keys(value).map((name) => [name, one(name)]));
}
