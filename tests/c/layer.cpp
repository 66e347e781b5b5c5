// The C++ layer: ownership, ranges, errors, callbacks. usage: layer MODEL PLUGIN CHAT. Built twice: with exceptions, and with
// OLLM_RESULTS and no exceptions at all.
#include <ollm.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#define CHECK(condition)                                                                                \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            std::fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, ollm_last_error()); \
            std::exit(1);                                                                               \
        }                                                                                               \
    } while (0)

// What a call gives, in both builds; and the status of a call that must fail.
#ifdef OLLM_RESULTS
template <class T>
T must(ollm::result<T> result) {
    CHECK(result.has_value());
    return *std::move(result);
}
void must(ollm::result<void> result) { CHECK(result); }
#define FAILS(expected, call) CHECK((call).error().status == (expected))
#else
#define must(call) (call)
#define FAILS(expected, call)                       \
    do {                                            \
        try {                                       \
            (void)(call);                           \
            CHECK(false);                           \
        } catch (const ollm::error &error) {        \
            CHECK(error.status() == (expected));    \
            CHECK(std::strlen(error.what()) > 0);   \
        }                                           \
    } while (0)
#endif

static_assert(std::is_nothrow_move_constructible_v<ollm::model> && !std::is_copy_constructible_v<ollm::model>);
static_assert(std::is_nothrow_move_assignable_v<ollm::session> && !std::is_copy_assignable_v<ollm::session>);
static_assert(sizeof(ollm::model) == sizeof(ollm_model *) && sizeof(ollm::token) == sizeof(ollm_token));

static const std::vector<std::uint32_t> prompt = {10, 200, 31, 47, 5};

static ollm::session fed(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session_options options;
    options.context = 64;
    options.threads = 2;
    ollm::session session = must(ollm::session::make(model, plugin, options));
    must(session.feed(prompt));
    return session;
}

static void ranges_and_runs_agree(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session one = fed(model, plugin), other = fed(model, plugin);
    std::vector<std::uint32_t> tokens, seen;
    std::string text;
    for (const ollm::token &token : one.steps(12)) tokens.push_back(token.id);
    ollm::run_options options;
    options.limit = 12;
    ollm_reason reason = must(other.run(options, [&](const ollm::token &token) {
        if (token.id != OLLM_NO_TOKEN) seen.push_back(token.id);
        text += token.text();
    }));
    CHECK(reason == OLLM_REASON_LIMIT && tokens == seen && tokens.size() == 12 && !text.empty());
    CHECK(must(one.tokens()) == must(other.tokens()));
    // A callback that gives false ends the run.
    std::size_t count = 0;
    must(other.rewind(prompt.size()));
    CHECK(must(other.run(options, [&](const ollm::token &) { return ++count < 3; })) == OLLM_REASON_CALLBACK && count == 3);
    // An end token ends a range, and so does the end of the context, which it says.
    ollm_status why = OLLM_OK;
    while (why == OLLM_OK) {
        auto steps = one.steps(1000);
        for (const ollm::token &token : steps) CHECK(!token.is_end);
        why = steps.why();
    }
    CHECK(why == OLLM_CONTEXT_FULL && must(one.position()) == 64);
#ifndef OLLM_RESULTS
    struct mine {};
    try {
        must(other.rewind(prompt.size()));
        other.run(options, [](const ollm::token &) { throw mine(); });
        CHECK(false);
    } catch (const mine &) {
        CHECK(must(other.position()) == prompt.size() + 1);
    }
#endif
}

static void options_fork_and_choose(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session session = fed(model, plugin);
    ollm::option_set set = must(session.option_set(4));
    std::vector<float> policy = must(set.policy());
    CHECK(policy.size() == must(plugin.option_count()));
    for (std::uint32_t latent = 0; latent < policy.size(); latent++) {
        ollm::session fork = must(session.fork());
        CHECK(must(fork.step(latent)).id == must(set.top(latent))[0].token);
    }
    int calls = 0;
    must(session.set_policy([&](ollm::view<float> hidden, ollm::view<float> probabilities) {
        CHECK(hidden.size() == 64 && probabilities.size() == 10);
        calls++;
        return 6u;
    }));
    ollm::session fork = must(session.fork());
    CHECK(must(session.step()).latent == 6);
    session = ollm::session();
    CHECK(must(fork.step()).latent == 6 && calls == 2);
    CHECK(must(fork.encode(prompt)).size() == prompt.size());
}

