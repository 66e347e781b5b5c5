/* What the host of the library may do with its process: change floating-point modes, handle signals, fork, give little
   stack, load the library twice. usage: host MODEL PLUGIN LIBRARY COPY */
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __x86_64__
#include <xmmintrin.h>
#endif

#define STEPS 16

static ollm_model *model;
static ollm_plugin *plugin;

/* Tokens that are drawn: after a prompt, with two threads. */
static void draw(uint64_t seed, uint32_t *tokens) {
    ollm_sampling sampling = ollm_sampling_init();
    ollm_session *session = new_session(model, plugin, 64);
    sampling.temperature = 1;
    sampling.top_p = 0.95f;
    sampling.seed = seed;
    OK(ollm_session_set_sampling(session, &sampling));
    steps(session, tokens, STEPS);
    OK(ollm_session_free(&session));
}

/* ---- Floating-point modes ---- */

static void flush_denormals(void) {
#if defined __x86_64__
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined __aarch64__
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    mode |= (uint64_t)1 << 24;
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#endif
}

static uint64_t modes(void) {
    uint64_t mode = 0;
#if defined __x86_64__
    mode = _mm_getcsr();
#elif defined __aarch64__
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
#endif
    return mode;
}

/* A worker on a thread whose modes are odd from its start. */
static void *odd_worker(void *user) {
    ollm_status status;
    fesetround(FE_DOWNWARD);
    flush_denormals();
    status = ollm_worker_run(user);
    /* It is dead already where the thread came too late. */
    CHECK(status == OLLM_OK || status == OLLM_INVALID_HANDLE);
    CHECK(fegetround() == FE_DOWNWARD);
    return NULL;
}

static pthread_t odd_threads[8];
static size_t odd_count;

static int32_t lend_odd(void *user, ollm_worker *worker) {
    (void)user;
    return pthread_create(&odd_threads[odd_count++], NULL, odd_worker, worker);
}

static void the_modes_of_the_host_do_not_matter_and_come_back(const char *path, const char *plugin_path) {
    static const int rounding[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    uint32_t expected[STEPS], tokens[STEPS], greedy[STEPS];
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    ollm_session *plain = new_session(model, plugin, 64);
    size_t i;
    steps(plain, greedy, STEPS);
    OK(ollm_session_free(&plain));
    draw(5, expected);
    for (i = 0; i < COUNT(rounding); i++) {
        uint64_t before;
        CHECK(fesetround(rounding[i]) == 0);
        flush_denormals();
        before = modes();
        /* Everything under these modes: the load too. */
        OK(ollm_plugin_release(&plugin));
        OK(ollm_model_release(&model));
        model = load_model(path);
        plugin = load_plugin(model, plugin_path);
        draw(5, tokens);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        GIVES(OLLM_INVALID_ARGUMENT, ollm_session_feed(NULL, NULL, 0));
        CHECK(modes() == before && fegetround() == rounding[i]);
        CHECK(fesetround(FE_TONEAREST) == 0);
    }
#if defined __x86_64__
    _mm_setcsr(0x1f80);
#endif
    options.context = 64;
    options.threads = 4;
    options.start = lend_odd;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    steps(session, tokens, STEPS);
    CHECK(memcmp(tokens, greedy, sizeof tokens) == 0);
    OK(ollm_session_free(&session));
    for (i = 0; i < odd_count; i++) CHECK(pthread_join(odd_threads[i], NULL) == 0);
}

/* ---- Signals ---- */

/* Whether `signal` is blocked in a mask of /proc. */
static int blocks(const char *task, int signal) {
    char path[300], line[256];
    unsigned long long mask = 0;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    file = fopen(path, "r");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "SigBlk: %llx", &mask) == 1) break;
    }
    fclose(file);
    return (mask >> (signal - 1) & 1) != 0;
}

