/// The C++17 layer of OLLM, over `ollm.h` and nothing else: handles that free themselves, text as
/// `std::string_view`, steps as a range. Every class owns one handle of C, which `get()` gives;
/// what is not here is called on that.
///
/// Errors are exceptions of the type `ollm::error`. With OLLM_RESULTS defined before this file is
/// included they are results instead: each function that can fail gives an `ollm::result<T>`, which
/// holds a value or a `failure`, and nothing throws.
///
///     ollm::model model = ollm::model::load(ollm::source::file("model.gguf"));
///     ollm::session session = ollm::session::make(model);
///     session.feed("Two plus two is");
///     for (const ollm::token &token : session.steps(64)) std::cout << token.text();

#ifndef OLLM_HPP
#define OLLM_HPP

#include "ollm.h"

#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace ollm {

using status = ollm_status;

/// A failure: the status, and the message of `ollm_last_error`.
struct failure {
    ollm::status status = OLLM_OK;
    std::string message;
};

#ifdef OLLM_RESULTS

/// A value, or why there is none; shaped as `std::expected`.
template <class T>
class [[nodiscard]] result {
public:
    result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    result(failure why) : held_(std::in_place_index<1>, std::move(why)) {}

    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The value, which must be there.
    T &operator*() & noexcept { return *std::get_if<0>(&held_); }
    T &&operator*() && noexcept { return std::move(*std::get_if<0>(&held_)); }
    T *operator->() noexcept { return std::get_if<0>(&held_); }
    /// Why there is no value.
    const failure &error() const noexcept { return *std::get_if<1>(&held_); }

private:
    std::variant<T, failure> held_;
};

template <>
class [[nodiscard]] result<void> {
public:
    result() = default;
    result(failure why) : why_(std::move(why)) {}

    bool has_value() const noexcept { return !why_; }
    explicit operator bool() const noexcept { return has_value(); }
    const failure &error() const noexcept { return *why_; }

private:
    std::optional<failure> why_;
};

#else

/// The exception of every function that fails.
class error : public std::runtime_error {
public:
    explicit error(const failure &why)
        : std::runtime_error(std::string(ollm_status_name(why.status)) + ": " + why.message), status_(why.status) {}

    ollm::status status() const noexcept { return status_; }

private:
    ollm::status status_;
};

template <class T>
using result = T;

#endif

namespace detail {

#ifdef OLLM_RESULTS
/// Calls a callback, which does not throw.
template <class Call>
auto guarded(Call call, decltype(call())) noexcept {
    return call();
}

inline void rethrow() noexcept {}
#else
/// What a callback has thrown on this thread, until the call that it belongs to has returned.
inline std::exception_ptr &thrown() noexcept {
    static thread_local std::exception_ptr kept;
    return kept;
}

/// Calls a callback for C, through which no exception may pass: `refusal` ends the call of C, and
/// `rethrow` goes on with the exception.
template <class Call>
auto guarded(Call call, decltype(call()) refusal) noexcept {
    try {
        return call();
    } catch (...) {
        if (!thrown()) thrown() = std::current_exception();
        return refusal;
    }
}

/// Throws what a callback has thrown in the call of C that has just returned.
inline void rethrow() {
    if (thrown()) std::rethrow_exception(std::exchange(thrown(), nullptr));
}
#endif

inline failure last_failure(status status) { return failure{status, ollm_last_error()}; }

/// The value, if the call that made it succeeded.
template <class T>
result<T> give(status status, T &&value) {
    rethrow();
    if (status != OLLM_OK) {
#ifdef OLLM_RESULTS
        return last_failure(status);
#else
        throw error(last_failure(status));
#endif
    }
    return result<T>(std::move(value));
}

inline result<void> done(status status) {
    rethrow();
    if (status != OLLM_OK) {
#ifdef OLLM_RESULTS
        return last_failure(status);
#else
        throw error(last_failure(status));
#endif
    }
    return result<void>();
}

/// Text or an array of a length that is not known before: `call(data, capacity, &length)`, twice if
/// the first guess is too small. `extra` elements are for the zero after a text.
template <class Buffer, class Call>
result<Buffer> fill(std::size_t guess, std::size_t extra, Call call) {
    Buffer buffer;
    std::size_t length = guess;
    status status = OLLM_BUFFER_TOO_SMALL;
    for (int i = 0; i < 2 && status == OLLM_BUFFER_TOO_SMALL; i++) {
        buffer.resize(length + extra);
        status = call(buffer.data(), buffer.size(), &length);
    }
    buffer.resize(status == OLLM_OK ? length : 0);
    return give(status, std::move(buffer));
}

/// One handle, freed at the end; it moves and does not copy.
template <class T, status (*Free)(T **)>
class handle {
public:
    handle() = default;
    explicit handle(T *owned) noexcept : owned_(owned) {}
    handle(handle &&other) noexcept : owned_(std::exchange(other.owned_, nullptr)) {}
    handle &operator=(handle &&other) noexcept {
        std::swap(owned_, other.owned_);
        return *this;
    }
    ~handle() { reset(); }

