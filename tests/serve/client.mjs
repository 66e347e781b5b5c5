// The official client of OpenAI for JavaScript against a running `ollm-run serve --alias m`.
//
//     node client.mjs http://127.0.0.1:PORT KEY
//
// Needs the package openai.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: process.argv[3], maxRetries: 0 });
const body = { model: "m", messages: [{ role: "user", content: "Say hello." }], max_tokens: 12, seed: 1 };

const whole = await client.chat.completions.create(body);
let text = "";
for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, whole.choices[0].message.content);
assert.ok(text.length > 0);
const { data } = await client.embeddings.create({ model: "m", input: "a text" });
assert.ok(Math.abs(data[0].embedding.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3);
await assert.rejects(client.chat.completions.create({ ...body, top_p: 2 }), { status: 400, param: "top_p" });
assert.deepEqual((await client.models.list()).data.map(({ id }) => id), ["m"]);
assert.equal((await client.models.retrieve("m")).id, "m");
const completion = await client.completions.create({ model: "m", prompt: ["Once", "Twice"], max_tokens: 4, n: 2, seed: 1 });
assert.deepEqual(completion.choices.map(({ index }) => index), [0, 1, 2, 3]);
// The helper that puts a stream together, with its usage.
const helper = client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
assert.equal((await helper.finalChatCompletion()).choices[0].message.content, text);
assert.ok((await helper.totalUsage()).completion_tokens > 0);
// One that goes away.
const gone = await client.chat.completions.create({ ...body, max_tokens: 500, stream: true });
for await (const chunk of gone) {
  assert.ok(chunk);
  break;
}
console.log("the client for JavaScript: all well");
