/* Steps of several sessions in one pass: what each would have got alone. usage: batch MODEL PLUGIN */
#include "check.h"

#define SESSIONS 4
#define STEPS 10

static ollm_model *model;
static ollm_plugin *plugin;

/* Sessions that differ in their text, their sampling and their selection. */
static ollm_session *make(size_t i) {
    ollm_session *session = new_session(model, plugin, 64);
    ollm_sampling sampling = ollm_sampling_init();
    ollm_selection selection = ollm_selection_init();
    uint32_t more[SESSIONS] = {7, 8, 9, 10};
    sampling.temperature = i % 2 ? 1 : 0;
    sampling.seed = i;
    sampling.logprobs = i;
    selection.mode = i == 3 ? OLLM_SELECT_BACKBONE : i == 2 ? OLLM_SELECT_MIXTURE : OLLM_SELECT_SAMPLE;
    OK(ollm_session_set_sampling(session, &sampling));
    OK(ollm_session_set_selection(session, &selection));
    OK(ollm_session_feed(session, more, i));
    return session;
}

int main(int argc, char **argv) {
    ollm_session *together[SESSIONS], *alone[SESSIONS], *twice[2], *busy[2];
    ollm_token tokens[SESSIONS], *places[SESSIONS], expected = ollm_token_init();
    ollm_status outcomes[SESSIONS];
    ollm_batch *batch = NULL, *dead;
    size_t i, step;
    CHECK(argc == 3);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    OK(ollm_batch_new(&batch));
    for (i = 0; i < SESSIONS; i++) {
        together[i] = make(i);
        alone[i] = make(i);
        tokens[i] = ollm_token_init();
        places[i] = &tokens[i];
    }
    for (step = 0; step < STEPS; step++) {
        OK(ollm_batch_step(batch, together, SESSIONS, places, outcomes));
        for (i = 0; i < SESSIONS; i++) {
            OK(ollm_session_step(alone[i], &expected));
            CHECK(outcomes[i] == OLLM_OK && tokens[i].id == expected.id && tokens[i].logprob == expected.logprob);
            CHECK(tokens[i].latent == expected.latent && tokens[i].top_count == i);
            CHECK(tokens[i].text_length == expected.text_length);
            CHECK(memcmp(tokens[i].text, expected.text, expected.text_length) == 0);
        }
    }
    /* One that fails leaves the others alone. */
    OK(ollm_session_rewind(together[1], 0));
    tokens[1].id = 12345;
    OK(ollm_batch_step(batch, together, SESSIONS, places, outcomes));
    CHECK(outcomes[1] == OLLM_EMPTY && tokens[1].id == 12345);
    for (i = 0; i < SESSIONS; i++) {
        if (i != 1) {
            OK(ollm_session_step(alone[i], &expected));
            CHECK(outcomes[i] == OLLM_OK && tokens[i].id == expected.id);
        }
    }
    OK(ollm_session_cancel(together[2]));
    OK(ollm_batch_step(batch, together, SESSIONS, places, outcomes));
    CHECK(outcomes[2] == OLLM_CANCELLED && outcomes[0] == OLLM_OK && outcomes[3] == OLLM_OK);
    OK(ollm_batch_step(batch, NULL, 0, NULL, NULL));
    twice[0] = twice[1] = together[0];
    GIVES(OLLM_INVALID_ARGUMENT, ollm_batch_step(batch, twice, 2, places, outcomes));
    /* A dead session ends the call before anything moves. */
    busy[0] = together[0];
    busy[1] = alone[0];
    i = position(together[0]);
    OK(ollm_session_free(&alone[0]));
    GIVES(OLLM_INVALID_HANDLE, ollm_batch_step(batch, busy, 2, places, outcomes));
    CHECK(position(together[0]) == i);
    for (i = 0; i < SESSIONS; i++) {
        OK(ollm_session_free(&together[i]));
        OK(ollm_session_free(&alone[i]));
    }
    dead = batch;
    OK(ollm_batch_free(&batch));
    GIVES(OLLM_INVALID_HANDLE, ollm_batch_free(&dead));
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
