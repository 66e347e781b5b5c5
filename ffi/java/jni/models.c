/* The native methods of the library, of models, plugins, adapters, grammars, tokens and text. */
#include "callbacks.h"
#include "structs.h"

NATIVE(jstring, version)(JNI) {
    jstring version;
    ENTER;
    version = text_out(f, ollm_version(), strlen(ollm_version()));
    LEAVE;
    return version;
}

NATIVE(jint, abiVersion)(JNI) {
    (void)env;
    (void)self;
    return (jint)ollm_abi_version();
}

NATIVE(void, setLog)(JNI, jboolean on) {
    ENTER;
    (void)CALL(f, ollm_set_log(on ? on_log : NULL, NULL));
    LEAVE;
}

NATIVE(jlong, loadModel)(JNI, jobject from, jobject options) {
    ollm_model *model = NULL;
    const ollm_load_options *load;
    ollm_source *source;
    ENTER;
    load = load_options_in(f, options);
    source = kept_source_in(f, from);
    if (!CALL(f, ollm_model_load(source, load, &model))) {
        /* A callback may throw though the model was loaded. */
        if (model) ollm_model_release(&model);
        else drop_source(f, source);
    }
    LEAVE;
    return NUMBER(model);
}

NATIVE(jlong, loadPlugin)(JNI, jlong model, jobject from) {
    ollm_plugin *plugin = NULL;
    ollm_source *source;
    ENTER;
    source = kept_source_in(f, from);
    if (!CALL(f, ollm_plugin_load(HANDLE(model, model), source, &plugin))) drop_source(f, source);
    LEAVE;
    return NUMBER(plugin);
}

NATIVE(jlong, loadAdapter)(JNI, jlong model, jobject from) {
    ollm_adapter *adapter = NULL;
    ollm_source *source;
    ENTER;
    source = kept_source_in(f, from);
    if (!CALL(f, ollm_adapter_load(HANDLE(model, model), source, &adapter))) drop_source(f, source);
    LEAVE;
    return NUMBER(adapter);
}

NATIVE(jlong, bundledPlugin)(JNI, jlong model) {
    ollm_plugin *plugin = NULL;
    ENTER;
    (void)CALL(f, ollm_plugin_bundled(HANDLE(model, model), &plugin));
    LEAVE;
    return NUMBER(plugin);
}

NATIVE(jlong, newGrammar)(JNI, jlong model, jint kind, jstring text) {
    ollm_grammar *grammar = NULL;
    size_t length = 0;
    char *bytes;
    ENTER;
    bytes = text_in(f, text, &length);
    (void)CALL(f, ollm_grammar_new(HANDLE(model, model), kind, bytes, length, &grammar));
    LEAVE;
    return NUMBER(grammar);
}

PLAIN(retainModel, model, ollm_model_retain)
PLAIN(retainPlugin, plugin, ollm_plugin_retain)
FREES(releaseModel, model, ollm_model_release)
FREES(releasePlugin, plugin, ollm_plugin_release)
NATIVE(jlong, newThreadPool)(JNI, jobject from) {
    const ollm_thread_pool_options *options;
    ollm_thread_pool *pool = NULL;
    ENTER;
    options = thread_pool_options_in(f, from);
    (void)CALL(f, ollm_thread_pool_new(options, &pool));
    LEAVE;
    return NUMBER(pool);
}

FREES(releaseThreadPool, thread_pool, ollm_thread_pool_release)
FREES(releaseAdapter, adapter, ollm_adapter_release)
FREES(freeGrammar, grammar, ollm_grammar_free)
COUNTS(optionCount, plugin, ollm_plugin_option_count)

NATIVE(jstring, modelInfo)(JNI, jlong model) {
    ENTER;
    RETURN_TEXT(ollm_model_info(HANDLE(model, model), buffer, capacity, &length));
}

NATIVE(jstring, pluginInfo)(JNI, jlong plugin) {
    ENTER;
    RETURN_TEXT(ollm_plugin_info(HANDLE(plugin, plugin), buffer, capacity, &length));
}

NATIVE(jstring, modelMetadata)(JNI, jlong model, jstring key) {
    char *name;
    size_t size = 0;
    ENTER;
    name = text_in(f, key, &size);
    RETURN_TEXT(ollm_model_metadata(HANDLE(model, model), name, size, buffer, capacity, &length));
}

NATIVE(jintArray, tokenize)(JNI, jlong model, jstring text, jint flags) {
    char *bytes;
    size_t size = 0;
    ENTER;
    bytes = text_in(f, text, &size);
    id_in(f, flags, "flags");
    RETURN_INTS(ollm_tokenize(HANDLE(model, model), bytes, size, (uint32_t)flags, buffer, capacity, &length));
}

NATIVE(jstring, detokenize)(JNI, jlong model, jintArray tokens) {
    uint32_t *ids;
    size_t count = 0;
    ENTER;
    ids = ids_in(f, tokens, &count);
    RETURN_TEXT(ollm_detokenize(HANDLE(model, model), ids, count, buffer, capacity, &length));
}

NATIVE(jbyteArray, tokenBytes)(JNI, jlong model, jint token) {
    uint32_t id;
    ENTER;
    id = id_in(f, token, "token");
    RETURN_BYTES(ollm_token_bytes(HANDLE(model, model), id, buffer, capacity, &length));
}

NATIVE(jboolean, isEnd)(JNI, jlong model, jint token) {
    uint32_t id;
    ENTER;
    id = id_in(f, token, "token");
    RETURN_VALUE(jboolean, int32_t, ollm_is_end(HANDLE(model, model), id, &value));
}

NATIVE(jint, specialToken)(JNI, jlong model, jint special) {
    ENTER;
    RETURN_VALUE(jint, uint32_t, ollm_special_token(HANDLE(model, model), special, &value));
}

NATIVE(jstring, chatText)(JNI, jlong model, jobject roles, jobject contents, jboolean answer) {
    const ollm_message *messages;
    size_t count = 0;
    ENTER;
    messages = messages_in(f, roles, contents, &count);
    RETURN_TEXT(ollm_chat_text(HANDLE(model, model), messages, count, answer, buffer, capacity, &length));
}

NATIVE(jobject, memoryNeeded)(JNI, jobject model, jobject plugin, jobject options) {
    ollm_memory needed = ollm_memory_init();
    const ollm_source *model_source, *plugin_source;
    const ollm_session_options *session;
    jobject made = NULL;
    ENTER;
    model_source = source_in(f, model);
    plugin_source = plugin ? source_in(f, plugin) : NULL;
    session = session_options_in(f, options);
    if (CALL(f, ollm_memory_needed(model_source, plugin_source, session, &needed))) made = memory_out(f, &needed);
    LEAVE;
    return made;
}
