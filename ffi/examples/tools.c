/* Answers with tools: the model is offered one, calls it, and reads its result. Two answers are written here in the form
   of the Hermes and Qwen models, so that any model serves; pass `-` for the model's own.
   usage: tools MODEL.gguf [ANSWER | -] */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TOOLS[] =
    "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {\"a\": {\"type\": \"number\"}, \"b\": {\"type\": \"number\"}}}}}]}";

static const char QUESTION[] = "[{\"role\": \"user\", \"content\": \"What is 2 + 3?\"}]";

static const char CALL[] =
    "I add them.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 2, \"b\": 3}}\n</tool_call>";

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

static ollm_chat_input conversation(const char *messages) {
    ollm_chat_input input = ollm_chat_input_init();
    input.messages_json = messages;
    input.messages_json_length = strlen(messages);
    input.variables_json = TOOLS;
    input.variables_json_length = sizeof TOOLS - 1;
    return input;
}

/* Runs a tool: here there is one, and its arguments are found without a JSON library. */
static double run_tool(const char *arguments, size_t length) {
    char text[256];
    double a = 0, b = 0;
    const char *at;
    snprintf(text, sizeof text, "%.*s", (int)length, arguments);
    at = strstr(text, "\"a\":");
    if (at != NULL) a = strtod(at + 4, NULL);
    at = strstr(text, "\"b\":");
    if (at != NULL) b = strtod(at + 4, NULL);
    return a + b;
}

/* Shows the parts of the answer that are decided; gives how many tools were called, with the result of the last one. */
static int show(ollm_chat_parser *parser, double *result) {
    int calls = 0;
    for (;;) {
        ollm_chat_event event = ollm_chat_event_init();
        check(ollm_chat_parser_next(parser, &event));
        switch (event.kind) {
            case OLLM_CHAT_EVENT_NONE: return calls;
            case OLLM_CHAT_EVENT_REASONING: printf("(%.*s)", (int)event.text_length, event.text); break;
            case OLLM_CHAT_EVENT_TEXT: printf("%.*s", (int)event.text_length, event.text); break;
            case OLLM_CHAT_EVENT_MALFORMED: printf("\n[no call: %.*s]\n", (int)event.text_length, event.text); break;
            case OLLM_CHAT_EVENT_TOOL_CALL:
                printf("\n[%.*s %.*s]\n", (int)event.name_length, event.name, (int)event.arguments_length,
                       event.arguments);
                *result = run_tool(event.arguments, event.arguments_length);
                calls++;
                break;
        }
    }
}

struct answer {
    ollm_chat_parser *parser;
    double result;
    int calls;
};

static int32_t each(void *user, const ollm_token *token) {
    struct answer *answer = user;
    check(ollm_chat_parser_push(answer->parser, token->text, token->text_length));
    answer->calls += show(answer->parser, &answer->result);
    return 0;
}

/* Feeds a conversation, and shows the model's answer as it comes. */
static struct answer ask(const ollm_model *model, ollm_session *session, const ollm_chat_input *input,
                         const char *written) {
    struct answer answer = {NULL, 0, 0};
    uint32_t *tokens;
    size_t count = 0;
    check(ollm_chat_tokens(model, input, NULL, 0, &count));
    tokens = malloc(count * sizeof *tokens + 1);
    if (tokens == NULL) exit(1);
    check(ollm_chat_tokens(model, input, tokens, count, &count));
    check(ollm_session_rewind(session, 0));
    check(ollm_session_feed(session, tokens, count));
    free(tokens);
    check(ollm_chat_parser_new(model, input, written == NULL ? OLLM_TOOL_FORMAT_AUTO : OLLM_TOOL_FORMAT_HERMES,
                               &answer.parser));
    if (written != NULL) {
        check(ollm_chat_parser_push(answer.parser, written, strlen(written)));
    } else {
        ollm_run_options options = ollm_run_options_init();
        options.limit = 64;
        options.each = each;
        options.user = &answer;
        check(ollm_session_run(session, &options, NULL));
    }
    check(ollm_chat_parser_finish(answer.parser));
    answer.calls += show(answer.parser, &answer.result);
    check(ollm_chat_parser_free(&answer.parser));
    printf("\n");
    return answer;
}

int main(int argc, char **argv) {
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    const char *written = argc < 3 ? CALL : strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    ollm_model *model = NULL;
    ollm_session *session = NULL;
    ollm_chat_input input = conversation(QUESTION);
    struct answer answer;
    char messages[1024];

    check(ollm_model_load(&source, NULL, &model));
    check(ollm_session_new(model, NULL, NULL, &session));
    answer = ask(model, session, &input, written);
    if (answer.calls > 0) {
        snprintf(messages, sizeof messages,
                 "[{\"role\": \"user\", \"content\": \"What is 2 + 3?\"}, {\"role\": \"assistant\", \"content\": \"\", "
                 "\"tool_calls\": [{\"id\": \"call00000\", \"type\": \"function\", \"function\": {\"name\": \"add\", "
                 "\"arguments\": {\"a\": 2, \"b\": 3}}}]}, "
                 "{\"role\": \"tool\", \"tool_call_id\": \"call00000\", \"name\": \"add\", \"content\": \"%g\"}]",
                 answer.result);
        input = conversation(messages);
        ask(model, session, &input, written == NULL ? NULL : "It is 5.");
    }

    ollm_session_free(&session);
    ollm_model_release(&model);
    return 0;
}
