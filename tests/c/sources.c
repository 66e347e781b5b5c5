/* Where models come from: a file, a part of an open file, memory that is copied or borrowed. What loading tells and obeys:
   progress, cancellation, limits, estimates. usage: sources MODEL PLUGIN */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t expected[8];

static void works(ollm_model *model) {
    uint32_t tokens[8];
    ollm_session *session = new_session(model, NULL, 64);
    steps(session, tokens, COUNT(tokens));
    CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
    OK(ollm_session_free(&session));
}

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *bytes;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    *length = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*length + 64);
    CHECK(bytes != NULL && fread(bytes, 1, *length, file) == *length);
    fclose(file);
    return bytes;
}

/* An archive with a model in it, at `offset`, and more behind: an Android package, in short. */
static int archive(const char *bytes, size_t length, size_t offset) {
    char name[] = "/tmp/ollm-archive-XXXXXX";
    static const char filler[8192];
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    CHECK(write(fd, filler, offset) == (ssize_t)offset);
    CHECK(write(fd, bytes, length) == (ssize_t)length);
    CHECK(write(fd, filler, 100) == 100);
    return fd;
}

static void a_part_of_an_open_file(const char *bytes, size_t length) {
    static const size_t offsets[] = {0, 4096, 4100, 33};
    size_t i;
    for (i = 0; i < COUNT(offsets); i++) {
        int fd = archive(bytes, length, offsets[i]);
        ollm_source source = ollm_source_descriptor(fd, offsets[i], length);
        ollm_model *model = NULL;
        OK(ollm_model_load(&source, NULL, &model));
        close(fd);
        works(model);
        OK(ollm_model_release(&model));
        fd = archive(bytes, length, offsets[i]);
        source = ollm_source_descriptor(fd, offsets[i], length + 101);
        GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &model));
        source = ollm_source_descriptor(fd, UINT64_MAX, length);
        GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &model));
        source = ollm_source_descriptor(fd, offsets[i], length - 1);
        GIVES(OLLM_BAD_FILE, ollm_model_load(&source, NULL, &model));
        close(fd);
    }
}

static void count_release(void *user, const void *data, size_t length) {
    CHECK(data != NULL && length > 0);
    ++*(int *)user;
}

static void memory_is_copied_or_borrowed(char *bytes, size_t length) {
    char *copy = malloc(length + 64);
    size_t shift;
    for (shift = 0; shift < 8; shift++) {
        ollm_model *model = NULL;
        ollm_session *session = NULL;
        uint32_t tokens[8];
        int released = 0;
        ollm_source source;
        memcpy(copy + shift, bytes, length);
        source = ollm_source_memory(copy + shift, length, NULL, NULL);
        OK(ollm_model_load(&source, NULL, &model));
        memset(copy, 0xEE, length + 64);
        works(model);
        OK(ollm_model_release(&model));
        /* Borrowed: released once, when the last user is gone. */
        memcpy(copy + shift, bytes, length);
        source = ollm_source_memory(copy + shift, length, count_release, &released);
        OK(ollm_model_load(&source, NULL, &model));
        CHECK(released == (shift % 4 != 0)); /* What is not aligned is copied. */
        session = new_session(model, NULL, 64);
        OK(ollm_model_release(&model));
        CHECK(released == (shift % 4 != 0));
        steps(session, tokens, COUNT(tokens));
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        OK(ollm_session_free(&session));
        CHECK(released == 1);
        /* Not taken over if the load fails. */
        released = 0;
        copy[shift] = 'X';
        GIVES(OLLM_BAD_FILE, ollm_model_load(&source, NULL, &model));
        CHECK(released == 0);
    }
    free(copy);
}

struct progress {
    int calls;
    int cancel_at;
    float last;
};

static int32_t watch(void *user, float progress) {
    struct progress *seen = user;
    CHECK(progress >= 0 && progress <= 1);
    seen->calls++;
    seen->last = progress;
    return seen->calls == seen->cancel_at;
}

