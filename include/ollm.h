/// The C API of OLLM: option-aware language models on CPUs and phones.
///
/// This file is made from the library's sources; it is C99 and later, and C++11 and later.
/// `ollm.hpp` has a C++17 layer.
///
/// Conventions, which hold where a function does not say otherwise:
///
/// - A function that can fail returns an `ollm_status`. It writes its outputs only on success. What
///   went wrong, where, and what to do is in `ollm_last_error`. Any such function may also return
///   `OLLM_INTERNAL`, for a bug. Every invalid argument that can be detected returns a status:
///   NULL, freed handles, numbers and lengths out of range, text that is not UTF-8, calls at the
///   wrong time.
/// - Handles (`ollm_model *` and so on) are numbers, not addresses: never look through them. A
///   handle that was freed is `OLLM_INVALID_HANDLE`, also when its place was used again, and so is
///   one that another copy of the library in the same process has made. Functions that free take the
///   address of the handle and make it NULL.
/// - Structs that begin with `struct_size` can grow in later versions. Make them with the function
///   of their name at the end of this file, which zeroes them and sets the size; 0 in any field is
///   the default. Structs that you keep, and pointers in them, need not live longer than the call.
/// - Text is UTF-8 with an explicit length; it may hold zeros. Only paths end in a zero, as the
///   system's do.
/// - Functions that give text or an array take a buffer, its capacity, and a place for the length
///   of the result. The length is written on success and with `OLLM_BUFFER_TOO_SMALL`; any other
///   status leaves it as it was. With a NULL buffer the length alone is written. A buffer that is
///   too small stays as it was. Text has a zero after it, which needs room but is not counted.
/// - Callbacks run inside the call that they belong to and on its thread, unless they say
///   otherwise. Their first argument is the `user` pointer that came with them. They must return:
///   no longjmp, no exceptions. A callback may call any function; those on the session,
///   or the branches, that are calling back give `OLLM_BUSY`.
/// - Calls compute in the standard floating-point modes (round to nearest, denormals count), in which
///   callbacks run too, and which they leave as they are. The modes of the caller are back when the
///   call returns.
/// - Calls need at most 128 KiB of stack; the chat template has a thread of its own.
/// - Threads of the library block all signals but those of a fault of their own (SIGSEGV and so on).
///   A child of `fork(2)` has none of these threads: there, what was made before the fork computes on
///   the calling thread alone, and may be freed as ever. No thread may be inside a call at the fork.
/// - The library writes nothing to stdout or stderr, installs no signal handlers, needs no
///   environment and no network.

#ifndef OLLM_H
#define OLLM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define OLLM_ENUM(name, type) enum name : type
extern "C" {
#else
#define OLLM_ENUM(name, type) typedef type name; enum
#endif

// ---------------------------------------------------------------------------------------------------------------------
// Handles with generations: C never holds an address. A handle is a number in the form of a
// pointer: a generation, a tag of this copy of the library, a slot in a table, and the kind of its
// object. Every call looks it up, so a handle that was freed, freed twice, is of another kind, of
// another copy of the library, or was made up gives a status and not undefined behaviour.
// ---------------------------------------------------------------------------------------------------------------------

/// A backbone and its tokenizer. Since 0.1.0.
typedef struct ollm_model ollm_model;

/// The plugin of a model. Since 0.1.0.
typedef struct ollm_plugin ollm_plugin;

/// Takes the text of an answer apart: what the model thinks, what it says, which tools it calls.
/// One thread at a time uses it. Since 0.1.0.
typedef struct ollm_chat_parser ollm_chat_parser;

/// The work of one thread of the application. Since 0.1.0.
typedef struct ollm_worker ollm_worker;

/// Workers that several sessions share. Since 0.1.0.
typedef struct ollm_thread_pool ollm_thread_pool;

/// A sequence of tokens. Since 0.1.0.
typedef struct ollm_session ollm_session;

/// A grammar, compiled for the tokens of a model. Since 0.1.0.
typedef struct ollm_grammar ollm_grammar;

/// A conversation, whose answers come from a session. Since 0.1.0.
typedef struct ollm_chat ollm_chat;

/// The memory of batched steps. Since 0.1.0.
typedef struct ollm_batch ollm_batch;

/// Low-rank adapters of a model. Since 0.1.0.
typedef struct ollm_adapter ollm_adapter;

/// A snapshot of an option set. Since 0.1.0.
typedef struct ollm_option_set ollm_option_set;

/// Several continuations of one session. Since 0.1.0.
typedef struct ollm_branches ollm_branches;

/// Continuations that a session suggests. Since 0.1.0.
typedef struct ollm_suggestions ollm_suggestions;

// ---------------------------------------------------------------------------------------------------------------------
// Versions: of the library, and of the binary interface that this header describes.
// ---------------------------------------------------------------------------------------------------------------------

/// The version that this header describes: its first number.
#define OLLM_VERSION_MAJOR 0

/// Its second number.
#define OLLM_VERSION_MINOR 1

/// Its third number.
#define OLLM_VERSION_PATCH 0

/// The ABI version that this header describes; compare it with `ollm_abi_version`.
#define OLLM_ABI_VERSION 1

/// The version of the library, "MAJOR.MINOR.PATCH". The text is static: never free it. Any thread.
/// Since 0.1.0.
const char *ollm_version(void);

/// The version of the ABI; it grows by one with each change that breaks callers. What is added,
/// such as functions, numbers of an enum, or fields at the end of a struct with `struct_size`,
/// breaks nobody. Any thread. Since 0.1.0.
uint32_t ollm_abi_version(void);

// ---------------------------------------------------------------------------------------------------------------------
// Errors: every function that can fail returns an `ollm_status`. Its outputs are written only when
// that is `OLLM_OK`, unless the function says otherwise. The text of the last failure on a thread
// says what, where and what to do.
// ---------------------------------------------------------------------------------------------------------------------

/// The status of a call. The numbers are frozen; later versions may add some, so treat an unknown
/// number as an error. Since 0.1.0.
OLLM_ENUM(ollm_status, int32_t) {
    /// It worked.
    OLLM_OK = 0,
    /// An argument is NULL, out of its range, or does not go with another.
    OLLM_INVALID_ARGUMENT = 1,
    /// A handle was freed, is of another kind, or never was one.
    OLLM_INVALID_HANDLE = 2,
    /// Text is not UTF-8.
    OLLM_INVALID_UTF8 = 3,
    /// A buffer is too small; the size that is needed was written.
    OLLM_BUFFER_TOO_SMALL = 4,
    /// The session, branches, chat, parser or batch is in use: by another thread, or by the call
    /// that called back.
    OLLM_BUSY = 5,
    /// The call was cancelled. The session is at its last complete position, and the next call
    /// continues from there.
    OLLM_CANCELLED = 6,
    /// The system has not enough memory.
    OLLM_OUT_OF_MEMORY = 7,
    /// More memory is needed than the limit allows.
    OLLM_MEMORY_LIMIT = 8,
    /// The system could not read or write a file, or not start a thread.
    OLLM_IO = 9,
    /// The file is damaged, or not of the kind that was asked for: a GGUF file, a saved session.
    OLLM_BAD_FILE = 10,
    /// What is asked for is not in this version, this build, or this model; or a grammar cannot go
    /// on.
    OLLM_UNSUPPORTED = 11,
    /// Two things do not belong together: what was made for another model (a plugin, adapters, a
    /// grammar, a saved session), branches of another text.
    OLLM_MISMATCH = 12,
    /// There is no plugin, and the call needs one.
    OLLM_NO_PLUGIN = 13,
    /// The model's file has no tokenizer or no chat template that can be used.
    OLLM_NO_TOKENIZER = 14,
    /// The chat template refused the conversation, or failed.
    OLLM_TEMPLATE = 15,
    /// The context has no room for this, or for more.
    OLLM_CONTEXT_FULL = 16,
    /// There is nothing to continue: no token was fed yet.
    OLLM_EMPTY = 17,
    /// The weights give no numbers: the file may be damaged.
    OLLM_NOT_FINITE = 18,
    /// A bug in the library; the object that it happened in can only be freed.
    OLLM_INTERNAL = 19,
};

/// The name of a status, such as `"OLLM_BUSY"`; `"OLLM_UNKNOWN"` for a number that is none. The
/// text is static: never free it. Any thread. Since 0.1.0.
const char *ollm_status_name(int32_t status);

/// What went wrong in the last call on this thread that failed, as text that ends in zero; "" if
/// none did. Calls that succeed leave it. The text belongs to the library and stays until the next
/// call on this thread that fails: copy it to keep it. Any thread. Since 0.1.0.
const char *ollm_last_error(void);

// ---------------------------------------------------------------------------------------------------------------------
// Logging: to a callback of yours, and silent by default. The library never writes to stdout or
// stderr.
// ---------------------------------------------------------------------------------------------------------------------

/// How much a message matters. Since 0.1.0.
OLLM_ENUM(ollm_log_level, int32_t) {
    /// A bug in the library: the call that it happened in returns `OLLM_INTERNAL`.
    OLLM_LOG_ERROR = 0,
    /// Something is not as it should be, and works all the same.
    OLLM_LOG_WARNING = 1,
    /// What was loaded and made.
    OLLM_LOG_INFO = 2,
};

/// Takes a message: UTF-8 of `length` bytes, which is gone when the callback returns. It may be
/// called on any thread and on several at once, and must not throw or longjmp. Since 0.1.0.
typedef void (*ollm_log_fn)(void *user, ollm_log_level level, const char *text, size_t length);

/// Sends messages of the whole library to `callback`, with `user` as its first argument; NULL ends
/// that. When the call returns, the callback that was set before is not running any more, and
/// `user` of that time may go.
///
/// Any thread. Statuses: `OLLM_BUSY` inside the log callback. Since 0.1.0.
ollm_status ollm_set_log(ollm_log_fn callback, void *user);

// ---------------------------------------------------------------------------------------------------------------------
// Sources: where the bytes of a GGUF file come from. A path, an open file or a part of one (an
// Android asset), or memory. Make one with `ollm_source_file`, `ollm_source_descriptor` or
// `ollm_source_memory`, at the end of this file.
// ---------------------------------------------------------------------------------------------------------------------

/// The kinds of sources. Since 0.1.0.
OLLM_ENUM(ollm_source_kind, int32_t) {
    /// A file, by its path.
    OLLM_SOURCE_FILE = 0,
    /// An open file, or a part of it.
    OLLM_SOURCE_DESCRIPTOR = 1,
    /// Memory.
    OLLM_SOURCE_MEMORY = 2,
};

/// Tells that the library does not need the memory at `data` any more. It is called once, on any
/// thread. Since 0.1.0.
typedef void (*ollm_release_fn)(void *user, const void *data, size_t length);

/// Where the bytes of a file come from. The struct, and the text of its path, may go when the call
/// that takes it returns. Since 0.1.0.
typedef struct ollm_source {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// `OLLM_SOURCE_FILE`: the path, which ends in zero. Nobody may change the file while it is in
    /// use (a file that is cut meanwhile is the signal SIGBUS): to replace it, rename a new one
    /// over it, or set `copy`.
    const char *path;
    /// `OLLM_SOURCE_MEMORY`: the bytes.
    const void *data;
    /// Bytes of the memory, or of the part of the open file; 0 is all that follows `offset`.
    size_t length;
    /// `OLLM_SOURCE_MEMORY`: if it is not NULL, the bytes are used in place, must stay as they are,
    /// and this is called when they are not needed any more. It is not called if the load fails. If
    /// it is NULL, or `data` is not a multiple of 4, the bytes are copied.
    ollm_release_fn release;
    /// The first argument of `release`.
    void *user;
    /// What the source is.
    ollm_source_kind kind;
    /// `OLLM_SOURCE_DESCRIPTOR`: the descriptor, open for reading. It may be closed when the call
    /// returns.
    int32_t descriptor;
    /// `OLLM_SOURCE_DESCRIPTOR`: the first byte of the part of the file. If it is not a multiple of
    /// 4, the bytes are copied.
    uint64_t offset;
    /// 1 copies the bytes to memory of the library, for files that may be changed or removed while
    /// they are in use; 0 maps a file. Copies count as weights, for limits and in
    /// `ollm_memory_needed`.
    int32_t copy;
    /// Must be 0.
    int32_t reserved;
} ollm_source;

// ---------------------------------------------------------------------------------------------------------------------
// Models: a frozen backbone with its tokenizer, loaded from a file, a part of a file, or memory. A
// model does not change: any number of sessions and threads share it.
// ---------------------------------------------------------------------------------------------------------------------

/// Tells how far a load is, from 0 to 1, on the thread that loads; any other result than 0 cancels
/// it. Since 0.1.0.
typedef int32_t (*ollm_progress_fn)(void *user, float progress);

/// How to load. A field that is 0 takes the default. Since 0.1.0.
typedef struct ollm_load_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Bytes of memory that the weights may take, with a copy of the file if one is made; 0 is no
    /// limit. Pages of a file that is mapped are the system's, which takes them back when it needs
    /// them: they do not count.
    size_t memory_limit;
    /// Threads that prepare the weights, at most 1024; 0 takes as many as the system has cores for.
    size_t threads;
    /// Called while the model loads; may be NULL.
    ollm_progress_fn progress;
    /// The first argument of `progress`.
    void *user;
} ollm_load_options;

