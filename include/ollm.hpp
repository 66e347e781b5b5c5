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
#include <limits>
#include <memory>
#include <mutex>
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

/// Calls a callback whose exceptions go nowhere.
template <class Call>
void dropped(Call call) noexcept {
    call();
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

/// Calls a callback whose exceptions go nowhere.
template <class Call>
void dropped(Call call) noexcept {
    try {
        call();
    } catch (...) {
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

inline result<void> refuse(const failure &why) {
#ifdef OLLM_RESULTS
    return why;
#else
    throw error(why);
#endif
}

inline result<void> done(status status) {
    rethrow();
    return status == OLLM_OK ? result<void>() : refuse(last_failure(status));
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

/// Floats of a length that is not known before.
template <class Call>
result<std::vector<float>> floats(std::size_t guess, Call call) {
    return fill<std::vector<float>>(guess, 0, call);
}

/// Callbacks that C keeps: a session, its forks and its branches own them together.
struct callbacks {
    std::shared_ptr<void> choose, edit;
};

/// A callable as a callback of C.
template <class Each>
struct caller {
    Each &each;

    /// As an `ollm_progress_fn`.
    static std::int32_t progress(void *user, float share) noexcept { return static_cast<caller *>(user)->call(share); }

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

/// The version of the library, and of its binary interface.
inline std::string_view version() noexcept { return ollm_version(); }
inline std::uint32_t abi_version() noexcept { return ollm_abi_version(); }

/// Takes messages of the library, on any thread and on several at once. What it throws is dropped.
using log_fn = std::function<void(ollm_log_level level, std::string_view message)>;

/// Sends messages of the whole library to `log`; without one they go nowhere.
inline result<void> set_log(log_fn log = nullptr) {
    static std::unique_ptr<log_fn> kept;
    static std::mutex lock;
    // A log callback that sets the log must not wait for the thread that waits for it.
    std::unique_lock<std::mutex> guard(lock, std::try_to_lock);
    if (!guard) return detail::refuse(failure{OLLM_BUSY, "set_log is in use"});
    auto next = log ? std::make_unique<log_fn>(std::move(log)) : nullptr;
    auto call = [](void *user, ollm_log_level level, const char *text, std::size_t length) noexcept {
        detail::dropped([&] { (*static_cast<log_fn *>(user))(level, {text, length}); });
    };
    status status = ollm_set_log(next ? static_cast<ollm_log_fn>(call) : nullptr, next.get());
    if (status == OLLM_OK) kept = std::move(next);
    return detail::done(status);
}

/// Runs a worker that `session_options::start` was given, on a thread of the application.
inline result<void> run(ollm_worker *worker) { return detail::done(ollm_worker_run(worker)); }

/// Options of C that begin with their defaults: `ollm::sampling sampling; sampling.temperature =
/// 0.7f;`.
struct load_options : ollm_load_options {
    load_options() : ollm_load_options(ollm_load_options_init()) {}
};
struct thread_pool_options : ollm_thread_pool_options {
    thread_pool_options() : ollm_thread_pool_options(ollm_thread_pool_options_init()) {}
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
struct constraint_options : ollm_constraint_options {
    constraint_options() : ollm_constraint_options(ollm_constraint_options_init()) {}
    /// The text is free until it has `trigger`, which must live until the options are used.
    explicit constraint_options(std::string_view trigger) : constraint_options() {
        ollm_constraint_options::trigger = trigger.data();
        trigger_length = trigger.size();
    }
};
struct chat_options : ollm_chat_options {
    chat_options() : ollm_chat_options(ollm_chat_options_init()) {}
    /// Variables of the chat template, which must live until the options are used.
    explicit chat_options(std::string_view variables) : chat_options() {
        variables_json = variables.data();
        variables_json_length = variables.size();
    }
};
struct answer_options : ollm_answer_options {
    answer_options() : ollm_answer_options(ollm_answer_options_init()) {}
};
struct answer : ollm_answer {
    answer() : ollm_answer(ollm_answer_init()) {}
};
struct memory : ollm_memory {
    memory() : ollm_memory(ollm_memory_init()) {}
};
struct statistics : ollm_statistics {
    statistics() : ollm_statistics(ollm_statistics_init()) {}
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

/// A conversation, and what the chat template is given beside it. It holds copies.
class chat {
public:
    /// Adds a message.
    chat &add(std::string_view role, std::string_view content) {
        roles_.emplace_back(role);
        contents_.emplace_back(content);
        return *this;
    }
    /// The messages as JSON, for those with other fields than role and content, in place of `add`.
    chat &messages_json(std::string_view json) {
        messages_json_ = json;
        return *this;
    }
    /// Variables of the chat template, as a JSON object: `tools`, `documents` and others.
    chat &variables_json(std::string_view json) {
        variables_json_ = json;
        return *this;
    }
    /// Ends with the last message, not where the model's answer begins.
    chat &no_answer() {
        answer_ = false;
        return *this;
    }

private:
    friend class model;
    friend class chat_parser;

    /// Calls `call` with the conversation as C has it.
    template <class Call>
    auto with(Call call) const {
        std::vector<ollm_message> messages;
        for (std::size_t i = 0; i < roles_.size(); i++) {
            messages.push_back({roles_[i].data(), roles_[i].size(), contents_[i].data(), contents_[i].size()});
        }
        ollm_chat_input input = ollm_chat_input_init();
        input.messages = messages.empty() ? nullptr : messages.data();
        input.message_count = messages.size();
        if (messages_json_) {
            input.messages_json = messages_json_->data();
            input.messages_json_length = messages_json_->size();
        }
        if (variables_json_) {
            input.variables_json = variables_json_->data();
            input.variables_json_length = variables_json_->size();
        }
        input.no_answer = answer_ ? 0 : 1;
        return call(static_cast<const ollm_chat_input &>(input));
    }

    std::vector<std::string> roles_, contents_;
    std::optional<std::string> messages_json_, variables_json_;
    bool answer_ = true;
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

    /// `progress(share)` is told how far the load is; if it gives a bool, false cancels.
    template <class Progress>
    static result<model> load(const source &source, load_options options, Progress &&progress) {
        detail::caller<Progress> caller{progress};
        options.progress = detail::caller<Progress>::progress;
        options.user = &caller;
        ollm_model *loaded = nullptr;
        status status = ollm_model_load(&source, &options, &loaded);
        model owner(loaded);
        return detail::give(status, std::move(owner));
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

    /// The value of a key of the file's metadata, as JSON.
    result<std::string> metadata(std::string_view key) const {
        return detail::fill<std::string>(64, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_model_metadata(get(), key.data(), key.size(), text, capacity, length);
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

    /// The bytes that one token stands for, which may be a part of a character.
    result<std::string> token_bytes(std::uint32_t token) const {
        return detail::fill<std::string>(32, 1, [&](char *bytes, std::size_t capacity, std::size_t *length) {
            return ollm_token_bytes(get(), token, bytes, capacity, length);
        });
    }

    /// Whether a text or a turn ends at this token.
    result<bool> is_end(std::uint32_t token) const {
        std::int32_t is_end = 0;
        status status = ollm_is_end(get(), token, &is_end);
        return detail::give(status, is_end != 0);
    }

    /// A special token, if the model's file names one.
    result<std::optional<std::uint32_t>> special(ollm_special special) const {
        std::uint32_t token = OLLM_NO_TOKEN;
        status status = ollm_special_token(get(), special, &token);
        return detail::give(status, token == OLLM_NO_TOKEN ? std::nullopt : std::optional<std::uint32_t>(token));
    }

    /// The text of a conversation, for reading.
    result<std::string> chat_text(const chat &chat) const {
        return chat.with([&](const ollm_chat_input &input) {
            return detail::fill<std::string>(1024, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
                return ollm_chat_render(get(), &input, text, capacity, length);
            });
        });
    }

    /// The tokens of a conversation, to be fed. What is said in it is never a control token.
    result<std::vector<std::uint32_t>> chat_tokens(const chat &chat) const {
        return chat.with([&](const ollm_chat_input &input) {
            auto call = [&](std::uint32_t *tokens, std::size_t capacity, std::size_t *count) {
                return ollm_chat_tokens(get(), &input, tokens, capacity, count);
            };
            return detail::fill<std::vector<std::uint32_t>>(256, 0, call);
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

    /// A second owner of the same plugin.
    result<plugin> share() const {
        status status = ollm_plugin_retain(get());
        return detail::give(status, plugin(status == OLLM_OK ? get() : nullptr));
    }

    /// What the plugin is, as JSON.
    result<std::string> info() const {
        return detail::fill<std::string>(1024, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_plugin_info(get(), text, capacity, length);
        });
    }

    /// K, the number of options.
    result<std::size_t> option_count() const {
        std::size_t count = 0;
        status status = ollm_plugin_option_count(get(), &count);
        return detail::give(status, std::move(count));
    }
};

/// What a model, a plugin and a session will need; `plugin` may be NULL.
inline result<memory> memory_needed(const source &model, const source *plugin = nullptr, const session_options &options = {}) {
    memory needed;
    status status = ollm_memory_needed(&model, plugin, &options, &needed);
    return detail::give(status, std::move(needed));
}

/// Workers that several sessions share, which keep it alive: `options.pool = pool.get();`.
class thread_pool : public detail::handle<ollm_thread_pool, ollm_thread_pool_release> {
public:
    using handle::handle;

    static result<thread_pool> make(const thread_pool_options &options = {}) {
        ollm_thread_pool *made = nullptr;
        status status = ollm_thread_pool_new(&options, &made);
        return detail::give(status, thread_pool(made));
    }
};

/// Low-rank adapters of a model (LoRA); threads share them.
class adapter : public detail::handle<ollm_adapter, ollm_adapter_release> {
public:
    using handle::handle;

    static result<adapter> load(const model &model, const source &source) {
        ollm_adapter *loaded = nullptr;
        status status = ollm_adapter_load(model.get(), &source, &loaded);
        return detail::give(status, adapter(loaded));
    }
};

/// A grammar, compiled for the tokens of a model.
class grammar : public detail::handle<ollm_grammar, ollm_grammar_free> {
public:
    using handle::handle;

    static result<grammar> make(const model &model, ollm_grammar_kind kind, std::string_view text) {
        ollm_grammar *made = nullptr;
        status status = ollm_grammar_new(model.get(), kind, text.data(), text.size(), &made);
        return detail::give(status, grammar(made));
    }
};

/// A part of an answer. Its texts are gone with the next call on the parser.
struct chat_event : ollm_chat_event {
    chat_event() : ollm_chat_event(ollm_chat_event_init()) {}
    explicit chat_event(const ollm_chat_event &event) : ollm_chat_event(event) {}

    std::string_view text() const noexcept { return {ollm_chat_event::text, text_length}; }
    std::string_view name() const noexcept { return {ollm_chat_event::name, name_length}; }
    std::string_view arguments() const noexcept { return {ollm_chat_event::arguments, arguments_length}; }
    std::string_view id() const noexcept { return {ollm_chat_event::id, id_length}; }
};

/// Takes the text of an answer apart: what the model thinks, what it says, which tools it calls.
class chat_parser : public detail::handle<ollm_chat_parser, ollm_chat_parser_free> {
public:
    using handle::handle;

    static result<chat_parser> make(const model &model, const chat &chat, ollm_tool_format format = OLLM_TOOL_FORMAT_AUTO) {
        ollm_chat_parser *made = nullptr;
        status status = chat.with([&](const ollm_chat_input &input) {
            return ollm_chat_parser_new(model.get(), &input, format, &made);
        });
        return detail::give(status, chat_parser(made));
    }

    /// Takes a piece of the answer's text, such as that of one token.
    result<void> push(std::string_view text) { return detail::done(ollm_chat_parser_push(get(), text.data(), text.size())); }
    /// Ends the answer.
    result<void> finish() { return detail::done(ollm_chat_parser_finish(get())); }
    /// The next part of the answer; its kind is `OLLM_CHAT_EVENT_NONE` if there is none yet.
    result<chat_event> next() {
        chat_event event;
        status status = ollm_chat_parser_next(get(), &event);
        return detail::give(status, std::move(event));
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
        std::swap(kept_, other.kept_);
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
    /// Takes back a cancellation that no call has seen yet. Any thread.
    result<void> withdraw_cancel() const { return detail::done(ollm_branches_withdraw_cancel(get())); }

private:
    friend class session;
    detail::callbacks kept_;
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
    /// Changes the logits, one for each token of the vocabulary, given the tokens so far.
    using edit_fn = std::function<void(float *logits, std::size_t vocabulary, view<std::uint32_t> tokens)>;

    session() = default;
    session(session &&) = default;
    session &operator=(session &&other) noexcept {
        handle::operator=(std::move(other));
        std::swap(kept_, other.kept_);
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
        forked.kept_ = kept_;
        return detail::give(status, std::move(forked));
    }

    result<void> feed(view<std::uint32_t> tokens) {
        return detail::done(ollm_session_feed(get(), tokens.data(), tokens.size()));
    }
    result<void> feed(std::string_view text, std::uint32_t flags = 0) {
        return detail::done(ollm_session_feed_text(get(), text.data(), text.size(), flags));
    }

    /// `progress(share)` is told how far the feed is; if it gives a bool, false cancels.
    template <class Progress>
    result<void> feed(view<std::uint32_t> tokens, Progress &&progress) {
        detail::caller<Progress> caller{progress};
        auto watch = detail::caller<Progress>::progress;
        return detail::done(ollm_session_feed_watched(get(), tokens.data(), tokens.size(), watch, &caller));
    }
    /// Feeds an empty session by way of a folder of saved sessions, of `limit` bytes at most; gives how
    /// many tokens came from it.
    result<std::size_t> feed_cached(view<std::uint32_t> tokens, const std::string &folder, std::uint64_t limit) {
        std::size_t found = 0;
        status status = ollm_session_feed_cached(get(), tokens.data(), tokens.size(), folder.c_str(), limit, &found);
        return detail::give(status, std::move(found));
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
    /// Has `edit` see and change the logits. The session keeps it, and its forks and branches do. What
    /// it throws comes out of the call that samples; that step does not happen.
    result<void> set_sampling(sampling sampling, edit_fn edit) {
        auto kept = std::make_shared<edit_fn>(std::move(edit));
        sampling.user = kept.get();
        sampling.edit = [](void *user, float *logits, std::size_t size, const std::uint32_t *tokens, std::size_t count) noexcept {
            auto call = [&] { return (*static_cast<edit_fn *>(user))(logits, size, {tokens, count}), true; };
            if (!detail::guarded(call, false)) logits[0] = std::numeric_limits<float>::quiet_NaN();
        };
        status status = ollm_session_set_sampling(get(), &sampling);
        if (status == OLLM_OK) kept_.edit = std::move(kept);
        return detail::done(status);
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
        if (status == OLLM_OK) kept_.choose = std::move(kept);
        return detail::done(status);
    }

    /// Constrains what is generated from here on.
    result<void> set_constraint(const grammar &grammar, const constraint_options &options = {}) {
        return detail::done(ollm_session_set_constraint(get(), grammar.get(), &options));
    }
    /// Leaves it free again.
    result<void> clear_constraint() { return detail::done(ollm_session_set_constraint(get(), nullptr, nullptr)); }
    /// Whether the generated text is a whole one of its grammar.
    result<bool> is_complete() const {
        std::int32_t complete = 0;
        status status = ollm_session_is_complete(get(), &complete);
        return detail::give(status, complete != 0);
    }
    /// Sets the adapters of all that follows, each with its scale; without scales all are 1.
    result<void> set_adapters(view<const adapter *> adapters, view<float> scales = {nullptr, 0}) {
        std::vector<const ollm_adapter *> handles;
        for (const adapter *one : adapters) handles.push_back(one->get());
        if (scales.size() != 0 && scales.size() != handles.size()) {
            return detail::refuse(failure{OLLM_INVALID_ARGUMENT, "there is not a scale for each adapter"});
        }
        return detail::done(ollm_session_set_adapters(get(), handles.data(), scales.data(), handles.size()));
    }

    /// Sets what guesses the tokens to come; the text stays the same.
    result<void> set_draft(ollm_draft draft) { return detail::done(ollm_session_set_draft(get(), draft, nullptr)); }
    /// The same: a smaller model of the same vocabulary.
    result<void> set_draft(const model &draft) {
        return detail::done(ollm_session_set_draft(get(), OLLM_DRAFT_MODEL, draft.get()));
    }

    /// The logits of the next token; `latent` is 0 but for the distribution of an option.
    result<std::vector<float>> logits(ollm_distribution distribution, std::uint32_t latent = 0) const {
        return detail::floats(0, [&](float *logits, std::size_t capacity, std::size_t *count) {
            return ollm_session_logits(get(), distribution, latent, capacity ? logits : nullptr, capacity, count);
        });
    }
    /// Feeds tokens, and tells the natural logarithm of the probability of each; NaN for the first of
    /// a sequence.
    result<std::vector<float>> score(view<std::uint32_t> tokens) {
        return detail::floats(tokens.size() + 1, [&](float *logprobs, std::size_t capacity, std::size_t *count) {
            return ollm_session_score(get(), tokens.data(), tokens.size(), logprobs, capacity, count);
        });
    }
    /// The embedding of a text, which is what the session holds afterwards.
    result<std::vector<float>> embed(view<std::uint32_t> tokens, ollm_pooling pooling, bool normalized = true) {
        return detail::floats(0, [&](float *numbers, std::size_t capacity, std::size_t *count) {
            float *embedding = capacity ? numbers : nullptr;
            return ollm_session_embed(get(), tokens.data(), tokens.size(), pooling, normalized, embedding, capacity, count);
        });
    }
    /// How relevant a document is to a query, as a reranker scores the pair.
    result<float> rank(std::string_view query, std::string_view document) {
        float score = 0;
        status status =
            ollm_session_rank(get(), query.data(), query.size(), document.data(), document.size(), &score);
        return detail::give(status, std::move(score));
    }
    /// The policy's probability of each latent for the current step.
    result<std::vector<float>> policy() const {
        return detail::floats(16, [&](float *policy, std::size_t capacity, std::size_t *count) {
            return ollm_session_policy(get(), policy, capacity, count);
        });
    }
    /// The hidden state of the last token.
    result<std::vector<float>> hidden() const {
        return detail::floats(4096, [&](float *hidden, std::size_t capacity, std::size_t *count) {
            return ollm_session_hidden(get(), hidden, capacity, count);
        });
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
    /// The context size in positions.
    result<std::size_t> context() const {
        std::size_t context = 0;
        status status = ollm_session_context(get(), &context);
        return detail::give(status, std::move(context));
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
        branches.kept_ = kept_;
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

    result<void> save_file(const std::string &path) const { return detail::done(ollm_session_save_file(get(), path.c_str())); }
    result<void> restore_file(const std::string &path) {
        return detail::done(ollm_session_restore_file(get(), path.c_str()));
    }

    /// The bytes that the session holds, without the weights.
    result<std::size_t> memory() const {
        std::size_t bytes = 0;
        status status = ollm_session_memory(get(), &bytes);
        return detail::give(status, std::move(bytes));
    }
    /// What the session has done.
    result<ollm::statistics> statistics() const {
        ollm::statistics statistics;
        status status = ollm_session_statistics(get(), &statistics);
        return detail::give(status, std::move(statistics));
    }

    result<void> set_duty(float share) { return detail::done(ollm_session_set_duty(get(), share)); }
    result<void> trim() { return detail::done(ollm_session_trim(get())); }
    /// Any thread.
    result<void> cancel() const { return detail::done(ollm_session_cancel(get())); }
    /// Takes back a cancellation that no call has seen yet. Any thread.
    result<void> withdraw_cancel() const { return detail::done(ollm_session_withdraw_cancel(get())); }

private:
    detail::callbacks kept_;
};

/// A conversation whose answers come from a session, which must outlive it. One thread at a time;
/// `session::cancel` ends an answer.
class conversation : public detail::handle<ollm_chat, ollm_chat_free> {
public:
    using handle::handle;

    static result<conversation> make(const session &session, const chat_options &options = {}) {
        ollm_chat *made = nullptr;
        status status = ollm_chat_new(session.get(), &options, &made);
        return detail::give(status, conversation(made));
    }

    result<void> set_options(const chat_options &options) {
        return detail::done(ollm_chat_set_options(get(), &options));
    }
    /// Adds a message: what a user says, or another one.
    result<void> add(std::string_view role, std::string_view content) {
        ollm_message message{role.data(), role.size(), content.data(), content.size()};
        return detail::done(ollm_chat_add(get(), &message));
    }
    /// Adds messages with all their fields: a JSON object, or a list of them.
    result<void> add_json(std::string_view json) {
        return detail::done(ollm_chat_add_json(get(), json.data(), json.size()));
    }
    /// Sets the system message, or none.
    result<void> set_system(std::optional<std::string_view> text) {
        const char *data = text ? (text->data() ? text->data() : "") : nullptr;
        return detail::done(ollm_chat_set_system(get(), data, text ? text->size() : 0));
    }

    /// Answers, and adds the answer as a message.
    result<ollm::answer> answer(const answer_options &options = {}) {
        ollm::answer answer;
        status status = ollm_chat_answer(get(), &options, &answer);
        return detail::give(status, std::move(answer));
    }
    /// The same; `each(event)` sees every part of the answer. If it gives a bool, false ends.
    template <class Each>
    result<ollm::answer> answer(answer_options options, Each &&each) {
        detail::caller<Each> caller{each};
        options.each = [](void *user, const ollm_chat_event *seen) noexcept {
            return static_cast<detail::caller<Each> *>(user)->call(chat_event(*seen));
        };
        options.user = &caller;
        ollm::answer answer;
        status status = ollm_chat_answer(get(), &options, &answer);
        return detail::give(status, std::move(answer));
    }

    /// How many messages there are.
    result<std::size_t> count() const {
        std::size_t count = 0;
        status status = ollm_chat_count(get(), &count, nullptr);
        return detail::give(status, std::move(count));
    }
    /// How many of them the model has forgotten.
    result<std::size_t> forgotten() const {
        std::size_t count = 0, forgotten = 0;
        status status = ollm_chat_count(get(), &count, &forgotten);
        return detail::give(status, std::move(forgotten));
    }
    /// A message as JSON.
    result<std::string> message(std::size_t index) const {
        return detail::fill<std::string>(256, 1, [&](char *text, std::size_t capacity, std::size_t *length) {
            return ollm_chat_message(get(), index, text, capacity, length);
        });
    }
    /// Takes back the last turn; gives how many messages that were.
    result<std::size_t> take_back() {
        std::size_t removed = 0;
        status status = ollm_chat_take_back(get(), &removed);
        return detail::give(status, std::move(removed));
    }
    /// Forgets the messages after the first `count`.
    result<void> truncate(std::size_t count) { return detail::done(ollm_chat_truncate(get(), count)); }
    /// Forgets all but the system messages.
    result<void> reset_messages() { return detail::done(ollm_chat_reset(get())); }

    /// Saves the conversation with its session.
    result<void> save_file(const std::string &path) const { return detail::done(ollm_chat_save_file(get(), path.c_str())); }
    result<void> restore_file(const std::string &path) { return detail::done(ollm_chat_restore_file(get(), path.c_str())); }
};

/// The memory of batched steps: a step of several sessions of one model in one read of the weights.
class batch : public detail::handle<ollm_batch, ollm_batch_free> {
public:
    using handle::handle;

    /// What a step of one session gave: its token, if `status` is `OLLM_OK`.
    struct outcome {
        ollm::token token;
        ollm::status status = OLLM_OK;
    };

    static result<batch> make() {
        ollm_batch *made = nullptr;
        status status = ollm_batch_new(&made);
        return detail::give(status, batch(made));
    }

    /// A step of each session, each as it would be alone. One that fails does not hold up the others.
    result<std::vector<outcome>> step(view<session *> sessions) {
        std::vector<outcome> outcomes(sessions.size());
        std::vector<ollm_session *> handles;
        std::vector<ollm_token *> tokens;
        std::vector<ollm_status> statuses(sessions.size(), OLLM_OK);
        for (std::size_t i = 0; i < sessions.size(); i++) {
            handles.push_back(sessions[i]->get());
            tokens.push_back(&outcomes[i].token);
        }
        status status = ollm_batch_step(get(), handles.data(), handles.size(), tokens.data(), statuses.data());
        for (std::size_t i = 0; i < sessions.size(); i++) outcomes[i].status = statuses[i];
        return detail::give(status, std::move(outcomes));
    }
};

}  // namespace ollm

#endif
