/* A conversation as a handle. usage: conversation MODEL FILE, where the model's chat template has tools and thoughts, and the
   file is made */
#include "check.h"

#include <string.h>

static ollm_model *model;
static ollm_session *session;

/* What a callback has seen. */
struct seen {
    size_t events, end_after, busy;
    ollm_chat *chat;
};

static int32_t each(void *user, const ollm_chat_event *event) {
    struct seen *seen = user;
    size_t count;
    CHECK(event->struct_size == sizeof *event && event->kind != OLLM_CHAT_EVENT_NONE && event->text != NULL);
    seen->events++;
    seen->busy += ollm_chat_count(seen->chat, &count, NULL) == OLLM_BUSY;
    seen->busy += ollm_session_position(session, &count) == OLLM_BUSY;
    return seen->end_after > 0 && seen->events >= seen->end_after;
}

static ollm_chat *new_chat(const char *variables) {
    ollm_chat_options options = ollm_chat_options_init();
    ollm_chat *chat = NULL;
    options.variables_json = variables;
    options.variables_json_length = variables == NULL ? 0 : strlen(variables);
    OK(ollm_chat_new(session, &options, &chat));
    return chat;
}

static void add(ollm_chat *chat, const char *role, const char *content) {
    ollm_message message = {role, strlen(role), content, strlen(content)};
    OK(ollm_chat_add(chat, &message));
}

static ollm_answer answer_of(ollm_chat *chat, size_t limit) {
    ollm_answer_options options = ollm_answer_options_init();
    ollm_answer answer = ollm_answer_init();
    struct seen seen = {0, 0, 0, NULL};
    seen.chat = chat;
    options.limit = limit;
    options.each = each;
    options.user = &seen;
    OK(ollm_chat_answer(chat, &options, &answer));
    CHECK(seen.busy == 2 * seen.events && answer.answer_tokens <= limit);
    return answer;
}

static size_t count_of(ollm_chat *chat) {
    size_t count = 0;
    OK(ollm_chat_count(chat, &count, NULL));
    return count;
}

static const char *message_of(ollm_chat *chat, size_t index) {
    static char text[4096];
    size_t length = 0;
    OK(ollm_chat_message(chat, index, NULL, 0, &length));
    CHECK(length + 1 <= sizeof text);
    GIVES(OLLM_BUFFER_TOO_SMALL, ollm_chat_message(chat, index, text, length, &length));
    OK(ollm_chat_message(chat, index, text, sizeof text, &length));
    CHECK(strlen(text) == length);
    return text;
}

static void turns_come_and_go(void) {
    ollm_chat *chat = new_chat(NULL);
    ollm_answer_options options = ollm_answer_options_init();
    ollm_answer answer = ollm_answer_init();
    struct seen seen = {0, 2, 0, NULL};
    size_t removed = 9;
    GIVES(OLLM_EMPTY, ollm_chat_answer(chat, NULL, NULL));
    OK(ollm_chat_set_system(chat, "Be kind.", 8));
    add(chat, "user", "Hello!");
    answer = answer_of(chat, 8);
    CHECK(answer.has_message == 1 && answer.forgotten_turns == 0 && count_of(chat) == 3);
    CHECK(strcmp(message_of(chat, 1), "{\"role\":\"user\",\"content\":\"Hello!\"}") == 0);
    CHECK(strstr(message_of(chat, 2), "\"assistant\"") != NULL);
    GIVES(OLLM_EMPTY, ollm_chat_answer(chat, NULL, NULL));
    /* What the session has is not computed again. */
    add(chat, "user", "And?");
    answer = answer_of(chat, 8);
    CHECK(answer.reused_tokens > 10 && answer.reused_tokens < answer.prompt_tokens);
    /* Another answer, which the callback ends. */
    OK(ollm_chat_truncate(chat, 4));
    seen.chat = chat;
    options.each = each;
    options.user = &seen;
    options.limit = 40;
    OK(ollm_chat_answer(chat, &options, &answer));
    CHECK(answer.reason == OLLM_REASON_CALLBACK || answer.reason == OLLM_REASON_END);
    CHECK(answer.has_message == 1 && count_of(chat) == 5);
    OK(ollm_chat_take_back(chat, &removed));
    CHECK(removed == 2 && count_of(chat) == 3);
    OK(ollm_chat_take_back(chat, NULL));
    OK(ollm_chat_take_back(chat, &removed));
    CHECK(removed == 0 && count_of(chat) == 1);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_truncate(chat, 2));
    OK(ollm_chat_add_json(chat, "{\"role\": \"user\", \"content\": \"a\"}", 32));
    OK(ollm_chat_add_json(chat, "[{\"role\": \"tool\", \"name\": \"f\", \"content\": \"2\"}]", 47));
    CHECK(count_of(chat) == 3 && strstr(message_of(chat, 2), "\"name\":\"f\"") != NULL);
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_add_json(chat, "{\"role\": \"a\"}, {\"role\": \"b\"}", 28));
    CHECK(count_of(chat) == 3);
    OK(ollm_chat_reset(chat));
    OK(ollm_chat_set_system(chat, NULL, 0));
    CHECK(count_of(chat) == 0);
    OK(ollm_chat_free(&chat));
    CHECK(chat == NULL);
}

