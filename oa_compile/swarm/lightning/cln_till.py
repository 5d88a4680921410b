"""A Core Lightning node as a service provider's till: invoices made, and seen paid.

Owns one `waitanyinvoice` at a time, however many invoices are open, and none while nobody waits for one:
whoever sends invoices with results need not see each of them paid. Fulfils `till.Till`; over the embedded
ledger too. What is sold, and for how much, is the provider's matter.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from oa_compile.swarm.lightning.cln_rpc import ClnRpc, Cut, Refused, Reply
from oa_compile.swarm.lightning.own_invoice import OwnInvoice
from oa_compile.swarm.lightning.wallet import WalletError

WAIT_TIMED_OUT = 904
WATCH_SECONDS = 30
"""How long one `waitanyinvoice` waits; another follows."""
AGAIN_SECONDS = 1.0
"""Before a node that went away is asked again."""
PATIENCE_SECONDS = 10.0
MOST_REMEMBERED = 100_000
"""Invoices whose payment is remembered; older ones are looked up when somebody asks."""


@dataclass(eq=False, slots=True)
class _Watch:
    """Sees what is paid from the moment it is live, as long as somebody waits."""

    live: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


@dataclass(eq=False, slots=True)
class _Bill:
    """An invoice: done when it is seen paid, by a watch that was live before it could be."""

    paid: asyncio.Future[None]
    watch: _Watch | None


class ClnTill:
    """The receiving half of a node. Belongs to the loop that opens it."""

    def __init__(self, rpc_path: Path) -> None:
        self._rpc = ClnRpc(rpc_path)
        self._open = False
        self._last = 0
        self._waiting = 0
        self._watch: _Watch | None = None
        self._known: OrderedDict[str, _Bill] = OrderedDict()

    async def open(self) -> None:
        """Payments are seen from now on. Raises WalletError."""
        if not self._open:
            self._last = await self._last_paid(self._last)
            self._open = True

    async def invoice(self, msat: int, *, label: str, description: str, expiry_seconds: int) -> OwnInvoice:
        """A new invoice over `msat`. Raises WalletError, for a label used before too."""
        wanted: Reply = {"amount_msat": msat, "label": label, "description": description}
        told = await self._rpc.ask("invoice", wanted | {"expiry": expiry_seconds}, seconds=PATIENCE_SECONDS)
        match told:
            case {"bolt11": str(text), "payment_hash": str(payment_hash), "expires_at": int(expires_at)}:
                self._bill(payment_hash).watch = self._live_watch
                return OwnInvoice(text, payment_hash, msat, expires_at)
        raise WalletError(f"{self._rpc.path}: the node made no invoice, or told it in other words")

    async def wait_paid(self, payment_hash: str, *, seconds: float) -> bool:
        """Whether it is paid, waiting at most so long. An invoice of another process, or one that was not
        seen paid in time, is looked up. Raises WalletError.
        """
        bill = self._bill(payment_hash)
        if bill.paid.done():
            return True
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        self._waiting += 1
        try:
            if not await self._is_watched(bill, until) and await self._is_paid(payment_hash):
                return True
            if not bill.paid.done():
                await asyncio.wait({bill.paid}, timeout=until - clock())
        finally:
            self._waiting -= 1
        return bill.paid.done() or await self._is_paid(payment_hash)

    async def close(self) -> None:
        """Stop watching. Safe to call twice."""
        self._open = False
        watch, self._watch = self._watch, None
        if watch is not None and watch.task is not None:
            watch.task.cancel()
            await asyncio.gather(watch.task, return_exceptions=True)
        self._rpc.close()

    @property
    def _live_watch(self) -> _Watch | None:
        return self._watch if self._watch is not None and self._watch.live.is_set() else None

    def _bill(self, payment_hash: str) -> _Bill:
        bill = self._known.get(payment_hash)
        if bill is None:
            bill = self._known[payment_hash] = _Bill(asyncio.get_running_loop().create_future(), None)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return bill

    def _saw(self, payment_hash: str) -> None:
        paid = self._bill(payment_hash).paid
        if not paid.done():
            paid.set_result(None)

    async def _is_watched(self, bill: _Bill, until: float) -> bool:
        """Whether it cannot have been paid unseen; one that is not, is watched from now on."""
        if self._open and self._watch is None:
            watch = self._watch = _Watch()
            watch.task = asyncio.get_running_loop().create_task(self._keep_watching(watch))
        if self._watch is None or bill.watch is self._watch:
            return bill.watch is not None
        bill.watch = self._watch
        try:
            async with asyncio.timeout_at(until):
                await bill.watch.live.wait()
        except TimeoutError:
            bill.watch = None
        return False

    async def _keep_watching(self, watch: _Watch) -> None:
        """See every payment from now on, through restarts of the node, until nobody waits any more."""
        while self._waiting:
            try:
                if not watch.live.is_set():
                    self._last = await self._last_paid(self._last)
                    watch.live.set()
                paid = await self._next_paid(self._last, wait=WATCH_SECONDS)
            except WalletError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if paid is not None:
                self._last = paid[0]
                self._saw(paid[1])
        self._watch = None

    async def _next_paid(self, last: int, *, wait: int) -> tuple[int, str] | None:
        """Index and payment hash of the first invoice paid after `last`; None if there was none for `wait`
        seconds. Raises WalletError.
        """
        params = {"lastpay_index": last, "timeout": wait}
        try:
            told = await self._rpc.call("waitanyinvoice", params, seconds=wait + PATIENCE_SECONDS)
            return int(told["pay_index"]), str(told["payment_hash"])
        except Refused as error:
            if error.code == WAIT_TIMED_OUT:
                return None
            raise WalletError(f"{self._rpc.path}: waitanyinvoice was refused: {error}") from error
        except (Cut, TimeoutError, LookupError, ValueError) as error:
            raise WalletError(f"{self._rpc.path}: waitanyinvoice: {error}") from error

    async def _last_paid(self, low: int = 0) -> int:
        """The highest index any paid invoice has, `low` or above, found by halving: a node does not tell it,
        and listing what an old one was ever paid takes minutes.
        """
        step = 1
        while await self._next_paid(low + step - 1, wait=0) is not None:
            low, step = low + step, step * 2
        high = low + step
        while low < high - 1:
            middle = (low + high) // 2
            if await self._next_paid(middle - 1, wait=0) is not None:
                low = middle
            else:
                high = middle
        return low

    async def _is_paid(self, payment_hash: str) -> bool:
        told = await self._rpc.ask("listinvoices", {"payment_hash": payment_hash}, seconds=PATIENCE_SECONDS)
        invoices = told.get("invoices")
        paid = isinstance(invoices, list) and any(bill.get("status") == "paid" for bill in invoices)
        if paid:
            self._saw(payment_hash)
        return paid
