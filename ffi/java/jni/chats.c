/* The native methods of conversations: messages to text and tokens, and answers back to their parts. */
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
