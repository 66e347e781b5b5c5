// Made from include/ollm.h by ffi/tests/web.rs; do not edit.

/**
 * The C API of OLLM (`ollm.h`) as WebAssembly has it: enums, the layout of structs, the types of
 * callbacks. Pointers and `size_t` have four bytes there.
 *
 * A field is its offset, its type, and its enum if it is of one. `ptr` is an address or a handle,
 * `len` the number of elements of the array before it.
 */

export const OLLM_VERSION_MAJOR = 0;

export const OLLM_VERSION_MINOR = 1;

export const OLLM_VERSION_PATCH = 0;

export const OLLM_ABI_VERSION = 1;

export const Status = {
  OK: 0,
  INVALID_ARGUMENT: 1,
  INVALID_HANDLE: 2,
  INVALID_UTF8: 3,
  BUFFER_TOO_SMALL: 4,
  BUSY: 5,
  CANCELLED: 6,
  OUT_OF_MEMORY: 7,
  MEMORY_LIMIT: 8,
  IO: 9,
  BAD_FILE: 10,
  UNSUPPORTED: 11,
  MISMATCH: 12,
  NO_PLUGIN: 13,
  NO_TOKENIZER: 14,
  TEMPLATE: 15,
  CONTEXT_FULL: 16,
  EMPTY: 17,
  NOT_FINITE: 18,
  INTERNAL: 19,
};

export const LogLevel = {
  ERROR: 0,
  WARNING: 1,
  INFO: 2,
};

export const SourceKind = {
  FILE: 0,
  DESCRIPTOR: 1,
  MEMORY: 2,
};

export const OLLM_NO_TOKEN = 0xffffffff;

export const TokenizeFlags = {
  SPECIAL: 1,
  BOS: 2,
  EOS: 4,
};

export const Special = {
  BOS: 0,
  EOS: 1,
  EOT: 2,
  EOM: 3,
  UNKNOWN: 4,
  PADDING: 5,
  SEPARATOR: 6,
};

export const ChatEventKind = {
  NONE: 0,
  REASONING: 1,
  TEXT: 2,
  TOOL_CALL: 3,
  MALFORMED: 4,
};

export const ToolFormat = {
  AUTO: 0,
  NONE: 1,
  HERMES: 2,
  LLAMA3: 3,
  GEMMA: 4,
  LFM2: 5,
  MISTRAL: 6,
  QWEN_XML: 7,
  SEED: 8,
  GLM: 9,
  HARMONY: 10,
  GEMMA4: 11,
  GRANITE: 12,
  COMMAND: 13,
  HUNYUAN: 14,
  DEEP_SEEK: 15,
  DEEP_SEEK_V31: 16,
  NEMOTRON: 17,
};

export const KvType = {
  F16: 0,
  Q8_0: 1,
};

export const Hold = {
  TRAINED: 0,
  TOKEN: 1,
  LINE: 2,
  ALL: 3,
  TOKENS: 4,
};

export const Select = {
  POLICY: 0,
  SAMPLE: 1,
  UNIFORM: 2,
  FIXED: 3,
  SCRIPT: 4,
  CALLBACK: 5,
  MIXTURE: 6,
  BACKBONE: 7,
};

export const Filter = {
  PENALTIES: 1,
  DRY: 2,
  TOP_N_SIGMA: 3,
  TOP_K: 4,
  TYPICAL: 5,
  TOP_P: 6,
  MIN_P: 7,
  XTC: 8,
  TEMPERATURE: 9,
};

export const GrammarKind = {
  JSON_SCHEMA: 0,
  REGEX: 1,
  LARK: 2,
  GBNF: 3,
};

export const Reason = {
  END: 0,
  STOP: 1,
  LIMIT: 2,
  CALLBACK: 3,
  CONTEXT: 4,
  CANCELLED: 5,
};

export const Draft = {
  NONE: 0,
  NGRAM: 1,
  MODEL: 2,
};

export const Distribution = {
  BACKBONE: 0,
  OPTION: 1,
  MIXTURE: 2,
};

export const Pooling = {
  MEAN: 0,
  CLS: 1,
  LAST: 2,
  MODEL: 3,
};

