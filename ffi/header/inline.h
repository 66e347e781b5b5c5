
// ---------------------------------------------------------------------------------------------------------------------
// Initializers: structs with their size set and everything else 0, which is the default. Since
// 0.1.0.
// ---------------------------------------------------------------------------------------------------------------------

#define OLLM_INITIALIZER(type)            \
    static inline type type##_init(void) { \
        type value;                        \
        memset(&value, 0, sizeof value);   \
        value.struct_size = sizeof value;  \
        return value;                      \
    }

/// `ollm_load_options options = ollm_load_options_init();`, and so on.
OLLM_INITIALIZER(ollm_load_options)
OLLM_INITIALIZER(ollm_chat_input)
OLLM_INITIALIZER(ollm_chat_event)
OLLM_INITIALIZER(ollm_chat_options)
OLLM_INITIALIZER(ollm_answer_options)
OLLM_INITIALIZER(ollm_answer)
OLLM_INITIALIZER(ollm_thread_pool_options)
OLLM_INITIALIZER(ollm_session_options)
OLLM_INITIALIZER(ollm_sampling)
OLLM_INITIALIZER(ollm_selection)
OLLM_INITIALIZER(ollm_run_options)
OLLM_INITIALIZER(ollm_memory)
OLLM_INITIALIZER(ollm_token)
OLLM_INITIALIZER(ollm_source)
OLLM_INITIALIZER(ollm_branch_options)
OLLM_INITIALIZER(ollm_expansion)
OLLM_INITIALIZER(ollm_branch)
OLLM_INITIALIZER(ollm_tally)
OLLM_INITIALIZER(ollm_search_options)
OLLM_INITIALIZER(ollm_found)
OLLM_INITIALIZER(ollm_constraint_options)
OLLM_INITIALIZER(ollm_suggest_options)
OLLM_INITIALIZER(ollm_suggestion)
OLLM_INITIALIZER(ollm_statistics)

#undef OLLM_INITIALIZER

/// The file at `path`, which ends in a zero.
static inline ollm_source ollm_source_file(const char *path) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_FILE;
    source.path = path;
    return source;
}

/// `length` bytes from `offset` on of the open file `descriptor`, such as an asset of an Android
/// package; a length of 0 is all to the end. The descriptor may be closed when the call that takes
/// the source returns.
static inline ollm_source ollm_source_descriptor(int32_t descriptor, uint64_t offset, size_t length) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_DESCRIPTOR;
    source.descriptor = descriptor;
    source.offset = offset;
    source.length = length;
    return source;
}

/// `length` bytes at `data`. With `release` they are used in place, must stay as they are, and
/// `release(user, data, length)` is called when they are not needed any more; with NULL they are
/// copied.
static inline ollm_source ollm_source_memory(const void *data, size_t length, ollm_release_fn release, void *user) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_MEMORY;
    source.data = data;
    source.length = length;
    source.release = release;
    source.user = user;
    return source;
}