static void threads_of_the_library_block_signals(void) {
    static const int blocked[] = {SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGHUP, SIGPIPE};
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    char self[32];
    struct dirent *entry;
    size_t i, threads = 0, waits = 0;
    sigset_t mask;
    DIR *tasks;
    options.threads = 4;
    options.context = 64;
    OK(ollm_session_new(model, plugin, &options, &session));
    tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    snprintf(self, sizeof self, "%d", (int)getpid());
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, self) == 0) continue;
        threads++;
        /* A thread that has just been made blocks all until it runs. */
        while (blocks(entry->d_name, SIGSEGV) == 1 && waits++ < 10000) usleep(1000);
        for (i = 0; i < COUNT(blocked); i++) CHECK(blocks(entry->d_name, blocked[i]) == 1);
        for (i = 0; i < COUNT(open); i++) CHECK(blocks(entry->d_name, open[i]) == 0);
    }
    closedir(tasks);
    CHECK(threads == 3);
    /* The caller's own mask is as before. */
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && !sigismember(&mask, SIGINT) && !sigismember(&mask, SIGUSR1));
    OK(ollm_session_free(&session));
}

/* ---- fork(2) ---- */

static void a_child_computes_alone_and_frees(void) {
    ollm_session *session = new_session(model, plugin, 64), *other = NULL;
    ollm_option_set *set = NULL;
    uint32_t expected[STEPS], tokens[STEPS];
    ollm_session *own = new_session(model, plugin, 64);
    int status = 0;
    pid_t child;
    steps(own, expected, STEPS);
    OK(ollm_session_free(&own));
    OK(ollm_option_set_new(session, 3, &set));
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        OK(ollm_session_fork(session, &other));
        steps(session, tokens, STEPS);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        steps(other, tokens, STEPS);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        OK(ollm_session_free(&session));
        OK(ollm_session_free(&other));
        OK(ollm_option_set_free(&set));
        /* A new session has threads of its own. */
        session = new_session(model, plugin, 64);
        steps(session, tokens, STEPS);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        OK(ollm_session_free(&session));
        OK(ollm_plugin_release(&plugin));
        OK(ollm_model_release(&model));
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent goes on. */
    steps(session, tokens, STEPS);
    CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
    OK(ollm_session_free(&session));
    OK(ollm_option_set_free(&set));
}

/* ---- Stack ---- */

/* As much as the header says is enough for every call. */
static void *with_little_stack(void *user) {
    static uint32_t text[40];
    ollm_session *session = new_session(model, plugin, 256), *fork = NULL;
    ollm_branches *branches = NULL;
    ollm_found found;
    ollm_option_set *set = NULL;
    ollm_suggestions *suggestions = NULL;
    ollm_run_options run = ollm_run_options_init();
    int32_t latents[COUNT(text)];
    uint32_t tokens[4];
    size_t length = 0, i;
    char *json = malloc(1 << 16);
    (void)user;
    for (i = 0; i < COUNT(text); i++) text[i] = (uint32_t)(i * 37 % 300);
    OK(ollm_session_feed(session, text, COUNT(text)));
    steps(session, tokens, COUNT(tokens));
    OK(ollm_option_set_new(session, 4, &set));
    OK(ollm_option_set_free(&set));
    run.limit = 4;
    OK(ollm_session_run(session, &run, NULL));
    OK(ollm_session_fork(session, &fork));
    OK(ollm_session_rewind(fork, 3));
    OK(ollm_session_encode(fork, text, COUNT(text), latents));
    OK(ollm_session_rewind(fork, 3));
    memset(&found, 0, sizeof found);
    found.struct_size = sizeof found;
    {
        ollm_branch_options options = ollm_branch_options_init();
        options.limit = 4;
        OK(ollm_branches_new(fork, &options, &branches));
    }
    OK(ollm_branches_run(branches, NULL, &found));
    OK(ollm_branches_free(&branches));
    OK(ollm_session_suggest(fork, NULL, &suggestions));
    OK(ollm_suggestions_free(&suggestions));
    OK(ollm_model_info(model, json, 1 << 16, &length));
    OK(ollm_tokenize(model, "Once upon a time", 16, 0, text, COUNT(text), &length));
    OK(ollm_detokenize(model, text, length, json, 1 << 16, &length));
    OK(ollm_session_save(fork, NULL, 0, &length));
    OK(ollm_session_free(&fork));
    OK(ollm_session_free(&session));
    free(json);
    return NULL;
}

static void little_stack_is_enough(size_t bytes) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, bytes) == 0);
    CHECK(pthread_create(&thread, &attributes, with_little_stack, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && pthread_attr_destroy(&attributes) == 0);
}

/* ---- Seeds of forks ---- */

