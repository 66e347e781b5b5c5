/* Branches: a tree by hand, searches, votes, adoption, suggestions, threads. usage: branches
 * MODEL PLUGIN */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>

#define STEPS 12

static ollm_model *model;
static ollm_plugin *plugin;

static ollm_branches *new_branches(ollm_session *session, size_t limit) {
    ollm_branch_options options = ollm_branch_options_init();
    ollm_branches *branches = NULL;
    options.limit = limit;
    OK(ollm_branches_new(session, &options, &branches));
    CHECK(branches != NULL);
    return branches;
}

static ollm_branch get(ollm_branches *branches, size_t index) {
    ollm_branch branch = ollm_branch_init();
    OK(ollm_branches_get(branches, index, &branch));
    return branch;
}

static size_t count_of(ollm_branches *branches) {
    size_t count = 0;
    OK(ollm_branches_count(branches, &count));
    return count;
}

static void hold(ollm_session *session, ollm_select mode, uint32_t latent) {
    ollm_selection selection = ollm_selection_init();
    selection.mode = mode;
    selection.latents = &latent;
    selection.latent_count = 1;
    selection.hold = OLLM_HOLD_ALL;
    OK(ollm_session_set_selection(session, &selection));
}

/* A branch for each latent: what a session says that holds it. */
static void a_branch_is_a_session_of_its_own(void) {
    ollm_session *session = new_session(model, plugin, 64), *other;
    ollm_branches *branches;
    size_t advanced = 0, steps_made = 0, i;
    hold(session, OLLM_SELECT_POLICY, 0);
    branches = new_branches(session, STEPS);
    CHECK(count_of(branches) == 1 && get(branches, 0).at_boundary == 1 && get(branches, 0).parent == -1);
    CHECK(get(branches, 0).tokens == NULL && get(branches, 0).text_length == 0 && isnan(get(branches, 0).value));
    OK(ollm_branches_expand(branches, 0, NULL));
    CHECK(count_of(branches) == 10);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, NULL));
    CHECK(count_of(branches) == 10);
    /* They live on without their session. */
    OK(ollm_session_free(&session));
    do {
        OK(ollm_branches_step(branches, &advanced));
        steps_made += advanced > 0;
    } while (advanced > 0);
    CHECK(steps_made <= STEPS && steps_made > 0);
    for (i = 0; i < 10; i++) {
        ollm_branch branch = get(branches, i);
        size_t j;
        CHECK(branch.state != OLLM_BRANCH_OPEN && branch.error == OLLM_OK && branch.policy < 0);
        if (branch.state == OLLM_BRANCH_MERGED) {
            /* The better of the two is kept. */
            CHECK(branch.merged_into >= 0 && branch.merged_into < 10 && (size_t)branch.merged_into != i);
            CHECK(get(branches, (size_t)branch.merged_into).logprob >= branch.logprob);
            continue;
        }
        CHECK(branch.token_count <= STEPS && branch.merged_into == -1 && branch.text_length > 0);
        other = new_session(model, plugin, 64);
        hold(other, OLLM_SELECT_FIXED, (uint32_t)i);
        for (j = 0; j < branch.token_count; j++) {
            ollm_token token = ollm_token_init();
            OK(ollm_session_step(other, &token));
            CHECK(token.id == branch.tokens[j] && branch.latents[j] == (int32_t)i);
        }
        OK(ollm_session_free(&other));
    }
    OK(ollm_branches_free(&branches));
    CHECK(branches == NULL);
}

