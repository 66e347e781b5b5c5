/* What all native methods of org.ollm.Native share: memory that goes at the end of a call, exceptions, numbers, text and
   arrays. Each of these functions does nothing once an exception is pending, so that a method asks only once: in CALL. */
#ifndef OLLM_JNI_FRAME_H
#define OLLM_JNI_FRAME_H

#include <jni.h>
#include <ollm.h>

/* A native method: `NATIVE(jint, name)(JNI, jlong handle) { ENTER; ... LEAVE; return ...; }`. */
#define NATIVE(type, name) JNIEXPORT type JNICALL Java_org_ollm_Native_##name
#define JNI JNIEnv *env, jclass self
#define ENTER                             \
    struct frame frame = {0}, *f = &frame; \
    frame.env = env;                      \
    (void)self
#define LEAVE leave(f)

/* A handle, which travels as a number; the library checks it. */
#define HANDLE(type, number) ((ollm_##type *)(intptr_t)(number))
#define NUMBER(handle) ((jlong)(intptr_t)(handle))

/* Calls C, unless an argument has failed; tells whether it worked, and throws if it did not. */
#define CALL(f, call) (fine(f) && succeeded(f, call))

/* Ends a method whose result has a length that is not known before: `call` has `buffer`, which is NULL
   the first time, `capacity` and `length`. */
#define RETURN_FILLED(type, element, out, call)                                                        \
    do {                                                                                               \
        type made = NULL;                                                                              \
        element *buffer = NULL;                                                                        \
        size_t capacity = 0, length = 0;                                                               \
        if (CALL(f, call)) buffer = take(f, (capacity = length + 1) * sizeof *buffer);                  \
        if (buffer && CALL(f, call)) made = out(f, buffer, length);                                     \
        LEAVE;                                                                                         \
        return made;                                                                                   \
    } while (0)
#define RETURN_TEXT(call) RETURN_FILLED(jstring, char, text_out, call)
#define RETURN_BYTES(call) RETURN_FILLED(jbyteArray, char, bytes_out, call)
#define RETURN_INTS(call) RETURN_FILLED(jintArray, uint32_t, ints_out, call)
#define RETURN_FLOATS(call) RETURN_FILLED(jfloatArray, float, floats_out, call)

/* Ends a method whose result is in a variable that `call` writes. */
#define RETURN_VALUE(type, c_type, call)     \
    do {                                     \
        c_type value = 0;                    \
        type result = 0;                     \
        if (CALL(f, call)) result = (type)value; \
        LEAVE;                               \
        return result;                       \
    } while (0)

/* A method of one handle without a result, or with a number. */
#define PLAIN(name, type, function)                  \
    NATIVE(void, name)(JNI, jlong handle) {          \
        ENTER;                                       \
        (void)CALL(f, function(HANDLE(type, handle))); \
        LEAVE;                                       \
    }
#define COUNTS(name, type, function)                                        \
    NATIVE(jlong, name)(JNI, jlong handle) {                                \
        ENTER;                                                              \
        RETURN_VALUE(jlong, size_t, function(HANDLE(type, handle), &value)); \
    }
#define FREES(name, type, function)                  \
    NATIVE(void, name)(JNI, jlong handle) {          \
        ollm_##type *freed = HANDLE(type, handle);   \
        ENTER;                                       \
        (void)CALL(f, function(&freed));             \
        LEAVE;                                       \
    }

struct block;

struct frame {
    JNIEnv *env;
    struct block *blocks;
};

/* Methods of Native that C calls. */
enum method {
    METHOD_UTF8,
    METHOD_TEXT,
    METHOD_TEXTS,
    METHOD_ON_TOKEN,
    METHOD_ON_EVENT,
    METHOD_ON_STEP,
    METHOD_ON_PROGRESS,
    METHOD_ON_ANSWER,
    METHOD_ON_SCORE,
    METHOD_ON_START,
    METHOD_ON_LOG,
    METHOD_CHOOSE,
    METHOD_EDIT,
    METHODS
};
extern jclass native_class;
extern jmethodID methods[METHODS];

/* The environment of this thread, which is attached if it is none of the JVM's; NULL if that fails. */
JNIEnv *enter_thread(int *attached);
void leave_thread(int attached);

/* Whether no exception is pending. */
int fine(struct frame *f);
void throw_new(struct frame *f, const char *type, const char *format, ...);
int succeeded(struct frame *f, ollm_status status);

/* Memory of zeros until `leave`; NULL and an exception if there is none. */
void *take(struct frame *f, size_t size);
void leave(struct frame *f);

/* From Java. Null is a NullPointerException, a negative number an IllegalArgumentException. */
size_t size_in(struct frame *f, jlong number, const char *name);
uint32_t id_in(struct frame *f, jint number, const char *name);
char *bytes_in(struct frame *f, jbyteArray array, size_t *length);
char *text_in(struct frame *f, jstring text, size_t *length);
const char *path_in(struct frame *f, jstring path);
uint32_t *ids_in(struct frame *f, jintArray array, size_t *count);
float *floats_in(struct frame *f, jfloatArray array, size_t *count);
ollm_text *texts_in(struct frame *f, jobject list, size_t *count);
jobject not_null(struct frame *f, jobject object, const char *name);

/* To Java; NULL and an exception if that fails. */
jbyteArray bytes_out(struct frame *f, const void *bytes, size_t length);
jstring text_out(struct frame *f, const char *text, size_t length);
jintArray ints_out(struct frame *f, const void *numbers, size_t count);
jfloatArray floats_out(struct frame *f, const float *numbers, size_t count);

#endif
