"""From a lane's settings to a customer at work: keys, relays, wallet, market, tabs, a swarm of this machine.

Owns what is opened, in which order, and that all of it is let go of; called from any thread, works on the
process's loop.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from oa_compile.errors import LaneError, UsageError
from oa_compile.money import Rate, parse_amount
from oa_compile.spec.config import WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm.customer.attempt import LeftAttempt, SettlementAttempt
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.customer.exchange import Observe, unobserved
from oa_compile.swarm.customer.left import see_end
from oa_compile.swarm.customer.payment import Payments, may_come
from oa_compile.swarm.customer.settlement import Settlements
from oa_compile.swarm.customer.tab import Tabs, TabTerms
from oa_compile.swarm.customer.terms import Terms
from oa_compile.swarm.key_file import kept_keys
from oa_compile.swarm.lightning.wallet import Payment, Wallet
from oa_compile.swarm.local_swarm import LocalSwarm, Plan, ProviderEnd
from oa_compile.swarm.loop import shared_loop
from oa_compile.swarm.market.choice import Choice
from oa_compile.swarm.market.market import Market
from oa_compile.swarm.market.record import ProviderRecord
from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.receipt import Receipt
from oa_compile.swarm.relays.relays import Relays

Result = TypeVar("Result")

KEY_NAME = "nostr.key"
OPENING_SECONDS = 60.0
CLOSING_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a connection is made of, amounts in msat. `local` is set when the swarm is this
    machine's. Without `keys`, those in `key_file` are used, made when there are none yet: whoever keeps a
    tab must be the same customer when the run goes on. Without both they are new.
    """

    keys: Keys | None
    key_file: Path | None
    terms: Terms
    relays: tuple[str, ...]
    wallet: WalletSpec
    nwc_uri: str
    max_fee_msat: int
    tab: TabTerms
    seed: int
    local: Plan | None

    @classmethod
    def of(
        cls,
        spec: PylonLaneSpec,
        *,
        wallet: WalletSpec,
        rate: Rate,
        secrets: Callable[[str], str | None],
        seed: int,
        home: Path | None,
        label: str,
    ) -> Settings:
        """From a lane's spec. Raises UsageError for a secret that is named and not there."""
        keys = None
        if spec.key_env:
            keys = Keys.from_hex(_secret(secrets, spec.key_env, what=f"lane `{label}`: the secret Nostr key"))
        uri = ""
        if wallet.kind == "nwc":
            uri = _secret(secrets, wallet.uri_env, what="the wallet's nostr+walletconnect:// address")
        terms = Terms(
            bid_msat=parse_amount(spec.bid, rate),
            model=spec.model,
            deadline=spec.deadline,
            hedge_after=spec.hedge_after,
            attempts=spec.attempts,
            audit=spec.audit_in_force,
            encrypt=spec.encrypt,
            lightning="regtest" if spec.is_local else spec.network,
            providers=frozenset(spec.providers),
        )
        return cls(
            keys=keys,
            key_file=home / KEY_NAME if home is not None else None,
            terms=terms,
            relays=spec.relays,
            wallet=wallet,
            nwc_uri=uri,
            max_fee_msat=parse_amount(spec.max_fee, rate),
            tab=TabTerms(
                spec.tab.jobs, parse_amount(spec.tab.cost, rate), parse_amount(spec.tab.limit, rate)
            ),
            seed=seed,
            local=_plan(spec, rate, home) if spec.is_local else None,
        )


def _secret(secrets: Callable[[str], str | None], name: str, *, what: str) -> str:
    value = secrets(name)
    if not value:
        raise UsageError(f"{what} is wanted in the variable {name}, which is not set")
    return value


def _kept(path: Path | None) -> Keys:
    return Keys.generate() if path is None else kept_keys(path)


def _plan(spec: PylonLaneSpec, rate: Rate, home: Path | None) -> Plan:
    local = spec.local
    return Plan(
        folder=home,
        providers=local.providers,
        lane=f"embedded:{local.model}",
        price_msat=parse_amount(local.price, rate),
        order=local.order,
        balance_msat=parse_amount(local.balance, rate),
        tab_limit_msat=parse_amount(spec.tab.limit, rate) if spec.tab.jobs else 0,
    )


