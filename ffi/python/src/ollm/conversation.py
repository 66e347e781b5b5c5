"""Conversations: messages in, answers out."""

import ctypes
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from . import _call, c
from ._call import Handle
from .c import Reason, ToolFormat
from .options import ChatEvent
from .session import Session


class Answer(NamedTuple):
    """What an answer took."""

    message: Optional[Dict[str, Any]]
    """The answer as a message; None if it was ended before anything came."""
    reason: Reason
    """Why it ended."""
    prompt_tokens: int
    reused_tokens: int
    """Tokens of the prompt that the session had already."""
    answer_tokens: int
    forgotten_turns: int
    """Whole turns that the model forgot because the context was full."""
    forgotten_messages: int


class Conversation(Handle):
    """Messages, and the answers of a session to them. Only what is new is fed; when the context is full
    the oldest turns are forgotten. `variables` are those of the chat template, such as `tools`.
    `constrain_calls` makes the arguments of tool calls follow the tools' schemas. The session must be
    open while answers come. One thread at a time."""

    _free = c.ollm_chat_free
    _works = True

    def __init__(
        self,
        session: Session,
        *,
        reasoning_budget: Optional[int] = None,
        constrain_calls: bool = False,
        context_shift: bool = True,
        format: ToolFormat = ToolFormat.AUTO,
        **variables: Any,
    ):
        number = _call.handle(session, Session, "session")
        self._session = session
        options = _options(reasoning_budget, constrain_calls, context_shift, format, variables)
        self._make(c.ollm_chat_new, number, ctypes.byref(options))

    def set_options(
        self,
        *,
        reasoning_budget: Optional[int] = None,
        constrain_calls: bool = False,
        context_shift: bool = True,
        format: ToolFormat = ToolFormat.AUTO,
        **variables: Any,
    ) -> None:
        """Sets all of the options anew."""
        options = _options(reasoning_budget, constrain_calls, context_shift, format, variables)
        _call.check(c.ollm_chat_set_options(self._c, ctypes.byref(options)))

    def add(self, content: str, role: str = "user") -> None:
        """Adds a message."""
        made = [_call.utf8(role, "role"), _call.utf8(content, "content")]
        message = _call.struct(c.ollm_message, role=made[0], content=made[1])
        _call.check(c.ollm_chat_add(self._c, ctypes.byref(message)))

    def add_messages(self, messages: List[Dict[str, Any]]) -> None:
        """Adds messages with all their fields, such as the results of tools."""
        data = json.dumps(_call.instance(messages, list, "messages")).encode()
        _call.check(c.ollm_chat_add_json(self._c, data, len(data)))

    def set_system(self, text: Optional[str]) -> None:
        """Sets the system message; None leaves the conversation without."""
        data = None if text is None else _call.utf8(text, "text")
        _call.check(c.ollm_chat_set_system(self._c, data, len(data or b"")))

    def answer(
        self, each: Optional[Callable[[ChatEvent], Any]] = None, limit: int = 0, *, stops: Sequence[str] = ()
    ) -> Answer:
        """Answers the last message, and adds the answer. `each(event)` sees its parts as they come; where
        it gives `False` the answer ends."""
        options, made = _call.struct(c.ollm_answer_options, limit=limit), _call.struct(c.ollm_answer)
        options.stops, options.stop_count = _call.texts_in(stops, "stops")
        if each is not None:
            _call.function(each, "each")
            options.each = shown = _call.guarded(
                c.ollm_chat_event_fn, lambda event: _call.stops(each(ChatEvent.of(event.contents))), 1
            )
        with _call.interruptible():
            _call.check(c.ollm_chat_answer(self._c, ctypes.byref(options), ctypes.byref(made)))
        message = self.messages()[-1] if made.has_message else None
        counts = (getattr(made, name) for name in Answer._fields[2:])
        return Answer(message, Reason(made.reason), *counts)

    def messages(self) -> List[Dict[str, Any]]:
        """All messages, those that the model has forgotten included."""
        count = _call.number_out(ctypes.c_size_t, lambda place: c.ollm_chat_count(self._c, place, None))
        texts = (_call.bytes_out(lambda *out, i=i: c.ollm_chat_message(self._c, i, *out)) for i in range(count))
        return [json.loads(text) for text in texts]

    def take_back(self) -> int:
        """Takes back the last turn; tells how many messages that were."""
        return _call.number_out(ctypes.c_size_t, c.ollm_chat_take_back, self._c)

    def truncate(self, count: int) -> None:
        """Keeps the first `count` messages."""
        _call.check(c.ollm_chat_truncate(self._c, _call.size(count, "count")))

    def reset(self) -> None:
        """Forgets all messages but those of the system."""
        _call.check(c.ollm_chat_reset(self._c))

    def save_file(self, path) -> None:
        """Saves the messages and the session to one file."""
        _call.check(c.ollm_chat_save_file(self._c, _call.path_bytes(path, "path")))

    def restore_file(self, path) -> None:
        """Becomes what was saved."""
        _call.check(c.ollm_chat_restore_file(self._c, _call.path_bytes(path, "path")))


def _options(reasoning_budget, constrain_calls, context_shift, format, variables):
    text = json.dumps(variables).encode() if variables else None
    return _call.struct(
        c.ollm_chat_options,
        variables_json=text,
        reasoning_budget=reasoning_budget,
        limit_reasoning=int(reasoning_budget is not None),
        constrain_calls=int(bool(constrain_calls)),
        no_context_shift=int(not context_shift),
        tool_format=_call.int32(format, "format"),
    )
