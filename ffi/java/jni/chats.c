/* The native methods of conversations: messages to text and tokens, and answers back to their parts. */
#include "callbacks.h"
#include "structs.h"

NATIVE(jstring, chatRender)(JNI, jlong model, jobject chat) {
    const ollm_chat_input *input;
    ENTER;
    input = chat_input_in(f, chat);
    RETURN_TEXT(ollm_chat_render(HANDLE(model, model), input, buffer, capacity, &length));
}

NATIVE(jintArray, chatTokens)(JNI, jlong model, jobject chat) {
    const ollm_chat_input *input;
    ENTER;
    input = chat_input_in(f, chat);
    RETURN_INTS(ollm_chat_tokens(HANDLE(model, model), input, buffer, capacity, &length));
}

NATIVE(jlong, newParser)(JNI, jlong model, jobject chat, jint format) {
    ollm_chat_parser *parser = NULL;
    const ollm_chat_input *input;
    ENTER;
    input = chat ? chat_input_in(f, chat) : NULL;
    (void)CALL(f, ollm_chat_parser_new(HANDLE(model, model), input, format, &parser));
    LEAVE;
    return NUMBER(parser);
}

FREES(freeParser, chat_parser, ollm_chat_parser_free)
PLAIN(finishParser, chat_parser, ollm_chat_parser_finish)

NATIVE(void, pushParser)(JNI, jlong parser, jstring text) {
    char *bytes;
    size_t length = 0;
    ENTER;
    bytes = text_in(f, text, &length);
    (void)CALL(f, ollm_chat_parser_push(HANDLE(chat_parser, parser), bytes, length));
    LEAVE;
}

NATIVE(jobject, nextEvent)(JNI, jlong parser) {
    ollm_chat_event event = ollm_chat_event_init();
    jobject made = NULL;
    ENTER;
    if (CALL(f, ollm_chat_parser_next(HANDLE(chat_parser, parser), &event))) made = chat_event_out(f, &event);
    LEAVE;
    return made;
}

NATIVE(jlong, newChat)(JNI, jlong session, jobject options) {
    const ollm_chat_options *chat_options;
    ollm_chat *chat = NULL;
    ENTER;
    chat_options = chat_options_in(f, options);
    (void)CALL(f, ollm_chat_new(HANDLE(session, session), chat_options, &chat));
    LEAVE;
    return NUMBER(chat);
}

FREES(freeChat, chat, ollm_chat_free)
PLAIN(resetChat, chat, ollm_chat_reset)
COUNTS(takeBack, chat, ollm_chat_take_back)

NATIVE(void, setChatOptions)(JNI, jlong chat, jobject options) {
    const ollm_chat_options *chat_options;
    ENTER;
    chat_options = chat_options_in(f, options);
    (void)CALL(f, ollm_chat_set_options(HANDLE(chat, chat), chat_options));
    LEAVE;
}

NATIVE(void, addMessage)(JNI, jlong chat, jstring role, jstring content) {
    ollm_message message;
    ENTER;
    message.role = text_in(f, role, &message.role_length);
    message.content = text_in(f, content, &message.content_length);
    (void)CALL(f, ollm_chat_add(HANDLE(chat, chat), &message));
    LEAVE;
}

NATIVE(void, addMessages)(JNI, jlong chat, jstring json) {
    char *bytes;
    size_t length = 0;
    ENTER;
    bytes = text_in(f, json, &length);
    (void)CALL(f, ollm_chat_add_json(HANDLE(chat, chat), bytes, length));
    LEAVE;
}

NATIVE(void, setSystem)(JNI, jlong chat, jstring text) {
    char *bytes;
    size_t length = 0;
    ENTER;
    bytes = text ? text_in(f, text, &length) : NULL;
    (void)CALL(f, ollm_chat_set_system(HANDLE(chat, chat), bytes, length));
    LEAVE;
}

NATIVE(jobject, answer)(JNI, jlong chat, jobject options, jobject listener) {
    const ollm_answer_options *answer_options;
    ollm_answer answer = ollm_answer_init();
    jobject made = NULL;
    ENTER;
    answer_options = answer_options_in(f, options, listener);
    if (CALL(f, ollm_chat_answer(HANDLE(chat, chat), answer_options, &answer)) && fine(f)) made = answer_out(f, &answer);
    LEAVE;
    return made;
}

NATIVE(jlong, countMessages)(JNI, jlong chat) {
    ENTER;
    RETURN_VALUE(jlong, size_t, ollm_chat_count(HANDLE(chat, chat), &value, NULL));
}

NATIVE(jlong, countForgotten)(JNI, jlong chat) {
    size_t count = 0;
    ENTER;
    RETURN_VALUE(jlong, size_t, ollm_chat_count(HANDLE(chat, chat), &count, &value));
}

NATIVE(jstring, message)(JNI, jlong chat, jlong index) {
    size_t at;
    ENTER;
    at = size_in(f, index, "index");
    RETURN_TEXT(ollm_chat_message(HANDLE(chat, chat), at, buffer, capacity, &length));
}

NATIVE(void, truncate)(JNI, jlong chat, jlong count) {
    size_t kept;
    ENTER;
    kept = size_in(f, count, "count");
    (void)CALL(f, ollm_chat_truncate(HANDLE(chat, chat), kept));
    LEAVE;
}

NATIVE(void, saveChat)(JNI, jlong chat, jstring path) {
    const char *to;
    ENTER;
    to = path_in(f, path);
    (void)CALL(f, ollm_chat_save_file(HANDLE(chat, chat), to));
    LEAVE;
}

NATIVE(void, restoreChat)(JNI, jlong chat, jstring path) {
    const char *from;
    ENTER;
    from = path_in(f, path);
    (void)CALL(f, ollm_chat_restore_file(HANDLE(chat, chat), from));
    LEAVE;
}