/// Loads a model from a GGUF file. On success `*model` is a handle with one owner: release it with
/// `ollm_model_release`. `options` may be NULL.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_OUT_OF_MEMORY`, `OLLM_CANCELLED` by the progress callback. Since
/// 0.1.0.
ollm_status ollm_model_load(const ollm_source *source,
                            const ollm_load_options *options,
                            ollm_model **model);

/// Adds an owner: `model` has to be released once more.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_model_retain(const ollm_model *model);

/// Gives up one owner and makes `*model` NULL. Sessions and plugins on the model keep it alive.
/// NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_model_release(ollm_model **model);

/// The value of a key of the file's metadata, as JSON: a number, a string, a truth value or an
/// array.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a key that the file has not,
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
ollm_status ollm_model_metadata(const ollm_model *model,
                                const char *key,
                                size_t key_length,
                                char *json,
                                size_t capacity,
                                size_t *length);

/// What the model is, as JSON: name, architecture, shape, tensor types, tokenizer, fingerprint.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
ollm_status ollm_model_info(const ollm_model *model, char *json, size_t capacity, size_t *length);

// ---------------------------------------------------------------------------------------------------------------------
// Plugins: the decoder, policy and encoder that make an option set of a backbone's one
// distribution. A plugin does not change: any number of sessions and threads share it. It belongs
// to one backbone, in any quantization.
// ---------------------------------------------------------------------------------------------------------------------

/// Loads the plugin of `model` from a GGUF file. On success `*plugin` is a handle with one owner:
/// release it with `ollm_plugin_release`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
/// `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MISMATCH` if it was trained on
/// another backbone. Since 0.1.0.
ollm_status ollm_plugin_load(const ollm_model *model, const ollm_source *source, ollm_plugin **plugin);

/// The plugin inside the model's own file, if it is a merged one. On success `*plugin` is a handle
/// with one owner.
///
/// Any thread. Statuses: as `ollm_plugin_load`, and `OLLM_NO_PLUGIN` if the file has none. Since
/// 0.1.0.
ollm_status ollm_plugin_bundled(const ollm_model *model, ollm_plugin **plugin);

/// Adds an owner: `plugin` has to be released once more.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_plugin_retain(const ollm_plugin *plugin);

/// Gives up one owner and makes `*plugin` NULL. Sessions with the plugin keep it alive. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_plugin_release(ollm_plugin **plugin);

/// K, the number of options, in `*count`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_plugin_option_count(const ollm_plugin *plugin, size_t *count);

/// What the plugin is, as JSON: options, kinds, widths, and the backbone that it was trained on.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
ollm_status ollm_plugin_info(const ollm_plugin *plugin, char *json, size_t capacity, size_t *length);

// ---------------------------------------------------------------------------------------------------------------------
// Tokenizer: text to tokens and back. All functions take a model, which any number of threads
// share.
// ---------------------------------------------------------------------------------------------------------------------

/// The id that stands for no token.
#define OLLM_NO_TOKEN UINT32_MAX

/// What `ollm_tokenize` does beyond text: flags to be added up. Since 0.1.0.
OLLM_ENUM(ollm_tokenize_flags, uint32_t) {
    /// The text of a control token, such as `<|im_start|>`, becomes that token. Only for text that
    /// you trust: in a user's text it would let the user write control tokens.
    OLLM_TOKENIZE_SPECIAL = 1,
    /// The token for the beginning of a text comes first, if the model's file asks for one.
    OLLM_TOKENIZE_BOS = 2,
    /// The token for the end of a whole text comes last, if the model's file asks for one: with
    /// `OLLM_TOKENIZE_BOS`, what an embedding is made of.
    OLLM_TOKENIZE_EOS = 4,
};

/// Special tokens of a model. Since 0.1.0.
OLLM_ENUM(ollm_special, int32_t) {
    /// The beginning of a text.
    OLLM_SPECIAL_BOS = 0,
    /// The end of a text.
    OLLM_SPECIAL_EOS = 1,
    /// The end of a turn.
    OLLM_SPECIAL_EOT = 2,
    /// The end of a message.
    OLLM_SPECIAL_EOM = 3,
    /// What stands for unknown text.
    OLLM_SPECIAL_UNKNOWN = 4,
    /// Padding.
    OLLM_SPECIAL_PADDING = 5,
    /// What separates texts.
    OLLM_SPECIAL_SEPARATOR = 6,
};

/// One turn of a conversation, as UTF-8. Arrays of this struct are read, so it never grows. Since
/// 0.1.0.
typedef struct ollm_message {
    /// Who speaks: "system", "user", "assistant", or what else the template knows.
    const char *role;
    /// Bytes of `role`.
    size_t role_length;
    /// What is said.
    const char *content;
    /// Bytes of `content`.
    size_t content_length;
} ollm_message;

/// A text, as UTF-8. Arrays of this struct are read, so it never grows. Since 0.1.0.
typedef struct ollm_text {
    /// The bytes.
    const char *data;
    /// Their number.
    size_t length;
} ollm_text;

/// A token, and the natural logarithm of its probability. Since 0.1.0.
typedef struct ollm_logprob {
    /// The token.
    uint32_t token;
    /// The logarithm of its probability, before bias and filters.
    float logprob;
} ollm_logprob;

/// The tokens of a text. `flags` are of `ollm_tokenize_flags`, or 0.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
/// `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_tokenize(const ollm_model *model,
                          const char *text,
                          size_t length,
                          uint32_t flags,
                          uint32_t *tokens,
                          size_t capacity,
                          size_t *count);

/// The text of tokens. What is not UTF-8 becomes U+FFFD, control tokens their names, and tokens
/// that the tokenizer does not know nothing. For text as it is generated, use `ollm_token.text`: it
/// never cuts a character.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_detokenize(const ollm_model *model,
                            const uint32_t *tokens,
                            size_t count,
                            char *text,
                            size_t capacity,
                            size_t *length);

/// The bytes that one token stands for, which may be a part of a character; none for a token that
/// the tokenizer does not know. They have a zero after them, as text has.
///
/// Any thread. Statuses: as `ollm_detokenize`. Since 0.1.0.
ollm_status ollm_token_bytes(const ollm_model *model, uint32_t token, char *bytes, size_t capacity, size_t *length);

/// Whether a text or a turn ends at this token: 1 or 0 in `*is_end`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
/// 0.1.0.
ollm_status ollm_is_end(const ollm_model *model, uint32_t token, int32_t *is_end);

/// A special token of the model's file in `*token`; `OLLM_NO_TOKEN` if the file names none.
/// `special` is of `ollm_special`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
/// 0.1.0.
ollm_status ollm_special_token(const ollm_model *model, int32_t special, uint32_t *token);

/// The text of a conversation, by the chat template of the model's file: `ollm_chat_render` where
/// there are roles and contents alone. With `answer` other than 0 it ends where the model's answer
/// begins. It is for reading: to feed a conversation, make tokens with `ollm_chat_tokens`, since
/// `ollm_tokenize` cannot tell the template's control tokens from those that a user wrote.
///
/// Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
ollm_status ollm_chat_text(const ollm_model *model,
                           const ollm_message *messages,
                           size_t count,
                           int32_t answer,
                           char *text,
                           size_t capacity,
                           size_t *length);

// ---------------------------------------------------------------------------------------------------------------------
// Chat template: messages with all their fields, tools and template variables to text and to
// tokens, and the model's answer back to its parts.
//
// Tokens of a conversation are safe: what the chat template writes may be control tokens, what is
// said in a message, a tool or a variable never is, whatever it looks like.
// ---------------------------------------------------------------------------------------------------------------------

/// What a part of an answer is. Since 0.1.0.
OLLM_ENUM(ollm_chat_event_kind, int32_t) {
    /// None: there is no part yet.
    OLLM_CHAT_EVENT_NONE = 0,
    /// More of what the model thinks, in `text`.
    OLLM_CHAT_EVENT_REASONING = 1,
    /// More of what it says, in `text`.
    OLLM_CHAT_EVENT_TEXT = 2,
    /// A call of a tool: `name` and `arguments`, and `id` where the model's form has one.
    OLLM_CHAT_EVENT_TOOL_CALL = 3,
    /// The text before this was to be a call, but cannot be read as one; `text` says why.
    OLLM_CHAT_EVENT_MALFORMED = 4,
};

/// How a family of models calls tools. Since 0.1.0.
OLLM_ENUM(ollm_tool_format, int32_t) {
    /// As the model's chat template shows, if the conversation offers `tools`; else none.
    OLLM_TOOL_FORMAT_AUTO = 0,
    /// What looks like a call is text.
    OLLM_TOOL_FORMAT_NONE = 1,
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen.
    OLLM_TOOL_FORMAT_HERMES = 2,
    /// `{"name": .., "parameters": {..}}` or `[f(a=1)]` as all of the answer, or behind
    /// `<|python_tag|>`.
    OLLM_TOOL_FORMAT_LLAMA3 = 3,
    /// A fence of `tool_code`, the forms of Llama 3 as all of the answer, or
    /// `<start_function_call>call:f{a:1}<end_function_call>`.
    OLLM_TOOL_FORMAT_GEMMA = 4,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.
    OLLM_TOOL_FORMAT_LFM2 = 5,
    /// `[TOOL_CALLS][{"name": .., "arguments": {..}}]` or `[TOOL_CALLS]f[ARGS]{..}`.
    OLLM_TOOL_FORMAT_MISTRAL = 6,
    /// `<tool_call><function=f><parameter=a>..</parameter></function></tool_call>`: Qwen3-Coder,
    /// Qwen 3.5.
    OLLM_TOOL_FORMAT_QWEN_XML = 7,
    /// The same in `<seed:tool_call>`: Seed-OSS.
    OLLM_TOOL_FORMAT_SEED = 8,
    /// `<tool_call>f`, then `<arg_key>a</arg_key><arg_value>..</arg_value>`: GLM 4.5.
    OLLM_TOOL_FORMAT_GLM = 9,
    /// `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{..}`: gpt-oss.
    OLLM_TOOL_FORMAT_HARMONY = 10,
    /// `<|tool_call>call:f{a:1}<tool_call|>`: Gemma 4.
    OLLM_TOOL_FORMAT_GEMMA4 = 11,
    /// `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi-4-mini.
    OLLM_TOOL_FORMAT_GRANITE = 12,
    /// `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`: Command R7B and A.
    OLLM_TOOL_FORMAT_COMMAND = 13,
    /// `<tool_calls>[{"name": .., "arguments": {..}}]</tool_calls>`: Hunyuan, Apriel.
    OLLM_TOOL_FORMAT_HUNYUAN = 14,
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then a fence of JSON and
    /// `<｜tool▁call▁end｜>`: DeepSeek R1 and what is distilled from it.
    OLLM_TOOL_FORMAT_DEEP_SEEK = 15,
    /// `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{..}<｜tool▁call▁end｜>`: DeepSeek V3.1.
    OLLM_TOOL_FORMAT_DEEP_SEEK_V31 = 16,
    /// `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`: Nemotron Nano.
    OLLM_TOOL_FORMAT_NEMOTRON = 17,
};

