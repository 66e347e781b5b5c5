/* The native methods of sessions and of option sets. */
#include "callbacks.h"
#include "structs.h"

PLAIN(runWorker, worker, ollm_worker_run)

NATIVE(jlong, newSession)(JNI, jlong model, jlong plugin, jobject options) {
    const ollm_session_options *session_options;
    ollm_session *session = NULL;
    ENTER;
    session_options = session_options_in(f, options);
    if (!CALL(f, ollm_session_new(HANDLE(model, model), HANDLE(plugin, plugin), session_options, &session))) {
        ollm_session_free(&session);
    }
    LEAVE;
    return NUMBER(session);
}

NATIVE(jlong, fork)(JNI, jlong session) {
    ollm_session *forked = NULL;
    ENTER;
    (void)CALL(f, ollm_session_fork(HANDLE(session, session), &forked));
    LEAVE;
    return NUMBER(forked);
}

FREES(freeSession, session, ollm_session_free)
PLAIN(cancel, session, ollm_session_cancel)
PLAIN(withdrawCancel, session, ollm_session_withdraw_cancel)
PLAIN(trim, session, ollm_session_trim)
COUNTS(position, session, ollm_session_position)
COUNTS(context, session, ollm_session_context)
COUNTS(sessionMemory, session, ollm_session_memory)

NATIVE(void, feed)(JNI, jlong session, jintArray tokens, jobject progress) {
    uint32_t *ids;
    size_t count = 0;
    void *listener;
    ENTER;
    ids = ids_in(f, tokens, &count);
    listener = listener_of(f, progress);
    if (listener) {
        (void)CALL(f, ollm_session_feed_watched(HANDLE(session, session), ids, count, on_progress, listener));
    } else {
        (void)CALL(f, ollm_session_feed(HANDLE(session, session), ids, count));
    }
    LEAVE;
}

NATIVE(void, feedText)(JNI, jlong session, jstring text, jint flags) {
    char *bytes;
    size_t length = 0;
    uint32_t bits;
    ENTER;
    bytes = text_in(f, text, &length);
    bits = id_in(f, flags, "flags");
    (void)CALL(f, ollm_session_feed_text(HANDLE(session, session), bytes, length, bits));
    LEAVE;
}

NATIVE(jlong, feedCached)(JNI, jlong session, jintArray tokens, jstring folder, jlong limit) {
    uint32_t *ids;
    size_t count = 0, bytes;
    const char *path;
    ENTER;
    ids = ids_in(f, tokens, &count);
    path = path_in(f, folder);
    bytes = size_in(f, limit, "limit");
    RETURN_VALUE(jlong, size_t, ollm_session_feed_cached(HANDLE(session, session), ids, count, path, bytes, &value));
}

NATIVE(void, setDuty)(JNI, jlong session, jfloat share) {
    ENTER;
    (void)CALL(f, ollm_session_set_duty(HANDLE(session, session), share));
    LEAVE;
}

NATIVE(jintArray, sessionTokens)(JNI, jlong session) {
    ENTER;
    RETURN_INTS(ollm_session_tokens(HANDLE(session, session), buffer, capacity, &length));
}

NATIVE(void, rewind)(JNI, jlong session, jlong position) {
    size_t to;
    ENTER;
    to = size_in(f, position, "position");
    (void)CALL(f, ollm_session_rewind(HANDLE(session, session), to));
    LEAVE;
}

NATIVE(void, setSelection)(JNI, jlong session, jobject selection, jint choose) {
    const ollm_selection *chosen;
    ENTER;
    chosen = selection ? selection_in(f, selection, choose) : NULL;
    (void)CALL(f, ollm_session_set_selection(HANDLE(session, session), chosen));
    LEAVE;
}

NATIVE(void, setSampling)(JNI, jlong session, jobject sampling, jint edit) {
    const ollm_sampling *sampled;
    ENTER;
    sampled = sampling ? sampling_in(f, sampling, edit) : NULL;
    (void)CALL(f, ollm_session_set_sampling(HANDLE(session, session), sampled));
    LEAVE;
}

NATIVE(void, setConstraint)(JNI, jlong session, jlong grammar, jobject options) {
    const ollm_constraint_options *constraint;
    ENTER;
    constraint = constraint_options_in(f, options);
    (void)CALL(f, ollm_session_set_constraint(HANDLE(session, session), HANDLE(grammar, grammar), constraint));
    LEAVE;
}

