"""Models, and what is loaded beside them: plugins, adapters, grammars, thread pools."""

import ctypes
import itertools
import json
from typing import Any, Callable, Dict, Iterable, List, Optional

from . import _call, c
from ._call import Error, Handle, Status
from .c import GrammarKind, KvType, Special, TokenizeFlags, ToolFormat
from .options import ChatEvent, File, Memory, Source, record

# Bytes that models use in place, until these let go of them.
_lent: Dict[int, Source] = {}
_keys = itertools.count(1)


@c.ollm_release_fn
def _release(key, _data, _length):
    _lent.pop(key, None)


def _load(owner, function, *before, file, options=None):
    """Loads something from a file. C calls `_release` when it needs lent bytes no more, but not if
    the load fails."""
    source, key = Source.of(file), next(_keys)
    after = () if options is None else (ctypes.byref(options),)
    made = source._struct(_release, key)
    if made.release:
        _lent[key] = source
    try:
        owner._make(function, *before, ctypes.byref(made), *after)
    except BaseException:
        if owner.closed:
            _lent.pop(key, None)
        raise


def _progress(call):
    """`call(share)` as a callback of C: it cancels by `False`, or by an exception."""
    call = _call.function(call, "progress")
    return _call.guarded(c.ollm_progress_fn, lambda share: _call.stops(call(share)), 1)


class Worker:
    """The work of one thread of the application: `run` it there, once. A worker of a session that is
    alive keeps its thread busy, so the thread should be a daemon."""

    def __init__(self, number):
        self._number = number

    def run(self):
        """Works until the session, or the pool, and all that share it are closed, which they may be
        already."""
        status = c.ollm_worker_run(self._number)
        if status != Status.INVALID_HANDLE:
            _call.check(status)


def _start(call):
    call = _call.function(call, "start")

    def start(number):
        call(Worker(number))
        return 0

    return _call.guarded(c.ollm_start_fn, start, 1)


class Model(Handle):
    """A frozen backbone with its tokenizer, loaded from a GGUF file: a path, an open file, `bytes`, or
    a `Source`. It does not change: any number of sessions and threads share it.

    `progress(share)` is told how far the load is; it cancels by `False`.
    """

    _free = c.ollm_model_release

    def __init__(
        self,
        file: File,
        *,
        memory_limit: int = 0,
        threads: int = 0,
        progress: Optional[Callable[[float], Any]] = None,
    ):
        options = _call.struct(c.ollm_load_options, memory_limit=memory_limit, threads=threads)
        if progress is not None:
            options.progress = _progress(progress)
        with _call.interruptible():
            _load(self, c.ollm_model_load, file=file, options=options)

    def share(self) -> "Model":
        """A second owner of the same model: it stays until both are closed."""
        other = object.__new__(type(self))
        _call.check(c.ollm_model_retain(self._c))
        other._number = self._number
        return other

    def info(self) -> Dict[str, Any]:
        """What the model is: its architecture, sizes, types."""
        return json.loads(_call.bytes_out(lambda *out: c.ollm_model_info(self._c, *out)))

    def metadata(self, key: str) -> Any:
        """The value of a key of the file's metadata."""
        name = _call.utf8(key, "key")
        return json.loads(_call.bytes_out(lambda *out: c.ollm_model_metadata(self._c, name, len(name), *out), 64))

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False, eos: bool = False) -> List[int]:
        """The tokens of a text. With `special` the text of a control token, such as `<|im_start|>`,
        becomes that token: only for text that you trust. With `bos` the token for the beginning of a
        text comes first, with `eos` that for the end of a whole text last, if the model's file asks
        for them."""
        data = _call.utf8(text, "text")
        flags = (TokenizeFlags.SPECIAL if special else 0) | (TokenizeFlags.BOS if bos else 0)
        flags |= TokenizeFlags.EOS if eos else 0
        call = lambda *out: c.ollm_tokenize(self._c, data, len(data), flags, *out)
        return list(_call.numbers_out("I", call, len(data) + 2))

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of tokens. Half a character is U+FFFD."""
        values, count = _call.numbers_in(tokens, "I", "tokens")
        call = lambda *out: c.ollm_detokenize(self._c, values, count, *out)
        return _call.bytes_out(call, 8 * count).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for, which may be a part of a character."""
        token = _call.uint32(token, "token")
        return _call.bytes_out(lambda *out: c.ollm_token_bytes(self._c, token, *out), 32)

    def is_end(self, token: int) -> bool:
        """Whether a text or a turn ends at this token."""
        return bool(_call.number_out(ctypes.c_int32, c.ollm_is_end, self._c, _call.uint32(token, "token")))

    def special(self, special: Special) -> Optional[int]:
        """A special token of the model's file; None if it names none."""
        number = _call.int32(special, "special")
        token = _call.number_out(ctypes.c_uint32, c.ollm_special_token, self._c, number)
        return None if token == c.OLLM_NO_TOKEN else token

    def chat_text(self, messages: List[Dict[str, Any]], *, answer: bool = True, **variables: Any) -> str:
        """The text of a conversation by the model's chat template, for reading. Messages are
        dictionaries with `role`, `content`, `tool_calls` and so on; `tools`, `documents`,
        `enable_thinking` and others are variables of the template."""
        made = ctypes.byref(_conversation(messages, variables, answer))
        return _call.bytes_out(lambda *out: c.ollm_chat_render(self._c, made, *out)).decode()

    def chat_tokens(self, messages: List[Dict[str, Any]], *, answer: bool = True, **variables: Any) -> List[int]:
        """The tokens of a conversation, to be fed; the arguments are those of `chat_text`. What is said
        is never a control token: a user who writes `<|im_end|>` does not end the turn."""
        made = ctypes.byref(_conversation(messages, variables, answer))
        return list(_call.numbers_out("I", lambda *out: c.ollm_chat_tokens(self._c, made, *out), 256))


