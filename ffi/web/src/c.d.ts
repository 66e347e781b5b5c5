// Made from include/ollm.h by ffi/tests/web.rs; do not edit.

/**
 * The C API of OLLM (`ollm.h`) as WebAssembly has it: enums, the layout of structs, the types of
 * callbacks. Pointers and `size_t` have four bytes there.
 *
 * Structs have names of JavaScript here (`top_k` is `topK`), without addresses and lengths of
 * arrays; numbers of an enum are its names as text. Functions are as they are in C: addresses and
 * handles are numbers, 64-bit integers are `bigint`.
 */

/** The version that this header describes: its first number. */
export const OLLM_VERSION_MAJOR: number;

/** Its second number. */
export const OLLM_VERSION_MINOR: number;

/** Its third number. */
export const OLLM_VERSION_PATCH: number;

/** The ABI version that this header describes; compare it with `ollm_abi_version`. */
export const OLLM_ABI_VERSION: number;

/**
 * The status of a call. The numbers are frozen; later versions may add some, so treat an unknown
 * number as an error. Since 0.1.0.
 */
export const Status: {
  /** It worked. */
  readonly OK: 0;
  /** An argument is NULL, out of its range, or does not go with another. */
  readonly INVALID_ARGUMENT: 1;
  /** A handle was freed, is of another kind, or never was one. */
  readonly INVALID_HANDLE: 2;
  /** Text is not UTF-8. */
  readonly INVALID_UTF8: 3;
  /** A buffer is too small; the size that is needed was written. */
  readonly BUFFER_TOO_SMALL: 4;
  /**
   * The session, branches, chat, parser or batch is in use: by another thread, or by the call
   * that called back.
   */
  readonly BUSY: 5;
  /**
   * The call was cancelled. The session is at its last complete position, and the next call
   * continues from there.
   */
  readonly CANCELLED: 6;
  /** The system has not enough memory. */
  readonly OUT_OF_MEMORY: 7;
  /** More memory is needed than the limit allows. */
  readonly MEMORY_LIMIT: 8;
  /** The system could not read or write a file, or not start a thread. */
  readonly IO: 9;
  /** The file is damaged, or not of the kind that was asked for: a GGUF file, a saved session. */
  readonly BAD_FILE: 10;
  /**
   * What is asked for is not in this version, this build, or this model; or a grammar cannot go
   * on.
   */
  readonly UNSUPPORTED: 11;
  /**
   * Two things do not belong together: what was made for another model (a plugin, adapters, a
   * grammar, a saved session), branches of another text.
   */
  readonly MISMATCH: 12;
  /** There is no plugin, and the call needs one. */
  readonly NO_PLUGIN: 13;
  /** The model's file has no tokenizer or no chat template that can be used. */
  readonly NO_TOKENIZER: 14;
  /** The chat template refused the conversation, or failed. */
  readonly TEMPLATE: 15;
  /** The context has no room for this, or for more. */
  readonly CONTEXT_FULL: 16;
  /** There is nothing to continue: no token was fed yet. */
  readonly EMPTY: 17;
  /** The weights give no numbers: the file may be damaged. */
  readonly NOT_FINITE: 18;
  /** A bug in the library; the object that it happened in can only be freed. */
  readonly INTERNAL: 19;
};
export type Status = "ok" | "invalid_argument" | "invalid_handle" | "invalid_utf8" | "buffer_too_small" | "busy" | "cancelled" | "out_of_memory" | "memory_limit" | "io" | "bad_file" | "unsupported" | "mismatch" | "no_plugin" | "no_tokenizer" | "template" | "context_full" | "empty" | "not_finite" | "internal";

/** How much a message matters. Since 0.1.0. */
export const LogLevel: {
  /** A bug in the library: the call that it happened in returns `OLLM_INTERNAL`. */
  readonly ERROR: 0;
  /** Something is not as it should be, and works all the same. */
  readonly WARNING: 1;
  /** What was loaded and made. */
  readonly INFO: 2;
};
export type LogLevel = "error" | "warning" | "info";

/** The kinds of sources. Since 0.1.0. */
export const SourceKind: {
  /** A file, by its path. */
  readonly FILE: 0;
  /** An open file, or a part of it. */
  readonly DESCRIPTOR: 1;
  /** Memory. */
  readonly MEMORY: 2;
};
export type SourceKind = "file" | "descriptor" | "memory";

/**
 * Where the bytes of a file come from. The struct, and the text of its path, may go when the call
 * that takes it returns. Since 0.1.0.
 */
export interface Source {
  /** What the source is. */
  kind: SourceKind;
  /**
   * `OLLM_SOURCE_DESCRIPTOR`: the descriptor, open for reading. It may be closed when the call
   * returns.
   */
  descriptor: number;
  /**
   * `OLLM_SOURCE_DESCRIPTOR`: the first byte of the part of the file. If it is not a multiple of
   * 4, the bytes are copied.
   */
  offset: number | bigint;
  /**
   * 1 copies the bytes to memory of the library, for files that may be changed or removed while
   * they are in use; 0 maps a file. Copies count as weights, for limits and in
   * `ollm_memory_needed`.
   */
  copy: number;
}

/** How to load. A field that is 0 takes the default. Since 0.1.0. */
export interface LoadOptions {
  /**
   * Bytes of memory that the weights may take, with a copy of the file if one is made; 0 is no
   * limit. Pages of a file that is mapped are the system's, which takes them back when it needs
   * them: they do not count.
   */
  memoryLimit: number;
  /** Threads that prepare the weights, at most 1024; 0 takes as many as the system has cores for. */
  threads: number;
}

/** The id that stands for no token. */
export const OLLM_NO_TOKEN: number;

/** What `ollm_tokenize` does beyond text: flags to be added up. Since 0.1.0. */
export const TokenizeFlags: {
  /**
   * The text of a control token, such as `<|im_start|>`, becomes that token. Only for text that
   * you trust: in a user's text it would let the user write control tokens.
   */
  readonly SPECIAL: 1;
  /** The token for the beginning of a text comes first, if the model's file asks for one. */
  readonly BOS: 2;
  /**
   * The token for the end of a whole text comes last, if the model's file asks for one: with
   * `OLLM_TOKENIZE_BOS`, what an embedding is made of.
   */
  readonly EOS: 4;
};
export type TokenizeFlags = "special" | "bos" | "eos";

/** Special tokens of a model. Since 0.1.0. */
export const Special: {
  /** The beginning of a text. */
  readonly BOS: 0;
  /** The end of a text. */
  readonly EOS: 1;
  /** The end of a turn. */
  readonly EOT: 2;
  /** The end of a message. */
  readonly EOM: 3;
  /** What stands for unknown text. */
  readonly UNKNOWN: 4;
  /** Padding. */
  readonly PADDING: 5;
  /** What separates texts. */
  readonly SEPARATOR: 6;
};
export type Special = "bos" | "eos" | "eot" | "eom" | "unknown" | "padding" | "separator";

/**
 * One turn of a conversation, as UTF-8. Arrays of this struct are read, so it never grows. Since
 * 0.1.0.
 */
export interface Message {
}

/** A text, as UTF-8. Arrays of this struct are read, so it never grows. Since 0.1.0. */
export interface Text {
}

/** A token, and the natural logarithm of its probability. Since 0.1.0. */
export interface Logprob {
  /** The token. */
  token: number;
  /** The logarithm of its probability, before bias and filters. */
  logprob: number;
}

/** What a part of an answer is. Since 0.1.0. */
export const ChatEventKind: {
  /** None: there is no part yet. */
  readonly NONE: 0;
  /** More of what the model thinks, in `text`. */
  readonly REASONING: 1;
  /** More of what it says, in `text`. */
  readonly TEXT: 2;
  /** A call of a tool: `name` and `arguments`, and `id` where the model's form has one. */
  readonly TOOL_CALL: 3;
  /** The text before this was to be a call, but cannot be read as one; `text` says why. */
  readonly MALFORMED: 4;
};
export type ChatEventKind = "none" | "reasoning" | "text" | "tool_call" | "malformed";

