// The API of pages: a worker, what can be watched and ended, what is refused.

import assert from "node:assert/strict";
import http from "node:http";
import { after, test } from "node:test";

import { expected, file } from "./helper.mjs";
import * as direct from "../src/direct.js";
import { OllmError, Runtime } from "../src/index.js";
import { METHODS } from "../src/methods.js";

const { text } = expected;
const runtime = await Runtime.start();
const model = await runtime.model(file("text.gguf"));
const plugin = await model.plugin(file("text-plugin.gguf"));
after(() => runtime.close());

const refused = (status, pattern = /./) => (error) =>
  error instanceof OllmError && error.status === status && pattern.test(error.message);

test("a page has the methods of the API", () => {
  for (const [kind, methods] of Object.entries(METHODS)) {
    const there = new Set();
    for (let at = direct[kind].prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
      for (const name of Object.getOwnPropertyNames(at)) there.add(name);
    }
    for (const name of methods) assert.ok(there.has(name), `${kind}.${name}`);
    const [own, inside] = [Object.getOwnPropertyNames(direct[kind].prototype), ["constructor", "lend", "eachStep", "close", "pool", "share", "hasTokenizer"]];
    for (const name of own) assert.ok(methods.includes(name) || inside.includes(name), `${kind}.${name}`);
  }
});

test("an answer through the worker is that of the library", async () => {
  const session = await model.session({ plugin, context: 256 });
  await session.feed(text.prompt);
  const generation = session.generate({ limit: 24, top: 2 });
  let found = "";
  for await (const token of generation) {
    found += token.text;
    if (token.id !== null) assert.equal(token.options.length, 10);
  }
  assert.deepEqual([found, generation.reason], [text.greedy.text, text.greedy.reason]);
  const { generated, fed } = await session.statistics();
  assert.ok(generated > 0n && fed === BigInt(text.tokens.length));
  await session.close();
  await assert.rejects(session.step(), refused("invalid_handle"));
});

test("the page runs while the worker computes", async () => {
  const session = await model.session({ context: 256 });
  let ticks = 0;
  const timer = setInterval(() => (ticks += 1), 1);
  await session.feed(Array(250).fill(5));
  clearInterval(timer);
  assert.ok(ticks > 0);
});

test("a feed in pieces is as one, is watched, and can be ended", async () => {
  const tokens = Array.from({ length: 200 }, (_, i) => (i * 37) % 300);
  const [whole, watched] = [await model.session({ context: 256 }), await model.session({ context: 256 })];
  const seen = [];
  await whole.feed(tokens);
  await watched.feed(tokens, { progress: (done, total) => seen.push([done, total]) });
  assert.deepEqual(seen, [[64, 200], [128, 200], [192, 200], [200, 200]]);
  assert.deepEqual(await watched.logits(), await whole.logits());
  const abort = new AbortController();
  await watched.rewind(0);
  const fed = watched.feed(tokens, { signal: abort.signal, progress: () => abort.abort() });
  await assert.rejects(fed, { name: "AbortError" });
  const position = await watched.position();
  assert.ok(position >= 64 && position < 200, String(position));
  await watched.feed(tokens.slice(position));
  assert.deepEqual(await watched.logits(), await whole.logits());
});

test("what is refused leaves the session as it was", async () => {
  const session = await model.session({ context: 128 });
  await session.feed(text.prompt);
  const tokens = await session.tokens();
  await assert.rejects(session.feed(Array(128).fill(5)), refused("context_full"));
  await assert.rejects(session.feed([...Array(70).fill(5), 1 << 30]), refused("invalid_argument", /1073741824/));
  assert.deepEqual(await session.tokens(), tokens);
  await assert.rejects(session.optionSet(), refused("no_plugin"));
});