static void loading_is_watched_and_cancelled(const char *path) {
    ollm_source source = ollm_source_file(path);
    ollm_load_options options = ollm_load_options_init();
    struct progress seen = {0, 0, 0};
    ollm_model *model = NULL;
    int calls, i;
    options.progress = watch;
    options.user = &seen;
    options.threads = 1;
    OK(ollm_model_load(&source, &options, &model));
    calls = seen.calls;
    CHECK(calls > 0 && seen.last == 1);
    OK(ollm_model_release(&model));
    for (i = 1; i <= calls; i++) {
        memset(&seen, 0, sizeof seen);
        seen.cancel_at = i;
        GIVES(OLLM_CANCELLED, ollm_model_load(&source, &options, &model));
        CHECK(seen.calls == i && model == NULL);
    }
}

/* A copy is told before, counts under the limit, and is not begun if it does not fit. `length` bytes are copied. */
static void a_copy_counts(const ollm_source *source, size_t weights, size_t length) {
    ollm_load_options load = ollm_load_options_init();
    ollm_memory needed = ollm_memory_init();
    ollm_model *model = NULL;
    OK(ollm_memory_needed(source, NULL, NULL, &needed));
    CHECK(needed.weights == weights + length);
    load.memory_limit = needed.weights;
    OK(ollm_model_load(source, &load, &model));
    works(model);
    OK(ollm_model_release(&model));
    load.memory_limit = needed.weights - 1;
    GIVES(OLLM_MEMORY_LIMIT, ollm_model_load(source, &load, &model));
    if (length > 0) {
        load.memory_limit = length - 1;
        GIVES(OLLM_MEMORY_LIMIT, ollm_model_load(source, &load, &model));
        CHECK(strstr(ollm_last_error(), "copy") != NULL);
    }
}

static void copies_count(const char *path, const char *bytes, size_t length) {
    ollm_source source = ollm_source_file(path);
    ollm_memory bare = ollm_memory_init();
    ollm_model *model = NULL;
    char *shifted = malloc(length + 64);
    int released = 0, fd, copy;
    OK(ollm_memory_needed(&source, NULL, NULL, &bare));
    for (copy = 0; copy < 2; copy++) {
        source = ollm_source_file(path);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, copy ? length : 0);
        fd = archive(bytes, length, 4096);
        source = ollm_source_descriptor(fd, 4096, length);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, copy ? length : 0);
        close(fd);
        fd = archive(bytes, length, 33);
        source = ollm_source_descriptor(fd, 33, length);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, length);
        close(fd);
        memcpy(shifted, bytes, length);
        source = ollm_source_memory(shifted, length, NULL, NULL);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, length);
        source = ollm_source_memory(shifted, length, count_release, &released);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, copy ? length : 0);
        memcpy(shifted + 1, bytes, length);
        source = ollm_source_memory(shifted + 1, length, count_release, &released);
        source.copy = copy;
        a_copy_counts(&source, bare.weights, length);
    }
    CHECK(released == 4);
    free(shifted);
    /* A copy does not mind when the file is cut under it. */
    fd = archive(bytes, length, 0);
    source = ollm_source_descriptor(fd, 0, length);
    source.copy = 1;
    OK(ollm_model_load(&source, NULL, &model));
    CHECK(ftruncate(fd, 0) == 0);
    close(fd);
    works(model);
    OK(ollm_model_release(&model));
    source.copy = 2;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &model));
    source.copy = 0;
    source.reserved = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_model_load(&source, NULL, &model));
}

/* What is no file is a status at once: a pipe without a writer, a socket, a folder, a device. */
static void what_is_no_file_is_refused(const char *path) {
    char folder[] = "/tmp/ollm-kinds-XXXXXX", pipe_path[64];
    const char *paths[4];
    ollm_model *model = load_model(path), *none = NULL;
    ollm_session *session = new_session(model, NULL, 64);
    ollm_plugin *plugin = NULL;
    ollm_memory needed = ollm_memory_init();
    size_t i;
    int ends[2];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(pipe_path, sizeof pipe_path, "%s/pipe", folder);
    CHECK(mkfifo(pipe_path, 0600) == 0);
    paths[0] = pipe_path;
    paths[1] = folder;
    paths[2] = "/dev/zero";
    paths[3] = "/dev/null";
    for (i = 0; i < COUNT(paths); i++) {
        ollm_source source = ollm_source_file(paths[i]);
        GIVES(OLLM_IO, ollm_model_load(&source, NULL, &none));
        GIVES(OLLM_IO, ollm_plugin_load(model, &source, &plugin));
        GIVES(OLLM_IO, ollm_memory_needed(&source, NULL, NULL, &needed));
        GIVES(OLLM_IO, ollm_session_restore_file(session, paths[i]));
        GIVES(OLLM_IO, ollm_session_save_file(session, paths[i]));
    }
    CHECK(pipe(ends) == 0);
    for (i = 0; i < 2; i++) {
        ollm_source source = ollm_source_descriptor(ends[i], 0, 0);
        GIVES(OLLM_IO, ollm_model_load(&source, NULL, &none));
        close(ends[i]);
    }
    CHECK(unlink(pipe_path) == 0 && rmdir(folder) == 0);
    OK(ollm_session_free(&session));
    OK(ollm_model_release(&model));
}

