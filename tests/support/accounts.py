"""Accounts for tests of lanes: they record what a lane reserves and tells, and check its manners."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from oa_compile.chat import ChatAnswer
from oa_compile.errors import BudgetExhausted
from oa_compile.lanes.lane import LaneFault, Quote, RequestRefused, Spent
from oa_compile.swarm.customer.attempt import Intent


@dataclass(slots=True)
class Entry:
    """One attempt: what was reserved, and what became of it. Fulfils lanes.lane.Attempted."""

    lane: str
    quote: Quote
    number: int
    outcome: str = "open"
    answer: ChatAnswer | None = None
    spent: Spent | None = None
    error: RequestRefused | LaneFault | None = None
    intents: list[Intent] = field(default_factory=list)

    def pending(self) -> None:
        assert self.outcome == "open", f"attempt {self.number} had ended: {self.outcome}"

    def answered(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("answered")
        self.answer, self.spent = answer, spent

    def unused(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("unused")
        self.answer, self.spent = answer, spent

    def paid(self, spent: Spent) -> None:
        self._end("paid")
        self.spent = spent

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        assert self.outcome == "open", f"attempt {self.number} had ended: {self.outcome}"
        self.intents.append(intent)

    def refused(self, error: RequestRefused) -> None:
        self._end("refused")
        self.error = error

    def failed(self, fault: LaneFault, spent: Spent | None = None) -> None:
        self._end("failed")
        self.error, self.spent = fault, spent

    def _end(self, outcome: str) -> None:
        assert self.outcome == "open", f"attempt {self.number} ended twice: {self.outcome}, then {outcome}"
        self.outcome = outcome

    @property
    def msat(self) -> int:
        """What the ledger would settle it at: a fault that may have been billed costs its quote."""
        if self.spent is not None:
            return self.spent.msat
        billed = isinstance(self.error, LaneFault) and self.error.billed
        return self.quote.msat if billed else 0


@dataclass(slots=True)
class RecordingAccount:
    """Fulfils lanes.lane.Account: keeps every attempt and every pause, and waits for nothing.

    `cap_msat` bounds settled + reserved, `cap_calls` the attempts; past them BudgetExhausted is raised.
    """

    key: str = "sha256:" + "0" * 64
    cap_msat: int | None = None
    cap_calls: int | None = None
    entries: list[Entry] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, lane: str, quote: Quote, *, wait: bool = True) -> Entry:
        """Reserve `quote`; nothing is ever waited for."""
        with self._lock:
            held = sum(e.quote.msat if e.outcome == "open" else e.msat for e in self.entries)
            if self.cap_msat is not None and held + quote.msat > self.cap_msat:
                raise BudgetExhausted("the cap run.msat is reached", cap="run.msat")
            if self.cap_calls is not None and len(self.entries) >= self.cap_calls:
                raise BudgetExhausted("the cap run.calls is reached", cap="run.calls")
            entry = Entry(lane, quote, len(self.entries) + 1)
            self.entries.append(entry)
            return entry

    def pause(self, seconds: float) -> None:
        """Note that the lane wanted to wait, and go on."""
        with self._lock:
            self.pauses.append(seconds)

    @property
    def outcomes(self) -> list[str]:
        """What became of each attempt, in order of reservation."""
        return [entry.outcome for entry in self.entries]


def accounts(count: int) -> list[RecordingAccount]:
    """Accounts of distinct calls."""
    return [RecordingAccount(key=f"sha256:{number:064x}") for number in range(1, count + 1)]