/// A conversation, and what the chat template is given beside it. A field that is 0 takes its
/// default. Since 0.1.0.
typedef struct ollm_chat_input {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The messages; or NULL where `messages_json` has them.
    const ollm_message *messages;
    /// How many there are.
    size_t message_count;
    /// The messages as JSON, for those with other fields than role and content: a list of objects
    /// such as `{"role": "tool", "name": "weather", "content": "21"}`. `content` is a string, null,
    /// or a list of parts such as `{"type": "text", "text": "Hi"}`; `tool_calls`, `tool_call_id`
    /// and `reasoning_content` mean what they mean in the chat template.
    const char *messages_json;
    /// Bytes of `messages_json`.
    size_t messages_json_length;
    /// Variables of the chat template, as a JSON object: `tools` (a list of their schemas),
    /// `documents`, `enable_thinking`, any other; `strftime_now` is the date that the template's
    /// function of that name tells, such as `"2026-11-30"`; `chat_template` chooses the template,
    /// by the name of one of the file's or as the text of another. NULL: none.
    const char *variables_json;
    /// Bytes of `variables_json`.
    size_t variables_json_length;
    /// 0: the text ends where the model's answer begins; 1: it ends with the last message.
    int32_t no_answer;
    /// Must be 0.
    int32_t reserved;
} ollm_chat_input;

/// A part of an answer. Texts are UTF-8 without a zero at their ends; they belong to the parser and
/// are gone with the next call on it, or with the return of an `ollm_chat_event_fn`. Since 0.1.0.
typedef struct ollm_chat_event {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// What is thought or said.
    const char *text;
    /// Bytes of `text`.
    size_t text_length;
    /// The tool that is called.
    const char *name;
    /// Bytes of `name`.
    size_t name_length;
    /// Its arguments: a JSON object.
    const char *arguments;
    /// Bytes of `arguments`.
    size_t arguments_length;
    /// What names the call.
    const char *id;
    /// Bytes of `id`.
    size_t id_length;
    /// What this is.
    ollm_chat_event_kind kind;
    /// 0.
    int32_t reserved;
} ollm_chat_event;

/// The text of a conversation, by the chat template of the model's file, or the one that the
/// variables choose. It is for reading: make tokens with `ollm_chat_tokens`, since the text does
/// not tell what is the template's and what was said.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` (also for JSON that is no conversation),
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER` (or no
/// template), `OLLM_TEMPLATE`, `OLLM_IO` if there is no thread for the template,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_chat_render(const ollm_model *model,
                             const ollm_chat_input *input,
                             char *text,
                             size_t capacity,
                             size_t *length);

/// The tokens of a conversation, by the chat template of the model's file, to be fed. What the
/// template writes may be control tokens; what is said in a message, a tool or a variable never is:
/// a user who writes `<|im_end|>` does not end the turn.
///
/// Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
ollm_status ollm_chat_tokens(const ollm_model *model,
                             const ollm_chat_input *input,
                             uint32_t *tokens,
                             size_t capacity,
                             size_t *count);

/// A parser for the answer to a conversation. Which thoughts the model marks, and whether the
/// prompt ends inside one, it learns from the chat template; how tools are called, `format` says
/// (an `ollm_tool_format`). `input` may be NULL: a conversation without tools whose prompt ends
/// outside of a thought. On success `*parser` is a handle of one owner: free it with
/// `ollm_chat_parser_free`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
/// `OLLM_NO_TOKENIZER` (or no template), `OLLM_TEMPLATE`, `OLLM_IO`, `OLLM_OUT_OF_MEMORY`. Since
/// 0.1.0.
ollm_status ollm_chat_parser_new(const ollm_model *model,
                                 const ollm_chat_input *input,
                                 int32_t format,
                                 ollm_chat_parser **parser);

/// Frees a parser and makes `*parser` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_chat_parser_free(ollm_chat_parser **parser);

/// Takes a piece of the answer's text, such as that of one token. Its parts come with
/// `ollm_chat_parser_next`; they are the same however the text is cut.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
/// Since 0.1.0.
ollm_status ollm_chat_parser_push(ollm_chat_parser *parser, const char *text, size_t length);

/// Ends the answer: what was still undecided comes with `ollm_chat_parser_next`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_parser_finish(ollm_chat_parser *parser);

/// The next part of the answer, in order; `OLLM_CHAT_EVENT_NONE` in `event->kind` if there is
/// none yet. `event` must begin with its `struct_size`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_parser_next(ollm_chat_parser *parser, ollm_chat_event *event);

// ---------------------------------------------------------------------------------------------------------------------
// Workers: threads of a thread pool, which compute together with the calling thread. By default
// the library starts its own; an application that manages its threads itself supplies them.
// ---------------------------------------------------------------------------------------------------------------------

/// Has one of the application's threads call `ollm_worker_run(worker)`, now or later, and does not
/// wait for it. It is called inside `ollm_session_new` or `ollm_thread_pool_new`, for each worker;
/// any other result than 0 makes these fail with `OLLM_IO`. Since 0.1.0.
typedef int32_t (*ollm_start_fn)(void *user, ollm_worker *worker);

/// Runs a worker of a session or of a pool: it works until these are freed, with all forks and
/// branches, and all sessions of the pool, and then returns. Nobody waits for a worker that was
/// never run. Its handle is dead by then: this function returns `OLLM_INVALID_HANDLE` at once.
///
/// The thread is the worker's until then. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`;
/// `OLLM_BUSY` inside a callback. Since 0.1.0.
ollm_status ollm_worker_run(ollm_worker *worker);

// ---------------------------------------------------------------------------------------------------------------------
// Thread pools: workers that several sessions share. Without one, each session starts workers of
// its own; with one, a process has so many workers and no more, whatever sessions there are. If
// several sessions compute at the same time, one has the workers, and the others compute on their
// callers' threads alone. The output is the same.
// ---------------------------------------------------------------------------------------------------------------------

/// The threads of a pool. A field that is 0 takes the default. Since 0.1.0.
typedef struct ollm_thread_pool_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Threads that compute together, the caller's included, at most 1024; 0 takes as many as the
    /// system has cores for.
    size_t threads;
    /// If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    ollm_start_fn start;
    /// The first argument of `start`.
    void *user;
    /// CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
    /// system.
    uint64_t affinity;
} ollm_thread_pool_options;

/// Starts the workers of a pool. `options` may be NULL. On success `*pool` is a handle with one
/// owner: release it with `ollm_thread_pool_release`. Sessions take it in `ollm_session_options`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_OUT_OF_MEMORY`, `OLLM_IO` if threads cannot
/// be started or bound. Since 0.1.0.
ollm_status ollm_thread_pool_new(const ollm_thread_pool_options *options, ollm_thread_pool **pool);

/// Gives up one owner and makes `*pool` NULL. Sessions with the pool keep it alive. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_thread_pool_release(ollm_thread_pool **pool);

// ---------------------------------------------------------------------------------------------------------------------
// Sessions: one sequence of tokens on a model, with or without a plugin. A session may be used by
// any thread, but by one thread at a time: a second thread that calls meanwhile gets `OLLM_BUSY`,
// and so does a callback that calls the same session. Only `ollm_session_cancel` and
// `ollm_session_free` may be called from other threads too.
// ---------------------------------------------------------------------------------------------------------------------

/// The type of the keys and values in a session's KV cache. Since 0.1.0.
OLLM_ENUM(ollm_kv_type, int32_t) {
    /// Half precision.
    OLLM_KV_TYPE_F16 = 0,
    /// ggml's `Q8_0`, signed bytes with a scale for each 32: half the memory, and faster over long
    /// texts. Output differs a little from that of half precision; it is deterministic too.
    OLLM_KV_TYPE_Q8_0 = 1,
};

/// How a session runs. A field that is 0 takes the default. Since 0.1.0.
typedef struct ollm_session_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Context size in positions; 0 takes the context that the model was trained for.
    size_t context;
    /// Memory limit of the session in bytes, without the weights; 0 is no limit.
    size_t memory_limit;
    /// Threads for decode (a single token), at most 1024; 0 takes as many as the system has cores
    /// for. On phones, as many as there are large cores.
    size_t threads;
    /// Threads for prefill (many tokens at once), at most 1024; 0 takes as many as `threads`.
    size_t prefill_threads;
    /// With `context_shift`: tokens at the beginning that are never forgotten.
    size_t keep;
    /// If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    ollm_start_fn start;
    /// The first argument of `start`.
    void *user;
    /// CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
    /// system. The calling thread is yours, and is not bound.
    uint64_t affinity;
    /// The context shift of a full context: 0 ends with `OLLM_CONTEXT_FULL`; 1 forgets the older
    /// half of the tokens, except the first `keep`, and the session continues.
    int32_t context_shift;
    /// Must be 0.
    int32_t reserved;
    /// The type of the keys and values in the KV cache.
    ollm_kv_type kv_type;
    /// Must be 0.
    int32_t reserved2;
    /// If it is not NULL, the workers are those of this pool, which has as many threads at least;
    /// `threads` of 0 takes all of them. Without `start` and `affinity`.
    const ollm_thread_pool *pool;
} ollm_session_options;

/// A session on `model`. With a `plugin` (which may be NULL) each step goes through its options,
/// and its policy selects; without, the backbone generates alone. `options` may be NULL. On success
/// `*session` is a handle of one owner: free it with `ollm_session_free`. The session keeps model
/// and plugin alive.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_IO` if threads cannot be started or bound, `OLLM_MISMATCH` if the
/// plugin is another model's. Since 0.1.0.
ollm_status ollm_session_new(const ollm_model *model,
                             const ollm_plugin *plugin,
                             const ollm_session_options *options,
                             ollm_session **session);

/// Frees a session and makes `*session` NULL. If another thread is inside, its call is cancelled
/// first, and this one waits for it; inside a callback it does not wait, and the session goes when
/// that call returns. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of this session.
/// Since 0.1.0.
ollm_status ollm_session_free(ollm_session **session);

/// Forks the session: a second, independent session with the same text, sampling and selection. The
/// KV cache of the text is shared (copy on write). Both sessions share their workers and may be
/// used on different threads at the same time. On success `*fork` is a handle of one owner.
///
/// The random number of a token follows from the seed and its place in the text, so forks that
/// sample with one seed draw the same tokens. Give each fork a seed of its own for other tokens:
/// `sampling.seed` in `ollm_session_set_sampling`, and `selection.seed` in
/// `ollm_session_set_selection` where latents are drawn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
ollm_status ollm_session_fork(ollm_session *session, ollm_session **fork);

