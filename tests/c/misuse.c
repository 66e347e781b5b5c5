/* Nothing that C can pass crashes the library: whatever can be told from a right argument is a status.
   usage: misuse MODEL PLUGIN OTHER_MODEL */
#include "check.h"

#include <math.h>

/* Whether files can be named by descriptors: on Windows by their path alone. */
#ifdef _WIN32
enum { DESCRIPTORS = 0 };
#else
enum { DESCRIPTORS = 1 };
#endif

static const char *model_path;
static ollm_model *model;
static ollm_plugin *plugin;
static ollm_session *session;

static void null_is_a_status(void) {
    size_t n = 0;
    int32_t flag = 0;
    uint32_t id = 0;
    float number = 0;
    char text[8];
    ollm_token token = ollm_token_init();
    ollm_memory memory = ollm_memory_init();
    ollm_statistics statistics = ollm_statistics_init();
    ollm_adapter *adapter = NULL;
    ollm_batch *batch = NULL;
    ollm_token *token_place = &token, *no_token = NULL;
    ollm_status outcome = OLLM_OK;
    ollm_source source = ollm_source_file(NULL);
    ollm_model *made = NULL;
    ollm_plugin *made_plugin = NULL;
    ollm_session *made_session = NULL;
    ollm_option_set *options = NULL;
    ollm_branches *branches = NULL;
    ollm_suggestions *suggestions = NULL;
    ollm_branch branch = ollm_branch_init();
    ollm_found found = ollm_found_init();
    ollm_suggestion suggestion = ollm_suggestion_init();
    ollm_chat_input input = ollm_chat_input_init();
    ollm_chat_event event = ollm_chat_event_init();
    ollm_chat_parser *parser = NULL;
    ollm_message message = {"user", 4, "a", 1};
    ollm_grammar *grammar = NULL;
    ollm_constraint_options constraint = ollm_constraint_options_init();
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(NULL, NULL, &made));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &made));
    source = ollm_source_file("/no/such/file");
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_retain(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_info(NULL, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_info(model, text, sizeof text, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_load(NULL, &source, &made_plugin));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_load(model, NULL, &made_plugin));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_load(model, &source, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_bundled(NULL, &made_plugin));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_bundled(model, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_retain(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_option_count(plugin, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_option_count(NULL, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_plugin_info(NULL, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(NULL, "a", 1, 0, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, NULL, 1, 0, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", 1, 0, &id, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_detokenize(model, NULL, 1, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_detokenize(NULL, &id, 1, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_token_bytes(NULL, 0, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_is_end(model, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_is_end(NULL, 0, &flag));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_text(model, NULL, 1, 1, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_render(NULL, &input, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_render(model, NULL, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_render(model, &input, text, sizeof text, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(NULL, &input, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, NULL, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, NULL));
    GIVES(OLLM_NO_TOKENIZER, ollm_chat_tokens(model, &input, &id, 1, &n));
    input.message_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, &n));
    input = ollm_chat_input_init();
    input.messages_json_length = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, &n));
    input = ollm_chat_input_init();
    input.variables_json = "\xff";
    input.variables_json_length = 1;
    GIVES(OLLM_INVALID_UTF8, ollm_chat_tokens(model, &input, &id, 1, &n));
    input = ollm_chat_input_init();
    input.no_answer = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, &n));
    input = ollm_chat_input_init();
    input.reserved = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, &n));
    input = ollm_chat_input_init();
    input.messages = &message;
    input.message_count = 1;
    input.messages_json = "[]";
    input.messages_json_length = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_tokens(model, &input, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_new(NULL, NULL, 0, &parser));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_new(model, NULL, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_new(model, NULL, 99, &parser));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_new(model, NULL, -1, &parser));
    GIVES(OLLM_NO_TOKENIZER, ollm_chat_parser_new(model, NULL, 0, &parser));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_push(NULL, "a", 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_finish(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_next(NULL, &event));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_parser_next(NULL, NULL));
    GIVES(OLLM_INVALID_HANDLE, ollm_chat_parser_push((ollm_chat_parser *)session, "a", 1));
    OK(ollm_chat_parser_free(NULL));
    OK(ollm_chat_parser_free(&parser));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_worker_run(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(NULL, NULL, NULL, &made_session));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_fork(NULL, &made_session));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_fork(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed(NULL, &id, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed(session, NULL, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed_text(session, NULL, 1, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed_cached(NULL, &id, 1, "folder", 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed_cached(session, NULL, 1, "folder", 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed_cached(session, &id, 1, NULL, 1, &n));
    GIVES(OLLM_IO, ollm_session_feed_cached(session, &id, 1, "/dev/null/folder", 1, &n));
    GIVES(OLLM_IO, ollm_session_feed_cached(session, &id, 1, "", 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_new(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(NULL, &session, 1, &token_place, &outcome));
    OK(ollm_batch_new(&batch));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, NULL, 1, &token_place, &outcome));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, &made_session, 1, &token_place, &outcome));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, &session, 1, NULL, &outcome));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, &session, 1, &no_token, &outcome));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, &session, 1, &token_place, NULL));
    OK(ollm_batch_free(&batch));
    OK(ollm_batch_free(&batch));
    OK(ollm_batch_free(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_adapter_load(NULL, &source, &adapter));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_adapter_load(model, NULL, &adapter));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_adapter_load(model, &source, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_adapters(NULL, NULL, NULL, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_adapters(session, NULL, NULL, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_draft(NULL, OLLM_DRAFT_NGRAM, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_draft(session, OLLM_DRAFT_NGRAM, model));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_draft(session, OLLM_DRAFT_MODEL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_draft(session, 99, NULL));
    OK(ollm_adapter_release(NULL));
    OK(ollm_adapter_release(&adapter));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed_watched(session, &id, 1, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_logits(NULL, 0, 0, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_logits(session, 0, 0, &number, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_score(NULL, &id, 1, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_score(session, NULL, 1, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_score(session, &id, 1, &number, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_embed(NULL, &id, 1, 0, 0, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_embed(session, NULL, 1, 0, 0, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_embed(session, &id, 1, 0, 0, &number, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rank(NULL, "a", 1, "b", 1, &number));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rank(session, NULL, 1, "b", 1, &number));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rank(session, "a", 1, NULL, 1, &number));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rank(session, "a", 1, "b", 1, NULL));
    GIVES(OLLM_UNSUPPORTED, ollm_session_rank(session, "a", 1, "b", 1, &number));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_statistics(NULL, &statistics));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_statistics(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_metadata(NULL, "a", 1, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_metadata(model, NULL, 1, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_special_token(NULL, 0, &id));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_special_token(model, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_cancel(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_withdraw_cancel(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_duty(NULL, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_position(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_context(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_tokens(session, &id, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rewind(NULL, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step(NULL, &token));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step_latent(NULL, 0, &token));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_run(NULL, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_option_set_new(NULL, 1, &options));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_option_set_new(session, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_option_set_policy(NULL, &number, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_option_set_top(NULL, 0, NULL, 0, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_policy(session, &number, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_hidden(session, &number, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_encode(session, &id, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_save_file(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_restore_file(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_save(session, NULL, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_restore(session, NULL, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_memory_needed(NULL, NULL, NULL, &memory));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_memory_needed(&source, NULL, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_memory(session, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_trim(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(NULL, NULL, &branches));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_cancel(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_withdraw_cancel(NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(NULL, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_step(NULL, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_prune(NULL, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_count(NULL, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_get(NULL, 0, &branch));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(NULL, NULL, &found));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_vote(NULL, NULL, &found));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_adopt(NULL, 0, session));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(NULL, NULL, &suggestions));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(session, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_suggestions_count(NULL, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_suggestions_get(NULL, 0, &suggestion));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_grammar_new(NULL, OLLM_GRAMMAR_REGEX, "a", 1, &grammar));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_grammar_new(model, OLLM_GRAMMAR_REGEX, NULL, 1, &grammar));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_grammar_new(model, OLLM_GRAMMAR_REGEX, "a", 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_constraint(NULL, NULL, NULL));
    constraint.trigger_length = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_constraint(session, NULL, &constraint));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_is_complete(NULL, &flag));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_is_complete(session, NULL));
    OK(ollm_branches_new(session, NULL, &branches));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_count(branches, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_get(branches, 0, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_vote(branches, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_adopt(branches, 0, NULL));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_suggest(session, NULL, &suggestions));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_suggestions_count(suggestions, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_suggestions_get(suggestions, 0, NULL));
    OK(ollm_suggestions_free(&suggestions));
    /* Nothing to free is nothing to fail at. */
    OK(ollm_branches_free(NULL));
    OK(ollm_branches_free(&branches));
    OK(ollm_grammar_free(NULL));
    OK(ollm_grammar_free(&grammar));
    OK(ollm_suggestions_free(NULL));
    OK(ollm_suggestions_free(&suggestions));
    OK(ollm_model_release(NULL));
    OK(ollm_model_release(&made));
    OK(ollm_plugin_release(NULL));
    OK(ollm_plugin_release(&made_plugin));
    OK(ollm_session_free(NULL));
    OK(ollm_session_free(&made_session));
    OK(ollm_option_set_free(NULL));
    OK(ollm_option_set_free(&options));
    OK(ollm_set_log(NULL, NULL));
}

static void dead_and_foreign_handles_are_a_status(void) {
    ollm_session *alive = new_session(model, plugin, 64), *copy = alive, *odd;
    ollm_option_set *options = NULL, *copy_of_options;
    ollm_model *model_copy;
    ollm_source source = ollm_source_memory("GGUF", 4, NULL, NULL);
    size_t n = 0, i;
    ollm_token token = ollm_token_init();
    OK(ollm_option_set_new(alive, 1, &options));
    copy_of_options = options;
    OK(ollm_session_free(&alive));
    CHECK(alive == NULL);
    GIVES(OLLM_INVALID_HANDLE, ollm_session_step(copy, &token));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_cancel(copy));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_fork(copy, &alive));
    odd = copy;
    GIVES(OLLM_INVALID_HANDLE, ollm_session_free(&odd));
    CHECK(odd == copy);
    /* The place is used again, and the old handle stays dead. */
    alive = new_session(model, plugin, 64);
    GIVES(OLLM_INVALID_HANDLE, ollm_session_position(copy, &n));
    OK(ollm_session_free(&alive));
    OK(ollm_option_set_free(&options));
    GIVES(OLLM_INVALID_HANDLE, ollm_option_set_free(&copy_of_options));
    {
        ollm_branches *branches = NULL, *branches_copy;
        ollm_suggestions *suggestions = NULL, *suggestions_copy;
        ollm_branch branch = ollm_branch_init();
        ollm_found found = ollm_found_init();
        OK(ollm_branches_new(session, NULL, &branches));
        branches_copy = branches;
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_adopt(branches, 0, copy));
        OK(ollm_branches_free(&branches));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_step(branches_copy, NULL));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_expand(branches_copy, 0, NULL));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_get(branches_copy, 0, &branch));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_run(branches_copy, NULL, &found));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_cancel(branches_copy));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_adopt(branches_copy, 0, session));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_free(&branches_copy));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_new(copy, NULL, &branches));
        GIVES(OLLM_INVALID_HANDLE, ollm_branches_count((ollm_branches *)session, &n));
        OK(ollm_session_suggest(session, NULL, &suggestions));
        suggestions_copy = suggestions;
        OK(ollm_suggestions_free(&suggestions));
        GIVES(OLLM_INVALID_HANDLE, ollm_suggestions_count(suggestions_copy, &n));
        GIVES(OLLM_INVALID_HANDLE, ollm_suggestions_free(&suggestions_copy));
        GIVES(OLLM_INVALID_HANDLE, ollm_suggestions_count((const ollm_suggestions *)session, &n));
    }
    /* Handles of another kind. */
    GIVES(OLLM_INVALID_HANDLE, ollm_session_position((ollm_session *)model, &n));
    GIVES(OLLM_INVALID_HANDLE, ollm_model_retain((const ollm_model *)session));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_new(model, (const ollm_plugin *)session, NULL, &alive));
    GIVES(OLLM_INVALID_HANDLE, ollm_worker_run((ollm_worker *)plugin));
    /* Addresses, and numbers that are none. */
    GIVES(OLLM_INVALID_HANDLE, ollm_session_position((ollm_session *)(void *)&token, &n));
    for (i = 1; i != 0; i <<= 1) {
        odd = (ollm_session *)i;
        if (odd != session) GIVES(OLLM_INVALID_HANDLE, ollm_session_position(odd, &n));
        odd = (ollm_session *)((size_t)session ^ i);
        GIVES(OLLM_INVALID_HANDLE, ollm_session_position(odd, &n));
    }
    /* Owners are counted. */
    model_copy = model;
    OK(ollm_model_retain(model));
    OK(ollm_model_release(&model_copy));
    CHECK(model_copy == NULL);
    OK(ollm_model_info(model, NULL, 0, &n));
    GIVES(OLLM_BAD_FILE, ollm_model_load(&source, NULL, &model_copy));
}

static int32_t lend_none(void *user, ollm_worker *worker) {
    (void)user, (void)worker;
    return 7;
}

static void thread_pools_out_of_range_are_a_status(ollm_session_options *options) {
    ollm_thread_pool_options threads = ollm_thread_pool_options_init();
    ollm_thread_pool *pool = NULL, *dead;
    ollm_session *made = NULL;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_thread_pool_new(NULL, NULL));
    threads.threads = 1025;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_thread_pool_new(&threads, &pool));
    threads.threads = 2;
    threads.start = lend_none;
    GIVES(OLLM_IO, ollm_thread_pool_new(&threads, &pool));
    threads.affinity = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_thread_pool_new(&threads, &pool));
    threads.affinity = 0;
    threads.start = NULL;
    CHECK(pool == NULL);
    OK(ollm_thread_pool_new(&threads, &pool));
    options->pool = dead = pool;
    options->threads = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, options, &made));
    options->threads = 0;
    options->prefill_threads = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, options, &made));
    options->prefill_threads = 0;
    options->affinity = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, options, &made));
    options->affinity = 0;
    options->start = lend_none;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, options, &made));
    options->start = NULL;
    OK(ollm_thread_pool_release(NULL));
    OK(ollm_thread_pool_release(&pool));
    OK(ollm_thread_pool_release(&pool));
    GIVES(OLLM_INVALID_HANDLE, ollm_thread_pool_release(&dead));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_new(model, NULL, options, &made));
    options->pool = NULL;
}