/** How a family of models calls tools. Since 0.1.0. */
export const ToolFormat: {
  /** As the model's chat template shows, if the conversation offers `tools`; else none. */
  readonly AUTO: 0;
  /** What looks like a call is text. */
  readonly NONE: 1;
  /** `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen. */
  readonly HERMES: 2;
  /**
   * `{"name": .., "parameters": {..}}` or `[f(a=1)]` as all of the answer, or behind
   * `<|python_tag|>`.
   */
  readonly LLAMA3: 3;
  /**
   * A fence of `tool_code`, the forms of Llama 3 as all of the answer, or
   * `<start_function_call>call:f{a:1}<end_function_call>`.
   */
  readonly GEMMA: 4;
  /** `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`. */
  readonly LFM2: 5;
  /** `[TOOL_CALLS][{"name": .., "arguments": {..}}]` or `[TOOL_CALLS]f[ARGS]{..}`. */
  readonly MISTRAL: 6;
  /**
   * `<tool_call><function=f><parameter=a>..</parameter></function></tool_call>`: Qwen3-Coder,
   * Qwen 3.5.
   */
  readonly QWEN_XML: 7;
  /** The same in `<seed:tool_call>`: Seed-OSS. */
  readonly SEED: 8;
  /** `<tool_call>f`, then `<arg_key>a</arg_key><arg_value>..</arg_value>`: GLM 4.5. */
  readonly GLM: 9;
  /** `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{..}`: gpt-oss. */
  readonly HARMONY: 10;
  /** `<|tool_call>call:f{a:1}<tool_call|>`: Gemma 4. */
  readonly GEMMA4: 11;
  /** `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi-4-mini. */
  readonly GRANITE: 12;
  /** `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`: Command R7B and A. */
  readonly COMMAND: 13;
  /** `<tool_calls>[{"name": .., "arguments": {..}}]</tool_calls>`: Hunyuan, Apriel. */
  readonly HUNYUAN: 14;
  /**
   * `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then a fence of JSON and
   * `<｜tool▁call▁end｜>`: DeepSeek R1 and what is distilled from it.
   */
  readonly DEEP_SEEK: 15;
  /** `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{..}<｜tool▁call▁end｜>`: DeepSeek V3.1. */
  readonly DEEP_SEEK_V31: 16;
  /** `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`: Nemotron Nano. */
  readonly NEMOTRON: 17;
};
export type ToolFormat = "auto" | "none" | "hermes" | "llama3" | "gemma" | "lfm2" | "mistral" | "qwen_xml" | "seed" | "glm" | "harmony" | "gemma4" | "granite" | "command" | "hunyuan" | "deep_seek" | "deep_seek_v31" | "nemotron";

/**
 * A conversation, and what the chat template is given beside it. A field that is 0 takes its
 * default. Since 0.1.0.
 */
export interface ChatInput {
  /** 0: the text ends where the model's answer begins; 1: it ends with the last message. */
  noAnswer: number;
}

/**
 * A part of an answer. Texts are UTF-8 without a zero at their ends; they belong to the parser and
 * are gone with the next call on it, or with the return of an `ollm_chat_event_fn`. Since 0.1.0.
 */
export interface ChatEvent {
  /** What this is. */
  kind: ChatEventKind;
}

/** The threads of a pool. A field that is 0 takes the default. Since 0.1.0. */
export interface ThreadPoolOptions {
  /**
   * Threads that compute together, the caller's included, at most 1024; 0 takes as many as the
   * system has cores for.
   */
  threads: number;
  /**
   * CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
   * system.
   */
  affinity: number | bigint;
}

/** The type of the keys and values in a session's KV cache. Since 0.1.0. */
export const KvType: {
  /** Half precision. */
  readonly F16: 0;
  /**
   * ggml's `Q8_0`, signed bytes with a scale for each 32: half the memory, and faster over long
   * texts. Output differs a little from that of half precision; it is deterministic too.
   */
  readonly Q8_0: 1;
};
export type KvType = "f16" | "q8_0";

/** How a session runs. A field that is 0 takes the default. Since 0.1.0. */
export interface SessionOptions {
  /** Context size in positions; 0 takes the context that the model was trained for. */
  context: number;
  /** Memory limit of the session in bytes, without the weights; 0 is no limit. */
  memoryLimit: number;
  /**
   * Threads for decode (a single token), at most 1024; 0 takes as many as the system has cores
   * for. On phones, as many as there are large cores.
   */
  threads: number;
  /** Threads for prefill (many tokens at once), at most 1024; 0 takes as many as `threads`. */
  prefillThreads: number;
  /** With `context_shift`: tokens at the beginning that are never forgotten. */
  keep: number;
  /**
   * CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
   * system. The calling thread is yours, and is not bound.
   */
  affinity: number | bigint;
  /**
   * The context shift of a full context: 0 ends with `OLLM_CONTEXT_FULL`; 1 forgets the older
   * half of the tokens, except the first `keep`, and the session continues.
   */
  contextShift: number;
  /** The type of the keys and values in the KV cache. */
  kvType: KvType;
}

/**
 * How long a selected latent is held. An answer begins with the first token that is generated
 * after a feed, a rewind or a restored prompt, and ends with an end token or the next feed; a line
 * ends after the token whose text has a line feed. A latent is always let go where the answer
 * ends, and a script begins anew. Since 0.1.0.
 */
export const Hold: {
  /** As long as the plugin was trained for, as in a new session. */
  readonly TRAINED: 0;
  /** For one token. */
  readonly TOKEN: 1;
  /** To the end of the line. */
  readonly LINE: 2;
  /** For all of the answer. */
  readonly ALL: 3;
  /** For `hold_tokens` tokens. */
  readonly TOKENS: 4;
};
export type Hold = "trained" | "token" | "line" | "all" | "tokens";

/** Ways to select a latent. Since 0.1.0. */
export const Select: {
  /** The one that the policy finds most probable; the lowest of several. */
  readonly POLICY: 0;
  /** Drawn from the policy, which `temperature` sharpens (below 1) or flattens (above 1). */
  readonly SAMPLE: 1;
  /** Drawn uniformly. */
  readonly UNIFORM: 2;
  /** Always the first of `latents`. */
  readonly FIXED: 3;
  /** One of `latents` after the other; the last one stays. */
  readonly SCRIPT: 4;
  /** The one that `choose` gives. */
  readonly CALLBACK: 5;
  /** None: the token follows the mixture of all options, weighted by the policy. */
  readonly MIXTURE: 6;
  /** None: the token is the backbone's, as if there were no plugin. */
  readonly BACKBONE: 7;
};
export type Select = "policy" | "sample" | "uniform" | "fixed" | "script" | "callback" | "mixture" | "backbone";

/** How latents are selected. A field that is 0 takes its default. Since 0.1.0. */
export interface Selection {
  /** The temperature of `OLLM_SELECT_SAMPLE`; 0 is 1. */
  temperature: number;
  /** How long a latent is held. */
  hold: Hold;
  /** The seed of all choices. */
  seed: number | bigint;
  /** The way to select. */
  mode: Select;
  /** Tokens that a latent is held for with `OLLM_HOLD_TOKENS`, at least 1; else 0. */
  holdTokens: number;
}

/** One filter of the sampler. It does nothing where its numbers are 0. Since 0.1.0. */
export const Filter: {
  /** The repetition, presence and frequency penalties. */
  readonly PENALTIES: 1;
  /** Don't repeat yourself: `dry_multiplier`. */
  readonly DRY: 2;
  /** `top_n_sigma`. */
  readonly TOP_N_SIGMA: 3;
  /** `top_k`. */
  readonly TOP_K: 4;
  /** `typical_p`. */
  readonly TYPICAL: 5;
  /** `top_p`. */
  readonly TOP_P: 6;
  /** `min_p`. */
  readonly MIN_P: 7;
  /** Exclude top choices: `xtc_probability`. */
  readonly XTC: 8;
  /** `temperature`. */
  readonly TEMPERATURE: 9;
};
export type Filter = "penalties" | "dry" | "top_n_sigma" | "top_k" | "typical" | "top_p" | "min_p" | "xtc" | "temperature";

/**
 * What is added to the logit of a token; `-INFINITY` bans it. Arrays of this struct are read, so
 * it never grows. Since 0.1.0.
 */
export interface LogitBias {
  /** The token. */
  token: number;
  /** What is added. */
  bias: number;
}

/**
 * How tokens are sampled. A field that is 0 takes its default, and all defaults together are
 * greedy. Logit bias and callback come first, then the filters, in the order of `ollm_filter`
 * unless `order` gives another one. Since 0.1.0.
 */
