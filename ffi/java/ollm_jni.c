/* The JNI layer: the native methods of org.ollm.Native, over ollm.h. Text travels as arrays of UTF-8 bytes, since the
   strings of JNI are not UTF-8. Handles travel as numbers; the library checks them. */
#include <jni.h>
#include <ollm.h>

#include <stdlib.h>

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_org_ollm_Native_##name

/* Throws what went wrong; tells whether nothing did. */
static int succeeded(JNIEnv *env, ollm_status status) {
    jclass type;
    jmethodID make;
    jstring message;
    jobject exception;
    if (status == OLLM_OK) return 1;
    if ((*env)->ExceptionCheck(env)) return 0; /* A callback threw: that is the cause. */
    type = (*env)->FindClass(env, "org/ollm/OllmException");
    make = type ? (*env)->GetMethodID(env, type, "<init>", "(ILjava/lang/String;)V") : NULL;
    message = make ? (*env)->NewStringUTF(env, ollm_last_error()) : NULL;
    exception = message ? (*env)->NewObject(env, type, make, (jint)status, message) : NULL;
    if (exception) (*env)->Throw(env, (jthrowable)exception);
    return 0;
}

static void out_of_memory(JNIEnv *env) {
    jclass type = (*env)->FindClass(env, "java/lang/OutOfMemoryError");
    if (type) (*env)->ThrowNew(env, type, "ollm_jni");
}

/* A copy of an array of bytes with a zero after it, to be freed; NULL and an exception if there
 * is no memory. */
static char *copy_bytes(JNIEnv *env, jbyteArray array, size_t *length) {
    jsize size = (*env)->GetArrayLength(env, array);
    char *bytes = malloc((size_t)size + 1);
    if (bytes == NULL) {
        out_of_memory(env);
        return NULL;
    }
    (*env)->GetByteArrayRegion(env, array, 0, size, (jbyte *)bytes);
    bytes[size] = 0;
    *length = (size_t)size;
    return bytes;
}

static uint32_t *copy_tokens(JNIEnv *env, jintArray array, size_t *count) {
    jsize size = (*env)->GetArrayLength(env, array);
    uint32_t *tokens = malloc(((size_t)size + 1) * sizeof *tokens);
    if (tokens == NULL) {
        out_of_memory(env);
        return NULL;
    }
    (*env)->GetIntArrayRegion(env, array, 0, size, (jint *)tokens);
    *count = (size_t)size;
    return tokens;
}

/* Texts of an array of arrays, to be freed with free_texts. */
static ollm_text *copy_texts(JNIEnv *env, jobjectArray arrays, size_t *count) {
    jsize size = (*env)->GetArrayLength(env, arrays), i;
    ollm_text *texts = calloc((size_t)size + 1, sizeof *texts);
    if (texts == NULL) out_of_memory(env);
    for (i = 0; texts != NULL && i < size; i++) {
        jbyteArray bytes = (jbyteArray)(*env)->GetObjectArrayElement(env, arrays, i);
        texts[i].data = copy_bytes(env, bytes, &texts[i].length);
        (*env)->DeleteLocalRef(env, bytes);
        if (texts[i].data == NULL) break;
    }
    *count = (size_t)size;
    return texts;
}

static void free_texts(ollm_text *texts, size_t count) {
    size_t i;
    for (i = 0; texts != NULL && i < count; i++) free((char *)texts[i].data);
    free(texts);
}

static jbyteArray to_bytes(JNIEnv *env, const char *bytes, size_t length) {
    jbyteArray array = (*env)->NewByteArray(env, (jsize)length);
    if (array) (*env)->SetByteArrayRegion(env, array, 0, (jsize)length, (const jbyte *)bytes);
    return array;
}

static ollm_model *as_model(jlong handle) { return (ollm_model *)(intptr_t)handle; }
static ollm_plugin *as_plugin(jlong handle) { return (ollm_plugin *)(intptr_t)handle; }
static ollm_session *as_session(jlong handle) { return (ollm_session *)(intptr_t)handle; }
static ollm_branches *as_branches(jlong handle) { return (ollm_branches *)(intptr_t)handle; }

/* Closing twice is fine: the first time made the handle dead. */
static void closed(JNIEnv *env, ollm_status status) {
    if (status != OLLM_INVALID_HANDLE) succeeded(env, status);
}