static void lengths_and_numbers_out_of_range_are_a_status(void) {
    static const uint32_t script[] = {0, 10};
    uint32_t id = 0;
    size_t n = 0;
    char text[8];
    ollm_session *made = NULL;
    ollm_session_options options = ollm_session_options_init();
    ollm_sampling sampling = ollm_sampling_init();
    ollm_selection selection = ollm_selection_init();
    ollm_run_options run = ollm_run_options_init();
    ollm_source source = ollm_source_init();
    ollm_model *loaded = NULL;
    ollm_text empty_stop = {"", 0};
    ollm_option_set *set = NULL;
    ollm_token token = ollm_token_init();
    /* Lengths. */
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", SIZE_MAX, 0, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", SIZE_MAX / 2 + 1, 0, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", 1, 0, &id, SIZE_MAX, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed(session, &id, SIZE_MAX / 4 + 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_restore(session, text, SIZE_MAX));
    OK(ollm_tokenize(model, NULL, 0, 0, &id, 1, &n));
    CHECK(n == 0);
    OK(ollm_session_feed(session, NULL, 0));
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_model_info(model, text, 0, &n));
    source.kind = OLLM_SOURCE_MEMORY;
    source.data = text;
    source.length = SIZE_MAX;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &loaded));
    source.length = 0;
    GIVES(OLLM_BAD_FILE, ollm_model_load(&source, NULL, &loaded));
    /* Text that is not UTF-8; tokens and flags that are none. */
    GIVES(OLLM_INVALID_UTF8, ollm_tokenize(model, "\xff\xfe", 2, 0, &id, 1, &n));
    GIVES(OLLM_INVALID_UTF8, ollm_session_feed_text(session, "a\xc3", 2, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", 1, 64, &id, 1, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_tokenize(model, "a", 1, UINT32_MAX, &id, 1, &n));
    id = 320;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed(session, &id, 1));
    OK(ollm_detokenize(model, &id, 1, text, sizeof text, &n));
    CHECK(n == 0);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step_latent(session, 10, &token));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step_latent(session, UINT32_MAX, &token));
    OK(ollm_option_set_new(session, SIZE_MAX, &set));
    OK(ollm_option_set_free(&set));
    OK(ollm_option_set_new(session, 0, &set));
    OK(ollm_option_set_free(&set));
    /* Numbers of enums. */
    source.kind = (ollm_source_kind)77;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &loaded));
    source = ollm_source_descriptor(-1, 0, 0);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &loaded));
    source = ollm_source_descriptor(100000, 0, 0);
    GIVES(DESCRIPTORS ? OLLM_IO : OLLM_UNSUPPORTED, ollm_model_load(&source, NULL, &loaded));
    selection.mode = (ollm_select)-1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.mode = (ollm_select)8;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.mode = OLLM_SELECT_POLICY;
    selection.hold = OLLM_HOLD_TRAINED;
    GIVES(OLLM_OK, ollm_session_set_selection(session, &selection));
    selection.hold = (ollm_hold)4;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    CHECK(strcmp(ollm_status_name(-1), "OLLM_UNKNOWN") == 0 && strcmp(ollm_status_name(5), "OLLM_BUSY") == 0);
    /* Selections that select nothing. */
    selection = ollm_selection_init();
    selection.mode = OLLM_SELECT_FIXED;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.mode = OLLM_SELECT_SCRIPT;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.latents = script;
    selection.latent_count = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.latent_count = SIZE_MAX;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection = ollm_selection_init();
    selection.mode = OLLM_SELECT_CALLBACK;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    selection.mode = OLLM_SELECT_SAMPLE;
    selection.temperature = NAN;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    /* Numbers that are none. */
    sampling.temperature = NAN;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling.temperature = -1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling.temperature = 0;
    sampling.top_p = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_duty(session, 0));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_duty(session, NAN));
    /* Contexts and threads. */
    options.context = SIZE_MAX; /* Memory is taken as the text grows, so this is a session like any other. */
    OK(ollm_session_new(model, NULL, &options, &made));
    OK(ollm_session_feed(made, PROMPT, COUNT(PROMPT)));
    OK(ollm_session_step(made, &token));
    OK(ollm_session_free(&made));
    options.memory_limit = 1;
    OK(ollm_session_new(model, NULL, &options, &made));
    GIVES(OLLM_MEMORY_LIMIT, ollm_session_feed(made, PROMPT, COUNT(PROMPT)));
    CHECK(position(made) == 0);
    OK(ollm_session_free(&made));
    options = ollm_session_options_init();
    source = ollm_source_file(model_path);
    for (n = 0; n < 4; n++) {
        static const size_t threads[] = {1024, 1025, SIZE_MAX / 2, SIZE_MAX};
        ollm_load_options load = ollm_load_options_init();
        ollm_memory memory = ollm_memory_init();
        ollm_status status = n == 0 ? OLLM_OK : OLLM_INVALID_ARGUMENT;
        options.threads = threads[n];
        GIVES(status, ollm_memory_needed(&source, NULL, &options, &memory));
        if (n > 0) GIVES(status, ollm_session_new(model, NULL, &options, &made));
        options.threads = 0;
        options.prefill_threads = threads[n];
        GIVES(status, ollm_memory_needed(&source, NULL, &options, &memory));
        if (n > 0) GIVES(status, ollm_session_new(model, NULL, &options, &made));
        options.prefill_threads = 0;
        load.threads = threads[n];
        GIVES(status, ollm_model_load(&source, &load, &loaded));
        OK(ollm_model_release(&loaded));
    }
    options.context_shift = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &made));
    options.context_shift = 0;
    options.keep = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &made));
    options.keep = 0;
    options.reserved = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &made));
    options.reserved = 0;
    options.reserved2 = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &made));
    options.reserved2 = 0;
    options.kv_type = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, NULL, &options, &made));
    options.kv_type = OLLM_KV_TYPE_F16;
    thread_pools_out_of_range_are_a_status(&options);
    /* Runs. */
    run.stops = &empty_stop;
    run.stop_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_run(session, &run, NULL));
    run.stops = NULL;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_run(session, &run, NULL));
}