export interface Sampling {
  /** Top-k: keeps this many most probable tokens; 0 keeps all. */
  topK: number;
  /** The seed of all choices: the same seed makes the same choices on every platform. */
  seed: number | bigint;
  /**
   * The temperature, which divides the logits; 0 is greedy: then filters other than the
   * penalties and DRY do nothing.
   */
  temperature: number;
  /**
   * Top-p (nucleus): keeps the most probable tokens whose probabilities reach this sum; 0 and 1
   * keep all.
   */
  topP: number;
  /** Min-p: keeps tokens at least this many times as probable as the best token; 0 keeps all. */
  minP: number;
  /**
   * The repetition penalty: divides the positive logits of recent tokens and multiplies the
   * negative ones; 0 and 1 change nothing.
   */
  repeatPenalty: number;
  /**
   * The number of recent tokens that the repetition, presence and frequency penalties apply to;
   * 0 is 64.
   */
  repeatLast: number;
  /** The presence penalty: is taken from the logits of recent tokens. */
  presencePenalty: number;
  /**
   * The frequency penalty: is taken from the logits of recent tokens, for each time that they
   * occur.
   */
  frequencyPenalty: number;
  /**
   * Typical sampling: keeps the tokens whose surprise is nearest to the entropy and whose
   * probabilities reach this sum; 0 and 1 keep all.
   */
  typicalP: number;
  /**
   * Top-n-sigma: keeps tokens whose logits are at most this many standard deviations below the
   * best one; 0 keeps all.
   */
  topNSigma: number;
  /**
   * XTC: where several tokens are at least `xtc_threshold` probable, all but the least probable
   * of them are left out, in this share of the steps; 0 never.
   */
  xtcProbability: number;
  /** See `xtc_probability`; 0 is 0.1. */
  xtcThreshold: number;
  /**
   * DRY: a token that would go on with a repetition of n tokens loses `dry_multiplier *
   * dry_base^(n - dry_allowed_length)`; 0 loses nothing.
   */
  dryMultiplier: number;
  /** See `dry_multiplier`; 0 is 1.75. */
  dryBase: number;
  /** The shortest repetition that loses something; 0 is 2. */
  dryAllowedLength: number;
  /** The number of recent tokens that DRY searches; 0 is all. */
  dryLast: number;
  /**
   * Mirostat 2: the surprise of a token, in bits, that is aimed at; 0 is no mirostat. It needs a
   * temperature. A restored session begins anew to aim.
   */
  mirostatTau: number;
  /** How fast mirostat aims; 0 is 0.1. */
  mirostatEta: number;
  /**
   * Dynamic temperature: it goes from `temperature` minus this to `temperature` plus this, the
   * higher, the less sure the model is; 0 is a fixed one.
   */
  dynamicRange: number;
  /** The power of the entropy that a dynamic temperature follows; 0 is 1. */
  dynamicExponent: number;
  /** With each token `ollm_token.top` tells so many of the most probable ones; 0 tells none. */
  logprobs: number;
}

/** What the text of a grammar is written in. Since 0.1.0. */
export const GrammarKind: {
  /**
   * JSON schema. A keyword that is not supported is an error that names it. The JSON is of one
   * line, with one space behind each `,` and `:` and no other white space, unless the schema
   * says otherwise under `x-guidance`.
   */
  readonly JSON_SCHEMA: 0;
  /** A regular expression without look-around, which all of the text matches. */
  readonly REGEX: 1;
  /** Lark, as llguidance reads it; it begins with the rule `start`. */
  readonly LARK: 2;
  /** GBNF, as llama.cpp reads it; it begins with the rule `root`. */
  readonly GBNF: 3;
};
export type GrammarKind = "json_schema" | "regex" | "lark" | "gbnf";

/** Where a constraint begins. A field that is 0 takes its default. Since 0.1.0. */
export interface ConstraintOptions {
  /**
   * So many tokens at the end of the sequence are the beginning of the constrained text: an
   * answer that was begun by a feed, or a restored one.
   */
  begun: number;
}

/** Why a run ended. Since 0.1.0. */
export const Reason: {
  /** An end token came; it is part of the session, not of the text. */
  readonly END: 0;
  /** A stop string came. */
  readonly STOP: 1;
  /** There are as many tokens as asked for. */
  readonly LIMIT: 2;
  /** The callback asked for it. */
  readonly CALLBACK: 3;
  /** The context is full. Of `ollm_chat_answer`: of a run this is the status `OLLM_CONTEXT_FULL`. */
  readonly CONTEXT: 4;
  /** It was cancelled. Of `ollm_chat_answer`: of a run this is the status `OLLM_CANCELLED`. */
  readonly CANCELLED: 5;
};
export type Reason = "end" | "stop" | "limit" | "callback" | "context" | "cancelled";

/** One generated token. Since 0.1.0. */
export interface Token {
  /** The token. */
  id: number;
  /**
   * The latent whose option it comes from; -1 without a plugin, for the mixture, and for a token
   * that a constraint forced.
   */
  latent: number;
  /**
   * Natural logarithm of its probability, before the sampler's filters; 0 of a token that a
   * constraint forced.
   */
  logprob: number;
  /** 1 if a text or a turn ends with this token, which then has no text; else 0. */
  isEnd: number;
}

/**
 * The options of a run: its limit, its stop strings, its callback. A field that is 0 takes its
 * default. Since 0.1.0.
 */
export interface RunOptions {
  /** Tokens at most; 0 is as many as the context holds. */
  limit: number;
  /**
   * If it is not 0, `options` of each token holds the option set, with this many tokens of each;
   * needs a plugin.
   */
  top: number;
}

/** The settings of a chat. A field that is 0 takes its default. Since 0.1.0. */
export interface ChatOptions {
  /**
   * With `limit_reasoning`: tokens that the model may think before each answer; its thought is
   * then ended as if it had ended it.
   */
  reasoningBudget: number;
  /** 1: what the model thinks has the limit `reasoning_budget`. */
  limitReasoning: number;
  /**
   * 1: the arguments of each tool call follow the JSON schema of the tool, from the text on that
   * opens calls in the model's form. Other text stays free; the session's own constraint does
   * not count in answers then.
   */
  constrainCalls: number;
  /**
   * 1: a full context ends with `OLLM_CONTEXT_FULL` and `OLLM_REASON_CONTEXT`; 0: the model
   * forgets the oldest turns.
   */
  noContextShift: number;
  /** How the model calls tools. */
  toolFormat: ToolFormat;
}

/** The options of an answer. A field that is 0 takes its default. Since 0.1.0. */
export interface AnswerOptions {
  /** Tokens at most; 0 is as many as the context holds. */
  limit: number;
}

/** What an answer took. Since 0.1.0. */
export interface Answer {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** How many of them the session had already, so that they were not computed. */
  reusedTokens: number;
  /** Tokens of the answer. */
  answerTokens: number;
  /** Whole turns that the model forgot because the context was full. */
  forgottenTurns: number;
  /** Their messages. */
  forgottenMessages: number;
  /** Why the answer ended. */
  reason: Reason;
  /** 1 if the answer is now the last message; 0 if it was ended before anything came. */
  hasMessage: number;
}

/** What guesses the tokens to come. Since 0.1.0. */
export const Draft: {
  /** Nothing, as at first. */
  readonly NONE: 0;
  /** The text: what followed the same tokens before. Good where a text is quoted or edited. */
  readonly NGRAM: 1;
  /** A smaller model of the same vocabulary. */
  readonly MODEL: 2;
};
export type Draft = "none" | "ngram" | "model";

/** The distributions of the next token. Since 0.1.0. */
export const Distribution: {
  /** The backbone's, as if there were no plugin. */
  readonly BACKBONE: 0;
  /** That of the option of a latent. */
  readonly OPTION: 1;
  /** The mixture of all options, weighted by the policy. */
  readonly MIXTURE: 2;
};
export type Distribution = "backbone" | "option" | "mixture";

/** How hidden states of a text become one. Since 0.1.0. */
export const Pooling: {
  /** Their mean. */
  readonly MEAN: 0;
  /** That of the first token. */
  readonly CLS: 1;
  /** That of the last token. */
  readonly LAST: 2;
  /** The one that the model's file names; the mean, if it names none. */
  readonly MODEL: 3;
};
export type Pooling = "mean" | "cls" | "last" | "model";

/** One token of an option, and its probability there. Since 0.1.0. */
export interface Candidate {
  /** The token. */
  token: number;
  /** Its probability, from 0 to 1. */
  probability: number;
}

/** Into which branches a branch is expanded. Since 0.1.0. */
export const Expand: {
  /** One for each latent. */
  readonly LATENTS: 0;
  /** One for each of `count` latents, those that the policy finds most probable. */
  readonly TOP: 1;
  /**
   * One for each of `count` latents that are drawn from the policy. What is drawn twice counts
   * twice.
   */
  readonly DRAW: 2;
  /** One for each of `count` tokens, the most probable ones. */
  readonly TOKENS: 3;
  /** `count` samples. */
  readonly SAMPLE: 4;
};
export type Expand = "latents" | "top" | "draw" | "tokens" | "sample";

/** Whether a branch goes on, or how it ended. Since 0.1.0. */
export const BranchState: {
  /** It is still generated. */
  readonly OPEN: 0;
  /** By an end token. */
  readonly END: 1;
  /** By a stop string. */
  readonly STOP: 2;
  /** By the limit of tokens, or the end of the context. */
  readonly LENGTH: 3;
  /** It was given up. */
  readonly PRUNED: 4;
  /** Another branch has the same tokens, and the same to come: `merged_into`. */
  readonly MERGED: 5;
  /** By an error of its own: `error`. */
  readonly FAILED: 6;
};
export type BranchState = "open" | "end" | "stop" | "length" | "pruned" | "merged" | "failed";

