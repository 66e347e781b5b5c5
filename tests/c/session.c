/* What a session does: steps, runs, rewinds, forks, saves, chooses. usage: session MODEL PLUGIN SCRATCH_FILE */
#include "check.h"

#include <math.h>

#define STEPS 16

static ollm_model *model;
static ollm_plugin *plugin;

/* The texts that a run gave, and what else there was to see. */
struct seen {
    char text[4096];
    size_t length;
    uint32_t tokens[64];
    size_t count;
    size_t end_after;
    size_t option_sets;
};

static int32_t see(void *user, const ollm_token *token) {
    struct seen *seen = user;
    CHECK(seen->length + token->text_length < sizeof seen->text);
    memcpy(seen->text + seen->length, token->text, token->text_length);
    seen->length += token->text_length;
    if (token->id != OLLM_NO_TOKEN) {
        CHECK(seen->count < COUNT(seen->tokens) && token->logprob <= 0);
        seen->tokens[seen->count++] = token->id;
    }
    if (token->options != NULL) {
        float policy[64];
        size_t count = 0;
        OK(ollm_option_set_policy(token->options, policy, COUNT(policy), &count));
        CHECK(count == 10);
        seen->option_sets++;
    }
    return seen->end_after > 0 && seen->count == seen->end_after;
}

static void steps_and_runs_agree(void) {
    ollm_session *one = new_session(model, NULL, 64), *other = new_session(model, NULL, 64);
    ollm_run_options options = ollm_run_options_init();
    ollm_reason reason = OLLM_REASON_END;
    uint32_t tokens[STEPS], all[64];
    size_t count = 0;
    struct seen seen = {0};
    steps(one, tokens, STEPS);
    options.limit = STEPS;
    options.each = see;
    options.user = &seen;
    OK(ollm_session_run(other, &options, &reason));
    CHECK(reason == OLLM_REASON_LIMIT && seen.count == STEPS);
    CHECK(memcmp(tokens, seen.tokens, sizeof tokens) == 0);
    OK(ollm_session_tokens(other, all, COUNT(all), &count));
    CHECK(count == COUNT(PROMPT) + STEPS && memcmp(all, PROMPT, sizeof PROMPT) == 0);
    CHECK(memcmp(all + COUNT(PROMPT), tokens, sizeof tokens) == 0);
    OK(ollm_session_free(&one));
    OK(ollm_session_free(&other));
}

static void a_run_ends_where_it_is_told(void) {
    ollm_run_options options = ollm_run_options_init();
    ollm_reason reason = OLLM_REASON_END;
    struct seen whole = {0}, seen = {0};
    ollm_session *session = new_session(model, plugin, 64);
    ollm_text stop;
    options.limit = STEPS;
    options.each = see;
    options.user = &whole;
    options.top = 3;
    OK(ollm_session_run(session, &options, &reason));
    CHECK(whole.option_sets == STEPS && whole.length > 8);
    /* The callback ends it. */
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    seen.end_after = 4;
    options.user = &seen;
    OK(ollm_session_run(session, &options, &reason));
    CHECK(reason == OLLM_REASON_CALLBACK && seen.count == 4);
    /* A stop string ends it, and is not part of the text. */
    memset(&seen, 0, sizeof seen);
    stop.length = 3;
    for (stop.data = whole.text + 3; (*stop.data & 0xC0) == 0x80; stop.data++) {}
    while ((stop.data[stop.length] & 0xC0) == 0x80) stop.length++;
    options.stops = &stop;
    options.stop_count = 1;
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_run(session, &options, &reason));
    CHECK(reason == OLLM_REASON_STOP && seen.length <= (size_t)(stop.data - whole.text));
    CHECK(memcmp(seen.text, whole.text, seen.length) == 0);
    /* Nobody needs to look. */
    options = ollm_run_options_init();
    options.limit = 2;
    OK(ollm_session_run(session, &options, NULL));
    OK(ollm_session_free(&session));
}