/// Prefill: adds tokens to the sequence and runs them through the network. If the call is
/// cancelled, the session is at the last complete position (see `ollm_session_position`): feed the
/// remaining tokens to continue.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` (also for a token that is not in the vocabulary),
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_CONTEXT_FULL`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. But for `OLLM_CANCELLED`, the session stays as it was. Since 0.1.0.
ollm_status ollm_session_feed(ollm_session *session, const uint32_t *tokens, size_t count);

/// As `ollm_session_feed`; `progress` is told after each batch which share of the tokens is done,
/// inside the call and on its thread. Any other result than 0 cancels the feed.
///
/// Statuses: as `ollm_session_feed`. Since 0.1.0.
ollm_status ollm_session_feed_watched(ollm_session *session,
                                      const uint32_t *tokens,
                                      size_t count,
                                      ollm_progress_fn progress,
                                      void *user);

/// Adds text to the sequence: `ollm_tokenize` and `ollm_session_feed` in one.
///
/// Statuses: those of both. Since 0.1.0.
ollm_status ollm_session_feed_text(ollm_session *session, const char *text, size_t length, uint32_t flags);

/// Cancels the session's work: the running call, or else the next call that computes, returns
/// `OLLM_CANCELLED`. It is seen between layers, also during a long prefill, and while the session
/// rests for its duty cycle.
///
/// Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_session_cancel(ollm_session *session);

/// Takes back a cancellation that no call has seen yet, such as one that came after the end.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_session_withdraw_cancel(ollm_session *session);

/// Sets the duty cycle, against thermal throttling: computing takes at most this share of the time
/// (above 0; 1, as at first, is no limit). Before each batch and each step the session rests as
/// long as the work before it requires, which with a tiny share is for ever: a cancellation ends
/// the rest.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_set_duty(ollm_session *session, float share);

/// The number of tokens so far, fed and generated, in `*position`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_position(ollm_session *session, size_t *position);

/// The context size in positions, in `*context`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_context(ollm_session *session, size_t *context);

/// The tokens so far, fed and generated; after a context shift, the remaining tokens.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
ollm_status ollm_session_tokens(ollm_session *session, uint32_t *tokens, size_t capacity, size_t *count);

/// Rewinds to `position`: the tokens from there on are forgotten, and the next tokens follow there;
/// 0 forgets all.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` if there are not so many, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`.
/// Since 0.1.0.
ollm_status ollm_session_rewind(ollm_session *session, size_t position);

// ---------------------------------------------------------------------------------------------------------------------
// Selection: the latent of each step, from whose option its token is then sampled.
// ---------------------------------------------------------------------------------------------------------------------

/// How long a selected latent is held. An answer begins with the first token that is generated
/// after a feed, a rewind or a restored prompt, and ends with an end token or the next feed; a line
/// ends after the token whose text has a line feed. A latent is always let go where the answer
/// ends, and a script begins anew. Since 0.1.0.
OLLM_ENUM(ollm_hold, int32_t) {
    /// As long as the plugin was trained for, as in a new session.
    OLLM_HOLD_TRAINED = 0,
    /// For one token.
    OLLM_HOLD_TOKEN = 1,
    /// To the end of the line.
    OLLM_HOLD_LINE = 2,
    /// For all of the answer.
    OLLM_HOLD_ALL = 3,
    /// For `hold_tokens` tokens.
    OLLM_HOLD_TOKENS = 4,
};

/// Ways to select a latent. Since 0.1.0.
OLLM_ENUM(ollm_select, int32_t) {
    /// The one that the policy finds most probable; the lowest of several.
    OLLM_SELECT_POLICY = 0,
    /// Drawn from the policy, which `temperature` sharpens (below 1) or flattens (above 1).
    OLLM_SELECT_SAMPLE = 1,
    /// Drawn uniformly.
    OLLM_SELECT_UNIFORM = 2,
    /// Always the first of `latents`.
    OLLM_SELECT_FIXED = 3,
    /// One of `latents` after the other; the last one stays.
    OLLM_SELECT_SCRIPT = 4,
    /// The one that `choose` gives.
    OLLM_SELECT_CALLBACK = 5,
    /// None: the token follows the mixture of all options, weighted by the policy.
    OLLM_SELECT_MIXTURE = 6,
    /// None: the token is the backbone's, as if there were no plugin.
    OLLM_SELECT_BACKBONE = 7,
};

/// Chooses a latent, from the hidden state of the last token (`hidden_size` numbers, after the
/// final norm) and the policy's probabilities of the `option_count` latents; both are gone when the
/// callback returns. A result that is no latent makes the step fail with `OLLM_INVALID_ARGUMENT`.
/// Since 0.1.0.
typedef uint32_t (*ollm_policy_fn)(void *user,
                                   const float *hidden,
                                   size_t hidden_size,
                                   const float *policy,
                                   size_t option_count);

/// How latents are selected. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_selection {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The latents of `OLLM_SELECT_FIXED` and `OLLM_SELECT_SCRIPT`; they are copied.
    const uint32_t *latents;
    /// How many there are, at most 65536.
    size_t latent_count;
    /// The function of `OLLM_SELECT_CALLBACK`: it is called inside the calls that generate, on
    /// their thread.
    ollm_policy_fn choose;
    /// The first argument of `choose`.
    void *user;
    /// The temperature of `OLLM_SELECT_SAMPLE`; 0 is 1.
    float temperature;
    /// How long a latent is held.
    ollm_hold hold;
    /// The seed of all choices.
    uint64_t seed;
    /// The way to select.
    ollm_select mode;
    /// Tokens that a latent is held for with `OLLM_HOLD_TOKENS`, at least 1; else 0.
    uint32_t hold_tokens;
} ollm_selection;

/// Sets how the session selects latents from now on. NULL takes what the policy finds most
/// probable, held as long as the plugin was trained for, as at first (the backbone, where there is
/// no plugin). A held latent is let go, and a script begins anew. A callback, and its argument,
/// must stay alive until the next call of this function, or until the session is freed, and until
/// every fork and every set of branches that was made meanwhile is freed: these have them too.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` for what is no latent or out of its range,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_NO_PLUGIN`, `OLLM_NO_TOKENIZER` if a latent is to be
/// held for a line. Since 0.1.0.
ollm_status ollm_session_set_selection(ollm_session *session, const ollm_selection *selection);

// ---------------------------------------------------------------------------------------------------------------------
// Sampling: the token of a step, from the distribution of the backbone, of the selected option, or
// of the mixture.
// ---------------------------------------------------------------------------------------------------------------------

/// One filter of the sampler. It does nothing where its numbers are 0. Since 0.1.0.
OLLM_ENUM(ollm_filter, int32_t) {
    /// The repetition, presence and frequency penalties.
    OLLM_FILTER_PENALTIES = 1,
    /// Don't repeat yourself: `dry_multiplier`.
    OLLM_FILTER_DRY = 2,
    /// `top_n_sigma`.
    OLLM_FILTER_TOP_N_SIGMA = 3,
    /// `top_k`.
    OLLM_FILTER_TOP_K = 4,
    /// `typical_p`.
    OLLM_FILTER_TYPICAL = 5,
    /// `top_p`.
    OLLM_FILTER_TOP_P = 6,
    /// `min_p`.
    OLLM_FILTER_MIN_P = 7,
    /// Exclude top choices: `xtc_probability`.
    OLLM_FILTER_XTC = 8,
    /// `temperature`.
    OLLM_FILTER_TEMPERATURE = 9,
};

/// What is added to the logit of a token; `-INFINITY` bans it. Arrays of this struct are read, so
/// it never grows. Since 0.1.0.
typedef struct ollm_logit_bias {
    /// The token.
    uint32_t token;
    /// What is added.
    float bias;
} ollm_logit_bias;

/// Sees and changes the logits of a step, one for each token of the vocabulary, given the tokens so
/// far; both arrays are gone when the callback returns. `-INFINITY` bans a token. If no token is
/// left that may come, or a logit is no number, the step fails with `OLLM_INVALID_ARGUMENT`. Since
/// 0.1.0.
typedef void (*ollm_logits_fn)(void *user, float *logits, size_t vocabulary, const uint32_t *tokens, size_t count);

/// How tokens are sampled. A field that is 0 takes its default, and all defaults together are
/// greedy. Logit bias and callback come first, then the filters, in the order of `ollm_filter`
/// unless `order` gives another one. Since 0.1.0.
typedef struct ollm_sampling {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Top-k: keeps this many most probable tokens; 0 keeps all.
    size_t top_k;
    /// The seed of all choices: the same seed makes the same choices on every platform.
    uint64_t seed;
    /// The temperature, which divides the logits; 0 is greedy: then filters other than the
    /// penalties and DRY do nothing.
    float temperature;
    /// Top-p (nucleus): keeps the most probable tokens whose probabilities reach this sum; 0 and 1
    /// keep all.
    float top_p;
    /// Min-p: keeps tokens at least this many times as probable as the best token; 0 keeps all.
    float min_p;
    /// The repetition penalty: divides the positive logits of recent tokens and multiplies the
    /// negative ones; 0 and 1 change nothing.
    float repeat_penalty;
    /// The number of recent tokens that the repetition, presence and frequency penalties apply to;
    /// 0 is 64.
    uint32_t repeat_last;
    /// Must be 0.
    uint32_t reserved;
    /// The presence penalty: is taken from the logits of recent tokens.
    float presence_penalty;
    /// The frequency penalty: is taken from the logits of recent tokens, for each time that they
    /// occur.
    float frequency_penalty;
    /// Typical sampling: keeps the tokens whose surprise is nearest to the entropy and whose
    /// probabilities reach this sum; 0 and 1 keep all.
    float typical_p;
    /// Top-n-sigma: keeps tokens whose logits are at most this many standard deviations below the
    /// best one; 0 keeps all.
    float top_n_sigma;
    /// XTC: where several tokens are at least `xtc_threshold` probable, all but the least probable
    /// of them are left out, in this share of the steps; 0 never.
    float xtc_probability;
    /// See `xtc_probability`; 0 is 0.1.
    float xtc_threshold;
    /// DRY: a token that would go on with a repetition of n tokens loses `dry_multiplier *
    /// dry_base^(n - dry_allowed_length)`; 0 loses nothing.
    float dry_multiplier;
    /// See `dry_multiplier`; 0 is 1.75.
    float dry_base;
    /// The shortest repetition that loses something; 0 is 2.
    uint32_t dry_allowed_length;
    /// The number of recent tokens that DRY searches; 0 is all.
    uint32_t dry_last;
    /// Mirostat 2: the surprise of a token, in bits, that is aimed at; 0 is no mirostat. It needs a
    /// temperature. A restored session begins anew to aim.
    float mirostat_tau;
    /// How fast mirostat aims; 0 is 0.1.
    float mirostat_eta;
    /// Dynamic temperature: it goes from `temperature` minus this to `temperature` plus this, the
    /// higher, the less sure the model is; 0 is a fixed one.
    float dynamic_range;
    /// The power of the entropy that a dynamic temperature follows; 0 is 1.
    float dynamic_exponent;
    /// Texts that end a repetition for DRY: tokens that have one of them in their text; NULL takes
    /// the end of a line, `:`, `"` and `*`.
    const ollm_text *dry_breakers;
    /// How many there are.
    size_t dry_breaker_count;
    /// Is added to the logits of these tokens.
    const ollm_logit_bias *biases;
    /// How many there are.
    size_t bias_count;
    /// The filters that run, in this order; NULL is the order of `ollm_filter`. A filter that has
    /// something to do must be there.
    const ollm_filter *order;
    /// How many there are.
    size_t order_count;
    /// Sees and changes the logits; may be NULL. It is called inside the calls that generate, on
    /// their thread, and must stay alive, as `user`, until sampling is set again or the session,
    /// and every fork and every set of branches that was made meanwhile, is freed.
    ollm_logits_fn edit;
    /// The first argument of `edit`.
    void *user;
    /// With each token `ollm_token.top` tells so many of the most probable ones; 0 tells none.
    size_t logprobs;
} ollm_sampling;

/// Sets how the session samples from now on. NULL is greedy, as at first. The random number of a
/// token follows from the seed and its place in the text: a rewound, forked or restored session
/// draws what it would have drawn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` for a number that is out of its range or a token that is not
/// in the vocabulary, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER`
/// for DRY. Since 0.1.0.
ollm_status ollm_session_set_sampling(ollm_session *session, const ollm_sampling *sampling);

// ---------------------------------------------------------------------------------------------------------------------
// Constrained output: generated text keeps to a grammar, such as the schema of a JSON document. A
// grammar is compiled once for a model; any number of sessions keep to it, each at its own place.
//
// Each answer of a constrained session is a text of the grammar: a feed begins the next one.
// Steps, runs, option sets, suggestions and branches have no other tokens than those that it
// allows; probabilities are those among all tokens. Tokens that the grammar forces are not
// computed: their log-probability is 0 and their latent -1, and they go through the network in one
// pass with the next token that is not forced. Where the grammar is complete, end tokens are
// allowed; where nothing else can follow, an end token comes (of a model without one a run ends
// there with `OLLM_REASON_END`, and a step is `OLLM_UNSUPPORTED`). A text that a limit cuts is not
// complete: `OLLM_REASON_LIMIT` says so, and `ollm_session_is_complete`. A grammar that becomes
// too complex on its way is `OLLM_UNSUPPORTED` too, of whatever chooses tokens.
//
// These functions are in every build. The small library has no grammars, and says
// `OLLM_UNSUPPORTED`: build it with the cargo feature `constraints`.
// ---------------------------------------------------------------------------------------------------------------------

/// What the text of a grammar is written in. Since 0.1.0.
OLLM_ENUM(ollm_grammar_kind, int32_t) {
    /// JSON schema. A keyword that is not supported is an error that names it. The JSON is of one
    /// line, with one space behind each `,` and `:` and no other white space, unless the schema
    /// says otherwise under `x-guidance`.
    OLLM_GRAMMAR_JSON_SCHEMA = 0,
    /// A regular expression without look-around, which all of the text matches.
    OLLM_GRAMMAR_REGEX = 1,
    /// Lark, as llguidance reads it; it begins with the rule `start`.
    OLLM_GRAMMAR_LARK = 2,
    /// GBNF, as llama.cpp reads it; it begins with the rule `root`.
    OLLM_GRAMMAR_GBNF = 3,
};