NATIVE(jstring, version)(JNIEnv *env, jclass self) {
    (void)self;
    return (*env)->NewStringUTF(env, ollm_version());
}

/* A path, or a part of an open file. The path is freed by the caller. */
static ollm_source source_of(JNIEnv *env, jbyteArray path, jint descriptor, jlong offset, jlong length, char **copy) {
    size_t ignored = 0;
    *copy = path ? copy_bytes(env, path, &ignored) : NULL;
    if (path) return ollm_source_file(*copy);
    return ollm_source_descriptor(descriptor, (uint64_t)offset, (size_t)length);
}

NATIVE(jlong, loadModel)(JNIEnv *env, jclass self, jbyteArray path, jint descriptor, jlong offset, jlong length) {
    char *copy;
    ollm_source source = source_of(env, path, descriptor, offset, length, &copy);
    ollm_model *model = NULL;
    (void)self;
    succeeded(env, ollm_model_load(&source, NULL, &model));
    free(copy);
    return (jlong)(intptr_t)model;
}

NATIVE(void, releaseModel)(JNIEnv *env, jclass self, jlong handle) {
    ollm_model *model = as_model(handle);
    (void)self;
    closed(env, ollm_model_release(&model));
}

NATIVE(jbyteArray, modelInfo)(JNIEnv *env, jclass self, jlong handle) {
    jbyteArray info = NULL;
    size_t length = 0;
    char *json;
    (void)self;
    if (!succeeded(env, ollm_model_info(as_model(handle), NULL, 0, &length))) return NULL;
    json = malloc(length + 1);
    if (json == NULL) out_of_memory(env);
    if (json && succeeded(env, ollm_model_info(as_model(handle), json, length + 1, &length))) {
        info = to_bytes(env, json, length);
    }
    free(json);
    return info;
}

NATIVE(jintArray, tokenize)(JNIEnv *env, jclass self, jlong handle, jbyteArray text, jint flags) {
    jintArray array = NULL;
    size_t length = 0, count = 0;
    char *copy = copy_bytes(env, text, &length);
    /* A token is at least a byte, but for the one at the beginning. */
    uint32_t *tokens = copy ? malloc((length + 1) * sizeof *tokens) : NULL;
    (void)self;
    if (copy && !tokens) out_of_memory(env);
    if (tokens &&
        succeeded(env, ollm_tokenize(as_model(handle), copy, length, (uint32_t)flags, tokens, length + 1, &count))) {
        array = (*env)->NewIntArray(env, (jsize)count);
        if (array) (*env)->SetIntArrayRegion(env, array, 0, (jsize)count, (const jint *)tokens);
    }
    free(tokens);
    free(copy);
    return array;
}

NATIVE(jbyteArray, detokenize)(JNIEnv *env, jclass self, jlong handle, jintArray array) {
    jbyteArray bytes = NULL;
    size_t count = 0, length = 0;
    uint32_t *tokens = copy_tokens(env, array, &count);
    char *text = NULL;
    (void)self;
    if (tokens && succeeded(env, ollm_detokenize(as_model(handle), tokens, count, NULL, 0, &length))) {
        text = malloc(length + 1);
        if (text == NULL) out_of_memory(env);
        if (text && succeeded(env, ollm_detokenize(as_model(handle), tokens, count, text, length + 1, &length))) {
            bytes = to_bytes(env, text, length);
        }
    }
    free(text);
    free(tokens);
    return bytes;
}

NATIVE(jbyteArray, chatText)(JNIEnv *env, jclass self, jlong handle, jobjectArray roles, jobjectArray contents) {
    jbyteArray bytes = NULL;
    size_t count = 0, content_count = 0, length = 0, i;
    ollm_text *role = copy_texts(env, roles, &count), *content = copy_texts(env, contents, &content_count);
    ollm_message *messages = calloc(count + 1, sizeof *messages);
    char *text = NULL;
    (void)self;
    if (messages == NULL) out_of_memory(env);
    count = count < content_count ? count : content_count;
    if (role && content && messages && !(*env)->ExceptionCheck(env)) {
        for (i = 0; i < count; i++) {
            ollm_message message = {role[i].data, role[i].length, content[i].data, content[i].length};
            messages[i] = message;
        }
        if (succeeded(env, ollm_chat_text(as_model(handle), messages, count, 1, NULL, 0, &length))) {
            text = malloc(length + 1);
            if (text == NULL) out_of_memory(env);
            if (text &&
                succeeded(env, ollm_chat_text(as_model(handle), messages, count, 1, text, length + 1, &length))) {
                bytes = to_bytes(env, text, length);
            }
        }
    }
    free(text);
    free(messages);
    free_texts(role, count);
    free_texts(content, content_count);
    return bytes;
}

