"""A websocket proxy on loopback in front of a relay, which a test programs to misbehave.

Everything a bad relay does to us is a *rule*: a function from one message (decoded JSON, a list such as
``["EVENT", "s1", {…}]``) to what leaves in its place, in order. It may return

- lists: messages, sent on as JSON (and shown to the rules after it);
- `str` or `bytes`: sent on as they are, as a text or a binary message: garbage of any kind;
- `Back(message)`: sent to whoever sent the message, instead of on;
- `Hold(message)`: kept until `RelayProxy.release()`, in any order: delays and reordering without a clock;
- `HangUp(code, reason)`: the client's connection is closed;
- nothing: the message is lost.

::

    async with RelayProxy(relay.url) as proxy:
        proxy.on_relay(drop("OK", times=1))                 # the relay's first OK is lost
        proxy.on_relay(tamper(6050, lambda event: event | {"content": "no"}))
        proxy.on_client(hold("EVENT", kind=5050))           # until proxy.release()
        network = Relays([proxy.url]); …
        await proxy.seen("EVENT", 2)                        # two have come from clients
        await proxy.restart(refuse=2)                       # all cut, the next two handshakes refused
        await proxy.inject(["AUTH", "at any time"])               # out of nowhere, to every client

`on_client` rules see what clients send, `on_relay` rules what the relay sends; rules are applied in the
order in which they were added, and each call returns a function that takes the rule away again. A rule
with a state of its own for each connection is added as a factory, by `on_each_client` (see `AuthGate`).
Counters: `from_client` and `from_relay` count messages by label before any rule; `clients` is how many
connections there were, `refused` how many handshakes were refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from oa_compile.swarm.protocol.event import event_from, verify

Message = list[Any]


@dataclass(frozen=True, slots=True)
class Back:
    """A message for whoever sent the one at hand."""

    message: Message | str | bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """A message that waits for `RelayProxy.release`."""

    message: Message | str | bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """The end of the client's connection."""

    code: int = 1011
    reason: str = ""


Out = Message | str | bytes | Back | Hold | HangUp
Rule = Callable[[Message], Iterable[Out]]


