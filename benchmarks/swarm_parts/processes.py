"""The swarm of the benchmark: relay, ledger, service providers and an echo, a process each.

    python -m swarm_parts.processes relay|ledger|provider|sdk-provider|echo …      what `Processes` starts

A process says one line of JSON when it is ready, and ends with its standard input. A provider takes orders
there, a line of JSON each: the terms to serve under from now on, or "times", what its jobs took.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.swarm.lightning.cln_till import ClnTill
from oa_compile.swarm.lightning.ledger_rpc import serve as serve_ledger
from oa_compile.swarm.protocol.event import Event, Keys
from oa_compile.swarm.protocol.nip90 import job_of
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.provider.provider import Provider
from oa_compile.swarm.provider.terms import Terms
from oa_compile.swarm.provider.till import Tabs
from oa_compile.swarm.relays.local_relay import run_local_relay
from oa_compile.swarm.relays.network import Filter, Published, Subscription
from oa_compile.swarm.relays.relays import Relays

PROVIDERS = 3
PRICE_MSAT = 10
FUNDS_MSAT = 10**12
TAB_LIMIT_MSAT = 10**9
_TICKS = os.sysconf("SC_CLK_TCK")


def answer(request: ChatRequest, _key: str) -> ChatAnswer:
    """An answer at once, that tells which question it belongs to."""
    return ChatAnswer(f"answer to {request.messages[-1].content}", Usage(50, 5), model="instant")


# -- as the benchmark sees them ------------------------------------------------------------------


class Processes:
    """All of them, from entering to leaving the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._processes: dict[str, list[subprocess.Popen[str]]] = {}

    def __enter__(self) -> Self:
        with self._stack:
            self.relay: str = self._start("relay")["url"]
            self.echo: str = self._start("echo")["url"]
            self.wallets: dict[str, str] = self._start("ledger", str(self._folder / "ledger"))
            for number in range(PROVIDERS):
                tabs = str(self._folder / f"tabs-{number}.jsonl")
                self._start("provider", self.relay, self.wallets[f"provider-{number}"], tabs)
            sdk = (self._start("sdk-provider", self.relay) for _ in range(PROVIDERS))
            self.sdk_providers: tuple[str, ...] = tuple(said["pubkey"] for said in sdk)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def serve(self, terms: dict[str, Any]) -> tuple[str, ...]:
        """Have the providers serve under new terms, with new keys; their public keys."""
        return tuple(said["pubkey"] for said in self._order(terms))

    def times(self) -> dict[str, dict[str, float]]:
        """Since the last time: by job, when its provider heard of it (``heard``) and said its first and its
        last word on it, on the clock all processes share.
        """
        return {job: times for said in self._order("times") for job, times in said.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """What each kind of process has used of a core so far; this one is the customer. Providers are of
        one kind, whatever they are built on: only those that are asked use anything.
        """
        used = {kind: sum(map(_cpu_seconds, them)) for kind, them in self._processes.items()}
        used["provider"] += used.pop("sdk-provider")
        return {"customer": time.process_time()} | used

    def _order(self, order: Any) -> list[Any]:
        providers = self._processes["provider"]
        for process in providers:
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        return [_heard(process) for process in providers]

    def _start(self, kind: str, *arguments: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "swarm_parts.processes", kind, *arguments],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(_end, process)
        self._processes.setdefault(kind, []).append(process)
        return _heard(process)


def _heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process of the benchmark ended: {process.args}")
    return json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cpu_seconds(process: subprocess.Popen[str]) -> float:
    """User and system time, from the 14th and 15th field of its stat."""
    with suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


# -- what runs in them ---------------------------------------------------------------------------


class Timed:
    """A network that notes when jobs come and when words on them go."""

    def __init__(self, network: Relays) -> None:
        self._network = network
        self.times: dict[str, dict[str, float]] = {}

    async def publish(self, event: Event) -> Published:
        """As `Network.publish`."""
        times = self.times.get(job_of(event) or "")
        if times is not None:
            times.setdefault("first", time.monotonic())
            times["last"] = time.monotonic()
        return await self._network.publish(event)

    async def subscribe(self, filters: Sequence[Filter], on_event: Callable[[Event], None]) -> Subscription:
        """As `Network.subscribe`."""

        def take(event: Event) -> None:
            self.times[event.id] = {"heard": time.monotonic()}
            on_event(event)

        return await self._network.subscribe(filters, take)

    async def fetch(self, filters: Sequence[Filter], *, seconds: float = 5.0) -> list[Event]:
        """As `Network.fetch`."""
        return await self._network.fetch(filters, seconds=seconds)

    async def close(self) -> None:
        """As `Network.close`."""
        await self._network.close()


async def provider(relay: str, wallet: str, tabs: str) -> None:
    """A service provider with instant answers, under whatever terms it is told."""
    network = Relays([relay])
    await network.open()
    till = ClnTill(Path(wallet))
    await till.open()
    serving: Provider | None = None
    timed = Timed(network)
    _say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if order == "times":
            _say(timed.times)
            timed.times = {}
            continue
        if serving is not None:
            await serving.close()
        keys, timed = Keys.generate(), Timed(network)
        measured = timed if order.pop("timed", False) else network
        serving = Provider(
            keys,
            measured,
            answer=answer,
            terms=Terms(network="regtest", most_waiting=10**6, **order),
            till=till,
            tabs=Tabs(Path(tabs)),
            cipher=SealCipher(keys),
            inline=True,
        )
        await serving.start()
        _say({"pubkey": keys.public})
    if serving is not None:
        await serving.close(seconds=0)
    await till.close()
    await network.close()


async def sdk_provider(relay: str) -> None:
    """A service provider on nostr-sdk's Client."""
    from swarm_parts.sdk import serve_jobs  # what loads nostr-sdk, which no other process here needs

    await serve_jobs(relay, lambda pubkey: _say({"pubkey": pubkey}))


async def relay() -> None:
    """nostr-sdk's LocalRelay."""
    running = await run_local_relay()
    _say({"url": running.url})
    await asyncio.to_thread(sys.stdin.read)
    await running.close()


async def ledger(folder: str) -> None:
    """The embedded ledger."""
    names = ["customer", *(f"provider-{number}" for number in range(PROVIDERS))]
    server = await serve_ledger(Path(folder), {"customer": FUNDS_MSAT, **dict.fromkeys(names[1:], 0)})
    _say({name: str(server.rpc_path(name)) for name in names})
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


async def echo() -> None:
    """A bare websocket that sends back what comes."""

    async def back(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve_websocket(back, "127.0.0.1", 0, compression=None, max_queue=1024) as server:
        _say({"url": f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
        await asyncio.to_thread(sys.stdin.read)


def _say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    roles: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "relay": relay,
        "ledger": ledger,
        "provider": provider,
        "sdk-provider": sdk_provider,
        "echo": echo,
    }
    asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