NATIVE(jlong, loadPlugin)(JNIEnv *env, jclass self, jlong model, jbyteArray path, jint descriptor, jlong offset,
                          jlong length) {
    char *copy;
    ollm_source source = source_of(env, path, descriptor, offset, length, &copy);
    ollm_plugin *plugin = NULL;
    (void)self;
    succeeded(env, ollm_plugin_load(as_model(model), &source, &plugin));
    free(copy);
    return (jlong)(intptr_t)plugin;
}

NATIVE(void, releasePlugin)(JNIEnv *env, jclass self, jlong handle) {
    ollm_plugin *plugin = as_plugin(handle);
    (void)self;
    closed(env, ollm_plugin_release(&plugin));
}

NATIVE(jlong, newSession)(JNIEnv *env, jclass self, jlong model, jlong plugin, jint context, jint threads,
                          jlong memory_limit) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    (void)self;
    options.context = (size_t)context;
    options.threads = (size_t)threads;
    options.memory_limit = (size_t)memory_limit;
    succeeded(env, ollm_session_new(as_model(model), as_plugin(plugin), &options, &session));
    return (jlong)(intptr_t)session;
}

NATIVE(void, freeSession)(JNIEnv *env, jclass self, jlong handle) {
    ollm_session *session = as_session(handle);
    (void)self;
    closed(env, ollm_session_free(&session));
}

NATIVE(jlong, fork)(JNIEnv *env, jclass self, jlong handle) {
    ollm_session *forked = NULL;
    (void)self;
    succeeded(env, ollm_session_fork(as_session(handle), &forked));
    return (jlong)(intptr_t)forked;
}

NATIVE(void, feed)(JNIEnv *env, jclass self, jlong handle, jintArray array) {
    size_t count = 0;
    uint32_t *tokens = copy_tokens(env, array, &count);
    (void)self;
    if (tokens) succeeded(env, ollm_session_feed(as_session(handle), tokens, count));
    free(tokens);
}

NATIVE(void, cancel)(JNIEnv *env, jclass self, jlong handle) {
    (void)self;
    succeeded(env, ollm_session_cancel(as_session(handle)));
}

NATIVE(jlong, position)(JNIEnv *env, jclass self, jlong handle) {
    size_t position = 0;
    (void)self;
    succeeded(env, ollm_session_position(as_session(handle), &position));
    return (jlong)position;
}

NATIVE(void, rewind)(JNIEnv *env, jclass self, jlong handle, jlong position) {
    (void)self;
    succeeded(env, ollm_session_rewind(as_session(handle), (size_t)position));
}

NATIVE(void, trim)(JNIEnv *env, jclass self, jlong handle) {
    (void)self;
    succeeded(env, ollm_session_trim(as_session(handle)));
}

NATIVE(void, setSampling)(JNIEnv *env, jclass self, jlong handle, jfloat temperature, jfloat top_p, jlong seed) {
    ollm_sampling sampling = ollm_sampling_init();
    (void)self;
    sampling.temperature = temperature;
    sampling.top_p = top_p;
    sampling.seed = (uint64_t)seed;
    succeeded(env, ollm_session_set_sampling(as_session(handle), &sampling));
}

NATIVE(void, fixLatent)(JNIEnv *env, jclass self, jlong handle, jint latent) {
    ollm_selection selection = ollm_selection_init();
    uint32_t number = (uint32_t)latent;
    (void)self;
    selection.mode = latent < 0 ? OLLM_SELECT_POLICY : OLLM_SELECT_FIXED;
    selection.latents = &number;
    selection.latent_count = 1;
    succeeded(env, ollm_session_set_selection(as_session(handle), &selection));
}