/* Branches that cannot be, and rules that are none. */
static void branches_out_of_range_are_a_status(void) {
    static const char *const wrong_rules[] = {"", "numbers", "regex:(", "regex:a+", "regex:(a)(b)", "text:"};
    ollm_session_options session_options = ollm_session_options_init();
    ollm_session *bare = new_session(model, NULL, 64), *empty = NULL, *limited = NULL;
    ollm_branches *branches = NULL, *of_bare = NULL;
    ollm_branch_options options = ollm_branch_options_init();
    ollm_selection selection = ollm_selection_init();
    ollm_expansion expansion = ollm_expansion_init();
    ollm_search_options search = ollm_search_options_init();
    ollm_tally tally = ollm_tally_init();
    ollm_found found = ollm_found_init();
    ollm_branch branch = ollm_branch_init();
    ollm_suggest_options suggest = ollm_suggest_options_init();
    ollm_suggestions *suggestions = NULL;
    ollm_text empty_stop = {"", 0}, bad_stop = {"\xff", 1};
    size_t counts[] = {0, 100000, SIZE_MAX}, n = 0, i;
    uint32_t latent = 10;
    /* Options. */
    options.stops = &empty_stop;
    options.stop_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, &options, &branches));
    options.stops = &bad_stop;
    GIVES(OLLM_INVALID_UTF8, ollm_branches_new(session, &options, &branches));
    options.stops = NULL;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, &options, &branches));
    options.stop_count = 0;
    options.selection = &selection;
    GIVES(OLLM_NO_PLUGIN, ollm_branches_new(bare, &options, &branches));
    selection.seed = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, &options, &branches));
    selection.seed = 0;
    selection.mode = OLLM_SELECT_FIXED;
    selection.latents = &latent;
    selection.latent_count = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, &options, &branches));
    selection = ollm_selection_init();
    selection.mode = OLLM_SELECT_BACKBONE;
    selection.hold = OLLM_HOLD_LINE;
    OK(ollm_branches_new(bare, &options, &branches));
    OK(ollm_branches_free(&branches));
    options.struct_size = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_new(session, &options, &branches));
    CHECK(branches == NULL);
    /* Expansions. */
    OK(ollm_branches_new(session, NULL, &branches));
    OK(ollm_branches_new(bare, NULL, &of_bare));
    for (i = 0; i < COUNT(counts); i++) {
        int32_t kind;
        for (kind = OLLM_EXPAND_TOP; kind <= OLLM_EXPAND_SAMPLE; kind++) {
            expansion.kind = (ollm_expand)kind;
            expansion.count = counts[i];
            if (kind == OLLM_EXPAND_TOP && counts[i] > 0) continue; /* As many as there are. */
            GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
        }
    }
    expansion = ollm_expansion_init();
    expansion.kind = (ollm_expand)5;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
    expansion.kind = OLLM_EXPAND_LATENTS;
    expansion.count = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
    expansion.kind = OLLM_EXPAND_TOKENS;
    expansion.temperature = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
    expansion.kind = OLLM_EXPAND_SAMPLE;
    expansion.temperature = -1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
    expansion.temperature = NAN;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 0, &expansion));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, 1, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_expand(branches, SIZE_MAX, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_prune(branches, 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_get(branches, 1, &branch));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_adopt(branches, 1, session));
    GIVES(OLLM_NO_PLUGIN, ollm_branches_expand(of_bare, 0, NULL));
    GIVES(OLLM_NO_PLUGIN, ollm_branches_run(of_bare, NULL, &found));
    branch.struct_size = 9;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_get(branches, 0, &branch));
    OK(ollm_branches_count(branches, &n));
    CHECK(n == 1);
    /* Searches. */
    search.tally = &tally;
    for (i = 0; i < COUNT(wrong_rules); i++) {
        tally.rule = wrong_rules[i];
        tally.rule_length = strlen(wrong_rules[i]);
        GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
        GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_vote(branches, &tally, &found));
    }
    tally.rule = "\xff";
    tally.rule_length = 1;
    GIVES(OLLM_INVALID_UTF8, ollm_branches_vote(branches, &tally, &found));
    tally.rule = NULL;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_vote(branches, &tally, &found));
    tally = ollm_tally_init();
    tally.weight = (ollm_weight)3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
    tally.weight = OLLM_WEIGHT_ONE;
    tally.score = (ollm_score)-1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
    tally.score = OLLM_SCORE_LOGPROB;
    search.strategy = (ollm_strategy)3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
    search.strategy = OLLM_STRATEGY_VOTE;
    search.reserved = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
    OK(ollm_branches_count(branches, &n));
    CHECK(n == 1);
    /* Nothing to continue, and no room. */
    OK(ollm_session_new(model, plugin, NULL, &empty));
    OK(ollm_branches_free(&branches));
    OK(ollm_branches_new(empty, NULL, &branches));
    GIVES(OLLM_EMPTY, ollm_branches_expand(branches, 0, NULL));
    GIVES(OLLM_EMPTY, ollm_session_suggest(empty, NULL, &suggestions));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&empty));
    session_options.threads = 1;
    session_options.context = 512;
    session_options.memory_limit = 1 << 20;
    OK(ollm_session_new(model, plugin, &session_options, &limited));
    OK(ollm_session_feed(limited, PROMPT, COUNT(PROMPT)));
    OK(ollm_branches_new(limited, NULL, &branches));
    expansion = ollm_expansion_init();
    expansion.kind = OLLM_EXPAND_SAMPLE;
    expansion.count = 4000;
    GIVES(OLLM_MEMORY_LIMIT, ollm_branches_expand(branches, 0, &expansion));
    OK(ollm_branches_count(branches, &n));
    CHECK(n == 1);
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&limited));
    /* Suggestions. */
    suggest.count = SIZE_MAX;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(session, &suggest, &suggestions));
    suggest.count = 0;
    suggest.tokens = SIZE_MAX;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(session, &suggest, &suggestions));
    suggest.tokens = 0;
    suggest.until = (ollm_until)3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(session, &suggest, &suggestions));
    suggest.until = OLLM_UNTIL_TOKENS;
    suggest.reserved = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_suggest(session, &suggest, &suggestions));
    CHECK(suggestions == NULL);
    OK(ollm_branches_free(&of_bare));
    OK(ollm_session_free(&bare));
}

