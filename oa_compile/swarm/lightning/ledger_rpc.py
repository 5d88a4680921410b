"""The embedded ledger speaks: lightningd's JSON-RPC, one unix socket a node.

Owns sockets and the wire format. What can be asked is in `ledger_commands`. Whatever speaks to a lightningd
speaks to this unchanged, pyln-client for one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from oa_compile.errors import StorageError, UsageError
from oa_compile.swarm.lightning.ledger_book import Code, LedgerRefusal
from oa_compile.swarm.lightning.ledger_commands import Commands, Reply
from oa_compile.swarm.lightning.ledger_node import Ledger
from oa_compile.swarm.lightning.unix_address import unix_address

SOCKET_NAME = "lightning-rpc"

_MOST_BYTES = 1 << 20
"""A request that is longer is none."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_scan = json.JSONDecoder().raw_decode


async def serve(
    folder: Path, nodes: Mapping[str, int], *, fee_msat: int = 0, frozen: Iterable[str] = ()
) -> LedgerServer:
    """Open the ledger in `folder` and serve each of its nodes at ``<folder>/<name>/lightning-rpc``.

    `nodes` maps names to msat, for those the folder does not know yet. `fee_msat` and `frozen` are as in
    `Ledger`. Raises UsageError when a socket or the folder cannot be had.
    """
    ledger = Ledger(folder, nodes, fee_msat=fee_msat)
    ledger.frozen.update(frozen)
    server = LedgerServer(ledger, folder)
    try:
        await server.start()
    except BaseException:
        await server.close()
        raise
    return server


class LedgerServer:
    """The sockets of one ledger, on the loop that starts them."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self._folder = folder
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        ledger.listen(self._ended)

    def rpc_path(self, node: str) -> Path:
        """Where that node's socket is."""
        return self._folder / node / SOCKET_NAME

    async def start(self) -> None:
        """Listen. Raises UsageError."""
        for node in self.ledger.nodes.values():
            path = self.rpc_path(node.name)
            try:
                bound = _bind(path)
            except OSError as error:
                raise UsageError(f"{path}: cannot listen there: {error.strerror or error}") from error
            commands = Commands(self.ledger, node, self._wait)
            make = partial(_Connection, commands, self._connections)
            self._servers.append(await asyncio.get_running_loop().create_unix_server(make, sock=bound))

    async def close(self) -> None:
        """Stop listening, hang up, let go of the ledger. Safe to call twice."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.hang_up()
        if self._servers:
            for name in self.ledger.nodes:
                self.rpc_path(name).unlink(missing_ok=True)
        self._servers.clear()
        self.ledger.close()

    async def _wait(self, key: str, seconds: float | None) -> None:
        """Till a payment of that payment hash, or to the node of that name, ends; or so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key].add(future)
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._waiting[key].discard(future)
            if not self._waiting[key]:
                del self._waiting[key]

    def _ended(self, payee: str, payment_hash: str) -> None:
        for key in (payee, payment_hash):
            for future in self._waiting.get(key, ()):
                if not future.done():
                    future.set_result(None)


class _Connection(asyncio.Protocol):
    """One client. Requests follow each other, with an empty line between or nothing; replies end in one."""

    def __init__(self, commands: Commands, others: set[_Connection]) -> None:
        self._commands = commands
        self._others = others
        self._buffer = b""
        self._tasks: set[asyncio.Task[Reply]] = set()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Waits end with whom they were for; payments go on."""
        self._others.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            requests, self._buffer = _requests(self._buffer)
        except ValueError as error:
            self._refuse(None, Code.INVALID_REQUEST, f"not JSON-RPC: {error}")
            self.hang_up()
            return
        for request in requests:
            self._handle(request)
        if len(self._buffer) > _MOST_BYTES:
            self._refuse(None, Code.INVALID_REQUEST, "the request is too long")
            self.hang_up()

    def hang_up(self) -> None:
        """Close, once what was said is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _handle(self, request: Any) -> None:
        match request:
            case {"method": str(name), "id": id_}:
                params = request.get("params", {})
            case _:
                self._refuse(None, Code.INVALID_REQUEST, "a method and an id are wanted")
                return
        if not isinstance(params, dict | list):
            self._refuse(id_, Code.INVALID_PARAMS, "params should be an object or an array")
            return
        try:
            reply = self._commands.run(name, params)
        except LedgerRefusal as refusal:
            self._refuse(id_, refusal.code, str(refusal))
        except StorageError as error:
            self._refuse(id_, Code.LIGHTNINGD, error.message)
        else:
            if isinstance(reply, dict):
                self._send({"jsonrpc": "2.0", "id": id_, "result": reply})
                return
            task = asyncio.get_running_loop().create_task(reply)
            self._tasks.add(task)
            task.add_done_callback(partial(self._finish, id_))

    def _finish(self, id_: object, task: asyncio.Task[Reply]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        match task.exception():
            case None:
                self._send({"jsonrpc": "2.0", "id": id_, "result": task.result()})
            case LedgerRefusal() as refusal:
                self._refuse(id_, refusal.code, str(refusal))
            case StorageError() as error:
                self._refuse(id_, Code.LIGHTNINGD, error.message)
            case bug:
                raise bug

    def _refuse(self, id_: object, code: Code, message: str) -> None:
        self._send({"jsonrpc": "2.0", "id": id_, "error": {"code": int(code), "message": message}})

    def _send(self, reply: Reply) -> None:
        """Send it, together with what else is said in this turn of the loop."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(_encode(reply) + b"\n\n")

    def _flush(self) -> None:
        replies, self._unsent = self._unsent, []
        if replies and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(replies))


def _requests(buffer: bytes) -> tuple[list[Any], bytes]:
    """The whole requests at the head of `buffer`, and what follows them. Raises ValueError for what can
    become no request.
    """
    try:
        return [_decode(request) for request in buffer.split(b"\n\n") if request], b""
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # several with nothing between, or not yet whole
    requests = []
    text = buffer.decode("utf-8", "surrogateescape").lstrip()
    while text:
        try:
            request, end = _scan(text)
        except json.JSONDecodeError as error:
            if not text.startswith("{"):
                raise ValueError("it should begin with {") from error
            break
        requests.append(request)
        text = text[end:].lstrip()
    return requests, text.encode("utf-8", "surrogateescape")


def _bind(path: Path) -> socket.socket:
    """A socket at `path`, for its owner only; one that a killed process left is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with unix_address(path) as address:
            bound.bind(address)
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound
