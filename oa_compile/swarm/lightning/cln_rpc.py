"""A Core Lightning node's JSON-RPC for asyncio: pyln-client's commands over one connection that stays.

pyln-client by itself opens a connection for every call, and waits in it without a deadline: a thread a call,
and a payment that costs more than the job it pays for. Its commands all end in its `call`, and only that is
another one here. lightningd takes any number of commands over one connection and answers each when it is
done, and so does the embedded ledger.

Owns the connection, and what can go wrong on it. What a reply means is the wallet's and the till's matter.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pyln.client import LightningRpc

from oa_compile.swarm.lightning.unix_address import unix_address
from oa_compile.swarm.lightning.wallet import WalletError

CONNECT_SECONDS = 5.0
"""A node takes a connection at once, or it hangs."""

Reply = dict[str, Any]

_END = b"\n\n"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Refused(Exception):
    """The node answered with an error: nothing broke on the way. `code` is lightningd's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cut(Exception):
    """The connection broke after the request may have been read: nobody knows what became of it."""


class ClnRpc:
    """One node's JSON-RPC. Connects when it is first asked, and again after a break; belongs to the loop that
    uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pyln = _Pyln(self)
        self._connecting = asyncio.Lock()
        self._wire: _Wire | None = None

    async def call(self, method: str, params: Reply, *, seconds: float) -> Reply:
        """What the node replied. Raises Refused for its errors, Cut when the connection broke,
        TimeoutError when it did not answer in time (it may yet do what was asked), and WalletError when
        the request surely never reached it.
        """
        async with asyncio.timeout(seconds):
            return await self.begin(method, params)

    def begin(self, method: str, params: Reply) -> asyncio.Future[Reply]:
        """Send a request; the future has its end, whenever that is, with the errors of `call`. Requests go
        out in the order they are begun in.
        """
        begun: asyncio.Future[Reply] = getattr(self._pyln, method)(**params)
        return begun

    async def ask(self, method: str, params: Reply, *, seconds: float) -> Reply:
        """A call of which nothing is lost when it fails: all that can go wrong is a WalletError."""
        try:
            return await self.call(method, params, seconds=seconds)
        except Refused as error:
            message = f"{self.path}: {method} was refused: {error} ({error.code})"
        except Cut as error:
            message = f"{self.path}: {error}"
        except TimeoutError:
            message = f"{self.path}: no answer to {method} in {seconds:g} s"
        raise WalletError(message, hint="see whether the node is up: lightning-cli getinfo")

    def close(self) -> None:
        """Hang up; what is under way is cut. Safe to call twice."""
        if self._wire is not None:
            self._wire.hang_up()

    def _send(self, request: Reply) -> asyncio.Future[Reply]:
        if self._wire is not None and self._wire.is_open:
            return self._wire.send(request)
        return asyncio.get_running_loop().create_task(self._send_when_connected(request))

    async def _send_when_connected(self, request: Reply) -> Reply:
        async with self._connecting:
            if self._wire is None or not self._wire.is_open:
                self._wire = await self._connect()
            sent = self._wire.send(request)
        return await sent

    async def _connect(self) -> _Wire:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                with unix_address(self.path) as address:
                    loop = asyncio.get_running_loop()
                    _, wire = await loop.create_unix_connection(_Wire, address)
            if wire.is_open:
                return wire
            why = "it takes no connection"
        except OSError as error:  # a TimeoutError is one too
            why = error.strerror or "it takes no connection"
        raise WalletError(
            f"{self.path}: no node answers there: {why}",
            hint="start the node, or set the path of its lightning-rpc in [wallet]",
        )


class _Pyln(LightningRpc):  # type: ignore[misc]  # pyln-client has no types
    """pyln-client: what a command's parameters are called, and what a request looks like."""

    def __init__(self, owner: ClnRpc) -> None:
        # What it would log at DEBUG holds preimages.
        super().__init__(str(owner.path), logger=logging.Logger("pyln", logging.WARNING))
        self._owner = owner

    def call(
        self,
        method: str,
        payload: Reply | None = None,
        cmdprefix: str | None = None,
        filter: Reply | None = None,  # noqa: A002  pyln-client's name
    ) -> asyncio.Future[Reply]:
        """As pyln-client's, which blocks: the future has the reply."""
        request: Reply = {
            "jsonrpc": "2.0",
            "method": method,
            "params": {key: value for key, value in (payload or {}).items() if value is not None},
            "id": self.get_json_id(method, cmdprefix),
        }
        self.next_id += 1
        if filter is not None:
            request["filter"] = filter
        return self._owner._send(request)


class _Wire(asyncio.Protocol):
    """One connection. Requests and replies end in an empty line; replies come in any order."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._unsent: list[bytes] = []
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # To a node that hangs the kernel may leave a socket unconnected without a word.
        self.is_open = transport.get_extra_info("peername") is not None
        if not self.is_open:
            transport.abort()

    def send(self, request: Reply) -> asyncio.Future[Reply]:
        """Send it, together with what else is sent in this turn of the loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting[request["id"]] = future
        future.add_done_callback(partial(self._over, request["id"]))
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(_encode(request) + _END)
        return future

    def data_received(self, data: bytes) -> None:
        *replies, self._unread = (self._unread + data).split(_END)
        for reply in replies:
            try:
                self._take(_decode(reply))
            except ValueError:  # whose reply it was, nobody knows
                self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        why = "the connection was lost" + (f": {exc}" if exc else "")
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(Cut(why))

    def hang_up(self) -> None:
        """Close at once. Safe to call twice."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        requests, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(requests))

    def _take(self, reply: object) -> None:
        match reply:
            case {"id": str(id_), **told} if id_ in self._waiting and not self._waiting[id_].done():
                future = self._waiting[id_]
            case _:
                return  # a notification, or an answer nobody waits for any more
        match told:
            case {"error": {"code": int(code), **error}}:
                future.set_exception(Refused(code, str(error.get("message", ""))))
            case {"result": dict(result)}:
                future.set_result(result)
            case _:
                future.set_exception(Cut("the node's reply cannot be read"))

    def _over(self, id_: str, future: asyncio.Future[Reply]) -> None:
        del self._waiting[id_]
        if not future.cancelled():
            future.exception()  # looked at: nobody may be waiting any more