/* The variable that chooses another template does so in chats, as it does for tokens. */
static void a_variable_chooses_the_template(void) {
    static const char variables[] = "{\"chat_template\": \"{% for m in messages %}<{{ m.content }}>{% endfor %}\"}";
    ollm_chat *chat = new_chat(variables);
    ollm_chat_input input = ollm_chat_input_init();
    ollm_message message = {"user", 4, "Hello!", 6};
    ollm_answer answer = ollm_answer_init();
    size_t count = 0;
    input.messages = &message;
    input.message_count = 1;
    input.variables_json = variables;
    input.variables_json_length = sizeof variables - 1;
    OK(ollm_chat_tokens(model, &input, NULL, 0, &count));
    OK(ollm_chat_add(chat, &message));
    answer = answer_of(chat, 2);
    CHECK(answer.prompt_tokens == count);
    OK(ollm_chat_truncate(chat, 1));
    OK(ollm_chat_set_options(chat, NULL));
    input.variables_json = NULL;
    input.variables_json_length = 0;
    OK(ollm_chat_tokens(model, &input, NULL, 0, &count));
    answer = answer_of(chat, 2);
    CHECK(answer.prompt_tokens == count);
    OK(ollm_chat_free(&chat));
}

static void the_oldest_turns_are_forgotten(void) {
    ollm_chat_options still = ollm_chat_options_init();
    ollm_chat *chat = new_chat(NULL);
    ollm_answer answer = ollm_answer_init();
    size_t context = 0, count = 0, forgotten = 0, i;
    char *large;
    OK(ollm_session_context(session, &context));
    OK(ollm_chat_set_system(chat, "Be kind.", 8));
    for (i = 0; i < 12; i++) {
        add(chat, "user", "a question of some length");
        add(chat, "assistant", "an answer");
    }
    add(chat, "user", "the last");
    still.no_context_shift = 1;
    OK(ollm_chat_set_options(chat, &still));
    GIVES(OLLM_CONTEXT_FULL, ollm_chat_answer(chat, NULL, NULL));
    OK(ollm_chat_set_options(chat, NULL));
    answer = answer_of(chat, 4);
    OK(ollm_chat_count(chat, &count, &forgotten));
    CHECK(answer.forgotten_turns > 0 && answer.forgotten_messages == 2 * answer.forgotten_turns);
    CHECK(forgotten == answer.forgotten_messages && count == 27 && answer.prompt_tokens < context);
    /* A message that does not fit alone: nothing is lost. */
    large = malloc(2 * context);
    CHECK(large != NULL);
    memset(large, 'x', 2 * context - 1);
    large[2 * context - 1] = 0;
    add(chat, "user", large);
    free(large);
    GIVES(OLLM_CONTEXT_FULL, ollm_chat_answer(chat, NULL, NULL));
    OK(ollm_chat_take_back(chat, &count));
    CHECK(count == 1 && count_of(chat) == 27);
    OK(ollm_chat_free(&chat));
}

static void what_is_saved_goes_on(const char *path) {
    ollm_chat *chat = new_chat("{\"tools\": [{\"name\": \"f\"}]}"), *other = NULL;
    ollm_answer one = ollm_answer_init(), two = ollm_answer_init();
    char first[4096];
    FILE *file;
    add(chat, "user", "Hi");
    answer_of(chat, 6);
    OK(ollm_chat_save_file(chat, path));
    add(chat, "user", "more");
    one = answer_of(chat, 9);
    strcpy(first, message_of(chat, 3));
    OK(ollm_session_rewind(session, 0));
    other = new_chat(NULL);
    OK(ollm_chat_restore_file(other, path));
    CHECK(count_of(other) == 2);
    add(other, "user", "more");
    two = answer_of(other, 9);
    CHECK(strcmp(first, message_of(other, 3)) == 0);
    CHECK(one.reused_tokens == two.reused_tokens && one.answer_tokens == two.answer_tokens);
    /* A session alone is no conversation; half of one is damaged. */
    OK(ollm_session_save_file(session, path));
    GIVES(OLLM_BAD_FILE, ollm_chat_restore_file(other, path));
    file = fopen(path, "wb");
    CHECK(file != NULL && fwrite("OLLMCHAT\1\0\0\0", 1, 12, file) == 12 && fclose(file) == 0);
    GIVES(OLLM_BAD_FILE, ollm_chat_restore_file(other, path));
    CHECK(count_of(other) == 4);
    CHECK(remove(path) == 0);
    GIVES(OLLM_IO, ollm_chat_restore_file(other, path));
    GIVES(OLLM_IO, ollm_chat_save_file(other, "/no/such/folder/chat"));
    OK(ollm_chat_free(&other));
    OK(ollm_chat_free(&chat));
}

