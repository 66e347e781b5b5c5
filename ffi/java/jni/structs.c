#include "structs.h"

#include "callbacks.h"
#include "fields.h"

static const struct field SOURCE[] = {
    FIELD(CHOICE, ollm_source, kind, "kind", "Lorg/ollm/Source$Kind;"),
    FIELD(INT, ollm_source, descriptor, "descriptor", "I"),
    FIELD(BITS, ollm_source, offset, "offset", "J"),
    FIELD(SIZE, ollm_source, length, "length", "J"),
    FIELD(FLAG, ollm_source, copy, "copied", "Z"),
};
static const struct field LOAD[] = {
    FIELD(SIZE, ollm_load_options, memory_limit, "memoryLimit", "J"),
    FIELD(SIZE, ollm_load_options, threads, "threads", "I"),
};
static const struct field SESSION[] = {
    FIELD(SIZE, ollm_session_options, context, "context", "J"),
    FIELD(SIZE, ollm_session_options, memory_limit, "memoryLimit", "J"),
    FIELD(SIZE, ollm_session_options, threads, "threads", "I"),
    FIELD(SIZE, ollm_session_options, prefill_threads, "prefillThreads", "I"),
    FIELD(SIZE, ollm_session_options, keep, "keep", "J"),
    FIELD(BITS, ollm_session_options, affinity, "affinity", "J"),
    FIELD(FLAG, ollm_session_options, context_shift, "contextShift", "Z"),
    FIELD(CHOICE, ollm_session_options, kv_type, "kvType", "Lorg/ollm/Session$KvType;"),
    FIELD(OWNED, ollm_session_options, pool, "pool", "Lorg/ollm/ThreadPool;"),
};
static const struct field THREAD_POOL[] = {
    FIELD(SIZE, ollm_thread_pool_options, threads, "threads", "I"),
    FIELD(BITS, ollm_thread_pool_options, affinity, "affinity", "J"),
};
static const struct field SAMPLING[] = {
    FIELD(SIZE, ollm_sampling, top_k, "topK", "I"),
    FIELD(BITS, ollm_sampling, seed, "seed", "J"),
    FIELD(FLOAT, ollm_sampling, temperature, "temperature", "F"),
    FIELD(FLOAT, ollm_sampling, top_p, "topP", "F"),
    FIELD(FLOAT, ollm_sampling, min_p, "minP", "F"),
    FIELD(FLOAT, ollm_sampling, repeat_penalty, "repeatPenalty", "F"),
    FIELD(ID, ollm_sampling, repeat_last, "repeatLast", "I"),
    FIELD(FLOAT, ollm_sampling, presence_penalty, "presencePenalty", "F"),
    FIELD(FLOAT, ollm_sampling, frequency_penalty, "frequencyPenalty", "F"),
    FIELD(FLOAT, ollm_sampling, typical_p, "typicalP", "F"),
    FIELD(FLOAT, ollm_sampling, top_n_sigma, "topNSigma", "F"),
    FIELD(FLOAT, ollm_sampling, xtc_probability, "xtcProbability", "F"),
    FIELD(FLOAT, ollm_sampling, xtc_threshold, "xtcThreshold", "F"),
    FIELD(FLOAT, ollm_sampling, dry_multiplier, "dryMultiplier", "F"),
    FIELD(FLOAT, ollm_sampling, dry_base, "dryBase", "F"),
    FIELD(ID, ollm_sampling, dry_allowed_length, "dryAllowedLength", "I"),
    FIELD(ID, ollm_sampling, dry_last, "dryLast", "I"),
    FIELD(FLOAT, ollm_sampling, mirostat_tau, "mirostatTau", "F"),
    FIELD(FLOAT, ollm_sampling, mirostat_eta, "mirostatEta", "F"),
    FIELD(FLOAT, ollm_sampling, dynamic_range, "dynamicRange", "F"),
    FIELD(FLOAT, ollm_sampling, dynamic_exponent, "dynamicExponent", "F"),
    SPAN(TEXTS, ollm_sampling, dry_breakers, dry_breaker_count, "dryBreakers", LIST),
    FIELD(SIZE, ollm_sampling, logprobs, "logprobs", "I"),
};
static const struct field SELECTION[] = {
    FIELD(CHOICE, ollm_selection, mode, "mode", "Lorg/ollm/Selection$Mode;"),
    SPAN(IDS, ollm_selection, latents, latent_count, "latents", "[I"),
    FIELD(FLOAT, ollm_selection, temperature, "temperature", "F"),
    FIELD(CHOICE, ollm_selection, hold, "hold", "Lorg/ollm/Selection$Hold;"),
    FIELD(ID, ollm_selection, hold_tokens, "holdTokens", "I"),
    FIELD(BITS, ollm_selection, seed, "seed", "J"),
};
static const struct field CONSTRAINT[] = {
    SPAN(TEXT, ollm_constraint_options, trigger, trigger_length, "trigger", STRING),
    FIELD(SIZE, ollm_constraint_options, begun, "begun", "J"),
};
static const struct field RUN[] = {
    FIELD(SIZE, ollm_run_options, limit, "limit", "J"),
    SPAN(TEXTS, ollm_run_options, stops, stop_count, "stops", LIST),
    FIELD(SIZE, ollm_run_options, top, "top", "I"),
};
static const struct field CHAT[] = {
    SPAN(TEXT, ollm_chat_input, messages_json, messages_json_length, "messagesJson", STRING),
    SPAN(TEXT, ollm_chat_input, variables_json, variables_json_length, "variablesJson", STRING),
    FIELD(FLAG, ollm_chat_input, no_answer, "noAnswer", "Z"),
};
static const struct field CHAT_OPTIONS[] = {
    SPAN(TEXT, ollm_chat_options, variables_json, variables_json_length, "variablesJson", STRING),
    FIELD(SIZE, ollm_chat_options, reasoning_budget, "reasoningBudget", "J"),
    FIELD(FLAG, ollm_chat_options, limit_reasoning, "limitReasoning", "Z"),
    FIELD(FLAG, ollm_chat_options, constrain_calls, "constrainCalls", "Z"),
    FIELD(FLAG, ollm_chat_options, no_context_shift, "noContextShift", "Z"),
    FIELD(CHOICE, ollm_chat_options, tool_format, "toolFormat", "Lorg/ollm/ChatParser$Format;"),
};
static const struct field ANSWER_OPTIONS[] = {
    FIELD(SIZE, ollm_answer_options, limit, "limit", "J"),
    SPAN(TEXTS, ollm_answer_options, stops, stop_count, "stops", LIST),
};
static const struct field ANSWER[] = {
    FIELD(SIZE, ollm_answer, prompt_tokens, "promptTokens", "J"),
    FIELD(SIZE, ollm_answer, reused_tokens, "reusedTokens", "J"),
    FIELD(SIZE, ollm_answer, answer_tokens, "answerTokens", "J"),
    FIELD(SIZE, ollm_answer, forgotten_turns, "forgottenTurns", "J"),
    FIELD(SIZE, ollm_answer, forgotten_messages, "forgottenMessages", "J"),
    FIELD(CHOICE, ollm_answer, reason, "reason", "Lorg/ollm/Session$Reason;"),
    FIELD(FLAG, ollm_answer, has_message, "hasMessage", "Z"),
};
static const struct field BRANCHES[] = {
    FIELD(SIZE, ollm_branch_options, limit, "limit", "J"),
    SPAN(TEXTS, ollm_branch_options, stops, stop_count, "stops", LIST),
};
static const struct field EXPANSION[] = {
    FIELD(CHOICE, ollm_expansion, kind, "kind", "Lorg/ollm/Expansion$Kind;"),
    FIELD(SIZE, ollm_expansion, count, "count", "I"),
    FIELD(FLOAT, ollm_expansion, temperature, "temperature", "F"),
};
static const struct field TALLY[] = {
    SPAN(TEXT, ollm_tally, rule, rule_length, "rule", STRING),
    FIELD(CHOICE, ollm_tally, weight, "weight", "Lorg/ollm/Branches$Weight;"),
    FIELD(CHOICE, ollm_tally, score, "score", "Lorg/ollm/Branches$Score;"),
};
static const struct field SEARCH[] = {
    FIELD(CHOICE, ollm_search_options, strategy, "strategy", "Lorg/ollm/Branches$Strategy;"),
    FIELD(SIZE, ollm_search_options, width, "width", "I"),
};
static const struct field SUGGEST[] = {
    FIELD(SIZE, ollm_suggest_options, count, "count", "I"),
    FIELD(SIZE, ollm_suggest_options, tokens, "tokens", "I"),
    FIELD(CHOICE, ollm_suggest_options, until, "until", "Lorg/ollm/Suggestion$Until;"),
};
static const struct field TOKEN[] = {
    SPAN(TEXT, ollm_token, text, text_length, "text", STRING),
    FIELD(ID, ollm_token, id, "id", "I"),
    FIELD(INT, ollm_token, latent, "latent", "I"),
    FIELD(FLOAT, ollm_token, logprob, "logprob", "F"),
    FIELD(FLAG, ollm_token, is_end, "isEnd", "Z"),
    SPAN(PAIRS, ollm_token, top, top_count, "top", "[Lorg/ollm/Logprob;"),
};
static const struct field CHAT_EVENT[] = {
    FIELD(CHOICE, ollm_chat_event, kind, "kind", "Lorg/ollm/ChatEvent$Kind;"),
    SPAN(TEXT, ollm_chat_event, text, text_length, "text", STRING),
    SPAN(TEXT, ollm_chat_event, name, name_length, "name", STRING),
    SPAN(TEXT, ollm_chat_event, arguments, arguments_length, "arguments", STRING),
    SPAN(TEXT, ollm_chat_event, id, id_length, "id", STRING),
};
static const struct field BRANCH[] = {
    SPAN(IDS, ollm_branch, tokens, token_count, "tokens", "[I"),
    SPAN(IDS, ollm_branch, latents, token_count, "latents", "[I"),
    SPAN(TEXT, ollm_branch, text, text_length, "text", STRING),
    FIELD(SIZE, ollm_branch, fork, "fork", "I"),
    FIELD(DOUBLE, ollm_branch, policy, "policy", "D"),
    FIELD(DOUBLE, ollm_branch, logprob, "logprob", "D"),
    FIELD(DOUBLE, ollm_branch, count, "count", "D"),
    FIELD(FLOAT, ollm_branch, value, "value", "F"),
    FIELD(INT, ollm_branch, parent, "parent", "I"),
    FIELD(INT, ollm_branch, merged_into, "mergedInto", "I"),
    FIELD(FLAG, ollm_branch, at_boundary, "atBoundary", "Z"),
    FIELD(CHOICE, ollm_branch, state, "state", "Lorg/ollm/Branch$State;"),
    FIELD(INT, ollm_branch, error, "error", "I"),
};
static const struct field FOUND[] = {
    FIELD(SIZE, ollm_found, branch, "branch", "I"),
    SPAN(TEXT, ollm_found, answer, answer_length, "answer", STRING),
    FIELD(DOUBLE, ollm_found, confidence, "confidence", "D"),
    FIELD(SIZE, ollm_found, passes, "passes", "J"),
    FIELD(SIZE, ollm_found, generated, "generated", "J"),
};
static const struct field SUGGESTION[] = {
    SPAN(TEXT, ollm_suggestion, text, text_length, "text", STRING),
    SPAN(IDS, ollm_suggestion, tokens, token_count, "tokens", "[I"),
    FIELD(DOUBLE, ollm_suggestion, probability, "probability", "D"),
    FIELD(INT, ollm_suggestion, latent, "latent", "I"),
};
static const struct field MEMORY[] = {
    FIELD(SIZE, ollm_memory, weights, "weights", "J"), FIELD(SIZE, ollm_memory, plugin, "plugin", "J"),
    FIELD(SIZE, ollm_memory, kv, "kv", "J"),           FIELD(SIZE, ollm_memory, scratch, "scratch", "J"),
    FIELD(SIZE, ollm_memory, total, "total", "J"),
};
static const struct field STATISTICS[] = {
    FIELD(BITS, ollm_statistics, fed, "fed", "J"),
    FIELD(DOUBLE, ollm_statistics, feed_seconds, "feedSeconds", "D"),
    FIELD(BITS, ollm_statistics, generated, "generated", "J"),
    FIELD(DOUBLE, ollm_statistics, generate_seconds, "generateSeconds", "D"),
    FIELD(DOUBLE, ollm_statistics, first_token_seconds, "firstTokenSeconds", "D"),
    FIELD(BITS, ollm_statistics, passes, "passes", "J"),
    FIELD(SIZE, ollm_statistics, kv_bytes, "kvBytes", "J"),
    FIELD(BITS, ollm_statistics, drafted, "drafted", "J"),
    FIELD(BITS, ollm_statistics, accepted, "accepted", "J"),
};