export const Expand = {
  LATENTS: 0,
  TOP: 1,
  DRAW: 2,
  TOKENS: 3,
  SAMPLE: 4,
};

export const BranchState = {
  OPEN: 0,
  END: 1,
  STOP: 2,
  LENGTH: 3,
  PRUNED: 4,
  MERGED: 5,
  FAILED: 6,
};

export const Weight = {
  ONE: 0,
  POLICY: 1,
  VALUE: 2,
};

export const Score = {
  LOGPROB: 0,
  LOGPROB_SUM: 1,
  POLICY: 2,
  VALUE: 3,
};

export const Strategy = {
  VOTE: 0,
  BEST: 1,
  BEAM: 2,
};

export const Until = {
  TOKENS: 0,
  WORD: 1,
  LINE: 2,
};

export const structs = {
  ollm_source: {
    size: 48,
    fields: {
      struct_size: [0, "size"],
      path: [4, "ptr"],
      data: [8, "ptr"],
      length: [12, "len"],
      release: [16, "ptr"],
      user: [20, "ptr"],
      kind: [24, "i32", SourceKind],
      descriptor: [28, "i32"],
      offset: [32, "u64"],
      copy: [40, "i32"],
      reserved: [44, "i32"],
    },
  },
  ollm_load_options: {
    size: 20,
    fields: {
      struct_size: [0, "size"],
      memory_limit: [4, "size"],
      threads: [8, "size"],
      progress: [12, "ptr"],
      user: [16, "ptr"],
    },
  },
  ollm_message: {
    size: 16,
    fields: {
      role: [0, "ptr"],
      role_length: [4, "len"],
      content: [8, "ptr"],
      content_length: [12, "len"],
    },
  },
  ollm_text: {
    size: 8,
    fields: {
      data: [0, "ptr"],
      length: [4, "len"],
    },
  },
  ollm_logprob: {
    size: 8,
    fields: {
      token: [0, "u32"],
      logprob: [4, "f32"],
    },
  },
  ollm_chat_input: {
    size: 36,
    fields: {
      struct_size: [0, "size"],
      messages: [4, "ptr"],
      message_count: [8, "len"],
      messages_json: [12, "ptr"],
      messages_json_length: [16, "len"],
      variables_json: [20, "ptr"],
      variables_json_length: [24, "len"],
      no_answer: [28, "i32"],
      reserved: [32, "i32"],
    },
  },
  ollm_chat_event: {
    size: 44,
    fields: {
      struct_size: [0, "size"],
      text: [4, "ptr"],
      text_length: [8, "len"],
      name: [12, "ptr"],
      name_length: [16, "len"],
      arguments: [20, "ptr"],
      arguments_length: [24, "len"],
      id: [28, "ptr"],
      id_length: [32, "len"],
      kind: [36, "i32", ChatEventKind],
      reserved: [40, "i32"],
    },
  },
  ollm_thread_pool_options: {
    size: 24,
    fields: {
      struct_size: [0, "size"],
      threads: [4, "size"],
      start: [8, "ptr"],
      user: [12, "ptr"],
      affinity: [16, "u64"],
    },
  },
  ollm_session_options: {
    size: 64,
    fields: {
      struct_size: [0, "size"],
      context: [4, "size"],
      memory_limit: [8, "size"],
      threads: [12, "size"],
      prefill_threads: [16, "size"],
      keep: [20, "size"],
      start: [24, "ptr"],
      user: [28, "ptr"],
      affinity: [32, "u64"],
      context_shift: [40, "i32"],
      reserved: [44, "i32"],
      kv_type: [48, "i32", KvType],
      reserved2: [52, "i32"],
      pool: [56, "ptr"],
    },
  },
  ollm_selection: {
    size: 48,
    fields: {
      struct_size: [0, "size"],
      latents: [4, "ptr"],
      latent_count: [8, "len"],
      choose: [12, "ptr"],
      user: [16, "ptr"],
      temperature: [20, "f32"],
      hold: [24, "i32", Hold],
      seed: [32, "u64"],
      mode: [40, "i32", Select],
      hold_tokens: [44, "u32"],
    },
  },
  ollm_logit_bias: {
    size: 8,
    fields: {
      token: [0, "u32"],
      bias: [4, "f32"],
    },
  },
  ollm_sampling: {
    size: 136,
    fields: {
      struct_size: [0, "size"],
      top_k: [4, "size"],
      seed: [8, "u64"],
      temperature: [16, "f32"],
      top_p: [20, "f32"],
      min_p: [24, "f32"],
      repeat_penalty: [28, "f32"],
      repeat_last: [32, "u32"],
      reserved: [36, "u32"],
      presence_penalty: [40, "f32"],
      frequency_penalty: [44, "f32"],
      typical_p: [48, "f32"],
      top_n_sigma: [52, "f32"],
      xtc_probability: [56, "f32"],
      xtc_threshold: [60, "f32"],
      dry_multiplier: [64, "f32"],
      dry_base: [68, "f32"],
      dry_allowed_length: [72, "u32"],
      dry_last: [76, "u32"],
      mirostat_tau: [80, "f32"],
      mirostat_eta: [84, "f32"],
      dynamic_range: [88, "f32"],
      dynamic_exponent: [92, "f32"],
      dry_breakers: [96, "ptr"],
      dry_breaker_count: [100, "len"],
      biases: [104, "ptr"],
      bias_count: [108, "len"],
      order: [112, "ptr"],
      order_count: [116, "len"],
      edit: [120, "ptr"],
      user: [124, "ptr"],
      logprobs: [128, "size"],
    },
  },
  ollm_constraint_options: {
    size: 16,
    fields: {
      struct_size: [0, "size"],
      trigger: [4, "ptr"],
      trigger_length: [8, "len"],
      begun: [12, "size"],
    },
  },
  ollm_token: {
    size: 40,
    fields: {
      struct_size: [0, "size"],
      text: [4, "ptr"],
      text_length: [8, "len"],
      options: [12, "ptr"],
      id: [16, "u32"],
      latent: [20, "i32"],
      logprob: [24, "f32"],
      is_end: [28, "i32"],
      top: [32, "ptr"],
      top_count: [36, "len"],
    },
  },
  ollm_run_options: {
    size: 28,
    fields: {
      struct_size: [0, "size"],
      limit: [4, "size"],
      stops: [8, "ptr"],
      stop_count: [12, "len"],
      top: [16, "size"],
      each: [20, "ptr"],
      user: [24, "ptr"],
    },
  },
  ollm_chat_options: {
    size: 32,
    fields: {
      struct_size: [0, "size"],
      variables_json: [4, "ptr"],
      variables_json_length: [8, "len"],
      reasoning_budget: [12, "size"],
      limit_reasoning: [16, "i32"],
      constrain_calls: [20, "i32"],
      no_context_shift: [24, "i32"],
      tool_format: [28, "i32", ToolFormat],
    },
  },
  ollm_answer_options: {
    size: 24,
    fields: {
      struct_size: [0, "size"],
      limit: [4, "size"],
      stops: [8, "ptr"],
      stop_count: [12, "len"],
      each: [16, "ptr"],
      user: [20, "ptr"],
    },
  },
  ollm_answer: {
    size: 32,
    fields: {
      struct_size: [0, "size"],
      prompt_tokens: [4, "size"],
      reused_tokens: [8, "size"],
      answer_tokens: [12, "size"],
      forgotten_turns: [16, "size"],
      forgotten_messages: [20, "size"],
      reason: [24, "i32", Reason],
      has_message: [28, "i32"],
    },
  },
  ollm_candidate: {
    size: 8,
    fields: {
      token: [0, "u32"],
      probability: [4, "f32"],
    },
  },
  ollm_branch_options: {
    size: 20,
    fields: {
      struct_size: [0, "size"],
      limit: [4, "size"],
      stops: [8, "ptr"],
      stop_count: [12, "len"],
      selection: [16, "ptr"],
    },
  },
  ollm_expansion: {
    size: 16,
    fields: {
      struct_size: [0, "size"],
      count: [4, "size"],
      temperature: [8, "f32"],
      kind: [12, "i32", Expand],
    },
  },
  ollm_branch: {
    size: 80,
    fields: {
      struct_size: [0, "size"],
      tokens: [4, "ptr"],
      latents: [8, "ptr"],
      token_count: [12, "len"],
      text: [16, "ptr"],
      text_length: [20, "len"],
      fork: [24, "size"],
      policy: [32, "f64"],
      logprob: [40, "f64"],
      count: [48, "f64"],
      value: [56, "f32"],
      parent: [60, "i32"],
      merged_into: [64, "i32"],
      at_boundary: [68, "i32"],
      state: [72, "i32", BranchState],
      error: [76, "i32", Status],
    },
  },
  ollm_tally: {
    size: 36,
    fields: {
      struct_size: [0, "size"],
      rule: [4, "ptr"],
      rule_length: [8, "len"],
      answer: [12, "ptr"],
      user: [16, "ptr"],
      weight: [20, "i32", Weight],
      score: [24, "i32", Score],
      score_of: [28, "ptr"],
      score_user: [32, "ptr"],
    },
  },
  ollm_search_options: {
    size: 32,
    fields: {
      struct_size: [0, "size"],
      expansion: [4, "ptr"],
      tally: [8, "ptr"],
      width: [12, "size"],
      each: [16, "ptr"],
      user: [20, "ptr"],
      strategy: [24, "i32", Strategy],
      reserved: [28, "i32"],
    },
  },
  ollm_found: {
    size: 32,
    fields: {
      struct_size: [0, "size"],
      branch: [4, "size"],
      answer: [8, "ptr"],
      answer_length: [12, "len"],
      confidence: [16, "f64"],
      passes: [24, "size"],
      generated: [28, "size"],
    },
  },
  ollm_suggest_options: {
    size: 20,
    fields: {
      struct_size: [0, "size"],
      count: [4, "size"],
      tokens: [8, "size"],
      until: [12, "i32", Until],
      reserved: [16, "i32"],
    },
  },
  ollm_suggestion: {
    size: 40,
    fields: {
      struct_size: [0, "size"],
      text: [4, "ptr"],
      text_length: [8, "len"],
      tokens: [12, "ptr"],
      token_count: [16, "len"],
      probability: [24, "f64"],
      latent: [32, "i32"],
      reserved: [36, "i32"],
    },
  },
  ollm_memory: {
    size: 24,
    fields: {
      struct_size: [0, "size"],
      weights: [4, "size"],
      plugin: [8, "size"],
      kv: [12, "size"],
      scratch: [16, "size"],
      total: [20, "size"],
    },
  },
  ollm_statistics: {
    size: 80,
    fields: {
      struct_size: [0, "size"],
      fed: [8, "u64"],
      feed_seconds: [16, "f64"],
      generated: [24, "u64"],
      generate_seconds: [32, "f64"],
      first_token_seconds: [40, "f64"],
      passes: [48, "u64"],
      kv_bytes: [56, "size"],
      drafted: [64, "u64"],
      accepted: [72, "u64"],
    },
  },
};

export const callbacks = {
  ollm_log_fn: { parameters: ["i32", "i32", "i32", "i32"], results: [] },
  ollm_release_fn: { parameters: ["i32", "i32", "i32"], results: [] },
  ollm_progress_fn: { parameters: ["i32", "f32"], results: ["i32"] },
  ollm_start_fn: { parameters: ["i32", "i32"], results: ["i32"] },
  ollm_policy_fn: { parameters: ["i32", "i32", "i32", "i32", "i32"], results: ["i32"] },
  ollm_logits_fn: { parameters: ["i32", "i32", "i32", "i32", "i32"], results: [] },
  ollm_token_fn: { parameters: ["i32", "i32"], results: ["i32"] },
  ollm_chat_event_fn: { parameters: ["i32", "i32"], results: ["i32"] },
  ollm_answer_fn: { parameters: ["i32", "i32", "i32"], results: [] },
  ollm_score_fn: { parameters: ["i32", "i32"], results: ["f64"] },
  ollm_branches_fn: { parameters: ["i32", "i32", "i32"], results: ["i32"] },
};
