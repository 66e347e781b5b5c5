"""Option-aware language models on CPUs and phones.

    import ollm

    model = ollm.Model("model.gguf")
    with ollm.Session(model) as session:
        session.feed("Two plus two is", bos=True)
        for token in session.generate(limit=64):
            print(token.text, end="", flush=True)

A plugin gives each step an option set: `Session(model, ollm.Plugin(model, "plugin.gguf"))`, then
`session.option_set()`, `session.set_selection(..)`, `session.branches().run()`.

Calls that compute release the lock of the interpreter, so that threads run at the same time. Every
failure is an exception: `ollm.Error` with a status, `ValueError` for objects that are closed and
numbers out of range, `TypeError` for arguments of a wrong type. What a callback raises comes out of
the call that called it.

`ollm.c` has the C API as it is, with its documentation.
"""

import atexit as _atexit
from typing import Any, Callable, Optional

from . import _call, c
from ._call import Error
from .branches import Branches
from .c import (
    BranchState,
    ChatEventKind,
    Distribution,
    Draft,
    Expand,
    Filter,
    GrammarKind,
    Hold,
    KvType,
    LogLevel,
    Pooling,
    Reason,
    Score,
    Select,
    Special,
    Status,
    Strategy,
    ToolFormat,
    Until,
    Weight,
)
from .conversation import Answer, Conversation
from .model import Adapter, ChatParser, Grammar, Model, Plugin, ThreadPool, Worker, memory_needed
from .options import (
    Branch,
    Candidate,
    ChatEvent,
    Expansion,
    Found,
    Logprob,
    Memory,
    Option,
    Sampling,
    Selection,
    Source,
    Statistics,
    Suggestion,
    Tally,
    Token,
)
from .session import Batch, Generation, Session

__version__ = c.ollm_version().decode()

if c.ollm_abi_version() != c.OLLM_ABI_VERSION:
    raise ImportError(
        f"this package is for version {c.OLLM_ABI_VERSION} of the OLLM library's binary interface, "
        f"but the library has version {c.ollm_abi_version()}"
    )

_log = None


def set_log(call: Optional[Callable[[LogLevel, str], Any]] = None) -> None:
    """Sends messages of the library to `call(level, text)`, on any thread; None ends that. What it
    raises is reported as the exception of a finalizer is."""
    global _log
    made = None
    if call is not None:
        _call.function(call, "call")
        show = lambda level, text, length: call(LogLevel(level), _call.text_at(text, length))
        made = _call.detached(c.ollm_log_fn, show)
    _call.check(c.ollm_set_log(made or c.ollm_log_fn(), None))
    # Nobody is inside the callback that was set before.
    _log = made


_atexit.register(set_log)