    /// The handle of C, which stays this object's; NULL if it was moved away.
    T *get() const noexcept { return owned_; }
    /// Gives the handle away, to be freed by C.
    T *release() noexcept { return std::exchange(owned_, nullptr); }
    explicit operator bool() const noexcept { return owned_ != nullptr; }
    /// Frees the handle now.
    void reset() noexcept { Free(&owned_); }

private:
    T *owned_ = nullptr;
};

/// A callable as a callback of C.
template <class Each>
struct caller {
    Each &each;

    /// What the callback gives to C: 0 goes on.
    template <class Seen>
    std::int32_t call(const Seen &seen) noexcept {
        return guarded([&] { return visit(seen); }, 1);
    }

private:
    template <class Seen>
    std::int32_t visit(const Seen &seen) {
        if constexpr (std::is_convertible_v<decltype(each(seen)), bool>) {
            return each(seen) ? 0 : 1;
        } else {
            each(seen);
            return 0;
        }
    }
};

}  // namespace detail

/// Options of C that begin with their defaults: `ollm::sampling sampling; sampling.temperature =
/// 0.7f;`.
struct load_options : ollm_load_options {
    load_options() : ollm_load_options(ollm_load_options_init()) {}
};
struct session_options : ollm_session_options {
    session_options() : ollm_session_options(ollm_session_options_init()) {}
};
struct sampling : ollm_sampling {
    sampling() : ollm_sampling(ollm_sampling_init()) {}
};
struct selection : ollm_selection {
    selection() : ollm_selection(ollm_selection_init()) {}
};
struct run_options : ollm_run_options {
    run_options() : ollm_run_options(ollm_run_options_init()) {}
};
struct branch_options : ollm_branch_options {
    branch_options() : ollm_branch_options(ollm_branch_options_init()) {}
};
struct tally : ollm_tally {
    tally() : ollm_tally(ollm_tally_init()) {}
    /// The rule must live until the tally is used.
    explicit tally(std::string_view rule) : tally() {
        ollm_tally::rule = rule.data();
        rule_length = rule.size();
    }
};
struct search_options : ollm_search_options {
    search_options() : ollm_search_options(ollm_search_options_init()) {}
};
struct suggest_options : ollm_suggest_options {
    suggest_options() : ollm_suggest_options(ollm_suggest_options_init()) {}
};
struct memory : ollm_memory {
    memory() : ollm_memory(ollm_memory_init()) {}
};

/// Where the bytes of a file come from.
struct source : ollm_source {
    /// The path must live until the source is used.
    static source file(const char *path) { return source{ollm_source_file(path)}; }
    static source file(const std::string &path) { return file(path.c_str()); }
    static source file(std::string &&) = delete;
    static source descriptor(int descriptor, std::uint64_t offset = 0, std::size_t length = 0) {
        return source{ollm_source_descriptor(descriptor, offset, length)};
    }
    /// Without `release` the bytes are copied; with it they are used in place until it is called.
    static source memory(const void *data, std::size_t length, ollm_release_fn release = nullptr, void *user = nullptr) {
        return source{ollm_source_memory(data, length, release, user)};
    }
};

/// A span: a view of successive values that it does not own.
template <class T>
class view {
public:
    view(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    view(const std::vector<T> &values) noexcept : data_(values.data()), size_(values.size()) {}
    view(std::initializer_list<T> values) noexcept : data_(std::data(values)), size_(values.size()) {}

    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const T *begin() const noexcept { return data_; }
    const T *end() const noexcept { return data_ + size_; }
    const T &operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    const T *data_;
    std::size_t size_;
};

/// One turn of a conversation.
struct message {
    std::string_view role;
    std::string_view content;
};

/// A backbone and its tokenizer; threads share it.
class model : public detail::handle<ollm_model, ollm_model_release> {
public:
    using handle::handle;

