import type {
  Branch as BranchFields,
  BranchOptions as BranchOptionsFields,
  Distribution,
  Expansion,
  Filter,
  Found as FoundFields,
  Logprob,
  Pooling,
  Reason,
  Sampling as SamplingFields,
  Selection as SelectionFields,
  SessionOptions as SessionOptionsFields,
  Statistics,
  Status,
  Strategy,
  SuggestOptions,
  Tally as TallyFields,
} from "./c.js";

export type { Distribution, Expansion, Filter, Logprob, Pooling, Reason, Statistics, Status, Strategy, SuggestOptions };

/** A failed call: `message` says what, where and what to do. */
export class OllmError extends Error {
  readonly status: Status | "unknown";
}

/** A GGUF file: an address, which the browser keeps in its private file system, a file, or its bytes. */
export type Source = string | URL | Blob | ArrayBuffer | ArrayBufferView;

/** How a call can be watched and ended. */
export interface Watched {
  /** Ends the call, which then throws the signal's `reason`. */
  signal?: AbortSignal;
  /** How far it is: `total` is undefined where it is not known. */
  progress?(done: number, total: number | undefined): void;
}

export interface LoadOptions extends Watched {
  /** False fetches an address anew, and does not keep the file. */
  cache?: boolean;
}

export interface StartOptions {
  /**
   * The module: `"relaxed"` where the processor's fused multiply-add can be used, `"simd"` elsewhere;
   * they give the same bits. Without one, the best.
   */
  module?: "simd" | "relaxed" | string | URL | WebAssembly.Module;
  /**
   * Threads that compute together, at least one; 0, the default, takes as many as there are
   * processors where the page is cross-origin isolated, and one elsewhere. The output is the same.
   */
  threads?: number;
}

/** A worker with the module in it. Everything that it makes lives there. */
export class Runtime {
  static start(options?: StartOptions): Promise<Runtime>;
  /** The version of the library. */
  version(): Promise<string>;
  /** The threads that compute together. */
  threads(): Promise<number>;
  /** Loads a model from a GGUF file. Its weights may take `memoryLimit` bytes. */
  model(file: Source, options?: LoadOptions & { memoryLimit?: number }): Promise<Model>;
  /** Forgets the files that the browser keeps. */
  forgetFiles(): Promise<void>;
  /** Ends the worker and all that it made. */
  close(): Promise<void>;
}

/** One turn of a conversation, with the fields that the chat template knows. */
export interface Message {
  role: string;
  content: string;
  [field: string]: unknown;
}

export interface ChatOptions {
  /** False ends with the last message; else the text ends where the model's answer begins. */
  answer?: boolean;
  /** Variables of the template: `tools`, `documents`, `enable_thinking` and others. */
  variables?: Record<string, unknown>;
}

/** A backbone with its tokenizer. Sessions and plugins keep it alive. */
export class Model {
  /** What it is: its architecture, sizes, types. */
  info(): Promise<Record<string, unknown>>;
  /** The value of a key of the file's metadata. */
  metadata(key: string): Promise<unknown>;
  /**
   * The tokens of a text. With `special` the text of a control token becomes that token: only for
   * text that you trust. With `bos` the token for the beginning of a text comes first, if the file
   * asks for one.
   */
  tokenize(text: string, options?: { special?: boolean; bos?: boolean; eos?: boolean }): Promise<number[]>;
  /** The text of tokens. Half a character is U+FFFD. */
  detokenize(tokens: Iterable<number>): Promise<string>;
  /** The bytes that one token stands for. */
  tokenBytes(token: number): Promise<Uint8Array>;
  /** Whether a text or a turn ends at this token. */
  isEnd(token: number): Promise<boolean>;
  /** The text of a conversation by the model's chat template, for reading. */
  chatText(messages: Message[], options?: ChatOptions): Promise<string>;
  /** Its tokens, to be fed: what is said is never a control token. */
  chatTokens(messages: Message[], options?: ChatOptions): Promise<number[]>;
  /** The plugin of a file; without one, that inside the model's own file. */
  plugin(file?: Source, options?: LoadOptions): Promise<Plugin>;
  session(options?: SessionOptions): Promise<Session>;
  close(): Promise<void>;
}