static void branches_vote_and_are_adopted(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session session = fed(model, plugin);
    ollm::branch_options options;
    options.limit = 8;
    ollm::branches branches = must(session.branches(options));
    must(branches.expand(0, ollm::expansion::latents()));
    CHECK(must(branches.count()) == must(plugin.option_count()) && must(branches.at(0)).is_open());
    CHECK(must(branches.step()) > 0);
    ollm::branch first = must(branches.at(0));
    CHECK(first.tokens().size() == 1 && first.latents()[0] == 0 && first.parent == -1);
    ollm::tally tally("text");
    ollm::search_options search;
    search.tally = &tally;
    std::size_t calls = 0;
    ollm::found found = must(branches.run(search, [&](ollm::view<const ollm_branch *> seen) {
        calls++;
        CHECK(seen.size() >= 10 && seen[0]->token_count > 0);
    }));
    CHECK(calls > 0 && found.branch < must(branches.count()));
    CHECK(must(branches.vote(tally)).branch == found.branch);
    std::vector<std::uint32_t> expected = prompt;
    ollm::branch best = must(branches.at(found.branch));
    expected.insert(expected.end(), best.tokens().begin(), best.tokens().end());
    must(session.adopt(branches, found.branch));
    std::vector<std::uint32_t> tokens = must(session.tokens());
    CHECK(tokens.size() >= expected.size() && std::equal(expected.begin(), expected.end(), tokens.begin()));
    FAILS(OLLM_MISMATCH, session.adopt(branches, found.branch));
    FAILS(OLLM_INVALID_ARGUMENT, branches.vote(ollm::tally("numbers")));
    FAILS(OLLM_INVALID_ARGUMENT, branches.at(10000));
    // A callback that gives false ends the search; what it throws comes out.
    ollm::expansion samples = ollm::expansion::sample(3, 0.7f);
    search.expansion = &samples;
    branches = must(fed(model, plugin).branches());
    calls = 0;
    must(branches.run(search, [&](ollm::view<const ollm_branch *>) { return ++calls < 2; }));
    CHECK(calls == 2);
#ifndef OLLM_RESULTS
    struct mine {};
    branches = fed(model, plugin).branches();
    try {
        branches.run(search, [](ollm::view<const ollm_branch *>) { throw mine(); });
        CHECK(false);
    } catch (const mine &) {
    }
#endif
    // Branches keep the callback of their session.
    ollm::session chooser = fed(model, plugin);
    must(chooser.set_policy([](ollm::view<float>, ollm::view<float>) { return 6u; }));
    branches = must(chooser.branches(options));
    chooser = ollm::session();
    must(branches.step());
    CHECK(must(branches.at(0)).latents()[0] == 6);
    must(branches.cancel());
    FAILS(OLLM_CANCELLED, branches.step());
    ollm::session talker = fed(model, plugin);
    std::vector<ollm::suggestion> suggestions = must(talker.suggest());
    CHECK(suggestions.size() == 3 && !suggestions[0].text.empty() && !suggestions[0].tokens.empty());
    CHECK(suggestions[0].probability >= suggestions[2].probability && must(talker.position()) == prompt.size());
}

#ifndef OLLM_RESULTS
/// What a policy throws comes out of each call that selects, once; then the session goes on.
static void what_a_policy_throws_comes_out(const ollm::model &model, const ollm::plugin &plugin) {
    struct mine {
        int number;
    };
    bool throws = true;
    ollm::session session = fed(model, plugin);
    session.set_policy([&](ollm::view<float>, ollm::view<float>) -> std::uint32_t {
        if (throws) throw mine{7};
        return 6;
    });
    auto caught = [&](auto call) {
        std::size_t before = session.position();
        bool out = false;
        try {
            call();
        } catch (const mine &thrown) {
            out = thrown.number == 7;
        }
        CHECK(out && session.position() == before);
    };
    caught([&] { session.step(); });
    caught([&] { session.run(ollm::run_options(), [](const ollm::token &) { CHECK(false); }); });
    caught([&] { for (const ollm::token &token : session.steps(3)) CHECK(token.id == 0 && false); });
    ollm::session fork = session.fork();
    caught([&] { fork.step(); });
    ollm::branches branches = session.branches();
    caught([&] { branches.step(); });
    throws = false;
    CHECK(session.step().latent == 6 && fork.step().latent == 6);
}
#endif

