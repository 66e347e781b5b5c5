#include "callbacks.h"

#include "structs.h"

#include <math.h>

struct listener {
    struct frame *frame;
    jobject object;
};

void *listener_of(struct frame *f, jobject object) {
    struct listener *listener = object ? take(f, sizeof *listener) : NULL;
    if (listener) {
        listener->frame = f;
        listener->object = object;
    }
    return listener;
}

/* Local references of a callback go with it. */
static int begin(struct frame *f) { return fine(f) && (*f->env)->PushLocalFrame(f->env, 32) == 0; }
static void end(struct frame *f) { (*f->env)->PopLocalFrame(f->env, NULL); }

/* What a callback gives to C, after Java said whether to continue: 0 continues. */
static int32_t outcome(struct frame *f, jboolean more) {
    int32_t refused = !fine(f) || !more;
    end(f);
    return refused;
}

int32_t on_token(void *user, const ollm_token *token) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jboolean more = JNI_FALSE;
    jobject made;
    if (!begin(f)) return 1;
    made = token_out(f, token);
    if (made && fine(f)) {
        more = (*f->env)->CallStaticBooleanMethod(f->env, native_class, methods[METHOD_ON_TOKEN], listener->object, made);
    }
    return outcome(f, more);
}

int32_t on_event(void *user, const ollm_chat_event *event) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jboolean more = JNI_FALSE;
    jobject made;
    if (!begin(f)) return 1;
    made = chat_event_out(f, event);
    if (made && fine(f)) {
        more = (*f->env)->CallStaticBooleanMethod(f->env, native_class, methods[METHOD_ON_EVENT], listener->object, made);
    }
    return outcome(f, more);
}

static jobject branch_of(struct frame *f, void *all, size_t i) {
    return branch_out(f, ((const ollm_branch *const *)all)[i]);
}

int32_t on_step(void *user, const ollm_branch *const *branches, size_t count) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jboolean more = JNI_FALSE;
    jobjectArray made;
    if (!begin(f)) return 1;
    made = array_out(f, "org/ollm/Branch", count, branch_of, (void *)branches);
    if (made && fine(f)) {
        more = (*f->env)->CallStaticBooleanMethod(f->env, native_class, methods[METHOD_ON_STEP], listener->object, made);
    }
    return outcome(f, more);
}

int32_t on_progress(void *user, float progress) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jboolean more;
    if (!begin(f)) return 1;
    more = (*f->env)->CallStaticBooleanMethod(f->env, native_class, methods[METHOD_ON_PROGRESS], listener->object,
                                              progress);
    return outcome(f, more);
}

void on_answer(void *user, ollm_text text, ollm_text *answer) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jstring made;
    jbyteArray found = NULL;
    if (!begin(f)) return;
    made = text_out(f, text.data, text.length);
    if (made) {
        found = (jbyteArray)(*f->env)->CallStaticObjectMethod(f->env, native_class, methods[METHOD_ON_ANSWER],
                                                             listener->object, made);
    }
    if (found && fine(f)) answer->data = bytes_in(f, found, &answer->length);
    end(f);
}

double on_score(void *user, const ollm_branch *branch) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    jobject made;
    double score = 0;
    if (!begin(f)) return score;
    made = branch_out(f, branch);
    if (made) {
        score = (*f->env)->CallStaticDoubleMethod(f->env, native_class, methods[METHOD_ON_SCORE], listener->object, made);
    }
    end(f);
    return score;
}

int32_t on_start(void *user, ollm_worker *worker) {
    struct listener *listener = user;
    struct frame *f = listener->frame;
    if (!begin(f)) return 1;
    (*f->env)->CallStaticVoidMethod(f->env, native_class, methods[METHOD_ON_START], listener->object, NUMBER(worker));
    return outcome(f, JNI_TRUE);
}

uint32_t on_choose(void *user, const float *hidden, size_t hidden_size, const float *policy, size_t options) {
    struct frame frame = {0}, *f = &frame;
    int attached;
    uint32_t latent = UINT32_MAX;
    f->env = enter_thread(&attached);
    if (f->env && begin(f)) {
        jfloatArray state = floats_out(f, hidden, hidden_size), probabilities = floats_out(f, policy, options);
        if (probabilities) {
            latent = (uint32_t)(*f->env)->CallStaticIntMethod(f->env, native_class, methods[METHOD_CHOOSE],
                                                              (jint)(intptr_t)user, state, probabilities);
        }
        if (!fine(f)) latent = UINT32_MAX;
        end(f);
    }
    leave_thread(attached);
    return latent;
}

void on_edit(void *user, float *logits, size_t vocabulary, const uint32_t *tokens, size_t count) {
    struct frame frame = {0}, *f = &frame;
    int attached, edited = 0;
    f->env = enter_thread(&attached);
    if (f->env && begin(f)) {
        jfloatArray numbers = floats_out(f, logits, vocabulary), changed = NULL;
        jintArray before = ints_out(f, tokens, count);
        if (before) {
            changed = (jfloatArray)(*f->env)->CallStaticObjectMethod(f->env, native_class, methods[METHOD_EDIT],
                                                                    (jint)(intptr_t)user, numbers, before);
        }
        if (changed && fine(f)) {
            (*f->env)->GetFloatArrayRegion(f->env, changed, 0, (jsize)vocabulary, logits);
            edited = fine(f);
        }
        end(f);
    }
    /* The step fails: a logit that is no number is refused. */
    if (!edited && vocabulary > 0) logits[0] = NAN;
    leave_thread(attached);
}

void on_log(void *user, ollm_log_level level, const char *text, size_t length) {
    struct frame frame = {0}, *f = &frame;
    int attached;
    (void)user;
    f->env = enter_thread(&attached);
    if (f->env && begin(f)) {
        jstring message = text_out(f, text, length);
        if (message) {
            (*f->env)->CallStaticVoidMethod(f->env, native_class, methods[METHOD_ON_LOG], (jint)level, message);
        }
        (void)fine(f); /* The handler of the thread may have thrown. */
        end(f);
    }
    leave_thread(attached);
}

void release_buffer(void *user, const void *data, size_t length) {
    int attached;
    JNIEnv *env = enter_thread(&attached);
    (void)data;
    (void)length;
    if (env) (*env)->DeleteGlobalRef(env, user);
    leave_thread(attached);
}