class RelayProxy:
    """A relay in front of `upstream`. See the module for its use."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._server: Server
        self.url = ""
        self._client_rules: list[Rule] = []
        self._relay_rules: list[Rule] = []
        self._factories: list[Callable[[], Rule]] = []
        self._live: set[ServerConnection] = set()
        self._held: list[tuple[Connection, Message | str | bytes]] = []
        self._moved = asyncio.Condition()
        self._refuse = 0
        self.from_client: Counter[str] = Counter()
        self.from_relay: Counter[str] = Counter()
        self.messages: list[Message] = []
        """Everything clients sent, in order."""
        self.clients = 0
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            compression=None,
            max_size=None,
            close_timeout=0.5,
            process_request=self._handshake,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, and cut all connections."""
        self._server.close()
        await self._server.wait_closed()

    # what a test does with it

    def on_client(self, rule: Rule) -> Callable[[], None]:
        """Apply `rule` to what clients send; returns what takes it away again."""
        self._client_rules.append(rule)
        return lambda: self._client_rules.remove(rule)

    def on_relay(self, rule: Rule) -> Callable[[], None]:
        """Apply `rule` to what the relay sends; returns what takes it away again."""
        self._relay_rules.append(rule)
        return lambda: self._relay_rules.remove(rule)

    def on_each_client(self, factory: Callable[[], Rule]) -> None:
        """Apply a rule of its own, made by `factory`, to what each client to come sends."""
        self._factories.append(factory)

    async def inject(self, message: Message | str | bytes) -> None:
        """Send to every client, as if the relay had; waits until there is one."""
        async with self._moved:
            await self._moved.wait_for(lambda: bool(self._live))
        for client in list(self._live):
            await _send(client, message)

    def release(self, *, backwards: bool = False) -> int:
        """Send on what is held, last first if `backwards`; returns how many there were."""
        held, self._held = self._held, []

        async def send() -> None:
            for to, message in reversed(held) if backwards else held:
                await _send(to, message)

        if held:
            asyncio.get_running_loop().create_task(send())
        return len(held)

    async def restart(self, *, refuse: int = 0) -> None:
        """Cut all connections, and refuse the next `refuse` handshakes with a 503."""
        self._refuse = refuse
        for client in list(self._live):
            client.transport.abort()
        async with self._moved:
            await self._moved.wait_for(lambda: not self._live)

    async def hung(self, count: int = 1) -> None:
        """Wait until `count` messages are held."""
        async with self._moved:
            await self._moved.wait_for(lambda: len(self._held) >= count)

    async def seen(self, label: str, times: int = 1) -> None:
        """Wait until clients have sent so many messages of that label in all."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.from_client[label] >= times)

    async def relayed(self, label: str, times: int = 1) -> None:
        """Wait until the relay has sent so many messages of that label in all."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.from_relay[label] >= times)

    async def connected(self, times: int = 1) -> None:
        """Wait until there were so many connections in all."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.clients >= times)

    # how it works

    def _handshake(self, connection: ServerConnection, _request: Request) -> Response | None:
        if not self._refuse:
            return None
        self._refuse -= 1
        self.refused += 1
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not now\n")

    async def _serve(self, client: ServerConnection) -> None:
        rules = [factory() for factory in self._factories]
        self._live.add(client)  # before anything is waited for: whoever is connected can be cut
        self.clients += 1
        await self._notify()
        try:
            relay = await connect(
                self._upstream, compression=None, max_size=None, close_timeout=0.5, proxy=None
            )
        except OSError:
            self._live.discard(client)
            await self._notify()
            return
        try:
            outward = asyncio.create_task(
                self._pump(
                    client,
                    relay,
                    client=client,
                    own=rules,
                    shared=self._client_rules,
                    counter=self.from_client,
                )
            )
            inward = asyncio.create_task(
                self._pump(
                    relay, client, client=client, own=[], shared=self._relay_rules, counter=self.from_relay
                )
            )
            _, left = await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)
            for task in (outward, inward):
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error  # a rule is wrong: the server's log tells
        finally:
            self._live.discard(client)
            await relay.close()
            await self._notify()

    async def _pump(
        self,
        source: Connection,
        onward: Connection,
        *,
        client: Connection,
        own: list[Rule],
        shared: list[Rule],
        counter: Counter[str],
    ) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for raw in source:
                message = json.loads(raw)
                counter[message[0]] += 1
                if source is client:
                    self.messages.append(message)
                outs: list[Out] = [message]
                for rule in [*own, *shared]:
                    outs = [
                        after
                        for before in outs
                        for after in (rule(before) if isinstance(before, list) else [before])
                    ]
                for out in outs:
                    match out:
                        case Back(back):
                            await _send(source, back)
                        case Hold(held):
                            self._held.append((onward, held))
                        case HangUp(code, reason):
                            await client.close(code, reason)
                        case _:
                            await _send(onward, out)
                await self._notify()

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()


async def _send(to: Connection, message: Message | str | bytes) -> None:
    with contextlib.suppress(ConnectionClosed):
        await to.send(json.dumps(message) if isinstance(message, list) else message)


# rules


def _is(message: Message, label: str, kind: int | None) -> bool:
    if message[0] != label:
        return False
    return kind is None or (isinstance(message[-1], dict) and message[-1].get("kind") == kind)


def each(
    label: str, do: Callable[[Message], Iterable[Out]], *, kind: int | None = None, times: int | None = None
) -> Rule:
    """Do something with the messages of a label (and of an event's kind), `times` of them at most; the
    others pass.
    """
    left = itertools.repeat(True) if times is None else itertools.repeat(True, times)

    def rule(message: Message) -> Iterable[Out]:
        if _is(message, label, kind) and next(left, False):
            return do(message)
        return [message]

    return rule


def drop(label: str, *, kind: int | None = None, times: int | None = None) -> Rule:
    """Lose messages."""
    return each(label, lambda _: [], kind=kind, times=times)


def duplicate(label: str, *, kind: int | None = None, copies: int = 2) -> Rule:
    """Send messages several times."""
    return each(label, lambda message: [message] * copies, kind=kind)


def hold(label: str, *, kind: int | None = None, times: int | None = None) -> Rule:
    """Keep messages until `RelayProxy.release`."""
    return each(label, lambda message: [Hold(message)], kind=kind, times=times)


def tamper(
    kind: int,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    first: bool = False,
    times: int | None = None,
) -> Rule:
    """Change events of a kind; with `first` the changed one comes before the real one, not in its place."""

    def do(message: Message) -> Iterable[Out]:
        changed = [*message[:-1], change(dict(message[-1]))]
        return [changed, message] if first else [changed]

    return each("EVENT", do, kind=kind, times=times)


def refuse(reason: str, *, kind: int | None = None, name: bool = True, times: int | None = None) -> Rule:
    """For clients: answer EVENT with OK false; with `name=False` the OK does not say for which event."""

    def do(message: Message) -> Iterable[Out]:
        return [Back(["OK", message[1]["id"] if name else "", False, reason])]

    return each("EVENT", do, kind=kind, times=times)


def ignore_filters(*events: dict[str, Any]) -> Rule:
    """Send these events, asked for or not, before each EOSE."""
    return each("EOSE", lambda message: [*(["EVENT", message[1], event] for event in events), message])


class AuthGate:
    """A relay that wants to know who is there: a rule for `RelayProxy.on_each_client`.

    It refuses EVENT and REQ with ``auth-required:`` and sends a challenge with each refusal, as LocalRelay
    does, until an AUTH answers its newest challenge with a valid event for `url` of a key in `allowed` (any
    key when empty).
    """

    def __init__(self, url: str, *, allowed: Iterable[str] = ()) -> None:
        self._url, self._allowed = url, frozenset(allowed)
        self._numbers = itertools.count(1)
        self._challenge = ""
        self.passed = False

    def __call__(self, message: Message) -> Iterable[Out]:
        label = message[0]
        if label == "AUTH":
            return [Back(self._judge(message[1]))]
        if self.passed or label not in {"EVENT", "REQ"}:
            return [message]
        self._challenge = f"challenge {next(self._numbers)}"
        words = "auth-required: who are you?"
        refused = (
            ["OK", message[1]["id"], False, words] if label == "EVENT" else ["CLOSED", message[1], words]
        )
        return [Back(["AUTH", self._challenge]), Back(refused)]

    def _judge(self, raw: dict[str, Any]) -> Message:
        event = event_from(raw)
        fine = (
            verify(event)
            and event.kind == 22242
            and event.value("relay") == self._url
            and event.value("challenge") == self._challenge
        )
        if fine and self._allowed and event.pubkey not in self._allowed:
            return ["OK", event.id, False, "restricted: you are not on the list"]
        self.passed = fine
        return ["OK", event.id, fine, "" if fine else "invalid: wrong challenge"]