/* A struct that lives until `leave`, with the fields of its table. */
#define STRUCT_IN(f, from, type, fields, name)                                    \
    type *name = take(f, sizeof *name);                                           \
    static type nothing;                                                          \
    if (name == NULL || not_null(f, from, "an argument") == NULL) return &nothing; \
    *name = type##_init();                                                        \
    fields_in(f, from, fields, COUNT(fields), name)

const ollm_source *source_in(struct frame *f, jobject from) {
    jobject object;
    STRUCT_IN(f, from, ollm_source, SOURCE, source);
    object = object_in(f, from, "path", STRING);
    if (source->kind == OLLM_SOURCE_FILE) source->path = path_in(f, object);
    object = object_in(f, from, "bytes", "[B");
    if (object) source->data = bytes_in(f, object, &source->length);
    object = object_in(f, from, "buffer", "Ljava/nio/ByteBuffer;");
    if (object && fine(f)) {
        source->data = (*f->env)->GetDirectBufferAddress(f->env, object);
        source->length = (size_t)(*f->env)->GetDirectBufferCapacity(f->env, object);
        source->release = release_buffer;
        source->user = object;
    }
    return source;
}

ollm_source *kept_source_in(struct frame *f, jobject from) {
    ollm_source *source = (ollm_source *)source_in(f, from);
    if (source->release) source->user = fine(f) ? (*f->env)->NewGlobalRef(f->env, source->user) : NULL;
    return source;
}

