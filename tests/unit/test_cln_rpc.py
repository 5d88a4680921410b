"""A node's JSON-RPC over one connection: what comes back to whom, and what a break is told as."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from oa_compile.swarm.lightning import cln_rpc
from oa_compile.swarm.lightning.cln_rpc import ClnRpc, Cut, Refused
from oa_compile.swarm.lightning.wallet import WalletError


@dataclass
class Node:
    """A node whose replies are the test's to give."""

    path: Path
    asked: list[dict[str, Any]] = field(default_factory=list)
    reads: int = 0
    connections: int = 0
    writer: asyncio.StreamWriter | None = None
    server: asyncio.Server | None = None
    serving: list[asyncio.Task[None] | None] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        self.serving.append(asyncio.current_task())
        unread = ""
        with contextlib.closing(writer), contextlib.suppress(ConnectionResetError):
            while data := await reader.read(65_536):
                self.reads += 1
                unread += data.decode()
                while unread:
                    request, end = json.JSONDecoder().raw_decode(unread)
                    self.asked.append(request)
                    unread = unread[end:].lstrip()
                self.heard.set()

    async def request(self, number: int) -> dict[str, Any]:
        """The request of that number, once it is there."""
        while len(self.asked) <= number:
            self.heard.clear()
            await self.heard.wait()
        return self.asked[number]

    def say(self, text: str) -> None:
        assert self.writer is not None
        self.writer.write(text.encode())

    def reply(self, request: dict[str, Any], **told: Any) -> None:
        self.say(json.dumps({"jsonrpc": "2.0", "id": request["id"], **told}) + "\n\n")

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        if self.writer is not None:
            self.writer.close()
        await asyncio.gather(*filter(None, self.serving))
        self.path.unlink()


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[tuple[Node, ClnRpc]]:
    node = Node(folder / "rpc")
    await node.start()
    rpc = ClnRpc(node.path)
    try:
        yield node, rpc
    finally:
        rpc.close()
        await node.stop()


def over(folder: Path, body: Callable[[Node, ClnRpc], Awaitable[None]]) -> None:
    async def go() -> None:
        async with connected(folder) as (node, rpc):
            await body(node, rpc)

    asyncio.run(go())


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket's name."""
    return tmp_path_factory.mktemp("s")


