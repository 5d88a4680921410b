"""A Core Lightning node as a service provider's till: invoices made, and seen paid.

Owns one standing `waitanyinvoice`, however many invoices are open. Fulfils `till.Till`; over the embedded
ledger too. What is sold, and for how much, is the provider's matter.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path

from oa_compile.swarm import bolt11
from oa_compile.swarm.bolt11 import Invoice, InvoiceError
from oa_compile.swarm.cln import ClnRpc, Cut, Refused, Reply
from oa_compile.swarm.wallet import WalletError

WAIT_TIMED_OUT = 904
WATCH_SECONDS = 30
"""How long one `waitanyinvoice` waits; another follows."""
AGAIN_SECONDS = 1.0
"""Before a node that went away is asked again."""
PATIENCE_SECONDS = 10.0
MOST_REMEMBERED = 100_000
"""Invoices whose payment is remembered; older ones are looked up when somebody asks."""


class ClnTill:
    """The receiving half of a node. Belongs to the loop that opens it."""

    def __init__(self, rpc_path: Path, *, threads: int = 8) -> None:
        self._rpc = ClnRpc(rpc_path, threads=threads)
        self._watching = ClnRpc(rpc_path, threads=1)
        self._watch: asyncio.Task[None] | None = None
        self._known: OrderedDict[str, asyncio.Future[None]] = OrderedDict()

    async def open(self) -> None:
        """Begin to watch; payments from now on are seen. Raises WalletError."""
        if self._watch is None:
            last = await self._last_paid()
            self._watch = asyncio.get_running_loop().create_task(self._keep_watching(last))

    async def invoice(self, msat: int, *, label: str, description: str, expiry_seconds: int) -> Invoice:
        """A new invoice over `msat`. Raises WalletError, for a label used before too."""
        wanted: Reply = {"amount_msat": msat, "label": label, "description": description}
        told = await self._ask("invoice", wanted | {"expiry": expiry_seconds})
        try:
            invoice = bolt11.decode(str(told.get("bolt11")))
        except InvoiceError as error:
            raise WalletError(f"{self._rpc.path}: the node made no invoice: {error}") from error
        self._paid(invoice.payment_hash)
        return invoice

    async def wait_paid(self, payment_hash: str, *, seconds: float) -> bool:
        """Whether it is paid, waiting at most so long. An invoice of another process, or one that was not
        seen paid in time, is looked up. Raises WalletError.
        """
        paid = self._known.get(payment_hash)
        if paid is None:
            paid = self._paid(payment_hash)
            if not paid.done() and await self._is_paid(payment_hash):
                return True
        if not paid.done():
            await asyncio.wait({paid}, timeout=seconds)
        return paid.done() or await self._is_paid(payment_hash)

    async def close(self) -> None:
        """Stop watching. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        self._rpc.close()
        self._watching.close()

    def _paid(self, payment_hash: str) -> asyncio.Future[None]:
        """Done when the invoice is paid."""
        future = self._known.get(payment_hash)
        if future is None:
            future = self._known[payment_hash] = asyncio.get_running_loop().create_future()
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return future

    def _saw(self, payment_hash: str) -> None:
        future = self._paid(payment_hash)
        if not future.done():
            future.set_result(None)

    async def _keep_watching(self, last: int) -> None:
        """See every payment after the `last`, through restarts of the node."""
        while True:
            try:
                bill = await self._next_paid(last, wait=WATCH_SECONDS)
            except WalletError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if bill is not None:
                last = bill[0]
                self._saw(bill[1])

    async def _next_paid(self, last: int, *, wait: int) -> tuple[int, str] | None:
        """Index and payment hash of the first invoice paid after `last`; None if there was none for `wait`
        seconds. Raises WalletError.
        """
        params = {"lastpay_index": last, "timeout": wait}
        try:
            told = await self._watching.call("waitanyinvoice", params, seconds=wait + PATIENCE_SECONDS)
            return int(told["pay_index"]), str(told["payment_hash"])
        except Refused as error:
            if error.code == WAIT_TIMED_OUT:
                return None
            raise WalletError(f"{self._rpc.path}: waitanyinvoice was refused: {error}") from error
        except (Cut, TimeoutError, LookupError, ValueError) as error:
            raise WalletError(f"{self._rpc.path}: waitanyinvoice: {error}") from error

    async def _last_paid(self) -> int:
        """The highest index any paid invoice has, found by halving: a node does not tell it, and listing
        what an old one was ever paid takes minutes.
        """
        low, high = 0, 1
        while await self._next_paid(high - 1, wait=0) is not None:
            low, high = high, high * 2
        while low < high - 1:
            middle = (low + high) // 2
            if await self._next_paid(middle - 1, wait=0) is not None:
                low = middle
            else:
                high = middle
        return low

    async def _is_paid(self, payment_hash: str) -> bool:
        told = await self._ask("listinvoices", {"payment_hash": payment_hash})
        invoices = told.get("invoices")
        paid = isinstance(invoices, list) and any(bill.get("status") == "paid" for bill in invoices)
        if paid:
            self._saw(payment_hash)
        return paid

    async def _ask(self, method: str, params: Reply) -> Reply:
        try:
            return await self._rpc.call(method, params, seconds=PATIENCE_SECONDS)
        except Refused as error:
            message = f"{self._rpc.path}: {method} was refused: {error} ({error.code})"
        except Cut as error:
            message = f"{self._rpc.path}: the connection broke: {error}"
        except TimeoutError:
            message = f"{self._rpc.path}: no answer to {method} in {PATIENCE_SECONDS:g} s"
        raise WalletError(message, hint="see whether the node is up: lightning-cli getinfo")