void drop_source(struct frame *f, const ollm_source *source) {
    if (source->release && source->user) (*f->env)->DeleteGlobalRef(f->env, source->user);
}

const ollm_load_options *load_options_in(struct frame *f, jobject from) {
    jobject progress;
    STRUCT_IN(f, from, ollm_load_options, LOAD, options);
    progress = object_in(f, from, "progress", "Lorg/ollm/Progress;");
    options->user = listener_of(f, progress);
    if (options->user) options->progress = on_progress;
    return options;
}

const ollm_session_options *session_options_in(struct frame *f, jobject from) {
    jobject executor;
    STRUCT_IN(f, from, ollm_session_options, SESSION, options);
    executor = object_in(f, from, "executor", "Ljava/util/concurrent/Executor;");
    options->user = listener_of(f, executor);
    if (options->user) options->start = on_start;
    return options;
}

const ollm_thread_pool_options *thread_pool_options_in(struct frame *f, jobject from) {
    jobject executor;
    STRUCT_IN(f, from, ollm_thread_pool_options, THREAD_POOL, options);
    executor = object_in(f, from, "executor", "Ljava/util/concurrent/Executor;");
    options->user = listener_of(f, executor);
    if (options->user) options->start = on_start;
    return options;
}

const ollm_sampling *sampling_in(struct frame *f, jobject from, jint edit) {
    jobject tokens, numbers, order;
    size_t count = 0, i;
    uint32_t *ids;
    float *values;
    STRUCT_IN(f, from, ollm_sampling, SAMPLING, sampling);
    /* An empty list of breakers is the default one. */
    if (sampling->dry_breaker_count == 0) sampling->dry_breakers = NULL;
    tokens = object_in(f, from, "biasTokens", "[I");
    numbers = object_in(f, from, "biasValues", "[F");
    ids = ids_in(f, tokens, &sampling->bias_count);
    values = floats_in(f, numbers, &count);
    if (values && count == sampling->bias_count && count > 0) {
        ollm_logit_bias *biases = take(f, count * sizeof *biases);
        for (i = 0; biases && i < count; i++) {
            biases[i].token = ids[i];
            biases[i].bias = values[i];
        }
        sampling->biases = biases;
    } else if (values && count != sampling->bias_count) {
        throw_new(f, "java/lang/IllegalArgumentException", "biases");
    }
    order = object_in(f, from, "order", "[Lorg/ollm/Sampling$Filter;");
    if (order && fine(f)) {
        size_t filters = (size_t)(*f->env)->GetArrayLength(f->env, order);
        ollm_filter *list = take(f, (filters + 1) * sizeof *list);
        for (i = 0; list && i < filters && fine(f); i++) {
            jobject filter = (*f->env)->GetObjectArrayElement(f->env, order, (jsize)i);
            list[i] = (ollm_filter)(choice_in(f, filter, "a filter") + OLLM_FILTER_PENALTIES);
            (*f->env)->DeleteLocalRef(f->env, filter);
        }
        sampling->order = list;
        sampling->order_count = filters;
    }
    if (edit) sampling->edit = on_edit;
    sampling->user = (void *)(intptr_t)edit;
    return sampling;
}

