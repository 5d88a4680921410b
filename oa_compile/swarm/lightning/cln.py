"""Core Lightning as a wallet, over the unix socket of its JSON-RPC.

Owns how lightningd's words become a `Payment`; the connection is `cln_rpc`'s. Any node that speaks this
JSON-RPC will do: a lightningd, or the embedded ledger. Whether to pay at all is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from oa_compile.money import check_msat
from oa_compile.swarm.lightning.cln_rpc import ClnRpc, Cut, Refused, Reply
from oa_compile.swarm.lightning.wallet import Payment, PaymentStatus, WalletError, proven

ALREADY_PAID = 219


class _Found(NamedTuple):
    """What listpays knows of a payment hash. `created_at` is in Unix seconds, 0 if there is nothing."""

    status: PaymentStatus
    sent_msat: int = 0
    preimage: str = ""
    created_at: int = 0


class ClnWallet:
    """Pays through a Core Lightning node. Fulfils `wallet.Wallet`; belongs to the loop that uses it."""

    bounds_fees = True

    def __init__(self, rpc_path: Path, *, kind: str = "cln") -> None:
        """`kind` is what receipts call it."""
        self.kind = kind
        self._rpc = ClnRpc(rpc_path)
        self._open: dict[str, asyncio.Future[Reply]] = {}

    def __repr__(self) -> str:
        return f"ClnWallet({self._rpc.path})"

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:
        """See `wallet.Wallet`. A payment of this hash that is under way already is joined, never doubled."""
        started = time.time()
        paying = self._open.get(payment_hash)
        joined = paying is not None
        if paying is None:
            params = {"invstring": bolt11, "maxfee": max_fee_msat, "retry_for": max(1, int(seconds))}
            paying = self._open[payment_hash] = self._rpc.begin("xpay", params)
            paying.add_done_callback(partial(self._ended, payment_hash))
        await asyncio.wait({paying}, timeout=seconds)
        if not paying.done():
            return await self._unsaid(payment_hash, "the node has not said how it ended")
        try:
            reply = paying.result()
        except Refused as error:
            return await self._refused(payment_hash, error, started=started)
        except Cut as error:
            return await self._unsaid(payment_hash, str(error))
        sent_msat = reply.get("amount_sent_msat")
        return proven(payment_hash, reply.get("payment_preimage"), sent_msat, repeated=joined)

    async def look_up(self, payment_hash: str, *, seconds: float = 10.0) -> Payment:
        """See `wallet.Wallet`. While our own xpay is under way nothing but ``complete`` is an end: between
        two tries the node tells of the failed one only.
        """
        found = await self._find(payment_hash, seconds=seconds)
        if found.status == "complete":
            return proven(payment_hash, found.preimage, found.sent_msat)
        return Payment(payment_hash, "pending" if payment_hash in self._open else found.status)

    async def balance_msat(self) -> int:
        """What stands on our side of usable channels."""
        funds = await self._rpc.ask("listfunds", {}, seconds=10)
        usable = {"CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE"}
        try:
            return sum(
                check_msat(channel["our_amount_msat"])
                for channel in funds["channels"]
                if channel["connected"] and channel["state"] in usable
            )
        except (LookupError, TypeError, ValueError) as error:
            raise WalletError(f"{self._rpc.path}: its listfunds cannot be read: {error}") from error

    async def network(self) -> str:
        """The network the node is on, in lightningd's words (bitcoin, regtest, …). Raises WalletError."""
        return str((await self._rpc.ask("getinfo", {}, seconds=10)).get("network", ""))

    async def close(self) -> None:
        """See `wallet.Wallet`. Payments under way go on without us."""
        under_way = list(self._open.values())
        for paying in under_way:
            paying.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._rpc.close()

    def _ended(self, payment_hash: str, paying: asyncio.Future[Reply]) -> None:
        self._open.pop(payment_hash, None)
        if not paying.cancelled():
            paying.exception()  # looked at: nobody may be waiting any more

    async def _refused(self, payment_hash: str, error: Refused, *, started: float) -> Payment:
        """The node says no; whether money went all the same, it knows best itself."""
        try:
            found = await self._find(payment_hash, seconds=10)
        except WalletError as nobody:
            return Payment(payment_hash, "pending", reason=f"{error} ({error.code}); then {nobody.message}")
        if found.status == "complete":
            before = error.code == ALREADY_PAID or found.created_at < int(started) - 1
            return proven(payment_hash, found.preimage, found.sent_msat, repeated=before)
        unproven = found.status == "pending" or error.code == ALREADY_PAID
        return Payment(payment_hash, "pending" if unproven else "failed", reason=f"{error} ({error.code})")

    async def _unsaid(self, payment_hash: str, reason: str) -> Payment:
        """The node did not say how it ended: only what it says now to be complete is no longer open."""
        try:
            found = await self._find(payment_hash, seconds=2)
        except WalletError as nobody:
            return Payment(payment_hash, "pending", reason=f"{reason}; then {nobody.message}")
        if found.status == "complete":
            return proven(payment_hash, found.preimage, found.sent_msat)
        return Payment(payment_hash, "pending", reason=reason)

    async def _find(self, payment_hash: str, *, seconds: float) -> _Found:
        """All attempts at a payment hash as one: what any of them took is gone. Raises WalletError."""
        told = await self._rpc.ask("listpays", {"payment_hash": payment_hash}, seconds=seconds)
        try:
            pays = [(str(pay["status"]), pay) for pay in told["pays"]]
        except (LookupError, TypeError) as error:
            raise WalletError(f"{self._rpc.path}: its listpays cannot be read: {error}") from error
        complete = [pay for status, pay in pays if status == "complete"]
        if complete:
            parts = [
                proven(payment_hash, pay.get("preimage"), pay.get("amount_sent_msat")) for pay in complete
            ]
            sent = sum(part.sent_msat for part in parts)
            return _Found("complete", sent, parts[0].preimage, int(complete[0].get("created_at", 0)))
        if any(status != "failed" for status, _ in pays):
            return _Found("pending")
        return _Found("failed" if pays else "unknown")