def _conversation(messages, variables, answer=True):
    if messages is None or isinstance(messages, (str, bytes, dict)):
        raise TypeError("messages must be a list of dictionaries with a role and a content")
    made = _call.struct(c.ollm_chat_input, messages_json=_json(list(messages)), no_answer=not answer)
    if variables:
        data = _json(variables)
        made.variables_json = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_char))
        made.variables_json_length = len(data)
    return made


def _json(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


class Plugin(Handle):
    """The plugin of a model, from a file as `Model` takes it; without one, that inside the model's own
    file. Sessions and threads share it."""

    _free = c.ollm_plugin_release

    def __init__(self, model: Model, file: Optional[File] = None):
        number = _call.handle(model, Model, "model")
        if file is None:
            self._make(c.ollm_plugin_bundled, number)
        else:
            _load(self, c.ollm_plugin_load, number, file=file)

    def share(self) -> "Plugin":
        """A second owner of the same plugin."""
        other = object.__new__(type(self))
        _call.check(c.ollm_plugin_retain(self._c))
        other._number = self._number
        return other

    def info(self) -> Dict[str, Any]:
        """What the plugin is: options, kinds, widths, and the backbone that it was trained on."""
        return json.loads(_call.bytes_out(lambda *out: c.ollm_plugin_info(self._c, *out)))

    @property
    def option_count(self) -> int:
        """K, the number of options."""
        return _call.number_out(ctypes.c_size_t, c.ollm_plugin_option_count, self._c)


class Adapter(Handle):
    """Low-rank adapters of a model (LoRA), from a file as `Model` takes it. Sessions share them."""

    _free = c.ollm_adapter_release

    def __init__(self, model: Model, file: File):
        _load(self, c.ollm_adapter_load, _call.handle(model, Model, "model"), file=file)


class Grammar(Handle):
    """What generated text keeps to, compiled for the tokens of a model: see `Session.set_constraint`."""

    _free = c.ollm_grammar_free

    def __init__(self, model: Model, kind: GrammarKind, text: str):
        number, data = _call.handle(model, Model, "model"), _call.utf8(text, "text")
        self._make(c.ollm_grammar_new, number, _call.int32(kind, "kind"), data, len(data))

    @classmethod
    def json_schema(cls, model: Model, schema: Any) -> "Grammar":
        """JSON of a schema, which is a dictionary or its text."""
        return cls(model, GrammarKind.JSON_SCHEMA, schema if isinstance(schema, str) else _json(schema).decode())

    @classmethod
    def regex(cls, model: Model, text: str) -> "Grammar":
        """Text that a regular expression matches."""
        return cls(model, GrammarKind.REGEX, text)

    @classmethod
    def lark(cls, model: Model, text: str) -> "Grammar":
        """A grammar of Lark, as llguidance reads it."""
        return cls(model, GrammarKind.LARK, text)

    @classmethod
    def gbnf(cls, model: Model, text: str) -> "Grammar":
        """A grammar of llama.cpp."""
        return cls(model, GrammarKind.GBNF, text)


class ThreadPool(Handle):
    """Workers that several sessions share. `start(worker)` has a thread of the application call
    `worker.run()`, in place of threads of the library."""

    _free = c.ollm_thread_pool_release

    def __init__(self, threads: int = 0, *, affinity: int = 0, start: Optional[Callable[[Worker], Any]] = None):
        options = _call.struct(c.ollm_thread_pool_options, threads=threads, affinity=affinity)
        if start is not None:
            options.start = self._start = _start(start)
        self._make(c.ollm_thread_pool_new, ctypes.byref(options))


class ChatParser(Handle):
    """Takes the text of an answer apart: what the model thinks, what it says, which tools it calls.

    The conversation, with the variables of `Model.chat_text`, tells whether its prompt ends inside a
    thought, and how its tools are called. One thread at a time.
    """

    _free = c.ollm_chat_parser_free

    def __init__(
        self,
        model: Model,
        messages: Optional[List[Dict[str, Any]]] = None,
        *,
        format: ToolFormat = ToolFormat.AUTO,
        **variables: Any,
    ):
        number, made = _call.handle(model, Model, "model"), None
        if messages is not None:
            made = ctypes.byref(_conversation(messages, variables))
        elif variables:
            raise ValueError("variables of the template go with messages")
        self._make(c.ollm_chat_parser_new, number, made, _call.int32(format, "format"))

    def push(self, text: str) -> List[ChatEvent]:
        """Takes a piece of the answer; gives the parts that are sure with it."""
        data = _call.utf8(text, "text")
        _call.check(c.ollm_chat_parser_push(self._c, data, len(data)))
        return self._events()

    def finish(self) -> List[ChatEvent]:
        """Ends the answer; gives the parts that were still undecided."""
        _call.check(c.ollm_chat_parser_finish(self._c))
        return self._events()

    def _events(self):
        events, event = [], _call.struct(c.ollm_chat_event)
        while True:
            _call.check(c.ollm_chat_parser_next(self._c, ctypes.byref(event)))
            if event.kind == c.ChatEventKind.NONE:
                return events
            events.append(ChatEvent.of(event))


def session_options(**values):
    """The options of a session for C."""
    pool = values.pop("pool", None)
    options = _call.struct(c.ollm_session_options, **values)
    options.pool = _call.handle(pool, ThreadPool, "pool", optional=True)
    return options


def memory_needed(
    model: File,
    plugin: Optional[File] = None,
    *,
    context: int = 0,
    threads: int = 0,
    prefill_threads: int = 0,
    kv_type: KvType = KvType.F16,
) -> Memory:
    """What a model, a plugin and a session with these options will need, from the heads of the files."""
    options = session_options(context=context, threads=threads, prefill_threads=prefill_threads, kv_type=kv_type)
    sources = [Source.of(file)._struct() if file is not None else None for file in (model, plugin)]
    if sources[0] is None:
        raise TypeError("the model must be a path, an open file, bytes or a Source, not NoneType")
    needed = _call.struct(c.ollm_memory)
    places = [ctypes.byref(source) if source is not None else None for source in sources]
    _call.check(c.ollm_memory_needed(*places, ctypes.byref(options), ctypes.byref(needed)))
    return record(Memory, needed)
