/* What the network says without choosing, and what an application may change before it chooses: logits, scores,
   embeddings, samplers, statistics. usage: logits MODEL PLUGIN */
#include "check.h"

#include <math.h>

#define VOCABULARY 320
#define STEPS 12

static ollm_model *model;
static ollm_plugin *plugin;

static ollm_session *fresh(void) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    options.context = 64;
    OK(ollm_session_new(model, plugin, &options, &session));
    return session;
}

/* The log-probability of a token in logits. */
static double logprob(const float *logits, size_t count, uint32_t token) {
    double sum = 0;
    size_t i;
    for (i = 0; i < count; i++)
        sum += exp(logits[i]);
    return logits[token] - log(sum);
}

static void logits_are_those_that_a_step_chooses_from(void) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_selection backbone = ollm_selection_init(), mixture = ollm_selection_init();
    ollm_token token = ollm_token_init();
    float logits[VOCABULARY];
    size_t count = 0;
    uint32_t latent;
    OK(ollm_session_logits(session, OLLM_DISTRIBUTION_BACKBONE, 0, NULL, 0, &count));
    CHECK(count == VOCABULARY);
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_session_logits(session, OLLM_DISTRIBUTION_BACKBONE, 0, logits, 3, &count));
    for (latent = 0; latent < 3; latent++) {
        OK(ollm_session_logits(session, OLLM_DISTRIBUTION_OPTION, latent, logits, COUNT(logits), &count));
        OK(ollm_session_step_latent(session, latent, &token));
        CHECK(fabs(logprob(logits, count, token.id) - token.logprob) < 1e-4);
        OK(ollm_session_rewind(session, COUNT(PROMPT)));
    }
    backbone.mode = OLLM_SELECT_BACKBONE;
    mixture.mode = OLLM_SELECT_MIXTURE;
    OK(ollm_session_logits(session, OLLM_DISTRIBUTION_BACKBONE, 0, logits, COUNT(logits), &count));
    OK(ollm_session_set_selection(session, &backbone));
    OK(ollm_session_step(session, &token));
    CHECK(fabs(logprob(logits, count, token.id) - token.logprob) < 1e-4);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_logits(session, OLLM_DISTRIBUTION_MIXTURE, 0, logits, COUNT(logits), &count));
    OK(ollm_session_set_selection(session, &mixture));
    OK(ollm_session_step(session, &token));
    CHECK(fabs(logits[token.id] - token.logprob) < 1e-4);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_logits(session, 3, 0, logits, COUNT(logits), &count));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_logits(session, OLLM_DISTRIBUTION_OPTION, 99, logits, COUNT(logits), &count));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_logits(session, OLLM_DISTRIBUTION_MIXTURE, 1, logits, COUNT(logits), &count));
    OK(ollm_session_rewind(session, 0));
    GIVES(OLLM_EMPTY, ollm_session_logits(session, OLLM_DISTRIBUTION_MIXTURE, 0, logits, COUNT(logits), &count));
    OK(ollm_session_free(&session));
}

/* Scores of what was generated are the log-probabilities that were told, wherever the text is cut. */
static void scores_are_those_of_the_steps(void) {
    ollm_session *session = new_session(model, plugin, 64);
    uint32_t tokens[STEPS];
    float told[STEPS], scored[COUNT(PROMPT) + STEPS];
    size_t count = 0, i;
    for (i = 0; i < STEPS; i++) {
        ollm_token token = ollm_token_init();
        OK(ollm_session_step(session, &token));
        tokens[i] = token.id;
        told[i] = token.logprob;
    }
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_score(session, tokens, STEPS, NULL, 0, &count));
    CHECK(count == STEPS && position(session) == COUNT(PROMPT));
    OK(ollm_session_score(session, tokens, STEPS, scored, COUNT(scored), &count));
    CHECK(count == STEPS && position(session) == COUNT(PROMPT) + STEPS);
    for (i = 0; i < STEPS; i++)
        CHECK(scored[i] == told[i]);
    OK(ollm_session_free(&session));
    session = fresh();
    OK(ollm_session_score(session, PROMPT, COUNT(PROMPT), scored, COUNT(scored), &count));
    CHECK(count == COUNT(PROMPT) && isnan(scored[0]) && scored[1] < 0 && position(session) == COUNT(PROMPT));
    GIVES(OLLM_CONTEXT_FULL, ollm_session_score(session, (const uint32_t[60]){1}, 60, scored, 60, &count));
    OK(ollm_session_free(&session));
}

