/* How long latents are held where nothing is said, and where it is. usage: hold MODEL PLUGIN, which was trained to hold them for a text */
#include "check.h"

#define STEPS 12

/* How often the latent changes within some steps. */
static size_t changes(ollm_session *session) {
    size_t i, count = 0;
    int32_t before = -1;
    for (i = 0; i < STEPS; i++) {
        ollm_token token = ollm_token_init();
        OK(ollm_session_step(session, &token));
        CHECK(token.latent >= 0);
        count += i > 0 && token.latent != before;
        before = token.latent;
    }
    OK(ollm_session_rewind(session, COUNT(PROMPT)));
    return count;
}

int main(int argc, char **argv) {
    ollm_model *model;
    ollm_plugin *plugin;
    ollm_session *session;
    ollm_selection selection = ollm_selection_init();
    CHECK(argc == 3);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    session = new_session(model, plugin, 64);
    selection.mode = OLLM_SELECT_POLICY;
    selection.hold = OLLM_HOLD_TOKEN;
    CHECK(changes(session) == 0);
    OK(ollm_session_set_selection(session, &selection));
    CHECK(changes(session) > 0);
    OK(ollm_session_set_selection(session, NULL));
    CHECK(changes(session) == 0);
    selection.mode = OLLM_SELECT_UNIFORM;
    OK(ollm_session_set_selection(session, &selection));
    CHECK(changes(session) > 0);
    selection.hold = OLLM_HOLD_TRAINED;
    OK(ollm_session_set_selection(session, &selection));
    CHECK(changes(session) == 0);
    OK(ollm_session_free(&session));
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&model));
    return 0;
}