static void a_session_adopts_a_branch(void) {
    ollm_session *session = new_session(model, plugin, 64), *other = new_session(model, plugin, 64);
    ollm_session *bare = new_session(model, NULL, 64), *fork = NULL;
    ollm_branches *branches;
    ollm_expansion expansion = ollm_expansion_init();
    uint32_t all[64], next[STEPS], expected[STEPS];
    size_t count = 0, i;
    ollm_branch branch;
    hold(session, OLLM_SELECT_POLICY, 0);
    hold(other, OLLM_SELECT_FIXED, 7);
    branches = new_branches(session, 40);
    OK(ollm_branches_expand(branches, 0, NULL));
    for (i = 0; i < 5; i++) OK(ollm_branches_step(branches, NULL));
    branch = get(branches, 7);
    if (branch.state == OLLM_BRANCH_OPEN) {
        CHECK(branch.token_count == 5);
        OK(ollm_session_fork(session, &fork));
        OK(ollm_branches_adopt(branches, 7, session));
        OK(ollm_session_tokens(session, all, COUNT(all), &count));
        CHECK(count == COUNT(PROMPT) + 5 && memcmp(all + COUNT(PROMPT), branch.tokens, 5 * sizeof *all) == 0);
        /* The latent is held on, and the session goes on as if it had held it from the start. */
        steps(other, expected, 5);
        steps(other, expected, STEPS);
        steps(session, next, STEPS);
        CHECK(memcmp(next, expected, sizeof next) == 0);
        /* It has moved, and a second branch is not where it is; the fork has not. */
        GIVES(OLLM_MISMATCH, ollm_branches_adopt(branches, 7, session));
        OK(ollm_branches_adopt(branches, 7, fork));
        steps(fork, next, STEPS);
        CHECK(memcmp(next, expected, sizeof next) == 0);
        OK(ollm_session_cancel(session));
        GIVES(OLLM_CANCELLED, ollm_session_feed(session, PROMPT, 1));
    }
    GIVES(OLLM_MISMATCH, ollm_branches_adopt(branches, 7, bare));
    /* A branch that is gone has no text to adopt. */
    expansion.kind = OLLM_EXPAND_TOKENS;
    expansion.count = 2;
    OK(ollm_session_free(&session));
    session = new_session(model, NULL, 64);
    OK(ollm_branches_free(&branches));
    branches = new_branches(session, 8);
    OK(ollm_branches_expand(branches, 0, &expansion));
    OK(ollm_branches_prune(branches, 1));
    CHECK(get(branches, 1).state == OLLM_BRANCH_PRUNED);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_prune(branches, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_adopt(branches, 1, session));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_adopt(branches, 2, session));
    OK(ollm_branches_adopt(branches, 0, session));
    CHECK(position(session) == COUNT(PROMPT));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&session));
    OK(ollm_session_free(&other));
    OK(ollm_session_free(&bare));
    OK(ollm_session_free(&fork));
}

struct watch {
    ollm_branches *branches;
    ollm_session *session;
    size_t calls;
    size_t most;
    size_t end_after;
};

static int32_t watch(void *user, const ollm_branch *const *branches, size_t count) {
    struct watch *watch = user;
    size_t n = 0, i;
    for (i = 0; i < count; i++) {
        CHECK(branches[i]->struct_size == sizeof **branches && branches[i]->count > 0);
        CHECK(branches[i]->token_count == 0 || (branches[i]->tokens != NULL && branches[i]->latents != NULL));
    }
    GIVES(OLLM_BUSY, ollm_branches_count(watch->branches, &n));
    GIVES(OLLM_BUSY, ollm_branches_free(&watch->branches));
    CHECK(watch->branches != NULL && position(watch->session) == COUNT(PROMPT));
    watch->most = count;
    return ++watch->calls == watch->end_after;
}

static void first_word(void *user, ollm_text text, ollm_text *answer) {
    const char *space = text.length > 0 ? memchr(text.data, ' ', text.length) : NULL;
    CHECK(answer->data == NULL && answer->length == 0);
    ++*(size_t *)user;
    answer->data = text.data;
    answer->length = space ? (size_t)(space - text.data) : text.length;
}

static void no_text(void *user, ollm_text text, ollm_text *answer) {
    (void)user, (void)text;
    answer->data = "\xff";
    answer->length = 1;
}

struct scorer {
    size_t calls;
    double sign;
};

/* By the first token, so that another sign gives another winner. */
static double by_first_token(void *user, const ollm_branch *branch) {
    struct scorer *scorer = user;
    CHECK(branch->struct_size == sizeof *branch && branch->token_count > 0 && branch->text != NULL);
    scorer->calls++;
    return scorer->sign * branch->tokens[0];
}

