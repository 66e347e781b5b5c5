// The option explorer: generates, shows the options of each token, opens branches, and lets them
// vote. In the file of a trace it shows what was generated, without a model behind it.
import { ABSENT, ask, model, Refused, stream } from "./api.js";
import { Tree } from "./tree.js";
import { showBranches, showOptions, showVote, TextView } from "./view.js";

const $ = (id) => document.getElementById(id);
const SETTINGS = ["mode", "hold", "limit", "temperature", "seed", "held", "answer", "prompt", "kind"];
const trace = $("trace") && JSON.parse($("trace").textContent);
const view = new TextView($("text"), choose);

let tree = new Tree("", []);
let branch = null; // The one that is shown.
let running = null;
let hasOptions = false;
let isStale = true;

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

function settings() {
  return Object.fromEntries(SETTINGS.map((name) => [name, $("ask").elements[name].value]));
}

function latents() {
  const { mode, hold } = settings();
  const own = {};
  if (hasOptions) {
    own.mode = mode;
    if (hold) own.hold = hold;
  }
  return own;
}

/** Does something that can be cancelled, and tells how it ended. */
async function work(begin, task) {
  running?.abort();
  const own = (running = new AbortController());
  const end = (text, isError) => {
    if (running !== own) return;
    say(text, isError);
    running = null;
    $("cancel").disabled = true;
  };
  $("cancel").disabled = false;
  say(begin);
  try {
    end(await task({ key: $("key").value, signal: own.signal }));
  } catch (error) {
    if (error.name === "AbortError") end("Cancelled.");
    else end(error instanceof Refused ? error.message : "The server cannot be reached.", true);
  }
}

/** Begins anew with what the model is given. */
async function prompted(how) {
  const { prompt: text, kind } = settings();
  const isChat = kind === "chat";
  const body = isChat ? { messages: [{ role: "user", content: text }] } : { prompt: text };
  const { tokens } = await ask("/v1/ollm/tokenize", body, how);
  isStale = false;
  tree = new Tree(isChat ? "" : text, tokens);
  view.clear(tree.given);
  $("branches").replaceChildren();
  $("options").replaceChildren();
  $("votes-pane").hidden = true;
}

/** Shows a branch. */
function show(shown) {
  branch = shown;
  view.clear(tree.given);
  tree.steps(branch).forEach((step) => view.append(step));
  showBranches($("branches"), tree, branch, show);
}

/** Generates what follows a branch. */
async function generate(to, how) {
  const { limit, temperature, seed } = settings();
  const body = {
    prompt: tree.tokens(to, Infinity),
    max_tokens: Number(limit),
    temperature: Number(temperature),
    seed: Number(seed),
    ollm: latents(),
  };
  show(to);
  const told = (chunk) => {
    if (!chunk.ollm) return;
    to.own.push(chunk.ollm);
    if (branch === to) {
      view.append(chunk.ollm);
      view.follow();
    }
  };
  try {
    await stream("/v1/completions", body, how, told);
  } finally {
    showBranches($("branches"), tree, branch, show);
  }
  return `${to.own.length} tokens.`;
}

/** Shows the options of the token at a place. */
function choose(at) {
  const own = branch;
  const step = tree.steps(own)[at];
  if (trace) {
    if (step.options) showOptions($("options"), step.options, step.latent, null);
    else say("The trace has no options of this token.");
    return;
  }
  if (!hasOptions) {
    say("There is no plugin, and so there are no options.");
    return;
  }
  work("Looking at the options …", async (how) => {
    const body = { prompt: tree.tokens(own, at), top: 5, held: Number($("held").value) };
    const { options } = await ask("/v1/ollm/options", body, how);
    showOptions($("options"), options, step.latent, (option) => take(own, at, option));
    return `${options.length} options of token ${at}.`;
  });
}

/** Opens a branch with the token that an option would take. */
function take(parent, at, { latent, top: [first] }) {
  const taken = tree.add(parent.id, at, `z${latent}`);
  taken.own.push({ token: first.token, text: first.text, latent });
  work(`Branch ${taken.id} …`, (how) => generate(taken, how));
}

function vote() {
  work("Branches vote …", async (how) => {
    if (isStale) await prompted(how);
    const { limit, answer, temperature, seed } = settings();
    const body = { prompt: tree.prompt, strategy: "vote", max_tokens: Number(limit), answer, seed: Number(seed) };
    if (Number(temperature) > 0) body.temperature = Number(temperature);
    const found = await ask("/v1/ollm/search", body, how);
    showVote($("votes"), found);
    $("votes-pane").hidden = false;
    $("votes-title").focus();
    return `${found.answer ?? "No answer"}: ${Math.round(100 * found.confidence)} % of the weight.`;
  });
}

function showTrace() {
  $("ask").hidden = true;
  $("model").textContent = trace.model;
  tree = new Tree(trace.prompt, []);
  tree.add(null, 0, "").own = trace.steps;
  show(tree.branches[0]);
}

async function describe() {
  const own = await model($("key").value);
  hasOptions = (own?.ollm.options ?? 0) > 0;
  $("model").textContent = own ? `${own.id} · ${own.ollm.options} options · context ${own.ollm.context}` : ABSENT;
  if (own && !own.ollm.chat) $("ask").elements.kind.value = "text";
  $("vote").disabled = !own;
}

function remember() {
  try {
    localStorage.setItem("explorer", JSON.stringify(settings()));
  } catch {
    // A browser that keeps nothing is no harm.
  }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem("explorer")) ?? {};
    const names = SETTINGS.filter((name) => typeof kept[name] === "string");
    names.forEach((name) => { $("ask").elements[name].value = kept[name]; });
  } catch {
    // What is kept is not what it should be.
  }
}

if (trace) {
  showTrace();
} else {
  recall();
  describe();
  $("key").addEventListener("change", describe);
  document.addEventListener("model", describe);
  $("ask").addEventListener("change", remember);
  $("prompt").addEventListener("input", () => { isStale = true; });
  $("ask").elements.kind.forEach((kind) => kind.addEventListener("change", () => { isStale = true; }));
  $("vote").addEventListener("click", () => $("ask").reportValidity() && vote());
  $("cancel").addEventListener("click", () => running?.abort());
  // The browser tells what is wrong with a field only where it can be seen.
  $("ask").addEventListener("invalid", ({ target }) => target.closest("details")?.setAttribute("open", ""), true);
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    remember();
    work("Generating …", async (how) => {
      await prompted(how);
      return generate(tree.add(null, 0, ""), how);
    });
  });
}
