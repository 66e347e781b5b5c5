"""Sessions, and what they generate."""

import ctypes
from array import array
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from . import _call, c
from ._call import Error, Handle, Status
from .branches import Branches
from .c import Distribution, Draft, KvType, Pooling, Reason, Until
from .model import Adapter, Grammar, Model, Plugin, ThreadPool, Worker, _progress, _start, session_options
from .options import Candidate, Logprob, Option, Sampling, Selection, Statistics, Suggestion, Token, latent, record


def _token(made, options=None):
    top = [Logprob(one.token, one.logprob) for one in made.top[: made.top_count]] if made.top_count else ()
    return Token(
        None if made.id == c.OLLM_NO_TOKEN else made.id,
        _call.text_at(made.text, made.text_length),
        latent(made.latent),
        made.logprob,
        bool(made.is_end),
        top,
        options,
    )


def _option_set(handle):
    """A copy of an option set of C."""
    policy = _call.numbers_out("f", lambda *out: c.ollm_option_set_policy(handle, *out), 16)

    def top(index):
        count = _call.number_out(ctypes.c_size_t, c.ollm_option_set_top, handle, index, None, 0)
        found = (c.ollm_candidate * max(count, 1))()
        count = _call.number_out(ctypes.c_size_t, c.ollm_option_set_top, handle, index, found, len(found))
        return [Candidate(one.token, one.probability) for one in found[:count]]

    return [Option(index, share, top(index)) for index, share in enumerate(policy)]


