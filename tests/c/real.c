/* A real model: tokens as the reference makes them, its chat template, and generation as the Rust library does it.
   usage: real MODEL PLUGIN CASES, where CASES holds texts with their tokens, and last the tokens to generate */
#include "check.h"

static FILE *cases;

static uint32_t number(void) {
    uint32_t value = 0;
    CHECK(fread(&value, sizeof value, 1, cases) == 1);
    return value;
}

static void texts_have_the_tokens_of_the_reference(const ollm_model *model) {
    uint32_t count = number(), i;
    for (i = 0; i < count; i++) {
        uint32_t length = number(), flags, expected_count, *expected, *tokens;
        char *text = malloc(length + 1);
        size_t found = 0;
        CHECK(text != NULL && fread(text, 1, length, cases) == length);
        flags = number();
        expected_count = number();
        expected = malloc((expected_count + 1) * sizeof *expected);
        tokens = malloc((expected_count + 1) * sizeof *tokens);
        CHECK(fread(expected, sizeof *expected, expected_count, cases) == expected_count);
        OK(ollm_tokenize(model, text, length, flags, tokens, expected_count + 1, &found));
        CHECK(found == expected_count && memcmp(tokens, expected, found * sizeof *tokens) == 0);
        free(tokens);
        free(expected);
        free(text);
    }
    CHECK(count > 50);
}

static int32_t see(void *user, const ollm_token *token) {
    if (token->id != OLLM_NO_TOKEN) CHECK(token->id == number());
    *(size_t *)user += token->text_length;
    return 0;
}

static void it_answers(const ollm_model *model, const ollm_plugin *plugin) {
    static const char question[] = "There are 4 boxes with 6 eggs each. How many eggs are there?";
    ollm_message message = {"user", 4, question, sizeof question - 1};
    ollm_run_options options = ollm_run_options_init();
    ollm_session *session = NULL;
    ollm_reason reason = OLLM_REASON_END;
    char prompt[512];
    size_t length = 0, seen = 0;
    OK(ollm_chat_text(model, &message, 1, 1, prompt, sizeof prompt, &length));
    CHECK(strstr(prompt, question) != NULL && strstr(prompt, "<|im_start|>assistant\n") != NULL);
    OK(ollm_session_new(model, plugin, NULL, &session));
    OK(ollm_session_feed_text(session, prompt, length, OLLM_TOKENIZE_SPECIAL));
    options.limit = number();
    options.each = see;
    options.user = &seen;
    OK(ollm_session_run(session, &options, &reason));
    CHECK(seen > 0);
    OK(ollm_session_free(&session));
}

int main(int argc, char **argv) {
    ollm_model *model;
    ollm_plugin *plugin;
    CHECK(argc == 4);
    cases = fopen(argv[3], "rb");
    CHECK(cases != NULL);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    texts_have_the_tokens_of_the_reference(model);
    it_answers(model, plugin);
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    fclose(cases);
    return 0;
}