def test_replies_come_in_any_order_over_one_connection(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        first, second = rpc.begin("listpays", {"payment_hash": "a"}), rpc.begin("getinfo", {})
        asked = [await node.request(number) for number in (0, 1)]
        assert [one["method"] for one in asked] == ["listpays", "getinfo"]
        assert asked[0]["params"] == {"payment_hash": "a"}  # what is not given is not said
        node.reply(asked[1], result={"n": 2})
        assert await second == {"n": 2}
        assert not first.done()
        node.reply(asked[0], result={"n": 1})
        assert await first == {"n": 1}
        assert node.connections == 1

    over(short, body)


def test_what_is_asked_in_one_turn_goes_out_at_once(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        first = rpc.begin("getinfo", {})
        node.reply(await node.request(0), result={})
        await first
        many = [rpc.begin("getinfo", {}) for _ in range(20)]
        for number in range(1, 21):
            node.reply(await node.request(number), result={})
        await asyncio.gather(*many)
        assert node.reads == 2

    over(short, body)


def test_a_reply_may_come_in_pieces_and_with_others(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        asked = [rpc.begin("getinfo", {}), rpc.begin("getinfo", {})]
        ids = [(await node.request(number))["id"] for number in (0, 1)]
        whole = "".join(json.dumps({"id": id_, "result": {"id": id_}}, indent=1) + "\n\n" for id_ in ids)
        node.say(whole[:7])
        assert node.writer is not None
        await node.writer.drain()
        node.say(whole[7:])
        assert await asyncio.gather(*asked) == [{"id": id_} for id_ in ids]

    over(short, body)


def test_an_error_is_told_with_its_code(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        asked = rpc.begin("xpay", {"invstring": "lnbcrt1"})
        node.reply(await node.request(0), error={"code": 219, "message": "Already paid"})
        with pytest.raises(Refused, match="Already paid") as caught:
            await asked
        assert caught.value.code == 219

    over(short, body)


@pytest.mark.parametrize("told", [{"result": 3}, {"error": "text"}, {"error": {"code": "x"}}, {}])
def test_a_reply_that_cannot_be_read_leaves_it_unknown(short: Path, told: dict[str, Any]) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        asked = rpc.begin("xpay", {"invstring": "lnbcrt1"})
        node.reply(await node.request(0), **told)
        with pytest.raises(Cut, match="cannot be read"):
            await asked

    over(short, body)


def test_nonsense_cuts_all_that_is_under_way_and_no_more(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        cut = [rpc.begin("getinfo", {}), rpc.begin("getinfo", {})]
        await node.request(1)
        node.say("no JSON\n\n")
        for one in cut:
            with pytest.raises(Cut, match="lost"):
                await one
        again = rpc.begin("getinfo", {})
        node.reply(await node.request(2), result={})
        assert await again == {}
        assert node.connections == 2

    over(short, body)


def test_what_nobody_asked_is_passed_over(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        asked = rpc.begin("getinfo", {})
        request = await node.request(0)
        for stray in ('{"method": "message", "params": {}}', '{"id": "nobody", "result": {}}', "[]", "3"):
            node.say(stray + "\n\n")
        node.reply(request, result={"n": 1})
        node.reply(request, result={"n": 2})  # a second answer to what has one
        assert await asked == {"n": 1}
        after = rpc.begin("getinfo", {})
        node.reply(await node.request(1), result={})
        assert await after == {}

    over(short, body)


def test_a_node_that_was_restarted_is_asked_over_a_new_connection(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        cut = rpc.begin("getinfo", {})
        await node.request(0)
        await node.stop()
        with pytest.raises(Cut, match="lost"):
            await cut
        with pytest.raises(WalletError, match="no node answers there"):
            await rpc.begin("getinfo", {})
        await node.start()
        asked = rpc.begin("getinfo", {})
        node.reply(await node.request(1), result={})
        assert await asked == {}

    over(short, body)


def test_an_answer_that_comes_too_late_is_nobodys(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        with pytest.raises(TimeoutError):
            await rpc.call("getinfo", {}, seconds=0.05)
        late = await node.request(0)
        with pytest.raises(WalletError, match="no answer to getinfo in"):
            await rpc.ask("getinfo", {}, seconds=0.05)
        node.reply(late, result={"n": 1})
        asked = rpc.begin("getinfo", {})
        node.reply(await node.request(2), result={"n": 3})
        assert await asked == {"n": 3}
        assert rpc._wire is not None
        assert not rpc._wire._waiting  # who gave up is forgotten

    over(short, body)


def test_closing_cuts_what_is_under_way(short: Path) -> None:
    async def body(node: Node, rpc: ClnRpc) -> None:
        asked = rpc.begin("getinfo", {})
        await node.request(0)
        rpc.close()
        rpc.close()
        with pytest.raises(Cut):
            await asked

    over(short, body)


def test_a_node_that_takes_no_connection_was_surely_not_asked(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs: the queue of those who want to connect is full."""
    monkeypatch.setattr(cln_rpc, "CONNECT_SECONDS", 0.1)

    async def go() -> None:
        with contextlib.ExitStack() as stack:
            hanging = stack.enter_context(socket.socket(socket.AF_UNIX))
            hanging.bind(str(short / "rpc"))
            hanging.listen(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                    waiting.setblocking(False)
                    waiting.connect(str(short / "rpc"))
            rpc = ClnRpc(short / "rpc")
            with pytest.raises(WalletError, match="it takes no connection"):
                await rpc.begin("xpay", {"invstring": "lnbcrt1"})

    asyncio.run(go())


def test_a_path_too_long_for_an_address_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()

    async def go() -> None:
        node = Node(deep / "rpc")
        with contextlib.chdir(deep):
            node.server = await asyncio.start_unix_server(node._serve, "rpc")
        rpc = ClnRpc(deep / "rpc")
        asked = rpc.begin("getinfo", {})
        node.reply(await node.request(0), result={"n": 1})
        assert await asked == {"n": 1}
        rpc.close()
        await node.stop()
        with pytest.raises(WalletError, match="no node answers there"):
            await ClnRpc(tmp_path / ("e" * 120) / "rpc").begin("getinfo", {})

    asyncio.run(go())