/* Sizes of structs: older ones are fine, newer ones if what is new is zero, all others are not. */
static void struct_sizes_are_checked(void) {
    struct {
        ollm_sampling known;
        uint64_t later[2];
    } newer;
    ollm_sampling sampling = ollm_sampling_init();
    struct {
        size_t struct_size;
        const char *text;
        char guard[16];
    } older_token = {sizeof(size_t) + sizeof(char *), NULL, "untouched"};
    size_t size;
    memset(&newer, 0, sizeof newer);
    newer.known.struct_size = sizeof newer;
    OK(ollm_session_set_sampling(session, &newer.known));
    newer.later[1] = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &newer.known));
    /* An older struct ends at a field; what follows it in memory is not looked at. */
    sampling.temperature = -1;
    sampling.struct_size = offsetof(ollm_sampling, temperature);
    OK(ollm_session_set_sampling(session, &sampling));
    for (size = 0; size < 8; size++) {
        sampling.struct_size = size;
        GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    }
    sampling.struct_size = sizeof sampling - 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    sampling.struct_size = SIZE_MAX;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_sampling(session, &sampling));
    /* Into an older struct only what it has is written. */
    OK(ollm_session_step(session, (ollm_token *)(void *)&older_token));
    CHECK(older_token.text != NULL && strcmp(older_token.guard, "untouched") == 0);
    older_token.struct_size = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step(session, (ollm_token *)(void *)&older_token));
}

