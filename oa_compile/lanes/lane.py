"""The contract of a lane, and the words its failures are told in.

A lane turns one ChatRequest into one ChatAnswer. It asks its `Account` before it sends anything and
tells it what became of every attempt; it never sees the budget, the journal or DSPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import LaneError
from oa_compile.swarm.customer.attempt import Intent

FaultKind = Literal[
    "rate_limited", "timeout", "transport", "server", "malformed", "auth", "billing", "unavailable"
]

RETRYABLE: frozenset[FaultKind] = frozenset({"rate_limited", "timeout", "transport", "server", "malformed"})
FATAL: frozenset[FaultKind] = frozenset({"auth", "billing"})
"""No retry and no other example will fare better: the run stops at once."""


class LaneFault(LaneError):
    """The infrastructure failed. Says nothing about the candidate, and never scores 0.

    `retry_after` is in seconds, as the provider asked. `billed` is True when the provider may have
    charged for the attempt all the same (a timeout after sending, a cut-off answer).
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        retry_after: float | None = None,
        billed: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.retry_after = retry_after
        self.billed = billed


class RequestRefused(LaneError):
    """The lane will never serve this request (too long, unsupported parameter): the request's own fault."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The most one attempt can cost: msat and tokens (input and output together)."""

    msat: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one attempt did cost, with the lane's receipt (ids, payment proof)."""

    msat: int
    tokens: int
    receipt: Mapping[str, Any] = field(default_factory=dict)


class Attempted(Protocol):
    """An open attempt. Exactly one of the five ends it; one that nothing ends stays reserved, and is
    settled with the wallet when the run is taken up again.
    """

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        """Write the intent to pay, on the disk when this returns; before the wallet is asked. Without `sync`
        it is on the disk when the next one is that has it.
        """

    def pending(self) -> None:
        """Its payment did not end in its time: it counts as spent until the attempt is ended, whenever."""

    def answered(self, answer: ChatAnswer, spent: Spent) -> None:
        """The answer came."""

    def refused(self, error: RequestRefused) -> None:
        """The lane refused the request; nothing was charged."""

    def failed(self, fault: LaneFault, spent: Spent | None = None) -> None:
        """The attempt failed; charged at `spent`, without it at its quote if `fault.billed`."""

    def paid(self, spent: Spent) -> None:
        """What is no call and was reserved for (`Books.settlement`) is paid."""

    def unused(self, answer: ChatAnswer, spent: Spent) -> None:
        """An answer came and another one was taken."""


class Account(Protocol):
    """Where a lane asks for money and reports attempts: one for each call."""

    @property
    def key(self) -> str:
        """The call's digest: identical for identical calls of identical lanes."""

    def attempt(self, lane: str, quote: Quote, *, wait: bool = True) -> Attempted:
        """Reserve `quote` for an attempt on `lane`. Raises BudgetExhausted when a cap refuses; with
        `wait`, only after open holds that stand in the way have settled.
        """

    def pause(self, seconds: float) -> None:
        """Wait before a retry; returns early or raises StopRun when the run is stopping."""


class Lane(Protocol):
    """A place where calls run. Safe to call from many threads.

    `identity` names what decides the answer (model, weights, adapter-independent settings); it goes
    into call keys, so it must not hold secrets, prices or addresses that do not matter.
    """

    name: str
    kind: str
    identity: str
    concurrency: int

    def quote(self, request: ChatRequest) -> Quote:
        """The worst case of one attempt at `request`."""

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """Answer `request`. Raises LaneFault after its own retries, RequestRefused, BudgetExhausted."""

    def close(self) -> None:
        """Let go of servers, models and sockets. Safe to call twice."""


@runtime_checkable
class AsksMany(Protocol):
    """A lane whose calls can go to different providers; its answers say `by` whom."""

    asks_many: Literal[True]


@runtime_checkable
class Estimating(Protocol):
    """A lane that can say what answers of others would have cost on it."""

    def estimate(self, usage: Usage, *, calls: int) -> int:
        """The price in msat of `calls` answers that used so many tokens together."""


@runtime_checkable
class Payer(Protocol):
    """A lane that pays by intents: what it was charged can be found out after a crash."""

    def take_up(self, books: Books) -> None:
        """Called once, before the first call of a run that is made, resumed or replayed live."""

    def reconcile(self, intent: Intent, *, written: float) -> Spent | None:
        """What a payment whose end is not journaled came to; None while nobody can know: `Books.left` has
        it from then on. `written` is when its intent was, in Unix seconds. Raises LaneError when the wallet
        cannot be asked.
        """

    def settle(self) -> None:
        """Called once, at the end of a run: begin to pay what is owed and not under way, so that `close`
        waits for it. What cannot be paid now is owed when the run goes on.
        """


class Left(Protocol):
    """An attempt of a dead process whose payment had not ended when the run was taken up."""

    @property
    def intent(self) -> Intent:
        """What was to be paid."""

    @property
    def written(self) -> float:
        """When the intent was put on the disk, in Unix seconds."""

    def lost(self, spent: Spent) -> None:
        """That is what it came to: ends the attempt."""


class Books(Protocol):
    """What a paying lane may read of its run, and write outside of calls."""

    def receipts(self) -> Iterable[Mapping[str, Any]]:
        """The receipts of this lane's attempts in the journal as it was taken up, in order."""

    def payment_hashes(self) -> Iterable[str]:
        """Every payment hash that this run ever intended to pay."""

    def left(self) -> Iterable[Left]:
        """What `Payer.reconcile` could not tell."""

    def note(self, code: str, message: str) -> None:
        """Something the user should know, in the run's journal. Never raises."""

    def settlement(self, lane: str, key: str, quote: Quote) -> Attempted:
        """Reserve for a payment that is no call (a tab). Raises BudgetExhausted at once when a cap
        refuses.
        """
