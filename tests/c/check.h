/* What the C tests share: checks that say where they failed, and a model to run on. */
#ifndef CHECK_H
#define CHECK_H

#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>

/* Ends the program with a message if the condition does not hold. */
#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, ollm_last_error()); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

/* Checks the status of a call. */
#define GIVES(expected, call)                                                             \
    do {                                                                                  \
        ollm_status status_ = (call);                                                     \
        if (status_ != (expected)) {                                                      \
            fprintf(stderr, "%s:%d: %s gives %s\n  last error: %s\n", __FILE__, __LINE__, #call,  \
                    ollm_status_name(status_), ollm_last_error());                        \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

#define OK(call) GIVES(OLLM_OK, call)

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Tokens that every tiny model has. */
static const uint32_t PROMPT[] = {10, 200, 31, 47, 5};

static inline ollm_model *load_model(const char *path) {
    ollm_source source = ollm_source_file(path);
    ollm_model *model = NULL;
    OK(ollm_model_load(&source, NULL, &model));
    CHECK(model != NULL);
    return model;
}

static inline ollm_plugin *load_plugin(const ollm_model *model, const char *path) {
    ollm_source source = ollm_source_file(path);
    ollm_plugin *plugin = NULL;
    OK(ollm_plugin_load(model, &source, &plugin));
    return plugin;
}

/* A session of `context` positions that was fed the prompt; `plugin` may be NULL. */
static inline ollm_session *new_session(const ollm_model *model, const ollm_plugin *plugin, size_t context) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    options.context = context;
    options.threads = 2;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    return session;
}

/* The tokens of the next `count` steps. */
static inline void steps(ollm_session *session, uint32_t *tokens, size_t count) {
    size_t i;
    for (i = 0; i < count; i++) {
        ollm_token token = ollm_token_init();
        OK(ollm_session_step(session, &token));
        tokens[i] = token.id;
    }
}

static inline size_t position(ollm_session *session) {
    size_t at = 0;
    OK(ollm_session_position(session, &at));
    return at;
}

#endif
