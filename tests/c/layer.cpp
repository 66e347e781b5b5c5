// The C++ layer: ownership, ranges, errors, callbacks. usage: layer MODEL PLUGIN. Built twice: with exceptions, and with
// OLLM_RESULTS and no exceptions at all.
#include <ollm.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
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

int main(int argc, char **argv) {
    CHECK(argc == 3);
    FAILS(OLLM_IO, ollm::model::load(ollm::source::file("/no/such/file")));
    ollm::model model = must(ollm::model::load(ollm::source::file(argv[1])));
    ollm::plugin plugin = must(ollm::plugin::load(model, ollm::source::file(argv[2])));
    ranges_and_runs_agree(model, plugin);
    options_fork_and_choose(model, plugin);
    branches_vote_and_are_adopted(model, plugin);
#ifndef OLLM_RESULTS
    what_a_policy_throws_comes_out(model, plugin);
#endif
    sessions_move_and_are_saved(model, plugin);
    models_are_shared_and_talk(model);
    return 0;
}
