# Made from include/ollm.h by ffi/tests/python.rs; do not edit.
"""The C API of OLLM (`ollm.h`), for `ctypes`: its functions, structs and callbacks by their names in
C, its enums by names of Python. The classes of the package are written over it; what they lack can
be called here, with the rules of C.

Calls release the lock of the interpreter. Functions that give an `ollm_status` give its number.
"""

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from enum import IntEnum, IntFlag

from ._library import LIBRARY


def _function(name, result, parameters, doc):
    function = LIBRARY[name]
    function.restype, function.argtypes = result, parameters
    function.__name__ = name
    function.__doc__ = doc
    return function


# The version that this header describes: its first number.
OLLM_VERSION_MAJOR = 0


# Its second number.
OLLM_VERSION_MINOR = 1


# Its third number.
OLLM_VERSION_PATCH = 0


# The ABI version that this header describes; compare it with `ollm_abi_version`.
OLLM_ABI_VERSION = 1


ollm_version = _function(
    "ollm_version",
    c_char_p,
    [],
    r"""The version of the library, "MAJOR.MINOR.PATCH". The text is static: never free it. Any thread.
Since 0.1.0.
""",
)


ollm_abi_version = _function(
    "ollm_abi_version",
    c_uint32,
    [],
    r"""The version of the ABI; it grows by one with each change that breaks callers. What is added,
such as functions, numbers of an enum, or fields at the end of a struct with `struct_size`,
breaks nobody. Any thread. Since 0.1.0.
""",
)


class Status(IntEnum):
    r"""The status of a call. The numbers are frozen; later versions may add some, so treat an unknown
    number as an error. Since 0.1.0.

    OK:
        It worked.
    INVALID_ARGUMENT:
        An argument is NULL, out of its range, or does not go with another.
    INVALID_HANDLE:
        A handle was freed, is of another kind, or never was one.
    INVALID_UTF8:
        Text is not UTF-8.
    BUFFER_TOO_SMALL:
        A buffer is too small; the size that is needed was written.
    BUSY:
        The session, branches, chat, parser or batch is in use: by another thread, or by the call
        that called back.
    CANCELLED:
        The call was cancelled. The session is at its last complete position, and the next call
        continues from there.
    OUT_OF_MEMORY:
        The system has not enough memory.
    MEMORY_LIMIT:
        More memory is needed than the limit allows.
    IO:
        The system could not read or write a file, or not start a thread.
    BAD_FILE:
        The file is damaged, or not of the kind that was asked for: a GGUF file, a saved session.
    UNSUPPORTED:
        What is asked for is not in this version, this build, or this model; or a grammar cannot go
        on.
    MISMATCH:
        Two things do not belong together: what was made for another model (a plugin, adapters, a
        grammar, a saved session), branches of another text.
    NO_PLUGIN:
        There is no plugin, and the call needs one.
    NO_TOKENIZER:
        The model's file has no tokenizer or no chat template that can be used.
    TEMPLATE:
        The chat template refused the conversation, or failed.
    CONTEXT_FULL:
        The context has no room for this, or for more.
    EMPTY:
        There is nothing to continue: no token was fed yet.
    NOT_FINITE:
        The weights give no numbers: the file may be damaged.
    INTERNAL:
        A bug in the library; the object that it happened in can only be freed.
    """

    OK = 0
    INVALID_ARGUMENT = 1
    INVALID_HANDLE = 2
    INVALID_UTF8 = 3
    BUFFER_TOO_SMALL = 4
    BUSY = 5
    CANCELLED = 6
    OUT_OF_MEMORY = 7
    MEMORY_LIMIT = 8
    IO = 9
    BAD_FILE = 10
    UNSUPPORTED = 11
    MISMATCH = 12
    NO_PLUGIN = 13
    NO_TOKENIZER = 14
    TEMPLATE = 15
    CONTEXT_FULL = 16
    EMPTY = 17
    NOT_FINITE = 18
    INTERNAL = 19


ollm_status_name = _function(
    "ollm_status_name",
    c_char_p,
    [c_int32],
    r"""The name of a status, such as `"OLLM_BUSY"`; `"OLLM_UNKNOWN"` for a number that is none. The
text is static: never free it. Any thread. Since 0.1.0.
""",
)


ollm_last_error = _function(
    "ollm_last_error",
    c_char_p,
    [],
    r"""What went wrong in the last call on this thread that failed, as text that ends in zero; "" if
none did. Calls that succeed leave it. The text belongs to the library and stays until the next
call on this thread that fails: copy it to keep it. Any thread. Since 0.1.0.
""",
)


class LogLevel(IntEnum):
    r"""How much a message matters. Since 0.1.0.

    ERROR:
        A bug in the library: the call that it happened in returns `OLLM_INTERNAL`.
    WARNING:
        Something is not as it should be, and works all the same.
    INFO:
        What was loaded and made.
    """

    ERROR = 0
    WARNING = 1
    INFO = 2


# Takes a message: UTF-8 of `length` bytes, which is gone when the callback returns. It may be
# called on any thread and on several at once, and must not throw or longjmp. Since 0.1.0.
ollm_log_fn = CFUNCTYPE(None, c_void_p, c_int32, POINTER(c_char), c_size_t)


ollm_set_log = _function(
    "ollm_set_log",
    c_int32,
    [ollm_log_fn, c_void_p],
    r"""Sends messages of the whole library to `callback`, with `user` as its first argument; NULL ends
that. When the call returns, the callback that was set before is not running any more, and
`user` of that time may go.

Any thread. Statuses: `OLLM_BUSY` inside the log callback. Since 0.1.0.
""",
)


class SourceKind(IntEnum):
    r"""The kinds of sources. Since 0.1.0.

    FILE:
        A file, by its path.
    DESCRIPTOR:
        An open file, or a part of it.
    MEMORY:
        Memory.
    """

    FILE = 0
    DESCRIPTOR = 1
    MEMORY = 2


# Tells that the library does not need the memory at `data` any more. It is called once, on any
# thread. Since 0.1.0.
ollm_release_fn = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)


class ollm_source(ctypes.Structure):
    r"""Where the bytes of a file come from. The struct, and the text of its path, may go when the call
    that takes it returns. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    path:
        `OLLM_SOURCE_FILE`: the path, which ends in zero. Nobody may change the file while it is in
        use (a file that is cut meanwhile is the signal SIGBUS): to replace it, rename a new one
        over it, or set `copy`.
    data:
        `OLLM_SOURCE_MEMORY`: the bytes.
    length:
        Bytes of the memory, or of the part of the open file; 0 is all that follows `offset`.
    release:
        `OLLM_SOURCE_MEMORY`: if it is not NULL, the bytes are used in place, must stay as they are,
        and this is called when they are not needed any more. It is not called if the load fails. If
        it is NULL, or `data` is not a multiple of 4, the bytes are copied.
    user:
        The first argument of `release`.
    kind:
        What the source is.
    descriptor:
        `OLLM_SOURCE_DESCRIPTOR`: the descriptor, open for reading. It may be closed when the call
        returns.
    offset:
        `OLLM_SOURCE_DESCRIPTOR`: the first byte of the part of the file. If it is not a multiple of
        4, the bytes are copied.
    copy:
        1 copies the bytes to memory of the library, for files that may be changed or removed while
        they are in use; 0 maps a file. Copies count as weights, for limits and in
        `ollm_memory_needed`.
    reserved:
        Must be 0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("path", POINTER(c_char)),
        ("data", c_void_p),
        ("length", c_size_t),
        ("release", ollm_release_fn),
        ("user", c_void_p),
        ("kind", c_int32),
        ("descriptor", c_int32),
        ("offset", c_uint64),
        ("copy", c_int32),
        ("reserved", c_int32),
    ]


# Tells how far a load is, from 0 to 1, on the thread that loads; any other result than 0 cancels
# it. Since 0.1.0.
ollm_progress_fn = CFUNCTYPE(c_int32, c_void_p, c_float)


class ollm_load_options(ctypes.Structure):
    r"""How to load. A field that is 0 takes the default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    memory_limit:
        Bytes of memory that the weights may take, with a copy of the file if one is made; 0 is no
        limit. Pages of a file that is mapped are the system's, which takes them back when it needs
        them: they do not count.
    threads:
        Threads that prepare the weights, at most 1024; 0 takes as many as the system has cores for.
    progress:
        Called while the model loads; may be NULL.
    user:
        The first argument of `progress`.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("memory_limit", c_size_t),
        ("threads", c_size_t),
        ("progress", ollm_progress_fn),
        ("user", c_void_p),
    ]


ollm_model_load = _function(
    "ollm_model_load",
    c_int32,
    [POINTER(ollm_source), POINTER(ollm_load_options), POINTER(c_void_p)],
    r"""Loads a model from a GGUF file. On success `*model` is a handle with one owner: release it with
`ollm_model_release`. `options` may be NULL.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`,
`OLLM_MEMORY_LIMIT`, `OLLM_OUT_OF_MEMORY`, `OLLM_CANCELLED` by the progress callback. Since
0.1.0.
""",
)