const ollm_selection *selection_in(struct frame *f, jobject from, jint choose) {
    STRUCT_IN(f, from, ollm_selection, SELECTION, selection);
    if (choose) selection->choose = on_choose;
    selection->user = (void *)(intptr_t)choose;
    return selection;
}

const ollm_constraint_options *constraint_options_in(struct frame *f, jobject from) {
    STRUCT_IN(f, from, ollm_constraint_options, CONSTRAINT, options);
    return options;
}

ollm_run_options *run_options_in(struct frame *f, jobject from, jobject listener) {
    STRUCT_IN(f, from, ollm_run_options, RUN, options);
    options->user = listener_of(f, listener);
    if (options->user) options->each = on_token;
    return options;
}

const ollm_message *messages_in(struct frame *f, jobject roles, jobject contents, size_t *count) {
    size_t content_count = 0, i;
    ollm_text *role = texts_in(f, roles, count), *content = texts_in(f, contents, &content_count);
    ollm_message *messages = take(f, (*count + 1) * sizeof *messages);
    if (messages && *count != content_count) {
        throw_new(f, "java/lang/IllegalArgumentException", "there are %llu roles and %llu contents",
                  (unsigned long long)*count, (unsigned long long)content_count);
    }
    for (i = 0; fine(f) && i < *count; i++) {
        ollm_message message = {role[i].data, role[i].length, content[i].data, content[i].length};
        messages[i] = message;
    }
    return messages;
}

