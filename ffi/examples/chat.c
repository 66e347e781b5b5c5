/* A chat with a tool, at a terminal: a line is a message, "/undo" takes a turn back, "/save" saves it, the end of the
   input ends. The model may ask for the time of a city, which is made up here.
   usage: chat MODEL.gguf [FILE], where a conversation that was saved goes on */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TOOLS[] =
    "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"time_in\", \"description\": \"The local time\", "
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\", \"maxLength\": 40}}, "
    "\"required\": [\"city\"]}}}]}";

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

/* The results of the calls in an answer, as messages. */
struct results {
    char json[4096];
    size_t length;
};

/* A part of the answer: text is shown, a call is run. */
static int32_t each(void *user, const ollm_chat_event *event) {
    struct results *results = user;
    size_t room = sizeof results->json - results->length;
    int written;
    switch (event->kind) {
        case OLLM_CHAT_EVENT_NONE: break;
        case OLLM_CHAT_EVENT_REASONING: printf("(%.*s)", (int)event->text_length, event->text); break;
        case OLLM_CHAT_EVENT_TEXT: printf("%.*s", (int)event->text_length, event->text); break;
        case OLLM_CHAT_EVENT_MALFORMED: printf("\n[no call: %.*s]", (int)event->text_length, event->text); break;
        case OLLM_CHAT_EVENT_TOOL_CALL:
            printf("\n[%.*s %.*s]\n", (int)event->name_length, event->name, (int)event->arguments_length,
                   event->arguments);
            /* The id is one of the library's; text of the model would have to be escaped. */
            written = snprintf(results->json + results->length, room,
                               "%s{\"role\": \"tool\", \"tool_call_id\": \"%.*s\", \"name\": \"time_in\", "
                               "\"content\": \"12:34\"}",
                               results->length == 0 ? "" : ", ", (int)event->id_length, event->id);
            if (written > 0 && (size_t)written < room) results->length += (size_t)written;
            break;
    }
    fflush(stdout);
    return 0;
}

/* Answers, and goes on as long as tools are called. */
static ollm_status answer(ollm_chat *chat) {
    int rounds;
    for (rounds = 0; rounds < 4; rounds++) {
        ollm_answer_options options = ollm_answer_options_init();
        ollm_answer answer = ollm_answer_init();
        struct results results = {"", 0};
        char messages[sizeof results.json + 2];
        ollm_status status;
        options.limit = 256;
        options.each = each;
        options.user = &results;
        status = ollm_chat_answer(chat, &options, &answer);
        if (status != OLLM_OK) return status;
        printf("\n");
        fprintf(stderr, "[%lu of %lu prompt tokens reused]\n", (unsigned long)answer.reused_tokens,
                (unsigned long)answer.prompt_tokens);
        if (answer.forgotten_turns > 0) {
            fprintf(stderr, "[the oldest %lu turns are forgotten]\n", (unsigned long)answer.forgotten_turns);
        }
        if (results.length == 0) return OLLM_OK;
        snprintf(messages, sizeof messages, "[%s]", results.json);
        status = ollm_chat_add_json(chat, messages, strlen(messages));
        if (status != OLLM_OK) return status;
    }
    return OLLM_OK;
}

int main(int argc, char **argv) {
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    const char *file = argc > 2 ? argv[2] : NULL;
    ollm_chat_options options = ollm_chat_options_init();
    ollm_model *model = NULL;
    ollm_session *session = NULL;
    ollm_chat *chat = NULL;
    char line[4096];

    check(ollm_model_load(&source, NULL, &model));
    check(ollm_session_new(model, NULL, NULL, &session));
    options.variables_json = TOOLS;
    options.variables_json_length = sizeof TOOLS - 1;
    check(ollm_chat_new(session, &options, &chat));
    /* Where the model has a known form of calls and the library has grammars, the calls follow the schema. */
    options.constrain_calls = 1;
    if (ollm_chat_set_options(chat, &options) != OLLM_OK) fprintf(stderr, "[free calls: %s]\n", ollm_last_error());
    check(ollm_chat_set_system(chat, "You are a helpful assistant.", 28));
    if (file != NULL && ollm_chat_restore_file(chat, file) != OLLM_OK) fprintf(stderr, "[%s]\n", ollm_last_error());

    while (fgets(line, sizeof line, stdin) != NULL) {
        ollm_message message = {"user", 4, line, strcspn(line, "\n")};
        line[message.content_length] = 0;
        if (strcmp(line, "/undo") == 0) {
            check(ollm_chat_take_back(chat, NULL));
        } else if (strcmp(line, "/save") == 0) {
            if (file != NULL) check(ollm_chat_save_file(chat, file));
        } else if (message.content_length > 0) {
            check(ollm_chat_add(chat, &message));
            if (answer(chat) != OLLM_OK) {
                fprintf(stderr, "[%s]\n", ollm_last_error());
                check(ollm_chat_take_back(chat, NULL));
            }
        }
    }

    ollm_chat_free(&chat);
    ollm_session_free(&session);
    ollm_model_release(&model);
    return 0;
}
