"""What the embedded ledger's book is made of: nodes, their invoices, their payments, and its refusals.

Values only; `ledger_node` changes them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum

from oa_compile.swarm.lightning.bolt11 import NodeKey
from oa_compile.swarm.lightning.ledger_log import Issued, Sent, Status


class Code(IntEnum):
    """lightningd's error codes, as far as they arise here."""

    LIGHTNINGD = -1
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    PAY_IN_PROGRESS = 200
    DESTINATION_FAILED = 203
    ROUTE_NOT_FOUND = 205
    INVOICE_EXPIRED = 207
    ALREADY_PAID = 219
    LABEL_EXISTS = 900
    PREIMAGE_EXISTS = 901
    EXPIRED_WHILE_WAITING = 903
    WAIT_TIMED_OUT = 904


class LedgerRefusal(ValueError):
    """The ledger will not do it: lightningd's code and words."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Bill:
    """An invoice as its node keeps it. `pay_index` counts the node's paid invoices from 1; 0 is unpaid."""

    issued: Issued
    created_index: int
    pay_index: int = 0
    received_msat: int = 0
    paid_at: int = 0


@dataclass(slots=True)
class Pay:
    """A payment as its payer keeps it."""

    sent: Sent
    bill: Bill
    created_index: int
    status: Status
    ended_at: int = 0

    @property
    def total_msat(self) -> int:
        """What left, or would have left, the payer: the fee included."""
        return self.sent.amount_msat + self.sent.fee_msat


@dataclass(slots=True)
class Node:
    """One line of the book. `pays` has every attempt at a payment hash, in order."""

    name: str
    key: NodeKey
    balance_msat: int
    bills: dict[str, Bill] = field(default_factory=dict)
    labels: dict[str, Bill] = field(default_factory=dict)
    paid: list[Bill] = field(default_factory=list)
    pays: dict[str, list[Pay]] = field(default_factory=lambda: defaultdict(list))
    attempts: int = 0
