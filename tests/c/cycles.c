/* Loading, generating and closing over and over takes no more memory in the end than at first. usage: cycles MODEL PLUGIN N */
#include "check.h"

#include <unistd.h>

/* Resident bytes (Linux). */
static long resident(void) {
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &size, &pages) == 2);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void cycle(const char *model_path, const char *plugin_path) {
    ollm_model *model = load_model(model_path);
    ollm_plugin *plugin = load_plugin(model, plugin_path);
    ollm_session *session = new_session(model, plugin, 64), *fork = NULL;
    ollm_option_set *options = NULL;
    uint32_t tokens[2];
    OK(ollm_option_set_new(session, 2, &options));
    OK(ollm_session_fork(session, &fork));
    steps(fork, tokens, COUNT(tokens));
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_rewind(session, 1000));
    OK(ollm_option_set_free(&options));
    OK(ollm_session_free(&fork));
    OK(ollm_session_free(&session));
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
}

int main(int argc, char **argv) {
    int i, cycles;
    long before;
    CHECK(argc == 4);
    cycles = atoi(argv[3]);
    for (i = 0; i < cycles / 4; i++) cycle(argv[1], argv[2]);
    before = resident();
    for (i = 0; i < cycles; i++) cycle(argv[1], argv[2]);
    printf("%ld bytes, then %ld\n", before, resident());
    CHECK(resident() < before + (1 << 20));
    return 0;
}
