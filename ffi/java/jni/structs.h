/* Structs of C and their classes of Java, field by field. */
#ifndef OLLM_JNI_STRUCTS_H
#define OLLM_JNI_STRUCTS_H

#include "fields.h"

/* Structs of the object `from`; 0 in all fields, and an exception, if it is null or a field is not
   right. What they point to lives until `leave`. */
const ollm_source *source_in(struct frame *f, jobject from);
/* The same for a call that takes the source over: a buffer stays until the library releases it, or
   until `drop_source`, where that call fails. */
ollm_source *kept_source_in(struct frame *f, jobject from);
void drop_source(struct frame *f, const ollm_source *source);
const ollm_load_options *load_options_in(struct frame *f, jobject from);
const ollm_thread_pool_options *thread_pool_options_in(struct frame *f, jobject from);
const ollm_session_options *session_options_in(struct frame *f, jobject from);
const ollm_sampling *sampling_in(struct frame *f, jobject from, jint edit);
const ollm_selection *selection_in(struct frame *f, jobject from, jint choose);
const ollm_constraint_options *constraint_options_in(struct frame *f, jobject from);
ollm_run_options *run_options_in(struct frame *f, jobject from, jobject listener);
const ollm_chat_input *chat_input_in(struct frame *f, jobject from);
const ollm_chat_options *chat_options_in(struct frame *f, jobject from);
const ollm_answer_options *answer_options_in(struct frame *f, jobject from, jobject listener);
const ollm_branch_options *branch_options_in(struct frame *f, jobject from, jint choose);
const ollm_expansion *expansion_in(struct frame *f, jobject from);
const ollm_tally *tally_in(struct frame *f, jobject from);
const ollm_search_options *search_options_in(struct frame *f, jobject from, jobject watcher);
const ollm_suggest_options *suggest_options_in(struct frame *f, jobject from);
const ollm_message *messages_in(struct frame *f, jobject roles, jobject contents, size_t *count);

/* New objects of structs, which hold copies; NULL and an exception if that fails. */
jobject token_out(struct frame *f, const ollm_token *token);
jobject chat_event_out(struct frame *f, const ollm_chat_event *event);
jobject answer_out(struct frame *f, const ollm_answer *answer);
jobject branch_out(struct frame *f, const ollm_branch *branch);
jobject found_out(struct frame *f, const ollm_found *found);
jobject suggestion_out(struct frame *f, const ollm_suggestion *suggestion);
jobject memory_out(struct frame *f, const ollm_memory *memory);
jobject statistics_out(struct frame *f, const ollm_statistics *statistics);
jobjectArray candidates_out(struct frame *f, const ollm_candidate *candidates, size_t count);

#endif
