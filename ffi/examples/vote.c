/* Ten answers at once: each latent gives one, and the answer that most agree on wins.
   usage: vote MODEL.gguf PLUGIN.gguf [TEXT] */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

/* A text on one line. */
static void print(const char *text, size_t length) {
    size_t i;
    for (i = 0; i < length; i++) putchar(text[i] == '\n' ? ' ' : text[i]);
}

int main(int argc, char **argv) {
    const char *text = argc > 3 ? argv[3] : "Two plus two is";
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    ollm_source plugin_source = ollm_source_file(argc > 2 ? argv[2] : "plugin.gguf");
    ollm_branch_options options = ollm_branch_options_init();
    ollm_found found = ollm_found_init();
    ollm_model *model = NULL;
    ollm_plugin *plugin = NULL;
    ollm_session *session = NULL;
    ollm_branches *branches = NULL;
    size_t count = 0, i;

    check(ollm_model_load(&source, NULL, &model));
    check(ollm_plugin_load(model, &plugin_source, &plugin));
    check(ollm_session_new(model, plugin, NULL, &session));
    check(ollm_session_feed_text(session, text, strlen(text), OLLM_TOKENIZE_BOS));
    options.limit = 64;
    check(ollm_branches_new(session, &options, &branches));
    check(ollm_branches_run(branches, NULL, &found)); /* NULL: a vote of all latents, by the last number */

    check(ollm_branches_count(branches, &count));
    for (i = 0; i < count; i++) {
        ollm_branch branch = ollm_branch_init();
        check(ollm_branches_get(branches, i, &branch));
        printf("%c %2zu  ", i == found.branch ? '*' : ' ', i);
        if (branch.state == OLLM_BRANCH_MERGED) printf("as %d", branch.merged_into);
        else print(branch.text, branch.text_length);
        puts("");
    }
    fputs("answer: ", stdout);
    if (found.answer != NULL) print(found.answer, found.answer_length);
    printf(" (%.0f %% of the vote, %zu passes for %zu tokens)\n", 100 * found.confidence, found.passes,
           found.generated);
    check(ollm_branches_adopt(branches, found.branch, session)); /* the conversation continues from there */

    ollm_branches_free(&branches);
    ollm_session_free(&session);
    ollm_plugin_release(&plugin);
    ollm_model_release(&model);
    return 0;
}
