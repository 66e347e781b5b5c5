/* Texts and lists of any length where memory is short: a status, and no abort. usage: lengths MODEL PLUGIN MORE_MODELS.. */
#include "check.h"

#include <sys/resource.h>
#include <unistd.h>

#define MEGABYTE ((size_t)1 << 20)
#define LENGTH (60 * MEGABYTE)

/* Lets the process take `more` bytes of address space above what it has. */
static void allow(size_t more) {
    unsigned long pages = 0;
    struct rlimit limit;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = more == 0 ? limit.rlim_max : (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* MiB that there are, of which the first are too few for every call here. */
static const size_t limits[] = {8, 60, 150};

/* A call that is out of memory under the first limit; under the others it may have the status that it has with enough. */
#define SHORT(enough, call)                                                                    \
    do {                                                                                       \
        size_t i_;                                                                             \
        for (i_ = 0; i_ < COUNT(limits); i_++) {                                               \
            ollm_status status_;                                                               \
            allow(limits[i_] * MEGABYTE);                                                      \
            status_ = (call);                                                                  \
            allow(0);                                                                          \
            if (status_ != OLLM_OUT_OF_MEMORY && (i_ == 0 || status_ != (enough))) {           \
                fprintf(stderr, "%s:%d: %s gives %s with %lu MiB\n  last error: %s\n", __FILE__, __LINE__, #call, \
                        ollm_status_name(status_), (unsigned long)limits[i_], ollm_last_error()); \
                exit(1);                                                                       \
            }                                                                                  \
        }                                                                                      \
    } while (0)

static void long_texts(const ollm_model *model, const char *text) {
    static uint32_t tokens[1];
    ollm_session *session = NULL;
    ollm_session_options options = ollm_session_options_init();
    size_t n = 0;
    options.context = 64;
    options.threads = 1;
    OK(ollm_session_new(model, NULL, &options, &session));
    SHORT(OLLM_BUFFER_TOO_SMALL, ollm_tokenize(model, text, LENGTH, 0, tokens, 1, &n));
    SHORT(OLLM_BUFFER_TOO_SMALL, ollm_tokenize(model, text, LENGTH, OLLM_TOKENIZE_SPECIAL | OLLM_TOKENIZE_BOS, tokens, 1, &n));
    SHORT(OLLM_CONTEXT_FULL, ollm_session_feed_text(session, text, LENGTH, 0));
    CHECK(position(session) == 0);
    /* It goes on. */
    OK(ollm_session_feed_text(session, "once upon a time", 16, 0));
    OK(ollm_session_free(&session));
}

/* Tokens whose text is longer than the limits. */
static void many_tokens(const ollm_model *model) {
    const size_t count = 250 * MEGABYTE;
    uint32_t *tokens = malloc(count * sizeof *tokens);
    size_t n = 0, i;
    CHECK(tokens != NULL);
    for (i = 0; i < count; i++) tokens[i] = (uint32_t)(5 + i % 200);
    SHORT(OLLM_OK, ollm_detokenize(model, tokens, count, NULL, 0, &n));
    free(tokens);
}

static void a_long_conversation(const ollm_model *model, const char *text) {
    ollm_message message;
    size_t n = 0;
    ollm_status status = ollm_chat_text(model, NULL, 0, 1, NULL, 0, &n);
    if (status == OLLM_NO_TOKENIZER) return; /* It has no template. */
    message.role = "user";
    message.role_length = 4;
    message.content = text;
    message.content_length = LENGTH;
    SHORT(OLLM_OK, ollm_chat_text(model, &message, 1, 1, NULL, 0, &n));
}

/* Lists and rules have documented limits. */
static void long_lists(const ollm_model *model, const ollm_plugin *plugin, const char *text) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_branches *branches = NULL;
    ollm_branch_options branch_options = ollm_branch_options_init();
    ollm_run_options run = ollm_run_options_init();
    ollm_selection selection = ollm_selection_init();
    ollm_tally tally = ollm_tally_init();
    ollm_search_options search = ollm_search_options_init();
    ollm_found found = ollm_found_init();
    ollm_text *stops = malloc(4097 * sizeof *stops);
    uint32_t *latents = calloc(65537, sizeof *latents);
    size_t i;
    CHECK(stops != NULL && latents != NULL);
    for (i = 0; i < 4097; i++) {
        stops[i].data = text;
        stops[i].length = 256;
    }
    run.limit = 2;
    run.stops = stops;
    branch_options.stops = stops;
    branch_options.limit = 2;
    for (i = 0; i < 3; i++) {
        static const size_t counts[] = {4096, 4097, 1};
        ollm_status status = i == 0 ? OLLM_OK : OLLM_INVALID_ARGUMENT;
        if (i == 2) stops[0].length = MEGABYTE + 1;
        run.stop_count = branch_options.stop_count = counts[i];
        GIVES(status, ollm_session_run(session, &run, NULL));
        GIVES(status, ollm_branches_new(session, &branch_options, &branches));
        OK(ollm_branches_free(&branches));
    }
    selection.mode = OLLM_SELECT_SCRIPT;
    selection.latents = latents;
    selection.latent_count = 65536;
    OK(ollm_session_set_selection(session, &selection));
    selection.latent_count = 65537;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_selection(session, &selection));
    OK(ollm_session_set_selection(session, NULL));
    branch_options.stop_count = 0;
    OK(ollm_branches_new(session, &branch_options, &branches));
    tally.rule = text;
    tally.rule_length = LENGTH;
    search.tally = &tally;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_run(branches, &search, &found));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_branches_vote(branches, &tally, &found));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_free(&session));
    free(latents);
    free(stops);
}

int main(int argc, char **argv) {
    char *text = malloc(LENGTH);
    ollm_model *model;
    ollm_plugin *plugin;
    int i;
    size_t at;
    CHECK(argc >= 3 && text != NULL);
    for (at = 0; at < LENGTH; at++) text[at] = at % 7 == 0 ? ' ' : (char)('a' + at / 7 % 26);
    for (i = 1; i < argc; i += i == 1 ? 2 : 1) {
        model = load_model(argv[i]);
        long_texts(model, text);
        if (i <= 3) many_tokens(model); /* Once with lists and once with JSON. */
        a_long_conversation(model, text);
        OK(ollm_model_release(&model));
    }
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    long_lists(model, plugin, text);
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    free(text);
    return 0;
}