test("an answer is ended between two tokens", async () => {
  const session = await model.session({ context: 256 });
  await session.feed(text.prompt);
  const abort = new AbortController();
  const generation = session.generate({ signal: abort.signal });
  let count = 0;
  await assert.rejects(async () => {
    for await (const _ of generation) if (++count === 3) abort.abort();
  }, { name: "AbortError" });
  assert.deepEqual([count, generation.reason], [3, "cancelled"]);
  assert.equal(await session.position(), text.tokens.length + 3);
  for await (const _ of session.generate()) break;
  assert.equal(await session.position(), text.tokens.length + 4);
});

test("an answer tells that the context is full", async () => {
  const session = await model.session({ context: 32 });
  await session.feed(Array(30).fill(5));
  await session.setSampling({ biases: Object.fromEntries([[5, 1e6]]) });
  const generation = session.generate();
  await assert.rejects(async () => {
    for await (const _ of generation);
  }, refused("context_full"));
  assert.deepEqual([generation.reason, await session.position()], ["context", 32]);
});

test("tokens that are asked for at once come one after the other", async () => {
  const session = await model.session({ context: 256 });
  await session.feed(text.prompt);
  const generation = session.generate({ limit: 3 });
  const steps = await Promise.all(Array.from({ length: 5 }, () => generation.next()));
  assert.deepEqual(steps.map(({ done }) => done), [false, false, false, true, true]);
  assert.equal(await session.position(), text.tokens.length + 3);
});

test("a search is ended and goes on", async () => {
  const session = await model.session({ plugin, context: 256 });
  await session.feed(text.prompt);
  const branches = await session.branches({ limit: 16 });
  const abort = new AbortController();
  const options = { tally: { rule: "text", weight: "policy" } };
  const ended = branches.run({ ...options, signal: abort.signal, progress: () => abort.abort() });
  // It may have come to its end before.
  await ended.catch((error) => assert.equal(error.name, "AbortError"));
  const found = await branches.run(options);
  assert.equal(found.answer, text.vote.answer);
  await session.adopt(branches, found.branch);
  assert.deepEqual(await session.tokens(), [...text.tokens, ...text.vote.branches[found.branch].tokens]);
});

test("a session is for one call at a time", async () => {
  const session = await model.session({ context: 256 });
  const fed = session.feed(Array(250).fill(5));
  await assert.rejects(session.step(), refused("busy"));
  await fed;
});

test("arguments are checked", async () => {
  const session = await model.session({ context: 256 });
  await assert.rejects(session.feed([-1]), TypeError);
  await assert.rejects(session.feed([1.5]), TypeError);
  await assert.rejects(session.setSampling({ temprature: 1 }), /temprature.*temperature/);
  await assert.rejects(session.setSampling({ seed: -1n }), /seed/);
  await assert.rejects(session.setSampling({ temperature: "hot" }), /temperature/);
  await assert.rejects(session.setSampling({ temperature: -1 }), refused("invalid_argument"));
  await assert.rejects(session.setSelection({ mode: "best" }), /"policy", "sample"/);
  await assert.rejects(session.step(), refused("empty"));
  await assert.rejects(model.tokenize(7), TypeError);
});

test("lists are of any kind, and what cannot go to the worker is refused", async () => {
  const session = await model.session({ context: 256 });
  await session.feed(new Set([5, 6]));
  await session.feed([7, 8].values());
  assert.deepEqual(await session.tokens(), [5, 6, 7, 8]);
  await assert.rejects(session.setSampling({ edit() {} }), { name: "DataCloneError" });
  await assert.rejects(runtime.model("no address"), TypeError);
});

test("what progress throws comes out of the call", async () => {
  const session = await model.session({ context: 256 });
  const progress = () => {
    throw new RangeError("mine");
  };
  await assert.rejects(session.feed(Array(200).fill(5), { progress }), /mine/);
  await session.feed([5]);
});

test("a session keeps its model, and closing twice is fine", async () => {
  const own = await runtime.model(file("text.gguf"));
  const session = await own.session({ context: 256 });
  await own.close();
  await own.close();
  await assert.rejects(own.info(), refused("invalid_handle"));
  await session.feed(text.prompt);
  let found = "";
  for await (const token of session.generate({ limit: 24 })) found += token.text;
  assert.ok(found);
  await session.close();
  await session.close();
});

