/* Callbacks of C that call Java. What Java throws is pending when C returns, and so comes out of the native method; until
   then no callback calls Java again. */
#ifndef OLLM_JNI_CALLBACKS_H
#define OLLM_JNI_CALLBACKS_H

#include "frame.h"

/* The `user` of callbacks that come inside one call, until `leave`; NULL for a null object. */
void *listener_of(struct frame *f, jobject object);

int32_t on_token(void *user, const ollm_token *token);
int32_t on_event(void *user, const ollm_chat_event *event);
int32_t on_step(void *user, const ollm_branch *const *branches, size_t count);
int32_t on_progress(void *user, float progress);
void on_answer(void *user, ollm_text text, ollm_text *answer);
double on_score(void *user, const ollm_branch *branch);
int32_t on_start(void *user, ollm_worker *worker);

/* The `user` of these is a number that Native knows the object by: they come as long as a session,
   a fork or branches live. */
uint32_t on_choose(void *user, const float *hidden, size_t hidden_size, const float *policy, size_t options);
void on_edit(void *user, float *logits, size_t vocabulary, const uint32_t *tokens, size_t count);

/* These come on any thread. The `user` of `release_buffer` is a global reference. */
void on_log(void *user, ollm_log_level level, const char *text, size_t length);
void release_buffer(void *user, const void *data, size_t length);

#endif