const ollm_chat_input *chat_input_in(struct frame *f, jobject from) {
    jobject roles, contents;
    STRUCT_IN(f, from, ollm_chat_input, CHAT, input);
    roles = object_in(f, from, "roles", LIST);
    contents = object_in(f, from, "contents", LIST);
    input->messages = messages_in(f, roles, contents, &input->message_count);
    if (input->message_count == 0) input->messages = NULL;
    return input;
}

const ollm_chat_options *chat_options_in(struct frame *f, jobject from) {
    STRUCT_IN(f, from, ollm_chat_options, CHAT_OPTIONS, options);
    return options;
}

const ollm_answer_options *answer_options_in(struct frame *f, jobject from, jobject listener) {
    STRUCT_IN(f, from, ollm_answer_options, ANSWER_OPTIONS, options);
    options->user = listener_of(f, listener);
    if (options->user) options->each = on_event;
    return options;
}

const ollm_branch_options *branch_options_in(struct frame *f, jobject from, jint choose) {
    jobject selection;
    STRUCT_IN(f, from, ollm_branch_options, BRANCHES, options);
    selection = object_in(f, from, "selection", "Lorg/ollm/Selection;");
    if (selection) options->selection = selection_in(f, selection, choose);
    return options;
}

const ollm_expansion *expansion_in(struct frame *f, jobject from) {
    STRUCT_IN(f, from, ollm_expansion, EXPANSION, expansion);
    return expansion;
}