static ollm_session *in_callback;

static int32_t call_back(void *user, const ollm_token *token) {
    size_t n = 0;
    ollm_token mine = ollm_token_init();
    ollm_session *fork = NULL;
    (void)token;
    GIVES(OLLM_BUSY, ollm_session_step(in_callback, &mine));
    GIVES(OLLM_BUSY, ollm_session_run(in_callback, NULL, NULL));
    GIVES(OLLM_BUSY, ollm_session_position(in_callback, &n));
    GIVES(OLLM_BUSY, ollm_session_fork(in_callback, &fork));
    GIVES(OLLM_BUSY, ollm_session_rewind(in_callback, 0));
    GIVES(OLLM_BUSY, ollm_session_free(&in_callback));
    CHECK(in_callback != NULL);
    /* What is not the session is free to use. */
    OK(ollm_model_info(model, NULL, 0, &n));
    OK(ollm_session_position(session, &n));
    ++*(int *)user;
    return 0;
}

static uint32_t bad_latent(void *user, const float *hidden, size_t size, const float *policy, size_t options) {
    ollm_token token = ollm_token_init();
    (void)user, (void)hidden, (void)size, (void)policy;
    GIVES(OLLM_BUSY, ollm_session_step(in_callback, &token));
    return (uint32_t)options;
}