static void the_application_scores_branches(void) {
    ollm_session *session = new_session(model, NULL, 64);
    ollm_branches *branches = new_branches(session, 3);
    ollm_expansion expansion = ollm_expansion_init();
    ollm_search_options options = ollm_search_options_init();
    ollm_tally tally = ollm_tally_init();
    ollm_found most = ollm_found_init(), least = ollm_found_init();
    struct scorer scorer = {0, 1};
    expansion.kind = OLLM_EXPAND_TOKENS;
    expansion.count = 4;
    tally.rule = "text";
    tally.rule_length = 4;
    tally.score_of = by_first_token;
    tally.score_user = &scorer;
    options.strategy = OLLM_STRATEGY_BEST;
    options.expansion = &expansion;
    options.tally = &tally;
    OK(ollm_branches_run(branches, &options, &most));
    CHECK(scorer.calls > 0);
    scorer.sign = -1;
    OK(ollm_branches_run(branches, &options, &least));
    CHECK(get(branches, most.branch).tokens[0] > get(branches, least.branch).tokens[0]);
    tally.score = OLLM_SCORE_POLICY;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &options, &least));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&session));
}

static void searches_find_a_branch(void) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_strategy strategies[] = {OLLM_STRATEGY_VOTE, OLLM_STRATEGY_BEST, OLLM_STRATEGY_BEAM};
    size_t i, calls = 0;
    for (i = 0; i < COUNT(strategies); i++) {
        struct watch seen = {NULL, session, 0, 0, 0};
        ollm_search_options options = ollm_search_options_init();
        ollm_tally tally = ollm_tally_init();
        ollm_found found = ollm_found_init(), again = ollm_found_init();
        seen.branches = new_branches(session, STEPS);
        tally.rule = "text";
        tally.rule_length = 4;
        tally.weight = OLLM_WEIGHT_POLICY;
        options.tally = &tally;
        options.strategy = strategies[i];
        options.width = 3;
        options.each = watch;
        options.user = &seen;
        OK(ollm_branches_run(seen.branches, &options, &found));
        CHECK(seen.calls > 0 && seen.calls <= STEPS && seen.most <= count_of(seen.branches));
        CHECK(strategies[i] == OLLM_STRATEGY_BEAM || count_of(seen.branches) == 3);
        CHECK(found.branch < count_of(seen.branches) && found.confidence >= 0 && found.confidence <= 1);
        CHECK(found.answer == NULL || found.answer_length > 0);
        CHECK(found.passes > 0 && found.generated > 0);
        CHECK(strategies[i] == OLLM_STRATEGY_BEAM || found.passes <= STEPS);
        /* Nothing is open, so that nothing is left to search. */
        seen.calls = 0;
        OK(ollm_branches_run(seen.branches, &options, &again));
        CHECK(seen.calls == 0 && again.branch == found.branch && again.passes == found.passes);
        tally = ollm_tally_init();
        tally.answer = first_word;
        tally.user = &calls;
        OK(ollm_branches_vote(seen.branches, &tally, &again));
        CHECK(calls > 0 && again.answer_length > 0);
        tally.answer = no_text;
        GIVES(OLLM_INVALID_UTF8, ollm_branches_vote(seen.branches, &tally, &again));
        OK(ollm_branches_vote(seen.branches, NULL, &again));
        OK(ollm_branches_free(&seen.branches));
    }
    OK(ollm_session_free(&session));
}

static void a_search_is_ended_by_its_callback(void) {
    ollm_session *session = new_session(model, NULL, 64);
    ollm_search_options options = ollm_search_options_init();
    ollm_expansion expansion = ollm_expansion_init();
    ollm_found found = ollm_found_init();
    struct watch seen = {NULL, session, 0, 0, 3};
    ollm_branch branch;
    expansion.kind = OLLM_EXPAND_SAMPLE;
    expansion.count = 4;
    expansion.temperature = 0.8f;
    options.expansion = &expansion;
    options.each = watch;
    options.user = &seen;
    seen.branches = new_branches(session, 0);
    OK(ollm_branches_run(seen.branches, &options, &found));
    CHECK(seen.calls == 3);
    branch = get(seen.branches, found.branch);
    CHECK(branch.state != OLLM_BRANCH_OPEN && branch.token_count <= 3);
    CHECK(branch.token_count == 0 || branch.latents[0] == -1);
    OK(ollm_branches_free(&seen.branches));
    OK(ollm_session_free(&session));
}