    static result<model> load(const source &source, const load_options &options = {}) {
        ollm_model *loaded = nullptr;
        status status = ollm_model_load(&source, &options, &loaded);
        return detail::give(status, model(loaded));
    }

    /// A second owner of the same model.
    result<model> share() const {
        status status = ollm_model_retain(get());
        return detail::give(status, model(status == OLLM_OK ? get() : nullptr));
    }

    /// What the model is, as JSON.
    result<std::string> info() const {
        return detail::fill<std::string>(1024, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_model_info(get(), text, capacity, length);
        });
    }

    /// The tokens of a text; `flags` are of `ollm_tokenize_flags`.
    result<std::vector<std::uint32_t>> tokenize(std::string_view text, std::uint32_t flags = 0) const {
        auto call = [&](std::uint32_t *tokens, std::size_t capacity, std::size_t *count) {
            return ollm_tokenize(get(), text.data(), text.size(), flags, tokens, capacity, count);
        };
        return detail::fill<std::vector<std::uint32_t>>(text.size() + 1, 0, call);
    }

    result<std::string> detokenize(view<std::uint32_t> tokens) const {
        return detail::fill<std::string>(8 * tokens.size(), 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_detokenize(get(), tokens.data(), tokens.size(), text, capacity, length);
        });
    }

    /// The text of a conversation, up to where the model's answer begins.
    result<std::string> chat_text(view<message> messages, bool answer = true) const {
        std::vector<ollm_message> turns;
        std::size_t size = 256;
        for (const message &turn : messages) {
            turns.push_back({turn.role.data(), turn.role.size(), turn.content.data(), turn.content.size()});
            size += turn.role.size() + turn.content.size() + 32;
        }
        return detail::fill<std::string>(size, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_chat_text(get(), turns.data(), turns.size(), answer, text, capacity, length);
        });
    }
};

/// The plugin of a model; threads share it.
class plugin : public detail::handle<ollm_plugin, ollm_plugin_release> {
public:
    using handle::handle;

    static result<plugin> load(const model &model, const source &source) {
        ollm_plugin *loaded = nullptr;
        status status = ollm_plugin_load(model.get(), &source, &loaded);
        return detail::give(status, plugin(loaded));
    }

    /// The plugin inside the model's own file.
    static result<plugin> bundled(const model &model) {
        ollm_plugin *found = nullptr;
        status status = ollm_plugin_bundled(model.get(), &found);
        return detail::give(status, plugin(found));
    }

    /// K, the number of options.
    result<std::size_t> option_count() const {
        std::size_t count = 0;
        status status = ollm_plugin_option_count(get(), &count);
        return detail::give(status, std::move(count));
    }
};

/// A snapshot of an option set.
class option_set : public detail::handle<ollm_option_set, ollm_option_set_free> {
public:
    using handle::handle;

    /// The probability that the policy gives to each latent.
    result<std::vector<float>> policy() const {
        return detail::fill<std::vector<float>>(16, 0, [&](float *policy, std::size_t capacity, std::size_t *count) {
            return ollm_option_set_policy(get(), policy, capacity, count);
        });
    }

    /// The most probable tokens of the option of a latent.
    result<std::vector<ollm_candidate>> top(std::uint32_t latent) const {
        auto call = [&](ollm_candidate *top, std::size_t capacity, std::size_t *count) {
            return ollm_option_set_top(get(), latent, top, capacity, count);
        };
        return detail::fill<std::vector<ollm_candidate>>(8, 0, call);
    }
};

/// A generated token. Its text is gone with the next call on the session, or when the callback
/// returns.
struct token : ollm_token {
    token() : ollm_token(ollm_token_init()) {}
    explicit token(const ollm_token &seen) : ollm_token(seen) {}

    std::string_view text() const noexcept { return {ollm_token::text, text_length}; }
};

