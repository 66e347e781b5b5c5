"""What calls are given and give: options, tokens, branches. None of them holds an object of C."""

import ctypes
import json
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

from . import _call, c
from .c import BranchState, Expand, Filter, Hold, Score, Select, Weight


@dataclass(frozen=True)
class Source:
    """Where the bytes of a GGUF file come from: a path, an open file (an object with `fileno`, or its
    number) or a part of one, or bytes in memory.

    `bytes` are used in place, other memory is copied. `copy` reads a file into memory: for one that
    may be changed while it is in use.
    """

    place: Any
    offset: int = 0
    length: int = 0
    copy: bool = False

    @classmethod
    def of(cls, value):
        """The value, if it is a source; else one of it. A plain number is no source."""
        if isinstance(value, cls):
            return value
        if isinstance(value, int):
            raise TypeError("a file must be a path, an open file, bytes or a Source, not int")
        return cls(value)

    def _struct(self, release=None, user=None):
        place, rest = self.place, {"offset": self.offset, "length": self.length, "copy": bool(self.copy)}
        if isinstance(place, (str, os.PathLike)):
            if self.offset or self.length:
                raise ValueError("a part of a file is that of an open file: Source(open(path, 'rb'), offset, length)")
            return _call.struct(c.ollm_source, kind=c.SourceKind.FILE, path=_call.path_bytes(place, "the path"), **rest)
        if isinstance(place, (bytes, bytearray, memoryview)):
            if self.offset or self.length:
                raise ValueError("a part of memory is a slice of it")
            data = place if isinstance(place, bytes) else bytes(place)
            if not isinstance(place, bytes) or self.copy:
                release = None
            made = _call.struct(c.ollm_source, kind=c.SourceKind.MEMORY, length=len(data))
            made.data = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
            # ctypes does not keep what a `c_void_p` points to.
            made.kept = data
            if release is not None:
                made.release, made.user = release, user
            return made
        if isinstance(place, bool) or not (isinstance(place, int) or hasattr(place, "fileno")):
            raise TypeError(f"a file must be a path, an open file, bytes or a Source, not {type(place).__name__}")
        number = place if isinstance(place, int) else place.fileno()
        return _call.struct(c.ollm_source, kind=c.SourceKind.DESCRIPTOR, descriptor=number, **rest)


File = Union[str, "os.PathLike[str]", bytes, Source, Any]


class Logprob(NamedTuple):
    """A token, and the natural logarithm of its probability."""

    token: int
    logprob: float


class Candidate(NamedTuple):
    """A token of an option, and its probability there."""

    token: int
    probability: float


class Option(NamedTuple):
    """One option of an option set: its latent, the policy's probability of it, and its most probable
    tokens, best first."""

    latent: int
    policy: float
    top: List[Candidate]


class Token(NamedTuple):
    """A generated token."""

    id: Optional[int]
    """The token; None for text that was held back until the end."""
    text: str
    """The text that is complete with it: not its own where that is half a character."""
    latent: Optional[int] = None
    """The latent whose option it comes from; None without a plugin, for the mixture, and for a token
    that a constraint forced."""
    logprob: float = 0.0
    """The natural logarithm of its probability, before the sampler's filters."""
    is_end: bool = False
    """Whether a text or a turn ends with it."""
    top: Sequence[Logprob] = ()
    """The most probable tokens, as many as `Sampling.logprobs` asks for."""
    options: Optional[List[Option]] = None
    """The option set that it was chosen from, where `Session.run` is asked for it."""


class Suggestion(NamedTuple):
    """A continuation to choose."""

    text: str
    tokens: List[int]
    probability: float
    latent: Optional[int]
    """The latent that adds most to the probability."""