static void log_once(void *user, ollm_log_level level, const char *text, size_t length) {
    size_t n = 0;
    CHECK(level == OLLM_LOG_INFO && length > 0 && text != NULL);
    GIVES(OLLM_BUSY, ollm_set_log(NULL, NULL));
    OK(ollm_model_info(model, NULL, 0, &n));
    ++*(int *)user;
}

static ollm_branches *searched;

static int32_t search_back(void *user, const ollm_branch *const *branches, size_t count) {
    size_t n = 0;
    ollm_branch branch = ollm_branch_init();
    ollm_found found = ollm_found_init();
    CHECK(branches != NULL && count > 0);
    GIVES(OLLM_BUSY, ollm_branches_step(searched, NULL));
    GIVES(OLLM_BUSY, ollm_branches_expand(searched, 0, NULL));
    GIVES(OLLM_BUSY, ollm_branches_prune(searched, 0));
    GIVES(OLLM_BUSY, ollm_branches_get(searched, 0, &branch));
    GIVES(OLLM_BUSY, ollm_branches_run(searched, NULL, &found));
    GIVES(OLLM_BUSY, ollm_branches_vote(searched, NULL, &found));
    GIVES(OLLM_BUSY, ollm_branches_adopt(searched, 0, session));
    GIVES(OLLM_BUSY, ollm_branches_free(&searched));
    CHECK(searched != NULL);
    OK(ollm_session_position(session, &n));
    ++*(int *)user;
    return 0;
}

