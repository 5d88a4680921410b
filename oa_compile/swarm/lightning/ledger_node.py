"""The embedded ledger: several Lightning nodes in one book, their money, invoices and payments.

Owns balances and what becomes of them. `ledger_log` keeps them, `ledger_rpc` lets them speak. Invoices,
preimages and error codes are those of Lightning; channels are not: money moves from one line of the book to
another, at once and all of it or not at all. It is for compiling with no set-up and for tests, and holds no
bitcoin.

Every change is in the log before anybody hears of it, and opening a ledger does again what its log says: so
there is one way only in which anything changes (`_apply`).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from oa_compile.errors import UsageError
from oa_compile.money import check_msat
from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.bolt11 import InvoiceError, NodeKey
from oa_compile.swarm.lightning.ledger_book import Bill, Code, LedgerRefusal, Node, Pay
from oa_compile.swarm.lightning.ledger_log import (
    FORMAT_VERSION,
    AnyRecord,
    Began,
    Ended,
    Issued,
    LedgerLog,
    Opened,
    Sent,
    Status,
)

FILE_NAME = "ledger.jsonl"

WEEK = 604_800
"""How long an invoice holds when nobody says: lightningd's default."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)


Listener = Callable[[str, str], None]
"""Called with the payee's name and the payment hash, when a payment completed or failed for good."""