/// Into what a branch is expanded.
struct expansion : ollm_expansion {
    static expansion latents() { return {OLLM_EXPAND_LATENTS, 0}; }
    static expansion top(std::size_t count) { return {OLLM_EXPAND_TOP, count}; }
    static expansion draw(std::size_t count) { return {OLLM_EXPAND_DRAW, count}; }
    static expansion tokens(std::size_t count) { return {OLLM_EXPAND_TOKENS, count}; }
    static expansion sample(std::size_t count, float temperature) { return {OLLM_EXPAND_SAMPLE, count, temperature}; }

private:
    expansion(ollm_expand kind, std::size_t count, float temperature = 0) : ollm_expansion(ollm_expansion_init()) {
        ollm_expansion::kind = kind;
        ollm_expansion::count = count;
        ollm_expansion::temperature = temperature;
    }
};

/// One branch. Its text and arrays are gone when the branches change.
struct branch : ollm_branch {
    branch() : ollm_branch(ollm_branch_init()) {}
    explicit branch(const ollm_branch &seen) : ollm_branch(seen) {}

    std::string_view text() const noexcept { return {ollm_branch::text, text_length}; }
    view<std::uint32_t> tokens() const noexcept { return {ollm_branch::tokens, token_count}; }
    /// The latent of each token; -1 for none.
    view<std::int32_t> latents() const noexcept { return {ollm_branch::latents, token_count}; }
    bool is_open() const noexcept { return state == OLLM_BRANCH_OPEN; }
};

/// What a search or a vote found.
struct found : ollm_found {
    found() : ollm_found(ollm_found_init()) {}

    /// The answer, if there is one; it is gone with the next search or vote.
    std::optional<std::string_view> answer() const noexcept {
        if (ollm_found::answer == nullptr) return std::nullopt;
        return std::string_view(ollm_found::answer, answer_length);
    }
};

/// A continuation that a session suggests.
struct suggestion {
    std::string text;
    std::vector<std::uint32_t> tokens;
    double probability = 0;
    /// The latent that adds most to it; -1 for none.
    std::int32_t latent = -1;
};

class session;

/// Several continuations of one session. One thread at a time; any thread may call `cancel`.
class branches : public detail::handle<ollm_branches, ollm_branches_free> {
public:
    using handle::handle;

    branches() = default;
    branches(branches &&) = default;
    branches &operator=(branches &&other) noexcept {
        handle::operator=(std::move(other));
        std::swap(choose_, other.choose_);
        return *this;
    }
    /// The branches go before the callback that they may be in.
    ~branches() { reset(); }

    /// Makes several branches of one.
    result<void> expand(std::size_t branch, const expansion &expansion) {
        return detail::done(ollm_branches_expand(get(), branch, &expansion));
    }
    /// Advances all open branches by a token each; gives how many there were.
    result<std::size_t> step() {
        std::size_t advanced = 0;
        status status = ollm_branches_step(get(), &advanced);
        return detail::give(status, std::move(advanced));
    }
    result<void> prune(std::size_t branch) { return detail::done(ollm_branches_prune(get(), branch)); }
    result<std::size_t> count() const {
        std::size_t count = 0;
        status status = ollm_branches_count(get(), &count);
        return detail::give(status, std::move(count));
    }
    result<branch> at(std::size_t index) const {
        branch branch;
        status status = ollm_branches_get(get(), index, &branch);
        return detail::give(status, std::move(branch));
    }

    result<found> run(const search_options &options = {}) {
        found found;
        status status = ollm_branches_run(get(), &options, &found);
        return detail::give(status, std::move(found));
    }
    /// `each(branches)` sees the branches after each step, as a `view<const ollm_branch *>`; if it
    /// gives a bool, false ends.
    template <class Each>
    result<found> run(search_options options, Each &&each) {
        detail::caller<Each> caller{each};
        options.each = [](void *user, const ollm_branch *const *branches, std::size_t count) noexcept {
            return static_cast<detail::caller<Each> *>(user)->call(view<const ollm_branch *>(branches, count));
        };
        options.user = &caller;
        found found;
        status status = ollm_branches_run(get(), &options, &found);
        return detail::give(status, std::move(found));
    }
    /// The vote of the branches that are there.
    result<found> vote(const tally &tally = {}) {
        found found;
        status status = ollm_branches_vote(get(), &tally, &found);
        return detail::give(status, std::move(found));
    }
    /// Any thread.
    result<void> cancel() const { return detail::done(ollm_branches_cancel(get())); }

private:
    friend class session;
    std::shared_ptr<void> choose_;
};

/// Steps of a session as an input range: it ends with an end token (which is not in it), after
/// `limit` steps, or with a status, which `why` gives.
class steps {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = token;
        using difference_type = std::ptrdiff_t;
        using pointer = const token *;
        using reference = const token &;

