/** A backbone with its tokenizer. */

import { TokenizeFlags } from "./c.js";
import { integer } from "./check.js";
import { Handle, tokensIn } from "./handle.js";
import { Plugin } from "./plugin.js";
import { Session } from "./session.js";

const encoder = new TextEncoder();

export class Model extends Handle {
  #hasTokenizer;

  constructor(runtime, number) {
    super(runtime, number, "ollm_model_release");
  }

  /** A second owner of the same model: it stays until both are closed. */
  share() {
    const number = this.c;
    this.library.call("ollm_model_retain", number);
    return new Model(this.runtime, number);
  }

  /** Whether there is one: without it there are tokens, and no texts. */
  get hasTokenizer() {
    this.#hasTokenizer ??= this.#findTokenizer();
    return this.#hasTokenizer;
  }

  #findTokenizer() {
    try {
      this.library.outputs("u32", "ollm_tokenize", this.c, 0, 0, 0);
      return true;
    } catch (error) {
      if (error.status === "no_tokenizer") return false;
      throw error;
    }
  }

  async info() {
    return JSON.parse(this.library.outputText("ollm_model_info", this.c));
  }

  async metadata(key) {
    return this.library.with((arena) =>
      JSON.parse(this.library.outputText("ollm_model_metadata", this.c, ...arena.text(key, "key"))),
    );
  }

  async tokenize(text, { special = false, bos = false, eos = false } = {}) {
    const ends = (bos ? TokenizeFlags.BOS : 0) | (eos ? TokenizeFlags.EOS : 0);
    const flags = (special ? TokenizeFlags.SPECIAL : 0) | ends;
    return this.library.with((arena) =>
      Array.from(this.library.outputs("u32", "ollm_tokenize", this.c, ...arena.text(text, "text"), flags)),
    );
  }

  async detokenize(tokens) {
    return this.library.with((arena) =>
      this.library.outputText("ollm_detokenize", this.c, ...arena.numbers("u32", tokensIn(tokens))),
    );
  }

  async tokenBytes(token) {
    return this.library.outputs("u8", "ollm_token_bytes", this.c, integer(token, "u32", "token"));
  }

  async isEnd(token) {
    return this.library.output("i32", "ollm_is_end", this.c, integer(token, "u32", "token")) === 1;
  }

  async chatText(messages, options) {
    return this.#conversation(messages, options, (input) =>
      this.library.outputText("ollm_chat_render", this.c, input),
    );
  }

  async chatTokens(messages, options) {
    return this.#conversation(messages, options, (input) =>
      Array.from(this.library.outputs("u32", "ollm_chat_tokens", this.c, input)),
    );
  }

  #conversation(messages, { answer = true, variables = {} } = {}, work) {
    return this.library.with((arena) => {
      const [list, listLength] = arena.bytes(encoder.encode(JSON.stringify(messages)));
      const [names, namesLength] = arena.bytes(encoder.encode(JSON.stringify(variables)));
      const input = arena.struct("ollm_chat_input", { noAnswer: answer ? 0 : 1 }, {
        messages_json: list,
        messages_json_length: listLength,
        variables_json: names,
        variables_json_length: namesLength,
      });
      return work(input);
    });
  }

  /** The plugin of a file, as `Runtime.model` takes it; without one, that inside the model's own file. */
  async plugin(file, options = {}) {
    const number = file === undefined
      ? this.library.handle("ollm_plugin_bundled", this.c)
      : await this.runtime.lend(file, options, (source) => this.library.handle("ollm_plugin_load", this.c, source));
    return new Plugin(this.runtime, number);
  }

  async session(options) {
    return Session.make(this, options);
  }
}
