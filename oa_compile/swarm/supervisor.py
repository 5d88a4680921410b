"""What runs a swarm of this machine: a relay and the ledger in this process, service providers beside it.

Owns their order of starting and ending, that a provider that dies is started again, and that nobody is left
behind: a provider's process reads its standard input, whose other end closes with this one, however it ends.
How a provider serves is its own command's matter (``oacompile swarm provide``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from oa_compile.errors import LaneError
from oa_compile.money import format_msat
from oa_compile.swarm.lightning.ledger_rpc import LedgerServer, serve
from oa_compile.swarm.local_swarm import LocalProvider, Plan, ProviderEnd, Ready, tail
from oa_compile.swarm.provider.provider_home import FolderLock
from oa_compile.swarm.relays.local_relay import LocalRelayHandle, run_local_relay

CUSTOMER = "customer"
READY_SECONDS = 240.0
CLOSE_SECONDS = 8.0
RESTARTS = 3
"""Times a provider is started again: what dies of its own work would die for ever."""
_MOST_LINE = 1 << 20

Told = Callable[[str, Mapping[str, Any]], None]
"""Called with a provider's name and what it said: a job's end, a payment."""


@dataclass(eq=False, slots=True)
class _Child:
    """One provider's process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


class Supervisor:
    """Runs a plan. All of it on the running loop."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        told: Told,
        ended: Callable[[ProviderEnd], None],
    ) -> None:
        """`host` is the relay's IP address; a `port` of 0 is a free one. `told` hears what providers say of
        their jobs, `ended` of each that ended by itself.
        """
        self._plan = plan
        self._folder = folder
        self._host = host
        self._port = port
        self._told = told
        self._ended = ended
        self._lock: FolderLock | None = None
        self._relay: LocalRelayHandle | None = None
        self._ledger: LedgerServer | None = None
        self._children: dict[str, _Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.paid_count = 0
        """Payments that the ledger has seen complete since the start, and their sum."""
        self.paid_msat = 0

    async def start(self) -> Ready:
        """Start all of it; returns when every provider has announced itself. Raises UsageError for a folder
        or a port that cannot be had, LaneError when a provider does not get there.
        """
        self._lock = await asyncio.to_thread(FolderLock, self._folder)
        names = [f"provider-{number}" for number in range(1, self._plan.providers + 1)]
        balances = {CUSTOMER: self._plan.balance_msat} | dict.fromkeys(names, 0)
        self._ledger = await serve(self._folder / "ledger", balances)
        self._ledger.ledger.listen(self._on_payment)
        self._relay = await run_local_relay(host=self._host, port=self._port)
        providers = await asyncio.gather(*map(self._start_provider, names))
        return Ready(
            relays=(self._relay.url,),
            wallet=str(self._ledger.rpc_path(CUSTOMER)),
            network=self._ledger.ledger.network,
            providers=tuple(providers),
            folder=str(self._folder),
            pid=os.getpid(),
        )

    async def watch(self) -> None:
        """Keep all providers running: returns never while one runs or is started again. Raises LaneError when
        the last one has ended for good.
        """
        self._keepers = [asyncio.create_task(self._keep(name)) for name in self._children]
        await asyncio.gather(*self._keepers)
        last = list(self._children.values())[-1]
        raise LaneError(
            f"all service providers have ended; {last.log} ends with:\n{tail(last.log)}",
            hint="their logs say why",
        )

    async def close(self) -> None:
        """End all of it, providers first. Safe to call twice."""
        for keeper in self._keepers:  # from now on nobody is started again
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            if child.process.stdin is not None:
                child.process.stdin.close()
        # What they still say is read: one that cannot write would not end.
        ended = [asyncio.create_task(self._read(child)) for child in children]
        if ended:
            await asyncio.wait(ended, timeout=CLOSE_SECONDS)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
        await asyncio.gather(*ended, return_exceptions=True)
        if self._relay is not None:
            await self._relay.close()
        if self._ledger is not None:
            await self._ledger.close()
        if self._lock is not None:
            self._lock.close()

    def _on_payment(self, payee: str, payment_hash: str) -> None:
        assert self._ledger is not None
        received = self._ledger.ledger.nodes[payee].bills[payment_hash].received_msat
        self.paid_count += bool(received)
        self.paid_msat += received

    async def _start_provider(self, name: str) -> LocalProvider:
        assert self._relay is not None
        assert self._ledger is not None
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = home / "provider.log"
        command = [sys.executable, "-m", "oa_compile", "swarm", "provide", "--json", "--with-parent"]
        command += ["--lane", self._plan.lane, "--relay", self._relay.url, "--dir", str(home)]
        command += ["--price", f"{self._plan.price_msat}msat", "--order", self._plan.order]
        command += ["--wallet", str(self._ledger.rpc_path(name)), "--name", name]
        command += ["--tab", f"{self._plan.tab_limit_msat}msat"]
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                limit=_MOST_LINE,
            )
        self._children[name] = _Child(name, process, log)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                said = await process.stdout.readline()
        except TimeoutError:
            said = b""
        try:
            told = msgspec.json.decode(said)
            return LocalProvider(name, told["provider"], self._plan.price_msat, self._plan.order, process.pid)
        except (msgspec.DecodeError, LookupError, TypeError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise LaneError(
                f"{name} did not start; {log} ends with:\n{tail(log)}",
                hint=f"`oacompile swarm provide --lane {self._plan.lane} --price 0` shows what is wrong",
            ) from error

    async def _keep(self, name: str) -> None:
        """Listen to a provider until it ends, and start it again then, as often as it may."""
        restarts = 0
        while True:
            code = await self._read(self._children[name])
            if restarts == RESTARTS:
                self._ended(ProviderEnd(name, code, restarts))
                return
            restarts += 1
            with contextlib.suppress(LaneError):  # one that does not start has ended as well
                provider = await self._start_provider(name)
                self._ended(ProviderEnd(name, code, restarts, pid=provider.pid))

    async def _read(self, child: _Child) -> int:
        """Pass on what a provider says, one object a line, until it ends; its exit code."""
        assert child.process.stdout is not None
        while line := await child.process.stdout.readline():
            with contextlib.suppress(msgspec.DecodeError):
                told = msgspec.json.decode(line)
                if isinstance(told, dict):
                    self._told(child.name, told)
        return await child.process.wait()


def config_lines(ready: Ready) -> str:
    """What a config says to use these relays and this wallet."""
    relays = ", ".join(f'"{url}"' for url in ready.relays)
    price = max((provider.price_msat for provider in ready.providers), default=0)
    return (
        f'[wallet]\nkind = "ledger"\nrpc = "{ready.wallet}"\n\n'
        f'[lanes.swarm]\nkind = "pylon"\nrelays = [{relays}]\nnetwork = "{ready.network}"\n'
        f'bid = "{2 * price}msat"   # they ask {format_msat(price)}\n'
    )