static void forks_draw_the_same_until_they_have_seeds_of_their_own(void) {
    ollm_session *session = new_session(model, plugin, 64), *forks[4] = {NULL, NULL, NULL, NULL};
    ollm_sampling sampling = ollm_sampling_init();
    ollm_selection selection = ollm_selection_init();
    uint32_t tokens[4][STEPS];
    size_t i, j;
    sampling.temperature = 1.5f;
    OK(ollm_session_set_sampling(session, &sampling));
    for (i = 0; i < 4; i++) {
        OK(ollm_session_fork(session, &forks[i]));
        steps(forks[i], tokens[i], STEPS);
        CHECK(memcmp(tokens[i], tokens[0], sizeof tokens[0]) == 0);
        OK(ollm_session_rewind(forks[i], COUNT(PROMPT)));
    }
    for (i = 0; i < 4; i++) {
        sampling.seed = i + 1;
        OK(ollm_session_set_sampling(forks[i], &sampling));
        steps(forks[i], tokens[i], STEPS);
        for (j = 0; j < i; j++) CHECK(memcmp(tokens[i], tokens[j], sizeof tokens[0]) != 0);
        OK(ollm_session_rewind(forks[i], COUNT(PROMPT)));
    }
    /* Latents alike. */
    selection.mode = OLLM_SELECT_UNIFORM;
    for (i = 0; i < 4; i++) {
        selection.seed = i;
        OK(ollm_session_set_sampling(forks[i], NULL));
        OK(ollm_session_set_selection(forks[i], &selection));
        for (j = 0; j < STEPS; j++) {
            ollm_token token = ollm_token_init();
            OK(ollm_session_step(forks[i], &token));
            tokens[i][j] = (uint32_t)token.latent;
        }
        for (j = 0; j < i; j++) CHECK(memcmp(tokens[i], tokens[j], sizeof tokens[0]) != 0);
        OK(ollm_session_free(&forks[i]));
    }
    OK(ollm_session_free(&session));
}

/* ---- Two copies of the library ---- */

typedef ollm_status (*load_fn)(const ollm_source *, const ollm_load_options *, ollm_model **);
typedef ollm_status (*model_fn)(ollm_model **);
typedef ollm_status (*info_fn)(const ollm_model *, char *, size_t, size_t *);

struct copy {
    load_fn load;
    model_fn release;
    info_fn info;
    ollm_model *model;
};

static void open_copy(struct copy *copy, const char *library, const char *path) {
    ollm_source source = ollm_source_file(path);
    void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    CHECK(loaded != NULL);
    *(void **)&copy->load = dlsym(loaded, "ollm_model_load");
    *(void **)&copy->release = dlsym(loaded, "ollm_model_release");
    *(void **)&copy->info = dlsym(loaded, "ollm_model_info");
    CHECK(copy->load != NULL && copy->release != NULL && copy->info != NULL);
    copy->model = NULL;
    OK(copy->load(&source, NULL, &copy->model));
}

static void copies_of_the_library_refuse_each_others_handles(const char *path, const char *first, const char *second) {
    struct copy copies[2];
    size_t length = 0, i;
    open_copy(&copies[0], first, path);
    open_copy(&copies[1], second, path);
    CHECK(copies[0].load != copies[1].load);
    for (i = 0; i < 2; i++) {
        ollm_model *others = copies[1 - i].model;
        OK(copies[i].info(copies[i].model, NULL, 0, &length));
        GIVES(OLLM_INVALID_HANDLE, copies[i].info(others, NULL, 0, &length));
        GIVES(OLLM_INVALID_HANDLE, copies[i].release(&others));
    }
    for (i = 0; i < 2; i++) OK(copies[i].release(&copies[i].model));
}

int main(int argc, char **argv) {
    CHECK(argc == 5 || argc == 4);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    if (argc == 4) {
        little_stack_is_enough((size_t)strtoul(argv[3], NULL, 10) << 10);
        return 0;
    }
    the_modes_of_the_host_do_not_matter_and_come_back(argv[1], argv[2]);
    threads_of_the_library_block_signals();
    a_child_computes_alone_and_frees();
    forks_draw_the_same_until_they_have_seeds_of_their_own();
    copies_of_the_library_refuse_each_others_handles(argv[1], argv[3], argv[4]);
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
