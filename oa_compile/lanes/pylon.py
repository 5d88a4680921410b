"""The swarm as a lane: a call becomes a job of service providers on Nostr relays, paid over Lightning.

Owns the translation between a run and the swarm's customer: accounts and attempts, faults, what a policy
lets out, what a dead process may have paid. How an answer is got is `swarm`'s matter.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oa_compile.chat import ChatAnswer, ChatRequest, prompt_bytes
from oa_compile.digest import PREFIX
from oa_compile.errors import LaneError, UsageError
from oa_compile.lanes.lane import Account, Attempted, Books, LaneFault, Left, Quote, RequestRefused, Spent
from oa_compile.lanes.rollout import current
from oa_compile.money import Rate, parse_amount
from oa_compile.spec.config import WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm.connect import Connection, Settings
from oa_compile.swarm.customer.attempt import Intent, JobFault
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.customer.errand import Asked
from oa_compile.swarm.customer.exchange import Observe, unobserved
from oa_compile.swarm.customer.left import receipt_of
from oa_compile.swarm.local_swarm import ProviderEnd
from oa_compile.swarm.loop import shared_loop
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.privacy.privacy import (
    RULES,
    PrivacyPolicy,
    PromptTooLarge,
    SchemaTellsSecret,
    Sealed,
    seal,
)
from oa_compile.swarm.receipt import Receipt, read_receipt

_MESSAGE_TOKENS = 16
"""Most a provider's chat template adds to a message, and to a conversation."""

_LOT = 1 << 32


class PylonLane:
    """A `Lane` of service providers. Connects when the first call is made.

    `home` is the folder where a swarm of this machine keeps its books; `records` are read once, when
    connecting; `observe` is told, on the loop, what happens to jobs. Raises UsageError for a key or a
    wallet that cannot be.
    """

    kind = "pylon"
    asks_many = True

    def __init__(
        self,
        name: str,
        spec: PylonLaneSpec,
        *,
        wallet: WalletSpec,
        rate: Rate,
        secrets: Callable[[str], str | None],
        seed: int = 0,
        home: Path | None = None,
        records: Callable[[], Mapping[str, ProviderRecord]] = dict,
        observe: Observe = unobserved,
    ) -> None:
        self.name = name
        self.concurrency = spec.concurrency
        self._spec = spec
        mode = spec.privacy_in_force
        self.policy = PrivacyPolicy(mode, spec.max_prompt_bytes, frozenset(spec.providers))
        model = spec.model or (spec.local.model if spec.is_local else "any")
        # What a policy replaces decides what is asked, and so what is answered; and whoever reads the
        # journal or the artifact sees which one was in force.
        self.identity = f"pylon:{model} privacy:{mode}@{RULES}"
        self._bid = parse_amount(spec.bid, rate)
        self._max_fee = parse_amount(spec.max_fee, rate)
        settings = Settings.of(
            spec, wallet=wallet, rate=rate, secrets=secrets, seed=seed, home=home, label=name
        )
        self._connection = Connection(
            settings, records=records, settle=self._settlement, observe=observe, ended=self._provider_ended
        )
        self._loop = shared_loop()
        self._opening = threading.Lock()
        self._customer: Customer | None = None
        self._books: Books | None = None

    def __repr__(self) -> str:
        return f"PylonLane({self.name!r}, {self.identity!r})"

    def quote(self, request: ChatRequest) -> Quote:
        """The bid and a payment's largest fee; at most a token for each byte of the prompt."""
        prompt = prompt_bytes(request) + _MESSAGE_TOKENS * (len(request.messages) + 4)
        return Quote(self._bid + self._max_fee, prompt + self._max_tokens(request))

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """Answer `request`. Raises LaneFault when no provider did, RequestRefused when the policy does not
        let it out; UsageError or LaneError, before anything is reserved, when the swarm cannot be reached.
        """
        customer = self._opened(account)
        quote = self.quote(request)
        sealed = self._sealed(request, account.key)
        if isinstance(sealed, RequestRefused):
            account.attempt(self.name, quote).refused(sealed)
            raise sealed
        asked = Asked(
            sealed.request,
            more=lambda: _Seat(account.attempt(self.name, quote), quote),
            spare=lambda: _Seat(account.attempt(self.name, quote, wait=False), quote),
            most_tokens=quote.tokens,
            restore=sealed.restore,
            lot=int(account.key[-8:], 16) / _LOT,
            avoid=rollout.avoid if (rollout := current()) else frozenset(),
        )
        first = _Seat(account.attempt(self.name, quote), quote)
        try:
            return self._loop.ask(customer.ask(asked, first))
        except JobFault as fault:
            raise LaneFault(fault.kind, fault.message) from fault

    def close(self) -> None:
        """Settle tabs, let go of relays, wallet and a swarm of this machine. Safe to call twice."""
        with self._opening:
            self._customer = None
            self._connection.close()

    # -- Payer -----------------------------------------------------------------------------------

    def take_up(self, books: Books) -> None:
        """The run's books: what was paid and is owed."""
        self._books = books

    def reconcile(self, intent: Intent, *, written: float) -> Spent | None:
        """Ask the wallet what became of a payment that a dead process began."""
        payment = self._connection.look_up(intent.payment_hash)
        unsure = payment.status != "complete" and self._connection.may_come(written) > 0
        if payment.status == "pending" or unsure:
            return None
        return _spent(receipt_of(intent, payment))

    def settle(self) -> None:
        """Connect if a tab is open, or a payment of a dead process, and no call had need of it: `close`
        waits for their ends. Without relays or wallet they stay for the next time.
        """
        books = self._books
        if books is None or self._customer is not None:
            return
        if books.left() or self._connection.owes(_receipts(books)):
            with contextlib.suppress(LaneError):
                self._opened()

    # -- inside ----------------------------------------------------------------------------------

    def _opened(self, account: Account | None = None) -> Customer:
        customer = self._customer
        if customer is None:
            with self._opening:
                if self._customer is None:
                    if account is not None:
                        account.pause(0)  # who waited for one that failed need not fail as slowly
                    self._customer = self._open()
                customer = self._customer
        return customer

    def _open(self) -> Customer:
        books = self._books
        if books is None:
            return self._connection.open()
        left = [_Left(one) for one in books.left()]
        return self._connection.open(receipts=_receipts(books), hashes=books.payment_hashes(), left=left)

    def _provider_ended(self, end: ProviderEnd) -> None:
        if self._books is not None:
            self._books.note("provider", end.text)

    def _settlement(self, provider: str) -> _Settling:
        if self._books is None:
            raise UsageError(f"lane `{self.name}` keeps tabs only within a run")
        quote = Quote(self._max_fee, 0)
        return _Settling(self._books.settlement(self.name, f"tab:{provider}", quote))

    def _max_tokens(self, request: ChatRequest) -> int:
        return self._spec.max_tokens if request.max_tokens is None else request.max_tokens

    def _sealed(self, request: ChatRequest, key: str) -> Sealed | RequestRefused:
        try:
            return seal(self._filled(request, key), self.policy)
        except PromptTooLarge as error:
            return RequestRefused(
                f"the prompt is too long for the swarm: {error}",
                hint="raise max_prompt_bytes of the lane, or use fewer or shorter demos",
            )
        except SchemaTellsSecret as error:
            return RequestRefused(f"the request may not leave for the swarm: {error}")

    def _filled(self, request: ChatRequest, key: str) -> ChatRequest:
        """Every setting said: what a provider has for a default is nobody's choice, and a seed of the
        call's own makes the same call sample the same answer wherever it is asked again.
        """
        temperature = self._spec.temperature if request.temperature is None else request.temperature
        seed = request.seed
        if temperature > 0 and seed is None:
            seed = int(key.removeprefix(PREFIX)[:8], 16) >> 1
        return ChatRequest(
            request.messages,
            max_tokens=self._max_tokens(request),
            temperature=temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            stop=request.stop,
            seed=seed,
            response_format=request.response_format,
        )