const ollm_tally *tally_in(struct frame *f, jobject from) {
    jobject finder, scorer;
    STRUCT_IN(f, from, ollm_tally, TALLY, tally);
    finder = object_in(f, from, "finder", "Lorg/ollm/Branches$Finder;");
    tally->user = listener_of(f, finder);
    if (tally->user) tally->answer = on_answer;
    scorer = object_in(f, from, "scorer", "Lorg/ollm/Branches$Scorer;");
    tally->score_user = listener_of(f, scorer);
    if (tally->score_user) tally->score_of = on_score;
    return tally;
}

const ollm_search_options *search_options_in(struct frame *f, jobject from, jobject watcher) {
    jobject expansion, tally;
    STRUCT_IN(f, from, ollm_search_options, SEARCH, options);
    expansion = object_in(f, from, "expansion", "Lorg/ollm/Expansion;");
    tally = object_in(f, from, "tally", "Lorg/ollm/Branches$Tally;");
    options->expansion = expansion_in(f, expansion);
    options->tally = tally_in(f, tally);
    options->user = listener_of(f, watcher);
    if (options->user) options->each = on_step;
    return options;
}

const ollm_suggest_options *suggest_options_in(struct frame *f, jobject from) {
    STRUCT_IN(f, from, ollm_suggest_options, SUGGEST, options);
    return options;
}

jobjectArray candidates_out(struct frame *f, const ollm_candidate *candidates, size_t count) {
    return pairs_out(f, "org/ollm/Candidate", candidates, count);
}

#define STRUCT_OUT(f, type, fields, from) struct_out(f, "org/ollm/" type, fields, COUNT(fields), from)

jobject token_out(struct frame *f, const ollm_token *token) {
    jobject made = STRUCT_OUT(f, "Token", TOKEN, token);
    jfieldID options = made && token->options ? field_of(f, made, "optionsNumber", "J") : NULL;
    if (options) (*f->env)->SetLongField(f->env, made, options, NUMBER(token->options));
    return made;
}

jobject chat_event_out(struct frame *f, const ollm_chat_event *event) {
    return STRUCT_OUT(f, "ChatEvent", CHAT_EVENT, event);
}

jobject answer_out(struct frame *f, const ollm_answer *answer) {
    return STRUCT_OUT(f, "Conversation$Answer", ANSWER, answer);
}

jobject branch_out(struct frame *f, const ollm_branch *branch) { return STRUCT_OUT(f, "Branch", BRANCH, branch); }

jobject found_out(struct frame *f, const ollm_found *found) { return STRUCT_OUT(f, "Branches$Found", FOUND, found); }

jobject suggestion_out(struct frame *f, const ollm_suggestion *suggestion) {
    return STRUCT_OUT(f, "Suggestion", SUGGESTION, suggestion);
}

jobject memory_out(struct frame *f, const ollm_memory *memory) { return STRUCT_OUT(f, "Memory", MEMORY, memory); }

jobject statistics_out(struct frame *f, const ollm_statistics *statistics) {
    return STRUCT_OUT(f, "Statistics", STATISTICS, statistics);
}