static void text_goes_in_and_comes_out(void) {
    static const char text[] = "two plus two";
    ollm_session *session = new_session(model, NULL, 64), *other = NULL;
    uint32_t tokens[32], alone[32];
    char back[64], info[2048];
    size_t count = 0, length = 0, needed = 0;
    int32_t is_end = -1;
    OK(ollm_tokenize(model, text, strlen(text), 0, tokens, COUNT(tokens), &count));
    OK(ollm_detokenize(model, tokens, count, back, sizeof back, &length));
    CHECK(length == strlen(text) && strcmp(back, text) == 0);
    OK(ollm_tokenize(model, text, strlen(text), 0, NULL, 0, &needed));
    CHECK(needed == count);
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_tokenize(model, text, strlen(text), 0, alone, count - 1, &needed));
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_detokenize(model, tokens, count, back, length, &needed));
    CHECK(needed == length && strcmp(back, text) == 0);
    OK(ollm_token_bytes(model, tokens[0], back, sizeof back, &length));
    CHECK(length > 0 && memcmp(back, text, length) == 0);
    OK(ollm_is_end(model, tokens[0], &is_end));
    CHECK(is_end == 0);
    OK(ollm_model_info(model, info, sizeof info, &length));
    CHECK(strstr(info, "\"architecture\":\"llama\"") != NULL && strlen(info) == length);
    OK(ollm_plugin_info(plugin, info, sizeof info, &length));
    CHECK(strstr(info, "\"options\":10") != NULL);
    /* Feeding the text is feeding its tokens. */
    OK(ollm_session_new(model, NULL, NULL, &other));
    OK(ollm_session_feed(other, PROMPT, COUNT(PROMPT)));
    OK(ollm_session_feed_text(session, text, strlen(text), 0));
    OK(ollm_session_feed(other, tokens, count));
    steps(session, tokens, STEPS);
    steps(other, alone, STEPS);
    CHECK(memcmp(tokens, alone, sizeof tokens[0] * STEPS) == 0);
    OK(ollm_session_free(&session));
    OK(ollm_session_free(&other));
}

static void rewinding_and_forking_go_on_as_if_nothing_had_been(void) {
    ollm_session *session = new_session(model, plugin, 64), *fork = NULL;
    uint32_t first[STEPS], again[STEPS];
    steps(session, first, STEPS);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_fork(session, &fork));
    steps(session, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rewind(session, 1000));
    OK(ollm_session_free(&session));
    steps(fork, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    OK(ollm_session_rewind(fork, 0));
    CHECK(position(fork) == 0);
    OK(ollm_session_free(&fork));
}

static void a_kv_cache_of_bytes_is_smaller_and_goes_on_as_one(void) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *exact = new_session(model, plugin, 64), *session = NULL, *other = NULL;
    ollm_statistics two = ollm_statistics_init(), one = ollm_statistics_init();
    uint32_t first[STEPS], again[STEPS];
    size_t length = 0;
    char *data;
    options.kv_type = OLLM_KV_TYPE_Q8_0;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    OK(ollm_session_save(session, NULL, 0, &length));
    data = malloc(length);
    OK(ollm_session_save(session, data, length, &length));
    steps(session, first, STEPS);
    OK(ollm_session_statistics(exact, &two));
    OK(ollm_session_statistics(session, &one));
    CHECK(one.kv_bytes > 0 && 3 * one.kv_bytes < 2 * two.kv_bytes);
    OK(ollm_session_new(model, plugin, &options, &other));
    OK(ollm_session_restore(other, data, length));
    steps(other, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    GIVES(OLLM_MISMATCH, ollm_session_restore(exact, data, length));
    CHECK(position(exact) == COUNT(PROMPT));
    free(data);
    OK(ollm_session_free(&exact));
    OK(ollm_session_free(&session));
    OK(ollm_session_free(&other));
}