/// Where a constraint begins. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_constraint_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// If it is not NULL, the text is free until it has this text, such as `</think>`: the grammar
    /// begins behind it. A text without it may end anywhere. At most 4096 bytes.
    const char *trigger;
    /// Bytes of `trigger`.
    size_t trigger_length;
    /// So many tokens at the end of the sequence are the beginning of the constrained text: an
    /// answer that was begun by a feed, or a restored one.
    size_t begun;
} ollm_constraint_options;

/// Compiles a grammar of `length` bytes, in the notation `kind` (an `ollm_grammar_kind`), for the
/// tokens of `model`. It has at most 256 KiB, and 100 brackets in brackets (those in its texts
/// count). The first one on a model takes some 50 ms more. On success `*grammar` is a handle of one
/// owner: free it with `ollm_grammar_free`. Sessions that keep to it keep it alive.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a text that is no grammar, or asks for a
/// feature that is not supported, which `ollm_last_error` names; `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_NO_TOKENIZER`, `OLLM_IO` if there is no thread to compile on,
/// `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` in a build without grammars. Since 0.1.0.
ollm_status ollm_grammar_new(const ollm_model *model,
                             int32_t kind,
                             const char *text,
                             size_t length,
                             ollm_grammar **grammar);

/// Frees a grammar and makes `*grammar` NULL. Sessions that keep to it still do. NULL, and a
/// pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_grammar_free(ollm_grammar **grammar);

/// Constrains what the session generates from here on; a NULL `grammar` leaves it free. Forks and
/// branches that are made from now on are constrained as well, each at a place of its own. A rewind
/// takes the constraint back over the generated tokens; a save does not have it. `options` may be
/// NULL.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also if the tokens that are begun are none of the grammar's,
/// or not there; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_MISMATCH` if the
/// grammar was compiled for another model, `OLLM_OUT_OF_MEMORY`. The session then stays as it was.
/// Since 0.1.0.
ollm_status ollm_session_set_constraint(ollm_session *session,
                                        const ollm_grammar *grammar,
                                        const ollm_constraint_options *options);

/// Whether the text that the session generated since its last feed is a whole one of its grammar,
/// in `*complete`: 1 or 0; 1 of a session without a constraint, and before the trigger.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_is_complete(ollm_session *session, int32_t *complete);

// ---------------------------------------------------------------------------------------------------------------------
// Generation: one token at a time, or a loop that calls back for each and knows when to end.
// ---------------------------------------------------------------------------------------------------------------------

/// Why a run ended. Since 0.1.0.
OLLM_ENUM(ollm_reason, int32_t) {
    /// An end token came; it is part of the session, not of the text.
    OLLM_REASON_END = 0,
    /// A stop string came.
    OLLM_REASON_STOP = 1,
    /// There are as many tokens as asked for.
    OLLM_REASON_LIMIT = 2,
    /// The callback asked for it.
    OLLM_REASON_CALLBACK = 3,
    /// The context is full. Of `ollm_chat_answer`: of a run this is the status `OLLM_CONTEXT_FULL`.
    OLLM_REASON_CONTEXT = 4,
    /// It was cancelled. Of `ollm_chat_answer`: of a run this is the status `OLLM_CANCELLED`.
    OLLM_REASON_CANCELLED = 5,
};

/// One generated token. Since 0.1.0.
typedef struct ollm_token {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The text that is complete with this token, as UTF-8 without a zero at its end: not the
    /// token's own where that is half a character. It belongs to the session and is gone with the
    /// next call on it, or with the callback's return.
    const char *text;
    /// Bytes of the text.
    size_t text_length;
    /// The option set that the token was chosen from, where `ollm_run_options` asks for it; else
    /// NULL. It belongs to the library and is dead when the callback returns.
    const ollm_option_set *options;
    /// The token.
    uint32_t id;
    /// The latent whose option it comes from; -1 without a plugin, for the mixture, and for a token
    /// that a constraint forced.
    int32_t latent;
    /// Natural logarithm of its probability, before the sampler's filters; 0 of a token that a
    /// constraint forced.
    float logprob;
    /// 1 if a text or a turn ends with this token, which then has no text; else 0.
    int32_t is_end;
    /// The most probable tokens of the distribution that it was chosen from, best first, as many as
    /// `ollm_sampling.logprobs` asks for. They belong to the session, as the text does.
    const ollm_logprob *top;
    /// How many there are.
    size_t top_count;
} ollm_token;

/// Sees a token of `ollm_session_run`; `token` is gone when the callback returns. Any other result
/// than 0 ends the run. Since 0.1.0.
typedef int32_t (*ollm_token_fn)(void *user, const ollm_token *token);

/// The options of a run: its limit, its stop strings, its callback. A field that is 0 takes its
/// default. Since 0.1.0.
typedef struct ollm_run_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Tokens at most; 0 is as many as the context holds.
    size_t limit;
    /// Stop strings: texts that end the run, and are not part of the generated text. At most 4096,
    /// of 1 MiB together.
    const ollm_text *stops;
    /// How many there are.
    size_t stop_count;
    /// If it is not 0, `options` of each token holds the option set, with this many tokens of each;
    /// needs a plugin.
    size_t top;
    /// Called for each token, inside the call and on its thread; may be NULL.
    ollm_token_fn each;
    /// The first argument of `each`.
    void *user;
} ollm_run_options;

/// Chooses the next token, as the session's sampling and selection say, and adds it to the
/// sequence. `token` must begin with its `struct_size`. An end token is a token like any other
/// here: the caller chooses whether to generate more.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`,
/// `OLLM_UNSUPPORTED` if its grammar cannot go on, or its model generates no text; then the session
/// stays as it was. Since 0.1.0.
ollm_status ollm_session_step(ollm_session *session, ollm_token *token);

/// As `ollm_session_step`, but from the option of this latent; the session's selection stays as it
/// is.
///
/// Statuses: as `ollm_session_step`, and `OLLM_NO_PLUGIN`. Since 0.1.0.
ollm_status ollm_session_step_latent(ollm_session *session, uint32_t latent, ollm_token *token);

/// Generates token by token until an end token, a stop string, the limit, or the callback ends it;
/// `*reason` (which may be NULL) tells which. `options` may be NULL.
///
/// Text that may be the beginning of a stop string is held back until this is decided. Text that is
/// still held back at the end comes with one more call of `each`, whose `id` is `OLLM_NO_TOKEN`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; `OLLM_CANCELLED` and
/// `OLLM_CONTEXT_FULL` if these end it. The session holds all tokens that came before. Since 0.1.0.
ollm_status ollm_session_run(ollm_session *session, const ollm_run_options *options, ollm_reason *reason);

// ---------------------------------------------------------------------------------------------------------------------
// Conversations: messages in, a streamed answer out. A chat holds the messages and what the chat
// template is given beside them; its answers come from a session, with the sampling, selection and
// duty cycle of that.
//
// Of the prompt of an answer the session computes what is new: the longest beginning that it has
// already stays. When the context is full, the model forgets the oldest whole turns (a message of
// a user and what follows it); system messages at the beginning stay, and so does the last turn.
// `ollm_session_cancel` ends an answer: what came until then is the answer.
//
// One thread at a time uses a chat: a second one gets `OLLM_BUSY`, and so does a callback that
// calls the chat, or its session.
// ---------------------------------------------------------------------------------------------------------------------

/// The settings of a chat. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_chat_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Variables of the chat template, as a JSON object: `tools`, `chat_template` and others, as in
    /// `ollm_chat_input`. NULL: none.
    const char *variables_json;
    /// Bytes of `variables_json`.
    size_t variables_json_length;
    /// With `limit_reasoning`: tokens that the model may think before each answer; its thought is
    /// then ended as if it had ended it.
    size_t reasoning_budget;
    /// 1: what the model thinks has the limit `reasoning_budget`.
    int32_t limit_reasoning;
    /// 1: the arguments of each tool call follow the JSON schema of the tool, from the text on that
    /// opens calls in the model's form. Other text stays free; the session's own constraint does
    /// not count in answers then.
    int32_t constrain_calls;
    /// 1: a full context ends with `OLLM_CONTEXT_FULL` and `OLLM_REASON_CONTEXT`; 0: the model
    /// forgets the oldest turns.
    int32_t no_context_shift;
    /// How the model calls tools.
    ollm_tool_format tool_format;
} ollm_chat_options;

/// Sees a part of an answer; `event` and its texts are gone when the callback returns. A call of a
/// tool has an id in any case. Any other result than 0 ends the answer. Since 0.1.0.
typedef int32_t (*ollm_chat_event_fn)(void *user, const ollm_chat_event *event);

/// The options of an answer. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_answer_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Tokens at most; 0 is as many as the context holds.
    size_t limit;
    /// Stop strings: texts that end the answer, and are not part of it. At most 4096, of 1 MiB
    /// together.
    const ollm_text *stops;
    /// How many there are.
    size_t stop_count;
    /// Called for each part of the answer, inside the call and on its thread; may be NULL.
    ollm_chat_event_fn each;
    /// The first argument of `each`.
    void *user;
} ollm_answer_options;

/// What an answer took. Since 0.1.0.
typedef struct ollm_answer {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Tokens of the prompt.
    size_t prompt_tokens;
    /// How many of them the session had already, so that they were not computed.
    size_t reused_tokens;
    /// Tokens of the answer.
    size_t answer_tokens;
    /// Whole turns that the model forgot because the context was full.
    size_t forgotten_turns;
    /// Their messages.
    size_t forgotten_messages;
    /// Why the answer ended.
    ollm_reason reason;
    /// 1 if the answer is now the last message; 0 if it was ended before anything came.
    int32_t has_message;
} ollm_answer;

/// A conversation without messages, whose answers come from `session`, by the chat template of its
/// model. `options` may be NULL. The session is not the chat's own: it can be used between answers,
/// and after it is freed the chat has no answers any more. On success `*chat` is a handle of one
/// owner: free it with `ollm_chat_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` (also for a template that is none of the file's, for a
/// reasoning budget where the template shows no thoughts, and for constrained calls without tools),
/// `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER` (or no template),
/// `OLLM_TEMPLATE`, `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` for constrained calls in a build
/// without grammars. Since 0.1.0.
ollm_status ollm_chat_new(ollm_session *session, const ollm_chat_options *options, ollm_chat **chat);

/// Frees a chat and makes `*chat` NULL; its session stays. A call that another thread is inside
/// goes on to its end. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_chat_free(ollm_chat **chat);

/// Changes the settings: other tools, another reasoning budget. `options` may be NULL, which is
/// every default.
///
/// Statuses: as `ollm_chat_new`; then the chat stays as it was. Since 0.1.0.
ollm_status ollm_chat_set_options(ollm_chat *chat, const ollm_chat_options *options);

/// Adds a message: what a user says, or any other with a role and a content.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_chat_add(ollm_chat *chat, const ollm_message *message);

/// Adds messages with all their fields, as `messages_json` of `ollm_chat_input` has them: a list of
/// objects, or one object. The result of a tool is such a message:
/// `{"role": "tool", "tool_call_id": "call00000", "name": "weather", "content": "21"}`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for JSON that is no message, `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`; then none is added. Since 0.1.0.
ollm_status ollm_chat_add_json(ollm_chat *chat, const char *json, size_t length);

/// Sets the system message, in place of those at the beginning; a NULL `text` leaves the
/// conversation without. The turns stay.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
/// Since 0.1.0.
ollm_status ollm_chat_set_system(ollm_chat *chat, const char *text, size_t length);

