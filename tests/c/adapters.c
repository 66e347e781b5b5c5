/* Low-rank adapters beside a backbone: loaded, set, scaled, taken away. usage: adapters MODEL ADAPTER OTHER_MODEL */
#include "check.h"

#include <math.h>

static ollm_adapter *load_adapter(const ollm_model *model, const char *path) {
    ollm_source source = ollm_source_file(path);
    ollm_adapter *adapter = NULL;
    OK(ollm_adapter_load(model, &source, &adapter));
    CHECK(adapter != NULL);
    return adapter;
}

/* The first logit after the prompt, computed anew. */
static float logit(ollm_session *session) {
    float logits[320];
    size_t count;
    OK(ollm_session_rewind(session, 0));
    OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
    OK(ollm_session_logits(session, OLLM_DISTRIBUTION_BACKBONE, 0, logits, COUNT(logits), &count));
    return logits[0];
}

int main(int argc, char **argv) {
    ollm_model *model, *other;
    ollm_adapter *adapter, *dead;
    const ollm_adapter *both[2];
    ollm_session *session, *fork, *foreign;
    ollm_source source;
    float plain, adapted, scales[2] = {.5f, .5f};
    CHECK(argc == 4);
    model = load_model(argv[1]);
    other = load_model(argv[3]);
    adapter = load_adapter(model, argv[2]);
    session = new_session(model, NULL, 64);
    plain = logit(session);
    both[0] = both[1] = adapter;
    OK(ollm_session_set_adapters(session, both, NULL, 1));
    adapted = logit(session);
    CHECK(adapted != plain);
    OK(ollm_session_set_adapters(session, both, scales, 2));
    CHECK(fabsf(logit(session) - adapted) < .05f * fabsf(adapted - plain) + 1e-3f);
    scales[1] = NAN;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_adapters(session, both, scales, 2));
    scales[0] = 0;
    OK(ollm_session_set_adapters(session, both, scales, 1));
    CHECK(logit(session) == plain);
    /* A session keeps its adapter alive, and so does a fork. */
    OK(ollm_session_set_adapters(session, both, NULL, 1));
    dead = adapter;
    OK(ollm_adapter_release(&adapter));
    CHECK(adapter == NULL);
    GIVES(OLLM_INVALID_HANDLE, ollm_adapter_release(&dead));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_set_adapters(session, both, NULL, 1));
    OK(ollm_session_fork(session, &fork));
    CHECK(logit(session) == adapted && logit(fork) == adapted);
    OK(ollm_session_set_adapters(session, NULL, NULL, 0));
    CHECK(logit(session) == plain && logit(fork) == adapted);
    /* Files and models that do not fit. */
    source = ollm_source_file(argv[1]);
    GIVES(OLLM_BAD_FILE, ollm_adapter_load(model, &source, &adapter));
    source = ollm_source_file(argv[2]);
    GIVES(OLLM_MISMATCH, ollm_adapter_load(other, &source, &adapter));
    adapter = load_adapter(model, argv[2]);
    foreign = new_session(other, NULL, 64);
    both[0] = adapter;
    GIVES(OLLM_MISMATCH, ollm_session_set_adapters(foreign, both, NULL, 1));
    OK(ollm_session_free(&foreign));
    OK(ollm_session_free(&fork));
    OK(ollm_session_free(&session));
    OK(ollm_adapter_release(&adapter));
    OK(ollm_model_release(&other));
    OK(ollm_model_release(&model));
    return 0;
}