static void sessions_move_and_are_saved(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session session = fed(model, plugin);
    std::vector<unsigned char> saved = must(session.save());
    ollm::session moved = std::move(session);
    CHECK(!session && moved);
    std::uint32_t first = must(moved.step()).id;
    must(moved.restore(saved));
    CHECK(must(moved.position()) == prompt.size() && must(moved.step()).id == first);
    FAILS(OLLM_BAD_FILE, moved.restore({1, 2, 3}));
    FAILS(OLLM_INVALID_ARGUMENT, session.position());
    ollm::sampling sampling;
    sampling.temperature = -1;
    FAILS(OLLM_INVALID_ARGUMENT, moved.set_sampling(sampling));
    sampling.temperature = 0.7f;
    must(moved.set_sampling(sampling));
    must(moved.set_duty(1));
    must(moved.trim());
    must(moved.cancel());
    FAILS(OLLM_CANCELLED, moved.step());
}

static void models_are_shared_and_talk(const ollm::model &model) {
    ollm::model same = must(model.share());
    CHECK(same.get() == model.get());
    std::string_view text = "one and one";
    CHECK(must(same.detokenize(must(same.tokenize(text)))) == text);
    CHECK(must(same.info()).find("\"llama\"") != std::string::npos);
    FAILS(OLLM_INVALID_UTF8, same.tokenize("\xff"));
    FAILS(OLLM_NO_TOKENIZER, same.chat_text({{"user", "hello"}}));
    FAILS(OLLM_NO_PLUGIN, ollm::plugin::bundled(same));
}

static void conversations(const ollm::model &model) {
    ollm::chat chat;
    chat.add("user", "<tool_call>").variables_json("{\"tools\": [{\"name\": \"add\"}]}");
    CHECK(must(model.chat_text(chat)).find("[user]<tool_call>") != std::string::npos);
    CHECK(!must(model.chat_tokens(chat)).empty());
    CHECK(must(model.chat_text({{"user", "hello"}})).find("[assistant]") != std::string::npos);
    std::string ended = must(model.chat_text(ollm::chat().messages_json("[{\"role\": \"user\", \"content\": \"a\"}]").no_answer()));
    CHECK(ended.find("[user]a") != std::string::npos && ended.find("[assistant]") == std::string::npos);
    FAILS(OLLM_INVALID_ARGUMENT, model.chat_tokens(ollm::chat().messages_json("{")));
    ollm::chat_parser parser = must(ollm::chat_parser::make(model, chat, OLLM_TOOL_FORMAT_HERMES));
    CHECK(must(parser.next()).kind == OLLM_CHAT_EVENT_NONE);
    must(parser.push("Well<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>"));
    must(parser.finish());
    ollm::chat_event event = must(parser.next());
    CHECK(event.kind == OLLM_CHAT_EVENT_TEXT && event.text() == "Well");
    event = must(parser.next());
    CHECK(event.kind == OLLM_CHAT_EVENT_TOOL_CALL && event.name() == "add" && event.id().empty());
    CHECK(event.arguments().find('1') != std::string_view::npos);
}

static void conversations_go_on(const ollm::model &model, const std::string &saved) {
    ollm::session_options session_options;
    session_options.context = 256;
    session_options.threads = 1;
    ollm::session session = must(ollm::session::make(model, session_options));
    ollm::conversation talk = must(ollm::conversation::make(session, ollm::chat_options("{\"tools\": [{\"name\": \"f\"}]}")));
    FAILS(OLLM_EMPTY, talk.answer());
    must(talk.set_system("Be kind."));
    must(talk.add("user", "Hi"));
    ollm::answer_options options;
    options.limit = 6;
    std::string said;
    ollm::answer answer = must(talk.answer(options, [&](const ollm::chat_event &event) { said += event.text(); }));
    CHECK(answer.has_message && answer.answer_tokens <= 6 && must(talk.count()) == 3 && must(talk.forgotten()) == 0);
    CHECK(must(talk.message(2)).find("assistant") != std::string::npos);
    must(talk.save_file(saved));
    must(talk.add_json("{\"role\": \"user\", \"content\": \"more\"}"));
    CHECK(must(talk.answer(options)).reused_tokens > 5);
    CHECK(must(talk.take_back()) == 2);
    must(talk.truncate(1));
    must(talk.restore_file(saved));
    CHECK(must(talk.count()) == 3);
    must(talk.set_options({}));
    must(talk.reset_messages());
    must(talk.set_system(std::nullopt));
    CHECK(must(talk.count()) == 0);
}