test("a text may begin with a byte order mark", async () => {
  const marked = "\ufeffHi";
  assert.equal(await model.detokenize(await model.tokenize(marked)), marked);
});

test("what is no model is refused, and costs no memory", async () => {
  const own = await direct.Runtime.start();
  const file = new Uint8Array(100 << 20);
  // More than the four GiB that there are.
  for (let i = 0; i < 42; i++) await assert.rejects(own.model(file), refused("bad_file"));
});

test("a model is loaded from a Blob and from an address", async () => {
  const blob = new Blob([file("text.gguf")]);
  const seen = [];
  const loaded = await runtime.model(blob, { progress: (done, total) => seen.push([done, total]) });
  assert.deepEqual(seen.at(-1), [blob.size, blob.size]);
  assert.deepEqual(await loaded.tokenize(text.prompt), text.tokens);
  await loaded.close();
  const bytes = file("text.gguf");
  const server = http.createServer(({ url, method }, response) => {
    if (url === "/missing") response.writeHead(404).end();
    // More than numbers of 32 bits tell.
    else if (url === "/huge") response.writeHead(200, { "content-length": 2 ** 32 + bytes.length }).write(bytes);
    else if (url === "/cut") response.writeHead(200, { "content-length": bytes.length }).end(bytes.subarray(0, 1000), () => response.destroy());
    // Without a length.
    else response.writeHead(200).end(method === "GET" ? bytes : undefined);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const at = (name) => `http://127.0.0.1:${server.address().port}/${name}`;
  const fetched = await runtime.model(at("model.gguf"));
  assert.deepEqual(await fetched.tokenize(text.prompt), text.tokens);
  await assert.rejects(runtime.model(at("missing")), /404/);
  await assert.rejects(runtime.model(at("cut")));
  await assert.rejects(runtime.model(at("huge")), refused("out_of_memory"));
  server.closeAllConnections();
  server.close();
});

test("a saved session is restored", async () => {
  const [one, other] = [await model.session({ plugin, context: 256 }), await model.session({ plugin, context: 256 })];
  await one.feed(text.prompt);
  const saved = await one.save();
  await other.restore(saved);
  assert.deepEqual(await other.optionSet(3), await one.optionSet(3));
  saved[saved.length >> 1] ^= 1;
  await assert.rejects(other.restore(saved), refused("bad_file"));
});

test("a conversation is rendered", async () => {
  const chat = await runtime.model(file("chat.gguf"));
  const messages = [{ role: "user", content: "Hi" }];
  assert.match(await chat.chatText(messages), /\[user\]Hi.*\[assistant\]$/s);
  assert.ok((await chat.chatTokens(messages)).length > 4);
  await assert.rejects(chat.chatText([{ role: "refused", content: "" }]), refused("template"));
});

test("a runtime that is closed fails", async () => {
  const other = await Runtime.start({ module: "simd", threads: 1 });
  assert.match(await other.version(), /^\d+\.\d+\.\d+$/);
  const waiting = other.model(file("text.gguf"));
  await other.close();
  await assert.rejects(waiting, refused("invalid_handle"));
  await assert.rejects(other.version(), refused("invalid_handle"));
});

test("threads are those that are asked for, and give the same answer", async () => {
  for (const threads of [1, 2, 5]) {
    const other = await Runtime.start({ threads });
    assert.equal(await other.threads(), threads);
    const loaded = await other.model(file("text.gguf"));
    const session = await loaded.session({ plugin: await loaded.plugin(file("text-plugin.gguf")), context: 256 });
    await session.feed(text.prompt);
    let found = "";
    for await (const token of session.generate({ limit: 24 })) found += token.text;
    assert.equal(found, text.greedy.text);
    await other.close();
  }
});
