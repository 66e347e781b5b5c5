// What the page asks, answered by the library in a worker: the documents that the server answers.
import { Runtime } from "./ollm/src/index.js";
import { chooseFiles } from "./files.js";

/** Why something could not be done. */
export class Refused extends Error {}

export const ABSENT = "Choose a model file: it stays on this device.";

const CONTEXT = 2048;

let runtime;
let loaded = null;
let turn = Promise.resolve();

chooseFiles(async ({ model: file, plugin: pluginFile }, options) => {
  loaded = null;
  await runtime?.close();
  runtime = await Runtime.start();
  const model = await runtime.model(file, options);
  const plugin = pluginFile ? await model.plugin(pluginFile, options) : undefined;
  const session = await model.session({ plugin, context: CONTEXT });
  const hasTemplate = await model.chatText([{ role: "user", content: "?" }]).then(() => true, () => false);
  const name = typeof file === "string" ? file.split("/").at(-1) : file.name;
  const described = { options: (await plugin?.optionCount()) ?? 0, context: await session.context(), chat: hasTemplate };
  loaded = { model, session, document: { id: name, ollm: described } };
});

/** What the model is, or null where there is none yet. */
export async function model() {
  return loaded?.document ?? null;
}

/** One after the other; what was asked before and is cancelled ends first. */
function alone(work) {
  const own = turn.then(async () => {
    if (!loaded) throw new Refused(ABSENT);
    try {
      return await work(loaded);
    } catch (error) {
      throw error.name === "AbortError" ? error : new Refused(error.message);
    }
  });
  turn = own.catch(() => {});
  return own;
}

const ANSWERS = {
  "/v1/ollm/tokenize": tokenize,
  "/v1/ollm/options": options,
  "/v1/ollm/search": search,
};

/** The document that answers a document. */
export function ask(path, body, how) {
  return alone((loaded) => ANSWERS[path](loaded, body, how));
}

/** Calls `each` with every token that follows a prompt. */
export function stream(_path, body, how, each) {
  return alone(async ({ session }) => {
    await come(session, body, how);
    await session.setSelection(selectionOf(body.ollm));
    for await (const { id, text, latent } of session.generate({ limit: body.max_tokens, signal: how.signal })) {
      if (id !== null) each({ ollm: { token: id, text, latent } });
    }
  });
}

/** Brings the session to a prompt: what it has in common with it stays. */
async function come(session, { prompt, temperature = 0, seed = 0 }, { signal }) {
  const there = await session.tokens();
  let shared = 0;
  while (shared < there.length && there[shared] === prompt[shared]) shared += 1;
  shared = Math.min(shared, prompt.length - 1);
  await session.rewind(shared);
  await session.feed(prompt.slice(shared), { signal });
  await session.setSampling(temperature > 0 ? { temperature, seed } : null);
}

/** `sample:1`, `fixed:0`, `policy` and so on, as the library has them. */
function selectionOf({ mode: text = "policy", hold } = {}) {
  const [mode, value] = text.split(":");
  const values = value === undefined ? {} : mode === "sample" ? { temperature: Number(value) } : { latents: value.split(",").map(Number) };
  return { mode, ...values, ...(hold ? { hold } : {}) };
}

async function tokenize({ model }, { messages, prompt }) {
  return { tokens: messages ? await model.chatTokens(messages) : await model.tokenize(prompt, { bos: true }) };
}

async function options({ model, session }, { held, top, ...body }, how) {
  await come(session, body, how);
  const set = await session.optionSet(top);
  const said = held > 0 ? await whatIsSaid(session, held, how) : [];
  const shown = async ({ token, text, probability: p }) => ({ token, text, p, end: await model.isEnd(token) });
  const told = async (option, i) => ({ ...option, top: await Promise.all(option.top.map(shown)), held: said[i] });
  return { options: await Promise.all(set.map(told)) };
}

/** What each option says when it is held. */
async function whatIsSaid(session, limit, { signal }) {
  const branches = await session.branches({ limit, selection: { hold: "all" } });
  try {
    await branches.expand();
    const count = await branches.count();
    do signal.throwIfAborted(); while ((await branches.step()) > 0);
    const all = await branches.all();
    const unmerged = (branch) => (branch.mergedInto === null ? branch : unmerged(all[branch.mergedInto]));
    return all.slice(0, count).map((branch) => ({ text: unmerged(branch).text }));
  } finally {
    await branches.close();
  }
}

async function search({ session, document }, { answer, max_tokens: limit, temperature = 0, ...body }, how) {
  await come(session, { ...body, temperature }, how);
  const branches = await session.branches({ limit, selection: document.ollm.options > 0 ? { hold: "trained" } : undefined });
  try {
    const expansion = document.ollm.options > 0 ? {} : { kind: "sample", count: 10, temperature: temperature || 0.8 };
    const found = await branches.run({ tally: { rule: answer }, expansion, signal: how.signal });
    const all = (await branches.all()).map((branch, id) => ({
      id,
      latents: branch.latents,
      text: branch.text,
      answer: branch.state === "end" || branch.state === "length" || branch.state === "stop" ? branch.text.trim() : null,
      weight: branch.count,
      end: branch.state,
      merged_into: branch.mergedInto,
    }));
    return { ...found, branches: all };
  } finally {
    await branches.close();
  }
}
