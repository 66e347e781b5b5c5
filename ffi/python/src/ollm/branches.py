"""Several continuations of one session, decoded in one batch, and the search among them."""

import ctypes
from typing import Any, Callable, Dict, Iterator, List, Optional

from . import _call, c
from ._call import Handle
from .options import Branch, Expansion, Found, Tally


class Branches(Handle):
    """Several continuations of one session, which `Session.branches` makes. A step of ten costs little
    more than a step of one, and each is bit-identical to a session of its own. `branches[i]`, `len` and
    iteration give copies of what they are.

    One thread at a time; only `cancel`, `withdraw_cancel` and `close` are for other threads too.
    """

    _free = c.ollm_branches_free
    _works = True
    _kept: Dict[str, Any]

    def __init__(self):
        raise TypeError("Session.branches makes branches")

    def expand(self, branch: int = 0, expansion: Expansion = Expansion()) -> None:
        """Makes several branches of one, which is open: of all latents, if nothing else is said."""
        made = _call.instance(expansion, Expansion, "expansion")._struct()
        _call.check(c.ollm_branches_expand(self._c, _call.size(branch, "branch"), ctypes.byref(made)))

    def step(self) -> int:
        """Advances all open branches by a token each, in one pass over the weights; gives how many there
        were: with 0 all have ended."""
        return _call.number_out(ctypes.c_size_t, c.ollm_branches_step, self._c)

    def prune(self, branch: int) -> None:
        """Gives an open branch up."""
        _call.check(c.ollm_branches_prune(self._c, _call.size(branch, "branch")))

    def __len__(self) -> int:
        return _call.number_out(ctypes.c_size_t, c.ollm_branches_count, self._c)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> Branch:
        at = _call.operator.index(index)
        count = len(self)
        at += count if at < 0 else 0
        if not 0 <= at < count:
            raise IndexError(f"branch {index} of {count}")
        made = _call.struct(c.ollm_branch)
        _call.check(c.ollm_branches_get(self._c, at, ctypes.byref(made)))
        return Branch.of(made)

    def __iter__(self) -> Iterator[Branch]:
        return (self[index] for index in range(len(self)))

    def run(
        self,
        strategy: c.Strategy = c.Strategy.VOTE,
        *,
        expansion: Expansion = Expansion(),
        tally: Tally = Tally(),
        width: int = 0,
        each: Optional[Callable[[List[Branch]], Any]] = None,
    ) -> Found:
        """Searches: expands, generates, and finds the answer. `width` is how many branches an expansion
        makes at most, or a beam keeps. `each(branches)` sees them after each step, and ends the search
        by `False`."""
        options = _call.struct(c.ollm_search_options, strategy=strategy, width=width)
        options.expansion = ctypes.pointer(_call.instance(expansion, Expansion, "expansion")._struct())
        options.tally = ctypes.pointer(_call.instance(tally, Tally, "tally")._struct())
        each = _call.function(each, "each") if each is not None else None

        def show(branches, count):
            return _call.stops(each([Branch.of(one[0]) for one in branches[:count]])) if each else 0

        options.each = _call.guarded(c.ollm_branches_fn, show, 1)
        with _call.interruptible():
            return self._found(c.ollm_branches_run, options)

    def vote(self, tally: Tally = Tally()) -> Found:
        """The vote of the branches that are there, without generating."""
        return self._found(c.ollm_branches_vote, _call.instance(tally, Tally, "tally")._struct())

    def _found(self, function, options):
        made = _call.struct(c.ollm_found)
        _call.check(function(self._c, ctypes.byref(options), ctypes.byref(made)))
        answer = _call.text_at(made.answer, made.answer_length) if made.answer else None
        return Found(made.branch, answer, made.confidence, made.passes, made.generated)

    def cancel(self) -> None:
        """Cancels the call that is inside, or else the next one. Any thread."""
        _call.check(c.ollm_branches_cancel(self._c))

    def withdraw_cancel(self) -> None:
        """Takes back a cancellation that no call has seen yet. Any thread."""
        _call.check(c.ollm_branches_withdraw_cancel(self._c))