/** The plugin of a model. Sessions keep it alive. */
export class Plugin {
  /** What it is: options, kinds, widths, and the backbone that it was trained on. */
  info(): Promise<Record<string, unknown>>;
  /** K, the number of options. */
  optionCount(): Promise<number>;
  close(): Promise<void>;
}

/** How tokens are sampled. What is missing takes its default, and all defaults together are greedy. */
export interface Sampling extends Partial<SamplingFields> {
  /** Texts that end a repetition for DRY. */
  dryBreakers?: string[];
  /** Is added to the logits of these tokens. */
  biases?: Record<number, number>;
  /** The filters that run, in this order. */
  order?: Filter[];
}

/** How the latent of each step is selected. */
export interface Selection extends Partial<SelectionFields> {
  /** Those of the modes `"fixed"` and `"script"`. */
  latents?: number[];
}

export interface SessionOptions
  extends Partial<Pick<SessionOptionsFields, "context" | "memoryLimit" | "keep" | "kvType" | "threads" | "prefillThreads">> {
  plugin?: Plugin;
  sampling?: Sampling;
  selection?: Selection;
  /** Whether a full context forgets the older half of the tokens, except the first `keep`. */
  contextShift?: boolean;
}

/** A token of an option, and its probability there. */
export interface Candidate {
  token: number;
  text: string;
  probability: number;
}

/** One option of a step. */
export interface Option {
  latent: number;
  /** The policy's probability of the latent. */
  policy: number;
  /** Its most probable tokens, best first. */
  top: Candidate[];
}

export interface Token {
  /** Null for text that was held back until the end. */
  id: number | null;
  /** The text that is complete with this token. */
  text: string;
  /** The latent whose option it comes from; null without one. */
  latent: number | null;
  /** Natural logarithm of its probability, before the sampler's filters. */
  logprob: number;
  /** Whether a text or a turn ends with it. */
  isEnd: boolean;
  /** The most probable tokens, as many as `Sampling.logprobs` asks for. */
  top: Logprob[];
  /** The option set that it was chosen from, where `GenerateOptions.top` asks for it. */
  options?: Option[] | null;
}

export interface GenerateOptions {
  /** Tokens at most; 0 is as many as the context holds. */
  limit?: number;
  /** Texts that end the answer, and are no part of it. */
  stops?: string[];
  /** If not 0, each token tells the option set that it was chosen from, with so many tokens each. */
  top?: number;
  /** Ends it between two tokens, with the signal's `reason`. */
  signal?: AbortSignal;
}

/**
 * The tokens of an answer. Between two of them the session may be looked at and changed in any way.
 * Text that may be the beginning of a stop string is held back.
 */
export class Generation implements AsyncIterableIterator<Token> {
  /** Why it ended; null while it has not. An error is a full context, or else `"cancelled"`. */
  readonly reason: Reason | null;
  next(): Promise<IteratorResult<Token, Reason>>;
  return(): Promise<IteratorResult<Token, Reason>>;
  [Symbol.asyncIterator](): this;
}

export interface Suggestion {
  text: string;
  tokens: number[];
  /** That of the tokens; with a plugin summed over the latents that give them. */
  probability: number;
  /** The latent that adds most to it; null for none. */
  latent: number | null;
}

/**
 * A sequence of tokens on a model. One call at a time: another one meanwhile is refused with
 * `"busy"`.
 */
