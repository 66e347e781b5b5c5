/* Several threads: a shared model, a busy session, cancelling and closing from elsewhere, threads of the application.
   usage: threads MODEL PLUGIN */
#include "check.h"

#include <pthread.h>
#include <sched.h>

#define THREADS 8
#define STEPS 24
/* Tokens of a long prompt; fewer where the processor is emulated. */
#ifndef LONG
#define LONG 4000
#endif

static ollm_model *model;
static ollm_plugin *plugin;

/* ---- 8 threads with 8 sessions each on one model ---- */

static void *generate_alone(void *out) {
    ollm_session *sessions[8];
    uint32_t tokens[STEPS];
    size_t i;
    for (i = 0; i < COUNT(sessions); i++) sessions[i] = new_session(model, i % 2 ? plugin : NULL, 64);
    for (i = 0; i < COUNT(sessions); i++) {
        steps(sessions[i], tokens, STEPS);
        if (i < 2) memcpy((uint32_t *)out + i * STEPS, tokens, sizeof tokens);
        CHECK(memcmp((uint32_t *)out + i % 2 * STEPS, tokens, sizeof tokens) == 0);
    }
    for (i = 0; i < COUNT(sessions); i++) OK(ollm_session_free(&sessions[i]));
    return NULL;
}

static void threads_share_a_model(void) {
    static uint32_t tokens[THREADS][2 * STEPS];
    pthread_t threads[THREADS];
    size_t i;
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, generate_alone, tokens[i]) == 0);
    for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (i = 1; i < THREADS; i++) CHECK(memcmp(tokens[0], tokens[i], sizeof tokens[0]) == 0);
}

/* ---- Sessions of several threads on one pool ---- */

struct sharer {
    ollm_thread_pool *pool;
    uint32_t tokens[STEPS];
};

static void *generate_together(void *user) {
    struct sharer *sharer = user;
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL;
    options.context = 64;
    options.pool = sharer->pool;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    steps(session, sharer->tokens, STEPS);
    OK(ollm_session_free(&session));
    return NULL;
}

/* The threads of this process; 0 where the system does not say. */
static long threads_alive(void) {
    char line[128];
    long threads = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && threads == 0 && fgets(line, sizeof line, status) != NULL) sscanf(line, "Threads: %ld", &threads);
    if (status != NULL) fclose(status);
    return threads;
}