static uint32_t cancel(void *session, const float *hidden, size_t size, const float *policy, size_t options) {
    (void)hidden, (void)size, (void)policy, (void)options;
    OK(ollm_session_cancel(session));
    return 0;
}

/* A step that gives this token and no other. */
static ollm_token step_to(ollm_session *session, uint32_t id) {
    ollm_sampling sampling = ollm_sampling_init();
    ollm_token token = ollm_token_init();
    ollm_logit_bias bias;
    bias.token = id, bias.bias = 1e6f;
    sampling.biases = &bias;
    sampling.bias_count = 1;
    OK(ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_step(session, &token));
    CHECK(token.id == id);
    return token;
}

/* Half a character does not go on behind tokens that were scored, also where that was cancelled. */
static void a_score_ends_the_text_before_it(void) {
    ollm_session *session = new_session(model, plugin, 256);
    ollm_selection selection = ollm_selection_init();
    ollm_token token;
    uint32_t halves[2], tokens[130] = {1};
    float scored[COUNT(tokens)];
    size_t count = 0;
    OK(ollm_tokenize(model, "\xc3\xa9", 2, 0, halves, COUNT(halves), &count));
    CHECK(count == 2);
    CHECK(step_to(session, halves[0]).text_length == 0);
    token = step_to(session, halves[1]);
    CHECK(token.text_length == 2 && memcmp(token.text, "\xc3\xa9", 2) == 0);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    CHECK(step_to(session, halves[0]).text_length == 0);
    selection.mode = OLLM_SELECT_CALLBACK;
    selection.choose = cancel;
    selection.user = session;
    OK(ollm_session_set_selection(session, &selection));
    GIVES(OLLM_CANCELLED, ollm_session_score(session, tokens, COUNT(tokens), scored, COUNT(scored), &count));
    CHECK(position(session) > COUNT(PROMPT) + 1 && position(session) < COUNT(PROMPT) + 1 + COUNT(tokens));
    OK(ollm_session_set_selection(session, NULL));
    token = step_to(session, halves[1]);
    CHECK(token.text_length != 2 || memcmp(token.text, "\xc3\xa9", 2) != 0);
    OK(ollm_session_free(&session));
}

static void an_embedding_is_the_pooled_hidden_state(void) {
    ollm_session *session = fresh();
    float last[256], hidden[256], mean[256], first[256];
    size_t length = 0, i;
    double norm = 0;
    OK(ollm_session_embed(session, PROMPT, COUNT(PROMPT), OLLM_POOLING_LAST, 0, NULL, 0, &length));
    CHECK(length > 0 && length <= COUNT(last) && position(session) == 0);
    OK(ollm_session_embed(session, PROMPT, COUNT(PROMPT), OLLM_POOLING_LAST, 0, last, COUNT(last), &length));
    OK(ollm_session_hidden(session, hidden, COUNT(hidden), &length));
    CHECK(memcmp(last, hidden, length * sizeof *last) == 0);
    OK(ollm_session_embed(session, PROMPT, COUNT(PROMPT), OLLM_POOLING_MEAN, 1, mean, COUNT(mean), &length));
    for (i = 0; i < length; i++)
        norm += mean[i] * mean[i];
    CHECK(fabs(norm - 1) < 1e-5);
    OK(ollm_session_embed(session, PROMPT, COUNT(PROMPT), OLLM_POOLING_MODEL, 1, first, COUNT(first), &length));
    CHECK(memcmp(first, mean, length * sizeof *first) == 0);
    OK(ollm_session_embed(session, PROMPT, 1, OLLM_POOLING_MEAN, 0, mean, COUNT(mean), &length));
    OK(ollm_session_embed(session, PROMPT, COUNT(PROMPT), OLLM_POOLING_CLS, 0, first, COUNT(first), &length));
    CHECK(memcmp(first, mean, length * sizeof *first) == 0);
    CHECK(position(session) == COUNT(PROMPT));
    GIVES(OLLM_EMPTY, ollm_session_embed(session, NULL, 0, OLLM_POOLING_CLS, 0, first, COUNT(first), &length));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_embed(session, PROMPT, 1, 7, 0, first, COUNT(first), &length));
    CHECK(position(session) == COUNT(PROMPT));
    OK(ollm_session_free(&session));
}