static void a_saved_session_goes_on(const char *path) {
    ollm_session *session = new_session(model, plugin, 64), *other = NULL;
    uint32_t first[STEPS], again[STEPS];
    ollm_token token = ollm_token_init();
    ollm_run_options run = ollm_run_options_init();
    struct seen seen = {0};
    size_t length = 0, needed = 0;
    char *data;
    OK(ollm_session_step(session, &token));
    OK(ollm_session_save_file(session, path));
    OK(ollm_session_save(session, NULL, 0, &length));
    data = malloc(length);
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_session_save(session, data, length - 1, &needed));
    CHECK(needed == length);
    OK(ollm_session_save(session, data, length, &needed));
    steps(session, first, STEPS);
    OK(ollm_session_new(model, plugin, NULL, &other));
    OK(ollm_session_restore_file(other, path));
    steps(other, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    OK(ollm_session_restore(other, data, length));
    run.limit = STEPS;
    run.each = see;
    run.user = &seen;
    OK(ollm_session_run(other, &run, NULL));
    CHECK(seen.count == STEPS && memcmp(first, seen.tokens, sizeof first) == 0);
    /* What is damaged, cut or nothing at all is refused, and the session goes on. */
    OK(ollm_session_rewind(other, COUNT(PROMPT) + 1));
    data[length / 2] ^= 1;
    GIVES(OLLM_BAD_FILE, ollm_session_restore(other, data, length));
    data[length / 2] ^= 1;
    GIVES(OLLM_BAD_FILE, ollm_session_restore(other, data, length - 1));
    GIVES(OLLM_BAD_FILE, ollm_session_restore(other, data, 0));
    GIVES(OLLM_IO, ollm_session_restore_file(other, "/no/such/file"));
    GIVES(OLLM_IO, ollm_session_save_file(other, "/no/such/folder/file"));
    steps(other, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    free(data);
    OK(ollm_session_free(&session));
    OK(ollm_session_free(&other));
}

static void the_option_set_is_what_the_steps_choose_from(void) {
    ollm_session *session = new_session(model, plugin, 64), *fork = NULL;
    ollm_option_set *options = NULL, *kept;
    ollm_candidate top[4];
    float policy[16], alone[16], hidden[256], sum = 0;
    size_t count = 0, k = 0, latent;
    OK(ollm_option_set_new(session, 4, &options));
    OK(ollm_option_set_policy(options, policy, COUNT(policy), &k));
    OK(ollm_plugin_option_count(plugin, &count));
    CHECK(k == count && k == 10);
    OK(ollm_session_policy(session, alone, COUNT(alone), &count));
    CHECK(count == k && memcmp(policy, alone, k * sizeof *policy) == 0);
    OK(ollm_session_hidden(session, hidden, COUNT(hidden), &count));
    CHECK(count == 64 && isfinite(hidden[0]));
    for (latent = 0; latent < k; latent++) {
        ollm_token token = ollm_token_init();
        sum += policy[latent];
        OK(ollm_option_set_top(options, (uint32_t)latent, top, COUNT(top), &count));
        CHECK(count == 4 && top[0].probability >= top[3].probability);
        OK(ollm_session_fork(session, &fork));
        OK(ollm_session_step_latent(fork, (uint32_t)latent, &token));
        CHECK(token.id == top[0].token && token.latent == (int32_t)latent);
        CHECK(fabsf(expf(token.logprob) - top[0].probability) < 1e-5f);
        OK(ollm_session_free(&fork));
    }
    CHECK(fabsf(sum - 1) < 1e-5f);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_option_set_top(options, (uint32_t)k, top, COUNT(top), &count));
    /* The snapshot stays when the session is gone; freed, it is dead. */
    OK(ollm_session_free(&session));
    OK(ollm_option_set_top(options, 0, top, COUNT(top), &count));
    kept = options;
    OK(ollm_option_set_free(&options));
    CHECK(options == NULL);
    GIVES(OLLM_INVALID_HANDLE, ollm_option_set_top(kept, 0, top, COUNT(top), &count));
}

static uint32_t choose_seven(void *user, const float *hidden, size_t size, const float *policy, size_t options) {
    CHECK(size == 64 && options == 10 && isfinite(hidden[63]) && policy[9] >= 0);
    return (*(uint32_t *)user)++ < 1000 ? 7 : 0;
}

static int32_t latent_after(ollm_session *session, const ollm_selection *selection, size_t steps_before) {
    ollm_token token = ollm_token_init();
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_set_selection(session, selection));
    do {
        OK(ollm_session_step(session, &token));
    } while (steps_before-- > 0);
    return token.latent;
}

