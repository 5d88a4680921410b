"""A simulated Lightning network: real BOLT11 invoices and preimages, payments that take time or fail.

Owns the money and the truth about it. Of each payment is drawn: its seconds, log-normal with median 0.6 and
sigma 0.5; a fee of 0, 1 or 2 msat; whether it fails (2 %: no route, nothing sent), or is stuck (0.3 %: its
end, good or bad, comes after 15 … 120 s). Left out: liquidity that runs dry, probing, fees by route.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field

from benchmarks.sim.world import EPOCH, NETWORK
from oa_compile.swarm.lightning.bolt11 import NodeKey, encode
from oa_compile.swarm.lightning.wallet import Payment


@dataclass(slots=True)
class _Bill:
    """One invoice."""

    msat: int
    preimage: str
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class Lightning:
    """Makes invoices; fulfils `wallet.Wallet` for the one customer there is."""

    kind = "simulated"
    bounds_fees = True

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"lightning {seed}")
        self._node = NodeKey(hashlib.sha256(f"node {seed}".encode()).digest())
        self._bills: dict[str, _Bill] = {}
        self._under_way: dict[str, asyncio.Task[Payment]] = {}
        self.sent: dict[str, int] = {}
        """What truly left the wallet, by payment hash."""
        self.asked: list[str] = []
        """Payment hashes in the order in which the wallet was told to pay them."""

    # -- the payee -------------------------------------------------------------------------------

    def invoice(self, msat: int) -> tuple[str, str]:
        """A new invoice, as BOLT11 and as its payment hash."""
        preimage = self._random.randbytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        self._bills[payment_hash] = _Bill(msat, preimage.hex())
        made = encode(
            self._node,
            payment_hash=payment_hash,
            payment_secret=self._random.randbytes(32).hex(),
            amount_msat=msat,
            network=NETWORK,
            created_at=EPOCH + int(asyncio.get_running_loop().time()),
        )
        return made.bolt11, payment_hash

    async def arrived(self, payment_hash: str, *, seconds: float) -> bool:
        """Whether it was paid within that time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._bills[payment_hash].arrived.wait()
        except TimeoutError:
            return False

    # -- the wallet ------------------------------------------------------------------------------

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:
        self.asked.append(payment_hash)
        going = self._under_way.get(payment_hash)
        if going is None:
            going = asyncio.get_running_loop().create_task(self._go(payment_hash, max_fee_msat))
            self._under_way[payment_hash] = going
        done, _ = await asyncio.wait([going], timeout=seconds)
        return going.result() if done else Payment(payment_hash, "pending")

    async def _go(self, payment_hash: str, max_fee_msat: int) -> Payment:
        lot, bill = self._random, self._bills.get(payment_hash)
        seconds, failed = lot.lognormvariate(-0.51, 0.5), lot.random() < 0.02
        if lot.random() < 0.003:
            seconds, failed = lot.uniform(15.0, 120.0), lot.random() < 0.5
        fee = min(lot.randint(0, 2), max_fee_msat)
        await asyncio.sleep(seconds)
        if bill is None or failed:
            return Payment(payment_hash, "failed", reason="no route")
        self.sent[payment_hash] = bill.msat + fee
        bill.arrived.set()
        return Payment(payment_hash, "complete", bill.msat + fee, bill.preimage)

    async def look_up(self, payment_hash: str, *, seconds: float = 10.0) -> Payment:
        going = self._under_way.get(payment_hash)
        if going is None:
            return Payment(payment_hash, "unknown")
        return going.result() if going.done() else Payment(payment_hash, "pending")

    async def balance_msat(self) -> int | None:
        return None

    async def close(self) -> None:
        pass