class Ledger:
    """The book, for one thread. Everything said here is in the log first.

    `fee_msat` is what a payment costs on top, and goes to nobody in the book (`fees_msat` counts it).
    Payments to a node in `frozen` stay pending until `thaw`. Both are settings of the process, not of
    the log.
    """

    def __init__(
        self,
        folder: Path,
        nodes: Mapping[str, int],
        *,
        fee_msat: int = 0,
        network: str = "regtest",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the book in `folder`. Balances and network are those of its log; `nodes` (name → msat)
        come to be where the log does not know them. Raises UsageError when another process has it or a
        name does not fit, DigestMismatch when the log is damaged.
        """
        for name in nodes:
            if not _NAME.fullmatch(name):
                raise UsageError(f"no name for a node: {name!r} (a-z, 0-9 and dashes, 32 at most)")
        self.network = network
        self.nodes: dict[str, Node] = {}
        self.fee_msat = check_msat(fee_msat)
        self.fees_msat = 0
        self.frozen: set[str] = set()
        self._clock = clock
        self._bills: dict[str, Bill] = {}
        self._texts: dict[str, Bill] = {}
        self._listeners: list[Listener] = []
        self._log = LedgerLog(folder / FILE_NAME)
        try:
            self._log.replay(self._apply)
            if not self._log.size:
                self._commit(Began(FORMAT_VERSION, network))
            for name, balance in nodes.items():
                if name not in self.nodes:
                    self._commit(Opened(name, os.urandom(32).hex(), check_msat(balance)))
        except BaseException:
            self._log.close()
            raise

    @property
    def total_msat(self) -> int:
        """All there is: balances, money held by pending payments, fees. Nothing but a new node changes it."""
        pays = (pay for node in self.nodes.values() for tries in node.pays.values() for pay in tries)
        held = sum(pay.total_msat for pay in pays if pay.status == "pending")
        return sum(node.balance_msat for node in self.nodes.values()) + held + self.fees_msat

    def listen(self, listener: Listener) -> None:
        """Call `listener` whenever a payment ends."""
        self._listeners.append(listener)

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock())

    def invoice(
        self,
        node: str,
        amount_msat: int | None,
        *,
        label: str,
        description: str,
        expiry_seconds: int = WEEK,
        preimage: str = "",
    ) -> Bill:
        """Make an invoice of `node`. Raises LedgerRefusal."""
        owner = self.nodes[node]
        if label in owner.labels:
            raise LedgerRefusal(Code.LABEL_EXISTS, f"Duplicate label '{label}'")
        secret = bytes.fromhex(preimage) if preimage else os.urandom(32)
        payment_secret = os.urandom(32).hex()
        payment_hash = hashlib.sha256(secret).hexdigest()
        if payment_hash in self._bills:
            raise LedgerRefusal(Code.PREIMAGE_EXISTS, "preimage already used")
        at = self.now()
        try:
            made = bolt11.encode(
                owner.key,
                payment_hash=payment_hash,
                payment_secret=payment_secret,
                amount_msat=amount_msat,
                network=self.network,
                created_at=at,
                expiry_seconds=expiry_seconds,
                description=description,
            )
        except InvoiceError as error:
            raise LedgerRefusal(Code.INVALID_PARAMS, str(error)) from error
        self._commit(
            Issued(
                node=node,
                label=label,
                bolt11=made.bolt11,
                preimage=secret.hex(),
                payment_hash=payment_hash,
                payment_secret=payment_secret,
                amount_msat=amount_msat,
                description=description,
                created_at=at,
                expires_at=made.expires_at,
            )
        )
        return owner.bills[payment_hash]

    def pay(
        self, node: str, text: str, *, max_fee_msat: int | None = None, amount_msat: int | None = None
    ) -> Pay:
        """Pay an invoice from `node`; comes back ``complete``, or ``pending`` where the payee is frozen.
        Raises LedgerRefusal when nothing was paid.
        """
        payer = self.nodes[node]
        bill = self._texts.get(text.lower())
        if bill is None:
            raise self._not_ours(text)
        issued = bill.issued
        tries = payer.pays.get(issued.payment_hash, ())
        if any(pay.status == "complete" for pay in tries):
            raise LedgerRefusal(Code.ALREADY_PAID, "Already paid")
        if any(pay.status == "pending" for pay in tries):
            raise LedgerRefusal(Code.PAY_IN_PROGRESS, "Payment is pending")
        if (issued.amount_msat is None) == (amount_msat is None):
            needed = "is needed: the invoice has none" if amount_msat is None else "is in the invoice already"
            raise LedgerRefusal(Code.INVALID_PARAMS, f"amount_msat {needed}")
        at = self.now()
        if at > issued.expires_at:
            raise LedgerRefusal(Code.INVOICE_EXPIRED, "Invoice expired")
        amount = issued.amount_msat if issued.amount_msat is not None else check_msat(amount_msat)
        status: Status = "pending" if issued.node in self.frozen else "complete"
        sent = Sent(node, issued.payment_hash, issued.bolt11, amount, self.fee_msat, at, status)
        if refusal := self._obstacle(payer, bill, sent, max_fee_msat):
            self._commit(msgspec.structs.replace(sent, status="failed", reason=str(refusal)))
            raise refusal
        self._commit(sent)
        return payer.pays[issued.payment_hash][-1]

    def thaw(self, node: str, *, settle: bool = True) -> None:
        """Let the payments held for `node` go through, or fail."""
        self.frozen.discard(node)
        for payer in self.nodes.values():
            for pay in [pay for tries in payer.pays.values() for pay in tries]:
                if pay.status == "pending" and pay.bill.issued.node == node:
                    self._commit(Ended(payer.name, pay.sent.payment_hash, settle, self.now()))

    def close(self) -> None:
        """Let go of the log. Safe to call twice."""
        self._log.close()

    def _not_ours(self, text: str) -> LedgerRefusal:
        """Why an invoice that nobody here made cannot be paid."""
        try:
            invoice = bolt11.decode(text)
        except InvoiceError as error:
            return LedgerRefusal(Code.INVALID_PARAMS, f"Invalid bolt11: {error}")
        if invoice.network != self.network:
            return LedgerRefusal(Code.INVALID_PARAMS, f"Invalid bolt11: not for {self.network}")
        if self.now() > invoice.expires_at:
            return LedgerRefusal(Code.INVOICE_EXPIRED, "Invoice expired")
        if any(node.key.id == invoice.payee for node in self.nodes.values()):
            return LedgerRefusal(Code.DESTINATION_FAILED, "Destination said it doesn't know invoice")
        return LedgerRefusal(Code.ROUTE_NOT_FOUND, "Failed: unknown destination node_id, no route")

    def _obstacle(
        self, payer: Node, bill: Bill, sent: Sent, max_fee_msat: int | None
    ) -> LedgerRefusal | None:
        """Why this payment fails on the way, if it does."""
        if bill.pay_index or self._held(sent.payment_hash):
            return LedgerRefusal(Code.DESTINATION_FAILED, "Destination said it doesn't know invoice")
        if max_fee_msat is not None and sent.fee_msat > max_fee_msat:
            return LedgerRefusal(
                Code.ROUTE_NOT_FOUND, f"Failed: no route without excessive cost ({sent.fee_msat}msat of fees)"
            )
        if payer.balance_msat < sent.amount_msat + sent.fee_msat:
            return LedgerRefusal(
                Code.ROUTE_NOT_FOUND, f"Failed: insufficient funds, {payer.balance_msat}msat left"
            )
        return None

    def _held(self, payment_hash: str) -> bool:
        """Whether some node's payment of it is pending."""
        tries = (pay for node in self.nodes.values() for pay in node.pays.get(payment_hash, ()))
        return any(pay.status == "pending" for pay in tries)

    def _commit(self, record: AnyRecord) -> None:
        """Write, then do, then tell."""
        self._log.append(record)
        self._apply(record)
        match record:
            case Sent(status="complete") | Ended():
                for listener in self._listeners:
                    listener(self._bills[record.payment_hash].issued.node, record.payment_hash)

    def _apply(self, record: AnyRecord) -> None:
        match record:
            case Began():
                if record.version != FORMAT_VERSION:
                    raise ValueError(f"format {record.version}, this version reads {FORMAT_VERSION}")
                self.network = record.network
            case Opened():
                key = NodeKey(bytes.fromhex(record.secret))
                self.nodes[record.node] = Node(record.node, key, record.balance_msat)
            case Issued():
                owner = self.nodes[record.node]
                bill = Bill(record, created_index=len(owner.bills) + 1)
                owner.bills[record.payment_hash] = owner.labels[record.label] = bill
                self._bills[record.payment_hash] = self._texts[record.bolt11] = bill
            case Sent():
                self._apply_sent(record)
            case Ended():
                payer = self.nodes[record.node]
                pay = payer.pays[record.payment_hash][-1]
                pay.ended_at = record.at
                pay.status = "complete" if record.complete else "failed"
                if record.complete:
                    self._receive(pay, record.at)
                else:
                    payer.balance_msat += pay.total_msat

    def _apply_sent(self, sent: Sent) -> None:
        payer = self.nodes[sent.node]
        payer.attempts += 1
        bill = self._bills[sent.payment_hash]
        pay = Pay(sent, bill, created_index=payer.attempts, status=sent.status, ended_at=sent.at)
        payer.pays[sent.payment_hash].append(pay)
        if sent.status != "failed":
            payer.balance_msat -= pay.total_msat
        if sent.status == "complete":
            self._receive(pay, sent.at)

    def _receive(self, pay: Pay, at: int) -> None:
        """The payee's half of a completed payment."""
        bill = pay.bill
        payee = self.nodes[bill.issued.node]
        payee.balance_msat += pay.sent.amount_msat
        payee.paid.append(bill)
        bill.pay_index, bill.received_msat, bill.paid_at = len(payee.paid), pay.sent.amount_msat, at
        self.fees_msat += pay.sent.fee_msat