NATIVE(jboolean, isComplete)(JNI, jlong session) {
    ENTER;
    RETURN_VALUE(jboolean, int32_t, ollm_session_is_complete(HANDLE(session, session), &value));
}

/* Handles of an array of numbers. */
static void **handles_in(struct frame *f, jlongArray numbers, size_t *count) {
    void **handles = NULL;
    size_t i;
    if (!fine(f) || !not_null(f, numbers, "an array")) return NULL;
    *count = (size_t)(*f->env)->GetArrayLength(f->env, numbers);
    handles = take(f, (*count + 1) * sizeof *handles);
    for (i = 0; handles && i < *count; i++) {
        jlong number;
        (*f->env)->GetLongArrayRegion(f->env, numbers, (jsize)i, 1, &number);
        handles[i] = (void *)(intptr_t)number;
    }
    return handles;
}

NATIVE(void, setAdapters)(JNI, jlong session, jlongArray adapters, jfloatArray scales) {
    void **handles;
    float *numbers;
    size_t count = 0, scale_count = 0;
    ENTER;
    handles = handles_in(f, adapters, &count);
    numbers = floats_in(f, scales, &scale_count);
    if (numbers && count != scale_count) {
        throw_new(f, "java/lang/IllegalArgumentException", "there is not a scale for each adapter");
    }
    (void)CALL(f, ollm_session_set_adapters(HANDLE(session, session), (const ollm_adapter *const *)handles, numbers,
                                            count));
    LEAVE;
}

NATIVE(void, setDraft)(JNI, jlong session, jint draft, jlong model) {
    ENTER;
    (void)CALL(f, ollm_session_set_draft(HANDLE(session, session), (ollm_draft)draft, HANDLE(model, model)));
    LEAVE;
}

NATIVE(jobject, step)(JNI, jlong session) {
    ollm_token token = ollm_token_init();
    jobject made = NULL;
    ENTER;
    if (CALL(f, ollm_session_step(HANDLE(session, session), &token))) made = token_out(f, &token);
    LEAVE;
    return made;
}

NATIVE(jobject, stepLatent)(JNI, jlong session, jint latent) {
    ollm_token token = ollm_token_init();
    jobject made = NULL;
    uint32_t number;
    ENTER;
    number = id_in(f, latent, "latent");
    if (CALL(f, ollm_session_step_latent(HANDLE(session, session), number, &token))) made = token_out(f, &token);
    LEAVE;
    return made;
}

NATIVE(jint, run)(JNI, jlong session, jobject options, jobject listener) {
    ollm_run_options *run;
    ENTER;
    run = run_options_in(f, options, listener);
    RETURN_VALUE(jint, ollm_reason, ollm_session_run(HANDLE(session, session), run, &value));
}

NATIVE(jlong, newBatch)(JNI) {
    ollm_batch *batch = NULL;
    ENTER;
    (void)CALL(f, ollm_batch_new(&batch));
    LEAVE;
    return NUMBER(batch);
}

FREES(freeBatch, batch, ollm_batch_free)

static jobject batched_out(struct frame *f, void *all, size_t i) { return token_out(f, ((ollm_token *const *)all)[i]); }

NATIVE(jobjectArray, stepBatch)(JNI, jlong batch, jlongArray sessions, jintArray outcomes) {
    void **handles;
    ollm_token **tokens;
    ollm_status *statuses;
    jobjectArray made = NULL;
    size_t count = 0, i;
    ENTER;
    handles = handles_in(f, sessions, &count);
    tokens = take(f, (count + 1) * sizeof *tokens);
    statuses = take(f, (count + 1) * sizeof *statuses);
    for (i = 0; tokens && i < count; i++) {
        tokens[i] = take(f, sizeof **tokens);
        if (tokens[i]) *tokens[i] = ollm_token_init();
    }
    not_null(f, outcomes, "outcomes");
    if (CALL(f, ollm_batch_step(HANDLE(batch, batch), (ollm_session *const *)handles, count, tokens, statuses))) {
        (*env)->SetIntArrayRegion(env, outcomes, 0, (jsize)count, (const jint *)statuses);
        made = array_out(f, "org/ollm/Token", count, batched_out, tokens);
    }
    LEAVE;
    return made;
}

NATIVE(jfloatArray, logits)(JNI, jlong session, jint distribution, jint latent) {
    uint32_t number;
    ENTER;
    number = id_in(f, latent, "latent");
    RETURN_FLOATS(ollm_session_logits(HANDLE(session, session), distribution, number, buffer, capacity, &length));
}