static void searches_that_call_back_are_busy(void) {
    ollm_branch_options options = ollm_branch_options_init();
    ollm_search_options search = ollm_search_options_init();
    ollm_found found = ollm_found_init();
    int calls = 0;
    options.limit = 4;
    OK(ollm_branches_new(session, &options, &searched));
    search.each = search_back;
    search.user = &calls;
    OK(ollm_branches_run(searched, &search, &found));
    CHECK(calls > 0);
    OK(ollm_branches_free(&searched));
}

static void callbacks_that_call_back_are_busy(void) {
    ollm_run_options run = ollm_run_options_init();
    ollm_selection selection = ollm_selection_init();
    ollm_token token = ollm_token_init();
    int calls = 0;
    size_t before;
    OK(ollm_set_log(log_once, &calls));
    in_callback = new_session(model, plugin, 64);
    OK(ollm_set_log(NULL, NULL));
    CHECK(calls == 1);
    run.limit = 3;
    run.each = call_back;
    run.user = &calls;
    OK(ollm_session_run(in_callback, &run, NULL));
    CHECK(calls >= 2);
    /* A latent that there is not: the step does not happen. */
    selection.mode = OLLM_SELECT_CALLBACK;
    selection.choose = bad_latent;
    OK(ollm_session_set_selection(in_callback, &selection));
    before = position(in_callback);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_step(in_callback, &token));
    CHECK(position(in_callback) == before);
    OK(ollm_session_free(&in_callback));
}