def _receipts(books: Books) -> list[Receipt]:
    read = (read_receipt(receipt) for receipt in books.receipts())
    return [receipt for receipt in read if receipt is not None]


def _spent(receipt: Receipt) -> Spent:
    """What an attempt without an answer has cost."""
    return Spent(receipt.charged_msat, 0, receipt.as_dict())


@dataclass(frozen=True, slots=True)
class _Seat:
    """Fulfils swarm.attempt.Attempt with an attempt of the run."""

    attempted: Attempted
    quote: Quote

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        self.attempted.intend(intent, sync=sync)

    def pending(self) -> None:
        self.attempted.pending()

    def answered(self, answer: ChatAnswer, receipt: Receipt) -> None:
        self.attempted.answered(answer, self._spent(answer, receipt))

    def unused(self, answer: ChatAnswer, receipt: Receipt) -> None:
        self.attempted.unused(answer, self._spent(answer, receipt))

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        self.attempted.failed(LaneFault(fault.kind, fault.message), _spent(receipt))

    def _spent(self, answer: ChatAnswer, receipt: Receipt) -> Spent:
        # A provider that says nothing of tokens is charged for as many as there can be.
        tokens = answer.usage.total or self.quote.tokens
        return Spent(receipt.charged_msat, tokens, receipt.as_dict())


@dataclass(frozen=True, slots=True)
class _Left:
    """Fulfils swarm.attempt.LeftAttempt."""

    attempt: Left

    @property
    def intent(self) -> Intent:
        return self.attempt.intent

    @property
    def written(self) -> float:
        return self.attempt.written

    def lost(self, receipt: Receipt) -> None:
        self.attempt.lost(_spent(receipt))


@dataclass(frozen=True, slots=True)
class _Settling:
    """Fulfils swarm.attempt.SettlementAttempt."""

    attempted: Attempted

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        self.attempted.intend(intent, sync=sync)

    def pending(self) -> None:
        self.attempted.pending()

    def paid(self, receipt: Receipt) -> None:
        self.attempted.paid(_spent(receipt))

    def failed(self, fault: JobFault, receipt: Receipt) -> None:
        self.attempted.failed(LaneFault(fault.kind, fault.message), _spent(receipt))