        iterator() = default;
        explicit iterator(steps *range) : range_(range) { advance(); }
        reference operator*() const noexcept { return range_->token_; }
        pointer operator->() const noexcept { return &range_->token_; }
        iterator &operator++() {
            advance();
            return *this;
        }
        void operator++(int) { advance(); }
        bool operator==(const iterator &other) const noexcept { return range_ == other.range_; }
        bool operator!=(const iterator &other) const noexcept { return range_ != other.range_; }

    private:
        void advance() {
            if (!range_->next()) range_ = nullptr;
        }

        steps *range_ = nullptr;
    };

    steps(ollm_session *session, std::size_t limit) noexcept : session_(session), left_(limit) {}
    iterator begin() { return iterator(this); }
    iterator end() const noexcept { return iterator(); }

    /// The status of the last step: `OLLM_CONTEXT_FULL` at the end of the context, `OLLM_OK` after
    /// an end token.
    status why() const noexcept { return status_; }

private:
    bool next() {
        if (left_ == 0) return false;
        left_--;
        status_ = ollm_session_step(session_, &token_);
#ifndef OLLM_RESULTS
        if (status_ != OLLM_CONTEXT_FULL) detail::done(status_);
#endif
        return status_ == OLLM_OK && !token_.is_end;
    }

    ollm_session *session_;
    std::size_t left_;
    status status_ = OLLM_OK;
    token token_;
};

/// A sequence of tokens on a model. One thread at a time; any thread may call `cancel`.
class session : public detail::handle<ollm_session, ollm_session_free> {
public:
    using handle::handle;
    /// Chooses a latent from the hidden state and the policy's probabilities.
    using policy_fn = std::function<std::uint32_t(view<float> hidden, view<float> policy)>;

    session() = default;
    session(session &&) = default;
    session &operator=(session &&other) noexcept {
        handle::operator=(std::move(other));
        std::swap(choose_, other.choose_);
        return *this;
    }
    /// The session goes before the callback that it may be in.
    ~session() { reset(); }

    static result<session> make(const model &model, const session_options &options = {}) {
        return make(model, plugin(), options);
    }
    static result<session> make(const model &model, const plugin &plugin, const session_options &options = {}) {
        ollm_session *made = nullptr;
        status status = ollm_session_new(model.get(), plugin.get(), &options, &made);
        return detail::give(status, session(made));
    }

    /// Forks the session: a second session with the same text.
    result<session> fork() const {
        ollm_session *made = nullptr;
        status status = ollm_session_fork(get(), &made);
        session forked(made);
        forked.choose_ = choose_;
        return detail::give(status, std::move(forked));
    }

    result<void> feed(view<std::uint32_t> tokens) {
        return detail::done(ollm_session_feed(get(), tokens.data(), tokens.size()));
    }
    result<void> feed(std::string_view text, std::uint32_t flags = 0) {
        return detail::done(ollm_session_feed_text(get(), text.data(), text.size(), flags));
    }

    result<token> step() {
        token token;
        status status = ollm_session_step(get(), &token);
        return detail::give(status, std::move(token));
    }
    /// A step from the option of this latent.
    result<token> step(std::uint32_t latent) {
        token token;
        status status = ollm_session_step_latent(get(), latent, &token);
        return detail::give(status, std::move(token));
    }
    /// Up to `limit` steps, as a range.
    ollm::steps steps(std::size_t limit) { return ollm::steps(get(), limit); }

    /// Generates until `options` or an end token say so. `each(token)` sees every token; if it
    /// gives a bool, false ends.
    template <class Each>
    result<ollm_reason> run(run_options options, Each &&each) {
        detail::caller<Each> caller{each};
        options.each = [](void *user, const ollm_token *seen) noexcept {
            return static_cast<detail::caller<Each> *>(user)->call(token(*seen));
        };
        options.user = &caller;
        ollm_reason reason = OLLM_REASON_END;
        status status = ollm_session_run(get(), &options, &reason);
        return detail::give(status, std::move(reason));
    }