static void plugins_of_other_models_are_refused(const char *other_path, const char *plugin_path) {
    ollm_model *other = load_model(other_path);
    ollm_source source = ollm_source_file(plugin_path);
    ollm_plugin *none = NULL;
    ollm_session *made = NULL, *own = NULL;
    size_t length = 0;
    char *saved;
    GIVES(OLLM_MISMATCH, ollm_plugin_load(other, &source, &none));
    GIVES(OLLM_MISMATCH, ollm_session_new(other, plugin, NULL, &made));
    GIVES(OLLM_NO_PLUGIN, ollm_plugin_bundled(other, &none));
    CHECK(none == NULL && made == NULL);
    /* And so are saved sessions. */
    OK(ollm_session_save(session, NULL, 0, &length));
    saved = malloc(length);
    OK(ollm_session_save(session, saved, length, &length));
    OK(ollm_session_new(other, NULL, NULL, &own));
    GIVES(OLLM_MISMATCH, ollm_session_restore(own, saved, length));
    free(saved);
    OK(ollm_session_free(&own));
    OK(ollm_model_release(&other));
}

int main(int argc, char **argv) {
    CHECK(argc == 4 && strcmp(ollm_last_error(), "") == 0);
    CHECK(ollm_abi_version() == OLLM_ABI_VERSION && strchr(ollm_version(), '.') != NULL);
    model_path = argv[1];
    model = load_model(model_path);
    plugin = load_plugin(model, argv[2]);
    session = new_session(model, plugin, 64);
    null_is_a_status();
    CHECK(strlen(ollm_last_error()) > 0);
    dead_and_foreign_handles_are_a_status();
    lengths_and_numbers_out_of_range_are_a_status();
    branches_out_of_range_are_a_status();
    struct_sizes_are_checked();
    searches_that_call_back_are_busy();
    callbacks_that_call_back_are_busy();
    plugins_of_other_models_are_refused(argv[3], argv[2]);
    /* After all that, the session still works. */
    {
        uint32_t tokens[8];
        steps(session, tokens, COUNT(tokens));
    }
    OK(ollm_session_free(&session));
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