class Session(Handle):
    """A sequence of tokens on a model, with or without a plugin. One thread at a time: a second one gets
    an `Error` of the status BUSY, and so does a callback on its own session. Only `cancel`,
    `withdraw_cancel` and `close` are for other threads too.

    `threads` are those of decode, `prefill_threads` those of many tokens at once; 0 takes as many as the
    system has cores for. A full context raises CONTEXT_FULL; with `context_shift` it forgets the older
    half of its tokens, except the first `keep`. `start(worker)` has a thread of the application call
    `worker.run()`; `pool` shares workers with other sessions.
    """

    _free = c.ollm_session_free
    _works = True

    def __init__(
        self,
        model: Model,
        plugin: Optional[Plugin] = None,
        *,
        context: int = 0,
        memory_limit: int = 0,
        threads: int = 0,
        prefill_threads: int = 0,
        context_shift: bool = False,
        keep: int = 0,
        kv_type: KvType = KvType.F16,
        affinity: int = 0,
        pool: Optional[ThreadPool] = None,
        start: Optional[Callable[[Worker], Any]] = None,
    ):
        number = _call.handle(model, Model, "model")
        extra = _call.handle(plugin, Plugin, "plugin", optional=True)
        options = session_options(
            context=context,
            memory_limit=memory_limit,
            threads=threads,
            prefill_threads=prefill_threads,
            context_shift=bool(context_shift),
            keep=keep,
            kv_type=kv_type,
            affinity=affinity,
            pool=pool,
        )
        self._kept: Dict[str, Any] = {}
        if start is not None:
            options.start = self._kept["start"] = _start(start)
        self._model = model.share()
        self._make(c.ollm_session_new, number, extra, ctypes.byref(options))

    def fork(self) -> "Session":
        """A second, independent session with the same text, sampling and selection. It shares the KV
        cache (copy on write). Give it a seed of its own where it samples: the random number of a token
        follows from the seed and its place in the text."""
        forked = object.__new__(type(self))
        forked._kept, forked._model = dict(self._kept), self._model
        return forked._make(c.ollm_session_fork, self._c)

    # Feeding.

    def feed(
        self,
        text_or_tokens: Union[str, Iterable[int]],
        *,
        special: bool = False,
        bos: bool = False,
        progress: Optional[Callable[[float], Any]] = None,
    ) -> None:
        """Prefill: adds text (with the flags of `Model.tokenize`) or tokens, and runs them through the
        network. `progress(share)` is told how far it is; it cancels by `False`. A cancelled feed leaves
        the session at its last complete position."""
        if isinstance(text_or_tokens, str):
            text_or_tokens = self._model.tokenize(text_or_tokens, special=special, bos=bos)
        elif special or bos:
            raise ValueError("special and bos go with text, not with tokens")
        tokens, count = _call.numbers_in(text_or_tokens, "I", "tokens")
        watch = _progress(progress if progress is not None else _nothing)
        with _call.interruptible():
            _call.check(c.ollm_session_feed_watched(self._c, tokens, count, watch, None))

    def feed_cached(self, tokens: Iterable[int], folder: Any, limit: int) -> int:
        """Feeds an empty session by way of a folder of saved sessions, which holds `limit` bytes at
        most; gives how many tokens came from it."""
        values, count = _call.numbers_in(tokens, "I", "tokens")
        path, limit = _call.path_bytes(folder, "folder"), _call.integer(limit, ctypes.c_uint64, "limit")
        call = c.ollm_session_feed_cached
        return _call.number_out(ctypes.c_size_t, call, self._c, values, count, path, limit)

    @property
    def position(self) -> int:
        """The number of tokens so far."""
        return _call.number_out(ctypes.c_size_t, c.ollm_session_position, self._c)

    @property
    def context(self) -> int:
        """The context size in positions."""
        return _call.number_out(ctypes.c_size_t, c.ollm_session_context, self._c)

    def tokens(self) -> List[int]:
        """The tokens so far, fed and generated; after a context shift, the remaining ones."""
        return list(_call.numbers_out("I", lambda *out: c.ollm_session_tokens(self._c, *out), 256))

    def rewind(self, position: int) -> None:
        """Forgets the tokens from `position` on."""
        _call.check(c.ollm_session_rewind(self._c, _call.size(position, "position")))

    # What is generated, and how.

    def set_sampling(self, sampling: Optional[Sampling] = None, **fields: Any) -> None:
        """Samples so from now on: `set_sampling(temperature=0.8, top_p=0.95)`, or a `Sampling`; nothing
        is greedy."""
        made, edit = _chosen(Sampling, sampling, fields, "sampling")
        _call.check(c.ollm_session_set_sampling(self._c, made and ctypes.byref(made)))
        self._kept["edit"] = edit

    def set_selection(self, selection: Optional[Selection] = None, **fields: Any) -> None:
        """Selects latents so from now on: `set_selection(mode=Select.FIXED, latents=[3])`, or a
        `Selection`; nothing takes the policy's most probable one, held as the plugin was trained."""
        made, choose = _chosen(Selection, selection, fields, "selection")
        _call.check(c.ollm_session_set_selection(self._c, made and ctypes.byref(made)))
        self._kept["choose"] = choose

    def set_constraint(self, grammar: Optional[Grammar], *, trigger: str = "", begun: int = 0) -> None:
        """Keeps what is generated from here on to a grammar; None leaves it free. With a `trigger`, such
        as `</think>`, the grammar begins behind that text. `begun` tokens at the end of the sequence are
        the beginning of the constrained text."""
        number = _call.handle(grammar, Grammar, "grammar", optional=True)
        options = _call.struct(
            c.ollm_constraint_options, trigger=_call.utf8(trigger, "trigger") or None, begun=begun
        )
        _call.check(c.ollm_session_set_constraint(self._c, number, ctypes.byref(options)))

    @property
    def is_complete(self) -> bool:
        """Whether the text since the last feed is a whole one of its grammar."""
        return bool(_call.number_out(ctypes.c_int32, c.ollm_session_is_complete, self._c))

    def set_adapters(self, adapters: Sequence[Adapter], scales: Optional[Sequence[float]] = None) -> None:
        """Sets the adapters of all that follows, each with its scale; without scales all are 1."""
        numbers = [_call.handle(adapter, Adapter, "an adapter") for adapter in adapters]
        values, count = (None, len(numbers)) if scales is None else _call.numbers_in(scales, "f", "scales")
        if count != len(numbers):
            raise ValueError(f"there are {len(numbers)} adapters and {count} scales")
        _call.check(c.ollm_session_set_adapters(self._c, (ctypes.c_void_p * count)(*numbers), values, count))

    def set_draft(self, draft: Draft, model: Optional[Model] = None) -> None:
        """Sets what guesses the tokens to come, the model of `Draft.MODEL`; the text stays the same."""
        number = _call.handle(model, Model, "model", optional=True)
        _call.check(c.ollm_session_set_draft(self._c, _call.int32(draft, "draft"), number))

    def set_duty(self, share: float) -> None:
        """Computing takes at most this share of the time, against thermal throttling; 1 is no limit."""
        _call.check(c.ollm_session_set_duty(self._c, _call.real(share, "share")))

    def step(self, latent: Optional[int] = None) -> Token:
        """Chooses the next token, of the option of `latent` if there is one, and adds it to the
        sequence. An end token is a token like any other here."""
        made = _call.struct(c.ollm_token)
        if latent is None:
            _call.check(c.ollm_session_step(self._c, ctypes.byref(made)))
        else:
            number = _call.uint32(latent, "latent")
            _call.check(c.ollm_session_step_latent(self._c, number, ctypes.byref(made)))
        return _token(made)

    def generate(self, limit: int = 0, *, stops: Sequence[str] = ()) -> "Generation":
        """An iterator over the tokens of an answer: it ends with an end token, a stop string, or
        `limit` tokens (0: as many as the context holds). Between two of them the session may be looked
        at and changed in any way."""
        return Generation(self, limit, stops)

    def run(
        self,
        each: Optional[Callable[[Token], Any]] = None,
        *,
        limit: int = 0,
        stops: Sequence[str] = (),
        top: int = 0,
    ) -> Reason:
        """Generates in one call of C. `each(token)` sees every token, and ends the run by `False`; what
        it raises ends it too. With `top` each token tells the option set that it was chosen from, with
        so many tokens of each option."""
        options = _call.struct(c.ollm_run_options, limit=limit, top=top)
        options.stops, options.stop_count = _call.texts_in(stops, "stops")
        each = _call.function(each, "each") if each is not None else _nothing

        def show(made):
            handle = made[0].options
            return _call.stops(each(_token(made[0], _option_set(handle) if handle else None)))

        options.each = _call.guarded(c.ollm_token_fn, show, 1)
        with _call.interruptible():
            reason = _call.number_out(ctypes.c_int32, c.ollm_session_run, self._c, ctypes.byref(options))
        return Reason(reason)

    def cancel(self) -> None:
        """Cancels the call that is inside, or else the next one. Any thread."""
        _call.check(c.ollm_session_cancel(self._c))

    def withdraw_cancel(self) -> None:
        """Takes back a cancellation that no call has seen yet. Any thread."""
        _call.check(c.ollm_session_withdraw_cancel(self._c))

    # What the network says. Numbers are an `array`, which `memoryview` and numpy read in place.

    def logits(self, distribution: Distribution = Distribution.BACKBONE, latent: int = 0) -> "array[float]":
        """The logits of the next token, one for each token of the vocabulary; `latent` is that of
        `Distribution.OPTION`."""
        kind, index = _call.int32(distribution, "distribution"), _call.uint32(latent, "latent")
        return _call.numbers_out("f", lambda *out: c.ollm_session_logits(self._c, kind, index, *out))

    def score(self, tokens: Iterable[int]) -> "array[float]":
        """Feeds tokens, and tells the natural logarithm of the probability of each, given those before
        it; NaN for the first of a sequence."""
        values, count = _call.numbers_in(tokens, "I", "tokens")
        return _call.numbers_out("f", lambda *out: c.ollm_session_score(self._c, values, count, *out), count or 1)

    def embed(
        self,
        text_or_tokens: Union[str, Iterable[int]],
        pooling: Pooling = Pooling.MODEL,
        *,
        normalized: bool = True,
    ) -> "array[float]":
        """The embedding of a text: the hidden states of its tokens, pooled. The session forgets what it
        held, and holds these tokens afterwards."""
        if isinstance(text_or_tokens, str):
            text_or_tokens = self._model.tokenize(text_or_tokens, bos=True, eos=True)
        values, count = _call.numbers_in(text_or_tokens, "I", "tokens")
        kind, norm = _call.int32(pooling, "pooling"), int(bool(normalized))
        return _call.numbers_out("f", lambda *out: c.ollm_session_embed(self._c, values, count, kind, norm, *out))

    def rank(self, query: str, document: str) -> float:
        """How relevant a document is to a query, as a reranker scores the pair. The session forgets what
        it held, and holds the tokens of the pair afterwards."""
        first, second = _call.utf8(query, "query"), _call.utf8(document, "document")
        texts = first, len(first), second, len(second)
        return _call.number_out(ctypes.c_float, c.ollm_session_rank, self._c, *texts)

    def policy(self) -> "array[float]":
        """The policy of the current step: the probability of each latent."""
        return _call.numbers_out("f", lambda *out: c.ollm_session_policy(self._c, *out), 16)

    def hidden(self) -> "array[float]":
        """The hidden state of the last token, after the final norm."""
        return _call.numbers_out("f", lambda *out: c.ollm_session_hidden(self._c, *out))

    def encode(self, tokens: Iterable[int]) -> List[Optional[int]]:
        """Feeds tokens, and tells which latent the encoder assigns to each; None for the first of a
        sequence."""
        values, count = _call.numbers_in(tokens, "I", "tokens")
        found = (ctypes.c_int32 * max(count, 1))()
        _call.check(c.ollm_session_encode(self._c, values, count, found))
        return [latent(number) for number in found[:count]]

    def option_set(self, top: int = 1) -> List[Option]:
        """The option set of the current step: K options, each with its `top` most probable tokens. The
        session does not move."""
        with _OptionSet()._make(c.ollm_option_set_new, self._c, _call.size(top, "top")) as made:
            return _option_set(made._c)

    def suggest(self, count: int = 0, *, tokens: int = 0, until: Until = Until.TOKENS) -> List[Suggestion]:
        """Short continuations to choose from, the most probable first; 0 takes the defaults of 3, and
        of 8 tokens each. The session does not move."""
        options = _call.struct(c.ollm_suggest_options, count=count, tokens=tokens, until=until)
        with _Suggestions()._make(c.ollm_session_suggest, self._c, ctypes.byref(options)) as made:
            total = _call.number_out(ctypes.c_size_t, c.ollm_suggestions_count, made._c)
            return [made.get(index) for index in range(total)]

    # Branches.

    def branches(
        self, limit: int = 0, *, stops: Sequence[str] = (), selection: Optional[Selection] = None
    ) -> Branches:
        """Continuations of the session, which does not move: at first one. They have at most `limit`
        tokens each (0: as many as the context holds)."""
        options = _call.struct(c.ollm_branch_options, limit=limit)
        options.stops, options.stop_count = _call.texts_in(stops, "stops")
        kept = dict(self._kept)
        if selection is not None:
            made, kept["branches"] = _call.instance(selection, Selection, "selection")._struct()
            options.selection = ctypes.pointer(made)
        branches = object.__new__(Branches)
        branches._kept = kept
        return branches._make(c.ollm_branches_new, self._c, ctypes.byref(options))

    def adopt(self, branches: Branches, branch: int) -> None:
        """Comes to where a branch is, as if it had generated the branch's tokens."""
        number = _call.handle(branches, Branches, "branches")
        _call.check(c.ollm_branches_adopt(number, _call.size(branch, "branch"), self._c))
        self._kept["branches"] = branches._kept

    # Saving, and memory.

    def save(self) -> bytes:
        """The session with its KV cache, for `restore` in this or another process."""
        length = _call.number_out(ctypes.c_size_t, c.ollm_session_save, self._c, None, 0)
        return _call.bytes_out(lambda *out: c.ollm_session_save(self._c, *out), length)

    def restore(self, saved: bytes) -> None:
        """Becomes what was saved."""
        data = bytes(_call.instance(saved, (bytes, bytearray, memoryview), "saved"))
        _call.check(c.ollm_session_restore(self._c, data, len(data)))

    def save_file(self, path: Any) -> None:
        """Saves to a file, which is replaced only when all of it is on the disk."""
        _call.check(c.ollm_session_save_file(self._c, _call.path_bytes(path, "path")))

    def restore_file(self, path: Any) -> None:
        """Becomes what a file has."""
        _call.check(c.ollm_session_restore_file(self._c, _call.path_bytes(path, "path")))

    def memory(self) -> int:
        """The bytes that the session holds, without the weights."""
        return _call.number_out(ctypes.c_size_t, c.ollm_session_memory, self._c)

    def trim(self) -> None:
        """Frees memory that it can allocate again when needed."""
        _call.check(c.ollm_session_trim(self._c))

    def statistics(self) -> Statistics:
        """What the session has done, and how long it took."""
        made = _call.struct(c.ollm_statistics)
        _call.check(c.ollm_session_statistics(self._c, ctypes.byref(made)))
        return record(Statistics, made)