/** How branches are generated. A field that is 0 takes its default. Since 0.1.0. */
export interface BranchOptions {
  /**
   * Tokens of a branch at most; 0 is as many as the context holds, or without end with a context
   * shift.
   */
  limit: number;
}

/** An expansion. A field that is 0 takes its default. Since 0.1.0. */
export interface Expansion {
  /** How many branches; 0 for `OLLM_EXPAND_LATENTS`, and for nothing else. */
  count: number;
  /** The temperature of the tokens of `OLLM_EXPAND_SAMPLE`; 0 is 1. Nothing else has one. */
  temperature: number;
  /** Into what. */
  kind: Expand;
}

/**
 * One branch. Its arrays and its text belong to the branches, and are gone with the next call on
 * them that is not `ollm_branches_get` or `ollm_branches_count`. Since 0.1.0.
 */
export interface Branch {
  /** Tokens that it shares with its parent. */
  fork: number;
  /**
   * The sum of the natural logarithms of the policy's probabilities of the latents that were
   * selected.
   */
  policy: number;
  /**
   * The sum of the natural logarithms of the tokens' probabilities, before the sampler's
   * filters, that of an end token included.
   */
  logprob: number;
  /**
   * What it counts in a vote: 1 at first, with that of branches that were merged into it. Where
   * it is expanded later, its branches share it.
   */
  count: number;
  /**
   * The probability that the answer will be right, as the plugin's value head says; NaN where
   * none was asked.
   */
  value: number;
  /** The branch that it was forked from; -1 for the text of the session. */
  parent: number;
  /** The branch that it was merged into; -1 for none. */
  mergedInto: number;
  /** 1 if it is at a boundary: no latent is held. Else 0. */
  atBoundary: number;
  /** Whether it goes on, or how it ended. */
  state: BranchState;
  /** Why it failed; `OLLM_OK` if it did not. */
  error: Status;
}

/** How much a branch counts for its answer. Since 0.1.0. */
export const Weight: {
  /** Each branch counts 1. */
  readonly ONE: 0;
  /** By the policy's probability of its latents. */
  readonly POLICY: 1;
  /** By what the plugin's value head says. */
  readonly VALUE: 2;
};
export type Weight = "one" | "policy" | "value";

/** Which branch is better. Since 0.1.0. */
export const Score: {
  /** The mean of the log-probabilities of its tokens. */
  readonly LOGPROB: 0;
  /** Their sum, which prefers short texts. */
  readonly LOGPROB_SUM: 1;
  /** The logarithm of the policy's probability of its latents. */
  readonly POLICY: 2;
  /** What the plugin's value head says. */
  readonly VALUE: 3;
};
export type Score = "logprob" | "logprob_sum" | "policy" | "value";

/** How branches are searched. Since 0.1.0. */
export const Strategy: {
  /**
   * Expands once. The answer that has most of the weight wins; it ends as soon as no open branch
   * can change that.
   */
  readonly VOTE: 0;
  /** Expands once. The branch with the best score wins (best of N). */
  readonly BEST: 1;
  /** Expands at each boundary, and keeps the branches with the best scores (beam search). */
  readonly BEAM: 2;
};
export type Strategy = "vote" | "best" | "beam";

/** How answers are found, and which one wins. A field that is 0 takes its default. Since 0.1.0. */
export interface Tally {
  /** How much a branch counts for its answer. */
  weight: Weight;
  /** Which branch is better; in a vote, which of those that tie. */
  score: Score;
}

/** A search. A field that is 0 takes its default. Since 0.1.0. */
export interface SearchOptions {
  /**
   * Vote and best: branches that an expansion makes at most, the most probable ones. Beam:
   * branches that are kept at a boundary. 0 is as many as the expansion makes.
   */
  width: number;
  /** The strategy. */
  strategy: Strategy;
}

/** What a search or a vote found. Since 0.1.0. */
export interface Found {
  /** The branch. */
  branch: number;
  /** The share of the weight of all branches that have the same answer: 0 to 1. */
  confidence: number;
  /** Passes over the weights, since the branches were made. */
  passes: number;
  /** Tokens generated since then, of all branches; what several share counts once. */
  generated: number;
}

/** Where a suggestion ends, if it has not as many tokens as it may have. Since 0.1.0. */
export const Until: {
  /** Nowhere. */
  readonly TOKENS: 0;
  /** At the end of the word. */
  readonly WORD: 1;
  /** At the end of the line. */
  readonly LINE: 2;
};
export type Until = "tokens" | "word" | "line";

/** What is suggested. A field that is 0 takes its default. Since 0.1.0. */
export interface SuggestOptions {
  /** Suggestions at most; 0 is 3. */
  count: number;
  /** Tokens of each at most; 0 is 8. */
  tokens: number;
  /** Where it ends before. */
  until: Until;
}

/**
 * A suggestion. Its text and its tokens belong to the suggestions, and are gone when these are
 * freed. Since 0.1.0.
 */
export interface Suggestion {
  /**
   * The probability of the tokens; with a plugin the sum, over the latents that give them, of
   * the policy's probability times theirs.
   */
  probability: number;
  /** The latent that adds most to it; -1 for none. */
  latent: number;
}

/**
 * Bytes of memory, without the pages of mapped files, with the bytes that loading copies. Since
 * 0.1.0.
 */
export interface Memory {
  /** The model's weights. */
  weights: number;
  /** The plugin's weights. */
  plugin: number;
  /** The KV cache of a session whose context is full. */
  kv: number;
  /** Buffers of a session. */
  scratch: number;
  /** All of it. */
  total: number;
}

/** What a session has done since it was made, or since it was forked. Since 0.1.0. */
export interface Statistics {
  /** Tokens that were fed. */
  fed: number | bigint;
  /** Seconds that the calls that fed them took. */
  feedSeconds: number;
  /** Tokens that were generated. */
  generated: number | bigint;
  /** Seconds that the calls that generated them took. */
  generateSeconds: number;
  /** Seconds from the beginning of the last feed to the first token after it; 0 before that. */
  firstTokenSeconds: number;
  /** Passes over the weights of the network. */
  passes: number | bigint;
  /** Bytes of the KV cache, those that forks share included. */
  kvBytes: number;
  /** Drafted tokens that went through the network: see `ollm_session_set_draft`. */
  drafted: number | bigint;
  /** How many of them were right. */
  accepted: number | bigint;
}