static void misuse_is_a_status(void) {
    static const char tools[] = "{\"tools\": [{\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": "
                                "{\"a\": {\"type\": \"boolean\"}}}}]}";
    ollm_chat_options options = ollm_chat_options_init();
    ollm_message message = {"user", 4, "\xff", 1};
    ollm_answer answer = ollm_answer_init();
    ollm_chat *chat = NULL, *freed, *none = NULL;
    ollm_session *gone = NULL;
    ollm_status status;
    size_t n;
    char text[8];
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(NULL, NULL, &chat));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(session, NULL, NULL));
    options.reasoning_budget = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(session, &options, &chat));
    options.limit_reasoning = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(session, &options, &chat));
    options.limit_reasoning = 1;
    options.variables_json = "{";
    options.variables_json_length = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(session, &options, &chat));
    options.variables_json = NULL;
    options.variables_json_length = 0;
    options.tool_format = 99;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_new(session, &options, &chat));
    options.tool_format = OLLM_TOOL_FORMAT_AUTO;
    OK(ollm_chat_new(session, &options, &chat));
    /* Calls without tools cannot be constrained; with tools it depends on the build. */
    options.constrain_calls = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_set_options(chat, &options));
    options.variables_json = tools;
    options.variables_json_length = sizeof tools - 1;
    status = ollm_chat_set_options(chat, &options);
    CHECK(status == OLLM_OK || status == OLLM_UNSUPPORTED);
    options.struct_size = 3;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_set_options(chat, &options));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_add(chat, NULL));
    GIVES(OLLM_INVALID_UTF8, ollm_chat_add(chat, &message));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_add_json(chat, NULL, 3));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_add_json(chat, "[1]", 3));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_add_json(chat, "{}", 2));
    GIVES(OLLM_INVALID_UTF8, ollm_chat_set_system(chat, "\xff", 1));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_count(chat, NULL, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_message(chat, 0, text, sizeof text, &n));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_save_file(chat, NULL));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_restore_file(chat, NULL));
    CHECK(count_of(chat) == 0);
    add(chat, "refused", "x");
    GIVES(OLLM_TEMPLATE, ollm_chat_answer(chat, NULL, NULL));
    answer.struct_size = 5;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_chat_answer(chat, NULL, &answer));
    freed = chat;
    OK(ollm_chat_free(&chat));
    GIVES(OLLM_INVALID_HANDLE, ollm_chat_reset(freed));
    GIVES(OLLM_INVALID_HANDLE, ollm_chat_free(&freed));
    GIVES(OLLM_INVALID_HANDLE, ollm_chat_reset((ollm_chat *)(void *)session));
    OK(ollm_chat_free(NULL));
    OK(ollm_chat_free(&none));
    /* A chat outlives its session, and has no answers any more. */
    OK(ollm_session_fork(session, &gone));
    OK(ollm_chat_new(gone, NULL, &chat));
    add(chat, "user", "Hi");
    OK(ollm_session_free(&gone));
    GIVES(OLLM_INVALID_HANDLE, ollm_chat_answer(chat, NULL, NULL));
    CHECK(count_of(chat) == 1);
    OK(ollm_chat_free(&chat));
}

static void a_cancelled_answer_is_one(void) {
    ollm_chat *chat = new_chat(NULL);
    ollm_answer answer = ollm_answer_init();
    add(chat, "user", "Hi");
    OK(ollm_session_rewind(session, 0));
    OK(ollm_session_cancel(session));
    GIVES(OLLM_CANCELLED, ollm_chat_answer(chat, NULL, NULL));
    CHECK(count_of(chat) == 1);
    answer = answer_of(chat, 3);
    CHECK(answer.has_message == 1);
    OK(ollm_chat_free(&chat));
}

int main(int argc, char **argv) {
    ollm_sampling sampling = ollm_sampling_init();
    CHECK(argc == 3);
    model = load_model(argv[1]);
    session = new_session(model, NULL, 160);
    sampling.temperature = 1;
    sampling.seed = 4;
    OK(ollm_session_set_sampling(session, &sampling));
    turns_come_and_go();
    a_variable_chooses_the_template();
    the_oldest_turns_are_forgotten();
    what_is_saved_goes_on(argv[2]);
    misuse_is_a_status();
    a_cancelled_answer_is_one();
    OK(ollm_session_free(&session));
    OK(ollm_model_release(&model));
    return 0;
}
