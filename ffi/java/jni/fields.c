#include "fields.h"

#define AT(object, type, offset) (*(type *)((char *)(object) + (offset)))

jfieldID field_of(struct frame *f, jobject object, const char *name, const char *signature) {
    jclass type;
    jfieldID field;
    if (!fine(f) || !not_null(f, object, "options")) return NULL;
    type = (*f->env)->GetObjectClass(f->env, object);
    field = (*f->env)->GetFieldID(f->env, type, name, signature);
    (*f->env)->DeleteLocalRef(f->env, type);
    return field;
}

jobject object_in(struct frame *f, jobject from, const char *name, const char *signature) {
    jfieldID field = field_of(f, from, name, signature);
    return field ? (*f->env)->GetObjectField(f->env, from, field) : NULL;
}

int32_t choice_in(struct frame *f, jobject choice, const char *name) {
    jclass type;
    jmethodID ordinal;
    int32_t number;
    if (!fine(f) || !not_null(f, choice, name)) return 0;
    type = (*f->env)->GetObjectClass(f->env, choice);
    ordinal = (*f->env)->GetMethodID(f->env, type, "ordinal", "()I");
    (*f->env)->DeleteLocalRef(f->env, type);
    number = ordinal ? (*f->env)->CallIntMethod(f->env, choice, ordinal) : 0;
    return fine(f) ? number : 0;
}

/* The handle of C of a Handle, which throws if it was closed; NULL if it is null. */
static void *handle_in(struct frame *f, jobject handle) {
    jclass type;
    jmethodID number;
    jlong found;
    if (!fine(f) || handle == NULL) return NULL;
    type = (*f->env)->GetObjectClass(f->env, handle);
    number = (*f->env)->GetMethodID(f->env, type, "number", "()J");
    (*f->env)->DeleteLocalRef(f->env, type);
    found = number ? (*f->env)->CallLongMethod(f->env, handle, number) : 0;
    return fine(f) ? (void *)(intptr_t)found : NULL;
}

static void field_in(struct frame *f, jobject from, const struct field *field, void *to) {
    JNIEnv *env = f->env;
    jfieldID id = field_of(f, from, field->name, field->signature);
    size_t *count = &AT(to, size_t, field->count_at);
    jobject object = id && field->kind >= CHOICE ? (*env)->GetObjectField(env, from, id) : NULL;
    if (id == NULL) return;
    switch (field->kind) {
    case SIZE:
        AT(to, size_t, field->at) =
            size_in(f, *field->signature == 'J' ? (*env)->GetLongField(env, from, id) : (*env)->GetIntField(env, from, id),
                    field->name);
        break;
    case BITS: AT(to, uint64_t, field->at) = (uint64_t)(*env)->GetLongField(env, from, id); break;
    case ID: AT(to, uint32_t, field->at) = id_in(f, (*env)->GetIntField(env, from, id), field->name); break;
    case INT: AT(to, int32_t, field->at) = (*env)->GetIntField(env, from, id); break;
    case FLAG: AT(to, int32_t, field->at) = (*env)->GetBooleanField(env, from, id); break;
    case FLOAT: AT(to, float, field->at) = (*env)->GetFloatField(env, from, id); break;
    case DOUBLE: AT(to, double, field->at) = (*env)->GetDoubleField(env, from, id); break;
    case CHOICE: AT(to, int32_t, field->at) = choice_in(f, object, field->name); break;
    case OWNED: AT(to, void *, field->at) = handle_in(f, object); break;
    case TEXT: AT(to, const char *, field->at) = object ? text_in(f, object, count) : NULL; break;
    case TEXTS: AT(to, const ollm_text *, field->at) = texts_in(f, object, count); break;
    case IDS: AT(to, const uint32_t *, field->at) = ids_in(f, object, count); break;
    case PAIRS: break; /* None goes in. */
    }
    (*env)->DeleteLocalRef(env, object);
}

void fields_in(struct frame *f, jobject from, const struct field *fields, size_t count, void *to) {
    size_t i;
    for (i = 0; i < count && fine(f); i++) field_in(f, from, &fields[i], to);
}

/* A constant of an enum by its number. */
static jobject choice_out(struct frame *f, const char *signature, int32_t number) {
    char type[64] = {0}, values[80] = "()[";
    jclass found;
    jmethodID all;
    jobjectArray constants = NULL;
    strncat(values, signature, sizeof values - 4);
    strncat(type, signature + 1, strlen(signature) - 2);
    found = (*f->env)->FindClass(f->env, type);
    all = found ? (*f->env)->GetStaticMethodID(f->env, found, "values", values) : NULL;
    if (all) constants = (jobjectArray)(*f->env)->CallStaticObjectMethod(f->env, found, all);
    if (!fine(f) || constants == NULL) return NULL;
    if (number < 0 || number >= (*f->env)->GetArrayLength(f->env, constants)) {
        throw_new(f, "java/lang/IllegalStateException", "%s has no %d: the library is newer", type, (int)number);
        return NULL;
    }
    return (*f->env)->GetObjectArrayElement(f->env, constants, number);
}