NATIVE(jfloatArray, score)(JNI, jlong session, jintArray tokens) {
    uint32_t *ids;
    size_t count = 0;
    ENTER;
    ids = ids_in(f, tokens, &count);
    RETURN_FLOATS(ollm_session_score(HANDLE(session, session), ids, count, buffer, capacity, &length));
}

NATIVE(jfloatArray, embed)(JNI, jlong session, jintArray tokens, jint pooling, jboolean normalized) {
    uint32_t *ids;
    size_t count = 0;
    ENTER;
    ids = ids_in(f, tokens, &count);
    RETURN_FLOATS(ollm_session_embed(HANDLE(session, session), ids, count, pooling, normalized, buffer, capacity, &length));
}

NATIVE(jfloat, rank)(JNI, jlong session, jstring query, jstring document) {
    char *first, *second;
    size_t first_size = 0, second_size = 0;
    ENTER;
    first = text_in(f, query, &first_size);
    second = text_in(f, document, &second_size);
    RETURN_VALUE(jfloat, float, ollm_session_rank(HANDLE(session, session), first, first_size, second, second_size, &value));
}

NATIVE(jfloatArray, policy)(JNI, jlong session) {
    ENTER;
    RETURN_FLOATS(ollm_session_policy(HANDLE(session, session), buffer, capacity, &length));
}

NATIVE(jfloatArray, hidden)(JNI, jlong session) {
    ENTER;
    RETURN_FLOATS(ollm_session_hidden(HANDLE(session, session), buffer, capacity, &length));
}

NATIVE(jintArray, encode)(JNI, jlong session, jintArray tokens) {
    uint32_t *ids;
    int32_t *latents;
    jintArray made = NULL;
    size_t count = 0;
    ENTER;
    ids = ids_in(f, tokens, &count);
    latents = take(f, (count + 1) * sizeof *latents);
    if (CALL(f, ollm_session_encode(HANDLE(session, session), ids, count, latents))) made = ints_out(f, latents, count);
    LEAVE;
    return made;
}

NATIVE(jlong, newOptionSet)(JNI, jlong session, jint top) {
    ollm_option_set *options = NULL;
    size_t count;
    ENTER;
    count = size_in(f, top, "top");
    (void)CALL(f, ollm_option_set_new(HANDLE(session, session), count, &options));
    LEAVE;
    return NUMBER(options);
}

FREES(freeOptionSet, option_set, ollm_option_set_free)

NATIVE(jfloatArray, optionSetPolicy)(JNI, jlong options) {
    ENTER;
    RETURN_FLOATS(ollm_option_set_policy(HANDLE(option_set, options), buffer, capacity, &length));
}

NATIVE(jobjectArray, optionSetTop)(JNI, jlong options, jint latent) {
    uint32_t number;
    ENTER;
    number = id_in(f, latent, "latent");
    RETURN_FILLED(jobjectArray, ollm_candidate, candidates_out,
                  ollm_option_set_top(HANDLE(option_set, options), number, buffer, capacity, &length));
}

NATIVE(void, saveFile)(JNI, jlong session, jstring file) {
    const char *path;
    ENTER;
    path = path_in(f, file);
    (void)CALL(f, ollm_session_save_file(HANDLE(session, session), path));
    LEAVE;
}

NATIVE(void, restoreFile)(JNI, jlong session, jstring file) {
    const char *path;
    ENTER;
    path = path_in(f, file);
    (void)CALL(f, ollm_session_restore_file(HANDLE(session, session), path));
    LEAVE;
}

NATIVE(jbyteArray, save)(JNI, jlong session) {
    ENTER;
    RETURN_BYTES(ollm_session_save(HANDLE(session, session), buffer, capacity, &length));
}

NATIVE(void, restore)(JNI, jlong session, jbyteArray saved) {
    char *bytes;
    size_t length = 0;
    ENTER;
    bytes = bytes_in(f, saved, &length);
    (void)CALL(f, ollm_session_restore(HANDLE(session, session), bytes, length));
    LEAVE;
}

NATIVE(jobject, statistics)(JNI, jlong session) {
    ollm_statistics statistics = ollm_statistics_init();
    jobject made = NULL;
    ENTER;
    if (CALL(f, ollm_session_statistics(HANDLE(session, session), &statistics))) made = statistics_out(f, &statistics);
    LEAVE;
    return made;
}