static void tokens_have_bytes(const ollm::model &model, const ollm::plugin &plugin) {
    std::string bytes;
    for (std::uint32_t token : must(model.tokenize("one \xc3\xa9"))) bytes += must(model.token_bytes(token));
    CHECK(bytes == "one \xc3\xa9");
    std::optional<std::uint32_t> end = must(model.special(OLLM_SPECIAL_EOS));
    CHECK(end && must(model.is_end(*end)) && !must(model.is_end(prompt[0])));
    CHECK(must(model.metadata("general.architecture")) == "\"llama\"");
    ollm::plugin same = must(plugin.share());
    CHECK(must(same.info()).find("10") != std::string::npos);
    CHECK(ollm::version().find('.') != std::string_view::npos && ollm::abi_version() == OLLM_ABI_VERSION);
}

static void sessions_tell(const ollm::model &model, const ollm::plugin &plugin, const std::string &folder) {
    ollm::session session = fed(model, plugin);
    CHECK(must(session.policy()).size() == 10 && must(session.hidden()).size() == 64 && must(session.context()) == 64);
    CHECK(must(session.logits(OLLM_DISTRIBUTION_OPTION, 3)).size() == must(session.logits(OLLM_DISTRIBUTION_BACKBONE)).size());
    CHECK(must(session.score({5, 6})).size() == 2 && must(session.position()) == prompt.size() + 2);
    float share = 0;
    must(session.feed(prompt, [&](float done) { share = done; }));
    CHECK(share == 1 && must(session.memory()) > 0 && must(session.statistics()).fed >= 2 * prompt.size());
    must(session.save_file(folder + "/layer.session"));
    must(session.rewind(0));
    must(session.restore_file(folder + "/layer.session"));
    CHECK(must(session.position()) == 2 * prompt.size() + 2);
    must(session.cancel());
    must(session.withdraw_cancel());
    must(session.step());
    must(session.rewind(0));
    CHECK(must(session.feed_cached(prompt, folder + "/layer.cache", 1)) == 0);
    CHECK(must(session.embed(prompt, OLLM_POOLING_MEAN)).size() == 64);
    FAILS(OLLM_UNSUPPORTED, session.rank("a query", "a document"));
    must(session.set_draft(OLLM_DRAFT_NGRAM));
    FAILS(OLLM_INVALID_ARGUMENT, session.set_draft(OLLM_DRAFT_MODEL));
    must(session.set_draft(OLLM_DRAFT_NONE));
    must(session.set_adapters({}));
    FAILS(OLLM_INVALID_ARGUMENT, session.set_adapters({}, {1.0f}));
    ollm::branches branches = must(session.branches());
    must(branches.cancel());
    must(branches.withdraw_cancel());
    must(branches.step());
}

static void logits_are_edited(const ollm::model &model, const ollm::plugin &plugin) {
    ollm::session session = fed(model, plugin);
    [[maybe_unused]] bool throws = false;
    auto edit = [&](float *logits, std::size_t vocabulary, ollm::view<std::uint32_t> tokens) {
        std::fill(logits, logits + vocabulary, -INFINITY);
        logits[tokens.size()] = 0;
#ifndef OLLM_RESULTS
        if (throws) throw std::runtime_error("mine");
#endif
    };
    must(session.set_sampling(ollm::sampling(), edit));
    CHECK(must(session.step()).id == prompt.size());
    ollm::session fork = must(session.fork());
    session = ollm::session();
    CHECK(must(fork.step()).id == prompt.size() + 1);
#ifndef OLLM_RESULTS
    throws = true;
    try {
        fork.step();
        CHECK(false);
    } catch (const std::runtime_error &thrown) {
        CHECK(std::string_view(thrown.what()) == "mine" && fork.position() == prompt.size() + 2);
    }
    throws = false;
    CHECK(fork.step().id == prompt.size() + 2);
#endif
}

static void batches_step(const ollm::model &model) {
    ollm::session one = fed(model, ollm::plugin()), two = fed(model, ollm::plugin());
    ollm::batch batch = must(ollm::batch::make());
    std::vector<ollm::batch::outcome> outcomes = must(batch.step({&one, &two}));
    CHECK(outcomes[0].status == OLLM_OK && outcomes[1].status == OLLM_OK && outcomes[0].token.id == outcomes[1].token.id);
    FAILS(OLLM_INVALID_ARGUMENT, batch.step({&one, &one}));
}