ollm_model_retain = _function(
    "ollm_model_retain",
    c_int32,
    [c_void_p],
    r"""Adds an owner: `model` has to be released once more.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_model_release = _function(
    "ollm_model_release",
    c_int32,
    [POINTER(c_void_p)],
    r"""Gives up one owner and makes `*model` NULL. Sessions and plugins on the model keep it alive.
NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_model_metadata = _function(
    "ollm_model_metadata",
    c_int32,
    [c_void_p, c_char_p, c_size_t, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""The value of a key of the file's metadata, as JSON: a number, a string, a truth value or an
array.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a key that the file has not,
`OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
""",
)


ollm_model_info = _function(
    "ollm_model_info",
    c_int32,
    [c_void_p, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""What the model is, as JSON: name, architecture, shape, tensor types, tokenizer, fingerprint.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
Since 0.1.0.
""",
)


ollm_plugin_load = _function(
    "ollm_plugin_load",
    c_int32,
    [c_void_p, POINTER(ollm_source), POINTER(c_void_p)],
    r"""Loads the plugin of `model` from a GGUF file. On success `*plugin` is a handle with one owner:
release it with `ollm_plugin_release`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
`OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MISMATCH` if it was trained on
another backbone. Since 0.1.0.
""",
)


ollm_plugin_bundled = _function(
    "ollm_plugin_bundled",
    c_int32,
    [c_void_p, POINTER(c_void_p)],
    r"""The plugin inside the model's own file, if it is a merged one. On success `*plugin` is a handle
with one owner.

Any thread. Statuses: as `ollm_plugin_load`, and `OLLM_NO_PLUGIN` if the file has none. Since
0.1.0.
""",
)


ollm_plugin_retain = _function(
    "ollm_plugin_retain",
    c_int32,
    [c_void_p],
    r"""Adds an owner: `plugin` has to be released once more.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_plugin_release = _function(
    "ollm_plugin_release",
    c_int32,
    [POINTER(c_void_p)],
    r"""Gives up one owner and makes `*plugin` NULL. Sessions with the plugin keep it alive. NULL, and a
pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_plugin_option_count = _function(
    "ollm_plugin_option_count",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""K, the number of options, in `*count`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_plugin_info = _function(
    "ollm_plugin_info",
    c_int32,
    [c_void_p, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""What the plugin is, as JSON: options, kinds, widths, and the backbone that it was trained on.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
Since 0.1.0.
""",
)


# The id that stands for no token.
OLLM_NO_TOKEN = 0xFFFFFFFF


class TokenizeFlags(IntFlag):
    r"""What `ollm_tokenize` does beyond text: flags to be added up. Since 0.1.0.

    SPECIAL:
        The text of a control token, such as `<|im_start|>`, becomes that token. Only for text that
        you trust: in a user's text it would let the user write control tokens.
    BOS:
        The token for the beginning of a text comes first, if the model's file asks for one.
    EOS:
        The token for the end of a whole text comes last, if the model's file asks for one: with
        `OLLM_TOKENIZE_BOS`, what an embedding is made of.
    """

    SPECIAL = 1
    BOS = 2
    EOS = 4


class Special(IntEnum):
    r"""Special tokens of a model. Since 0.1.0.

    BOS:
        The beginning of a text.
    EOS:
        The end of a text.
    EOT:
        The end of a turn.
    EOM:
        The end of a message.
    UNKNOWN:
        What stands for unknown text.
    PADDING:
        Padding.
    SEPARATOR:
        What separates texts.
    """

    BOS = 0
    EOS = 1
    EOT = 2
    EOM = 3
    UNKNOWN = 4
    PADDING = 5
    SEPARATOR = 6


class ollm_message(ctypes.Structure):
    r"""One turn of a conversation, as UTF-8. Arrays of this struct are read, so it never grows. Since
    0.1.0.

    role:
        Who speaks: "system", "user", "assistant", or what else the template knows.
    role_length:
        Bytes of `role`.
    content:
        What is said.
    content_length:
        Bytes of `content`.
    """

    _fields_ = [
        ("role", POINTER(c_char)),
        ("role_length", c_size_t),
        ("content", POINTER(c_char)),
        ("content_length", c_size_t),
    ]


class ollm_text(ctypes.Structure):
    r"""A text, as UTF-8. Arrays of this struct are read, so it never grows. Since 0.1.0.

    data:
        The bytes.
    length:
        Their number.
    """

    _fields_ = [
        ("data", POINTER(c_char)),
        ("length", c_size_t),
    ]


class ollm_logprob(ctypes.Structure):
    r"""A token, and the natural logarithm of its probability. Since 0.1.0.

    token:
        The token.
    logprob:
        The logarithm of its probability, before bias and filters.
    """

    _fields_ = [
        ("token", c_uint32),
        ("logprob", c_float),
    ]


ollm_tokenize = _function(
    "ollm_tokenize",
    c_int32,
    [c_void_p, c_char_p, c_size_t, c_uint32, POINTER(c_uint32), c_size_t, POINTER(c_size_t)],
    r"""The tokens of a text. `flags` are of `ollm_tokenize_flags`, or 0.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
`OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_detokenize = _function(
    "ollm_detokenize",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""The text of tokens. What is not UTF-8 becomes U+FFFD, control tokens their names, and tokens
that the tokenizer does not know nothing. For text as it is generated, use `ollm_token.text`: it
never cuts a character.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`,
`OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_token_bytes = _function(
    "ollm_token_bytes",
    c_int32,
    [c_void_p, c_uint32, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""The bytes that one token stands for, which may be a part of a character; none for a token that
the tokenizer does not know. They have a zero after them, as text has.

Any thread. Statuses: as `ollm_detokenize`. Since 0.1.0.
""",
)


ollm_is_end = _function(
    "ollm_is_end",
    c_int32,
    [c_void_p, c_uint32, POINTER(c_int32)],
    r"""Whether a text or a turn ends at this token: 1 or 0 in `*is_end`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
0.1.0.
""",
)


ollm_special_token = _function(
    "ollm_special_token",
    c_int32,
    [c_void_p, c_int32, POINTER(c_uint32)],
    r"""A special token of the model's file in `*token`; `OLLM_NO_TOKEN` if the file names none.
`special` is of `ollm_special`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_NO_TOKENIZER`. Since
0.1.0.
""",
)


ollm_chat_text = _function(
    "ollm_chat_text",
    c_int32,
    [c_void_p, POINTER(ollm_message), c_size_t, c_int32, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""The text of a conversation, by the chat template of the model's file: `ollm_chat_render` where
there are roles and contents alone. With `answer` other than 0 it ends where the model's answer
begins. It is for reading: to feed a conversation, make tokens with `ollm_chat_tokens`, since
`ollm_tokenize` cannot tell the template's control tokens from those that a user wrote.

Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
""",
)


class ChatEventKind(IntEnum):
    r"""What a part of an answer is. Since 0.1.0.

    NONE:
        None: there is no part yet.
    REASONING:
        More of what the model thinks, in `text`.
    TEXT:
        More of what it says, in `text`.
    TOOL_CALL:
        A call of a tool: `name` and `arguments`, and `id` where the model's form has one.
    MALFORMED:
        The text before this was to be a call, but cannot be read as one; `text` says why.
    """

    NONE = 0
    REASONING = 1
    TEXT = 2
    TOOL_CALL = 3
    MALFORMED = 4


class ToolFormat(IntEnum):
    r"""How a family of models calls tools. Since 0.1.0.

    AUTO:
        As the model's chat template shows, if the conversation offers `tools`; else none.
    NONE:
        What looks like a call is text.
    HERMES:
        `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen.
    LLAMA3:
        `{"name": .., "parameters": {..}}` or `[f(a=1)]` as all of the answer, or behind
        `<|python_tag|>`.
    GEMMA:
        A fence of `tool_code`, the forms of Llama 3 as all of the answer, or
        `<start_function_call>call:f{a:1}<end_function_call>`.
    LFM2:
        `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`.
    MISTRAL:
        `[TOOL_CALLS][{"name": .., "arguments": {..}}]` or `[TOOL_CALLS]f[ARGS]{..}`.
    QWEN_XML:
        `<tool_call><function=f><parameter=a>..</parameter></function></tool_call>`: Qwen3-Coder,
        Qwen 3.5.
    SEED:
        The same in `<seed:tool_call>`: Seed-OSS.
    GLM:
        `<tool_call>f`, then `<arg_key>a</arg_key><arg_value>..</arg_value>`: GLM 4.5.
    HARMONY:
        `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{..}`: gpt-oss.
    GEMMA4:
        `<|tool_call>call:f{a:1}<tool_call|>`: Gemma 4.
    GRANITE:
        `<|tool_call|>[{"name": .., "arguments": {..}}]`: Granite 3, Phi-4-mini.
    COMMAND:
        `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`: Command R7B and A.
    HUNYUAN:
        `<tool_calls>[{"name": .., "arguments": {..}}]</tool_calls>`: Hunyuan, Apriel.
    DEEP_SEEK:
        `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f`, then a fence of JSON and
        `<｜tool▁call▁end｜>`: DeepSeek R1 and what is distilled from it.
    DEEP_SEEK_V31:
        `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{..}<｜tool▁call▁end｜>`: DeepSeek V3.1.
    NEMOTRON:
        `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`: Nemotron Nano.
    """

    AUTO = 0
    NONE = 1
    HERMES = 2
    LLAMA3 = 3
    GEMMA = 4
    LFM2 = 5
    MISTRAL = 6
    QWEN_XML = 7
    SEED = 8
    GLM = 9
    HARMONY = 10
    GEMMA4 = 11
    GRANITE = 12
    COMMAND = 13
    HUNYUAN = 14
    DEEP_SEEK = 15
    DEEP_SEEK_V31 = 16
    NEMOTRON = 17


class ollm_chat_input(ctypes.Structure):
    r"""A conversation, and what the chat template is given beside it. A field that is 0 takes its
    default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    messages:
        The messages; or NULL where `messages_json` has them.
    message_count:
        How many there are.
    messages_json:
        The messages as JSON, for those with other fields than role and content: a list of objects
        such as `{"role": "tool", "name": "weather", "content": "21"}`. `content` is a string, null,
        or a list of parts such as `{"type": "text", "text": "Hi"}`; `tool_calls`, `tool_call_id`
        and `reasoning_content` mean what they mean in the chat template.
    messages_json_length:
        Bytes of `messages_json`.
    variables_json:
        Variables of the chat template, as a JSON object: `tools` (a list of their schemas),
        `documents`, `enable_thinking`, any other; `strftime_now` is the date that the template's
        function of that name tells, such as `"2026-11-30"`; `chat_template` chooses the template,
        by the name of one of the file's or as the text of another. NULL: none.
    variables_json_length:
        Bytes of `variables_json`.
    no_answer:
        0: the text ends where the model's answer begins; 1: it ends with the last message.
    reserved:
        Must be 0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("messages", POINTER(ollm_message)),
        ("message_count", c_size_t),
        ("messages_json", POINTER(c_char)),
        ("messages_json_length", c_size_t),
        ("variables_json", POINTER(c_char)),
        ("variables_json_length", c_size_t),
        ("no_answer", c_int32),
        ("reserved", c_int32),
    ]


class ollm_chat_event(ctypes.Structure):
    r"""A part of an answer. Texts are UTF-8 without a zero at their ends; they belong to the parser and
    are gone with the next call on it, or with the return of an `ollm_chat_event_fn`. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    text:
        What is thought or said.
    text_length:
        Bytes of `text`.
    name:
        The tool that is called.
    name_length:
        Bytes of `name`.
    arguments:
        Its arguments: a JSON object.
    arguments_length:
        Bytes of `arguments`.
    id:
        What names the call.
    id_length:
        Bytes of `id`.
    kind:
        What this is.
    reserved:
        0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("text", POINTER(c_char)),
        ("text_length", c_size_t),
        ("name", POINTER(c_char)),
        ("name_length", c_size_t),
        ("arguments", POINTER(c_char)),
        ("arguments_length", c_size_t),
        ("id", POINTER(c_char)),
        ("id_length", c_size_t),
        ("kind", c_int32),
        ("reserved", c_int32),
    ]


ollm_chat_render = _function(
    "ollm_chat_render",
    c_int32,
    [c_void_p, POINTER(ollm_chat_input), POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""The text of a conversation, by the chat template of the model's file, or the one that the
variables choose. It is for reading: make tokens with `ollm_chat_tokens`, since the text does
not tell what is the template's and what was said.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT` (also for JSON that is no conversation),
`OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUFFER_TOO_SMALL`, `OLLM_NO_TOKENIZER` (or no
template), `OLLM_TEMPLATE`, `OLLM_IO` if there is no thread for the template,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_chat_tokens = _function(
    "ollm_chat_tokens",
    c_int32,
    [c_void_p, POINTER(ollm_chat_input), POINTER(c_uint32), c_size_t, POINTER(c_size_t)],
    r"""The tokens of a conversation, by the chat template of the model's file, to be fed. What the
template writes may be control tokens; what is said in a message, a tool or a variable never is:
a user who writes `<|im_end|>` does not end the turn.

Any thread. Statuses: as `ollm_chat_render`. Since 0.1.0.
""",
)


ollm_chat_parser_new = _function(
    "ollm_chat_parser_new",
    c_int32,
    [c_void_p, POINTER(ollm_chat_input), c_int32, POINTER(c_void_p)],
    r"""A parser for the answer to a conversation. Which thoughts the model marks, and whether the
prompt ends inside one, it learns from the chat template; how tools are called, `format` says
(an `ollm_tool_format`). `input` may be NULL: a conversation without tools whose prompt ends
outside of a thought. On success `*parser` is a handle of one owner: free it with
`ollm_chat_parser_free`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`,
`OLLM_NO_TOKENIZER` (or no template), `OLLM_TEMPLATE`, `OLLM_IO`, `OLLM_OUT_OF_MEMORY`. Since
0.1.0.
""",
)


ollm_chat_parser_free = _function(
    "ollm_chat_parser_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees a parser and makes `*parser` NULL. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_chat_parser_push = _function(
    "ollm_chat_parser_push",
    c_int32,
    [c_void_p, c_char_p, c_size_t],
    r"""Takes a piece of the answer's text, such as that of one token. Its parts come with
`ollm_chat_parser_next`; they are the same however the text is cut.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
Since 0.1.0.
""",
)


ollm_chat_parser_finish = _function(
    "ollm_chat_parser_finish",
    c_int32,
    [c_void_p],
    r"""Ends the answer: what was still undecided comes with `ollm_chat_parser_next`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_chat_parser_next = _function(
    "ollm_chat_parser_next",
    c_int32,
    [c_void_p, POINTER(ollm_chat_event)],
    r"""The next part of the answer, in order; `OLLM_CHAT_EVENT_NONE` in `event->kind` if there is
none yet. `event` must begin with its `struct_size`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


# Has one of the application's threads call `ollm_worker_run(worker)`, now or later, and does not
# wait for it. It is called inside `ollm_session_new` or `ollm_thread_pool_new`, for each worker;
# any other result than 0 makes these fail with `OLLM_IO`. Since 0.1.0.
ollm_start_fn = CFUNCTYPE(c_int32, c_void_p, c_void_p)


ollm_worker_run = _function(
    "ollm_worker_run",
    c_int32,
    [c_void_p],
    r"""Runs a worker of a session or of a pool: it works until these are freed, with all forks and
branches, and all sessions of the pool, and then returns. Nobody waits for a worker that was
never run. Its handle is dead by then: this function returns `OLLM_INVALID_HANDLE` at once.

The thread is the worker's until then. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`;
`OLLM_BUSY` inside a callback. Since 0.1.0.
""",
)


class ollm_thread_pool_options(ctypes.Structure):
    r"""The threads of a pool. A field that is 0 takes the default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    threads:
        Threads that compute together, the caller's included, at most 1024; 0 takes as many as the
        system has cores for.
    start:
        If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    user:
        The first argument of `start`.
    affinity:
        CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
        system.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("threads", c_size_t),
        ("start", ollm_start_fn),
        ("user", c_void_p),
        ("affinity", c_uint64),
    ]


ollm_thread_pool_new = _function(
    "ollm_thread_pool_new",
    c_int32,
    [POINTER(ollm_thread_pool_options), POINTER(c_void_p)],
    r"""Starts the workers of a pool. `options` may be NULL. On success `*pool` is a handle with one
owner: release it with `ollm_thread_pool_release`. Sessions take it in `ollm_session_options`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_OUT_OF_MEMORY`, `OLLM_IO` if threads cannot
be started or bound. Since 0.1.0.
""",
)


ollm_thread_pool_release = _function(
    "ollm_thread_pool_release",
    c_int32,
    [POINTER(c_void_p)],
    r"""Gives up one owner and makes `*pool` NULL. Sessions with the pool keep it alive. NULL, and a
pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


class KvType(IntEnum):
    r"""The type of the keys and values in a session's KV cache. Since 0.1.0.

    F16:
        Half precision.
    Q8_0:
        ggml's `Q8_0`, signed bytes with a scale for each 32: half the memory, and faster over long
        texts. Output differs a little from that of half precision; it is deterministic too.
    """

    F16 = 0
    Q8_0 = 1


class ollm_session_options(ctypes.Structure):
    r"""How a session runs. A field that is 0 takes the default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    context:
        Context size in positions; 0 takes the context that the model was trained for.
    memory_limit:
        Memory limit of the session in bytes, without the weights; 0 is no limit.
    threads:
        Threads for decode (a single token), at most 1024; 0 takes as many as the system has cores
        for. On phones, as many as there are large cores.
    prefill_threads:
        Threads for prefill (many tokens at once), at most 1024; 0 takes as many as `threads`.
    keep:
        With `context_shift`: tokens at the beginning that are never forgotten.
    start:
        If it is not NULL, the workers run on threads of yours: see `ollm_start_fn`.
    user:
        The first argument of `start`.
    affinity:
        CPU affinity of the workers (Linux and Android): bit 0 is processor 0. 0 leaves it to the
        system. The calling thread is yours, and is not bound.
    context_shift:
        The context shift of a full context: 0 ends with `OLLM_CONTEXT_FULL`; 1 forgets the older
        half of the tokens, except the first `keep`, and the session continues.
    reserved:
        Must be 0.
    kv_type:
        The type of the keys and values in the KV cache.
    reserved2:
        Must be 0.
    pool:
        If it is not NULL, the workers are those of this pool, which has as many threads at least;
        `threads` of 0 takes all of them. Without `start` and `affinity`.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("context", c_size_t),
        ("memory_limit", c_size_t),
        ("threads", c_size_t),
        ("prefill_threads", c_size_t),
        ("keep", c_size_t),
        ("start", ollm_start_fn),
        ("user", c_void_p),
        ("affinity", c_uint64),
        ("context_shift", c_int32),
        ("reserved", c_int32),
        ("kv_type", c_int32),
        ("reserved2", c_int32),
        ("pool", c_void_p),
    ]


ollm_session_new = _function(
    "ollm_session_new",
    c_int32,
    [c_void_p, c_void_p, POINTER(ollm_session_options), POINTER(c_void_p)],
    r"""A session on `model`. With a `plugin` (which may be NULL) each step goes through its options,
and its policy selects; without, the backbone generates alone. `options` may be NULL. On success
`*session` is a handle of one owner: free it with `ollm_session_free`. The session keeps model
and plugin alive.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`, `OLLM_IO` if threads cannot be started or bound, `OLLM_MISMATCH` if the
plugin is another model's. Since 0.1.0.
""",
)


ollm_session_free = _function(
    "ollm_session_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees a session and makes `*session` NULL. If another thread is inside, its call is cancelled
first, and this one waits for it; inside a callback it does not wait, and the session goes when
that call returns. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of this session.
Since 0.1.0.
""",
)


ollm_session_fork = _function(
    "ollm_session_fork",
    c_int32,
    [c_void_p, POINTER(c_void_p)],
    r"""Forks the session: a second, independent session with the same text, sampling and selection. The
KV cache of the text is shared (copy on write). Both sessions share their workers and may be
used on different threads at the same time. On success `*fork` is a handle of one owner.

The random number of a token follows from the seed and its place in the text, so forks that
sample with one seed draw the same tokens. Give each fork a seed of its own for other tokens:
`sampling.seed` in `ollm_session_set_sampling`, and `selection.seed` in
`ollm_session_set_selection` where latents are drawn.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`. Since 0.1.0.
""",
)


ollm_session_feed = _function(
    "ollm_session_feed",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t],
    r"""Prefill: adds tokens to the sequence and runs them through the network. If the call is
cancelled, the session is at the last complete position (see `ollm_session_position`): feed the
remaining tokens to continue.

Statuses: `OLLM_INVALID_ARGUMENT` (also for a token that is not in the vocabulary),
`OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_CONTEXT_FULL`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`. But for `OLLM_CANCELLED`, the session stays as it was. Since 0.1.0.
""",
)


ollm_session_feed_watched = _function(
    "ollm_session_feed_watched",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, ollm_progress_fn, c_void_p],
    r"""As `ollm_session_feed`; `progress` is told after each batch which share of the tokens is done,
inside the call and on its thread. Any other result than 0 cancels the feed.

Statuses: as `ollm_session_feed`. Since 0.1.0.
""",
)


ollm_session_feed_text = _function(
    "ollm_session_feed_text",
    c_int32,
    [c_void_p, c_char_p, c_size_t, c_uint32],
    r"""Adds text to the sequence: `ollm_tokenize` and `ollm_session_feed` in one.

Statuses: those of both. Since 0.1.0.
""",
)


ollm_session_cancel = _function(
    "ollm_session_cancel",
    c_int32,
    [c_void_p],
    r"""Cancels the session's work: the running call, or else the next call that computes, returns
`OLLM_CANCELLED`. It is seen between layers, also during a long prefill, and while the session
rests for its duty cycle.

Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
`OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_session_withdraw_cancel = _function(
    "ollm_session_withdraw_cancel",
    c_int32,
    [c_void_p],
    r"""Takes back a cancellation that no call has seen yet, such as one that came after the end.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_session_set_duty = _function(
    "ollm_session_set_duty",
    c_int32,
    [c_void_p, c_float],
    r"""Sets the duty cycle, against thermal throttling: computing takes at most this share of the time
(above 0; 1, as at first, is no limit). Before each batch and each step the session rests as
long as the work before it requires, which with a tiny share is for ever: a cancellation ends
the rest.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_session_position = _function(
    "ollm_session_position",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""The number of tokens so far, fed and generated, in `*position`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_session_context = _function(
    "ollm_session_context",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""The context size in positions, in `*context`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_session_tokens = _function(
    "ollm_session_tokens",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, POINTER(c_size_t)],
    r"""The tokens so far, fed and generated; after a context shift, the remaining tokens.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`.
Since 0.1.0.
""",
)


ollm_session_rewind = _function(
    "ollm_session_rewind",
    c_int32,
    [c_void_p, c_size_t],
    r"""Rewinds to `position`: the tokens from there on are forgotten, and the next tokens follow there;
0 forgets all.

Statuses: `OLLM_INVALID_ARGUMENT` if there are not so many, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`.
Since 0.1.0.
""",
)


class Hold(IntEnum):
    r"""How long a selected latent is held. An answer begins with the first token that is generated
    after a feed, a rewind or a restored prompt, and ends with an end token or the next feed; a line
    ends after the token whose text has a line feed. A latent is always let go where the answer
    ends, and a script begins anew. Since 0.1.0.

    TRAINED:
        As long as the plugin was trained for, as in a new session.
    TOKEN:
        For one token.
    LINE:
        To the end of the line.
    ALL:
        For all of the answer.
    TOKENS:
        For `hold_tokens` tokens.
    """

    TRAINED = 0
    TOKEN = 1
    LINE = 2
    ALL = 3
    TOKENS = 4


class Select(IntEnum):
    r"""Ways to select a latent. Since 0.1.0.

    POLICY:
        The one that the policy finds most probable; the lowest of several.
    SAMPLE:
        Drawn from the policy, which `temperature` sharpens (below 1) or flattens (above 1).
    UNIFORM:
        Drawn uniformly.
    FIXED:
        Always the first of `latents`.
    SCRIPT:
        One of `latents` after the other; the last one stays.
    CALLBACK:
        The one that `choose` gives.
    MIXTURE:
        None: the token follows the mixture of all options, weighted by the policy.
    BACKBONE:
        None: the token is the backbone's, as if there were no plugin.
    """

    POLICY = 0
    SAMPLE = 1
    UNIFORM = 2
    FIXED = 3
    SCRIPT = 4
    CALLBACK = 5
    MIXTURE = 6
    BACKBONE = 7


# Chooses a latent, from the hidden state of the last token (`hidden_size` numbers, after the
# final norm) and the policy's probabilities of the `option_count` latents; both are gone when the
# callback returns. A result that is no latent makes the step fail with `OLLM_INVALID_ARGUMENT`.
# Since 0.1.0.
ollm_policy_fn = CFUNCTYPE(c_uint32, c_void_p, POINTER(c_float), c_size_t, POINTER(c_float), c_size_t)


class ollm_selection(ctypes.Structure):
    r"""How latents are selected. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    latents:
        The latents of `OLLM_SELECT_FIXED` and `OLLM_SELECT_SCRIPT`; they are copied.
    latent_count:
        How many there are, at most 65536.
    choose:
        The function of `OLLM_SELECT_CALLBACK`: it is called inside the calls that generate, on
        their thread.
    user:
        The first argument of `choose`.
    temperature:
        The temperature of `OLLM_SELECT_SAMPLE`; 0 is 1.
    hold:
        How long a latent is held.
    seed:
        The seed of all choices.
    mode:
        The way to select.
    hold_tokens:
        Tokens that a latent is held for with `OLLM_HOLD_TOKENS`, at least 1; else 0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("latents", POINTER(c_uint32)),
        ("latent_count", c_size_t),
        ("choose", ollm_policy_fn),
        ("user", c_void_p),
        ("temperature", c_float),
        ("hold", c_int32),
        ("seed", c_uint64),
        ("mode", c_int32),
        ("hold_tokens", c_uint32),
    ]


ollm_session_set_selection = _function(
    "ollm_session_set_selection",
    c_int32,
    [c_void_p, POINTER(ollm_selection)],
    r"""Sets how the session selects latents from now on. NULL takes what the policy finds most
probable, held as long as the plugin was trained for, as at first (the backbone, where there is
no plugin). A held latent is let go, and a script begins anew. A callback, and its argument,
must stay alive until the next call of this function, or until the session is freed, and until
every fork and every set of branches that was made meanwhile is freed: these have them too.

Statuses: `OLLM_INVALID_ARGUMENT` for what is no latent or out of its range,
`OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_NO_PLUGIN`, `OLLM_NO_TOKENIZER` if a latent is to be
held for a line. Since 0.1.0.
""",
)


class Filter(IntEnum):
    r"""One filter of the sampler. It does nothing where its numbers are 0. Since 0.1.0.

    PENALTIES:
        The repetition, presence and frequency penalties.
    DRY:
        Don't repeat yourself: `dry_multiplier`.
    TOP_N_SIGMA:
        `top_n_sigma`.
    TOP_K:
        `top_k`.
    TYPICAL:
        `typical_p`.
    TOP_P:
        `top_p`.
    MIN_P:
        `min_p`.
    XTC:
        Exclude top choices: `xtc_probability`.
    TEMPERATURE:
        `temperature`.
    """

    PENALTIES = 1
    DRY = 2
    TOP_N_SIGMA = 3
    TOP_K = 4
    TYPICAL = 5
    TOP_P = 6
    MIN_P = 7
    XTC = 8
    TEMPERATURE = 9


class ollm_logit_bias(ctypes.Structure):
    r"""What is added to the logit of a token; `-INFINITY` bans it. Arrays of this struct are read, so
    it never grows. Since 0.1.0.

    token:
        The token.
    bias:
        What is added.
    """

    _fields_ = [
        ("token", c_uint32),
        ("bias", c_float),
    ]


# Sees and changes the logits of a step, one for each token of the vocabulary, given the tokens so
# far; both arrays are gone when the callback returns. `-INFINITY` bans a token. If no token is
# left that may come, or a logit is no number, the step fails with `OLLM_INVALID_ARGUMENT`. Since
# 0.1.0.
ollm_logits_fn = CFUNCTYPE(None, c_void_p, POINTER(c_float), c_size_t, POINTER(c_uint32), c_size_t)


class ollm_sampling(ctypes.Structure):
    r"""How tokens are sampled. A field that is 0 takes its default, and all defaults together are
    greedy. Logit bias and callback come first, then the filters, in the order of `ollm_filter`
    unless `order` gives another one. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    top_k:
        Top-k: keeps this many most probable tokens; 0 keeps all.
    seed:
        The seed of all choices: the same seed makes the same choices on every platform.
    temperature:
        The temperature, which divides the logits; 0 is greedy: then filters other than the
        penalties and DRY do nothing.
    top_p:
        Top-p (nucleus): keeps the most probable tokens whose probabilities reach this sum; 0 and 1
        keep all.
    min_p:
        Min-p: keeps tokens at least this many times as probable as the best token; 0 keeps all.
    repeat_penalty:
        The repetition penalty: divides the positive logits of recent tokens and multiplies the
        negative ones; 0 and 1 change nothing.
    repeat_last:
        The number of recent tokens that the repetition, presence and frequency penalties apply to;
        0 is 64.
    reserved:
        Must be 0.
    presence_penalty:
        The presence penalty: is taken from the logits of recent tokens.
    frequency_penalty:
        The frequency penalty: is taken from the logits of recent tokens, for each time that they
        occur.
    typical_p:
        Typical sampling: keeps the tokens whose surprise is nearest to the entropy and whose
        probabilities reach this sum; 0 and 1 keep all.
    top_n_sigma:
        Top-n-sigma: keeps tokens whose logits are at most this many standard deviations below the
        best one; 0 keeps all.
    xtc_probability:
        XTC: where several tokens are at least `xtc_threshold` probable, all but the least probable
        of them are left out, in this share of the steps; 0 never.
    xtc_threshold:
        See `xtc_probability`; 0 is 0.1.
    dry_multiplier:
        DRY: a token that would go on with a repetition of n tokens loses `dry_multiplier *
        dry_base^(n - dry_allowed_length)`; 0 loses nothing.
    dry_base:
        See `dry_multiplier`; 0 is 1.75.
    dry_allowed_length:
        The shortest repetition that loses something; 0 is 2.
    dry_last:
        The number of recent tokens that DRY searches; 0 is all.
    mirostat_tau:
        Mirostat 2: the surprise of a token, in bits, that is aimed at; 0 is no mirostat. It needs a
        temperature. A restored session begins anew to aim.
    mirostat_eta:
        How fast mirostat aims; 0 is 0.1.
    dynamic_range:
        Dynamic temperature: it goes from `temperature` minus this to `temperature` plus this, the
        higher, the less sure the model is; 0 is a fixed one.
    dynamic_exponent:
        The power of the entropy that a dynamic temperature follows; 0 is 1.
    dry_breakers:
        Texts that end a repetition for DRY: tokens that have one of them in their text; NULL takes
        the end of a line, `:`, `"` and `*`.
    dry_breaker_count:
        How many there are.
    biases:
        Is added to the logits of these tokens.
    bias_count:
        How many there are.
    order:
        The filters that run, in this order; NULL is the order of `ollm_filter`. A filter that has
        something to do must be there.
    order_count:
        How many there are.
    edit:
        Sees and changes the logits; may be NULL. It is called inside the calls that generate, on
        their thread, and must stay alive, as `user`, until sampling is set again or the session,
        and every fork and every set of branches that was made meanwhile, is freed.
    user:
        The first argument of `edit`.
    logprobs:
        With each token `ollm_token.top` tells so many of the most probable ones; 0 tells none.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("top_k", c_size_t),
        ("seed", c_uint64),
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repeat_penalty", c_float),
        ("repeat_last", c_uint32),
        ("reserved", c_uint32),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("typical_p", c_float),
        ("top_n_sigma", c_float),
        ("xtc_probability", c_float),
        ("xtc_threshold", c_float),
        ("dry_multiplier", c_float),
        ("dry_base", c_float),
        ("dry_allowed_length", c_uint32),
        ("dry_last", c_uint32),
        ("mirostat_tau", c_float),
        ("mirostat_eta", c_float),
        ("dynamic_range", c_float),
        ("dynamic_exponent", c_float),
        ("dry_breakers", POINTER(ollm_text)),
        ("dry_breaker_count", c_size_t),
        ("biases", POINTER(ollm_logit_bias)),
        ("bias_count", c_size_t),
        ("order", POINTER(c_int32)),
        ("order_count", c_size_t),
        ("edit", ollm_logits_fn),
        ("user", c_void_p),
        ("logprobs", c_size_t),
    ]


ollm_session_set_sampling = _function(
    "ollm_session_set_sampling",
    c_int32,
    [c_void_p, POINTER(ollm_sampling)],
    r"""Sets how the session samples from now on. NULL is greedy, as at first. The random number of a
token follows from the seed and its place in the text: a rewound, forked or restored session
draws what it would have drawn.

Statuses: `OLLM_INVALID_ARGUMENT` for a number that is out of its range or a token that is not
in the vocabulary, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER`
for DRY. Since 0.1.0.
""",
)


class GrammarKind(IntEnum):
    r"""What the text of a grammar is written in. Since 0.1.0.

    JSON_SCHEMA:
        JSON schema. A keyword that is not supported is an error that names it. The JSON is of one
        line, with one space behind each `,` and `:` and no other white space, unless the schema
        says otherwise under `x-guidance`.
    REGEX:
        A regular expression without look-around, which all of the text matches.
    LARK:
        Lark, as llguidance reads it; it begins with the rule `start`.
    GBNF:
        GBNF, as llama.cpp reads it; it begins with the rule `root`.
    """

    JSON_SCHEMA = 0
    REGEX = 1
    LARK = 2
    GBNF = 3


class ollm_constraint_options(ctypes.Structure):
    r"""Where a constraint begins. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    trigger:
        If it is not NULL, the text is free until it has this text, such as `</think>`: the grammar
        begins behind it. A text without it may end anywhere. At most 4096 bytes.
    trigger_length:
        Bytes of `trigger`.
    begun:
        So many tokens at the end of the sequence are the beginning of the constrained text: an
        answer that was begun by a feed, or a restored one.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("trigger", POINTER(c_char)),
        ("trigger_length", c_size_t),
        ("begun", c_size_t),
    ]


ollm_grammar_new = _function(
    "ollm_grammar_new",
    c_int32,
    [c_void_p, c_int32, c_char_p, c_size_t, POINTER(c_void_p)],
    r"""Compiles a grammar of `length` bytes, in the notation `kind` (an `ollm_grammar_kind`), for the
tokens of `model`. It has at most 256 KiB, and 100 brackets in brackets (those in its texts
count). The first one on a model takes some 50 ms more. On success `*grammar` is a handle of one
owner: free it with `ollm_grammar_free`. Sessions that keep to it keep it alive.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for a text that is no grammar, or asks for a
feature that is not supported, which `ollm_last_error` names; `OLLM_INVALID_HANDLE`,
`OLLM_INVALID_UTF8`, `OLLM_NO_TOKENIZER`, `OLLM_IO` if there is no thread to compile on,
`OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` in a build without grammars. Since 0.1.0.
""",
)


ollm_grammar_free = _function(
    "ollm_grammar_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees a grammar and makes `*grammar` NULL. Sessions that keep to it still do. NULL, and a
pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_session_set_constraint = _function(
    "ollm_session_set_constraint",
    c_int32,
    [c_void_p, c_void_p, POINTER(ollm_constraint_options)],
    r"""Constrains what the session generates from here on; a NULL `grammar` leaves it free. Forks and
branches that are made from now on are constrained as well, each at a place of its own. A rewind
takes the constraint back over the generated tokens; a save does not have it. `options` may be
NULL.

Statuses: `OLLM_INVALID_ARGUMENT` also if the tokens that are begun are none of the grammar's,
or not there; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_MISMATCH` if the
grammar was compiled for another model, `OLLM_OUT_OF_MEMORY`. The session then stays as it was.
Since 0.1.0.
""",
)


ollm_session_is_complete = _function(
    "ollm_session_is_complete",
    c_int32,
    [c_void_p, POINTER(c_int32)],
    r"""Whether the text that the session generated since its last feed is a whole one of its grammar,
in `*complete`: 1 or 0; 1 of a session without a constraint, and before the trigger.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


class Reason(IntEnum):
    r"""Why a run ended. Since 0.1.0.

    END:
        An end token came; it is part of the session, not of the text.
    STOP:
        A stop string came.
    LIMIT:
        There are as many tokens as asked for.
    CALLBACK:
        The callback asked for it.
    CONTEXT:
        The context is full. Of `ollm_chat_answer`: of a run this is the status `OLLM_CONTEXT_FULL`.
    CANCELLED:
        It was cancelled. Of `ollm_chat_answer`: of a run this is the status `OLLM_CANCELLED`.
    """

    END = 0
    STOP = 1
    LIMIT = 2
    CALLBACK = 3
    CONTEXT = 4
    CANCELLED = 5


class ollm_token(ctypes.Structure):
    r"""One generated token. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    text:
        The text that is complete with this token, as UTF-8 without a zero at its end: not the
        token's own where that is half a character. It belongs to the session and is gone with the
        next call on it, or with the callback's return.
    text_length:
        Bytes of the text.
    options:
        The option set that the token was chosen from, where `ollm_run_options` asks for it; else
        NULL. It belongs to the library and is dead when the callback returns.
    id:
        The token.
    latent:
        The latent whose option it comes from; -1 without a plugin, for the mixture, and for a token
        that a constraint forced.
    logprob:
        Natural logarithm of its probability, before the sampler's filters; 0 of a token that a
        constraint forced.
    is_end:
        1 if a text or a turn ends with this token, which then has no text; else 0.
    top:
        The most probable tokens of the distribution that it was chosen from, best first, as many as
        `ollm_sampling.logprobs` asks for. They belong to the session, as the text does.
    top_count:
        How many there are.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("text", POINTER(c_char)),
        ("text_length", c_size_t),
        ("options", c_void_p),
        ("id", c_uint32),
        ("latent", c_int32),
        ("logprob", c_float),
        ("is_end", c_int32),
        ("top", POINTER(ollm_logprob)),
        ("top_count", c_size_t),
    ]


# Sees a token of `ollm_session_run`; `token` is gone when the callback returns. Any other result
# than 0 ends the run. Since 0.1.0.
ollm_token_fn = CFUNCTYPE(c_int32, c_void_p, POINTER(ollm_token))


class ollm_run_options(ctypes.Structure):
    r"""The options of a run: its limit, its stop strings, its callback. A field that is 0 takes its
    default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    limit:
        Tokens at most; 0 is as many as the context holds.
    stops:
        Stop strings: texts that end the run, and are not part of the generated text. At most 4096,
        of 1 MiB together.
    stop_count:
        How many there are.
    top:
        If it is not 0, `options` of each token holds the option set, with this many tokens of each;
        needs a plugin.
    each:
        Called for each token, inside the call and on its thread; may be NULL.
    user:
        The first argument of `each`.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("limit", c_size_t),
        ("stops", POINTER(ollm_text)),
        ("stop_count", c_size_t),
        ("top", c_size_t),
        ("each", ollm_token_fn),
        ("user", c_void_p),
    ]


ollm_session_step = _function(
    "ollm_session_step",
    c_int32,
    [c_void_p, POINTER(ollm_token)],
    r"""Chooses the next token, as the session's sampling and selection say, and adds it to the
sequence. `token` must begin with its `struct_size`. An end token is a token like any other
here: the caller chooses whether to generate more.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
`OLLM_EMPTY`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`,
`OLLM_UNSUPPORTED` if its grammar cannot go on, or its model generates no text; then the session
stays as it was. Since 0.1.0.
""",
)


ollm_session_step_latent = _function(
    "ollm_session_step_latent",
    c_int32,
    [c_void_p, c_uint32, POINTER(ollm_token)],
    r"""As `ollm_session_step`, but from the option of this latent; the session's selection stays as it
is.

Statuses: as `ollm_session_step`, and `OLLM_NO_PLUGIN`. Since 0.1.0.
""",
)


ollm_session_run = _function(
    "ollm_session_run",
    c_int32,
    [c_void_p, POINTER(ollm_run_options), POINTER(c_int32)],
    r"""Generates token by token until an end token, a stop string, the limit, or the callback ends it;
`*reason` (which may be NULL) tells which. `options` may be NULL.

Text that may be the beginning of a stop string is held back until this is decided. Text that is
still held back at the end comes with one more call of `each`, whose `id` is `OLLM_NO_TOKEN`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
`OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; `OLLM_CANCELLED` and
`OLLM_CONTEXT_FULL` if these end it. The session holds all tokens that came before. Since 0.1.0.
""",
)


class ollm_chat_options(ctypes.Structure):
    r"""The settings of a chat. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    variables_json:
        Variables of the chat template, as a JSON object: `tools`, `chat_template` and others, as in
        `ollm_chat_input`. NULL: none.
    variables_json_length:
        Bytes of `variables_json`.
    reasoning_budget:
        With `limit_reasoning`: tokens that the model may think before each answer; its thought is
        then ended as if it had ended it.
    limit_reasoning:
        1: what the model thinks has the limit `reasoning_budget`.
    constrain_calls:
        1: the arguments of each tool call follow the JSON schema of the tool, from the text on that
        opens calls in the model's form. Other text stays free; the session's own constraint does
        not count in answers then.
    no_context_shift:
        1: a full context ends with `OLLM_CONTEXT_FULL` and `OLLM_REASON_CONTEXT`; 0: the model
        forgets the oldest turns.
    tool_format:
        How the model calls tools.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("variables_json", POINTER(c_char)),
        ("variables_json_length", c_size_t),
        ("reasoning_budget", c_size_t),
        ("limit_reasoning", c_int32),
        ("constrain_calls", c_int32),
        ("no_context_shift", c_int32),
        ("tool_format", c_int32),
    ]


# Sees a part of an answer; `event` and its texts are gone when the callback returns. A call of a
# tool has an id in any case. Any other result than 0 ends the answer. Since 0.1.0.
ollm_chat_event_fn = CFUNCTYPE(c_int32, c_void_p, POINTER(ollm_chat_event))


class ollm_answer_options(ctypes.Structure):
    r"""The options of an answer. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    limit:
        Tokens at most; 0 is as many as the context holds.
    stops:
        Stop strings: texts that end the answer, and are not part of it. At most 4096, of 1 MiB
        together.
    stop_count:
        How many there are.
    each:
        Called for each part of the answer, inside the call and on its thread; may be NULL.
    user:
        The first argument of `each`.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("limit", c_size_t),
        ("stops", POINTER(ollm_text)),
        ("stop_count", c_size_t),
        ("each", ollm_chat_event_fn),
        ("user", c_void_p),
    ]


class ollm_answer(ctypes.Structure):
    r"""What an answer took. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    prompt_tokens:
        Tokens of the prompt.
    reused_tokens:
        How many of them the session had already, so that they were not computed.
    answer_tokens:
        Tokens of the answer.
    forgotten_turns:
        Whole turns that the model forgot because the context was full.
    forgotten_messages:
        Their messages.
    reason:
        Why the answer ended.
    has_message:
        1 if the answer is now the last message; 0 if it was ended before anything came.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("prompt_tokens", c_size_t),
        ("reused_tokens", c_size_t),
        ("answer_tokens", c_size_t),
        ("forgotten_turns", c_size_t),
        ("forgotten_messages", c_size_t),
        ("reason", c_int32),
        ("has_message", c_int32),
    ]


ollm_chat_new = _function(
    "ollm_chat_new",
    c_int32,
    [c_void_p, POINTER(ollm_chat_options), POINTER(c_void_p)],
    r"""A conversation without messages, whose answers come from `session`, by the chat template of its
model. `options` may be NULL. The session is not the chat's own: it can be used between answers,
and after it is freed the chat has no answers any more. On success `*chat` is a handle of one
owner: free it with `ollm_chat_free`.

Statuses: `OLLM_INVALID_ARGUMENT` (also for a template that is none of the file's, for a
reasoning budget where the template shows no thoughts, and for constrained calls without tools),
`OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_TOKENIZER` (or no template),
`OLLM_TEMPLATE`, `OLLM_OUT_OF_MEMORY`; `OLLM_UNSUPPORTED` for constrained calls in a build
without grammars. Since 0.1.0.
""",
)


ollm_chat_free = _function(
    "ollm_chat_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees a chat and makes `*chat` NULL; its session stays. A call that another thread is inside
goes on to its end. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_chat_set_options = _function(
    "ollm_chat_set_options",
    c_int32,
    [c_void_p, POINTER(ollm_chat_options)],
    r"""Changes the settings: other tools, another reasoning budget. `options` may be NULL, which is
every default.

Statuses: as `ollm_chat_new`; then the chat stays as it was. Since 0.1.0.
""",
)


ollm_chat_add = _function(
    "ollm_chat_add",
    c_int32,
    [c_void_p, POINTER(ollm_message)],
    r"""Adds a message: what a user says, or any other with a role and a content.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_chat_add_json = _function(
    "ollm_chat_add_json",
    c_int32,
    [c_void_p, c_char_p, c_size_t],
    r"""Adds messages with all their fields, as `messages_json` of `ollm_chat_input` has them: a list of
objects, or one object. The result of a tool is such a message:
`{"role": "tool", "tool_call_id": "call00000", "name": "weather", "content": "21"}`.

Statuses: `OLLM_INVALID_ARGUMENT` also for JSON that is no message, `OLLM_INVALID_HANDLE`,
`OLLM_INVALID_UTF8`, `OLLM_BUSY`; then none is added. Since 0.1.0.
""",
)


ollm_chat_set_system = _function(
    "ollm_chat_set_system",
    c_int32,
    [c_void_p, c_char_p, c_size_t],
    r"""Sets the system message, in place of those at the beginning; a NULL `text` leaves the
conversation without. The turns stay.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`.
Since 0.1.0.
""",
)


ollm_chat_answer = _function(
    "ollm_chat_answer",
    c_int32,
    [c_void_p, POINTER(ollm_answer_options), POINTER(ollm_answer)],
    r"""Answers the conversation, whose last message is not of the role "assistant": feeds its prompt,
generates, and adds the answer as a message. `options` may be NULL, and so may `answer`, which
must begin with its `struct_size`.

An answer that is cancelled, whose callback ends it, or that fills the context with a single
turn is an answer too: `answer->reason` tells. A cancellation while the prompt is fed is the
status `OLLM_CANCELLED`; the next call goes on from there.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE` (also where the session was freed),
`OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_EMPTY` if there is nothing to answer, `OLLM_CANCELLED`,
`OLLM_CONTEXT_FULL` if the system messages and the last turn alone do not fit, `OLLM_TEMPLATE`,
`OLLM_IO` if there is no thread for the template, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`, `OLLM_UNSUPPORTED` as `ollm_session_step`; then the messages are as they
were. Since 0.1.0.
""",
)


ollm_chat_count = _function(
    "ollm_chat_count",
    c_int32,
    [c_void_p, POINTER(c_size_t), POINTER(c_size_t)],
    r"""How many messages there are, in `*count`; the model has forgotten `*forgotten` of them (which
may be NULL), those behind the system messages.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_chat_message = _function(
    "ollm_chat_message",
    c_int32,
    [c_void_p, c_size_t, POINTER(c_char), c_size_t, POINTER(c_size_t)],
    r"""A message as JSON, an object with all its fields. The first one has `index` 0.

Statuses: `OLLM_INVALID_ARGUMENT` also for an `index` that no message has,
`OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
""",
)


ollm_chat_take_back = _function(
    "ollm_chat_take_back",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""Takes back the last turn: what the user said last and all that followed; `*removed` (which may
be NULL) tells how many messages that were, 0 where there is no turn.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_chat_truncate = _function(
    "ollm_chat_truncate",
    c_int32,
    [c_void_p, c_size_t],
    r"""Forgets the messages after the first `count`: the last answer, for instance, to have another.

Statuses: `OLLM_INVALID_ARGUMENT` also if there are not so many, `OLLM_INVALID_HANDLE`,
`OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_chat_reset = _function(
    "ollm_chat_reset",
    c_int32,
    [c_void_p],
    r"""Forgets all messages but the system messages at the beginning.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_chat_save_file = _function(
    "ollm_chat_save_file",
    c_int32,
    [c_void_p, c_char_p],
    r"""Saves the chat to a file, whose path ends in zero: its messages, its template variables, and its
session as `ollm_session_save_file` does.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_chat_restore_file = _function(
    "ollm_chat_restore_file",
    c_int32,
    [c_void_p, c_char_p],
    r"""Restores chat and session from a file: under the same settings, sampling and selection, the next
answer has the bits that it would have had in the saved chat. The template variables are those
of the file; calls of tools stay constrained where tools and template are the same.

Statuses: as `ollm_session_restore_file`; `OLLM_BAD_FILE` also if it is no saved chat,
`OLLM_INVALID_ARGUMENT` also if its variables choose a template that the model does not have.
Chat and session then stay as they were. Since 0.1.0.
""",
)


ollm_batch_new = _function(
    "ollm_batch_new",
    c_int32,
    [POINTER(c_void_p)],
    r"""Makes the memory that batched steps work in. On success `*batch` is a handle of one owner: free
it with `ollm_batch_free`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`. Since 0.1.0.
""",
)


ollm_batch_free = _function(
    "ollm_batch_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees it and makes `*batch` NULL. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_batch_step = _function(
    "ollm_batch_step",
    c_int32,
    [c_void_p, POINTER(c_void_p), c_size_t, POINTER(POINTER(ollm_token)), POINTER(c_int32)],
    r"""Takes a step of each of `count` sessions, as `ollm_session_step` would, in one pass: they are
of one model and one plugin, or all of them without. They may have adapters, samplings and
selections of their own. Tokens that were fed and not yet computed are computed too.

`tokens` has a pointer to an `ollm_token` for each session, which must begin with its
`struct_size`; `outcomes` a place for the status of each. A session that fails leaves its token
as it is, and the others take their steps all the same; the last error is that of the last one
that failed.

Statuses: `OLLM_INVALID_ARGUMENT` also for a session that is there twice, `OLLM_INVALID_HANDLE`,
`OLLM_BUSY` if one of the sessions, or the batch, is in use: then no session has moved. Of a
session: as `ollm_session_step`, and `OLLM_INVALID_ARGUMENT` if it cannot be batched with the
first. Since 0.1.0.
""",
)


ollm_adapter_load = _function(
    "ollm_adapter_load",
    c_int32,
    [c_void_p, POINTER(ollm_source), POINTER(c_void_p)],
    r"""Loads adapters of `model` from a GGUF file, as llama.cpp's `convert_lora_to_gguf` and
`ollm-convert adapter` write it. On success `*adapter` is a handle with one owner: release it
with `ollm_adapter_release`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_IO`,
`OLLM_BAD_FILE` also for factors whose shapes do not fit, `OLLM_UNSUPPORTED`, `OLLM_MISMATCH`
for adapters of another architecture or of matrices that cannot be adapted at run time,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_adapter_release = _function(
    "ollm_adapter_release",
    c_int32,
    [POINTER(c_void_p)],
    r"""Gives up one owner and makes `*adapter` NULL. Sessions with the adapter keep it alive. NULL, and
a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_session_set_adapters = _function(
    "ollm_session_set_adapters",
    c_int32,
    [c_void_p, POINTER(c_void_p), POINTER(c_float), c_size_t],
    r"""Sets the adapters of all that follows, each with its scale (1 is as it was trained); with a
`count` of 0 the backbone is as it is, as at first. `scales` may be NULL: all are 1. The tokens
that are there stay as they were computed: rewind to compute them anew. Forks and branches have
them too; a saved session does not.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for
adapters of another model. Since 0.1.0.
""",
)


class Draft(IntEnum):
    r"""What guesses the tokens to come. Since 0.1.0.

    NONE:
        Nothing, as at first.
    NGRAM:
        The text: what followed the same tokens before. Good where a text is quoted or edited.
    MODEL:
        A smaller model of the same vocabulary.
    """

    NONE = 0
    NGRAM = 1
    MODEL = 2


ollm_session_set_draft = _function(
    "ollm_session_set_draft",
    c_int32,
    [c_void_p, c_int32, c_void_p],
    r"""Sets what guesses the tokens to come. What it guesses goes through the network beside the last
token, and is of use where the session chooses just that: the tokens are the same, bit for bit,
and fewer passes are made (`ollm_session_statistics` tells how many). `draft` is of
`ollm_draft`. How long drafts are follows from what they bring. Steps of this session alone
draft; batches, branches and forks do not. `model` is the draft model of `OLLM_DRAFT_MODEL`,
which the session keeps alive, and NULL otherwise; its memory is not under the session's limit.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_MISMATCH` for a
model of another vocabulary, `OLLM_UNSUPPORTED` for one that continues no texts,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


class Distribution(IntEnum):
    r"""The distributions of the next token. Since 0.1.0.

    BACKBONE:
        The backbone's, as if there were no plugin.
    OPTION:
        That of the option of a latent.
    MIXTURE:
        The mixture of all options, weighted by the policy.
    """

    BACKBONE = 0
    OPTION = 1
    MIXTURE = 2


class Pooling(IntEnum):
    r"""How hidden states of a text become one. Since 0.1.0.

    MEAN:
        Their mean.
    CLS:
        That of the first token.
    LAST:
        That of the last token.
    MODEL:
        The one that the model's file names; the mean, if it names none.
    """

    MEAN = 0
    CLS = 1
    LAST = 2
    MODEL = 3


ollm_session_logits = _function(
    "ollm_session_logits",
    c_int32,
    [c_void_p, c_int32, c_uint32, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""The logits of the next token, one for each token of the model's vocabulary: of the backbone, of
the option of `latent` (which is 0 for the others), or of the mixture, whose logits are
log-probabilities. The session does not move. `distribution` is of `ollm_distribution`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
`OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`. Since 0.1.0.
""",
)


ollm_session_score = _function(
    "ollm_session_score",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""Adds tokens to the sequence, as `ollm_session_feed` does, and tells of each the natural
logarithm of its probability given the tokens before it: under the session's selection, as if
the tokens were an answer. That of the first token of a sequence is not a number (NAN). With a
NULL buffer nothing is added, and `*written` is `count`. To score several continuations, fork
the session, or rewind it.

Statuses: as `ollm_session_feed` and `ollm_session_step`, and `OLLM_BUFFER_TOO_SMALL`; what was
scored by then is part of the session. Since 0.1.0.
""",
)


ollm_session_embed = _function(
    "ollm_session_embed",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, c_int32, c_int32, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""The embedding of a text: the hidden states of its tokens, after the final norm, pooled into one
vector, which is as long as the model is wide, or as its last dense layer makes it. With
`normalized` other than 0 its Euclidean norm is 1. The session forgets what it held, and holds
these tokens afterwards; none, if the model has bidirectional attention: such a model gives
embeddings alone (`OLLM_UNSUPPORTED`). With a NULL buffer the length alone is written. `pooling`
is of `ollm_pooling`. Tokens that the model's file wants around a whole text:
`ollm_tokenize_flags`.

Statuses: as `ollm_session_feed`, `OLLM_BUFFER_TOO_SMALL`, and `OLLM_EMPTY` without tokens.
Since 0.1.0.
""",
)


ollm_session_rank = _function(
    "ollm_session_rank",
    c_int32,
    [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(c_float)],
    r"""How relevant a document is to a query, as a reranker scores the pair: the logit of a model with
one label, of one with several the probability of the label `yes`, or of the first. The session
forgets what it held, and holds the tokens of the pair afterwards; none, if the model has
bidirectional attention. The texts of special tokens are text here.

Statuses: as `ollm_session_feed_text`; `OLLM_UNSUPPORTED` if the model has no head for
classification. Since 0.1.0.
""",
)


class ollm_candidate(ctypes.Structure):
    r"""One token of an option, and its probability there. Since 0.1.0.

    token:
        The token.
    probability:
        Its probability, from 0 to 1.
    """

    _fields_ = [
        ("token", c_uint32),
        ("probability", c_float),
    ]


ollm_option_set_new = _function(
    "ollm_option_set_new",
    c_int32,
    [c_void_p, c_size_t, POINTER(c_void_p)],
    r"""The option set of the session's current step, with the `top` most probable tokens of each
option. The session does not move. On success `*options` is a handle of one owner: free it with
`ollm_option_set_free`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
`OLLM_EMPTY`, `OLLM_NO_PLUGIN`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`.
Since 0.1.0.
""",
)


ollm_option_set_free = _function(
    "ollm_option_set_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees an option set and makes `*options` NULL. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_option_set_policy = _function(
    "ollm_option_set_policy",
    c_int32,
    [c_void_p, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""The probability that the policy gives to each latent, one after the other: their number is K.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
Since 0.1.0.
""",
)


ollm_option_set_top = _function(
    "ollm_option_set_top",
    c_int32,
    [c_void_p, c_uint32, POINTER(ollm_candidate), c_size_t, POINTER(c_size_t)],
    r"""The most probable tokens of the option of a latent, best first.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUFFER_TOO_SMALL`.
Since 0.1.0.
""",
)


ollm_session_policy = _function(
    "ollm_session_policy",
    c_int32,
    [c_void_p, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""The policy of the session's current step: the probability of each latent. It costs less than an
option set.

Statuses: as `ollm_option_set_new`, and `OLLM_BUFFER_TOO_SMALL`. Since 0.1.0.
""",
)


ollm_session_hidden = _function(
    "ollm_session_hidden",
    c_int32,
    [c_void_p, POINTER(c_float), c_size_t, POINTER(c_size_t)],
    r"""The hidden state of the session's last token, after the final norm: as many numbers as
`ollm_model_info` says.

Statuses: as `ollm_session_policy`, but for `OLLM_NO_PLUGIN`. Since 0.1.0.
""",
)


ollm_session_encode = _function(
    "ollm_session_encode",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, POINTER(c_int32)],
    r"""Adds tokens to the sequence, as `ollm_session_feed` does, and tells which latent the encoder
assigns to each: the option that explains it best. `latents` has room for `count` numbers; the
first token of a sequence has none, which is -1.

Statuses: as `ollm_session_feed`, `OLLM_NO_PLUGIN`, and `OLLM_NOT_FINITE` if the encoder gives
no distribution. Since 0.1.0.
""",
)


class Expand(IntEnum):
    r"""Into which branches a branch is expanded. Since 0.1.0.

    LATENTS:
        One for each latent.
    TOP:
        One for each of `count` latents, those that the policy finds most probable.
    DRAW:
        One for each of `count` latents that are drawn from the policy. What is drawn twice counts
        twice.
    TOKENS:
        One for each of `count` tokens, the most probable ones.
    SAMPLE:
        `count` samples.
    """

    LATENTS = 0
    TOP = 1
    DRAW = 2
    TOKENS = 3
    SAMPLE = 4


class BranchState(IntEnum):
    r"""Whether a branch goes on, or how it ended. Since 0.1.0.

    OPEN:
        It is still generated.
    END:
        By an end token.
    STOP:
        By a stop string.
    LENGTH:
        By the limit of tokens, or the end of the context.
    PRUNED:
        It was given up.
    MERGED:
        Another branch has the same tokens, and the same to come: `merged_into`.
    FAILED:
        By an error of its own: `error`.
    """

    OPEN = 0
    END = 1
    STOP = 2
    LENGTH = 3
    PRUNED = 4
    MERGED = 5
    FAILED = 6


class ollm_branch_options(ctypes.Structure):
    r"""How branches are generated. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    limit:
        Tokens of a branch at most; 0 is as many as the context holds, or without end with a context
        shift.
    stops:
        Stop strings: texts that end a branch, and are not part of its text. At most 4096, of 1 MiB
        together.
    stop_count:
        How many there are.
    selection:
        How latents are selected where no expansion did, and how long latents are held; NULL takes
        the session's selection. Its `seed` must be 0: the seed of all choices is that of the
        session's sampling.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("limit", c_size_t),
        ("stops", POINTER(ollm_text)),
        ("stop_count", c_size_t),
        ("selection", POINTER(ollm_selection)),
    ]


class ollm_expansion(ctypes.Structure):
    r"""An expansion. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    count:
        How many branches; 0 for `OLLM_EXPAND_LATENTS`, and for nothing else.
    temperature:
        The temperature of the tokens of `OLLM_EXPAND_SAMPLE`; 0 is 1. Nothing else has one.
    kind:
        Into what.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_size_t),
        ("temperature", c_float),
        ("kind", c_int32),
    ]


class ollm_branch(ctypes.Structure):
    r"""One branch. Its arrays and its text belong to the branches, and are gone with the next call on
    them that is not `ollm_branches_get` or `ollm_branches_count`. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    tokens:
        The generated tokens, without an end token; NULL if there are none.
    latents:
        The latent of each token, -1 for none; NULL if there are no tokens.
    token_count:
        The number of tokens.
    text:
        The generated text, as UTF-8 without a zero at its end. What may be the beginning of a stop
        string, or half a character, comes with a later token.
    text_length:
        Bytes of the text.
    fork:
        Tokens that it shares with its parent.
    policy:
        The sum of the natural logarithms of the policy's probabilities of the latents that were
        selected.
    logprob:
        The sum of the natural logarithms of the tokens' probabilities, before the sampler's
        filters, that of an end token included.
    count:
        What it counts in a vote: 1 at first, with that of branches that were merged into it. Where
        it is expanded later, its branches share it.
    value:
        The probability that the answer will be right, as the plugin's value head says; NaN where
        none was asked.
    parent:
        The branch that it was forked from; -1 for the text of the session.
    merged_into:
        The branch that it was merged into; -1 for none.
    at_boundary:
        1 if it is at a boundary: no latent is held. Else 0.
    state:
        Whether it goes on, or how it ended.
    error:
        Why it failed; `OLLM_OK` if it did not.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", POINTER(c_uint32)),
        ("latents", POINTER(c_int32)),
        ("token_count", c_size_t),
        ("text", POINTER(c_char)),
        ("text_length", c_size_t),
        ("fork", c_size_t),
        ("policy", c_double),
        ("logprob", c_double),
        ("count", c_double),
        ("value", c_float),
        ("parent", c_int32),
        ("merged_into", c_int32),
        ("at_boundary", c_int32),
        ("state", c_int32),
        ("error", c_int32),
    ]


ollm_branches_new = _function(
    "ollm_branches_new",
    c_int32,
    [c_void_p, POINTER(ollm_branch_options), POINTER(c_void_p)],
    r"""Branches of a session, which does not move: at first one, which begins where the session is.
They are sampled as the session is, and the seed of its sampling is that of all choices. They
share the KV cache of the text and the workers with the session, have its memory limit and duty
cycle, and live on when it is freed. Without a plugin and a selection, the only boundary is at
the beginning. `options` may be NULL. On success `*branches` is a handle of one owner: free it
with `ollm_branches_free`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`,
`OLLM_NO_PLUGIN` for a selection of latents, `OLLM_NO_TOKENIZER`, `OLLM_OUT_OF_MEMORY`. Since
0.1.0.
""",
)


ollm_branches_free = _function(
    "ollm_branches_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees branches and makes `*branches` NULL. If another thread is inside, its call is cancelled
first, and this one waits for it; inside a callback it does not wait, and the branches go when
that call returns. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`; `OLLM_BUSY` inside a callback of these branches.
Since 0.1.0.
""",
)


ollm_branches_cancel = _function(
    "ollm_branches_cancel",
    c_int32,
    [c_void_p],
    r"""Cancels the branches' work: the running call, or else the next call that computes, returns
`OLLM_CANCELLED`. No branch has moved in the step that was cancelled.

Any thread, at any time; not in a signal handler. Statuses: `OLLM_INVALID_ARGUMENT`,
`OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_branches_withdraw_cancel = _function(
    "ollm_branches_withdraw_cancel",
    c_int32,
    [c_void_p],
    r"""Takes back a cancellation that no call has seen yet, such as one that came after the end.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_branches_expand = _function(
    "ollm_branches_expand",
    c_int32,
    [c_void_p, c_size_t, POINTER(ollm_expansion)],
    r"""Makes several branches of one, which is open. It becomes the first of them; the others come
after those that are there. Branches that would go the same way are merged at once. NULL expands
all latents.

Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended, for a second
expansion into latents or tokens without a step between, and for a count of 0;
`OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`, `OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents
are expanded without one, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` if a
token of each does not fit; then there are as many branches as before. Since 0.1.0.
""",
)


ollm_branches_step = _function(
    "ollm_branches_step",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""Advances all open branches by a token each, in one pass over the weights; how many there were
goes to `*advanced` (which may be NULL): with 0 all have ended. An error of a branch alone ends
that branch.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
`OLLM_MEMORY_LIMIT`; then no branch has moved. Since 0.1.0.
""",
)


ollm_branches_prune = _function(
    "ollm_branches_prune",
    c_int32,
    [c_void_p, c_size_t],
    r"""Gives an open branch up.

Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none or has ended,
`OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_branches_count = _function(
    "ollm_branches_count",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""The number of branches, open and ended, in `*count`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_branches_get = _function(
    "ollm_branches_get",
    c_int32,
    [c_void_p, c_size_t, POINTER(ollm_branch)],
    r"""The branch of index `branch`, from 0 on, in the order in which they came to be, in `*out`, which
must begin with its `struct_size`.

Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, `OLLM_INVALID_HANDLE`,
`OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_branches_adopt = _function(
    "ollm_branches_adopt",
    c_int32,
    [c_void_p, c_size_t, c_void_p],
    r"""Brings a session to where a branch is, as if it had generated the branch's tokens. The KV cache
is shared (copy on write), and nothing is computed again. The session keeps its sampling,
selection, workers and limits; the branches stay as they are. It must be where the branches
began: the session that they were made from, or a fork of it.

Statuses: `OLLM_INVALID_ARGUMENT` also for a branch that is none, or that was pruned or merged
or failed; `OLLM_INVALID_HANDLE`, `OLLM_BUSY`; `OLLM_MISMATCH` if the session has another model,
plugin, context size or text; `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays
as it was. Since 0.1.0.
""",
)


class Weight(IntEnum):
    r"""How much a branch counts for its answer. Since 0.1.0.

    ONE:
        Each branch counts 1.
    POLICY:
        By the policy's probability of its latents.
    VALUE:
        By what the plugin's value head says.
    """

    ONE = 0
    POLICY = 1
    VALUE = 2


class Score(IntEnum):
    r"""Which branch is better. Since 0.1.0.

    LOGPROB:
        The mean of the log-probabilities of its tokens.
    LOGPROB_SUM:
        Their sum, which prefers short texts.
    POLICY:
        The logarithm of the policy's probability of its latents.
    VALUE:
        What the plugin's value head says.
    """

    LOGPROB = 0
    LOGPROB_SUM = 1
    POLICY = 2
    VALUE = 3


class Strategy(IntEnum):
    r"""How branches are searched. Since 0.1.0.

    VOTE:
        Expands once. The answer that has most of the weight wins; it ends as soon as no open branch
        can change that.
    BEST:
        Expands once. The branch with the best score wins (best of N).
    BEAM:
        Expands at each boundary, and keeps the branches with the best scores (beam search).
    """

    VOTE = 0
    BEST = 1
    BEAM = 2


# Finds the answer of a text. `*answer` is empty at first, and stays so if there is none; what it
# points to is copied when the callback returns, and may be part of the text. Since 0.1.0.
ollm_answer_fn = CFUNCTYPE(None, c_void_p, ollm_text, POINTER(ollm_text))


# Says how good a branch is: the higher, the better; NaN is the lowest. What `branch` points to is
# gone when the callback returns. Since 0.1.0.
ollm_score_fn = CFUNCTYPE(c_double, c_void_p, POINTER(ollm_branch))


class ollm_tally(ctypes.Structure):
    r"""How answers are found, and which one wins. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    rule:
        How the answer is found in a text; NULL is "number". At most 64 KiB.

        - "number": the number behind the last `####`, or else the last number. Numbers are compared
          by value: `1,234.50` is `1234.5`.
        - "hash": what stands behind the last `####`, to the end of its line.
        - "boxed": what stands in the last `\boxed{}`.
        - "regex:RE": the one group of a regular expression, where it matches last.
        - "text": the whole text.
    rule_length:
        Bytes of the rule.
    answer:
        Finds the answer in place of a rule; may be NULL.
    user:
        The first argument of `answer`.
    weight:
        How much a branch counts for its answer.
    score:
        Which branch is better; in a vote, which of those that tie.
    score_of:
        Says which branch is better in place of `score`; may be NULL. Called inside the call and on
        its thread, once a branch wherever branches are ranked.
    score_user:
        The first argument of `score_of`.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("rule", POINTER(c_char)),
        ("rule_length", c_size_t),
        ("answer", ollm_answer_fn),
        ("user", c_void_p),
        ("weight", c_int32),
        ("score", c_int32),
        ("score_of", ollm_score_fn),
        ("score_user", c_void_p),
    ]


# Sees the branches after each step of a search. The array, and what is in it, are gone when the
# callback returns. Any other result than 0 ends the search, which gives what there is. Since
# 0.1.0.
ollm_branches_fn = CFUNCTYPE(c_int32, c_void_p, POINTER(POINTER(ollm_branch)), c_size_t)


class ollm_search_options(ctypes.Structure):
    r"""A search. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    expansion:
        Into what a branch is expanded; NULL is all latents.
    tally:
        How answers are found, and which one wins; NULL takes the defaults.
    width:
        Vote and best: branches that an expansion makes at most, the most probable ones. Beam:
        branches that are kept at a boundary. 0 is as many as the expansion makes.
    each:
        Called after each step, inside the call and on its thread; may be NULL.
    user:
        The first argument of `each`.
    strategy:
        The strategy.
    reserved:
        Must be 0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("expansion", POINTER(ollm_expansion)),
        ("tally", POINTER(ollm_tally)),
        ("width", c_size_t),
        ("each", ollm_branches_fn),
        ("user", c_void_p),
        ("strategy", c_int32),
        ("reserved", c_int32),
    ]


class ollm_found(ctypes.Structure):
    r"""What a search or a vote found. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    branch:
        The branch.
    answer:
        Its answer, as UTF-8 without a zero at its end; NULL if it has none. It belongs to the
        branches, and is gone with the next call of `ollm_branches_run` or `ollm_branches_vote` on
        them.
    answer_length:
        Bytes of the answer.
    confidence:
        The share of the weight of all branches that have the same answer: 0 to 1.
    passes:
        Passes over the weights, since the branches were made.
    generated:
        Tokens generated since then, of all branches; what several share counts once.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("branch", c_size_t),
        ("answer", POINTER(c_char)),
        ("answer_length", c_size_t),
        ("confidence", c_double),
        ("passes", c_size_t),
        ("generated", c_size_t),
    ]


ollm_branches_run = _function(
    "ollm_branches_run",
    c_int32,
    [c_void_p, POINTER(ollm_search_options), POINTER(ollm_found)],
    r"""Searches: expands (a vote and best the first branch, if none was expanded yet; a beam each at
its boundary), generates, and prunes the branches that are still open at the end; `*found`,
which must begin with its `struct_size`, tells what was found. `options` may be NULL, which is a
vote of all latents.

Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none, such as a regular expression
without one group; `OLLM_INVALID_HANDLE`, `OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_CANCELLED`,
`OLLM_EMPTY`, `OLLM_NO_PLUGIN` if latents or values are asked for that the session has not,
`OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`. The branches then are where the
last whole step left them: a second call continues, and finds what the first would have found.
Since 0.1.0.
""",
)


ollm_branches_vote = _function(
    "ollm_branches_vote",
    c_int32,
    [c_void_p, POINTER(ollm_tally), POINTER(ollm_found)],
    r"""The vote of the branches that are there, without generating: the answer that has most of the
weight, and the best branch that gives it. Open branches have no answer. `tally` may be NULL.

Statuses: `OLLM_INVALID_ARGUMENT` also for a rule that is none; `OLLM_INVALID_HANDLE`,
`OLLM_INVALID_UTF8`, `OLLM_BUSY`, `OLLM_NO_PLUGIN` if values are asked for that the session has
not; `OLLM_CANCELLED`, `OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT` where they are computed; the
error of a branch, if all have failed. Since 0.1.0.
""",
)


class Until(IntEnum):
    r"""Where a suggestion ends, if it has not as many tokens as it may have. Since 0.1.0.

    TOKENS:
        Nowhere.
    WORD:
        At the end of the word.
    LINE:
        At the end of the line.
    """

    TOKENS = 0
    WORD = 1
    LINE = 2


class ollm_suggest_options(ctypes.Structure):
    r"""What is suggested. A field that is 0 takes its default. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    count:
        Suggestions at most; 0 is 3.
    tokens:
        Tokens of each at most; 0 is 8.
    until:
        Where it ends before.
    reserved:
        Must be 0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_size_t),
        ("tokens", c_size_t),
        ("until", c_int32),
        ("reserved", c_int32),
    ]


class ollm_suggestion(ctypes.Structure):
    r"""A suggestion. Its text and its tokens belong to the suggestions, and are gone when these are
    freed. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    text:
        The text, as UTF-8 without a zero at its end; it is not empty.
    text_length:
        Bytes of the text.
    tokens:
        Its tokens; with an end at a word or a line, the last one may have more text.
    token_count:
        The number of tokens.
    probability:
        The probability of the tokens; with a plugin the sum, over the latents that give them, of
        the policy's probability times theirs.
    latent:
        The latent that adds most to it; -1 for none.
    reserved:
        0.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("text", POINTER(c_char)),
        ("text_length", c_size_t),
        ("tokens", POINTER(c_uint32)),
        ("token_count", c_size_t),
        ("probability", c_double),
        ("latent", c_int32),
        ("reserved", c_int32),
    ]


ollm_session_suggest = _function(
    "ollm_session_suggest",
    c_int32,
    [c_void_p, POINTER(ollm_suggest_options), POINTER(c_void_p)],
    r"""Suggests continuations of the session, which does not move: the most probable first, none the
beginning of another. With a plugin each latent continues the text, held for all of it; if these
say too little that is different, and without a plugin, the likeliest tokens are continued.
Sampling and selection of the session do not matter, its constraint does; `ollm_session_cancel`
cancels it. `options` may be NULL. On success `*suggestions` is a handle of one owner: free it
with `ollm_suggestions_free`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_CANCELLED`,
`OLLM_EMPTY`, `OLLM_NO_TOKENIZER`, `OLLM_CONTEXT_FULL`, `OLLM_NOT_FINITE`, `OLLM_OUT_OF_MEMORY`,
`OLLM_MEMORY_LIMIT`. Since 0.1.0.
""",
)


ollm_suggestions_free = _function(
    "ollm_suggestions_free",
    c_int32,
    [POINTER(c_void_p)],
    r"""Frees suggestions and makes `*suggestions` NULL. NULL, and a pointer to NULL, are fine.

Any thread. Statuses: `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_suggestions_count = _function(
    "ollm_suggestions_count",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""The number of suggestions, in `*count`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_suggestions_get = _function(
    "ollm_suggestions_get",
    c_int32,
    [c_void_p, c_size_t, POINTER(ollm_suggestion)],
    r"""The suggestion of index `index`, from 0 on, in `*suggestion`, which must begin with its
`struct_size`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT` also for an index that is none,
`OLLM_INVALID_HANDLE`. Since 0.1.0.
""",
)


ollm_session_save_file = _function(
    "ollm_session_save_file",
    c_int32,
    [c_void_p, c_char_p],
    r"""Saves the session to a file, whose path ends in zero. The file is replaced only when all of it
is written and on the disk, by a new one of the same permissions; of a symbolic link, the file
that it names. Any number of threads and processes may save to one path and restore from it.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_session_restore_file = _function(
    "ollm_session_restore_file",
    c_int32,
    [c_void_p, c_char_p],
    r"""Restores the session from a file: under the same sampling and selection, the next tokens are
those that the saved session would have generated, samples included. The held latent and the
place in a script are saved with a session; its sampling, selection and plugin are not. Half a
character at the end of the text is cut off, as by a rewind. "Another model" is one of other
weights, as far as samples of each tensor tell: a change of a few weights is not seen.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_IO`,
`OLLM_BAD_FILE` if it is damaged, `OLLM_UNSUPPORTED` for another version, `OLLM_MISMATCH` for
another model, other adapters, another type of KV cache, or a held latent that this session's
plugin does not have; `OLLM_CONTEXT_FULL` if it is longer than the context,
`OLLM_OUT_OF_MEMORY`, `OLLM_MEMORY_LIMIT`; then the session stays as it was. Since 0.1.0.
""",
)


ollm_session_feed_cached = _function(
    "ollm_session_feed_cached",
    c_int32,
    [c_void_p, POINTER(c_uint32), c_size_t, c_char_p, c_uint64, POINTER(c_size_t)],
    r"""Feeds tokens to an empty session, as `ollm_session_feed` does, by way of a folder of saved
sessions: the one that has the most tokens in common with the beginning of the prompt is
restored, the rest is computed, and the prompt is put into the folder. The session is then as
`ollm_session_feed` would have left it. The folder is made if it is not there; it holds at most
`limit` bytes, and what was not used for the longest time goes first. Several processes may use
one folder. How many tokens came from it is in `*found`, which may be NULL. A session that is
not empty is fed without the folder.

Statuses: as `ollm_session_feed`; `OLLM_IO` if the folder cannot be made, and then the session
stays as it was, or if the prompt cannot be put into it: then the tokens are in the session
(`ollm_session_position` tells). Damaged files, and those of other models, are not used. Since
0.1.0.
""",
)


ollm_session_save = _function(
    "ollm_session_save",
    c_int32,
    [c_void_p, c_void_p, c_size_t, POINTER(c_size_t)],
    r"""Saves the session to a buffer.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`, `OLLM_BUFFER_TOO_SMALL`,
`OLLM_OUT_OF_MEMORY`. Since 0.1.0.
""",
)


ollm_session_restore = _function(
    "ollm_session_restore",
    c_int32,
    [c_void_p, c_void_p, c_size_t],
    r"""Restores the session from a buffer.

Statuses: as `ollm_session_restore_file`, but for `OLLM_IO`. Since 0.1.0.
""",
)


class ollm_memory(ctypes.Structure):
    r"""Bytes of memory, without the pages of mapped files, with the bytes that loading copies. Since
    0.1.0.

    struct_size:
        `sizeof` of this struct.
    weights:
        The model's weights.
    plugin:
        The plugin's weights.
    kv:
        The KV cache of a session whose context is full.
    scratch:
        Buffers of a session.
    total:
        All of it.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("weights", c_size_t),
        ("plugin", c_size_t),
        ("kv", c_size_t),
        ("scratch", c_size_t),
        ("total", c_size_t),
    ]


ollm_memory_needed = _function(
    "ollm_memory_needed",
    c_int32,
    [POINTER(ollm_source), POINTER(ollm_source), POINTER(ollm_session_options), POINTER(ollm_memory)],
    r"""What a model, a plugin (NULL if there is none) and a session with these options (NULL for the
defaults) will need. Only the head of the files is read, and the sources are not taken over:
`release` is not called. `needed` must begin with its `struct_size`.

Any thread. Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_IO`, `OLLM_BAD_FILE`, `OLLM_UNSUPPORTED`.
Since 0.1.0.
""",
)


ollm_session_memory = _function(
    "ollm_session_memory",
    c_int32,
    [c_void_p, POINTER(c_size_t)],
    r"""The bytes that the session holds now, without the weights, in `*bytes`. Memory that forks share
counts for each fork.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


ollm_session_trim = _function(
    "ollm_session_trim",
    c_int32,
    [c_void_p],
    r"""Trims the session: frees memory that it can allocate again when needed, for low-memory warnings
of the system. To free more, save the session and free it.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)


class ollm_statistics(ctypes.Structure):
    r"""What a session has done since it was made, or since it was forked. Since 0.1.0.

    struct_size:
        `sizeof` of this struct.
    fed:
        Tokens that were fed.
    feed_seconds:
        Seconds that the calls that fed them took.
    generated:
        Tokens that were generated.
    generate_seconds:
        Seconds that the calls that generated them took.
    first_token_seconds:
        Seconds from the beginning of the last feed to the first token after it; 0 before that.
    passes:
        Passes over the weights of the network.
    kv_bytes:
        Bytes of the KV cache, those that forks share included.
    drafted:
        Drafted tokens that went through the network: see `ollm_session_set_draft`.
    accepted:
        How many of them were right.
    """

    _fields_ = [
        ("struct_size", c_size_t),
        ("fed", c_uint64),
        ("feed_seconds", c_double),
        ("generated", c_uint64),
        ("generate_seconds", c_double),
        ("first_token_seconds", c_double),
        ("passes", c_uint64),
        ("kv_bytes", c_size_t),
        ("drafted", c_uint64),
        ("accepted", c_uint64),
    ]


ollm_session_statistics = _function(
    "ollm_session_statistics",
    c_int32,
    [c_void_p, POINTER(ollm_statistics)],
    r"""What the session has done, in `*statistics`, which must begin with its `struct_size`. Tokens a
second of prefill are `fed / feed_seconds`, those of decode `generated / generate_seconds`.

Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
""",
)
