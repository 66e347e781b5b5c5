/* Answers in JSON of a schema: a review, and how many stars it gives.
   usage: json MODEL.gguf [PLUGIN.gguf] [REVIEW] */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SCHEMA[] =
    "{\"type\": \"object\","
    " \"properties\": {"
    "   \"stars\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 5},"
    "   \"mood\": {\"enum\": [\"happy\", \"angry\", \"neither\"]},"
    "   \"summary\": {\"type\": \"string\", \"maxLength\": 60}},"
    " \"required\": [\"stars\", \"mood\", \"summary\"],"
    " \"additionalProperties\": false}";

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

static int32_t print(void *user, const ollm_token *token) {
    (void)user;
    fwrite(token->text, 1, token->text_length, stdout);
    return 0;
}

int main(int argc, char **argv) {
    const char *review = argc > 3 ? argv[3] : "The soup was cold, but the people were kind.";
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    ollm_run_options options = ollm_run_options_init();
    ollm_model *model = NULL;
    ollm_plugin *plugin = NULL;
    ollm_session *session = NULL;
    ollm_grammar *grammar = NULL;

    check(ollm_model_load(&source, NULL, &model));
    if (argc > 2) {
        ollm_source plugin_source = ollm_source_file(argv[2]);
        check(ollm_plugin_load(model, &plugin_source, &plugin));
    }
    check(ollm_session_new(model, plugin, NULL, &session));

    /* A build without grammars says OLLM_UNSUPPORTED here. */
    check(ollm_grammar_new(model, OLLM_GRAMMAR_JSON_SCHEMA, SCHEMA, strlen(SCHEMA), &grammar));
    check(ollm_session_set_constraint(session, grammar, NULL));

    check(ollm_session_feed_text(session, review, strlen(review), OLLM_TOKENIZE_BOS));
    check(ollm_session_feed_text(session, "\nAs JSON: ", 10, 0));
    options.limit = 200;
    options.each = print;
    check(ollm_session_run(session, &options, NULL));
    printf("\n");

    ollm_grammar_free(&grammar);
    ollm_session_free(&session);
    ollm_plugin_release(&plugin);
    ollm_model_release(&model);
    return 0;
}