NATIVE(jfloatArray, policy)(JNIEnv *env, jclass self, jlong handle) {
    float policy[1024]; /* More options than this no plugin has. */
    size_t count = 0;
    jfloatArray array = NULL;
    (void)self;
    if (!succeeded(env, ollm_session_policy(as_session(handle), policy, 1024, &count))) return NULL;
    array = (*env)->NewFloatArray(env, (jsize)count);
    if (array) (*env)->SetFloatArrayRegion(env, array, 0, (jsize)count, policy);
    return array;
}

NATIVE(jbyteArray, save)(JNIEnv *env, jclass self, jlong handle) {
    jbyteArray saved = NULL;
    size_t length = 0;
    char *data;
    (void)self;
    if (!succeeded(env, ollm_session_save(as_session(handle), NULL, 0, &length))) return NULL;
    data = length <= INT32_MAX ? malloc(length) : NULL;
    if (data == NULL) out_of_memory(env);
    if (data && succeeded(env, ollm_session_save(as_session(handle), data, length, &length))) {
        saved = to_bytes(env, data, length);
    }
    free(data);
    return saved;
}

NATIVE(void, restore)(JNIEnv *env, jclass self, jlong handle, jbyteArray saved) {
    size_t length = 0;
    char *data = copy_bytes(env, saved, &length);
    (void)self;
    if (data) succeeded(env, ollm_session_restore(as_session(handle), data, length));
    free(data);
}

/* An object of Java, and its method that C calls. */
struct listener {
    JNIEnv *env;
    jobject object;
    jmethodID method;
};

static int32_t on_token(void *user, const ollm_token *token) {
    struct listener *listener = user;
    JNIEnv *env = listener->env;
    jbyteArray text = to_bytes(env, token->text, token->text_length);
    jboolean more = JNI_FALSE;
    if (text) {
        more = (*env)->CallBooleanMethod(env, listener->object, listener->method, text, (jint)token->id,
                                         (jint)token->latent, (jfloat)token->logprob);
        (*env)->DeleteLocalRef(env, text);
    }
    return (*env)->ExceptionCheck(env) || !more;
}

NATIVE(jint, run)(JNIEnv *env, jclass self, jlong handle, jint limit, jobjectArray stops, jobject object) {
    ollm_run_options options = ollm_run_options_init();
    struct listener listener = {env, object, NULL};
    ollm_reason reason = OLLM_REASON_END;
    size_t count = 0;
    ollm_text *texts = copy_texts(env, stops, &count);
    (void)self;
    listener.method = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, object), "onToken", "([BIIF)Z");
    options.limit = (size_t)limit;
    options.stops = texts;
    options.stop_count = count;
    options.each = on_token;
    options.user = &listener;
    if (!(*env)->ExceptionCheck(env)) succeeded(env, ollm_session_run(as_session(handle), &options, &reason));
    free_texts(texts, count);
    return (jint)reason;
}

NATIVE(jlong, newBranches)(JNIEnv *env, jclass self, jlong handle, jint limit, jobjectArray stops) {
    ollm_branch_options options = ollm_branch_options_init();
    ollm_branches *branches = NULL;
    size_t count = 0;
    ollm_text *texts = copy_texts(env, stops, &count);
    (void)self;
    options.limit = (size_t)limit;
    options.stops = texts;
    options.stop_count = count;
    if (!(*env)->ExceptionCheck(env)) succeeded(env, ollm_branches_new(as_session(handle), &options, &branches));
    free_texts(texts, count);
    return (jlong)(intptr_t)branches;
}

NATIVE(void, freeBranches)(JNIEnv *env, jclass self, jlong handle) {
    ollm_branches *branches = as_branches(handle);
    (void)self;
    closed(env, ollm_branches_free(&branches));
}

NATIVE(void, cancelBranches)(JNIEnv *env, jclass self, jlong handle) {
    (void)self;
    succeeded(env, ollm_branches_cancel(as_branches(handle)));
}

static ollm_expansion expansion_of(jint kind, jint count, jfloat temperature) {
    ollm_expansion expansion = ollm_expansion_init();
    expansion.kind = (ollm_expand)kind;
    expansion.count = (size_t)count;
    expansion.temperature = temperature;
    return expansion;
}

NATIVE(void, expandBranch)(JNIEnv *env, jclass self, jlong handle, jint branch, jint kind, jint count,
                           jfloat temperature) {
    ollm_expansion expansion = expansion_of(kind, count, temperature);
    (void)self;
    succeeded(env, ollm_branches_expand(as_branches(handle), (size_t)branch, &expansion));
}