/// Answers the conversation, whose last message is not of the role "assistant": feeds its prompt,
/// generates, and adds the answer as a message. `options` may be NULL, and so may `answer`, which
/// must begin with its `struct_size`.
///
/// An answer that is cancelled, whose callback ends it, or that fills the context with a single
/// turn is an answer too: `answer->reason` tells. A cancellation while the prompt is fed is the
/// status `OLLM_CANCELLED`; the next call goes on from there.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE` (also where the session was freed),
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_EMPTY` if there is nothing to answer, `OLLM_CANCELLED`,
/// `OLLM_CONTEXT_FULL` if the system messages and the last turn alone do not fit, `OLLM_TEMPLATE`,
/// `OLLM_IO` if there is no thread for the template, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; then the messages are as they
/// were. Since 0.1.0.
ollm_status ollm_chat_answer(ollm_chat *chat,
                             const ollm_answer_options *options,
                             ollm_answer *answer);

/// How many messages there are, in `*count`; the model has forgotten `*forgotten` of them (which
/// may be NULL), those behind the system messages.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_count(const ollm_chat *chat, size_t *count, size_t *forgotten);

/// A message as JSON, an object with all its fields. The first one has `index` 0.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for an `index` that no message has,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
ollm_status ollm_chat_message(const ollm_chat *chat, size_t index, char *text, size_t capacity, size_t *length);

/// Takes back the last turn: what the user said last and all that followed; `*removed` (which may
/// be NULL) tells how many messages that were, 0 where there is no turn.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_take_back(ollm_chat *chat, size_t *removed);

/// Forgets the messages after the first `count`: the last answer, for instance, to have another.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also if there are not so many, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_truncate(ollm_chat *chat, size_t count);

/// Forgets all messages but the system messages at the beginning.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_chat_reset(ollm_chat *chat);

/// Saves the chat to a file, whose path ends in zero: its messages, its template variables, and its
/// session as `ollm_session_save_file` does.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_chat_save_file(ollm_chat *chat, const char *path);

/// Restores chat and session from a file: under the same settings, sampling and selection, the next
/// answer has the bits that it would have had in the saved chat. The template variables are those
/// of the file; calls of tools stay constrained where tools and template are the same.
///
/// Statuses: as `ollm_session_restore_file`; `OLLM_BAD_FILE` also if it is no saved chat,
/// `OLLM_INVALID_ARGUMENT` also if its variables choose a template that the model does not have.
/// Chat and session then stay as they were. Since 0.1.0.
ollm_status ollm_chat_restore_file(ollm_chat *chat, const char *path);

// ---------------------------------------------------------------------------------------------------------------------
// Batches: a step of several sessions of one model in one read of the weights. Each session gets
// what it would have got alone, to the last bit.
// ---------------------------------------------------------------------------------------------------------------------

/// Makes the memory that batched steps work in. On success `*batch` is a handle of one owner: free
/// it with `ollm_batch_free`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`. Since 0.1.0.
ollm_status ollm_batch_new(ollm_batch **batch);

/// Frees it and makes `*batch` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_batch_free(ollm_batch **batch);

/// Takes a step of each of `count` sessions, as `ollm_session_step` would, in one pass: they are
/// of one model and one plugin, or all of them without. They may have adapters, samplings and
/// selections of their own. Tokens that were fed and not yet computed are computed too.
///
/// `tokens` has a pointer to an `ollm_token` for each session, which must begin with its
/// `struct_size`; `outcomes` a place for the status of each. A session that fails leaves its token
/// as it is, and the others take their steps all the same; the last error is that of the last one
/// that failed.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a session that is there twice, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY` if one of the sessions, or the batch, is in use: then no session has moved. Of a
/// session: as `ollm_session_step`, and `OLLM_INVALID_ARGUMENT` if it cannot be batched with the
/// first. Since 0.1.0.
ollm_status ollm_batch_step(ollm_batch *batch,
                            ollm_session *const *sessions,
                            size_t count,
                            ollm_token *const *tokens,
                            ollm_status *outcomes);

// ---------------------------------------------------------------------------------------------------------------------
// Adapters: low-rank changes of a backbone (`LoRA`), which a session applies while it runs. An
// adapter does not change: any number of sessions and threads share it, and sessions of one model
// may have different ones.
// ---------------------------------------------------------------------------------------------------------------------

/// Loads adapters of `model` from a GGUF file, as llama.cpp's `convert_lora_to_gguf` and
/// `ollm-convert adapter` write it. On success `*adapter` is a handle with one owner: release it
/// with `ollm_adapter_release`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
/// `OLLM_BAD_FILE` also for factors whose shapes do not fit, `OLLM_UNSUPPORTED`, `OLLM_MISMATCH`
/// for adapters of another architecture or of matrices that cannot be adapted at run time,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_adapter_load(const ollm_model *model, const ollm_source *source, ollm_adapter **adapter);

/// Gives up one owner and makes `*adapter` NULL. Sessions with the adapter keep it alive. NULL, and
/// a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_adapter_release(ollm_adapter **adapter);

/// Sets the adapters of all that follows, each with its scale (1 is as it was trained); with a
/// `count` of 0 the backbone is as it is, as at first. `scales` may be NULL: all are 1. The tokens
/// that are there stay as they were computed: rewind to compute them anew. Forks and branches have
/// them too; a saved session does not.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for
/// adapters of another model. Since 0.1.0.
ollm_status ollm_session_set_adapters(ollm_session *session,
                                      const ollm_adapter *const *adapters,
                                      const float *scales,
                                      size_t count);

// ---------------------------------------------------------------------------------------------------------------------
// Drafts: what guesses the tokens to come.
// ---------------------------------------------------------------------------------------------------------------------

/// What guesses the tokens to come. Since 0.1.0.
OLLM_ENUM(ollm_draft, int32_t) {
    /// Nothing, as at first.
    OLLM_DRAFT_NONE = 0,
    /// The text: what followed the same tokens before. Good where a text is quoted or edited.
    OLLM_DRAFT_NGRAM = 1,
    /// A smaller model of the same vocabulary.
    OLLM_DRAFT_MODEL = 2,
};

/// Sets what guesses the tokens to come. What it guesses goes through the network beside the last
/// token, and is of use where the session chooses just that: the tokens are the same, bit for bit,
/// and fewer passes are made (`ollm_session_statistics` tells how many). `draft` is of
/// `ollm_draft`. How long drafts are follows from what they bring. Steps of this session alone
/// draft; batches, branches and forks do not. `model` is the draft model of `OLLM_DRAFT_MODEL`,
/// which the session keeps alive, and NULL otherwise; its memory is not under the session's limit.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for a
/// model of another vocabulary, `OLLM_UNSUPPORTED` for one that continues no texts,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_session_set_draft(ollm_session *session, int32_t draft, const ollm_model *model);

// ---------------------------------------------------------------------------------------------------------------------
// Logits, scores, embeddings and relevance: what the network says of a text, without choosing from
// it.
// ---------------------------------------------------------------------------------------------------------------------

/// The distributions of the next token. Since 0.1.0.
OLLM_ENUM(ollm_distribution, int32_t) {
    /// The backbone's, as if there were no plugin.
    OLLM_DISTRIBUTION_BACKBONE = 0,
    /// That of the option of a latent.
    OLLM_DISTRIBUTION_OPTION = 1,
    /// The mixture of all options, weighted by the policy.
    OLLM_DISTRIBUTION_MIXTURE = 2,
};

/// How hidden states of a text become one. Since 0.1.0.
OLLM_ENUM(ollm_pooling, int32_t) {
    /// Their mean.
    OLLM_POOLING_MEAN = 0,
    /// That of the first token.
    OLLM_POOLING_CLS = 1,
    /// That of the last token.
    OLLM_POOLING_LAST = 2,
    /// The one that the model's file names; the mean, if it names none.
    OLLM_POOLING_MODEL = 3,
};

/// The logits of the next token, one for each token of the model's vocabulary: of the backbone, of
/// the option of `latent` (which is 0 for the others), or of the mixture, whose logits are
/// log-probabilities. The session does not move. `distribution` is of `ollm_distribution`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
ollm_status ollm_session_logits(ollm_session *session,
                                int32_t distribution,
                                uint32_t latent,
                                float *logits,
                                size_t capacity,
                                size_t *count);

/// Adds tokens to the sequence, as `ollm_session_feed` does, and tells of each the natural
/// logarithm of its probability given the tokens before it: under the session's selection, as if
/// the tokens were an answer. That of the first token of a sequence is not a number (NAN). With a
/// NULL buffer nothing is added, and `*written` is `count`. To score several continuations, fork
/// the session, or rewind it.
///
/// Statuses: as `ollm_session_feed` and `ollm_session_step`, and `OLLM_BUFFER_TOO_SMALL`; what was
/// scored by then is part of the session. Since 0.1.0.
ollm_status ollm_session_score(ollm_session *session,
                               const uint32_t *tokens,
                               size_t count,
                               float *logprobs,
                               size_t capacity,
                               size_t *written);

/// The embedding of a text: the hidden states of its tokens, after the final norm, pooled into one
/// vector, which is as long as the model is wide, or as its last dense layer makes it. With
/// `normalized` other than 0 its Euclidean norm is 1. The session forgets what it held, and holds
/// these tokens afterwards; none, if the model has bidirectional attention: such a model gives
/// embeddings alone (`OLLM_UNSUPPORTED`). With a NULL buffer the length alone is written. `pooling`
/// is of `ollm_pooling`. Tokens that the model's file wants around a whole text:
/// `ollm_tokenize_flags`.
///
/// Statuses: as `ollm_session_feed`, `OLLM_BUFFER_TOO_SMALL`, and `OLLM_EMPTY` without tokens.
/// Since 0.1.0.
ollm_status ollm_session_embed(ollm_session *session,
                               const uint32_t *tokens,
                               size_t count,
                               int32_t pooling,
                               int32_t normalized,
                               float *embedding,
                               size_t capacity,
                               size_t *length);

/// How relevant a document is to a query, as a reranker scores the pair: the logit of a model with
/// one label, of one with several the probability of the label `yes`, or of the first. The session
/// forgets what it held, and holds the tokens of the pair afterwards; none, if the model has
/// bidirectional attention. The texts of special tokens are text here.
///
/// Statuses: as `ollm_session_feed_text`; `OLLM_UNSUPPORTED` if the model has no head for
/// classification. Since 0.1.0.
ollm_status ollm_session_rank(ollm_session *session,
                              const char *query,
                              size_t query_length,
                              const char *document,
                              size_t document_length,
                              float *score);

// ---------------------------------------------------------------------------------------------------------------------
// Option sets. The option set of a step is K distributions of the next token, one for each latent,
// and the policy's probability of each latent. A snapshot of it is a handle of its own, which
// later steps of the session do not change.
// ---------------------------------------------------------------------------------------------------------------------

/// One token of an option, and its probability there. Since 0.1.0.
typedef struct ollm_candidate {
    /// The token.
    uint32_t token;
    /// Its probability, from 0 to 1.
    float probability;
} ollm_candidate;

/// The option set of the session's current step, with the `top` most probable tokens of each
/// option. The session does not move. On success `*options` is a handle of one owner: free it with
/// `ollm_option_set_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`.
/// Since 0.1.0.
ollm_status ollm_option_set_new(ollm_session *session, size_t top, ollm_option_set **options);

/// Frees an option set and makes `*options` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_option_set_free(ollm_option_set **options);

/// The probability that the policy gives to each latent, one after the other: their number is K.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
ollm_status ollm_option_set_policy(const ollm_option_set *options,
                                   float *policy,
                                   size_t capacity,
                                   size_t *count);

/// The most probable tokens of the option of a latent, best first.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
/// Since 0.1.0.
ollm_status ollm_option_set_top(const ollm_option_set *options,
                                uint32_t latent,
                                ollm_candidate *top,
                                size_t capacity,
                                size_t *count);

/// The policy of the session's current step: the probability of each latent. It costs less than an
/// option set.
///
/// Statuses: as `ollm_option_set_new`, and `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
ollm_status ollm_session_policy(ollm_session *session, float *policy, size_t capacity, size_t *count);

/// The hidden state of the session's last token, after the final norm: as many numbers as
/// `ollm_model_info` says.
///
/// Statuses: as `ollm_session_policy`, but for `OLLM_NO_PLUGIN`. Since 0.1.0.
ollm_status ollm_session_hidden(ollm_session *session, float *hidden, size_t capacity, size_t *count);

/// Adds tokens to the sequence, as `ollm_session_feed` does, and tells which latent the encoder
/// assigns to each: the option that explains it best. `latents` has room for `count` numbers; the
/// first token of a sequence has none, which is -1.
///
/// Statuses: as `ollm_session_feed`, `OLLM_NO_PLUGIN`, and `OLLM_NOT_FINITE` if the encoder gives
/// no distribution. Since 0.1.0.
ollm_status ollm_session_encode(ollm_session *session, const uint32_t *tokens, size_t count, int32_t *latents);