static void memory_is_told_before_and_kept_to(const char *path, const char *plugin_path) {
    ollm_source source = ollm_source_file(path), plugin_source = ollm_source_file(plugin_path);
    ollm_session_options options = ollm_session_options_init();
    ollm_load_options load = ollm_load_options_init();
    ollm_memory bare = ollm_memory_init(), needed = ollm_memory_init(), longer = ollm_memory_init();
    ollm_model *model = NULL;
    ollm_plugin *plugin;
    ollm_session *session = NULL;
    ollm_token token = ollm_token_init();
    ollm_option_set *set = NULL;
    size_t used = 0, trimmed = 0, i;
    options.context = 64;
    OK(ollm_memory_needed(&source, NULL, &options, &bare));
    OK(ollm_memory_needed(&source, &plugin_source, &options, &needed));
    CHECK(bare.plugin == 0 && needed.plugin > 0 && needed.kv == bare.kv && needed.scratch > bare.scratch);
    CHECK(needed.total == needed.weights + needed.plugin + needed.kv + needed.scratch);
    options.context = 640;
    OK(ollm_memory_needed(&source, &plugin_source, &options, &longer));
    CHECK(longer.kv == 10 * needed.kv && longer.weights == needed.weights);
    GIVES(OLLM_BAD_FILE, ollm_memory_needed(&plugin_source, NULL, NULL, &bare));
    /* The weights fit their estimate exactly. */
    load.memory_limit = needed.weights;
    OK(ollm_model_load(&source, &load, &model));
    OK(ollm_model_release(&model));
    load.memory_limit = needed.weights - 1;
    GIVES(OLLM_MEMORY_LIMIT, ollm_model_load(&source, &load, &model));
    /* A session that may have what was said fills its context; with less it stops in time, and stays whole. */
    model = load_model(path);
    plugin = load_plugin(model, plugin_path);
    options.context = 64;
    options.memory_limit = needed.kv + needed.scratch;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    for (i = COUNT(PROMPT); i < 64; i++) {
        OK(ollm_option_set_new(session, 4, &set));
        OK(ollm_option_set_free(&set));
        OK(ollm_session_step(session, &token));
        OK(ollm_session_memory(session, &used));
        CHECK(used <= options.memory_limit);
    }
    OK(ollm_session_trim(session));
    OK(ollm_session_memory(session, &trimmed));
    CHECK(trimmed < used);
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    OK(ollm_session_step(session, &token));
    OK(ollm_session_free(&session));
    options.memory_limit = 1;
    OK(ollm_session_new(model, plugin, &options, &session));
    GIVES(OLLM_MEMORY_LIMIT, ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    GIVES(OLLM_EMPTY, ollm_session_step(session, &token));
    OK(ollm_session_free(&session));
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
}

int main(int argc, char **argv) {
    size_t length = 0;
    char *bytes;
    ollm_model *model;
    ollm_session *session;
    CHECK(argc == 3);
    model = load_model(argv[1]);
    session = new_session(model, NULL, 64);
    steps(session, expected, COUNT(expected));
    OK(ollm_session_free(&session));
    OK(ollm_model_release(&model));
    bytes = read_file(argv[1], &length);
    a_part_of_an_open_file(bytes, length);
    memory_is_copied_or_borrowed(bytes, length);
    loading_is_watched_and_cancelled(argv[1]);
    memory_is_told_before_and_kept_to(argv[1], argv[2]);
    copies_count(argv[1], bytes, length);
    what_is_no_file_is_refused(argv[1]);
    free(bytes);
    return 0;
}