static void only_even(void *user, float *logits, size_t vocabulary, const uint32_t *tokens, size_t count) {
    size_t i;
    *(size_t *)user = count;
    CHECK(vocabulary == VOCABULARY && tokens[0] == PROMPT[0]);
    for (i = 1; i < vocabulary; i += 2)
        logits[i] = -INFINITY;
}

static void none(void *user, float *logits, size_t vocabulary, const uint32_t *tokens, size_t count) {
    size_t i;
    (void)user, (void)tokens, (void)count;
    for (i = 0; i < vocabulary; i++)
        logits[i] = -INFINITY;
}

static void an_application_changes_logits(void) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_sampling sampling = ollm_sampling_init();
    ollm_logit_bias bias[2];
    ollm_token token = ollm_token_init();
    uint32_t best, tokens[STEPS];
    size_t seen = 0, i;
    OK(ollm_session_step(session, &token));
    best = token.id;
    bias[0].token = best, bias[0].bias = -INFINITY;
    bias[1].token = 3, bias[1].bias = 1000;
    sampling.biases = bias;
    sampling.bias_count = 1;
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_step(session, &token));
    CHECK(token.id != best);
    sampling.bias_count = 2;
    OK(ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_step(session, &token));
    CHECK(token.id == 3 && token.top == NULL && token.top_count == 0);
    bias[1].token = VOCABULARY;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling = ollm_sampling_init();
    sampling.edit = only_even;
    sampling.user = &seen;
    sampling.temperature = 1;
    sampling.logprobs = 4;
    OK(ollm_session_set_sampling(session, &sampling));
    for (i = 0; i < STEPS; i++) {
        OK(ollm_session_step(session, &token));
        CHECK(token.id % 2 == 0 && token.top_count == 4 && token.top[0].logprob >= token.top[3].logprob);
    }
    CHECK(seen == position(session) - 1);
    sampling.edit = none;
    OK(ollm_session_set_sampling(session, &sampling));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step(session, &token));
    CHECK(position(session) == COUNT(PROMPT) + 2 + STEPS);
    /* All filters at once, and a text that was rewound is drawn again. */
    sampling = ollm_sampling_init();
    sampling.temperature = .9f, sampling.dynamic_range = .3f, sampling.top_k = 90, sampling.top_p = .95f;
    sampling.min_p = .01f, sampling.typical_p = .99f, sampling.top_n_sigma = 3, sampling.xtc_probability = .3f;
    sampling.repeat_penalty = 1.1f, sampling.presence_penalty = .1f, sampling.frequency_penalty = .1f;
    sampling.dry_multiplier = .8f, sampling.mirostat_tau = 3;
    OK(ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    steps(session, tokens, STEPS);
    OK(ollm_session_rewind(session, COUNT(PROMPT) + 4));
    for (i = 4; i < STEPS; i++) {
        OK(ollm_session_step(session, &token));
        CHECK(token.id == tokens[i]);
    }
    OK(ollm_session_free(&session));
}

static void an_order_of_filters_is_checked(void) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_sampling sampling = ollm_sampling_init();
    ollm_filter order[2] = {OLLM_FILTER_TOP_P, OLLM_FILTER_TEMPERATURE};
    ollm_text empty = {"", 0};
    sampling.temperature = 2;
    sampling.top_p = .5f;
    sampling.order = order;
    sampling.order_count = 2;
    OK(ollm_session_set_sampling(session, &sampling));
    sampling.order_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    order[1] = OLLM_FILTER_TOP_P;
    sampling.order_count = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    order[1] = 0;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling = ollm_sampling_init();
    sampling.dry_multiplier = 1;
    sampling.dry_breakers = &empty;
    sampling.dry_breaker_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling = ollm_sampling_init();
    sampling.mirostat_tau = 5;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_free(&session));
}