jobjectArray array_out(struct frame *f, const char *type, size_t count, make_fn make, void *all) {
    jclass found = fine(f) ? (*f->env)->FindClass(f->env, type) : NULL;
    jobjectArray array = found ? (*f->env)->NewObjectArray(f->env, (jsize)count, found, NULL) : NULL;
    size_t i;
    for (i = 0; array && i < count && fine(f); i++) {
        jobject made = make(f, all, i);
        if (made) (*f->env)->SetObjectArrayElement(f->env, array, (jsize)i, made);
        (*f->env)->DeleteLocalRef(f->env, made);
    }
    (*f->env)->DeleteLocalRef(f->env, found);
    return array;
}

/* A token with a number: ollm_logprob, ollm_candidate. */
struct pair {
    uint32_t token;
    float number;
};

struct pairs {
    const char *type;
    const struct pair *pairs;
};

static jobject pair_out(struct frame *f, void *all, size_t i) {
    struct pairs *pairs = all;
    jclass type = (*f->env)->FindClass(f->env, pairs->type);
    jmethodID make = type ? (*f->env)->GetMethodID(f->env, type, "<init>", "(IF)V") : NULL;
    jobject made = NULL;
    if (make) {
        made = (*f->env)->NewObject(f->env, type, make, (jint)pairs->pairs[i].token, (jfloat)pairs->pairs[i].number);
    }
    (*f->env)->DeleteLocalRef(f->env, type);
    return fine(f) ? made : NULL;
}

jobjectArray pairs_out(struct frame *f, const char *type, const void *pairs, size_t count) {
    struct pairs all = {0};
    all.type = type;
    all.pairs = pairs;
    return array_out(f, type, count, pair_out, &all);
}

static void field_out(struct frame *f, const struct field *field, const void *from, jobject to) {
    JNIEnv *env = f->env;
    jfieldID id = field_of(f, to, field->name, field->signature);
    size_t count = AT(from, const size_t, field->count_at);
    jobject object = NULL;
    if (id == NULL) return;
    switch (field->kind) {
    case SIZE:
        if (*field->signature == 'J') (*env)->SetLongField(env, to, id, (jlong)AT(from, const size_t, field->at));
        else (*env)->SetIntField(env, to, id, (jint)AT(from, const size_t, field->at));
        break;
    case BITS: (*env)->SetLongField(env, to, id, (jlong)AT(from, const uint64_t, field->at)); break;
    case ID: (*env)->SetIntField(env, to, id, (jint)AT(from, const uint32_t, field->at)); break;
    case INT: (*env)->SetIntField(env, to, id, AT(from, const int32_t, field->at)); break;
    case FLAG: (*env)->SetBooleanField(env, to, id, AT(from, const int32_t, field->at) != 0); break;
    case FLOAT: (*env)->SetFloatField(env, to, id, AT(from, const float, field->at)); break;
    case DOUBLE: (*env)->SetDoubleField(env, to, id, AT(from, const double, field->at)); break;
    case CHOICE: object = choice_out(f, field->signature, AT(from, const int32_t, field->at)); break;
    case TEXT: {
        const char *text = AT(from, const char *const, field->at);
        object = text ? text_out(f, text, count) : NULL;
        break;
    }
    case IDS: object = ints_out(f, AT(from, const void *const, field->at), count); break;
    case PAIRS: object = pairs_out(f, "org/ollm/Logprob", AT(from, const void *const, field->at), count); break;
    case TEXTS:
    case OWNED: break; /* None comes out. */
    }
    if (object) (*env)->SetObjectField(env, to, id, object);
    (*env)->DeleteLocalRef(env, object);
}

jobject struct_out(struct frame *f, const char *type, const struct field *fields, size_t count, const void *from) {
    jclass found = fine(f) ? (*f->env)->FindClass(f->env, type) : NULL;
    jmethodID make = found ? (*f->env)->GetMethodID(f->env, found, "<init>", "()V") : NULL;
    jobject made = make ? (*f->env)->NewObject(f->env, found, make) : NULL;
    size_t i;
    for (i = 0; made && i < count && fine(f); i++) field_out(f, &fields[i], from, made);
    (*f->env)->DeleteLocalRef(f->env, found);
    return made;
}