class Connection:
    """Opens what a customer needs when it is needed. Safe from many threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        records: Callable[[], Mapping[str, ProviderRecord]],
        settle: Callable[[str], SettlementAttempt],
        observe: Observe = unobserved,
        ended: Callable[[ProviderEnd], None] = lambda _end: None,
    ) -> None:
        """`records` are read when connecting; `settle` reserves for the settlement of a tab; `observe` is
        told, on the loop, what happens to jobs; `ended`, on another thread, of each provider of a swarm of
        this machine that ended by itself.
        """
        self.settings = settings
        self._records = records
        self._settle = settle
        self._observe = observe
        self._ended = ended
        self._loop = shared_loop()
        self._lock = threading.Lock()
        self._local: LocalSwarm | None = None
        self._wallet: Wallet | None = None
        self._customer: Customer | None = None

    def open(
        self,
        *,
        receipts: Iterable[Receipt] = (),
        hashes: Iterable[str] = (),
        left: Sequence[LeftAttempt] = (),
    ) -> Customer:
        """A customer that is subscribed and knows providers; it ends what was left when that is possible.
        Raises LaneError or UsageError.
        """
        wallet = self._opened_wallet()
        relays = self._started().relays if self.settings.local is not None else self.settings.relays
        tabs = self._tabs(receipts, left)
        settlements = None
        if self.settings.tab.jobs or tabs.providers:  # what is owed is owed, also when tabs were switched off
            settlements = Settlements(tabs, reserve=self._settle)
        opening = self._open(wallet, relays, settlements, set(hashes), left)
        self._customer = self._wait(opening, what="connecting to the swarm")
        return self._customer

    def owes(self, receipts: Iterable[Receipt]) -> bool:
        """Whether these receipts leave something unpaid on a tab."""
        return bool(self._tabs(receipts, ()).providers)

    def _tabs(self, receipts: Iterable[Receipt], left: Sequence[LeftAttempt]) -> Tabs:
        settling = [job for one in left for job in one.intent.settles]
        return Tabs(self.settings.tab, receipts=receipts, settling=settling)

    async def _open(
        self,
        wallet: Wallet,
        urls: tuple[str, ...],
        settlements: Settlements | None,
        hashes: set[str],
        left: Sequence[LeftAttempt],
    ) -> Customer:
        settings = self.settings
        keys = settings.keys or _kept(settings.key_file)
        network = Relays(urls, keys=keys)
        await network.open()
        customer = Customer(
            keys=keys,
            network=network,
            market=Market(
                bid_msat=settings.terms.bid_msat,
                seed=settings.seed,
                allow=settings.terms.providers,
                records=self._records(),
                network=settings.terms.lightning,
                choice=self._choice(),
            ),
            terms=settings.terms,
            payments=None,
            cipher=SealCipher(keys),
            settlements=settlements,
            observe=self._observe,
        )
        customer.payments = payments = Payments(
            wallet,
            network=settings.terms.lightning,
            max_fee_msat=settings.max_fee_msat,
            seconds=settings.wallet.pay_seconds,
            seen=hashes,
            offload=customer.offload,
        )
        try:
            await customer.open()
        except BaseException:
            await customer.close(seconds=0)
            raise
        for one in left:
            customer.background.run(see_end(customer, payments, one, may_come=self.may_come(one.written)))
        return customer

    def _choice(self) -> Choice | None:
        """Our own providers need not earn any trust."""
        return Choice(newcomer_jobs=64, newcomer_bids=1e6, risk_bids=1e6) if self.settings.local else None

    def may_come(self, written: float) -> float:
        """For how many seconds more a payment may be made whose intent a dead process wrote at `written`."""
        return may_come(written, seconds=self.settings.wallet.pay_seconds, now=time.time())

    def look_up(self, payment_hash: str) -> Payment:
        """What the wallet says of a payment. Raises LaneError."""
        asking = self._opened_wallet().look_up(payment_hash)
        return self._wait(asking, what="asking the wallet about a payment")

    def _wait(self, work: Coroutine[Any, Any, Result], *, what: str) -> Result:
        try:
            return self._loop.run(work, seconds=OPENING_SECONDS)
        except TimeoutError as error:
            raise LaneError(
                f"{what} took more than {OPENING_SECONDS:.0f} s",
                hint="see `oacompile doctor` with this config, and go on with --resume",
            ) from error

    def _opened_wallet(self) -> Wallet:
        with self._lock:
            if self._wallet is None:
                if self.settings.local is not None:
                    self._started()  # takes seconds, which the loop must not wait for
                self._wallet = self._loop.run(self._new_wallet())
            return self._wallet

    async def _new_wallet(self) -> Wallet:
        spec = self.settings.wallet
        if spec.kind == "nwc":
            from oa_compile.swarm.lightning.nwc import NwcWallet

            return NwcWallet(self.settings.nwc_uri)
        from oa_compile.swarm.lightning.cln import ClnWallet

        path = self._started().wallet if not spec.rpc else Path(spec.rpc).expanduser()
        return ClnWallet(path, kind=spec.kind)

    def _started(self) -> LocalSwarm:
        """The swarm of this machine, running."""
        if self.settings.local is None:
            raise UsageError("a wallet of kind `ledger` on named relays needs `rpc`, the ledger's socket")
        if self._local is None:
            self._local = LocalSwarm(self.settings.local, ended=self._ended)
        self._local.start()
        return self._local

    def close(self) -> None:
        """Let go of everything that was opened. Safe to call twice. Raises, when all is closed, what broke
        where nobody waited for it (see `Customer.close`).
        """
        customer, self._customer = self._customer, None
        wallet, self._wallet = self._wallet, None
        local, self._local = self._local, None
        with contextlib.ExitStack() as closing:  # the last one first
            if local is not None:
                closing.callback(local.close)
            if wallet is not None:
                closing.callback(self._close, wallet.close(), seconds=CLOSING_SECONDS)
            if customer is not None:
                leaving = customer.close(seconds=CLOSING_SECONDS)
                closing.callback(self._close, leaving, seconds=2 * CLOSING_SECONDS)

    def _close(self, work: Coroutine[Any, Any, None], *, seconds: float) -> None:
        """What will not close in time goes with the process: all that matters is in the journal."""
        with contextlib.suppress(TimeoutError):
            self._loop.run(work, seconds=seconds)
