/* Constrained output: grammars of every kind, on sessions, forks, branches, suggestions and option sets.
   usage: constraint MODEL PLUGIN OTHER_MODEL */
#include "check.h"

static ollm_model *model;

static ollm_grammar *compile(int32_t kind, const char *text) {
    ollm_grammar *grammar = NULL;
    OK(ollm_grammar_new(model, kind, text, strlen(text), &grammar));
    return grammar;
}

/* What a session says until an end token, as text. */
static size_t say(ollm_session *session, char *text, size_t capacity) {
    size_t length = 0, count;
    for (count = 0; count < 100; count++) {
        ollm_token token = ollm_token_init();
        OK(ollm_session_step(session, &token));
        if (token.is_end) break;
        CHECK(length + token.text_length < capacity);
        memcpy(text + length, token.text, token.text_length);
        length += token.text_length;
    }
    CHECK(count < 100);
    text[length] = 0;
    return length;
}

static void every_kind_is_kept_to(const ollm_plugin *plugin) {
    static const struct {
        int32_t kind;
        const char *grammar, *text;
    } cases[] = {
        {OLLM_GRAMMAR_REGEX, "only this", "only this"},
        {OLLM_GRAMMAR_LARK, "start: \"a\" B\nB: \"b\"", "ab"},
        {OLLM_GRAMMAR_GBNF, "root ::= \"x\" tail\ntail ::= \"y\"", "xy"},
        {OLLM_GRAMMAR_JSON_SCHEMA, "{\"const\": {\"k\": 1}, \"x-guidance\": {\"whitespace_flexible\": false}}", "{\"k\":1}"},
    };
    size_t i;
    for (i = 0; i < COUNT(cases); i++) {
        ollm_session *session = new_session(model, plugin, 128);
        ollm_grammar *grammar = compile(cases[i].kind, cases[i].grammar);
        char text[64];
        int32_t complete = 0;
        OK(ollm_session_is_complete(session, &complete));
        CHECK(complete == 1);
        OK(ollm_session_set_constraint(session, grammar, NULL));
        OK(ollm_session_is_complete(session, &complete));
        CHECK(complete == 0);
        /* The session keeps it alive. */
        OK(ollm_grammar_free(&grammar));
        CHECK(grammar == NULL);
        say(session, text, sizeof text);
        CHECK(strcmp(text, cases[i].text) == 0);
        OK(ollm_session_is_complete(session, &complete));
        CHECK(complete == 1);
        /* The next answer is one of the grammar too. */
        OK(ollm_session_feed(session, PROMPT, COUNT(PROMPT)));
        say(session, text, sizeof text);
        CHECK(strcmp(text, cases[i].text) == 0);
        OK(ollm_session_set_constraint(session, NULL, NULL));
        OK(ollm_session_is_complete(session, &complete));
        CHECK(complete == 1);
        OK(ollm_session_free(&session));
    }
}

static void forks_branches_and_suggestions_have_places_of_their_own(const ollm_plugin *plugin) {
    ollm_session *session = new_session(model, plugin, 128), *fork = NULL;
    ollm_grammar *grammar = compile(OLLM_GRAMMAR_REGEX, "[ab]{6}");
    ollm_branches *branches = NULL;
    ollm_suggestions *suggestions = NULL;
    ollm_expansion expansion = ollm_expansion_init();
    ollm_token token = ollm_token_init();
    char text[64];
    size_t i, count = 0, going = 1;
    OK(ollm_session_set_constraint(session, grammar, NULL));
    OK(ollm_session_step(session, &token));
    OK(ollm_session_fork(session, &fork));
    say(session, text, sizeof text);
    CHECK(strspn(text, "ab") == strlen(text) && strlen(text) + token.text_length == 6);
    OK(ollm_branches_new(fork, NULL, &branches));
    expansion.kind = OLLM_EXPAND_TOKENS;
    expansion.count = 2;
    OK(ollm_branches_expand(branches, 0, &expansion));
    while (going > 0) OK(ollm_branches_step(branches, &going));
    OK(ollm_branches_count(branches, &count));
    CHECK(count == 2);
    for (i = 0; i < count; i++) {
        ollm_branch branch = ollm_branch_init();
        OK(ollm_branches_get(branches, i, &branch));
        CHECK(branch.text_length + token.text_length == 6);
    }
    OK(ollm_branches_free(&branches));
    OK(ollm_session_suggest(fork, NULL, &suggestions));
    OK(ollm_suggestions_count(suggestions, &count));
    CHECK(count > 0);
    for (i = 0; i < count; i++) {
        ollm_suggestion one = ollm_suggestion_init();
        OK(ollm_suggestions_get(suggestions, i, &one));
        CHECK(one.text_length + token.text_length == 6);
    }
    OK(ollm_suggestions_free(&suggestions));
    OK(ollm_session_free(&fork));
    OK(ollm_session_free(&session));
    OK(ollm_grammar_free(&grammar));
}

