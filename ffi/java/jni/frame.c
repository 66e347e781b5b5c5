#include "frame.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct block {
    struct block *next;
    /* What follows is aligned as the strictest of these. */
    union {
        void *pointer;
        double number;
        uint64_t bits;
    } start[];
};

static const struct {
    const char *name, *signature;
} METHODS_OF_NATIVE[METHODS] = {
    {"utf8", "(Ljava/lang/String;)[B"},
    {"text", "([B)Ljava/lang/String;"},
    {"texts", "(Ljava/util/List;)[[B"},
    {"onToken", "(Lorg/ollm/Session$Listener;Lorg/ollm/Token;)Z"},
    {"onEvent", "(Lorg/ollm/Conversation$Listener;Lorg/ollm/ChatEvent;)Z"},
    {"onStep", "(Lorg/ollm/Branches$Watcher;[Lorg/ollm/Branch;)Z"},
    {"onProgress", "(Lorg/ollm/Progress;F)Z"},
    {"onAnswer", "(Lorg/ollm/Branches$Finder;Ljava/lang/String;)[B"},
    {"onScore", "(Lorg/ollm/Branches$Scorer;Lorg/ollm/Branch;)D"},
    {"onStart", "(Ljava/util/concurrent/Executor;J)V"},
    {"onLog", "(ILjava/lang/String;)V"},
    {"choose", "(I[F[F)I"},
    {"edit", "(I[F[I)[F"},
};

static JavaVM *machine;
jclass native_class;
jmethodID methods[METHODS];

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *vm, void *reserved) {
    JNIEnv *env = NULL;
    jclass found;
    int i;
    (void)reserved;
    machine = vm;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
    found = (*env)->FindClass(env, "org/ollm/Native");
    native_class = found ? (jclass)(*env)->NewGlobalRef(env, found) : NULL;
    if (native_class == NULL) return JNI_ERR;
    for (i = 0; i < METHODS; i++) {
        methods[i] =
            (*env)->GetStaticMethodID(env, native_class, METHODS_OF_NATIVE[i].name, METHODS_OF_NATIVE[i].signature);
        if (methods[i] == NULL) return JNI_ERR;
    }
    return JNI_VERSION_1_6;
}

JNIEnv *enter_thread(int *attached) {
    JNIEnv *env = NULL;
    *attached = 0;
    if ((*machine)->GetEnv(machine, (void **)&env, JNI_VERSION_1_6) == JNI_OK) return env;
#ifdef __ANDROID__
    *attached = (*machine)->AttachCurrentThreadAsDaemon(machine, &env, NULL) == JNI_OK;
#else
    *attached = (*machine)->AttachCurrentThreadAsDaemon(machine, (void **)&env, NULL) == JNI_OK;
#endif
    return *attached ? env : NULL;
}

void leave_thread(int attached) {
    if (attached) (*machine)->DetachCurrentThread(machine);
}

int fine(struct frame *f) { return !(*f->env)->ExceptionCheck(f->env); }

void throw_new(struct frame *f, const char *type, const char *format, ...) {
    char message[256];
    va_list values;
    jclass found;
    if (!fine(f)) return;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    found = (*f->env)->FindClass(f->env, type);
    if (found) (*f->env)->ThrowNew(f->env, found, message);
}

int succeeded(struct frame *f, ollm_status status) {
    JNIEnv *env = f->env;
    jclass type;
    jmethodID make;
    jobject exception;
    jstring name, message;
    /* A callback threw: that is the cause, and comes out though the call may have ended well. */
    if (!fine(f)) return 0;
    if (status == OLLM_OK) return 1;
    name = text_out(f, ollm_status_name(status), strlen(ollm_status_name(status)));
    message = text_out(f, ollm_last_error(), strlen(ollm_last_error()));
    type = message ? (*env)->FindClass(env, "org/ollm/OllmException") : NULL;
    make = type ? (*env)->GetMethodID(env, type, "<init>", "(ILjava/lang/String;Ljava/lang/String;)V") : NULL;
    exception = make ? (*env)->NewObject(env, type, make, (jint)status, name, message) : NULL;
    if (exception && fine(f)) (*env)->Throw(env, (jthrowable)exception);
    return 0;
}

void *take(struct frame *f, size_t size) {
    struct block *block;
    if (!fine(f)) return NULL;
    block = size < SIZE_MAX - sizeof *block ? calloc(1, sizeof *block + size) : NULL;
    if (block == NULL) {
        throw_new(f, "java/lang/OutOfMemoryError", "no memory for %llu bytes", (unsigned long long)size);
        return NULL;
    }
    block->next = f->blocks;
    f->blocks = block;
    return block->start;
}

void leave(struct frame *f) {
    while (f->blocks) {
        struct block *block = f->blocks;
        f->blocks = block->next;
        free(block);
    }
}

jobject not_null(struct frame *f, jobject object, const char *name) {
    if (object == NULL) throw_new(f, "java/lang/NullPointerException", "%s is null", name);
    return object;
}

size_t size_in(struct frame *f, jlong number, const char *name) {
    if (number >= 0 && (unsigned long long)number <= SIZE_MAX) return (size_t)number;
    throw_new(f, "java/lang/IllegalArgumentException", "%s is out of range: %lld", name, (long long)number);
    return 0;
}