// ---------------------------------------------------------------------------------------------------------------------
// Branches: several continuations of one session, decoded in one batch. A branch is bit-identical
// to a session of its own, and a step of ten costs little more than a step of one.
//
// At first there is one branch, without a token. `ollm_branches_expand` makes several of one,
// `ollm_branches_step` advances all of them, `ollm_branches_run` does both until there is an
// answer. A branch begins an answer, and is at a boundary where no latent is held: see `ollm_hold`
// for what an answer is and where a hold ends.
//
// Branches may be used by any thread, but by one thread at a time: a second thread that calls
// meanwhile gets `OLLM_BUSY`, and so does a callback that calls the same branches. Only
// `ollm_branches_cancel` and `ollm_branches_free` may be called from other threads too.
// ---------------------------------------------------------------------------------------------------------------------

/// Into which branches a branch is expanded. Since 0.1.0.
OLLM_ENUM(ollm_expand, int32_t) {
    /// One for each latent.
    OLLM_EXPAND_LATENTS = 0,
    /// One for each of `count` latents, those that the policy finds most probable.
    OLLM_EXPAND_TOP = 1,
    /// One for each of `count` latents that are drawn from the policy. What is drawn twice counts
    /// twice.
    OLLM_EXPAND_DRAW = 2,
    /// One for each of `count` tokens, the most probable ones.
    OLLM_EXPAND_TOKENS = 3,
    /// `count` samples.
    OLLM_EXPAND_SAMPLE = 4,
};

/// Whether a branch goes on, or how it ended. Since 0.1.0.
OLLM_ENUM(ollm_branch_state, int32_t) {
    /// It is still generated.
    OLLM_BRANCH_OPEN = 0,
    /// By an end token.
    OLLM_BRANCH_END = 1,
    /// By a stop string.
    OLLM_BRANCH_STOP = 2,
    /// By the limit of tokens, or the end of the context.
    OLLM_BRANCH_LENGTH = 3,
    /// It was given up.
    OLLM_BRANCH_PRUNED = 4,
    /// Another branch has the same tokens, and the same to come: `merged_into`.
    OLLM_BRANCH_MERGED = 5,
    /// By an error of its own: `error`.
    OLLM_BRANCH_FAILED = 6,
};

/// How branches are generated. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_branch_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Tokens of a branch at most; 0 is as many as the context holds, or without end with a context
    /// shift.
    size_t limit;
    /// Stop strings: texts that end a branch, and are not part of its text. At most 4096, of 1 MiB
    /// together.
    const ollm_text *stops;
    /// How many there are.
    size_t stop_count;
    /// How latents are selected where no expansion did, and how long latents are held; NULL takes
    /// the session's selection. Its `seed` must be 0: the seed of all choices is that of the
    /// session's sampling.
    const ollm_selection *selection;
} ollm_branch_options;

/// An expansion. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_expansion {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// How many branches; 0 for `OLLM_EXPAND_LATENTS`, and for nothing else.
    size_t count;
    /// The temperature of the tokens of `OLLM_EXPAND_SAMPLE`; 0 is 1. Nothing else has one.
    float temperature;
    /// Into what.
    ollm_expand kind;
} ollm_expansion;

/// One branch. Its arrays and its text belong to the branches, and are gone with the next call on
/// them that is not `ollm_branches_get` or `ollm_branches_count`. Since 0.1.0.
typedef struct ollm_branch {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The generated tokens, without an end token; NULL if there are none.
    const uint32_t *tokens;
    /// The latent of each token, -1 for none; NULL if there are no tokens.
    const int32_t *latents;
    /// The number of tokens.
    size_t token_count;
    /// The generated text, as UTF-8 without a zero at its end. What may be the beginning of a stop
    /// string, or half a character, comes with a later token.
    const char *text;
    /// Bytes of the text.
    size_t text_length;
    /// Tokens that it shares with its parent.
    size_t fork;
    /// The sum of the natural logarithms of the policy's probabilities of the latents that were
    /// selected.
    double policy;
    /// The sum of the natural logarithms of the tokens' probabilities, before the sampler's
    /// filters, that of an end token included.
    double logprob;
    /// What it counts in a vote: 1 at first, with that of branches that were merged into it. Where
    /// it is expanded later, its branches share it.
    double count;
    /// The probability that the answer will be right, as the plugin's value head says; NaN where
    /// none was asked.
    float value;
    /// The branch that it was forked from; -1 for the text of the session.
    int32_t parent;
    /// The branch that it was merged into; -1 for none.
    int32_t merged_into;
    /// 1 if it is at a boundary: no latent is held. Else 0.
    int32_t at_boundary;
    /// Whether it goes on, or how it ended.
    ollm_branch_state state;
    /// Why it failed; `OLLM_OK` if it did not.
    ollm_status error;
} ollm_branch;

/// Branches of a session, which does not move: at first one, which begins where the session is.
/// They are sampled as the session is, and the seed of its sampling is that of all choices. They
/// share the KV cache of the text and the workers with the session, have its memory limit and duty
/// cycle, and live on when it is freed. Without a plugin and a selection, the only boundary is at
/// the beginning. `options` may be NULL. On success `*branches` is a handle of one owner: free it
/// with `ollm_branches_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
/// `OLLM_NO_PLUGIN` for a selection of latents, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since
/// 0.1.0.
ollm_status ollm_branches_new(ollm_session *session,
                              const ollm_branch_options *options,
                              ollm_branches **branches);

/// Frees branches and makes `*branches` NULL. If another thread is inside, its call is cancelled
/// first, and this one waits for it; inside a callback it does not wait, and the branches go when
/// that call returns. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of these branches.
/// Since 0.1.0.
ollm_status ollm_branches_free(ollm_branches **branches);

/// Cancels the branches' work: the running call, or else the next call that computes, returns
/// `OLLM_CANCELLED`. No branch has moved in the step that was cancelled.
///
/// Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_branches_cancel(ollm_branches *branches);

/// Takes back a cancellation that no call has seen yet, such as one that came after the end.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_branches_withdraw_cancel(ollm_branches *branches);

/// Makes several branches of one, which is open. It becomes the first of them; the others come
/// after those that are there. Branches that would go the same way are merged at once. NULL expands
/// all latents.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended, for a second
/// expansion into latents or tokens without a step between, and for a count of 0;
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents
/// are expanded without one, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` if a
/// token of each does not fit; then there are as many branches as before. Since 0.1.0.
ollm_status ollm_branches_expand(ollm_branches *branches, size_t branch, const ollm_expansion *expansion);

/// Advances all open branches by a token each, in one pass over the weights; how many there were
/// goes to `*advanced` (which may be NULL): with 0 all have ended. An error of a branch alone ends
/// that branch.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_MEMORY_LIMIT`; then no branch has moved. Since 0.1.0.
ollm_status ollm_branches_step(ollm_branches *branches, size_t *advanced);

/// Gives an open branch up.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended,
/// `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_branches_prune(ollm_branches *branches, size_t branch);

/// The number of branches, open and ended, in `*count`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_branches_count(ollm_branches *branches, size_t *count);

/// The branch of index `branch`, from 0 on, in the order in which they came to be, in `*out`, which
/// must begin with its `struct_size`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, `OLLM_INVALID_HANDLE`,
/// `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_branches_get(ollm_branches *branches, size_t branch, ollm_branch *out);

/// Brings a session to where a branch is, as if it had generated the branch's tokens. The KV cache
/// is shared (copy on write), and nothing is computed again. The session keeps its sampling,
/// selection, workers and limits; the branches stay as they are. It must be where the branches
/// began: the session that they were made from, or a fork of it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, or that was pruned or merged
/// or failed; `OLLM_INVALID_HANDLE`, `OLLM_BUSY`; `OLLM_MISMATCH` if the session has another model,
/// plugin, context size or text; `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays
/// as it was. Since 0.1.0.
ollm_status ollm_branches_adopt(ollm_branches *branches, size_t branch, ollm_session *session);

// ---------------------------------------------------------------------------------------------------------------------
// Search: a vote over branches, the best of N, beam search. What counts is the final answer of a
// branch's text, which a rule finds.
// ---------------------------------------------------------------------------------------------------------------------

/// How much a branch counts for its answer. Since 0.1.0.
OLLM_ENUM(ollm_weight, int32_t) {
    /// Each branch counts 1.
    OLLM_WEIGHT_ONE = 0,
    /// By the policy's probability of its latents.
    OLLM_WEIGHT_POLICY = 1,
    /// By what the plugin's value head says.
    OLLM_WEIGHT_VALUE = 2,
};

/// Which branch is better. Since 0.1.0.
OLLM_ENUM(ollm_score, int32_t) {
    /// The mean of the log-probabilities of its tokens.
    OLLM_SCORE_LOGPROB = 0,
    /// Their sum, which prefers short texts.
    OLLM_SCORE_LOGPROB_SUM = 1,
    /// The logarithm of the policy's probability of its latents.
    OLLM_SCORE_POLICY = 2,
    /// What the plugin's value head says.
    OLLM_SCORE_VALUE = 3,
};

/// How branches are searched. Since 0.1.0.
OLLM_ENUM(ollm_strategy, int32_t) {
    /// Expands once. The answer that has most of the weight wins; it ends as soon as no open branch
    /// can change that.
    OLLM_STRATEGY_VOTE = 0,
    /// Expands once. The branch with the best score wins (best of N).
    OLLM_STRATEGY_BEST = 1,
    /// Expands at each boundary, and keeps the branches with the best scores (beam search).
    OLLM_STRATEGY_BEAM = 2,
};

/// Finds the answer of a text. `*answer` is empty at first, and stays so if there is none; what it
/// points to is copied when the callback returns, and may be part of the text. Since 0.1.0.
typedef void (*ollm_answer_fn)(void *user, ollm_text text, ollm_text *answer);

/// Says how good a branch is: the higher, the better; NaN is the lowest. What `branch` points to is
/// gone when the callback returns. Since 0.1.0.
typedef double (*ollm_score_fn)(void *user, const ollm_branch *branch);

/// How answers are found, and which one wins. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_tally {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// How the answer is found in a text; NULL is "number". At most 64 KiB.
    ///
    /// - "number": the number behind the last `####`, or else the last number. Numbers are compared
    ///   by value: `1,234.50` is `1234.5`.
    /// - "hash": what stands behind the last `####`, to the end of its line.
    /// - "boxed": what stands in the last `\boxed{}`.
    /// - "regex:RE": the one group of a regular expression, where it matches last.
    /// - "text": the whole text.
    const char *rule;
    /// Bytes of the rule.
    size_t rule_length;
    /// Finds the answer in place of a rule; may be NULL.
    ollm_answer_fn answer;
    /// The first argument of `answer`.
    void *user;
    /// How much a branch counts for its answer.
    ollm_weight weight;
    /// Which branch is better; in a vote, which of those that tie.
    ollm_score score;
    /// Says which branch is better in place of `score`; may be NULL. Called inside the call and on
    /// its thread, once a branch wherever branches are ranked.
    ollm_score_fn score_of;
    /// The first argument of `score_of`.
    void *score_user;
} ollm_tally;

/// Sees the branches after each step of a search. The array, and what is in it, are gone when the
/// callback returns. Any other result than 0 ends the search, which gives what there is. Since
/// 0.1.0.
typedef int32_t (*ollm_branches_fn)(void *user, const ollm_branch *const *branches, size_t count);

/// A search. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_search_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Into what a branch is expanded; NULL is all latents.
    const ollm_expansion *expansion;
    /// How answers are found, and which one wins; NULL takes the defaults.
    const ollm_tally *tally;
    /// Vote and best: branches that an expansion makes at most, the most probable ones. Beam:
    /// branches that are kept at a boundary. 0 is as many as the expansion makes.
    size_t width;
    /// Called after each step, inside the call and on its thread; may be NULL.
    ollm_branches_fn each;
    /// The first argument of `each`.
    void *user;
    /// The strategy.
    ollm_strategy strategy;
    /// Must be 0.
    int32_t reserved;
} ollm_search_options;

/// What a search or a vote found. Since 0.1.0.
typedef struct ollm_found {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The branch.
    size_t branch;
    /// Its answer, as UTF-8 without a zero at its end; NULL if it has none. It belongs to the
    /// branches, and is gone with the next call of `ollm_branches_run` or `ollm_branches_vote` on
    /// them.
    const char *answer;
    /// Bytes of the answer.
    size_t answer_length;
    /// The share of the weight of all branches that have the same answer: 0 to 1.
    double confidence;
    /// Passes over the weights, since the branches were made.
    size_t passes;
    /// Tokens generated since then, of all branches; what several share counts once.
    size_t generated;
} ollm_found;

