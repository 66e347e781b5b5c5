// Each module gives the bits that the native library gives.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { bit, bits, bits64, expected, file, fromBits64, modules } from "./helper.mjs";
import { Runtime } from "../src/direct.js";

const optionsOf = async (session) =>
  (await session.optionSet(4)).map(({ policy, top }) => [
    bit(policy),
    top.map(({ token, probability }) => [token, bit(probability)]),
  ]);

async function generated(session, options = {}) {
  const pieces = [];
  let [text, rest] = ["", ""];
  const generation = session.generate({ limit: 24, ...options });
  for await (const token of generation) {
    text += token.text;
    if (token.id === null) rest = token.text;
    else pieces.push([token.id, token.text, token.latent, bit(token.logprob)]);
  }
  return { pieces, rest, text, reason: generation.reason };
}

for (const { kind, url, threads } of modules) {
  const runtime = await Runtime.start({ module: url, threads });
  after(() => runtime.close());

  for (const one of expected.numbers) {
    test(`${kind}: ${one.model}`, async () => {
      const model = await runtime.model(file(one.model));
      const plugin = await model.plugin(file(one.plugin));
      const session = await model.session({ plugin, context: 256 });
      await session.feed(expected.prompt);
      assert.deepEqual(bits(await session.logits()), one.logits);
      assert.deepEqual(await optionsOf(session), one.options);
      for (const step of one.steps) {
        const { id, latent, logprob } = await session.step();
        assert.deepEqual([id, latent, bit(logprob)], step);
      }
      for (const object of [session, plugin, model]) await object.close();
    });
  }

  test(`${kind}: texts`, async () => {
    const { text } = expected;
    const model = await runtime.model(file("text.gguf"));
    const plugin = await model.plugin(file("text-plugin.gguf"));
    assert.equal(await plugin.optionCount(), 10);
    assert.deepEqual(await model.tokenize(text.prompt), text.tokens);
    assert.equal(await model.detokenize(text.tokens), text.prompt);
    const begin = async (options) => {
      const session = await model.session({ context: 256, ...options });
      await session.feed(text.prompt);
      return session;
    };
    const sampling = { temperature: 0.75, topK: 40, seed: 7 };
    assert.deepEqual(await generated(await begin({ plugin })), text.greedy);
    assert.deepEqual(await generated(await begin({ plugin, sampling })), text.sampled);
    assert.deepEqual(await generated(await begin({ sampling })), text.backbone);
    assert.deepEqual(await generated(await begin({ plugin }), { stops: [text.stop, "never"] }), text.stopped);
    const suggestions = await (await begin({ plugin })).suggest({ count: 3, tokens: 6 });
    // Their probabilities have logarithms of the mixture, which the C library of the platform
    // takes.
    const withoutProbability = ({ probability, ...one }) => one;
    assert.deepEqual(suggestions.map(withoutProbability), text.suggestions.map(withoutProbability));
    text.suggestions.forEach(({ probability }, i) => {
      const [found, native] = [suggestions[i].probability, fromBits64(probability)];
      assert.ok(Math.abs(found - native) <= 1e-6 * native, `${found} is not ${native}`);
    });
    const branches = await (await begin({ plugin })).branches({ limit: 16 });
    const { branch, answer, confidence, passes } = await branches.run({ tally: { rule: "text", weight: "policy" } });
    const all = (await branches.all()).map(({ tokens, text, logprob }) => ({ tokens, text, logprob: bits64(logprob) }));
    assert.deepEqual({ branch, answer, confidence: bits64(confidence), passes, branches: all }, text.vote);
    await model.close();
  });
}

for (const { kind, url, threads } of modules.filter(({ kind }) => kind !== "scalar")) {
  test(`${kind}: a real model`, async () => {
    const { real } = expected;
    const runtime = await Runtime.start({ module: url, threads });
    const model = await runtime.model(file(real.model));
    const session = await model.session({ context: 256 });
    await session.feed(real.prompt);
    assert.deepEqual(bits(await session.logits()), real.logits);
    assert.deepEqual(await generated(session), real.greedy);
    await runtime.close();
  });
}
