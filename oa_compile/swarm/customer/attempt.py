"""One attempt as the customer reports it: intent, fault, receipt. Whoever calls keeps the books."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from oa_compile.chat import ChatAnswer
from oa_compile.errors import LaneError
from oa_compile.swarm.receipt import Receipt

JobFaultKind = Literal["timeout", "transport", "server", "malformed", "billing", "unavailable"]


class JobFault(LaneError):
    """One provider, or all that were asked, did not answer as agreed. Says nothing about the request."""

    def __init__(self, kind: JobFaultKind, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind: JobFaultKind = kind


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment about to be made: its invoice, and the most it may take beyond it, in msat."""

    payment_hash: str
    bolt11: str
    msat: int
    max_fee_msat: int
    wallet: str
    provider: str
    job: str
    settles: tuple[str, ...] = ()


class Attempt(Protocol):
    """An attempt that is paid for if need be: reserved before, ended by exactly one of the last three."""

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        """Put the intent on the disk; without `sync` the next that is synced does. Blocks; called off the
        loop.
        """

    def pending(self) -> None:
        """The payment did not end in its time: it counts as spent until the attempt is ended, whenever."""

    def answered(self, answer: ChatAnswer, receipt: Receipt) -> None:
        """This attempt's answer is the call's."""

    def unused(self, answer: ChatAnswer, receipt: Receipt) -> None:
        """An answer came, and another one was taken."""

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        """No answer; the receipt says what was lost."""


class LeftAttempt(Protocol):
    """An attempt of a process that died while it paid, when nobody could know yet what came of that."""

    @property
    def intent(self) -> Intent:
        """What was to be paid."""

    @property
    def written(self) -> float:
        """When the intent was put on the disk, in Unix seconds."""

    def lost(self, receipt: Receipt) -> None:
        """Now it is known."""


class SettlementAttempt(Protocol):
    """A payment for many jobs on a tab."""

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        """Put the intent on the disk; without `sync` the next that is synced does. Blocks; called off the
        loop.
        """

    def pending(self) -> None:
        """The payment did not end in its time: it counts as spent until the attempt is ended, whenever."""

    def paid(self, receipt: Receipt) -> None:
        """The jobs in its `settles` are paid."""

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        """Nothing was paid, or (`receipt.lost`) more than nobody knows for what."""