/// Searches: expands (a vote and best the first branch, if none was expanded yet; a beam each at
/// its boundary), generates, and prunes the branches that are still open at the end; `*found`,
/// which must begin with its `struct_size`, tells what was found. `options` may be NULL, which is a
/// vote of all latents.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none, such as a regular expression
/// without one group; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents or values are asked for that the session has not,
/// `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`. The branches then are where the
/// last whole step left them: a second call continues, and finds what the first would have found.
/// Since 0.1.0.
ollm_status ollm_branches_run(ollm_branches *branches,
                              const ollm_search_options *options,
                              ollm_found *found);

/// The vote of the branches that are there, without generating: the answer that has most of the
/// weight, and the best branch that gives it. Open branches have no answer. `tally` may be NULL.
///
/// Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none; `OLLM_INVALID_HANDLE`,
/// `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_PLUGIN` if values are asked for that the session has
/// not; `OLLM_CANCELLED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` where they are computed; the
/// error of a branch, if all have failed. Since 0.1.0.
ollm_status ollm_branches_vote(ollm_branches *branches, const ollm_tally *tally, ollm_found *found);

// ---------------------------------------------------------------------------------------------------------------------
// Suggestions: short continuations to choose from, as a keyboard or an editor shows them.
// ---------------------------------------------------------------------------------------------------------------------

/// Where a suggestion ends, if it has not as many tokens as it may have. Since 0.1.0.
OLLM_ENUM(ollm_until, int32_t) {
    /// Nowhere.
    OLLM_UNTIL_TOKENS = 0,
    /// At the end of the word.
    OLLM_UNTIL_WORD = 1,
    /// At the end of the line.
    OLLM_UNTIL_LINE = 2,
};

/// What is suggested. A field that is 0 takes its default. Since 0.1.0.
typedef struct ollm_suggest_options {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Suggestions at most; 0 is 3.
    size_t count;
    /// Tokens of each at most; 0 is 8.
    size_t tokens;
    /// Where it ends before.
    ollm_until until;
    /// Must be 0.
    int32_t reserved;
} ollm_suggest_options;

/// A suggestion. Its text and its tokens belong to the suggestions, and are gone when these are
/// freed. Since 0.1.0.
typedef struct ollm_suggestion {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The text, as UTF-8 without a zero at its end; it is not empty.
    const char *text;
    /// Bytes of the text.
    size_t text_length;
    /// Its tokens; with an end at a word or a line, the last one may have more text.
    const uint32_t *tokens;
    /// The number of tokens.
    size_t token_count;
    /// The probability of the tokens; with a plugin the sum, over the latents that give them, of
    /// the policy's probability times theirs.
    double probability;
    /// The latent that adds most to it; -1 for none.
    int32_t latent;
    /// 0.
    int32_t reserved;
} ollm_suggestion;

/// Suggests continuations of the session, which does not move: the most probable first, none the
/// beginning of another. With a plugin each latent continues the text, held for all of it; if these
/// say too little that is different, and without a plugin, the likeliest tokens are continued.
/// Sampling and selection of the session do not matter, its constraint does; `ollm_session_cancel`
/// cancels it. `options` may be NULL. On success `*suggestions` is a handle of one owner: free it
/// with `ollm_suggestions_free`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
/// `OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
/// `OLLM_MEMORY_LIMIT`. Since 0.1.0.
ollm_status ollm_session_suggest(ollm_session *session,
                                 const ollm_suggest_options *options,
                                 ollm_suggestions **suggestions);

/// Frees suggestions and makes `*suggestions` NULL. NULL, and a pointer to NULL, are fine.
///
/// Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_suggestions_free(ollm_suggestions **suggestions);

/// The number of suggestions, in `*count`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_suggestions_count(const ollm_suggestions *suggestions, size_t *count);

/// The suggestion of index `index`, from 0 on, in `*suggestion`, which must begin with its
/// `struct_size`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for an index that is none,
/// `OLLM_INVALID_HANDLE`. Since 0.1.0.
ollm_status ollm_suggestions_get(const ollm_suggestions *suggestions,
                                 size_t index,
                                 ollm_suggestion *suggestion);

// ---------------------------------------------------------------------------------------------------------------------
// Snapshots: a session, with its tokens and its KV cache, saved to a file or a buffer and restored
// in another process. The format is versioned and checksummed; a snapshot of another model is
// refused. Sampling, selection and plugin are not part of it.
// ---------------------------------------------------------------------------------------------------------------------

/// Saves the session to a file, whose path ends in zero. The file is replaced only when all of it
/// is written and on the disk, by a new one of the same permissions; of a symbolic link, the file
/// that it names. Any number of threads and processes may save to one path and restore from it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_session_save_file(ollm_session *session, const char *path);

/// Restores the session from a file: under the same sampling and selection, the next tokens are
/// those that the saved session would have generated, samples included. The held latent and the
/// place in a script are saved with a session; its sampling, selection and plugin are not. Half a
/// character at the end of the text is cut off, as by a rewind. "Another model" is one of other
/// weights, as far as samples of each tensor tell: a change of a few weights is not seen.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
/// `OLLM_BAD_FILE` if it is damaged, `OLLM_UNSUPPORTED` for another version, `OLLM_MISMATCH` for
/// another model, other adapters, another type of KV cache, or a held latent that this session's
/// plugin does not have; `OLLM_CONTEXT_FULL` if it is longer than the context,
/// `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays as it was. Since 0.1.0.
ollm_status ollm_session_restore_file(ollm_session *session, const char *path);

/// Feeds tokens to an empty session, as `ollm_session_feed` does, by way of a folder of saved
/// sessions: the one that has the most tokens in common with the beginning of the prompt is
/// restored, the rest is computed, and the prompt is put into the folder. The session is then as
/// `ollm_session_feed` would have left it. The folder is made if it is not there; it holds at most
/// `limit` bytes, and what was not used for the longest time goes first. Several processes may use
/// one folder. How many tokens came from it is in `*found`, which may be NULL. A session that is
/// not empty is fed without the folder.
///
/// Statuses: as `ollm_session_feed`; `OLLM_IO` if the folder cannot be made, and then the session
/// stays as it was, or if the prompt cannot be put into it: then the tokens are in the session
/// (`ollm_session_position` tells). Damaged files, and those of other models, are not used. Since
/// 0.1.0.
ollm_status ollm_session_feed_cached(ollm_session *session,
                                     const uint32_t *tokens,
                                     size_t count,
                                     const char *folder,
                                     uint64_t limit,
                                     size_t *found);

/// Saves the session to a buffer.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
/// `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
ollm_status ollm_session_save(ollm_session *session, void *data, size_t capacity, size_t *length);

/// Restores the session from a buffer.
///
/// Statuses: as `ollm_session_restore_file`, but for `OLLM_IO`. Since 0.1.0.
ollm_status ollm_session_restore(ollm_session *session, const void *data, size_t length);

// ---------------------------------------------------------------------------------------------------------------------
// Memory: the need of a model before it is loaded, the memory that a session holds, and how to
// reduce it. The limits are in `ollm_load_options` and `ollm_session_options`.
// ---------------------------------------------------------------------------------------------------------------------

/// Bytes of memory, without the pages of mapped files, with the bytes that loading copies. Since
/// 0.1.0.
typedef struct ollm_memory {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// The model's weights.
    size_t weights;
    /// The plugin's weights.
    size_t plugin;
    /// The KV cache of a session whose context is full.
    size_t kv;
    /// Buffers of a session.
    size_t scratch;
    /// All of it.
    size_t total;
} ollm_memory;

/// What a model, a plugin (NULL if there is none) and a session with these options (NULL for the
/// defaults) will need. Only the head of the files is read, and the sources are not taken over:
/// `release` is not called. `needed` must begin with its `struct_size`.
///
/// Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`.
/// Since 0.1.0.
ollm_status ollm_memory_needed(const ollm_source *model,
                               const ollm_source *plugin,
                               const ollm_session_options *options,
                               ollm_memory *needed);

/// The bytes that the session holds now, without the weights, in `*bytes`. Memory that forks share
/// counts for each fork.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_memory(ollm_session *session, size_t *bytes);

/// Trims the session: frees memory that it can allocate again when needed, for low-memory warnings
/// of the system. To free more, save the session and free it.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_trim(ollm_session *session);

// ---------------------------------------------------------------------------------------------------------------------
// Statistics: what a session has done, and how long it took.
// ---------------------------------------------------------------------------------------------------------------------

/// What a session has done since it was made, or since it was forked. Since 0.1.0.
typedef struct ollm_statistics {
    /// `sizeof` of this struct.
    size_t struct_size;
    /// Tokens that were fed.
    uint64_t fed;
    /// Seconds that the calls that fed them took.
    double feed_seconds;
    /// Tokens that were generated.
    uint64_t generated;
    /// Seconds that the calls that generated them took.
    double generate_seconds;
    /// Seconds from the beginning of the last feed to the first token after it; 0 before that.
    double first_token_seconds;
    /// Passes over the weights of the network.
    uint64_t passes;
    /// Bytes of the KV cache, those that forks share included.
    size_t kv_bytes;
    /// Drafted tokens that went through the network: see `ollm_session_set_draft`.
    uint64_t drafted;
    /// How many of them were right.
    uint64_t accepted;
} ollm_statistics;

/// What the session has done, in `*statistics`, which must begin with its `struct_size`. Tokens a
/// second of prefill are `fed / feed_seconds`, those of decode `generated / generate_seconds`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
ollm_status ollm_session_statistics(ollm_session *session, ollm_statistics *statistics);

// ---------------------------------------------------------------------------------------------------------------------
// Initializers: structs with their size set and everything else 0, which is the default. Since
// 0.1.0.
// ---------------------------------------------------------------------------------------------------------------------

#define OLLM_INITIALIZER(type)            \
    static inline type type##_init(void) { \
        type value;                        \
        memset(&value, 0, sizeof value);   \
        value.struct_size = sizeof value;  \
        return value;                      \
    }

/// `ollm_load_options options = ollm_load_options_init();`, and so on.
OLLM_INITIALIZER(ollm_load_options)
OLLM_INITIALIZER(ollm_chat_input)
OLLM_INITIALIZER(ollm_chat_event)
OLLM_INITIALIZER(ollm_chat_options)
OLLM_INITIALIZER(ollm_answer_options)
OLLM_INITIALIZER(ollm_answer)
OLLM_INITIALIZER(ollm_thread_pool_options)
OLLM_INITIALIZER(ollm_session_options)
OLLM_INITIALIZER(ollm_sampling)
OLLM_INITIALIZER(ollm_selection)
OLLM_INITIALIZER(ollm_run_options)
OLLM_INITIALIZER(ollm_memory)
OLLM_INITIALIZER(ollm_token)
OLLM_INITIALIZER(ollm_source)
OLLM_INITIALIZER(ollm_branch_options)
OLLM_INITIALIZER(ollm_expansion)
OLLM_INITIALIZER(ollm_branch)
OLLM_INITIALIZER(ollm_tally)
OLLM_INITIALIZER(ollm_search_options)
OLLM_INITIALIZER(ollm_found)
OLLM_INITIALIZER(ollm_constraint_options)
OLLM_INITIALIZER(ollm_suggest_options)
OLLM_INITIALIZER(ollm_suggestion)
OLLM_INITIALIZER(ollm_statistics)

#undef OLLM_INITIALIZER

/// The file at `path`, which ends in a zero.
static inline ollm_source ollm_source_file(const char *path) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_FILE;
    source.path = path;
    return source;
}

/// `length` bytes from `offset` on of the open file `descriptor`, such as an asset of an Android
/// package; a length of 0 is all to the end. The descriptor may be closed when the call that takes
/// the source returns.
static inline ollm_source ollm_source_descriptor(int32_t descriptor, uint64_t offset, size_t length) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_DESCRIPTOR;
    source.descriptor = descriptor;
    source.offset = offset;
    source.length = length;
    return source;
}

/// `length` bytes at `data`. With `release` they are used in place, must stay as they are, and
/// `release(user, data, length)` is called when they are not needed any more; with NULL they are
/// copied.
static inline ollm_source ollm_source_memory(const void *data, size_t length, ollm_release_fn release, void *user) {
    ollm_source source = ollm_source_init();
    source.kind = OLLM_SOURCE_MEMORY;
    source.data = data;
    source.length = length;
    source.release = release;
    source.user = user;
    return source;
}

#undef OLLM_ENUM

#ifdef __cplusplus
}
#endif

#endif
