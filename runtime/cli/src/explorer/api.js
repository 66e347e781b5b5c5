// What the server is asked: JSON documents, and streams of server-sent events.

/** An error that the server tells. */
export class Refused extends Error {}

/** What is said where the model may not be told yet. */
export const ABSENT = "The server wants its key: see Settings.";

async function post(path, body, { key, signal }) {
  const headers = { "content-type": "application/json" };
  if (key) headers.authorization = `Bearer ${key}`;
  const reply = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!reply.ok) {
    const told = await reply.json().catch(() => null);
    throw new Refused(told?.error?.message ?? `the server answered with ${reply.status}`);
  }
  return reply;
}

/** The document that answers a document. */
export async function ask(path, body, how) {
  return (await post(path, body, how)).json();
}

/** What the model is, or null where it may not be told yet. */
export async function model(key) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const reply = await fetch("/v1/models", { headers }).catch(() => null);
  return reply?.ok ? (await reply.json()).data[0] : null;
}

/** Calls `each` with every chunk of a stream. */
export async function stream(path, body, how, each) {
  const reply = await post(path, { ...body, stream: true }, how);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused("the stream broke off");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(chunk.error.message);
      each(chunk);
    }
  }
}
