"""One attempt as the customer reports it: intent, receipt, fault. Whoever calls keeps the books."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

from oa_compile.chat import ChatAnswer
from oa_compile.errors import LaneError

JobFaultKind = Literal["timeout", "transport", "server", "malformed", "billing", "unavailable"]

Why = Literal["first", "retry", "hedge", "audit", "settlement"]
"""What an attempt was made for."""

Order = Literal["", "result-first", "pay-first", "tab", "free"]
"""How an attempt was paid: nothing was when it is empty."""


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


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one attempt with one service provider came to. Amounts in msat.

    `paid_msat` is what left the wallet, `fee_msat` of it for routing; a job on a tab has a price and paid
    nothing yet, and the settlement that pays for it names it in `settles`. `lost`: paid, and no answer.
    `superseded`: another provider's answer was there first. `compared`: held against the answers of others,
    and `disagreed` with most of them.
    """

    provider: str
    job: str
    why: Why
    order: Order = ""
    price_msat: int = 0
    paid_msat: int = 0
    fee_msat: int = 0
    payment_hash: str = ""
    preimage: str = ""
    wallet: str = ""
    settles: tuple[str, ...] = ()
    lost: bool = False
    superseded: bool = False
    compared: bool = False
    disagreed: bool = False

    @property
    def charged_msat(self) -> int:
        """What the budget is charged: what was paid or is owed; of a settlement only the fee, for its jobs
        were charged when they were answered.
        """
        if self.why == "settlement":
            return self.fee_msat
        return self.price_msat if self.order == "tab" else self.paid_msat

    def as_dict(self) -> dict[str, Any]:
        """The receipt as plain JSON, without what is empty."""
        values = ((name, getattr(self, name)) for name in _RECEIPT)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values if value}


_RECEIPT = tuple(field.name for field in fields(Receipt))


class Attempt(Protocol):
    """An attempt that is paid for if need be: reserved before, ended by exactly one of the last three."""

    def intend(self, intent: Intent) -> None:
        """Put the intent on the disk. Blocks; called off the loop."""

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

    def intend(self, intent: Intent) -> None:
        """Put the intent on the disk. Blocks; called off the loop."""

    def pending(self) -> None:
        """The payment did not end in its time: it counts as spent until the attempt is ended, whenever."""

    def paid(self, receipt: Receipt) -> None:
        """The jobs in its `settles` are paid."""

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        """Nothing was paid, or (`receipt.lost`) more than nobody knows for what."""