    result<void> set_sampling(const sampling &sampling) {
        return detail::done(ollm_session_set_sampling(get(), &sampling));
    }
    result<void> set_selection(const selection &selection) {
        return detail::done(ollm_session_set_selection(get(), &selection));
    }
    /// Has `choose` select the latents. The session keeps it, and its forks do. What it throws comes
    /// out of the call that selects; that step does not happen.
    result<void> set_policy(policy_fn choose, ollm_hold hold = OLLM_HOLD_TRAINED) {
        auto kept = std::make_shared<policy_fn>(std::move(choose));
        selection selection;
        selection.mode = OLLM_SELECT_CALLBACK;
        selection.hold = hold;
        selection.user = kept.get();
        selection.choose = [](void *user, const float *hidden, std::size_t size, const float *policy, std::size_t options) noexcept {
            auto choose = [&] { return (*static_cast<policy_fn *>(user))({hidden, size}, {policy, options}); };
            return detail::guarded(choose, UINT32_MAX);
        };
        status status = ollm_session_set_selection(get(), &selection);
        if (status == OLLM_OK) choose_ = std::move(kept);
        return detail::done(status);
    }

    /// The option set of the current step.
    result<ollm::option_set> option_set(std::size_t top) const {
        ollm_option_set *made = nullptr;
        status status = ollm_option_set_new(get(), top, &made);
        return detail::give(status, ollm::option_set(made));
    }

    /// The latent that the encoder assigns to each token that is fed; -1 for the first of a
    /// sequence.
    result<std::vector<std::int32_t>> encode(view<std::uint32_t> tokens) {
        std::vector<std::int32_t> latents(tokens.size() + 1);
        status status = ollm_session_encode(get(), tokens.data(), tokens.size(), latents.data());
        latents.pop_back();
        return detail::give(status, std::move(latents));
    }

    result<std::size_t> position() const {
        std::size_t position = 0;
        status status = ollm_session_position(get(), &position);
        return detail::give(status, std::move(position));
    }
    result<std::vector<std::uint32_t>> tokens() const {
        auto call = [&](std::uint32_t *tokens, std::size_t capacity, std::size_t *count) {
            return ollm_session_tokens(get(), tokens, capacity, count);
        };
        return detail::fill<std::vector<std::uint32_t>>(256, 0, call);
    }
    result<void> rewind(std::size_t position) { return detail::done(ollm_session_rewind(get(), position)); }

    /// Branches that begin where the session is.
    result<ollm::branches> branches(const branch_options &options = {}) const {
        ollm_branches *made = nullptr;
        status status = ollm_branches_new(get(), &options, &made);
        ollm::branches branches(made);
        branches.choose_ = choose_;
        return detail::give(status, std::move(branches));
    }
    /// Comes to where a branch is, as if it had generated the branch's tokens.
    result<void> adopt(const ollm::branches &branches, std::size_t branch) {
        return detail::done(ollm_branches_adopt(branches.get(), branch, get()));
    }
    /// Continuations to choose from, the most probable first.
    result<std::vector<suggestion>> suggest(const suggest_options &options = {}) const {
        ollm_suggestions *made = nullptr;
        status status = ollm_session_suggest(get(), &options, &made);
        detail::handle<ollm_suggestions, ollm_suggestions_free> owned(made);
        std::vector<suggestion> all;
        std::size_t count = 0;
        if (status == OLLM_OK) status = ollm_suggestions_count(made, &count);
        for (std::size_t i = 0; status == OLLM_OK && i < count; i++) {
            ollm_suggestion one = ollm_suggestion_init();
            status = ollm_suggestions_get(made, i, &one);
            if (status != OLLM_OK) break;
            std::string text(one.text, one.text_length);
            all.push_back({std::move(text), {one.tokens, one.tokens + one.token_count}, one.probability, one.latent});
        }
        return detail::give(status, std::move(all));
    }

    result<std::vector<unsigned char>> save() const {
        auto call = [&](unsigned char *data, std::size_t capacity, std::size_t *length) {
            return ollm_session_save(get(), data, capacity, length);
        };
        return detail::fill<std::vector<unsigned char>>(1, 0, call);
    }
    result<void> restore(view<unsigned char> saved) {
        return detail::done(ollm_session_restore(get(), saved.data(), saved.size()));
    }

    result<void> set_duty(float share) { return detail::done(ollm_session_set_duty(get(), share)); }
    result<void> trim() { return detail::done(ollm_session_trim(get())); }
    /// Any thread.
    result<void> cancel() const { return detail::done(ollm_session_cancel(get())); }

private:
    std::shared_ptr<policy_fn> choose_;
};

}  // namespace ollm

#endif
