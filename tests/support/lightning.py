"""A Lightning network in memory: tills that make real BOLT11 invoices, and wallets that pay them.

For tests that are not about a wallet. Invoices, payment hashes and preimages are what they are elsewhere;
the money is numbers in a dict. Everything runs on one loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from oa_compile.swarm.lightning.bolt11 import Invoice, NodeKey, decode, encode
from oa_compile.swarm.lightning.own_invoice import OwnInvoice
from oa_compile.swarm.lightning.wallet import Payment, WalletError


@dataclass(eq=False, slots=True)
class Lightning:
    """All invoices there are. `forged` ones count too: who holds the preimage can be paid."""

    network: str = "regtest"
    clock: Callable[[], float] = time.time
    preimages: dict[str, str] = field(default_factory=dict)
    """By payment hash."""
    paid: dict[str, int] = field(default_factory=dict)
    """How often each payment hash was paid."""
    _arrived: dict[str, asyncio.Event] = field(default_factory=dict)

    def till(self) -> MemoryTill:
        """A new node that makes invoices."""
        return MemoryTill(self)

    def wallet(self, balance_msat: int = 10**9) -> MemoryWallet:
        """A new node that pays them."""
        return MemoryWallet(self, balance_msat)

    def secret(self) -> str:
        """A new preimage's payment hash."""
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        self.preimages[payment_hash] = preimage.hex()
        return payment_hash

    def pay(self, bolt11: str) -> str:
        """Pay without a wallet; the preimage. Raises KeyError where nobody holds it."""
        payment_hash = decode(bolt11).payment_hash
        preimage = self.preimages[payment_hash]
        self.paid[payment_hash] = self.paid.get(payment_hash, 0) + 1
        self.arrival(payment_hash).set()
        return preimage

    def arrival(self, payment_hash: str) -> asyncio.Event:
        """Set once it is paid."""
        return self._arrived.setdefault(payment_hash, asyncio.Event())


@dataclass(eq=False)
class MemoryTill:
    """Fulfils swarm.till.Till. As a node does, it refuses a label it has seen."""

    lightning: Lightning
    key: NodeKey = field(default_factory=lambda: NodeKey(secrets.token_bytes(32)))
    invoices: dict[str, Invoice] = field(default_factory=dict)
    """By label."""
    broken: bool = False
    """Whether the node is away."""
    waiting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    """Released each time somebody begins to wait for a payment."""

    async def invoice(self, msat: int, *, label: str, description: str, expiry_seconds: int) -> OwnInvoice:
        self._check()
        if label in self.invoices:
            raise WalletError(f"duplicate label: {label}")
        made = self.invoices[label] = encode(
            self.key,
            payment_hash=self.lightning.secret(),
            payment_secret=secrets.token_hex(32),
            amount_msat=msat,
            network=self.lightning.network,
            created_at=int(self.lightning.clock()),
            expiry_seconds=expiry_seconds,
            description=description,
        )
        return OwnInvoice(made.bolt11, made.payment_hash, msat, made.expires_at)

    async def wait_paid(self, payment_hash: str, *, seconds: float) -> bool:
        self._check()
        self.waiting.release()
        try:
            async with asyncio.timeout(seconds):
                return await self.lightning.arrival(payment_hash).wait()
        except TimeoutError:
            return False

    async def close(self) -> None:
        self.broken = True

    def _check(self) -> None:
        if self.broken:
            raise WalletError("the node is away")


@dataclass(eq=False, slots=True)
class MemoryWallet:
    """Fulfils swarm.wallet.Wallet, pays at once and takes no fees. `asked` holds every invoice it was told
    to pay, also those nobody could be paid for.
    """

    lightning: Lightning
    balance: int
    kind: str = "memory"
    bounds_fees: bool = True
    asked: list[str] = field(default_factory=list)
    payments: dict[str, Payment] = field(default_factory=dict)

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:
        self.asked.append(bolt11)
        earlier = self.payments.get(payment_hash)
        if earlier is not None and earlier.status == "complete":
            return Payment(payment_hash, "complete", earlier.sent_msat, earlier.preimage, repeated=True)
        msat = decode(bolt11).amount_msat or 0
        if payment_hash not in self.lightning.preimages or msat > self.balance:
            self.payments[payment_hash] = Payment(payment_hash, "failed", reason="no route")
        else:
            self.balance -= msat
            preimage = self.lightning.pay(bolt11)
            self.payments[payment_hash] = Payment(payment_hash, "complete", msat, preimage)
        return self.payments[payment_hash]

    async def look_up(self, payment_hash: str, *, seconds: float = 10.0) -> Payment:
        return self.payments.get(payment_hash, Payment(payment_hash, "unknown"))

    async def balance_msat(self) -> int | None:
        return self.balance

    async def close(self) -> None:
        pass