class Branch(NamedTuple):
    """One of several continuations."""

    tokens: List[int]
    latents: List[Optional[int]]
    text: str
    fork: int
    """Tokens that it shares with its parent."""
    policy: float
    """The sum of the log-probabilities of its latents."""
    logprob: float
    """The sum of the log-probabilities of its tokens."""
    count: float
    """What it counts in a vote."""
    value: float
    """What the plugin's value head says; NaN where none was asked."""
    parent: Optional[int]
    merged_into: Optional[int]
    at_boundary: bool
    state: BranchState
    error: Optional[_call.Error]
    """Why it failed."""

    @property
    def is_open(self):
        """Whether it is still generated."""
        return self.state == BranchState.OPEN

    @classmethod
    def of(cls, made):
        """What C shows."""
        count = made.token_count
        return cls(
            list(made.tokens[:count]) if count else [],
            [latent(number) for number in made.latents[:count]] if count else [],
            _call.text_at(made.text, made.text_length),
            made.fork,
            made.policy,
            made.logprob,
            made.count,
            made.value,
            latent(made.parent),
            latent(made.merged_into),
            bool(made.at_boundary),
            BranchState(made.state),
            None if made.error == _call.Status.OK else _call.Error(_call._status(made.error), ""),
        )


class Found(NamedTuple):
    """What a search or a vote found."""

    branch: int
    answer: Optional[str]
    confidence: float
    """The share of the weight of all branches that have the same answer."""
    passes: int
    generated: int


class Memory(NamedTuple):
    """Bytes of memory, without the pages of mapped files."""

    weights: int
    plugin: int
    kv: int
    scratch: int
    total: int


class Statistics(NamedTuple):
    """What a session has done since it was made, or forked."""

    fed: int
    feed_seconds: float
    generated: int
    generate_seconds: float
    first_token_seconds: float
    passes: int
    kv_bytes: int
    drafted: int
    """Drafted tokens that went through the network."""
    accepted: int
    """How many of them were right."""


class ChatEvent(NamedTuple):
    """A part of an answer; `kind` says what is in it."""

    kind: c.ChatEventKind
    text: str = ""
    name: str = ""
    """The tool that is called."""
    arguments: Optional[Dict[str, Any]] = None
    """Its arguments."""
    id: str = ""
    """What names the call."""

    @classmethod
    def of(cls, event):
        """What C shows."""
        text, name, arguments, call = (
            _call.text_at(getattr(event, field), getattr(event, f"{field}_length"))
            for field in ("text", "name", "arguments", "id")
        )
        return cls(c.ChatEventKind(event.kind), text, name, json.loads(arguments) if arguments else None, call)


def record(kind, made):
    """The fields of a struct of C as a named tuple."""
    return kind(*(getattr(made, name) for name in kind._fields))


def latent(number):
    """A latent, where C says -1 for none."""
    return None if number < 0 else number


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled. A field that is 0 takes its default, and all defaults together are
    greedy; `help(ollm.c.ollm_sampling)` explains each."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    min_p: float = 0.0
    seed: int = 0
    repeat_penalty: float = 0.0
    repeat_last: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    typical_p: float = 0.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 0.0
    dry_allowed_length: int = 0
    dry_last: int = 0
    mirostat_tau: float = 0.0
    mirostat_eta: float = 0.0
    dynamic_range: float = 0.0
    dynamic_exponent: float = 0.0
    logprobs: int = 0
    dry_breakers: Optional[Sequence[str]] = None
    biases: Dict[int, float] = field(default_factory=dict)
    """Is added to the logits of these tokens; `-math.inf` bans one."""
    order: Optional[Sequence[Filter]] = None
    edit: Optional[Callable[[Any, Any], Any]] = None
    """`edit(logits, tokens)` sees and changes the logits (an `array` of floats, one for each token of
    the vocabulary), given the tokens so far. What it raises comes out of the call that samples."""

    def _struct(self):
        """The struct of C, and the callback, which the session has to keep."""
        plain = {name: value for name, value in vars(self).items() if name not in _NOT_PLAIN}
        made, edit = _call.struct(c.ollm_sampling, **plain), None
        if self.dry_breakers is not None:
            made.dry_breakers, made.dry_breaker_count = _call.texts_in(self.dry_breakers, "dry_breakers")
        if self.order is not None:
            made.order, made.order_count = _call.numbers_in(self.order, "i", "order")
        biases = _call.instance(self.biases, dict, "biases")
        if biases:
            made.biases = (c.ollm_logit_bias * len(biases))(
                *(_call.struct(c.ollm_logit_bias, token=token, bias=bias) for token, bias in biases.items())
            )
            made.bias_count = len(biases)
        if self.edit is not None:
            made.edit = edit = _edit(_call.function(self.edit, "edit"))
        return made, edit


_NOT_PLAIN = {"dry_breakers", "biases", "order", "edit"}


