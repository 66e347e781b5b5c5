/* Breaks the contract on purpose: one thread writes the text that the library reads for another. A checker that sees this
   sees the library's memory accesses.
   usage: race MODEL */
#include "check.h"

#include <pthread.h>

static char text[64];

static void *scribble(void *user) {
    size_t i;
    (void)user;
    for (i = 0; i < sizeof text; i++) text[i] = 'b';
    return NULL;
}

int main(int argc, char **argv) {
    ollm_model *model;
    pthread_t thread;
    size_t count = 0;
    CHECK(argc == 2);
    model = load_model(argv[1]);
    memset(text, 'a', sizeof text);
    CHECK(pthread_create(&thread, NULL, scribble, NULL) == 0);
    OK(ollm_tokenize(model, text, sizeof text, 0, NULL, 0, &count));
    CHECK(pthread_join(thread, NULL) == 0);
    OK(ollm_model_release(&model));
    return 0;
}
