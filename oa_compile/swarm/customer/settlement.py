"""Settling tabs: one invoice for many answers.

Owns when a settlement is begun and what becomes of it; how much is owed is `tab`'s, how an invoice is paid
`payment`'s matter.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from oa_compile.chat import ChatRequest
from oa_compile.errors import BudgetExhausted
from oa_compile.swarm.customer.attempt import SettlementAttempt
from oa_compile.swarm.customer.exchange import with_payment
from oa_compile.swarm.customer.tab import Due, Tabs
from oa_compile.swarm.protocol.nip90 import Job
from oa_compile.swarm.receipt import Receipt

if TYPE_CHECKING:
    from oa_compile.swarm.customer.customer import Customer

_MOST_FAILURES = 3
"""Settlements of one provider that may fail before it must wait for the end of the run."""


class Settlements:
    """The tabs of a customer, and the paying of them."""

    def __init__(self, tabs: Tabs, *, reserve: Callable[[str], SettlementAttempt]) -> None:
        """`reserve` sets aside the fee of a settlement with the provider it is given; it blocks, and raises
        BudgetExhausted.
        """
        self.tabs = tabs
        self._reserve = reserve
        self._failures: dict[str, int] = {}
        self._finishing = False

    def owe(self, customer: Customer, receipt: Receipt) -> None:
        """An answer came on the tab; settles it when it is due."""
        self.tabs.owe(receipt.provider, job=receipt.job, msat=receipt.price_msat)
        if self._failures.get(receipt.provider, 0) < _MOST_FAILURES:
            self._begin(customer, receipt.provider, at_end=False)

    def finish(self, customer: Customer) -> None:
        """Begin to settle everything that is owed."""
        self._finishing = True
        for provider in self.tabs.providers:
            self._begin(customer, provider, at_end=True)

    def _begin(self, customer: Customer, provider: str, *, at_end: bool) -> None:
        due = self.tabs.due(provider, at_end=at_end)
        if due is not None:
            customer.background.run(self._settle(customer, provider, due))

    async def _settle(self, customer: Customer, provider: str, due: Due) -> None:
        try:
            attempt = await customer.offload(self._reserve, provider)
        except BudgetExhausted:
            self._failed(provider)
            return
        job = Job(
            chat=ChatRequest(()),
            bid_msat=due.msat,
            provider=provider,
            nonce=secrets.token_hex(8),
            settles=due.jobs,
        )
        ended = await customer.start(job, attempt, "settlement").done
        fault, receipt = ended.fault, ended.receipt
        if ended.pending and customer.payments is not None:
            # The jobs stay in settlement: neither owed again nor paid until the wallet knows.
            attempt.pending()
            payment = await customer.payments.ended(ended.pending)
            receipt = with_payment(receipt, payment, wallet=customer.payments.wallet.kind)
            if payment.status == "complete":
                fault = None
        if fault is not None:
            self._failed(provider)
            attempt.failed(fault, receipt)
            return
        attempt.paid(receipt)
        self.ended(customer, provider, paid=True)

    def ended(self, customer: Customer, provider: str, *, paid: bool) -> None:
        """A settlement is over, maybe one that a dead process had begun; goes on with what is due now."""
        if paid:
            self.tabs.settled(provider)
            self._failures.pop(provider, None)
        else:
            self._failed(provider)
        self._begin(customer, provider, at_end=self._finishing)

    def _failed(self, provider: str) -> None:
        self.tabs.put_back(provider)
        self._failures[provider] = self._failures.get(provider, 0) + 1
