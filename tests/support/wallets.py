"""What tests of wallets share: a payer's wallet, a payee, and what can go wrong between them.

In a ledger's rig ``alice`` pays and ``bob`` is paid, and the wallet reaches alice through something that can
change or swallow what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from oa_compile.swarm.lightning import bolt11
from oa_compile.swarm.lightning.bolt11 import Invoice
from oa_compile.swarm.lightning.cln import ClnWallet
from oa_compile.swarm.lightning.cln_rpc import ClnRpc
from oa_compile.swarm.lightning.ledger_node import Ledger
from oa_compile.swarm.lightning.ledger_rpc import LedgerServer
from oa_compile.swarm.lightning.nwc import NwcWallet
from oa_compile.swarm.lightning.wallet import Wallet
from tests.support.lightningd import Nodes
from tests.support.nwc_service import NwcService
from tests.support.relays import local_relay

FUNDS = 1_000_000
"""What alice has, in msat."""

Meddle = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""Method and reply; the reply to give instead, or None to hang up without one."""


class RpcProxy:
    """Stands before a node's socket.

    `meddle` sees each reply. A method in `swallow` never reaches the node: the connection breaks, or the
    error in `answers` is told. `requests` are those that came.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target
        self.meddle: Meddle = lambda _, reply: reply
        self.swallow: set[str] = set()
        self.answers: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError, OSError, EOFError):
            unread = ""
            while data := await reader.read(65_536):
                unread += data.decode()
                while unread.startswith("{"):
                    try:
                        asked, end = json.JSONDecoder().raw_decode(unread)
                    except ValueError:
                        break
                    unread = unread[end:].lstrip()
                    self._spawn(self._answer(asked, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """One request's reply; without one its connection breaks, and so for all that are under way on it."""
        self.requests.append(asked)
        method = asked["method"]
        reply: dict[str, Any] | None = None
        if method in self.answers:
            reply = {"jsonrpc": "2.0", "id": asked["id"], "error": self.answers[method]}
        elif method not in self.swallow:
            with contextlib.suppress(OSError, EOFError):
                there, back = await asyncio.open_unix_connection(str(self.target))
                with contextlib.closing(back):
                    back.write(json.dumps(asked).encode())
                    reply = self.meddle(method, json.loads(await there.readuntil(b"\n\n")))
        if reply is None:
            writer.close()
        elif not writer.is_closing():
            writer.write(json.dumps(reply).encode() + b"\n\n")


class Rig(Protocol):
    """A wallet under test, and somebody it can pay."""

    wallet: Wallet
    abilities: frozenset[str]
    """What can be arranged here: ``faults``, ``fees``, ``frozen``, ``ages``, ``poor``."""

    async def invoice(self, msat: int, *, expiry: int = 600, age: int = 0) -> Invoice:
        """A new invoice of the payee's, made `age` seconds ago."""

    async def received(self, invoice: Invoice) -> int:
        """What the payee has been paid on it, in msat."""


@dataclass
class LedgerRig:
    """A rig over the embedded ledger, where everything can be arranged."""

    wallet: Wallet
    ledger: Ledger
    break_off: Callable[[], Awaitable[None]]
    """Whatever the wallet speaks to is gone for good."""
    lie: Callable[[], None]
    """From now on every preimage the wallet is told is a wrong one."""
    mute: Callable[[], None]
    """From now on the answer to a payment never comes, although it is made."""
    offset: list[int]
    abilities: frozenset[str] = frozenset({"faults", "fees", "frozen", "ages", "poor"})

    async def invoice(self, msat: int, *, expiry: int = 600, age: int = 0) -> Invoice:
        self.offset[0] = -age
        label = str(len(self.ledger.nodes["bob"].bills))
        bill = self.ledger.invoice("bob", msat, label=label, description="a job", expiry_seconds=expiry)
        self.offset[0] = 0
        return bolt11.decode(bill.issued.bolt11)

    async def received(self, invoice: Invoice) -> int:
        return self.ledger.nodes["bob"].bills[invoice.payment_hash].received_msat


@dataclass
class LightningdRig:
    """A rig over two real nodes, whose money moves as it does."""

    wallet: ClnWallet
    payee: ClnRpc
    abilities: frozenset[str] = frozenset()

    async def invoice(self, msat: int, *, expiry: int = 600, age: int = 0) -> Invoice:
        assert not age, "a real node cannot be asked for an old invoice"
        wanted = {"amount_msat": msat, "label": secrets.token_hex(16), "description": "a job"}
        told = await self.payee.call("invoice", wanted | {"expiry": expiry}, seconds=10)
        return bolt11.decode(told["bolt11"])

    async def received(self, invoice: Invoice) -> int:
        wanted = {"payment_hash": invoice.payment_hash}
        (told,) = (await self.payee.call("listinvoices", wanted, seconds=10))["invoices"]
        return int(told.get("amount_received_msat", 0))


@contextlib.asynccontextmanager
async def _ledger(folder: Path) -> AsyncIterator[tuple[LedgerServer, list[int]]]:
    offset = [0]
    ledger = Ledger(folder, {"alice": FUNDS, "bob": 0}, clock=lambda: time.time() + offset[0])
    server = LedgerServer(ledger, folder)
    await server.start()
    try:
        yield server, offset
    finally:
        await server.close()


def _swapped(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply with every preimage replaced."""
    swap = {"payment_preimage", "preimage"}
    return json.loads(
        json.dumps(reply), object_hook=lambda o: {k: "00" * 32 if k in swap else v for k, v in o.items()}
    )


@contextlib.asynccontextmanager
async def cln_rig(folder: Path) -> AsyncIterator[LedgerRig]:
    """ClnWallet, pyln-client and the ledger's JSON-RPC."""
    with tempfile.TemporaryDirectory(prefix="oac-") as short:  # sockets' paths must be
        async with _ledger(folder) as (server, offset):
            proxy = RpcProxy(Path(short) / "rpc", server.rpc_path("alice"))
            await proxy.open()
            wallet = ClnWallet(proxy.path)

            def lie() -> None:
                proxy.meddle = lambda _, reply: _swapped(reply)

            def mute() -> None:
                proxy.meddle = lambda method, reply: None if method == "xpay" else reply

            try:
                yield LedgerRig(wallet, server.ledger, proxy.close, lie, mute, offset)
            finally:
                await wallet.close()
                await proxy.close()


@contextlib.asynccontextmanager
async def nwc_rig(folder: Path) -> AsyncIterator[LedgerRig]:
    """NwcWallet, nostr-sdk, a relay, and a wallet service that pays from the ledger."""
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(local_relay())
        server, offset = await stack.enter_async_context(_ledger(folder))
        service = await stack.enter_async_context(NwcService(url, server.ledger, "alice"))
        wallet = NwcWallet(service.uri)
        stack.push_async_callback(wallet.close)

        def lie() -> None:
            service.meddle = lambda _, reply: _swapped(reply)

        def mute() -> None:
            service.meddle = lambda method, reply: None if method == "pay_invoice" else reply

        yield LedgerRig(wallet, server.ledger, service.close, lie, mute, offset)


@contextlib.asynccontextmanager
async def lightningd_rig(nodes: Nodes) -> AsyncIterator[LightningdRig]:
    """ClnWallet over a real, funded lightningd."""
    wallet, till = ClnWallet(nodes.payer), ClnRpc(nodes.payee)
    try:
        yield LightningdRig(wallet, till)
    finally:
        await wallet.close()
        till.close()
