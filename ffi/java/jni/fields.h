/* Structs of C and objects of Java, field by field, as a table says. */
#ifndef OLLM_JNI_FIELDS_H
#define OLLM_JNI_FIELDS_H

#include "frame.h"

#include <stddef.h>

/* How a field of C is one of Java. */
enum kind {
    SIZE,   /* size_t, a long or an int that is not negative */
    BITS,   /* uint64_t, a long */
    ID,     /* uint32_t, an int that is not negative on the way in */
    INT,    /* int32_t, an int */
    FLAG,   /* int32_t, a boolean */
    FLOAT,  /* float */
    DOUBLE, /* double */
    CHOICE, /* an enum that counts from 0, an enum of Java */
    OWNED,  /* a handle, a Handle or null */
    TEXT,   /* bytes and their number, a String or null */
    TEXTS,  /* ollm_text and their number, a List of String */
    IDS,    /* uint32_t and their number, an int[] */
    PAIRS   /* a token with a number, and their number, an array of a class that is made of both */
};

struct field {
    const char *name, *signature;
    enum kind kind;
    size_t at, count_at;
};

#define FIELD(kind, type, member, name, signature) {name, signature, kind, offsetof(type, member), 0}
#define SPAN(kind, type, member, count, name, signature) \
    {name, signature, kind, offsetof(type, member), offsetof(type, count)}
#define STRING "Ljava/lang/String;"
#define LIST "Ljava/util/List;"
#define COUNT(fields) (sizeof(fields) / sizeof *(fields))

/* A field of an object; NULL and an exception if the object is null. */
jfieldID field_of(struct frame *f, jobject object, const char *name, const char *signature);
jobject object_in(struct frame *f, jobject from, const char *name, const char *signature);

/* The number of a constant of an enum. */
int32_t choice_in(struct frame *f, jobject choice, const char *name);

/* Fills the struct `to`. What it points to lives until `leave`. */
void fields_in(struct frame *f, jobject from, const struct field *fields, size_t count, void *to);

/* A new object of the struct `from`; NULL and an exception if that fails. */
jobject struct_out(struct frame *f, const char *type, const struct field *fields, size_t count, const void *from);

/* An array of `count` elements, each made by `make(f, all, i)`. */
typedef jobject (*make_fn)(struct frame *f, void *all, size_t i);
jobjectArray array_out(struct frame *f, const char *type, size_t count, make_fn make, void *all);

/* Tokens with a number each, ollm_logprob or ollm_candidate, as an array of a class that is made of both. */
jobjectArray pairs_out(struct frame *f, const char *type, const void *pairs, size_t count);

#endif
