"""Core Lightning as a wallet, over the unix socket of its JSON-RPC.

Owns the calls, which are pyln-client's and know no deadline, and how lightningd's words become a `Payment`.
Any node that speaks this JSON-RPC will do: a lightningd, or the embedded ledger. Whether to pay at all is
decided elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pyln.client import LightningRpc, RpcError

from oa_compile.money import check_msat
from oa_compile.swarm.lightning.blocking import BlockingCalls, Crowded
from oa_compile.swarm.lightning.wallet import Payment, PaymentStatus, WalletError, proven

ALREADY_PAID = 219

Reply = dict[str, Any]


class Refused(Exception):
    """The node answered with an error: nothing broke on the way. `code` is lightningd's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cut(Exception):
    """The connection broke after the request may have been read: nobody knows what became of it."""


class ClnRpc:
    """One node's JSON-RPC for asyncio: each call waits in a thread of its own, and at most so long."""

    def __init__(self, path: Path, *, threads: int) -> None:
        self.path = path
        quiet = logging.Logger("pyln", logging.WARNING)  # what it would log at DEBUG holds preimages
        self._rpc = LightningRpc(str(path), logger=quiet)
        self._threads = BlockingCalls(threads, name="oacompile-cln")

    async def call(self, method: str, params: Reply, *, seconds: float) -> Reply:
        """What the node replied. Raises Refused for its errors, Cut when the connection broke,
        TimeoutError when it did not answer in time (it may yet do what was asked), and WalletError when
        the request surely never reached it.
        """
        async with asyncio.timeout(seconds):
            return await asyncio.shield(await self.begin(method, params, seconds=seconds))

    async def begin(self, method: str, params: Reply, *, seconds: float) -> asyncio.Future[Reply]:
        """Send a request once there is room for it; the future has its end, whenever that is, with the
        errors of `call`. Raises WalletError if there was no room for `seconds`.
        """
        try:
            return await self._threads.begin(partial(self._ask, method, params), seconds=seconds)
        except Crowded as error:
            raise WalletError(
                f"{self.path}: the node hangs: {error}",
                hint="see what its listpays calls pending, then restart it",
            ) from error

    async def ask(self, method: str, params: Reply, *, seconds: float) -> Reply:
        """A call of which nothing is lost when it fails: all that can go wrong is a WalletError."""
        try:
            return await self.call(method, params, seconds=seconds)
        except Refused as error:
            message = f"{self.path}: {method} was refused: {error} ({error.code})"
        except Cut as error:
            message = f"{self.path}: the connection broke: {error}"
        except TimeoutError:
            message = f"{self.path}: no answer to {method} in {seconds:g} s"
        raise WalletError(message, hint="see whether the node is up: lightning-cli getinfo")

    def close(self) -> None:
        """Let idle threads end. Safe to call twice."""
        self._threads.close()

    def _ask(self, method: str, params: Reply) -> Reply:
        """The call itself, in a thread."""
        try:
            reply = self._rpc.call(method, params)
        except RpcError as error:
            told: object = error.error  # the node's error as an object; pyln's, of a lost connection, as text
            if isinstance(told, dict) and isinstance(told.get("code"), int):
                raise Refused(told["code"], str(told.get("message", ""))) from error
            raise Cut(f"{method}: {told}") from error
        except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
            raise WalletError(
                f"{self.path}: no node answers there: {error.strerror}",
                hint="start the node, or set the path of its lightning-rpc in [wallet]",
            ) from error
        except (OSError, ValueError) as error:
            raise Cut(f"{method}: {error}") from error
        if not isinstance(reply, dict):
            raise Cut(f"{method}: the reply is no object")
        return reply


class _Found(NamedTuple):
    """What listpays knows of a payment hash. `created_at` is in Unix seconds, 0 if there is nothing."""

    status: PaymentStatus
    sent_msat: int = 0
    preimage: str = ""
    created_at: int = 0


class ClnWallet:
    """Pays through a Core Lightning node. Fulfils `wallet.Wallet`; belongs to the loop that uses it."""

    bounds_fees = True

    def __init__(self, rpc_path: Path, *, threads: int = 16, kind: str = "cln") -> None:
        """`threads` bounds the payments under way at once; `kind` is what receipts call it."""
        self.kind = kind
        self._paying = ClnRpc(rpc_path, threads=threads)
        self._asking = ClnRpc(rpc_path, threads=4)  # apart: questions do not wait for what hangs
        self._open: dict[str, asyncio.Task[Reply]] = {}

    def __repr__(self) -> str:
        return f"ClnWallet({self._paying.path})"

    async def pay(self, bolt11: str, *, payment_hash: str, max_fee_msat: int, seconds: float) -> Payment:
        """See `wallet.Wallet`. A payment of this hash that is under way already is joined, never doubled."""
        started = time.time()
        task = self._open.get(payment_hash)
        joined = task is not None
        if task is None:
            params = {"invstring": bolt11, "maxfee": max_fee_msat, "retry_for": max(1, int(seconds))}
            task = asyncio.get_running_loop().create_task(self._xpay(params, seconds))
            self._open[payment_hash] = task
            task.add_done_callback(partial(self._ended, payment_hash))
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            return await self._unsaid(payment_hash, "the node has not said how it ended")
        try:
            reply = task.result()
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
        funds = await self._asking.ask("listfunds", {}, seconds=10)
        usable = {"CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE"}
        try:
            return sum(
                check_msat(channel["our_amount_msat"])
                for channel in funds["channels"]
                if channel["connected"] and channel["state"] in usable
            )
        except (LookupError, TypeError, ValueError) as error:
            raise WalletError(f"{self._asking.path}: its listfunds cannot be read: {error}") from error

    async def network(self) -> str:
        """The network the node is on, in lightningd's words (bitcoin, regtest, …). Raises WalletError."""
        return str((await self._asking.ask("getinfo", {}, seconds=10)).get("network", ""))

    async def close(self) -> None:
        """See `wallet.Wallet`. Payments under way go on without us."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._paying.close()
        self._asking.close()

    async def _xpay(self, params: Reply, seconds: float) -> Reply:
        """The node's answer, whenever it comes."""
        return await (await self._paying.begin("xpay", params, seconds=seconds))

    def _ended(self, payment_hash: str, task: asyncio.Task[Reply]) -> None:
        self._open.pop(payment_hash, None)
        if not task.cancelled():
            task.exception()  # looked at: nobody may be waiting any more

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
        told = await self._asking.ask("listpays", {"payment_hash": payment_hash}, seconds=seconds)
        try:
            pays = [(str(pay["status"]), pay) for pay in told["pays"]]
        except (LookupError, TypeError) as error:
            raise WalletError(f"{self._asking.path}: its listpays cannot be read: {error}") from error
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