static int32_t half(void *user, float progress) {
    CHECK(progress > 0 && progress <= 1);
    ++*(int *)user;
    return progress > .5;
}

static int32_t all(void *user, float progress) {
    (void)progress;
    ++*(int *)user;
    return 0;
}

/* The steps from `at` on, again with drafts: the same tokens, some of them right before they were chosen. */
static void drafts_change_no_token(ollm_session *session, size_t at, const uint32_t *expected) {
    ollm_statistics before = ollm_statistics_init(), after = ollm_statistics_init();
    ollm_draft drafts[] = {OLLM_DRAFT_NONE, OLLM_DRAFT_NGRAM, OLLM_DRAFT_MODEL};
    uint32_t tokens[STEPS];
    size_t i;
    for (i = 0; i < COUNT(drafts); i++) {
        OK(ollm_session_rewind(session, at));
        OK(ollm_session_set_draft(session, drafts[i], drafts[i] == OLLM_DRAFT_MODEL ? model : NULL));
        OK(ollm_session_statistics(session, &before));
        steps(session, tokens, STEPS);
        OK(ollm_session_statistics(session, &after));
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        CHECK(after.drafted - before.drafted >= after.accepted - before.accepted);
        CHECK(drafts[i] == OLLM_DRAFT_NONE ? after.drafted == before.drafted : 1);
        CHECK(drafts[i] == OLLM_DRAFT_MODEL ? after.drafted > before.drafted : 1);
    }
    OK(ollm_session_set_draft(session, OLLM_DRAFT_NONE, NULL));
}

static void what_was_done_is_told(void) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    ollm_statistics statistics = ollm_statistics_init();
    uint32_t prompt[1200], tokens[STEPS], id;
    char text[64];
    size_t i, length = 0;
    int calls = 0;
    for (i = 0; i < COUNT(prompt); i++)
        prompt[i] = (uint32_t)(i * 7 % 300);
    options.context = 2000;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed_watched(session, prompt, COUNT(prompt), all, &calls));
    CHECK(calls > 1 && position(session) == COUNT(prompt));
    steps(session, tokens, STEPS);
    OK(ollm_session_statistics(session, &statistics));
    CHECK(statistics.fed == COUNT(prompt) && statistics.generated == STEPS);
    CHECK(statistics.passes == (uint64_t)calls + STEPS - 1);
    CHECK(statistics.feed_seconds > 0 && statistics.generate_seconds > 0 && statistics.kv_bytes > 0);
    CHECK(statistics.first_token_seconds >= statistics.feed_seconds);
    drafts_change_no_token(session, COUNT(prompt), tokens);
    OK(ollm_session_rewind(session, 0));
    GIVES(OLLM_CANCELLED, ollm_session_feed_watched(session, prompt, COUNT(prompt), half, &calls));
    CHECK(position(session) > 0 && position(session) < COUNT(prompt));
    OK(ollm_session_free(&session));
    OK(ollm_model_metadata(model, "general.architecture", 20, text, sizeof text, &length));
    CHECK(strcmp(text, "\"llama\"") == 0);
    OK(ollm_model_metadata(model, "llama.block_count", 17, text, sizeof text, &length));
    CHECK(atoi(text) > 0);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_metadata(model, "no.key", 6, text, sizeof text, &length));
    OK(ollm_special_token(model, OLLM_SPECIAL_SEPARATOR, &id));
    CHECK(id == OLLM_NO_TOKEN);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_special_token(model, 99, &id));
    sprintf(text, "%d.%d.%d", OLLM_VERSION_MAJOR, OLLM_VERSION_MINOR, OLLM_VERSION_PATCH);
    CHECK(strcmp(text, ollm_version()) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    logits_are_those_that_a_step_chooses_from();
    scores_are_those_of_the_steps();
    a_score_ends_the_text_before_it();
    an_embedding_is_the_pooled_hidden_state();
    an_application_changes_logits();
    an_order_of_filters_is_checked();
    what_was_done_is_told();
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
