// The official client of OpenAI for JavaScript against a running `ollm-run serve --alias m`.
//
//     node client.mjs http://127.0.0.1:PORT
//
// Needs the package openai.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
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
console.log("the client: all well");