/* ---- Threads ---- */

static void *step_on(void *user) {
    ollm_branches *branches = user;
    ollm_status status;
    size_t advanced = 0;
    do status = ollm_branches_step(branches, &advanced);
    while (status == OLLM_BUSY || (status == OLLM_OK && advanced > 0));
    CHECK(status == OLLM_CANCELLED || status == OLLM_INVALID_HANDLE);
    return NULL;
}

static void branches_are_cancelled_and_freed_from_other_threads(void) {
    ollm_session *session = new_session(model, plugin, (size_t)1 << 20);
    ollm_branches *branches, *copy;
    pthread_t thread;
    size_t n = 0, i;
    OK(ollm_session_set_duty(session, 1e-9f));
    for (i = 0; i < 2; i++) {
        branches = copy = new_branches(session, 0);
        OK(ollm_branches_expand(branches, 0, NULL));
        /* After work it rests for years. */
        CHECK(pthread_create(&thread, NULL, step_on, branches) == 0);
        while (ollm_branches_count(branches, &n) != OLLM_BUSY) sched_yield();
        if (i == 0) OK(ollm_branches_cancel(branches));
        else OK(ollm_branches_free(&branches));
        CHECK(pthread_join(thread, NULL) == 0);
        if (i == 0) {
            CHECK(get(branches, 0).token_count <= 1);
            OK(ollm_branches_free(&branches));
        }
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_cancel(copy));
    }
    branches = new_branches(session, 4);
    OK(ollm_branches_cancel(branches));
    OK(ollm_branches_withdraw_cancel(branches));
    OK(ollm_branches_expand(branches, 0, NULL));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&session));
}

/* ---- Suggestions ---- */

static void suggestions_are_ranked(const ollm_plugin *with) {
    ollm_session *session = new_session(model, with, 64);
    ollm_suggest_options options = ollm_suggest_options_init();
    ollm_suggestions *suggestions = NULL;
    ollm_suggestion one = ollm_suggestion_init();
    size_t count = 0, i;
    double before = 1;
    options.count = 4;
    options.tokens = 6;
    OK(ollm_session_suggest(session, &options, &suggestions));
    OK(ollm_suggestions_count(suggestions, &count));
    CHECK(count == 4 && position(session) == COUNT(PROMPT));
    for (i = 0; i < count; i++) {
        OK(ollm_suggestions_get(suggestions, i, &one));
        CHECK(one.text_length > 0 && one.token_count > 0 && one.token_count <= 6);
        CHECK(one.probability > 0 && one.probability <= before + 1e-6 && (with != NULL || one.latent == -1));
        before = one.probability;
    }
    GIVES(OLLM_INVALID_ARGUMENT, ollm_suggestions_get(suggestions, count, &one));
    OK(ollm_suggestions_free(&suggestions));
    options.until = OLLM_UNTIL_WORD;
    OK(ollm_session_suggest(session, &options, &suggestions));
    OK(ollm_suggestions_free(&suggestions));
    OK(ollm_session_suggest(session, NULL, &suggestions));
    OK(ollm_suggestions_free(&suggestions));
    /* The session's canceller is theirs. */
    OK(ollm_session_cancel(session));
    GIVES(OLLM_CANCELLED, ollm_session_suggest(session, NULL, &suggestions));
    OK(ollm_session_suggest(session, NULL, &suggestions));
    OK(ollm_suggestions_free(&suggestions));
    OK(ollm_session_free(&session));
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    a_branch_is_a_session_of_its_own();
    a_session_adopts_a_branch();
    searches_find_a_branch();
    the_application_scores_branches();
    a_search_is_ended_by_its_callback();
    branches_are_cancelled_and_freed_from_other_threads();
    suggestions_are_ranked(plugin);
    suggestions_are_ranked(NULL);
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
