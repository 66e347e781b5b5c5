// In a page that is cross-origin isolated: files, the worker, threads, the bits.

import { Runtime } from "../../src/index.js";
import { assert, equal, failure, runAll, test } from "./report.js";
import { testExplorer } from "./explorer.js";

const expected = await (await fetch("/fixtures/expected.json")).json();
const { text } = expected;
const at = (name) => `/fixtures/${name}`;
const bits = (floats) => Array.from(new Uint32Array(Float32Array.from(floats).buffer));
const bytesOf = async (name) => (await fetch(at(name))).arrayBuffer();

async function generated(session, options) {
  let found = "";
  for await (const token of session.generate({ limit: 24, ...options })) found += token.text;
  return found;
}

test("the page is isolated", () => assert(crossOriginIsolated));

const isThere = async (name) => (await fetch(`/wasm/${name}.wasm`, { method: "HEAD" })).ok;
const names = { simd: ["ollm", "ollm-threads"], relaxed: ["ollm-relaxed", "ollm-relaxed-threads"] };

for (const module of ["simd", "relaxed"]) {
  for (const threads of [1, 2]) {
    if (!(await isThere(names[module][threads - 1]))) continue;
    test(`${module}, threads: ${threads}: the bits of the native library`, async () => {
      const runtime = await Runtime.start({ module, threads });
      equal(await runtime.threads(), threads);
      for (const one of expected.numbers) {
        const model = await runtime.model(at(one.model), { cache: false });
        const plugin = await model.plugin(at(one.plugin), { cache: false });
        const session = await model.session({ plugin, context: 256 });
        await session.feed(expected.prompt);
        equal(bits(await session.logits()), one.logits, one.model);
        for (const step of one.steps) {
          const { id, latent, logprob } = await session.step();
          equal([id, latent, bits([logprob])[0]], step, one.model);
        }
        await model.close();
      }
      await runtime.close();
    });
  }
}

test("a file of the user, with progress, and all else on it", async () => {
  const runtime = await Runtime.start();
  const seen = [];
  const file = new File([await bytesOf("text.gguf")], "text.gguf");
  const model = await runtime.model(file, { progress: (done, total) => seen.push([done, total]) });
  equal(seen.at(-1), [file.size, file.size]);
  const plugin = await model.plugin(new File([await bytesOf("text-plugin.gguf")], "plugin.gguf"));
  const session = await model.session({ plugin, context: 256 });
  await session.feed(text.prompt);
  equal((await session.optionSet(3)).length, 10);
  const suggestions = await session.suggest({ count: 3, tokens: 6 });
  equal(suggestions.map((one) => one.text), text.suggestions.map((one) => one.text));
  const branches = await session.branches({ limit: 16 });
  equal((await branches.run({ tally: { rule: "text", weight: "policy" } })).answer, text.vote.answer);
  equal(await generated(session), text.greedy.text);
  await runtime.close();
});

test("an address is kept in the private file system", async () => {
  const runtime = await Runtime.start();
  await runtime.forgetFiles();
  const load = async (options) => {
    const model = await runtime.model(at("text.gguf"), options);
    equal(await model.tokenize(text.prompt), text.tokens);
    await model.close();
  };
  await load();
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("ollm");
  const names = await Array.fromAsync(folder.keys());
  equal(names.length, 2, names.join());
  // What is read the second time is what is kept: it is changed here, and the server's is as it
  // was.
  const name = names.find((one) => !one.endsWith(".json"));
  const handle = await folder.getFileHandle(name);
  const kept = new Uint8Array(await (await handle.getFile()).arrayBuffer());
  kept[0] ^= 1;
  const writable = await handle.createWritable();
  await writable.write(kept);
  await writable.close();
  equal((await failure(load())).status, "bad_file");
  await load({ cache: false });
  await runtime.forgetFiles();
  await load();
  await runtime.close();
});

test("a download is ended", async () => {
  const runtime = await Runtime.start();
  const abort = new AbortController();
  const options = { cache: false, signal: abort.signal, progress: () => abort.abort() };
  equal((await failure(runtime.model(at("real.gguf"), options))).name, "AbortError");
  await runtime.close();
});

test("the page is never blocked, and a feed can be ended", async () => {
  const runtime = await Runtime.start();
  const model = await runtime.model(at("real.gguf"));
  const session = await model.session({ context: 1024 });
  let [last, longest, isOver] = [performance.now(), 0, false];
  const tick = () => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
    if (!isOver) setTimeout(tick, 0);
  };
  tick();
  await session.feed(expected.real.prompt);
  equal(bits(await session.logits()), expected.real.logits);
  equal(await generated(session), expected.real.greedy.text);
  const abort = new AbortController();
  const fed = session.feed(Array(900).fill(5), { signal: abort.signal, progress: () => abort.abort() });
  equal((await failure(fed)).name, "AbortError");
  isOver = true;
  // A busy machine may hold a page up for a while; the feed would have for seconds.
  assert(longest < 500, `blocked for ${longest} ms`);
  await runtime.close();
});

testExplorer();
runAll();
