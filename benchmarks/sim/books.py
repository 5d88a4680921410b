"""The books of a simulated run: every attempt, ended once, and held against what the wallet says.

Owns what must hold of any run, whatever providers, relays and wallet do, and raises Broken where it does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.sim.lightning import Lightning
from oa_compile.chat import ChatAnswer
from oa_compile.swarm.customer.attempt import Intent, JobFault
from oa_compile.swarm.receipt import Receipt


class Broken(AssertionError):
    """Money or an attempt is not where the books say it is."""


@dataclass(eq=False, slots=True)
class Seat:
    """Fulfils swarm.attempt.Attempt and SettlementAttempt."""

    books: Books
    outcome: str = ""
    receipt: Receipt | None = None
    fault: JobFault | None = None

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        self.books.intend(self, intent)

    def pending(self) -> None:
        """Nothing waits for room here."""

    def answered(self, answer: ChatAnswer, receipt: Receipt) -> None:
        self._end("answered", receipt)

    def unused(self, answer: ChatAnswer, receipt: Receipt) -> None:
        self._end("unused", receipt)

    def paid(self, receipt: Receipt) -> None:
        self._end("paid", receipt)

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        self.fault = fault
        self._end("failed", receipt)

    def _end(self, outcome: str, receipt: Receipt) -> None:
        if self.outcome:
            raise Broken(f"an attempt ended twice: {self.outcome}, then {outcome}: {receipt}")
        self.outcome, self.receipt = outcome, receipt
        self.books.ended()


@dataclass(eq=False, slots=True)
class Books:
    """All attempts of one run, settlements included."""

    lightning: Lightning
    seats: list[Seat] = field(default_factory=list)
    intents: dict[str, int] = field(default_factory=dict)
    """Most that may leave the wallet, by payment hash."""
    _open: int = 0
    _all_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reserve(self, _provider: str = "") -> Seat:
        """One more attempt."""
        self._open += 1
        self._all_ended.clear()
        self.seats.append(Seat(self))
        return self.seats[-1]

    def intend(self, seat: Seat, intent: Intent) -> None:
        """The intent to pay, told before the wallet is."""
        if seat.outcome:
            raise Broken(f"an attempt that is {seat.outcome} means to pay: {intent}")
        if intent.payment_hash in self.intents or intent.payment_hash in self.lightning.asked:
            raise Broken(f"a payment hash is paid twice: {intent}")
        self.intents[intent.payment_hash] = intent.msat + intent.max_fee_msat

    def ended(self) -> None:
        """An attempt has ended."""
        self._open -= 1
        if not self._open:
            self._all_ended.set()

    async def all_ended(self, *, seconds: float) -> None:
        """Wait until no attempt is open. Raises Broken if one still is after that time."""
        try:
            async with asyncio.timeout(seconds):
                while self._open:
                    await self._all_ended.wait()
        except TimeoutError:
            raise Broken(f"{self._open} attempts never ended") from None

    @property
    def receipts(self) -> list[Receipt]:
        """Of all that have ended."""
        return [seat.receipt for seat in self.seats if seat.receipt is not None]

    def check(self) -> None:
        """Every attempt ended; what receipts say was paid is what the wallet sent, invoice by invoice."""
        if self._open:
            raise Broken(f"{self._open} attempts never ended")
        told: Counter[str] = Counter()
        for receipt in self.receipts:
            if receipt.paid_msat:
                told[receipt.payment_hash] += receipt.paid_msat
        sent = self.lightning.sent
        if told != Counter(sent):
            wrong = [one for one in told.keys() | sent.keys() if told[one] != sent.get(one, 0)]
            raise Broken(
                f"{len(wrong)} payments differ: receipts {sum(told.values())}, wallet {sum(sent.values())}"
            )
        if max(Counter(self.lightning.asked).values(), default=0) > 1:
            raise Broken("the wallet was asked twice for one payment hash")
        if any(msat > self.intents.get(one, 0) for one, msat in sent.items()):
            raise Broken("more was sent than intended")
