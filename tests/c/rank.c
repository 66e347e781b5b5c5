/* A reranker scores pairs of texts, and holds none of them. usage: rank MODEL SCORE: that of the
   query "who" and the document "the pilgrims" */

#include "check.h"

#include <math.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    ollm_model *model;
    ollm_session *session = NULL;
    ollm_session_options options = ollm_session_options_init();
    float score = 0, again = 0, other = 0;
    size_t position = 1, length = 0;
    static const char key[] = "tokenizer.ggml.seperator_token_id";
    uint32_t separator = OLLM_NO_TOKEN;
    char text[16];
    CHECK(argc == 3);
    model = load_model(argv[1]);
    options.context = 64;
    OK(ollm_session_new(model, NULL, &options, &session));
    OK(ollm_session_rank(session, "who", 3, "the pilgrims", 12, &score));
    CHECK(fabs(score - atof(argv[2])) < 1e-5);
    OK(ollm_session_rank(session, "who", 3, "of", 2, &other));
    OK(ollm_session_rank(session, "who", 3, "the pilgrims", 12, &again));
    CHECK(score == again && score != other);
    OK(ollm_session_position(session, &position));
    CHECK(position == 0);
    /* GGUF spells the key so. */
    OK(ollm_model_metadata(model, key, sizeof key - 1, text, sizeof text, &length));
    OK(ollm_special_token(model, OLLM_SPECIAL_SEPARATOR, &separator));
    CHECK(separator == (uint32_t)atoi(text));
    OK(ollm_session_free(&session));
    OK(ollm_model_release(&model));
    return 0;
}