static void threads_share_a_pool(void) {
    static struct sharer sharers[THREADS];
    ollm_thread_pool_options options = ollm_thread_pool_options_init();
    ollm_thread_pool *pool = NULL;
    ollm_session_options many = ollm_session_options_init();
    ollm_session *sessions[32] = {NULL}, *alone = new_session(model, plugin, 64);
    pthread_t threads[THREADS];
    uint32_t expected[STEPS];
    long before;
    size_t i;
    steps(alone, expected, STEPS);
    options.threads = 4;
    OK(ollm_thread_pool_new(&options, &pool));
    for (i = 0; i < THREADS; i++) {
        sharers[i].pool = pool;
        CHECK(pthread_create(&threads[i], NULL, generate_together, &sharers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(memcmp(sharers[i].tokens, expected, sizeof expected) == 0);
    }
    /* However many sessions, there are no more threads (those that were joined may end a moment later, and
     * be fewer); and sessions keep the pool alive. */
    many.pool = pool;
    before = threads_alive();
    for (i = 0; i < COUNT(sessions); i++) OK(ollm_session_new(model, plugin, &many, &sessions[i]));
    CHECK(threads_alive() <= before);
    OK(ollm_thread_pool_release(&pool));
    for (i = 0; i < COUNT(sessions); i++) {
        uint32_t tokens[STEPS];
        if (i % 8 == 0) {
            OK(ollm_session_feed(sessions[i], PROMPT, COUNT(PROMPT)));
            steps(sessions[i], tokens, STEPS);
            CHECK(memcmp(tokens, expected, sizeof expected) == 0);
        }
        OK(ollm_session_free(&sessions[i]));
    }
    CHECK(before == 0 || threads_alive() < before);
    OK(ollm_session_free(&alone));
}

/* ---- A thread that generates until it is told otherwise, and says that it is inside ---- */

struct runner {
    ollm_session *session;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside;
    int may_go;
    ollm_status status;
};

static int32_t wait_inside(void *user, const ollm_token *token) {
    struct runner *runner = user;
    (void)token;
    pthread_mutex_lock(&runner->lock);
    runner->inside = 1;
    pthread_cond_broadcast(&runner->changed);
    while (!runner->may_go) pthread_cond_wait(&runner->changed, &runner->lock);
    pthread_mutex_unlock(&runner->lock);
    return 0;
}

static void *run_with_callback(void *user) {
    struct runner *runner = user;
    ollm_run_options options = ollm_run_options_init();
    options.each = wait_inside;
    options.user = runner;
    runner->status = ollm_session_run(runner->session, &options, NULL);
    return NULL;
}

static void start(struct runner *runner, ollm_session *session) {
    memset(runner, 0, sizeof *runner);
    runner->session = session;
    CHECK(pthread_mutex_init(&runner->lock, NULL) == 0 && pthread_cond_init(&runner->changed, NULL) == 0);
    CHECK(pthread_create(&runner->thread, NULL, run_with_callback, runner) == 0);
    pthread_mutex_lock(&runner->lock);
    while (!runner->inside) pthread_cond_wait(&runner->changed, &runner->lock);
    pthread_mutex_unlock(&runner->lock);
}

static void let_go(struct runner *runner) {
    pthread_mutex_lock(&runner->lock);
    runner->may_go = 1;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
}

static ollm_status join(struct runner *runner) {
    CHECK(pthread_join(runner->thread, NULL) == 0);
    pthread_mutex_destroy(&runner->lock);
    pthread_cond_destroy(&runner->changed);
    return runner->status;
}

static void a_second_thread_is_told_that_the_session_is_busy(void) {
    struct runner runner;
    ollm_session *session = new_session(model, plugin, (size_t)1 << 20), *fork = NULL;
    ollm_token token = ollm_token_init();
    uint32_t tokens[STEPS];
    size_t n = 0;
    start(&runner, session);
    GIVES(OLLM_BUSY, ollm_session_step(session, &token));
    GIVES(OLLM_BUSY, ollm_session_feed(session, PROMPT, 1));
    GIVES(OLLM_BUSY, ollm_session_position(session, &n));
    GIVES(OLLM_BUSY, ollm_session_fork(session, &fork));
    GIVES(OLLM_BUSY, ollm_session_save(session, NULL, 0, &n));
    GIVES(OLLM_BUSY, ollm_session_trim(session));
    OK(ollm_session_cancel(session));
    let_go(&runner);
    CHECK(join(&runner) == OLLM_CANCELLED);
    /* A cancelled session goes on. */
    steps(session, tokens, STEPS);
    OK(ollm_session_free(&session));
}

/* ---- Closing while another thread generates ---- */

static void *close_session(void *user) {
    ollm_session *session = user;
    OK(ollm_session_free(&session));
    return NULL;
}

static void closing_cancels_and_waits(void) {
    int i;
    for (i = 0; i < 20; i++) {
        struct runner runner;
        pthread_t closer;
        size_t n = 0;
        ollm_session *session = new_session(model, plugin, (size_t)1 << 20);
        start(&runner, session);
        CHECK(pthread_create(&closer, NULL, close_session, session) == 0);
        /* The handle is dead before the other thread is out. */
        while (ollm_session_position(session, &n) == OLLM_BUSY) sched_yield();
        GIVES(OLLM_INVALID_HANDLE, ollm_session_position(session, &n));
        let_go(&runner);
        CHECK(pthread_join(closer, NULL) == 0);
        CHECK(join(&runner) == OLLM_CANCELLED);
        GIVES(OLLM_INVALID_HANDLE, ollm_session_cancel(session));
    }
}

struct crossing {
    ollm_session *own;
    ollm_session *other;
    pthread_barrier_t *barrier;
    int met;
};

static int32_t free_the_other(void *user, const ollm_token *token) {
    struct crossing *crossing = user;
    (void)token;
    if (!crossing->met) {
        crossing->met = 1;
        pthread_barrier_wait(crossing->barrier);
        OK(ollm_session_free(&crossing->other));
        pthread_barrier_wait(crossing->barrier);
    }
    return 0;
}

static void *cross(void *user) {
    struct crossing *crossing = user;
    ollm_run_options options = ollm_run_options_init();
    ollm_status status;
    options.each = free_the_other;
    options.user = crossing;
    status = ollm_session_run(crossing->own, &options, NULL);
    CHECK(status == OLLM_CANCELLED);
    return NULL;
}

/* Two callbacks that free each other's sessions do not wait for each other. */
static void callbacks_close_across(void) {
    pthread_barrier_t barrier;
    pthread_t threads[2];
    ollm_session *a = new_session(model, NULL, (size_t)1 << 20), *b = new_session(model, NULL, (size_t)1 << 20);
    struct crossing crossings[2] = {{a, b, &barrier, 0}, {b, a, &barrier, 0}};
    int i;
    CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
    for (i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, cross, &crossings[i]) == 0);
    for (i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    pthread_barrier_destroy(&barrier);
    GIVES(OLLM_INVALID_HANDLE, ollm_session_cancel(a));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_cancel(b));
}

/* ---- Cancelling while a long prompt is fed ---- */

struct feeding {
    ollm_session *session;
    const uint32_t *tokens;
    ollm_status status;
};

static void *feed(void *user) {
    struct feeding *feeding = user;
    /* The main thread, which looks whether this one is inside, may be inside itself just then. */
    do feeding->status = ollm_session_feed(feeding->session, feeding->tokens, LONG);
    while (feeding->status == OLLM_BUSY);
    return NULL;
}

static void a_prefill_is_cancelled_and_goes_on(void) {
    static uint32_t prompt[LONG];
    struct feeding feeding = {NULL, prompt, OLLM_OK};
    ollm_session_options options = ollm_session_options_init();
    ollm_session *whole = NULL;
    uint32_t expected[STEPS], tokens[STEPS];
    pthread_t thread;
    size_t i, at, n = 0;
    for (i = 0; i < LONG; i++) prompt[i] = PROMPT[i % COUNT(PROMPT)] + (uint32_t)(i % 7);
    options.context = LONG + STEPS;
    options.threads = 1;
    options.prefill_threads = 2;
    OK(ollm_session_new(model, NULL, &options, &whole));
    OK(ollm_session_new(model, NULL, &options, &feeding.session));
    CHECK(pthread_create(&thread, NULL, feed, &feeding) == 0);
    while (ollm_session_position(feeding.session, &n) != OLLM_BUSY) sched_yield();
    OK(ollm_session_cancel(feeding.session));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(feeding.status == OLLM_CANCELLED);
    at = position(feeding.session);
    CHECK(at < LONG);
    OK(ollm_session_feed(feeding.session, prompt + at, LONG - at));
    OK(ollm_session_feed(whole, prompt, LONG));
    steps(whole, expected, STEPS);
    steps(feeding.session, tokens, STEPS);
    CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
    /* A cancellation that came before is seen by the next call, unless it is withdrawn. */
    OK(ollm_session_rewind(whole, 4));
    OK(ollm_session_cancel(whole));
    GIVES(OLLM_CANCELLED, ollm_session_feed(whole, prompt, 4));
    OK(ollm_session_rewind(whole, 4));
    OK(ollm_session_cancel(whole));
    OK(ollm_session_withdraw_cancel(whole));
    OK(ollm_session_feed(whole, prompt, 4));
    OK(ollm_session_free(&whole));
    OK(ollm_session_free(&feeding.session));
}

/* ---- A share of the time, and a cancellation that ends the rest ---- */

static void *step_slowly(void *user) {
    struct feeding *feeding = user;
    ollm_token token = ollm_token_init();
    do feeding->status = ollm_session_step(feeding->session, &token);
    while (feeding->status == OLLM_BUSY);
    return NULL;
}

static void a_rest_can_be_cancelled(void) {
    struct feeding feeding = {new_session(model, NULL, 64), NULL, OLLM_OK};
    ollm_token token = ollm_token_init();
    uint32_t tokens[4];
    pthread_t thread;
    size_t n = 0;
    OK(ollm_session_set_duty(feeding.session, 1e-9f));
    OK(ollm_session_step(feeding.session, &token));
    /* The second step rests for years. */
    CHECK(pthread_create(&thread, NULL, step_slowly, &feeding) == 0);
    while (ollm_session_position(feeding.session, &n) != OLLM_BUSY) sched_yield();
    OK(ollm_session_cancel(feeding.session));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(feeding.status == OLLM_CANCELLED);
    OK(ollm_session_set_duty(feeding.session, 1));
    steps(feeding.session, tokens, COUNT(tokens));
    OK(ollm_session_free(&feeding.session));
}

/* ---- Workers on threads of the application ---- */

struct host {
    pthread_t threads[8];
    size_t count;
    size_t lend;
    ollm_worker *kept[8];
    size_t kept_count;
};

static void *work(void *worker) {
    /* The session may be gone before the system has started this thread. */
    ollm_status status = ollm_worker_run(worker);
    CHECK(status == OLLM_OK || status == OLLM_INVALID_HANDLE);
    return NULL;
}

static int32_t lend(void *user, ollm_worker *worker) {
    struct host *host = user;
    GIVES(OLLM_BUSY, ollm_worker_run(worker));
    if (host->count == host->lend) {
        host->kept[host->kept_count++] = worker;
        return 0;
    }
    return pthread_create(&host->threads[host->count++], NULL, work, worker);
}

static int32_t lend_none(void *user, ollm_worker *worker) {
    (void)user, (void)worker;
    return 7;
}

static void the_application_runs_the_workers(void) {
    ollm_session_options options = ollm_session_options_init();
    ollm_session *session = NULL, *own = new_session(model, plugin, 64), *fork = NULL;
    uint32_t expected[STEPS], tokens[STEPS];
    size_t lent;
    steps(own, expected, STEPS);
    OK(ollm_session_free(&own));
    options.threads = 4;
    options.context = 64;
    options.start = lend;
    for (lent = 0; lent < 4; lent++) {
        struct host host;
        size_t i;
        memset(&host, 0, sizeof host);
        host.lend = lent;
        options.user = &host;
        OK(ollm_session_new(model, plugin, &options, &session));
        CHECK(host.count + host.kept_count == 3);
        OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
        OK(ollm_session_fork(session, &fork));
        steps(session, tokens, STEPS);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        OK(ollm_session_free(&session));
        steps(fork, tokens, STEPS);
        CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
        OK(ollm_session_free(&fork));
        for (i = 0; i < host.count; i++) CHECK(pthread_join(host.threads[i], NULL) == 0);
        for (i = 0; i < host.kept_count; i++) GIVES(OLLM_INVALID_HANDLE, ollm_worker_run(host.kept[i]));
    }
    options.start = lend_none;
    CHECK(ollm_session_new(model, plugin, &options, &session) == OLLM_IO && session == NULL);
    options.affinity = 1;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_new(model, plugin, &options, &session));
    options.start = NULL;
    OK(ollm_session_new(model, plugin, &options, &session));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    steps(session, tokens, STEPS);
    CHECK(memcmp(tokens, expected, sizeof tokens) == 0);
    OK(ollm_session_free(&session));
    options.affinity = (uint64_t)1 << 63; /* A processor that there is not. */
    CHECK(ollm_session_new(model, plugin, &options, &session) == OLLM_IO && session == NULL);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    threads_share_a_model();
    threads_share_a_pool();
    a_second_thread_is_told_that_the_session_is_busy();
    closing_cancels_and_waits();
    callbacks_close_across();
    a_prefill_is_cancelled_and_goes_on();
    a_rest_can_be_cancelled();
    the_application_runs_the_workers();
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
