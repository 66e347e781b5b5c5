/* Continues a text. usage: hello MODEL.gguf [TEXT] */
#include <ollm.h>

#include <stdio.h>
#include <string.h>

static int32_t print(void *user, const ollm_token *token) {
    (void)user;
    fwrite(token->text, 1, token->text_length, stdout);
    return fflush(stdout); /* anything but 0 ends the run */
}

static int failed(ollm_status status) {
    if (status != OLLM_OK) fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    return status != OLLM_OK;
}

int main(int argc, char **argv) {
    const char *text = argc > 2 ? argv[2] : "Once upon a time";
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    ollm_run_options options = ollm_run_options_init();
    ollm_model *model = NULL;
    ollm_session *session = NULL;
    int error;

    options.limit = 64;
    options.each = print;
    error = failed(ollm_model_load(&source, NULL, &model)) || failed(ollm_session_new(model, NULL, NULL, &session)) ||
            failed(ollm_session_feed_text(session, text, strlen(text), OLLM_TOKENIZE_BOS)) ||
            failed(ollm_session_run(session, &options, NULL));
    if (!error) puts("");
    ollm_session_free(&session);
    ollm_model_release(&model);
    return error;
}