/** The functions of the C API. */
export interface Functions {
  /**
   * The version of the library, "MAJOR.MINOR.PATCH". The text is static: never free it. Any thread.
   * Since 0.1.0.
   */
  ollm_version(): number;
  /**
   * The version of the ABI; it grows by one with each change that breaks callers. What is added,
   * such as functions, numbers of an enum, or fields at the end of a struct with `struct_size`,
   * breaks nobody. Any thread. Since 0.1.0.
   */
  ollm_abi_version(): number;
  /**
   * The name of a status, such as `"OLLM_BUSY"`; `"OLLM_UNKNOWN"` for a number that is none. The
   * text is static: never free it. Any thread. Since 0.1.0.
   */
  ollm_status_name(status: number): number;
  /**
   * What went wrong in the last call on this thread that failed, as text that ends in zero; "" if
   * none did. Calls that succeed leave it. The text belongs to the library and stays until the next
   * call on this thread that fails: copy it to keep it. Any thread. Since 0.1.0.
   */
  ollm_last_error(): number;
  /**
   * Sends messages of the whole library to `callback`, with `user` as its first argument; NULL ends
   * that. When the call returns, the callback that was set before is not running any more, and
   * `user` of that time may go.
   *
   * Any thread. Statuses: `OLLM_BUSY` inside the log callback. Since 0.1.0.
   */
  ollm_set_log(callback: number, user: number): number;
  /**
   * Loads a model from a GGUF file. On success `*model` is a handle with one owner: release it with
   * `ollm_model_release`. `options` may be NULL.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`,
   * `OLLM_MEMORY_LIMIT`, `OLLM_OUT_OF_MEMORY`, `OLLM_CANCELLED` by the progress callback. Since
   * 0.1.0.
   */
  ollm_model_load(source: number, options: number, model: number): number;
  /**
   * Adds an owner: `model` has to be released once more.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_model_retain(model: number): number;
  /**
   * Gives up one owner and makes `*model` NULL. Sessions and plugins on the model keep it alive.
   * NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_model_release(model: number): number;
  /**
   * The value of a key of the file's metadata, as JSON: a number, a string, a truth value or an
   * array.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a key that the file has not,
   * `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
   */
  ollm_model_metadata(model: number, key: number, keyLength: number, json: number, capacity: number, length: number): number;
  /**
   * What the model is, as JSON: name, architecture, shape, tensor types, tokenizer, fingerprint.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
   * Since 0.1.0.
   */
  ollm_model_info(model: number, json: number, capacity: number, length: number): number;
  /**
   * Loads the plugin of `model` from a GGUF file. On success `*plugin` is a handle with one owner:
   * release it with `ollm_plugin_release`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
   * `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MISMATCH` if it was trained on
   * another backbone. Since 0.1.0.
   */
  ollm_plugin_load(model: number, source: number, plugin: number): number;
  /**
   * The plugin inside the model's own file, if it is a merged one. On success `*plugin` is a handle
   * with one owner.
   *
   * Any thread. Statuses: as `ollm_plugin_load`, and `OLLM_NO_PLUGIN` if the file has none. Since
   * 0.1.0.
   */
  ollm_plugin_bundled(model: number, plugin: number): number;
  /**
   * Adds an owner: `plugin` has to be released once more.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_plugin_retain(plugin: number): number;
  /**
   * Gives up one owner and makes `*plugin` NULL. Sessions with the plugin keep it alive. NULL, and a
   * pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_plugin_release(plugin: number): number;
  /**
   * K, the number of options, in `*count`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_plugin_option_count(plugin: number, count: number): number;
  /**
   * What the plugin is, as JSON: options, kinds, widths, and the backbone that it was trained on.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
   * Since 0.1.0.
   */
  ollm_plugin_info(plugin: number, json: number, capacity: number, length: number): number;
  /**
   * The tokens of a text. `flags` are of `ollm_tokenize_flags`, or 0.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
   * `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_tokenize(model: number, text: number, length: number, flags: number, tokens: number, capacity: number, count: number): number;
  /**
   * The text of tokens. What is not UTF-8 becomes U+FFFD, control tokens their names, and tokens
   * that the tokenizer does not know nothing. For text as it is generated, use `ollm_token.text`: it
   * never cuts a character.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`,
   * `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_detokenize(model: number, tokens: number, count: number, text: number, capacity: number, length: number): number;
  /**
   * The bytes that one token stands for, which may be a part of a character; none for a token that
   * the tokenizer does not know. They have a zero after them, as text has.
   *
   * Any thread. Statuses: as `ollm_detokenize`. Since 0.1.0.
   */
  ollm_token_bytes(model: number, token: number, bytes: number, capacity: number, length: number): number;
  /**
   * Whether a text or a turn ends at this token: 1 or 0 in `*is_end`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
   * 0.1.0.
   */
  ollm_is_end(model: number, token: number, isEnd: number): number;
  /**
   * A special token of the model's file in `*token`; `OLLM_NO_TOKEN` if the file names none.
   * `special` is of `ollm_special`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
   * 0.1.0.
   */
  ollm_special_token(model: number, special: number, token: number): number;
  /**
   * The text of a conversation, by the chat template of the model's file: `ollm_chat_render` where
   * there are roles and contents alone. With `answer` other than 0 it ends where the model's answer
   * begins. It is for reading: to feed a conversation, make tokens with `ollm_chat_tokens`, since
   * `ollm_tokenize` cannot tell the template's control tokens from those that a user wrote.
   *
   * Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
   */
  ollm_chat_text(model: number, messages: number, count: number, answer: number, text: number, capacity: number, length: number): number;
  /**
   * The text of a conversation, by the chat template of the model's file, or the one that the
   * variables choose. It is for reading: make tokens with `ollm_chat_tokens`, since the text does
   * not tell what is the template's and what was said.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT` (also for JSON that is no conversation),
   * `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER` (or no
   * template), `OLLM_TEMPLATE`, `OLLM_IO` if there is no thread for the template,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_chat_render(model: number, input: number, text: number, capacity: number, length: number): number;
  /**
   * The tokens of a conversation, by the chat template of the model's file, to be fed. What the
   * template writes may be control tokens; what is said in a message, a tool or a variable never is:
   * a user who writes `<|im_end|>` does not end the turn.
   *
   * Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
   */
  ollm_chat_tokens(model: number, input: number, tokens: number, capacity: number, count: number): number;
  /**
   * A parser for the answer to a conversation. Which thoughts the model marks, and whether the
   * prompt ends inside one, it learns from the chat template; how tools are called, `format` says
   * (an `ollm_tool_format`). `input` may be NULL: a conversation without tools whose prompt ends
   * outside of a thought. On success `*parser` is a handle of one owner: free it with
   * `ollm_chat_parser_free`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
   * `OLLM_NO_TOKENIZER` (or no template), `OLLM_TEMPLATE`, `OLLM_IO`, `OLLM_OUT_OF_MEMORY`. Since
   * 0.1.0.
   */
  ollm_chat_parser_new(model: number, input: number, format: number, parser: number): number;
  /**
   * Frees a parser and makes `*parser` NULL. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_chat_parser_free(parser: number): number;
  /**
   * Takes a piece of the answer's text, such as that of one token. Its parts come with
   * `ollm_chat_parser_next`; they are the same however the text is cut.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
   * Since 0.1.0.
   */
  ollm_chat_parser_push(parser: number, text: number, length: number): number;
  /**
   * Ends the answer: what was still undecided comes with `ollm_chat_parser_next`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_parser_finish(parser: number): number;
  /**
   * The next part of the answer, in order; `OLLM_CHAT_EVENT_NONE` in `event->kind` if there is
   * none yet. `event` must begin with its `struct_size`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_parser_next(parser: number, event: number): number;
  /**
   * Runs a worker of a session or of a pool: it works until these are freed, with all forks and
   * branches, and all sessions of the pool, and then returns. Nobody waits for a worker that was
   * never run. Its handle is dead by then: this function returns `OLLM_INVALID_HANDLE` at once.
   *
   * The thread is the worker's until then. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`;
   * `OLLM_BUSY` inside a callback. Since 0.1.0.
   */
  ollm_worker_run(worker: number): number;
  /**
   * Starts the workers of a pool. `options` may be NULL. On success `*pool` is a handle with one
   * owner: release it with `ollm_thread_pool_release`. Sessions take it in `ollm_session_options`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_OUT_OF_MEMORY`, `OLLM_IO` if threads cannot
   * be started or bound. Since 0.1.0.
   */
  ollm_thread_pool_new(options: number, pool: number): number;
  /**
   * Gives up one owner and makes `*pool` NULL. Sessions with the pool keep it alive. NULL, and a
   * pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_thread_pool_release(pool: number): number;
  /**
   * A session on `model`. With a `plugin` (which may be NULL) each step goes through its options,
   * and its policy selects; without, the backbone generates alone. `options` may be NULL. On success
   * `*session` is a handle of one owner: free it with `ollm_session_free`. The session keeps model
   * and plugin alive.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`, `OLLM_IO` if threads cannot be started or bound, `OLLM_MISMATCH` if the
   * plugin is another model's. Since 0.1.0.
   */
  ollm_session_new(model: number, plugin: number, options: number, session: number): number;
  /**
   * Frees a session and makes `*session` NULL. If another thread is inside, its call is cancelled
   * first, and this one waits for it; inside a callback it does not wait, and the session goes when
   * that call returns. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of this session.
   * Since 0.1.0.
   */
  ollm_session_free(session: number): number;
  /**
   * Forks the session: a second, independent session with the same text, sampling and selection. The
   * KV cache of the text is shared (copy on write). Both sessions share their workers and may be
   * used on different threads at the same time. On success `*fork` is a handle of one owner.
   *
   * The random number of a token follows from the seed and its place in the text, so forks that
   * sample with one seed draw the same tokens. Give each fork a seed of its own for other tokens:
   * `sampling.seed` in `ollm_session_set_sampling`, and `selection.seed` in
   * `ollm_session_set_selection` where latents are drawn.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`. Since 0.1.0.
   */
  ollm_session_fork(session: number, fork: number): number;
  /**
   * Prefill: adds tokens to the sequence and runs them through the network. If the call is
   * cancelled, the session is at the last complete position (see `ollm_session_position`): feed the
   * remaining tokens to continue.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` (also for a token that is not in the vocabulary),
   * `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_CONTEXT_FULL`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`. But for `OLLM_CANCELLED`, the session stays as it was. Since 0.1.0.
   */
  ollm_session_feed(session: number, tokens: number, count: number): number;
  /**
   * As `ollm_session_feed`; `progress` is told after each batch which share of the tokens is done,
   * inside the call and on its thread. Any other result than 0 cancels the feed.
   *
   * Statuses: as `ollm_session_feed`. Since 0.1.0.
   */
  ollm_session_feed_watched(session: number, tokens: number, count: number, progress: number, user: number): number;
  /**
   * Adds text to the sequence: `ollm_tokenize` and `ollm_session_feed` in one.
   *
   * Statuses: those of both. Since 0.1.0.
   */
  ollm_session_feed_text(session: number, text: number, length: number, flags: number): number;
  /**
   * Cancels the session's work: the running call, or else the next call that computes, returns
   * `OLLM_CANCELLED`. It is seen between layers, also during a long prefill, and while the session
   * rests for its duty cycle.
   *
   * Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
   * `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_session_cancel(session: number): number;
  /**
   * Takes back a cancellation that no call has seen yet, such as one that came after the end.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_session_withdraw_cancel(session: number): number;
  /**
   * Sets the duty cycle, against thermal throttling: computing takes at most this share of the time
   * (above 0; 1, as at first, is no limit). Before each batch and each step the session rests as
   * long as the work before it requires, which with a tiny share is for ever: a cancellation ends
   * the rest.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_set_duty(session: number, share: number): number;
  /**
   * The number of tokens so far, fed and generated, in `*position`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_position(session: number, position: number): number;
  /**
   * The context size in positions, in `*context`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_context(session: number, context: number): number;
  /**
   * The tokens so far, fed and generated; after a context shift, the remaining tokens.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`.
   * Since 0.1.0.
   */
  ollm_session_tokens(session: number, tokens: number, capacity: number, count: number): number;
  /**
   * Rewinds to `position`: the tokens from there on are forgotten, and the next tokens follow there;
   * 0 forgets all.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` if there are not so many, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`.
   * Since 0.1.0.
   */
  ollm_session_rewind(session: number, position: number): number;
  /**
   * Sets how the session selects latents from now on. NULL takes what the policy finds most
   * probable, held as long as the plugin was trained for, as at first (the backbone, where there is
   * no plugin). A held latent is let go, and a script begins anew. A callback, and its argument,
   * must stay alive until the next call of this function, or until the session is freed, and until
   * every fork and every set of branches that was made meanwhile is freed: these have them too.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` for what is no latent or out of its range,
   * `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_NO_PLUGIN`, `OLLM_NO_TOKENIZER` if a latent is to be
   * held for a line. Since 0.1.0.
   */
  ollm_session_set_selection(session: number, selection: number): number;
  /**
   * Sets how the session samples from now on. NULL is greedy, as at first. The random number of a
   * token follows from the seed and its place in the text: a rewound, forked or restored session
   * draws what it would have drawn.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` for a number that is out of its range or a token that is not
   * in the vocabulary, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER`
   * for DRY. Since 0.1.0.
   */
  ollm_session_set_sampling(session: number, sampling: number): number;
  /**
   * Compiles a grammar of `length` bytes, in the notation `kind` (an `ollm_grammar_kind`), for the
   * tokens of `model`. It has at most 256 KiB, and 100 brackets in brackets (those in its texts
   * count). The first one on a model takes some 50 ms more. On success `*grammar` is a handle of one
   * owner: free it with `ollm_grammar_free`. Sessions that keep to it keep it alive.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a text that is no grammar, or asks for a
   * feature that is not supported, which `ollm_last_error` names; `OLLM_INVALID_HANDLE`,
   * `OLLM_INVALID_UTF8`, `OLLM_NO_TOKENIZER`, `OLLM_IO` if there is no thread to compile on,
   * `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` in a build without grammars. Since 0.1.0.
   */
  ollm_grammar_new(model: number, kind: number, text: number, length: number, grammar: number): number;
  /**
   * Frees a grammar and makes `*grammar` NULL. Sessions that keep to it still do. NULL, and a
   * pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_grammar_free(grammar: number): number;
  /**
   * Constrains what the session generates from here on; a NULL `grammar` leaves it free. Forks and
   * branches that are made from now on are constrained as well, each at a place of its own. A rewind
   * takes the constraint back over the generated tokens; a save does not have it. `options` may be
   * NULL.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also if the tokens that are begun are none of the grammar's,
   * or not there; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_MISMATCH` if the
   * grammar was compiled for another model, `OLLM_OUT_OF_MEMORY`. The session then stays as it was.
   * Since 0.1.0.
   */
  ollm_session_set_constraint(session: number, grammar: number, options: number): number;
  /**
   * Whether the text that the session generated since its last feed is a whole one of its grammar,
   * in `*complete`: 1 or 0; 1 of a session without a constraint, and before the trigger.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_is_complete(session: number, complete: number): number;
  /**
   * Chooses the next token, as the session's sampling and selection say, and adds it to the
   * sequence. `token` must begin with its `struct_size`. An end token is a token like any other
   * here: the caller chooses whether to generate more.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
   * `OLLM_EMPTY`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`,
   * `OLLM_UNSUPPORTED` if its grammar cannot go on, or its model generates no text; then the session
   * stays as it was. Since 0.1.0.
   */
  ollm_session_step(session: number, token: number): number;
  /**
   * As `ollm_session_step`, but from the option of this latent; the session's selection stays as it
   * is.
   *
   * Statuses: as `ollm_session_step`, and `OLLM_NO_PLUGIN`. Since 0.1.0.
   */
  ollm_session_step_latent(session: number, latent: number, token: number): number;
  /**
   * Generates token by token until an end token, a stop string, the limit, or the callback ends it;
   * `*reason` (which may be NULL) tells which. `options` may be NULL.
   *
   * Text that may be the beginning of a stop string is held back until this is decided. Text that is
   * still held back at the end comes with one more call of `each`, whose `id` is `OLLM_NO_TOKEN`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
   * `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; `OLLM_CANCELLED` and
   * `OLLM_CONTEXT_FULL` if these end it. The session holds all tokens that came before. Since 0.1.0.
   */
  ollm_session_run(session: number, options: number, reason: number): number;
  /**
   * A conversation without messages, whose answers come from `session`, by the chat template of its
   * model. `options` may be NULL. The session is not the chat's own: it can be used between answers,
   * and after it is freed the chat has no answers any more. On success `*chat` is a handle of one
   * owner: free it with `ollm_chat_free`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` (also for a template that is none of the file's, for a
   * reasoning budget where the template shows no thoughts, and for constrained calls without tools),
   * `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER` (or no template),
   * `OLLM_TEMPLATE`, `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` for constrained calls in a build
   * without grammars. Since 0.1.0.
   */
  ollm_chat_new(session: number, options: number, chat: number): number;
  /**
   * Frees a chat and makes `*chat` NULL; its session stays. A call that another thread is inside
   * goes on to its end. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_chat_free(chat: number): number;
  /**
   * Changes the settings: other tools, another reasoning budget. `options` may be NULL, which is
   * every default.
   *
   * Statuses: as `ollm_chat_new`; then the chat stays as it was. Since 0.1.0.
   */
  ollm_chat_set_options(chat: number, options: number): number;
  /**
   * Adds a message: what a user says, or any other with a role and a content.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_chat_add(chat: number, message: number): number;
  /**
   * Adds messages with all their fields, as `messages_json` of `ollm_chat_input` has them: a list of
   * objects, or one object. The result of a tool is such a message:
   * `{"role": "tool", "tool_call_id": "call00000", "name": "weather", "content": "21"}`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for JSON that is no message, `OLLM_INVALID_HANDLE`,
   * `OLLM_INVALID_UTF8`, `OLLM_BUSY`; then none is added. Since 0.1.0.
   */
  ollm_chat_add_json(chat: number, json: number, length: number): number;
  /**
   * Sets the system message, in place of those at the beginning; a NULL `text` leaves the
   * conversation without. The turns stay.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
   * Since 0.1.0.
   */
  ollm_chat_set_system(chat: number, text: number, length: number): number;
  /**
   * Answers the conversation, whose last message is not of the role "assistant": feeds its prompt,
   * generates, and adds the answer as a message. `options` may be NULL, and so may `answer`, which
   * must begin with its `struct_size`.
   *
   * An answer that is cancelled, whose callback ends it, or that fills the context with a single
   * turn is an answer too: `answer->reason` tells. A cancellation while the prompt is fed is the
   * status `OLLM_CANCELLED`; the next call goes on from there.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE` (also where the session was freed),
   * `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_EMPTY` if there is nothing to answer, `OLLM_CANCELLED`,
   * `OLLM_CONTEXT_FULL` if the system messages and the last turn alone do not fit, `OLLM_TEMPLATE`,
   * `OLLM_IO` if there is no thread for the template, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; then the messages are as they
   * were. Since 0.1.0.
   */
  ollm_chat_answer(chat: number, options: number, answer: number): number;
  /**
   * How many messages there are, in `*count`; the model has forgotten `*forgotten` of them (which
   * may be NULL), those behind the system messages.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_count(chat: number, count: number, forgotten: number): number;
  /**
   * A message as JSON, an object with all its fields. The first one has `index` 0.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for an `index` that no message has,
   * `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
   */
  ollm_chat_message(chat: number, index: number, text: number, capacity: number, length: number): number;
  /**
   * Takes back the last turn: what the user said last and all that followed; `*removed` (which may
   * be NULL) tells how many messages that were, 0 where there is no turn.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_take_back(chat: number, removed: number): number;
  /**
   * Forgets the messages after the first `count`: the last answer, for instance, to have another.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also if there are not so many, `OLLM_INVALID_HANDLE`,
   * `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_truncate(chat: number, count: number): number;
  /**
   * Forgets all messages but the system messages at the beginning.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_chat_reset(chat: number): number;
  /**
   * Saves the chat to a file, whose path ends in zero: its messages, its template variables, and its
   * session as `ollm_session_save_file` does.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_chat_save_file(chat: number, path: number): number;
  /**
   * Restores chat and session from a file: under the same settings, sampling and selection, the next
   * answer has the bits that it would have had in the saved chat. The template variables are those
   * of the file; calls of tools stay constrained where tools and template are the same.
   *
   * Statuses: as `ollm_session_restore_file`; `OLLM_BAD_FILE` also if it is no saved chat,
   * `OLLM_INVALID_ARGUMENT` also if its variables choose a template that the model does not have.
   * Chat and session then stay as they were. Since 0.1.0.
   */
  ollm_chat_restore_file(chat: number, path: number): number;
  /**
   * Makes the memory that batched steps work in. On success `*batch` is a handle of one owner: free
   * it with `ollm_batch_free`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`. Since 0.1.0.
   */
  ollm_batch_new(batch: number): number;
  /**
   * Frees it and makes `*batch` NULL. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_batch_free(batch: number): number;
  /**
   * Takes a step of each of `count` sessions, as `ollm_session_step` would, in one pass: they are
   * of one model and one plugin, or all of them without. They may have adapters, samplings and
   * selections of their own. Tokens that were fed and not yet computed are computed too.
   *
   * `tokens` has a pointer to an `ollm_token` for each session, which must begin with its
   * `struct_size`; `outcomes` a place for the status of each. A session that fails leaves its token
   * as it is, and the others take their steps all the same; the last error is that of the last one
   * that failed.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a session that is there twice, `OLLM_INVALID_HANDLE`,
   * `OLLM_BUSY` if one of the sessions, or the batch, is in use: then no session has moved. Of a
   * session: as `ollm_session_step`, and `OLLM_INVALID_ARGUMENT` if it cannot be batched with the
   * first. Since 0.1.0.
   */
  ollm_batch_step(batch: number, sessions: number, count: number, tokens: number, outcomes: number): number;
  /**
   * Loads adapters of `model` from a GGUF file, as llama.cpp's `convert_lora_to_gguf` and
   * `ollm-convert adapter` write it. On success `*adapter` is a handle with one owner: release it
   * with `ollm_adapter_release`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
   * `OLLM_BAD_FILE` also for factors whose shapes do not fit, `OLLM_UNSUPPORTED`, `OLLM_MISMATCH`
   * for adapters of another architecture or of matrices that cannot be adapted at run time,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_adapter_load(model: number, source: number, adapter: number): number;
  /**
   * Gives up one owner and makes `*adapter` NULL. Sessions with the adapter keep it alive. NULL, and
   * a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_adapter_release(adapter: number): number;
  /**
   * Sets the adapters of all that follows, each with its scale (1 is as it was trained); with a
   * `count` of 0 the backbone is as it is, as at first. `scales` may be NULL: all are 1. The tokens
   * that are there stay as they were computed: rewind to compute them anew. Forks and branches have
   * them too; a saved session does not.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for
   * adapters of another model. Since 0.1.0.
   */
  ollm_session_set_adapters(session: number, adapters: number, scales: number, count: number): number;
  /**
   * Sets what guesses the tokens to come. What it guesses goes through the network beside the last
   * token, and is of use where the session chooses just that: the tokens are the same, bit for bit,
   * and fewer passes are made (`ollm_session_statistics` tells how many). `draft` is of
   * `ollm_draft`. How long drafts are follows from what they bring. Steps of this session alone
   * draft; batches, branches and forks do not. `model` is the draft model of `OLLM_DRAFT_MODEL`,
   * which the session keeps alive, and NULL otherwise; its memory is not under the session's limit.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for a
   * model of another vocabulary, `OLLM_UNSUPPORTED` for one that continues no texts,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_session_set_draft(session: number, draft: number, model: number): number;
  /**
   * The logits of the next token, one for each token of the model's vocabulary: of the backbone, of
   * the option of `latent` (which is 0 for the others), or of the mixture, whose logits are
   * log-probabilities. The session does not move. `distribution` is of `ollm_distribution`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
   * `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`. Since 0.1.0.
   */
  ollm_session_logits(session: number, distribution: number, latent: number, logits: number, capacity: number, count: number): number;
  /**
   * Adds tokens to the sequence, as `ollm_session_feed` does, and tells of each the natural
   * logarithm of its probability given the tokens before it: under the session's selection, as if
   * the tokens were an answer. That of the first token of a sequence is not a number (NAN). With a
   * NULL buffer nothing is added, and `*written` is `count`. To score several continuations, fork
   * the session, or rewind it.
   *
   * Statuses: as `ollm_session_feed` and `ollm_session_step`, and `OLLM_BUFFER_TOO_SMALL`; what was
   * scored by then is part of the session. Since 0.1.0.
   */
  ollm_session_score(session: number, tokens: number, count: number, logprobs: number, capacity: number, written: number): number;
  /**
   * The embedding of a text: the hidden states of its tokens, after the final norm, pooled into one
   * vector, which is as long as the model is wide, or as its last dense layer makes it. With
   * `normalized` other than 0 its Euclidean norm is 1. The session forgets what it held, and holds
   * these tokens afterwards; none, if the model has bidirectional attention: such a model gives
   * embeddings alone (`OLLM_UNSUPPORTED`). With a NULL buffer the length alone is written. `pooling`
   * is of `ollm_pooling`. Tokens that the model's file wants around a whole text:
   * `ollm_tokenize_flags`.
   *
   * Statuses: as `ollm_session_feed`, `OLLM_BUFFER_TOO_SMALL`, and `OLLM_EMPTY` without tokens.
   * Since 0.1.0.
   */
  ollm_session_embed(session: number, tokens: number, count: number, pooling: number, normalized: number, embedding: number, capacity: number, length: number): number;
  /**
   * How relevant a document is to a query, as a reranker scores the pair: the logit of a model with
   * one label, of one with several the probability of the label `yes`, or of the first. The session
   * forgets what it held, and holds the tokens of the pair afterwards; none, if the model has
   * bidirectional attention. The texts of special tokens are text here.
   *
   * Statuses: as `ollm_session_feed_text`; `OLLM_UNSUPPORTED` if the model has no head for
   * classification. Since 0.1.0.
   */
  ollm_session_rank(session: number, query: number, queryLength: number, document: number, documentLength: number, score: number): number;
  /**
   * The option set of the session's current step, with the `top` most probable tokens of each
   * option. The session does not move. On success `*options` is a handle of one owner: free it with
   * `ollm_option_set_free`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
   * `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`.
   * Since 0.1.0.
   */
  ollm_option_set_new(session: number, top: number, options: number): number;
  /**
   * Frees an option set and makes `*options` NULL. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_option_set_free(options: number): number;
  /**
   * The probability that the policy gives to each latent, one after the other: their number is K.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
   * Since 0.1.0.
   */
  ollm_option_set_policy(options: number, policy: number, capacity: number, count: number): number;
  /**
   * The most probable tokens of the option of a latent, best first.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
   * Since 0.1.0.
   */
  ollm_option_set_top(options: number, latent: number, top: number, capacity: number, count: number): number;
  /**
   * The policy of the session's current step: the probability of each latent. It costs less than an
   * option set.
   *
   * Statuses: as `ollm_option_set_new`, and `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
   */
  ollm_session_policy(session: number, policy: number, capacity: number, count: number): number;
  /**
   * The hidden state of the session's last token, after the final norm: as many numbers as
   * `ollm_model_info` says.
   *
   * Statuses: as `ollm_session_policy`, but for `OLLM_NO_PLUGIN`. Since 0.1.0.
   */
  ollm_session_hidden(session: number, hidden: number, capacity: number, count: number): number;
  /**
   * Adds tokens to the sequence, as `ollm_session_feed` does, and tells which latent the encoder
   * assigns to each: the option that explains it best. `latents` has room for `count` numbers; the
   * first token of a sequence has none, which is -1.
   *
   * Statuses: as `ollm_session_feed`, `OLLM_NO_PLUGIN`, and `OLLM_NOT_FINITE` if the encoder gives
   * no distribution. Since 0.1.0.
   */
  ollm_session_encode(session: number, tokens: number, count: number, latents: number): number;
  /**
   * Branches of a session, which does not move: at first one, which begins where the session is.
   * They are sampled as the session is, and the seed of its sampling is that of all choices. They
   * share the KV cache of the text and the workers with the session, have its memory limit and duty
   * cycle, and live on when it is freed. Without a plugin and a selection, the only boundary is at
   * the beginning. `options` may be NULL. On success `*branches` is a handle of one owner: free it
   * with `ollm_branches_free`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
   * `OLLM_NO_PLUGIN` for a selection of latents, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since
   * 0.1.0.
   */
  ollm_branches_new(session: number, options: number, branches: number): number;
  /**
   * Frees branches and makes `*branches` NULL. If another thread is inside, its call is cancelled
   * first, and this one waits for it; inside a callback it does not wait, and the branches go when
   * that call returns. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of these branches.
   * Since 0.1.0.
   */
  ollm_branches_free(branches: number): number;
  /**
   * Cancels the branches' work: the running call, or else the next call that computes, returns
   * `OLLM_CANCELLED`. No branch has moved in the step that was cancelled.
   *
   * Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
   * `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_branches_cancel(branches: number): number;
  /**
   * Takes back a cancellation that no call has seen yet, such as one that came after the end.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_branches_withdraw_cancel(branches: number): number;
  /**
   * Makes several branches of one, which is open. It becomes the first of them; the others come
   * after those that are there. Branches that would go the same way are merged at once. NULL expands
   * all latents.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended, for a second
   * expansion into latents or tokens without a step between, and for a count of 0;
   * `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents
   * are expanded without one, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` if a
   * token of each does not fit; then there are as many branches as before. Since 0.1.0.
   */
  ollm_branches_expand(branches: number, branch: number, expansion: number): number;
  /**
   * Advances all open branches by a token each, in one pass over the weights; how many there were
   * goes to `*advanced` (which may be NULL): with 0 all have ended. An error of a branch alone ends
   * that branch.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
   * `OLLM_MEMORY_LIMIT`; then no branch has moved. Since 0.1.0.
   */
  ollm_branches_step(branches: number, advanced: number): number;
  /**
   * Gives an open branch up.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended,
   * `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_branches_prune(branches: number, branch: number): number;
  /**
   * The number of branches, open and ended, in `*count`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_branches_count(branches: number, count: number): number;
  /**
   * The branch of index `branch`, from 0 on, in the order in which they came to be, in `*out`, which
   * must begin with its `struct_size`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, `OLLM_INVALID_HANDLE`,
   * `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_branches_get(branches: number, branch: number, out: number): number;
  /**
   * Brings a session to where a branch is, as if it had generated the branch's tokens. The KV cache
   * is shared (copy on write), and nothing is computed again. The session keeps its sampling,
   * selection, workers and limits; the branches stay as they are. It must be where the branches
   * began: the session that they were made from, or a fork of it.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, or that was pruned or merged
   * or failed; `OLLM_INVALID_HANDLE`, `OLLM_BUSY`; `OLLM_MISMATCH` if the session has another model,
   * plugin, context size or text; `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays
   * as it was. Since 0.1.0.
   */
  ollm_branches_adopt(branches: number, branch: number, session: number): number;
  /**
   * Searches: expands (a vote and best the first branch, if none was expanded yet; a beam each at
   * its boundary), generates, and prunes the branches that are still open at the end; `*found`,
   * which must begin with its `struct_size`, tells what was found. `options` may be NULL, which is a
   * vote of all latents.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none, such as a regular expression
   * without one group; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_CANCELLED`,
   * `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents or values are asked for that the session has not,
   * `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`. The branches then are where the
   * last whole step left them: a second call continues, and finds what the first would have found.
   * Since 0.1.0.
   */
  ollm_branches_run(branches: number, options: number, found: number): number;
  /**
   * The vote of the branches that are there, without generating: the answer that has most of the
   * weight, and the best branch that gives it. Open branches have no answer. `tally` may be NULL.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none; `OLLM_INVALID_HANDLE`,
   * `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_PLUGIN` if values are asked for that the session has
   * not; `OLLM_CANCELLED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` where they are computed; the
   * error of a branch, if all have failed. Since 0.1.0.
   */
  ollm_branches_vote(branches: number, tally: number, found: number): number;
  /**
   * Suggests continuations of the session, which does not move: the most probable first, none the
   * beginning of another. With a plugin each latent continues the text, held for all of it; if these
   * say too little that is different, and without a plugin, the likeliest tokens are continued.
   * Sampling and selection of the session do not matter, its constraint does; `ollm_session_cancel`
   * cancels it. `options` may be NULL. On success `*suggestions` is a handle of one owner: free it
   * with `ollm_suggestions_free`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
   * `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
   * `OLLM_MEMORY_LIMIT`. Since 0.1.0.
   */
  ollm_session_suggest(session: number, options: number, suggestions: number): number;
  /**
   * Frees suggestions and makes `*suggestions` NULL. NULL, and a pointer to NULL, are fine.
   *
   * Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_suggestions_free(suggestions: number): number;
  /**
   * The number of suggestions, in `*count`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_suggestions_count(suggestions: number, count: number): number;
  /**
   * The suggestion of index `index`, from 0 on, in `*suggestion`, which must begin with its
   * `struct_size`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for an index that is none,
   * `OLLM_INVALID_HANDLE`. Since 0.1.0.
   */
  ollm_suggestions_get(suggestions: number, index: number, suggestion: number): number;
  /**
   * Saves the session to a file, whose path ends in zero. The file is replaced only when all of it
   * is written and on the disk, by a new one of the same permissions; of a symbolic link, the file
   * that it names. Any number of threads and processes may save to one path and restore from it.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_session_save_file(session: number, path: number): number;
  /**
   * Restores the session from a file: under the same sampling and selection, the next tokens are
   * those that the saved session would have generated, samples included. The held latent and the
   * place in a script are saved with a session; its sampling, selection and plugin are not. Half a
   * character at the end of the text is cut off, as by a rewind. "Another model" is one of other
   * weights, as far as samples of each tensor tell: a change of a few weights is not seen.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
   * `OLLM_BAD_FILE` if it is damaged, `OLLM_UNSUPPORTED` for another version, `OLLM_MISMATCH` for
   * another model, other adapters, another type of KV cache, or a held latent that this session's
   * plugin does not have; `OLLM_CONTEXT_FULL` if it is longer than the context,
   * `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays as it was. Since 0.1.0.
   */
  ollm_session_restore_file(session: number, path: number): number;
  /**
   * Feeds tokens to an empty session, as `ollm_session_feed` does, by way of a folder of saved
   * sessions: the one that has the most tokens in common with the beginning of the prompt is
   * restored, the rest is computed, and the prompt is put into the folder. The session is then as
   * `ollm_session_feed` would have left it. The folder is made if it is not there; it holds at most
   * `limit` bytes, and what was not used for the longest time goes first. Several processes may use
   * one folder. How many tokens came from it is in `*found`, which may be NULL. A session that is
   * not empty is fed without the folder.
   *
   * Statuses: as `ollm_session_feed`; `OLLM_IO` if the folder cannot be made, and then the session
   * stays as it was, or if the prompt cannot be put into it: then the tokens are in the session
   * (`ollm_session_position` tells). Damaged files, and those of other models, are not used. Since
   * 0.1.0.
   */
  ollm_session_feed_cached(session: number, tokens: number, count: number, folder: number, limit: bigint, found: number): number;
  /**
   * Saves the session to a buffer.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
   * `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
   */
  ollm_session_save(session: number, data: number, capacity: number, length: number): number;
  /**
   * Restores the session from a buffer.
   *
   * Statuses: as `ollm_session_restore_file`, but for `OLLM_IO`. Since 0.1.0.
   */
  ollm_session_restore(session: number, data: number, length: number): number;
  /**
   * What a model, a plugin (NULL if there is none) and a session with these options (NULL for the
   * defaults) will need. Only the head of the files is read, and the sources are not taken over:
   * `release` is not called. `needed` must begin with its `struct_size`.
   *
   * Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`.
   * Since 0.1.0.
   */
  ollm_memory_needed(model: number, plugin: number, options: number, needed: number): number;
  /**
   * The bytes that the session holds now, without the weights, in `*bytes`. Memory that forks share
   * counts for each fork.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_memory(session: number, bytes: number): number;
  /**
   * Trims the session: frees memory that it can allocate again when needed, for low-memory warnings
   * of the system. To free more, save the session and free it.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_trim(session: number): number;
  /**
   * What the session has done, in `*statistics`, which must begin with its `struct_size`. Tokens a
   * second of prefill are `fed / feed_seconds`, those of decode `generated / generate_seconds`.
   *
   * Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
   */
  ollm_session_statistics(session: number, statistics: number): number;
}

/** The layout of each struct. */
export const structs: {
  readonly [name: string]: { readonly size: number; readonly fields: object };
};

/** The WebAssembly types of each callback. */
export const callbacks: {
  readonly [name: string]: { readonly parameters: string[]; readonly results: string[] };
};