uint32_t id_in(struct frame *f, jint number, const char *name) { return (uint32_t)size_in(f, number, name); }

/* How many elements an array has; tells whether it may be read. */
static int count_of(struct frame *f, jarray array, size_t *count) {
    if (!fine(f) || !not_null(f, array, "an array")) return 0;
    *count = (size_t)(*f->env)->GetArrayLength(f->env, array);
    return 1;
}

char *bytes_in(struct frame *f, jbyteArray array, size_t *length) {
    char *bytes = count_of(f, array, length) ? take(f, *length + 1) : NULL;
    if (bytes) (*f->env)->GetByteArrayRegion(f->env, array, 0, (jsize)*length, (jbyte *)bytes);
    return bytes;
}

char *text_in(struct frame *f, jstring text, size_t *length) {
    jbyteArray bytes;
    char *copy;
    if (!fine(f) || !not_null(f, text, "a text")) return NULL;
    bytes = (jbyteArray)(*f->env)->CallStaticObjectMethod(f->env, native_class, methods[METHOD_UTF8], text);
    copy = fine(f) ? bytes_in(f, bytes, length) : NULL;
    (*f->env)->DeleteLocalRef(f->env, bytes);
    return copy;
}

const char *path_in(struct frame *f, jstring path) {
    size_t length = 0;
    char *copy = text_in(f, path, &length);
    if (copy && strlen(copy) != length) {
        throw_new(f, "java/lang/IllegalArgumentException", "a path has U+0000 in it");
    }
    return copy;
}

uint32_t *ids_in(struct frame *f, jintArray array, size_t *count) {
    uint32_t *ids = count_of(f, array, count) ? take(f, (*count + 1) * sizeof *ids) : NULL;
    size_t i;
    if (ids) (*f->env)->GetIntArrayRegion(f->env, array, 0, (jsize)*count, (jint *)ids);
    for (i = 0; ids && i < *count && fine(f); i++) id_in(f, ((jint *)ids)[i], "an element");
    return ids;
}

float *floats_in(struct frame *f, jfloatArray array, size_t *count) {
    float *numbers = count_of(f, array, count) ? take(f, (*count + 1) * sizeof *numbers) : NULL;
    if (numbers) (*f->env)->GetFloatArrayRegion(f->env, array, 0, (jsize)*count, numbers);
    return numbers;
}

ollm_text *texts_in(struct frame *f, jobject list, size_t *count) {
    JNIEnv *env = f->env;
    jobjectArray arrays;
    ollm_text *texts;
    size_t i;
    if (!fine(f) || !not_null(f, list, "a list")) return NULL;
    arrays = (jobjectArray)(*env)->CallStaticObjectMethod(env, native_class, methods[METHOD_TEXTS], list);
    texts = fine(f) && count_of(f, arrays, count) ? take(f, (*count + 1) * sizeof *texts) : NULL;
    for (i = 0; texts && i < *count && fine(f); i++) {
        jbyteArray bytes = (jbyteArray)(*env)->GetObjectArrayElement(env, arrays, (jsize)i);
        texts[i].data = bytes_in(f, bytes, &texts[i].length);
        (*env)->DeleteLocalRef(env, bytes);
    }
    (*env)->DeleteLocalRef(env, arrays);
    return texts;
}

/* Whether an array of Java can have so many elements. */
static int fits(struct frame *f, size_t count) {
    if (!fine(f)) return 0;
    if (count <= INT32_MAX) return 1;
    throw_new(f, "java/lang/OutOfMemoryError", "no array has %llu elements", (unsigned long long)count);
    return 0;
}

jbyteArray bytes_out(struct frame *f, const void *bytes, size_t length) {
    jbyteArray array = fits(f, length) ? (*f->env)->NewByteArray(f->env, (jsize)length) : NULL;
    if (array && length > 0) (*f->env)->SetByteArrayRegion(f->env, array, 0, (jsize)length, bytes);
    return array;
}

jstring text_out(struct frame *f, const char *text, size_t length) {
    jbyteArray bytes = bytes_out(f, text, length);
    jstring made = NULL;
    if (bytes) made = (jstring)(*f->env)->CallStaticObjectMethod(f->env, native_class, methods[METHOD_TEXT], bytes);
    if (!fine(f)) made = NULL;
    (*f->env)->DeleteLocalRef(f->env, bytes);
    return made;
}

jintArray ints_out(struct frame *f, const void *numbers, size_t count) {
    jintArray array = fits(f, count) ? (*f->env)->NewIntArray(f->env, (jsize)count) : NULL;
    if (array && count > 0) (*f->env)->SetIntArrayRegion(f->env, array, 0, (jsize)count, numbers);
    return array;
}

jfloatArray floats_out(struct frame *f, const float *numbers, size_t count) {
    jfloatArray array = fits(f, count) ? (*f->env)->NewFloatArray(f->env, (jsize)count) : NULL;
    if (array && count > 0) (*f->env)->SetFloatArrayRegion(f->env, array, 0, (jsize)count, numbers);
    return array;
}
