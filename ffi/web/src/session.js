/** A sequence of tokens on a model, and what is generated. */

import { Distribution, OLLM_NO_TOKEN, Pooling, structs } from "./c.js";
import { instance, integer, list } from "./check.js";
import { Branches } from "./branches.js";
import { Handle, TURN, latent, tokensIn } from "./handle.js";
import { reasonOf } from "./methods.js";
import { number } from "./names.js";
import { Plugin } from "./plugin.js";
import { samplingIn, selectionIn } from "./settings.js";
import { Stops } from "./stops.js";
import { breathe } from "./threads.js";

/** Tokens that are fed before other calls have their turn. Bits do not depend on it. */
const FEED = 64;

export class Session extends Handle {
  #model;

  static make(model, { plugin, sampling, selection, contextShift = false, ...options } = {}) {
    const { library } = model;
    const chosen = plugin === undefined ? 0 : instance(plugin, Plugin, "plugin").c;
    const made = library.with((arena) => {
      const { pool } = model.runtime;
      const values = { ...options, contextShift: contextShift ? 1 : 0 };
      const settings = arena.struct("ollm_session_options", values, { pool });
      return library.handle("ollm_session_new", model.c, chosen, settings);
    });
    const session = new Session(model, made);
    try {
      if (sampling !== undefined) session.#setSampling(sampling);
      if (selection !== undefined) session.#setSelection(selection);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  constructor(model, number) {
    super(model.runtime, number, "ollm_session_free");
    this.#model = model.share();
  }

  /** Frees it, and its share of the model. */
  async close() {
    await super.close();
    await this.#model.close();
  }

  /** A second session with the same text, sampling and selection. */
  async fork() {
    return new Session(this.#model, this.library.handle("ollm_session_fork", this.c));
  }

  /** Adds a text or tokens. */
  async feed(textOrTokens, { special = false, bos = false, progress, signal } = {}) {
    const tokens = typeof textOrTokens === "string"
      ? await this.#model.tokenize(textOrTokens, { special, bos })
      : tokensIn(textOrTokens);
    const position = this.#size("ollm_session_position");
    const fits = tokens.length <= this.#size("ollm_session_context") - position;
    // What does not fit is forgotten or refused as a whole.
    const piece = fits ? FEED : tokens.length;
    await this.alone(async (session) => {
      let fed = 0;
      try {
        while (fed < tokens.length) {
          if (fed > 0) await breathe();
          signal?.throwIfAborted();
          this.#feed(session, tokens.slice(fed, fed + piece));
          fed = Math.min(fed + piece, tokens.length);
          progress?.(fed, tokens.length);
        }
      } catch (error) {
        if (fed > 0 && !signal?.aborted) this.library.call("ollm_session_rewind", session, position);
        throw error;
      }
    });
  }

  #feed(session, tokens) {
    this.library.with((arena) => this.library.call("ollm_session_feed", session, ...arena.numbers("u32", tokens)));
  }

  #size(name) {
    return this.library.output("u32", name, this.c);
  }

  async position() {
    return this.#size("ollm_session_position");
  }

  async context() {
    return this.#size("ollm_session_context");
  }

  async tokens() {
    return Array.from(this.library.outputs("u32", "ollm_session_tokens", this.c));
  }

  async rewind(position) {
    this.library.call("ollm_session_rewind", this.c, integer(position, "size", "position"));
  }

  async setSampling(sampling) {
    this.#setSampling(sampling);
  }