def _nothing(_seen):
    return None


def _chosen(kind, value, fields, name):
    """A struct of C with its callback, from an options object or from its fields."""
    if value is not None and fields:
        raise TypeError(f"{name}: either a {kind.__name__} or its fields")
    if value is None and not fields:
        return None, None
    return _call.instance(kind(**fields) if fields else value, kind, name)._struct()


class _OptionSet(Handle):
    _free = c.ollm_option_set_free


class _Suggestions(Handle):
    _free = c.ollm_suggestions_free

    def get(self, index):
        made = _call.struct(c.ollm_suggestion)
        _call.check(c.ollm_suggestions_get(self._c, index, ctypes.byref(made)))
        text, tokens = _call.text_at(made.text, made.text_length), made.tokens[: made.token_count]
        return Suggestion(text, list(tokens), made.probability, latent(made.latent))


_ENDS = {Status.CONTEXT_FULL: Reason.CONTEXT, Status.CANCELLED: Reason.CANCELLED}


class Generation:
    """The tokens of an answer, as an iterator; `text` is what came so far, `reason` why it ended:
    None while it has not, and after an error other than a full context or a cancellation. Text that
    may be the beginning of a stop string is held back; what is still held back at the end comes with
    a token whose `id` is None."""

    def __init__(self, session: Session, limit: int = 0, stops: Sequence[str] = ()):
        self._session = _call.instance(session, Session, "session")
        self._left = _call.size(limit, "limit") or None
        if isinstance(stops, str):
            raise TypeError("stops must be a list of texts, not a text")
        self._stops = [_call.instance(stop, str, "a stop string") for stop in stops]
        if "" in self._stops:
            raise ValueError("a stop string is empty")
        self._held = ""
        self._error: Optional[Error] = None
        self._over = False
        self.text = ""
        self.reason: Optional[Reason] = None

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        if self._over:
            return self._rest()
        if self._left == 0:
            return self._end(Reason.LIMIT)
        try:
            token = self._session.step()
        except Error as error:
            self._error = error
            return self._end(_ENDS.get(error.status))
        if token.is_end:
            return self._end(Reason.END)
        if self._left is not None:
            self._left -= 1
        return self._shown(token._replace(text=self._sure(token.text)))

    def _shown(self, token):
        self.text += token.text
        return token

    def _end(self, reason):
        self.reason, self._over = reason, True
        return self._rest()

    def _rest(self):
        """What was held back, once; then the end."""
        if self._held:
            held, self._held = self._held, ""
            return self._shown(Token(None, held))
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration

    def _sure(self, piece):
        """The text that is sure with this piece: it is no part of a stop string."""
        self._held += piece
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        if found:
            sure, self._held = self._held[: min(found)], ""
            self.reason, self._over = Reason.STOP, True
            return sure
        starts = (at for at in range(len(self._held)) if any(stop.startswith(self._held[at:]) for stop in self._stops))
        at = next(starts, len(self._held))
        sure, self._held = self._held[:at], self._held[at:]
        return sure


class Batch(Handle):
    """The memory of batched steps: a step of several sessions of one model in one read of the weights,
    each bit-identical to a step alone."""

    _free = c.ollm_batch_free

    def __init__(self):
        self._make(c.ollm_batch_new)

    def step(self, sessions: Sequence[Session]) -> List[Union[Token, Error]]:
        """A step of each session: its token, or the `Error` that it alone met."""
        numbers = [_call.handle(session, Session, "a session") for session in sessions]
        count = len(numbers)
        tokens = [_call.struct(c.ollm_token) for _ in numbers]
        outcomes = (ctypes.c_int32 * max(count, 1))()
        places = (ctypes.POINTER(c.ollm_token) * count)(*map(ctypes.pointer, tokens))
        _call.check(c.ollm_batch_step(self._c, (ctypes.c_void_p * count)(*numbers), count, places, outcomes))
        # The message is that of the last one that failed.
        errors = [Error(_call._status(outcome), "") for outcome in outcomes if outcome != Status.OK]
        errors[-1:] = [_call.failure(error.status) for error in errors[-1:]]
        rest = iter(errors)
        return [_token(token) if outcome == Status.OK else next(rest) for token, outcome in zip(tokens, outcomes)]
