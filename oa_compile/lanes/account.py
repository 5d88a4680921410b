"""One call's account, and its open attempts: what a lane is given of a run, and all it sees of it.

Owns how an attempt's end reads in the journal; reserving, writing and settling are the desk's (`calls`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.events import Role, Stage
from oa_compile.lanes.lane import LaneFault, Quote, RequestRefused, Spent
from oa_compile.ledger import Hold
from oa_compile.swarm.customer.attempt import Intent

if TYPE_CHECKING:
    from oa_compile.lanes.calls import Calls


@dataclass(slots=True)
class OpenAttempt:
    """Fulfils lanes.lane.Attempted: writes the event, then settles the hold."""

    desk: Calls
    hold: Hold
    request: ChatRequest
    started: float

    def intend(self, intent: Intent) -> None:
        self.desk.intend(self.hold, intent)

    def pending(self) -> None:
        self.desk.pend(self.hold)

    def answered(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("ok", spent, answer=answer)

    def unused(self, answer: ChatAnswer, spent: Spent) -> None:
        self._end("unused", spent, answer=answer)

    def paid(self, spent: Spent) -> None:
        self._end("ok", spent)

    def refused(self, error: RequestRefused) -> None:
        self.desk.end_attempt(self, "refused", message=error.message)

    def failed(self, fault: LaneFault, spent: Spent | None = None) -> None:
        if spent is None:
            spent = Spent(self.hold.msat, self.hold.tokens) if fault.billed else Spent(0, 0)
        self._end("fault", spent, fault=fault.kind, message=fault.message)

    def _end(
        self,
        outcome: str,
        spent: Spent,
        *,
        answer: ChatAnswer | None = None,
        fault: str = "",
        message: str = "",
    ) -> None:
        self.desk.end_attempt(
            self,
            outcome,
            msat=spent.msat,
            tokens=spent.tokens,
            answer=answer,
            fault=fault,
            message=message,
            receipt=dict(spent.receipt),
        )


@dataclass(slots=True)
class RunAccount:
    """Fulfils lanes.lane.Account for one call, or (`calls` is 0) for a payment that is none."""

    desk: Calls
    key: str
    request: ChatRequest
    stage: Stage
    role: Role
    calls: int = 1

    def attempt(self, lane: str, quote: Quote, *, wait: bool = True) -> OpenAttempt:
        return self.desk.begin_attempt(self, lane, quote, wait=wait)

    def pause(self, seconds: float) -> None:
        self.desk.pause(seconds)
