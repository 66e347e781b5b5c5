/* Breaks the contract on purpose, inside the library: a checker that sees this sees the library's memory accesses.
   usage: overread MODEL */
#include "check.h"

int main(int argc, char **argv) {
    ollm_model *model;
    char *text = malloc(4);
    size_t count = 0;
    CHECK(argc == 2 && text != NULL);
    memset(text, 'a', 4);
    model = load_model(argv[1]);
    OK(ollm_tokenize(model, text, 5, 0, NULL, 0, &count));
    free(text);
    OK(ollm_model_release(&model));
    return 0;
}
