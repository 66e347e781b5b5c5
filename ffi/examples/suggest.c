/* Suggests the next words, as a keyboard does. usage: suggest MODEL.gguf [PLUGIN.gguf] [TEXT] */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

int main(int argc, char **argv) {
    const char *text = argc > 3 ? argv[3] : "Thank you for your";
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    ollm_suggest_options options = ollm_suggest_options_init();
    ollm_model *model = NULL;
    ollm_plugin *plugin = NULL;
    ollm_session *session = NULL;
    ollm_suggestions *suggestions = NULL;
    size_t count = 0, i;

    check(ollm_model_load(&source, NULL, &model));
    if (argc > 2) {
        ollm_source plugin_source = ollm_source_file(argv[2]);
        check(ollm_plugin_load(model, &plugin_source, &plugin));
    }
    check(ollm_session_new(model, plugin, NULL, &session));
    check(ollm_session_feed_text(session, text, strlen(text), OLLM_TOKENIZE_BOS));
    options.count = 5;
    options.until = OLLM_UNTIL_WORD;
    check(ollm_session_suggest(session, &options, &suggestions));

    check(ollm_suggestions_count(suggestions, &count));
    for (i = 0; i < count; i++) {
        ollm_suggestion one = ollm_suggestion_init();
        check(ollm_suggestions_get(suggestions, i, &one));
        printf("%5.1f %%  %.*s\n", 100 * one.probability, (int)one.text_length, one.text);
    }

    ollm_suggestions_free(&suggestions);
    ollm_session_free(&session);
    ollm_plugin_release(&plugin);
    ollm_model_release(&model);
    return 0;
}