def _edit(call):
    # The arrays are copies: whoever keeps one holds no memory of C.
    def edit(logits, size, tokens, count):
        try:
            shown = _call.numbers_at(logits, size, "f")
            call(shown, _call.numbers_at(tokens, count, "I"))
            if len(shown) != size:
                raise ValueError(f"edit has left {len(shown)} logits of {size}")
            ctypes.memmove(logits, (ctypes.c_float * size).from_buffer(shown), 4 * size)
        except BaseException:
            # No number: the step fails.
            logits[0] = float("nan")
            raise

    return _call.guarded(c.ollm_logits_fn, edit)


@dataclass(frozen=True)
class Selection:
    """How the latent of each step is selected, from whose option its token is sampled."""

    mode: Select = Select.POLICY
    latents: Sequence[int] = ()
    """Of `Select.FIXED` and `Select.SCRIPT`."""
    hold: Hold = Hold.TRAINED
    hold_tokens: int = 0
    """Of `Hold.TOKENS`."""
    temperature: float = 0.0
    """Of `Select.SAMPLE`; 0 is 1."""
    seed: int = 0
    choose: Optional[Callable[[Any, Any], int]] = None
    """Of `Select.CALLBACK`, which it implies: `choose(hidden, policy)` gives a latent, from the hidden
    state and the policy's probabilities. What it raises comes out of the call that selects."""

    def _struct(self):
        """The struct of C, and the callback, which the session has to keep."""
        mode, choose = self.mode, None
        made = _call.struct(
            c.ollm_selection,
            hold=self.hold,
            hold_tokens=self.hold_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
        if self.choose is not None:
            mode = Select.CALLBACK if mode == Select.POLICY else mode
            made.choose = choose = _choose(_call.function(self.choose, "choose"))
        made.mode = _call.int32(mode, "mode")
        made.latents, made.latent_count = _call.numbers_in(self.latents, "I", "latents")
        return made, choose


def _choose(call):
    def choose(hidden, size, policy, count):
        chosen = call(_call.numbers_at(hidden, size, "f"), _call.numbers_at(policy, count, "f"))
        return _call.uint32(chosen, "the chosen latent")

    return _call.guarded(c.ollm_policy_fn, choose, 0xFFFFFFFF)


@dataclass(frozen=True)
class Expansion:
    """Into which branches a branch is expanded."""

    kind: Expand = Expand.LATENTS
    count: int = 0
    """How many; 0 for all latents, and for nothing else."""
    temperature: float = 0.0
    """Of `Expand.SAMPLE`; 0 is 1."""

    def _struct(self):
        return _call.struct(c.ollm_expansion, kind=self.kind, count=self.count, temperature=self.temperature)


@dataclass(frozen=True)
class Tally:
    """How answers are found, and which one wins.

    `rule` is "number" (as an empty one), "hash", "boxed", "regex:RE" or "text"; or `answer(text)`
    gives the answer of a text, or None. `score_of(branch)` says how good a branch is in place of
    `score`: the higher, the better; NaN is the lowest.
    """

    rule: str = ""
    weight: Weight = Weight.ONE
    score: Score = Score.LOGPROB
    answer: Optional[Callable[[str], Optional[str]]] = None
    score_of: Optional[Callable[[Branch], float]] = None

    def _struct(self):
        rule = _call.utf8(self.rule, "rule") or None
        made = _call.struct(c.ollm_tally, rule=rule, weight=self.weight, score=self.score)
        if self.answer is not None:
            made.answer = _answer(_call.function(self.answer, "answer"))
        if self.score_of is not None:
            score_of = _call.function(self.score_of, "score_of")
            score = lambda branch: _call.real(score_of(Branch.of(branch[0])), "the score")
            made.score_of = _call.guarded(c.ollm_score_fn, score, 0.0)
        return made


def _answer(call):
    kept = []

    def answer(text, place):
        found = call(_call.text_at(text.data, text.length))
        if found is not None:
            kept[:] = [_call.utf8(found, "the answer")]
            place[0].data = ctypes.cast(ctypes.c_char_p(kept[0]), ctypes.POINTER(ctypes.c_char))
            place[0].length = len(kept[0])

    return _call.guarded(c.ollm_answer_fn, answer)