static void latents_are_selected_as_told(void) {
    static const uint32_t script[] = {3, 8, 1};
    ollm_session *session = new_session(model, plugin, 64), *bare = new_session(model, NULL, 64);
    ollm_selection selection = ollm_selection_init();
    uint32_t calls = 0, alone[STEPS], tokens[STEPS];
    int32_t latents[COUNT(PROMPT)], drawn;
    float policy[16];
    size_t count = 0, i, best = 0;
    OK(ollm_session_policy(session, policy, COUNT(policy), &count));
    for (i = 0; i < count; i++) best = policy[i] > policy[best] ? i : best;
    CHECK(latent_after(session, NULL, 0) == (int32_t)best);
    selection.latents = script;
    selection.latent_count = COUNT(script);
    selection.mode = OLLM_SELECT_FIXED;
    CHECK(latent_after(session, &selection, 2) == 3);
    selection.mode = OLLM_SELECT_SCRIPT;
    CHECK(latent_after(session, &selection, 0) == 3 && latent_after(session, &selection, 1) == 8);
    CHECK(latent_after(session, &selection, 5) == 1);
    selection.hold = OLLM_HOLD_ALL;
    CHECK(latent_after(session, &selection, 5) == 3);
    selection.hold = OLLM_HOLD_LINE;
    CHECK(latent_after(session, &selection, 0) == 3);
    selection = ollm_selection_init();
    selection.mode = OLLM_SELECT_CALLBACK;
    selection.choose = choose_seven;
    selection.user = &calls;
    CHECK(latent_after(session, &selection, 2) == 7 && calls == 3);
    selection.mode = OLLM_SELECT_MIXTURE;
    CHECK(latent_after(session, &selection, 0) == -1);
    selection.mode = OLLM_SELECT_SAMPLE;
    selection.seed = 5;
    drawn = latent_after(session, &selection, 4);
    CHECK(drawn == latent_after(session, &selection, 4));
    selection.mode = OLLM_SELECT_UNIFORM;
    CHECK(latent_after(session, &selection, 0) >= 0);
    /* The backbone alone, with a plugin that is not asked. */
    selection.mode = OLLM_SELECT_BACKBONE;
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_set_selection(session, &selection));
    steps(session, tokens, STEPS);
    steps(bare, alone, STEPS);
    CHECK(memcmp(tokens, alone, sizeof tokens) == 0);
    OK(ollm_session_set_selection(bare, NULL));
    selection.mode = OLLM_SELECT_POLICY;
    GIVES(OLLM_NO_PLUGIN, ollm_session_set_selection(bare, &selection));
    /* What the encoder says of a given text. */
    OK(ollm_session_rewind(session, 0));
    OK(ollm_session_encode(session, PROMPT, COUNT(PROMPT), latents));
    CHECK(latents[0] == -1 && latents[1] >= 0 && latents[1] < 10 && position(session) == COUNT(PROMPT));
    GIVES(OLLM_NO_PLUGIN, ollm_session_encode(bare, PROMPT, COUNT(PROMPT), latents));
    OK(ollm_session_free(&session));
    OK(ollm_session_free(&bare));
}

static void sampling_follows_its_seed(void) {
    ollm_session *session = new_session(model, NULL, 64);
    ollm_sampling sampling = ollm_sampling_init();
    uint32_t first[STEPS], again[STEPS];
    sampling.temperature = 1.5f;
    sampling.top_k = 50;
    sampling.seed = 9;
    OK(ollm_session_set_sampling(session, &sampling));
    steps(session, first, STEPS);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    steps(session, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) == 0);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    sampling.seed = 10;
    OK(ollm_session_set_sampling(session, &sampling));
    steps(session, again, STEPS);
    CHECK(memcmp(first, again, sizeof first) != 0);
    OK(ollm_session_free(&session));
}

static void the_end_of_the_context_is_a_status_or_a_context_shift(void) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = new_session(model, NULL, 8);
    ollm_run_options run = ollm_run_options_init();
    ollm_token token = ollm_token_init();
    size_t i, context = 0;
    OK(ollm_session_context(session, &context));
    CHECK(context == 8);
    GIVES(OLLM_CONTEXT_FULL, ollm_session_run(session, &run, NULL));
    CHECK(position(session) == 8);
    GIVES(OLLM_CONTEXT_FULL, ollm_session_step(session, &token));
    GIVES(OLLM_CONTEXT_FULL, ollm_session_feed(session, PROMPT, 1));
    OK(ollm_session_free(&session));
    options.context = 16;
    options.context_shift = 1;
    options.keep = 2;
    OK(ollm_session_new(model, NULL, &options, &session));
    GIVES(OLLM_EMPTY, ollm_session_step(session, &token));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    for (i = 0; i < 50; i++) OK(ollm_session_step(session, &token));
    CHECK(position(session) <= 16);
    OK(ollm_session_free(&session));
    options.keep = 16;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &session));
}

int main(int argc, char **argv) {
    ollm_model *kept;
    CHECK(argc == 4);
    model = kept = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    steps_and_runs_agree();
    a_run_ends_where_it_is_told();
    text_goes_in_and_comes_out();
    rewinding_and_forking_go_on_as_if_nothing_had_been();
    a_kv_cache_of_bytes_is_smaller_and_goes_on_as_one();
    a_saved_session_goes_on(argv[3]);
    the_option_set_is_what_the_steps_choose_from();
    latents_are_selected_as_told();
    sampling_follows_its_seed();
    the_end_of_the_context_is_a_status_or_a_context_shift();
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    CHECK(model == NULL && plugin == NULL);
    GIVES(OLLM_INVALID_HANDLE, ollm_model_retain(kept));
    return 0;
}
