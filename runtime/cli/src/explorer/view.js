// What is shown. Text of the model goes into the document as text, never as markup.

const COLOURS = 10;

/** An element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const percent = (p) => (p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);

/** White space that can be seen. */
function visible(text) {
  const marked = text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");
  return marked.trim() ? marked : marked.replaceAll(" ", "␣") || "∅";
}

/** A bar that is filled by a share of it. */
function bar(colour, share, label) {
  const fill = element("div", { class: colour });
  fill.style.width = `${100 * share}%`;
  return element("div", { class: "bar", role: "img", "aria-label": label }, fill);
}

/** The text of a branch, token by token. Each line is a block of its own, so that the browser lays
    out no more than the last one when a token comes. */
export class TextView {
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.current = null;
    this.tokens = [];
    this.line = null;
    this.isAtEnd = true;
    box.addEventListener("scroll", () => { this.isAtEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 16; });
    box.addEventListener("click", (event) => this.open(event.target));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  clear(given) {
    this.line = element("div", {}, element("span", { class: "given" }, given));
    this.box.replaceChildren(this.line);
    this.current = null;
    this.tokens = [];
  }

  append(step) {
    const { latent } = step;
    const known = latent !== null && latent !== undefined;
    // The number stands where another latent begins, and where a line does.
    const isNew = known && (this.line === null || this.tokens.length === 0 || latent !== this.latent);
    const token = element("span", {
      class: `token${known ? ` z${latent % COLOURS}` : ""}${step.text.includes("\n") ? " break" : ""}`,
      role: "button",
      tabindex: this.tokens.length === 0 ? "0" : "-1",
      "aria-pressed": "false",
      "aria-label": `${visible(step.text)}${known ? `, latent ${latent}` : ""}`,
      "data-z": isNew ? latent : null,
    }, step.text);
    this.line ??= this.box.appendChild(element("div"));
    this.line.append(token);
    this.tokens.push(token);
    this.latent = latent;
    if (step.text.endsWith("\n")) this.line = null;
  }

  /** Keeps the end in sight, unless the reader has gone elsewhere. */
  follow() {
    if (this.isAtEnd) requestAnimationFrame(() => { this.box.scrollTop = this.box.scrollHeight; });
  }

  open(token) {
    if (!token.classList?.contains("token")) return;
    this.focus(token);
    this.current?.setAttribute("aria-pressed", "false");
    token.setAttribute("aria-pressed", "true");
    this.current = token;
    this.choose(this.tokens.indexOf(token));
  }

  focus(token) {
    this.box.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    token.setAttribute("tabindex", "0");
    token.focus();
  }

  key(event) {
    const token = event.target;
    if (!token.classList.contains("token")) return;
    const at = this.tokens.indexOf(token);
    const next = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: this.tokens.length - 1,
    }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      if (this.tokens[next]) this.focus(this.tokens[next]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.open(token);
    }
  }
}

/** The options of a token; `take` is called with the one that is taken. */
export function showOptions(list, options, chosen, take) {
  const most = Math.max(...options.map((option) => option.policy));
  const heard = new Map();
  list.replaceChildren(...options.map((option) => {
    const { latent, policy, top, held } = option;
    const colour = latent % COLOURS;
    const likely = top.filter(({ p }, at) => at === 0 || p >= 0.001);
    const words = likely.map(({ text, p }) => `“${visible(text)}” ${percent(p)}`).join(" · ");
    const item = element("li", { class: latent === chosen ? "chosen" : null },
      element("div", { class: "head" },
        element("strong", {}, `z${latent}`),
        bar(`fill${colour}`, policy / most, `policy ${percent(policy)}`),
        element("span", { class: "share" }, percent(policy)),
        take && top.length > 0 && !top[0].end
          ? element("button", { type: "button", "aria-label": `Take option ${latent}`, onclick: () => take(option) }, "Take")
          : ""),
      element("p", { class: "words" }, latent === chosen ? element("strong", {}, "chosen · ") : "", words));
    if (held) {
      const same = heard.get(held.text);
      const said = same === undefined ? held.text : `says the same as z${same}`;
      item.append(element("p", { class: `said z${colour}${same === undefined ? "" : " words"}` }, said));
      if (same === undefined) heard.set(held.text, latent);
    }
    return item;
  }));
}

/** The tree of branches; `choose` is called with the one that is chosen. */
export function showBranches(list, tree, current, choose) {
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...tree.branches.map((branch) => {
    const begin = branch.own.slice(0, 12).map((step) => step.text).join("");
    const from = branch.parent === null ? "" : `${branch.why} at token ${branch.at} of ${branch.parent} · `;
    const button = element("button", {
      type: "button",
      "aria-current": branch === current ? "true" : "false",
      onclick: () => choose(branch),
    }, `${branch.id} · ${from}${visible(begin)}`);
    const item = element("li", {}, button);
    item.style.paddingLeft = `${Math.min(tree.depth(branch), 6)}rem`;
    return item;
  }));
  list.children[focused]?.firstChild.focus();
}

/** A vote: the answers with their weight, and who said what. */
export function showVote(list, found) {
  const answers = new Map();
  const unmerged = (branch) => (branch.end === "merged" ? unmerged(found.branches[branch.merged_into]) : branch);
  for (const branch of found.branches) {
    const speaker = unmerged(branch);
    if (speaker.answer === null) continue;
    const latent = branch.latents?.[0];
    const answer = answers.get(speaker.answer) ?? { weight: 0, who: [], text: speaker.text };
    // Its weight is that of all that were merged into it.
    if (branch === speaker) answer.weight += branch.weight ?? 0;
    answer.who.push(latent === null || latent === undefined ? `#${branch.id}` : `z${latent}`);
    answers.set(speaker.answer, answer);
  }
  const sorted = [...answers].sort((a, b) => b[1].weight - a[1].weight);
  const total = sorted.reduce((sum, [, { weight }]) => sum + weight, 0) || 1;
  list.replaceChildren(...sorted.map(([answer, { weight, who, text }]) => {
    return element("li", {},
      element("div", { class: "head" },
        element("strong", {}, visible(answer)),
        bar("fill", weight / total, `weight ${percent(weight / total)}`),
        element("span", { class: "share" }, percent(weight / total))),
      element("p", { class: "words" }, answer === found.answer ? element("strong", {}, "wins · ") : "", who.join(", ")),
      element("p", { class: "said" }, text));
  }));
  if (sorted.length === 0) list.replaceChildren(element("li", { class: "hint" }, "No branch came to an answer."));
}
