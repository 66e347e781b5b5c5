/* Shows the option set of each step, and lets you choose: type a latent, or nothing for the policy's.
   usage: option_set MODEL.gguf PLUGIN.gguf [TEXT] */
#include <ollm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64 /* options that are shown */
#define TOP 3

static void check(ollm_status status) {
    if (status == OLLM_OK) return;
    fprintf(stderr, "%s: %s\n", ollm_status_name(status), ollm_last_error());
    exit(1);
}

/* A token's text, on one line. */
static void print_token(const ollm_model *model, uint32_t id) {
    char text[64];
    size_t length = 0, i;
    if (ollm_token_bytes(model, id, text, sizeof text, &length) != OLLM_OK) length = 0;
    putchar('"');
    for (i = 0; i < length; i++) fputs(text[i] == '\n' ? "\\n" : (char[]){text[i], 0}, stdout);
    putchar('"');
}

static void print_options(const ollm_model *model, const ollm_option_set *options) {
    float policy[MOST];
    ollm_candidate top[TOP];
    size_t count = 0, tokens = 0, latent, i;
    check(ollm_option_set_policy(options, policy, MOST, &count));
    for (latent = 0; latent < count; latent++) {
        printf("  %2zu  %5.1f %%  ", latent, 100 * policy[latent]);
        check(ollm_option_set_top(options, (uint32_t)latent, top, TOP, &tokens));
        for (i = 0; i < tokens; i++) {
            print_token(model, top[i].token);
            printf(" %.1f %%  ", 100 * top[i].probability);
        }
        puts("");
    }
}

int main(int argc, char **argv) {
    const char *text = argc > 3 ? argv[3] : "Two plus two is";
    ollm_source source = ollm_source_file(argc > 1 ? argv[1] : "model.gguf");
    ollm_source plugin_source = ollm_source_file(argc > 2 ? argv[2] : "plugin.gguf");
    ollm_model *model = NULL;
    ollm_plugin *plugin = NULL;
    ollm_session *session = NULL;
    ollm_token token = ollm_token_init();
    char line[64];

    check(ollm_model_load(&source, NULL, &model));
    check(ollm_plugin_load(model, &plugin_source, &plugin));
    check(ollm_session_new(model, plugin, NULL, &session));
    check(ollm_session_feed_text(session, text, strlen(text), OLLM_TOKENIZE_BOS));
    while (!token.is_end) {
        ollm_option_set *options = NULL;
        char *end;
        unsigned long latent;
        check(ollm_option_set_new(session, TOP, &options));
        print_options(model, options);
        ollm_option_set_free(&options);
        fputs("latent> ", stdout);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL) break;
        latent = strtoul(line, &end, 10);
        if (end == line) {
            check(ollm_session_step(session, &token));
        } else if (ollm_session_step_latent(session, (uint32_t)latent, &token) != OLLM_OK) {
            puts(ollm_last_error());
            continue;
        }
        printf("option %d: ", token.latent);
        print_token(model, token.id);
        puts("\n");
    }
    ollm_session_free(&session);
    ollm_plugin_release(&plugin);
    ollm_model_release(&model);
    return 0;
}