static void grammars_constrain(const ollm::model &model) {
    ollm_grammar *probe = nullptr;
    if (ollm_grammar_new(model.get(), OLLM_GRAMMAR_REGEX, "a", 1, &probe) == OLLM_UNSUPPORTED) {
        FAILS(OLLM_UNSUPPORTED, ollm::grammar::make(model, OLLM_GRAMMAR_REGEX, "a"));
        ollm::session session = fed(model, ollm::plugin());
        FAILS(OLLM_UNSUPPORTED, session.set_constraint(ollm::grammar(), ollm::constraint_options("x")));
        return;
    }
    ollm::grammar(std::move(probe)).reset();
    ollm::grammar grammar = must(ollm::grammar::make(model, OLLM_GRAMMAR_REGEX, "[ab]{3}"));
    ollm::session session = fed(model, ollm::plugin());
    must(session.set_constraint(grammar));
    std::string text;
    must(session.run(ollm::run_options(), [&](const ollm::token &token) { text += token.text(); }));
    CHECK(text.size() == 3 && must(session.is_complete()));
    must(session.clear_constraint());
}

/// The worker's session may be gone before the thread begins.
static void work(ollm_worker *worker) {
#ifdef OLLM_RESULTS
    ollm::result<void> worked = ollm::run(worker);
    CHECK(worked || worked.error().status == OLLM_INVALID_HANDLE);
#else
    try {
        ollm::run(worker);
    } catch (const ollm::error &error) {
        CHECK(error.status() == OLLM_INVALID_HANDLE);
    }
#endif
}

static void workers_run_on_threads_of_ours(const ollm::model &model) {
    std::vector<std::thread> threads;
    {
        ollm::session_options options;
        options.context = 64;
        options.threads = 2;
        options.user = &threads;
        options.start = [](void *user, ollm_worker *worker) noexcept {
            static_cast<std::vector<std::thread> *>(user)->emplace_back(work, worker);
            return std::int32_t(0);
        };
        ollm::session session = must(ollm::session::make(model, options));
        must(session.feed(prompt));
        must(session.step());
    }
    CHECK(threads.size() == 1);
    for (std::thread &thread : threads) thread.join();
}

static void sessions_share_a_pool(const ollm::model &model) {
    ollm::thread_pool_options threads;
    threads.threads = 2;
    ollm::thread_pool pool = must(ollm::thread_pool::make(threads));
    ollm::session_options options;
    options.context = 64;
    options.pool = pool.get();
    ollm::session one = must(ollm::session::make(model, options)), other = must(ollm::session::make(model, options));
    options.threads = 3;
    FAILS(OLLM_INVALID_ARGUMENT, ollm::session::make(model, options));
    pool = ollm::thread_pool();
    const std::vector<std::uint32_t> tokens = {1, 2, 3};
    must(one.feed(tokens));
    must(other.feed(tokens));
    CHECK(must(one.step()).id == must(other.step()).id);
}

static ollm::model loaded_with_a_log(const char *path, const char *plugin) {
    std::size_t messages = 0;
    float share = 0;
    must(ollm::set_log([&](ollm_log_level, std::string_view message) { messages += !message.empty(); }));
    ollm::source source = ollm::source::file(path), second = ollm::source::file(plugin);
    ollm::model model = must(ollm::model::load(source, ollm::load_options(), [&](float done) { share = done; }));
    must(ollm::set_log());
    CHECK(messages > 0 && share == 1);
    FAILS(OLLM_CANCELLED, ollm::model::load(source, ollm::load_options(), [](float) { return false; }));
    CHECK(must(ollm::memory_needed(source, &second)).total > 0);
    FAILS(OLLM_BAD_FILE, ollm::adapter::load(model, ollm::source::memory("none", 4)));
    return model;
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    FAILS(OLLM_IO, ollm::model::load(ollm::source::file("/no/such/file")));
    ollm::model model = loaded_with_a_log(argv[1], argv[2]);
    conversations(must(ollm::model::load(ollm::source::file(argv[3]))));
    conversations_go_on(must(ollm::model::load(ollm::source::file(argv[3]))), std::string(argv[3]) + ".conversation");
    ollm::plugin plugin = must(ollm::plugin::load(model, ollm::source::file(argv[2])));
    sessions_share_a_pool(model);
    ranges_and_runs_agree(model, plugin);
    options_fork_and_choose(model, plugin);
    branches_vote_and_are_adopted(model, plugin);
#ifndef OLLM_RESULTS
    what_a_policy_throws_comes_out(model, plugin);
#endif
    sessions_move_and_are_saved(model, plugin);
    models_are_shared_and_talk(model);
    tokens_have_bytes(model, plugin);
    std::string folder(argv[1]);
    sessions_tell(model, plugin, folder.substr(0, folder.rfind('/')));
    logits_are_edited(model, plugin);
    batches_step(model);
    grammars_constrain(model);
    workers_run_on_threads_of_ours(model);
    return 0;
}
