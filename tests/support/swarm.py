"""A customer under test: a real relay on loopback, service providers as a test scripts them, a wallet.

::

    async with Swarm() as swarm:
        await swarm.provider(LIES["silent"](), price=10)
        await swarm.provider(result_first, price=20)
        customer = await swarm.customer(deadline=0.5)
        call = Call(customer)
        assert (await call.ask()).text == "yes"
        assert call.outcomes == ["failed", "answered"]
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import BudgetExhausted
from oa_compile.swarm.customer.attempt import Intent, JobFault
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.customer.errand import Asked as Errands
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.customer.settlement import Settlements
from oa_compile.swarm.customer.tab import Tabs, TabTerms
from oa_compile.swarm.customer.terms import Terms
from oa_compile.swarm.lightning.wallet import Wallet
from oa_compile.swarm.market.choice import Choice
from oa_compile.swarm.market.market import Market
from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.nip89 import Handler, draft_handler
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.receipt import Receipt
from oa_compile.swarm.relays.network import Network
from oa_compile.swarm.relays.relays import Relays
from tests.support.customers import chat
from tests.support.lightning import Lightning, MemoryWallet
from tests.support.providers import Script, ScriptedProvider
from tests.support.relay_proxy import RelayProxy
from tests.support.relays import local_relay, network

BID = 20
PATIENT = Choice(newcomer_jobs=64, newcomer_bids=1e6, risk_bids=1e6)
"""A market that trusts whoever comes: what is under test is what the customer does with them."""


@dataclass(eq=False, slots=True)
class Seat:
    """Fulfils swarm.attempt.Attempt and SettlementAttempt: remembers."""

    outcome: str = "open"
    intents: list[Intent] = field(default_factory=list)
    receipt: Receipt | None = None
    fault: JobFault | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def intend(self, intent: Intent, *, sync: bool = True) -> None:
        assert self.outcome == "open", f"an intent of an attempt that is {self.outcome}"
        self.intents.append(intent)

    def pending(self) -> None:
        assert self.outcome == "open", f"a payment of an attempt that is {self.outcome}"

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
        assert self.outcome == "open", f"ended twice: {self.outcome}, then {outcome}"
        self.outcome, self.receipt = outcome, receipt
        self.ended.set()


@dataclass(eq=False, slots=True)
class Call:
    """One call of a customer, and all its attempts. `room` is how many may be reserved."""

    customer: Customer
    room: int = 100
    seats: list[Seat] = field(default_factory=list)

    def reserve(self) -> Seat:
        """One more attempt. Raises BudgetExhausted past `room`."""
        if len(self.seats) >= self.room:
            raise BudgetExhausted("the cap run.calls is reached", cap="run.calls")
        self.seats.append(Seat())
        return self.seats[-1]

    async def ask(self, request: ChatRequest | None = None, **fields: Any) -> ChatAnswer:
        """The answer."""
        wanted = {"most_tokens": 10_000} | fields
        asked = Errands(request or chat(), more=self.reserve, spare=self.reserve, **wanted)
        return await self.customer.ask(asked, self.reserve())

    @property
    def outcomes(self) -> list[str]:
        """What became of each attempt, in order of reservation."""
        return [seat.outcome for seat in self.seats]

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts of those that have ended."""
        return [seat.receipt for seat in self.seats if seat.receipt is not None]

    @property
    def paid_msat(self) -> int:
        """What left the wallet, as the receipts say."""
        return sum(receipt.paid_msat for receipt in self.receipts)


@dataclass(eq=False, slots=True)
class Swarm:
    """A relay, a Lightning network and whoever is put on them; all of it ends with the block."""

    lightning: Lightning = field(default_factory=Lightning)
    proxied: bool = False
    """Customers speak with the relay through `proxy`; providers do not."""
    nip42: bool = False
    providers: list[ScriptedProvider] = field(default_factory=list)
    _url: str = ""
    _proxy: RelayProxy | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        self._url = await self._stack.enter_async_context(local_relay(nip42=self.nip42))
        if self.proxied:
            self._proxy = await self._stack.enter_async_context(RelayProxy(self._url))
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    @property
    def proxy(self) -> RelayProxy:
        """What stands between customers and the relay."""
        assert self._proxy is not None, "Swarm(proxied=True)"
        return self._proxy

    @property
    def url(self) -> str:
        """The relay, as customers reach it."""
        return self._url if self._proxy is None else self._proxy.url

    async def network(self, keys: Keys) -> Relays:
        """A connection of its own to the relay, not through the proxy."""
        return await self._stack.enter_async_context(network(self._url, keys=keys))

    async def provider(
        self,
        script: Script,
        *,
        price: int = BID,
        keys: Keys | None = None,
        encrypted: bool = True,
        **says: Any,
    ) -> ScriptedProvider:
        """A provider that announces its price (and what `says` says) and plays `script` for each job."""
        own = keys or Keys.generate()
        relays = await self.network(own)
        provider = ScriptedProvider(
            own,
            relays,
            script,
            till=self.lightning.till(),
            cipher=SealCipher(own) if encrypted else None,
        )
        await self._stack.enter_async_context(provider)
        handler = Handler(
            own.public, price_msat=price, network="regtest", created_at=int(time.time()), **says
        )
        await relays.publish(own.sign(draft_handler(handler)))
        self.providers.append(provider)
        return provider

    async def customer(
        self,
        *,
        wallet: Wallet | None = None,
        seen: Collection[str] = (),
        tab: TabTerms | None = None,
        reserve: Callable[[str], Seat] | None = None,
        choice: Choice = PATIENT,
        wrap: Callable[[Network], Network] = lambda own: own,
        pay_seconds: float = 5.0,
        **terms: Any,
    ) -> Customer:
        """A customer that knows all providers that are there, and pays with `wallet`."""
        keys = Keys.generate()
        relays = Relays([self.url], keys=keys, resend_seconds=0.1, sends=5)
        await relays.open()
        asked = Terms(
            **({"bid_msat": BID, "deadline": 5.0, "hedge_after": 0.0, "lightning": "regtest"} | terms)
        )
        settlements = None
        if tab is not None:
            settlements = Settlements(Tabs(tab), reserve=reserve or (lambda _provider: Seat()))
        customer = Customer(
            keys=keys,
            network=wrap(relays),
            market=Market(
                bid_msat=asked.bid_msat, seed=7, network="regtest", choice=choice, allow=asked.providers
            ),
            terms=asked,
            cipher=SealCipher(keys),
            settlements=settlements,
        )
        customer.payments = Payments(
            wallet or self.lightning.wallet(),
            network="regtest",
            max_fee_msat=5,
            seconds=pay_seconds,
            seen=set(seen),
            offload=customer.offload,
        )
        await customer.open()
        self._stack.push_async_callback(customer.close, seconds=2.0)
        among = asked.providers or {provider.keys.public for provider in self.providers}
        while not among <= {row.provider for row in customer.market.explain() if row.price_msat is not None}:
            await customer.change(1.0)
        return customer


class SlowWallet(MemoryWallet):
    """Pays when the test says so."""

    def __init__(self, lightning: Lightning, balance_msat: int = 10**9) -> None:
        super().__init__(lightning, balance_msat)
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function as a test."""

    async def timed() -> None:
        async with asyncio.timeout(25):
            await test()

    asyncio.run(timed())


def nonce() -> str:
    """Something new."""
    return secrets.token_hex(8)
