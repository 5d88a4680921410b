"""One of several runs of a program on the same inputs: told from the others in every call it makes.

Set around a program's run and read where its calls pass. It makes calls other calls (their keys differ), says
who may not be asked, and hears who answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from oa_compile.chat import ChatAnswer, Usage

_STEP = 1_000
"""Room for the rollout ids that DSPy itself gives within one of ours."""


@dataclass(slots=True)
class Rollout:
    """Run `number` of a program on one example; 0 is the run there is without any of this.

    `temperature` is that of its calls, where given. Providers in `avoid` are not asked. `by` are who
    answered, the tokens and `msat` what the answers took, those of the journal included.
    """

    number: int
    temperature: float | None = None
    avoid: frozenset[str] = frozenset()
    by: dict[str, None] = field(default_factory=dict)
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    msat: int = 0

    def take(self, answer: ChatAnswer, *, msat: int) -> None:
        """One of its calls was answered."""
        if answer.by:
            self.by[answer.by] = None
        self.calls += 1
        self.msat += msat
        self.input_tokens += answer.usage.input_tokens
        self.output_tokens += answer.usage.output_tokens

    @property
    def usage(self) -> Usage:
        """The tokens of all its answers."""
        return Usage(self.input_tokens, self.output_tokens)

    def add(self, other: Rollout) -> None:
        """What another run within this one came to."""
        self.by |= other.by
        self.calls += other.calls
        self.msat += other.msat
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens

    def id_of(self, rollout: int | None) -> int | None:
        """The rollout id of a call that DSPy asks for with this one."""
        return rollout if not self.number else self.number * _STEP + (rollout or 0)


_current: ContextVar[Rollout | None] = ContextVar("oa_compile_rollout", default=None)


def current() -> Rollout | None:
    """The rollout this thread is in, None outside of any."""
    return _current.get()


@contextmanager
def rolled_out(rollout: Rollout) -> Iterator[Rollout]:
    """Calls made within are that rollout's."""
    token = _current.set(rollout)
    try:
        yield rollout
    finally:
        _current.reset(token)