  #setSampling(sampling) {
    this.library.with((arena) => this.library.call("ollm_session_set_sampling", this.c, samplingIn(arena, sampling)));
  }

  async setSelection(selection) {
    this.#setSelection(selection);
  }

  #setSelection(selection) {
    this.library.with((arena) => this.library.call("ollm_session_set_selection", this.c, selectionIn(arena, selection)));
  }

  /** Chooses the next token, of the option of `latent` if there is one, and adds it. */
  async step(latent) {
    const { library } = this;
    return library.with((arena) => {
      const token = arena.struct("ollm_token");
      if (latent === undefined) library.call("ollm_session_step", this.c, token);
      else library.call("ollm_session_step_latent", this.c, integer(latent, "u32", "latent"), token);
      return tokenAt(library, token);
    });
  }

  /** The tokens of an answer. */
  generate(options) {
    return new Generation(this, this.#model, options);
  }

  /** The option set of the current step: K options, each with its `top` most probable tokens. */
  async optionSet(top = 1) {
    const { library } = this;
    const set = library.handle("ollm_option_set_new", this.c, integer(top, "size", "top"));
    try {
      const candidate = (at) => {
        const { token, probability } = library.values("ollm_candidate", at);
        return { token, text: this.#text(token), probability };
      };
      return Array.from(library.outputs("f32", "ollm_option_set_policy", set), (policy, latent) => ({
        latent,
        policy,
        top: library.outputStructs("ollm_candidate", candidate, "ollm_option_set_top", set, latent),
      }));
    } finally {
      library.with((arena) => library.call("ollm_option_set_free", arena.numbers("u32", [set])[0]));
    }
  }

  #text(token) {
    if (!this.#model.hasTokenizer) return "";
    return this.library.with((arena) =>
      this.library.outputText("ollm_detokenize", this.#model.c, ...arena.numbers("u32", [token])),
    );
  }

  async policy() {
    return this.library.outputs("f32", "ollm_session_policy", this.c);
  }

  async hidden() {
    return this.library.outputs("f32", "ollm_session_hidden", this.c);
  }

  async logits(distribution = "backbone", latent = 0) {
    const kind = number(Distribution, distribution, "distribution");
    return this.library.outputs("f32", "ollm_session_logits", this.c, kind, integer(latent, "u32", "latent"));
  }

  async score(tokens) {
    return this.library.with((arena) =>
      this.library.outputs("f32", "ollm_session_score", this.c, ...arena.numbers("u32", tokensIn(tokens))),
    );
  }

  async embed(tokens, { pooling = "model", normalized = true } = {}) {
    const kind = number(Pooling, pooling, "pooling");
    return this.library.with((arena) => {
      const values = arena.numbers("u32", tokensIn(tokens));
      return this.library.outputs("f32", "ollm_session_embed", this.c, ...values, kind, normalized ? 1 : 0);
    });
  }

  async rank(query, document) {
    return this.library.with((arena) => {
      const texts = [...arena.text(query, "query"), ...arena.text(document, "document")];
      return this.library.output("f32", "ollm_session_rank", this.c, ...texts);
    });
  }

  /** Feeds tokens, and tells which latent the encoder assigns to each. */
  async encode(tokens) {
    return this.library.with((arena) => {
      const [values, count] = arena.numbers("u32", tokensIn(tokens));
      const latents = arena.take(4 * count);
      this.library.call("ollm_session_encode", this.c, values, count, latents);
      return Array.from(this.library.array("i32", latents, count), latent);
    });
  }

  /** Short continuations to choose from, the most probable first. */
  async suggest(options = {}) {
    const { library } = this;
    return library.with((arena) => {
      const made = library.handle("ollm_session_suggest", this.c, arena.struct("ollm_suggest_options", options));
      try {
        const count = library.output("u32", "ollm_suggestions_count", made);
        return Array.from({ length: count }, (_, index) => {
          const place = arena.struct("ollm_suggestion");
          library.call("ollm_suggestions_get", made, index, place);
          return suggestionAt(library, place);
        });
      } finally {
        library.call("ollm_suggestions_free", arena.numbers("u32", [made])[0]);
      }
    });
  }

  /** Several continuations of the session, which does not move. */
  async branches({ stops = [], selection, ...options } = {}) {
    const { library } = this;
    const made = library.with((arena) => {
      const [texts, count] = arena.texts(stops, "stops");
      const chosen = selection === undefined ? 0 : selectionIn(arena, selection);
      const settings = { stops: texts, stop_count: count, selection: chosen };
      return library.handle("ollm_branches_new", this.c, arena.struct("ollm_branch_options", options, settings));
    });
    return new Branches(this.runtime, made);
  }

  /** Comes to where a branch is. */
  async adopt(branches, branch) {
    const from = instance(branches, Branches, "branches").c;
    this.library.call("ollm_branches_adopt", from, integer(branch, "size", "branch"), this.c);
  }

  async save() {
    return this.library.outputs("u8", "ollm_session_save", this.c);
  }

  async restore(saved) {
    this.library.with((arena) =>
      this.library.call("ollm_session_restore", this.c, ...arena.bytes(instance(saved, Uint8Array, "saved"))),
    );
  }

  async memory() {
    return this.#size("ollm_session_memory");
  }

  async trim() {
    this.library.call("ollm_session_trim", this.c);
  }

  async statistics() {
    return this.library.with((arena) => {
      const made = arena.struct("ollm_statistics");
      this.library.call("ollm_session_statistics", this.c, made);
      return this.library.values("ollm_statistics", made);
    });
  }
}

function tokenAt(library, at) {
  const { id, isEnd, logprob, ...values } = library.values("ollm_token", at);
  const text = library.textField("ollm_token", at, "text");
  const [top, count] = ["top", "top_count"].map((name) => library.field("ollm_token", at, name));
  const one = (i) => library.values("ollm_logprob", top + i * structs.ollm_logprob.size);
  return {
    id: id === OLLM_NO_TOKEN ? null : id,
    text,
    latent: latent(values.latent),
    logprob,
    isEnd: isEnd === 1,
    top: Array.from({ length: count }, (_, i) => one(i)),
  };
}

function suggestionAt(library, at) {
  const { probability, ...values } = library.values("ollm_suggestion", at);
  const [tokens, count] = ["tokens", "token_count"].map((name) => library.field("ollm_suggestion", at, name));
  return {
    text: library.textField("ollm_suggestion", at, "text"),
    tokens: Array.from(library.array("u32", tokens, count)),
    probability,
    latent: latent(values.latent),
  };
}

/**
 * The tokens of an answer, as an async iterator. Between two of them the session may be looked at
 * and changed in any way. Text that may be the beginning of a stop string is held back; what is
 * still held back at the end comes with a token whose `id` is null.
 */
export class Generation {
  #session;
  #model;
  #stops;
  /** Has the bytes of a character that is not complete: its token has no text. */
  #decoder = new TextDecoder();
  #left;
  #top;
  #signal;
  #error;
  #due = 0;
  #turn = Promise.resolve();

  /** Why it ended: a name of `ollm_reason`; null while it has not. */
  reason = null;

  constructor(session, model, { limit = 0, stops = [], top = 0, signal } = {}) {
    [this.#session, this.#model] = [session, model];
    this.#stops = new Stops(list(stops, "stops"));
    this.#left = integer(limit, "size", "limit") || Infinity;
    this.#top = integer(top, "size", "top");
    this.#signal = signal;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** The next token, after those that were asked for before. */
  next() {
    const own = this.#turn.then(() => this.#next());
    this.#turn = own.catch(() => {});
    return own;
  }

  async #next() {
    await this.#breathe();
    if (this.reason === null && this.#error === undefined) {
      try {
        const token = await this.#step();
        if (token) return { done: false, value: token };
      } catch (error) {
        this.#error = error;
      }
    }
    return this.#rest();
  }

  /** Ends it before its end. */
  async return() {
    this.reason ??= "callback";
    this.#held();
    return { done: true, value: this.reason };
  }

  async #breathe() {
    if (performance.now() < this.#due) return;
    await breathe();
    this.#due = performance.now() + TURN;
  }

  async #step() {
    this.#signal?.throwIfAborted();
    if (this.#left === 0) return this.#end("limit");
    const options = this.#top > 0 ? await this.#session.optionSet(this.#top) : null;
    const token = await this.#session.step();
    if (token.isEnd) return this.#end("end");
    this.#left -= 1;
    if (this.#model.hasTokenizer) this.#decoder.decode(await this.#model.tokenBytes(token.id), { stream: true });
    const { text, stopped } = this.#stops.push(token.text);
    if (stopped) {
      this.#decoder.decode();
      this.#end("stop");
    }
    return { ...token, text, options };
  }

  #end(reason) {
    this.reason = reason;
    return undefined;
  }

  /** What is held back, once: the beginning of a stop string, half a character. */
  #held() {
    const { text } = this.#stops.push(this.#decoder.decode());
    return text + this.#stops.rest();
  }

  /** What was held back; then the end. */
  #rest() {
    const text = this.#held();
    if (text) {
      return { done: false, value: { id: null, text, latent: null, logprob: 0, isEnd: false, top: [], options: null } };
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      this.reason = reasonOf(error);
      throw error;
    }
    return { done: true, value: this.reason };
  }
}