NATIVE(jint, stepBranches)(JNIEnv *env, jclass self, jlong handle) {
    size_t advanced = 0;
    (void)self;
    succeeded(env, ollm_branches_step(as_branches(handle), &advanced));
    return (jint)advanced;
}

NATIVE(void, pruneBranch)(JNIEnv *env, jclass self, jlong handle, jint branch) {
    (void)self;
    succeeded(env, ollm_branches_prune(as_branches(handle), (size_t)branch));
}

NATIVE(jint, countBranches)(JNIEnv *env, jclass self, jlong handle) {
    size_t count = 0;
    (void)self;
    succeeded(env, ollm_branches_count(as_branches(handle), &count));
    return (jint)count;
}

static jintArray to_ints(JNIEnv *env, const jint *numbers, size_t count) {
    jintArray array = (*env)->NewIntArray(env, (jsize)count);
    if (array && count > 0) (*env)->SetIntArrayRegion(env, array, 0, (jsize)count, numbers);
    return array;
}

/* Makes `made` a new object of a class, whose constructor takes what follows; NULL and an
 * exception if that fails. */
#define MAKE(env, type, signature, ...)                                                            \
    do {                                                                                           \
        jclass class_ = (*(env))->FindClass(env, type);                                            \
        jmethodID make_ = class_ ? (*(env))->GetMethodID(env, class_, "<init>", signature) : NULL; \
        made = make_ ? (*(env))->NewObject(env, class_, make_, __VA_ARGS__) : NULL;                \
        if (class_) (*(env))->DeleteLocalRef(env, class_);                                         \
    } while (0)

NATIVE(jobject, getBranch)(JNIEnv *env, jclass self, jlong handle, jint index) {
    ollm_branch branch = ollm_branch_init();
    jobject made = NULL;
    jbyteArray text;
    jintArray tokens, latents, numbers;
    jdoubleArray scores;
    (void)self;
    if (!succeeded(env, ollm_branches_get(as_branches(handle), (size_t)index, &branch))) return NULL;
    text = to_bytes(env, branch.text, branch.text_length);
    tokens = text ? to_ints(env, (const jint *)branch.tokens, branch.token_count) : NULL;
    latents = tokens ? to_ints(env, (const jint *)branch.latents, branch.token_count) : NULL;
    {
        jint four[] = {branch.parent, (jint)branch.fork, branch.merged_into, (jint)branch.state};
        numbers = latents ? to_ints(env, four, 4) : NULL;
    }
    scores = numbers ? (*env)->NewDoubleArray(env, 4) : NULL;
    if (scores) {
        jdouble four[] = {branch.policy, branch.logprob, branch.count, (jdouble)branch.value};
        (*env)->SetDoubleArrayRegion(env, scores, 0, 4, four);
        MAKE(env, "org/ollm/Branch", "([B[I[I[I[D)V", text, tokens, latents, numbers, scores);
    }
    return made;
}

static jobject to_found(JNIEnv *env, const ollm_found *found) {
    jbyteArray answer = found->answer ? to_bytes(env, found->answer, found->answer_length) : NULL;
    jobject made = NULL;
    if (!(*env)->ExceptionCheck(env)) {
        MAKE(env, "org/ollm/Branches$Found", "(I[BD)V", (jint)found->branch, answer, (jdouble)found->confidence);
    }
    return made;
}

static int32_t on_step(void *user, const ollm_branch *const *branches, size_t count) {
    struct listener *listener = user;
    JNIEnv *env = listener->env;
    jclass bytes = (*env)->FindClass(env, "[B");
    jobjectArray texts = bytes ? (*env)->NewObjectArray(env, (jsize)count, bytes, NULL) : NULL;
    jboolean more = JNI_FALSE;
    size_t i;
    for (i = 0; texts && i < count; i++) {
        jbyteArray text = to_bytes(env, branches[i]->text, branches[i]->text_length);
        if (text == NULL) return 1;
        (*env)->SetObjectArrayElement(env, texts, (jsize)i, text);
        (*env)->DeleteLocalRef(env, text);
    }
    if (texts) {
        more = (*env)->CallBooleanMethod(env, listener->object, listener->method, texts);
        (*env)->DeleteLocalRef(env, texts);
    }
    (*env)->DeleteLocalRef(env, bytes);
    return (*env)->ExceptionCheck(env) || !more;
}