static void a_constraint_begins_where_it_is_told(void) {
    ollm_session *session = new_session(model, NULL, 128);
    ollm_grammar *grammar = compile(OLLM_GRAMMAR_REGEX, "yes!");
    ollm_constraint_options options = ollm_constraint_options_init();
    uint32_t tokens[8];
    size_t count = 0;
    char text[4097] = {0};
    OK(ollm_tokenize(model, "ye", 2, 0, tokens, COUNT(tokens), &count));
    OK(ollm_session_feed(session, tokens, count));
    options.begun = count;
    OK(ollm_session_set_constraint(session, grammar, &options));
    say(session, text, sizeof text);
    CHECK(strcmp(text, "s!") == 0);
    /* Tokens that are none of the grammar's, and more than there are. */
    options.begun = 7;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_constraint(session, grammar, &options));
    options.begun = 1000;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_constraint(session, grammar, &options));
    /* A trigger that no text would have. */
    options.trigger = text;
    options.trigger_length = 4097;
    options.begun = 0;
    GIVES(OLLM_INVALID_ARGUMENT, ollm_session_set_constraint(session, grammar, &options));
    /* Behind a trigger, which is begun here. */
    OK(ollm_session_feed(session, tokens, count));
    options.trigger = "e";
    options.trigger_length = 1;
    options.begun = count;
    OK(ollm_session_set_constraint(session, grammar, &options));
    say(session, text, sizeof text);
    CHECK(strcmp(text, "yes!") == 0);
    OK(ollm_session_free(&session));
    OK(ollm_grammar_free(&grammar));
}

static void what_is_wrong_is_a_status(const ollm_model *other) {
    static const struct {
        int32_t kind;
        const char *grammar, *reason;
    } cases[] = {
        {OLLM_GRAMMAR_JSON_SCHEMA, "{\"not\": {}}", "not"},
        {OLLM_GRAMMAR_JSON_SCHEMA, "{", "JSON schema"},
        {OLLM_GRAMMAR_REGEX, "(", "regular expression"},
        {OLLM_GRAMMAR_LARK, "start: none", "none"},
        {OLLM_GRAMMAR_GBNF, "root ::= none", "none"},
        {4, "a", "4 is no kind of grammar"},
        {-1, "a", "-1 is no kind of grammar"},
    };
    ollm_session *session = new_session(other, NULL, 128);
    ollm_grammar *grammar = NULL, *copy;
    size_t i;
    for (i = 0; i < COUNT(cases); i++) {
        GIVES(OLLM_INVALID_ARGUMENT,
              ollm_grammar_new(model, cases[i].kind, cases[i].grammar, strlen(cases[i].grammar), &grammar));
        CHECK(strstr(ollm_last_error(), cases[i].reason) != NULL && grammar == NULL);
    }
    GIVES(OLLM_INVALID_UTF8, ollm_grammar_new(model, OLLM_GRAMMAR_REGEX, "\xff", 1, &grammar));
    grammar = compile(OLLM_GRAMMAR_REGEX, "a");
    GIVES(OLLM_MISMATCH, ollm_session_set_constraint(session, grammar, NULL));
    copy = grammar;
    OK(ollm_grammar_free(&grammar));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_set_constraint(session, copy, NULL));
    GIVES(OLLM_INVALID_HANDLE, ollm_grammar_free(&copy));
    GIVES(OLLM_INVALID_HANDLE, ollm_session_set_constraint(session, (const ollm_grammar *)session, NULL));
    OK(ollm_session_free(&session));
}

int main(int argc, char **argv) {
    ollm_model *other;
    ollm_plugin *plugin;
    CHECK(argc == 4);
    model = load_model(argv[1]);
    plugin = load_plugin(model, argv[2]);
    other = load_model(argv[3]);
    every_kind_is_kept_to(plugin);
    every_kind_is_kept_to(NULL);
    forks_branches_and_suggestions_have_places_of_their_own(plugin);
    forks_branches_and_suggestions_have_places_of_their_own(NULL);
    a_constraint_begins_where_it_is_told();
    what_is_wrong_is_a_status(other);
    OK(ollm_plugin_release(&plugin));
    OK(ollm_model_release(&other));
    OK(ollm_model_release(&model));
    return 0;
}