export class Session {
  /** A second session with the same text, sampling and selection. Give it a seed of its own. */
  fork(): Promise<Session>;
  /**
   * Adds a text or tokens. What is refused leaves the session as it was; a call that `signal` ends
   * leaves the tokens that it had fed.
   */
  feed(text: string | Iterable<number>, options?: Watched & { special?: boolean; bos?: boolean }): Promise<void>;
  /** The number of tokens so far. */
  position(): Promise<number>;
  /** The context size in tokens. */
  context(): Promise<number>;
  tokens(): Promise<number[]>;
  /** Forgets the tokens from `position` on. */
  rewind(position: number): Promise<void>;
  /** Null is greedy, as at first. */
  setSampling(sampling: Sampling | null): Promise<void>;
  /** Null takes what the policy finds most probable, as at first. */
  setSelection(selection: Selection | null): Promise<void>;
  /** Chooses the next token, of the option of `latent` if there is one, and adds it. */
  step(latent?: number): Promise<Token>;
  generate(options?: GenerateOptions): Generation;
  /** The K options of the current step, each with its `top` most probable tokens. The session does not move. */
  optionSet(top?: number): Promise<Option[]>;
  /** The policy's probability of each latent. */
  policy(): Promise<Float32Array>;
  /** The hidden state of the last token, after the final norm. */
  hidden(): Promise<Float32Array>;
  /** The logits of the next token; `latent` is that of `"option"`. */
  logits(distribution?: Distribution, latent?: number): Promise<Float32Array>;
  /** Feeds tokens, and tells the logarithm of the probability of each; NaN for the first of a sequence. */
  score(tokens: Iterable<number>): Promise<Float32Array>;
  /** The hidden states of tokens as one vector. The session then holds these tokens. */
  embed(tokens: Iterable<number>, options?: { pooling?: Pooling; normalized?: boolean }): Promise<Float32Array>;
  /** How relevant a document is to a query, as a reranker scores the pair. */
  rank(query: string, document: string): Promise<number>;
  /** Feeds tokens, and tells which latent the encoder assigns to each; null for the first of a sequence. */
  encode(tokens: Iterable<number>): Promise<(number | null)[]>;
  /** Short continuations to choose from, the most probable first. The session does not move. */
  suggest(options?: Partial<SuggestOptions>): Promise<Suggestion[]>;
  /** Several continuations, decoded in one batch. The session does not move. */
  branches(
    options?: Partial<BranchOptionsFields> & { stops?: string[]; selection?: Selection },
  ): Promise<Branches>;
  /** Comes to where a branch is, as if it had generated its tokens. */
  adopt(branches: Branches, branch: number): Promise<void>;
  /** The session with its KV cache. */
  save(): Promise<Uint8Array>;
  restore(saved: Uint8Array): Promise<void>;
  /** The bytes that it holds, without the weights. */
  memory(): Promise<number>;
  /** Frees memory that it can allocate again. */
  trim(): Promise<void>;
  statistics(): Promise<Statistics>;
  close(): Promise<void>;
}

export interface Branch extends Omit<BranchFields, "parent" | "mergedInto" | "atBoundary" | "error"> {
  tokens: number[];
  latents: (number | null)[];
  text: string;
  parent: number | null;
  mergedInto: number | null;
  atBoundary: boolean;
  error: Status | null;
}

export interface Found extends FoundFields {
  answer: string | null;
}

export interface Tally extends Partial<TallyFields> {
  /** How the answer is found in a text: `"number"`, `"hash"`, `"boxed"`, `"regex:RE"` or `"text"`. */
  rule?: string;
}

export interface SearchOptions {
  expansion?: Partial<Expansion>;
  tally?: Tally;
  strategy?: Strategy;
  /** Branches that an expansion makes at most, or a beam keeps; 0 is all. */
  width?: number;
  /** Ends the search; the branches are where the last step left them. */
  signal?: AbortSignal;
  /** Sees the branches now and then. */
  progress?(branches: Branch[]): void;
}

/** Several continuations of one session, each bit-identical to a session of its own. */
export class Branches {
  /** Makes several branches of one: of all latents, if nothing else is said. */
  expand(branch?: number, expansion?: Partial<Expansion>): Promise<void>;
  /** Advances all open branches by a token each; gives how many there were. */
  step(): Promise<number>;
  /** Gives an open branch up. */
  prune(branch: number): Promise<void>;
  count(): Promise<number>;
  get(branch: number): Promise<Branch>;
  all(): Promise<Branch[]>;
  /** Expands, generates, and finds the answer. */
  run(options?: SearchOptions): Promise<Found>;
  /** The vote of the branches that are there, without generating. */
  vote(tally?: Tally): Promise<Found>;
  close(): Promise<void>;
}