NATIVE(jobject, searchBranches)(JNIEnv *env, jclass self, jlong handle, jintArray options, jfloat temperature,
                                jbyteArray rule, jobject watch) {
    ollm_search_options search = ollm_search_options_init();
    ollm_tally tally = ollm_tally_init();
    ollm_found found = ollm_found_init();
    struct listener listener = {env, watch, NULL};
    ollm_expansion expansion;
    jobject made = NULL;
    jint numbers[6];
    char *text = copy_bytes(env, rule, &tally.rule_length);
    (void)self;
    if (text == NULL) return NULL;
    (*env)->GetIntArrayRegion(env, options, 0, 6, numbers);
    expansion = expansion_of(numbers[1], numbers[2], temperature);
    tally.rule = text;
    tally.weight = (ollm_weight)numbers[4];
    tally.score = (ollm_score)numbers[5];
    search.strategy = (ollm_strategy)numbers[0];
    search.expansion = &expansion;
    search.tally = &tally;
    search.width = (size_t)numbers[3];
    search.user = &listener;
    if (watch) {
        listener.method = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, watch), "onStep", "([[B)Z");
        search.each = on_step;
    }
    if (!(*env)->ExceptionCheck(env)) {
        ollm_status status = ollm_branches_run(as_branches(handle), &search, &found);
        /* What the watcher threw comes out, although the search gives what there is. */
        if (!(*env)->ExceptionCheck(env) && succeeded(env, status)) made = to_found(env, &found);
    }
    free(text);
    return made;
}

NATIVE(jobject, voteBranches)(JNIEnv *env, jclass self, jlong handle, jbyteArray rule, jint weight) {
    ollm_tally tally = ollm_tally_init();
    ollm_found found = ollm_found_init();
    jobject made = NULL;
    char *text = copy_bytes(env, rule, &tally.rule_length);
    (void)self;
    tally.rule = text;
    tally.weight = (ollm_weight)weight;
    if (text && succeeded(env, ollm_branches_vote(as_branches(handle), &tally, &found))) made = to_found(env, &found);
    free(text);
    return made;
}

NATIVE(void, adopt)(JNIEnv *env, jclass self, jlong session, jlong branches, jint branch) {
    (void)self;
    succeeded(env, ollm_branches_adopt(as_branches(branches), (size_t)branch, as_session(session)));
}

static jobject to_suggestion(JNIEnv *env, const ollm_suggestion *one) {
    jbyteArray text = to_bytes(env, one->text, one->text_length);
    jintArray tokens = text ? to_ints(env, (const jint *)one->tokens, one->token_count) : NULL;
    jobject made = NULL;
    if (tokens) {
        MAKE(env, "org/ollm/Suggestion", "([B[IDI)V", text, tokens, (jdouble)one->probability, (jint)one->latent);
        (*env)->DeleteLocalRef(env, tokens);
    }
    if (text) (*env)->DeleteLocalRef(env, text);
    return made;
}

NATIVE(jobjectArray, suggest)(JNIEnv *env, jclass self, jlong handle, jint count, jint tokens, jint until) {
    ollm_suggest_options options = ollm_suggest_options_init();
    ollm_suggestions *suggestions = NULL;
    jclass type = (*env)->FindClass(env, "org/ollm/Suggestion");
    jobjectArray all = NULL;
    size_t found = 0, i;
    (void)self;
    options.count = (size_t)count;
    options.tokens = (size_t)tokens;
    options.until = (ollm_until)until;
    if (type && succeeded(env, ollm_session_suggest(as_session(handle), &options, &suggestions)) &&
        succeeded(env, ollm_suggestions_count(suggestions, &found))) {
        all = (*env)->NewObjectArray(env, (jsize)found, type, NULL);
    }
    for (i = 0; all && i < found; i++) {
        ollm_suggestion one = ollm_suggestion_init();
        jobject made;
        if (!succeeded(env, ollm_suggestions_get(suggestions, i, &one))) break;
        made = to_suggestion(env, &one);
        if (made == NULL) break;
        (*env)->SetObjectArrayElement(env, all, (jsize)i, made);
        (*env)->DeleteLocalRef(env, made);
    }
    ollm_suggestions_free(&suggestions);
    return all;
}
