"""``oacompile swarm up``: a relay, a ledger and service providers on this machine, for others to use."""

from __future__ import annotations

import asyncio
import json as json_module
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.cli.swarm_options import LaneName, PayOrder, Price, Tab, WithParent, amount
from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.swarm.local_swarm import Plan, ProviderEnd, Ready
    from oa_compile.swarm.supervisor import Supervisor


def up(
    providers: Annotated[
        int, typer.Option("--providers", metavar="<int>", min=1, max=64, help="Service providers to start.")
    ] = 3,
    lane: LaneName = "embedded",
    price: Price = "10msat",
    order: PayOrder = "result-first",
    tab: Tab = "0",
    balance: Annotated[
        str,
        typer.Option("--balance", metavar="<amount>", help="What the customer's wallet begins with."),
    ] = "100000sat",
    host: Annotated[
        str, typer.Option("--host", metavar="<address>", help="IP address that the relay listens on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="<int>", min=0, max=65535, help="Its port; 0 is a free one.")
    ] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="<folder>", help="Keeps wallets, keys and debts; a temporary one if left out."
        ),
    ] = None,
    json: Json = False,
    with_parent: WithParent = False,
    throw_away: Annotated[bool, typer.Option("--throw-away", hidden=True)] = False,
) -> int:
    """Run a swarm on this machine: a relay, an embedded ledger, and service providers.

    Says where they are and what to write into a config, and runs until Ctrl-C. With --json, the first
    line has the addresses, and each further one is a job or a payment. The money is the ledger's own.
    """
    from oa_compile.cli.swarm_service import serve
    from oa_compile.swarm.local_swarm import Plan

    _check_host(host)
    screen = output.current()
    home = (folder or Path(tempfile.mkdtemp(prefix="oacompile-swarm-"))).absolute()
    try:
        plan = Plan(
            folder=home,
            providers=providers,
            lane=lane,
            price_msat=amount("--price", price),
            order=order,
            balance_msat=amount("--balance", balance),
            tab_limit_msat=amount("--tab", tab),
        )
        _prepare(lane, screen=screen)
        work = _run(plan, home, host=host, port=port, screen=screen, json=json, quiet=with_parent)
        return serve(work, with_parent=with_parent)
    finally:
        if folder is None or throw_away:
            shutil.rmtree(home, ignore_errors=True)


def _check_host(host: str) -> None:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise UsageError(
            f"--host: {host!r} is no IP address", hint="127.0.0.1, or 0.0.0.0 for all"
        ) from error


def _prepare(lane: str, *, screen: Output) -> None:
    """Fetch an embedded model once, before several processes want it."""
    kind, _, model = lane.partition(":")
    if kind == "embedded":
        from oa_compile.cli.runs import fetch_bar
        from oa_compile.lanes.weights import resolve
        from oa_compile.spec.lanes import LocalSwarmSpec

        with fetch_bar(screen) as progress:
            resolve(model or LocalSwarmSpec().model, progress=progress)


async def _run(
    plan: Plan, folder: Path, *, host: str, port: int, screen: Output, json: bool, quiet: bool
) -> None:
    import msgspec

    from oa_compile.swarm.supervisor import Supervisor

    counts = _Counts()

    def told(name: str, what: Mapping[str, Any]) -> None:
        counts.take(what)
        if json and not quiet:
            screen.write(json_module.dumps({"name": name, **what}) + "\n")

    def ended(end: ProviderEnd) -> None:
        screen.note(end.text)
        if json:  # also to a parent, which has somebody to tell
            screen.write(msgspec.json.encode(end).decode() + "\n")

    supervisor = Supervisor(plan, folder, host=host, port=port, told=told, ended=ended)
    try:
        ready = await supervisor.start()
        if json:
            screen.write(msgspec.json.encode(ready).decode() + "\n")
        else:
            _show(ready, screen=screen)
        await _watch(supervisor, counts, screen=screen, live=not json)
    finally:
        await supervisor.close()
        if not json:
            screen.note(f"ended: {counts.text(supervisor)}")


class _Counts:
    """What the providers have said so far."""

    def __init__(self) -> None:
        self.answered = 0
        self.declined = 0

    def take(self, what: Mapping[str, Any]) -> None:
        self.answered += what.get("outcome") == "answered"
        self.declined += what.get("outcome") == "declined"

    def text(self, supervisor: Supervisor) -> str:
        return (
            f"{self.answered:,} jobs answered, {self.declined:,} declined, "
            f"{supervisor.paid_count:,} payments, {supervisor.paid_msat:,} msat"
        )


async def _watch(supervisor: Supervisor, counts: _Counts, *, screen: Output, live: bool) -> None:
    """Until all providers have ended, with a live line for a person."""
    if not (live and screen.interactive):
        await supervisor.watch()
        return
    from rich.live import Live
    from rich.text import Text

    watching = asyncio.ensure_future(supervisor.watch())
    try:
        with Live(console=screen.log, auto_refresh=False, transient=True) as line:
            while not watching.done():
                line.update(Text(f"{counts.text(supervisor)} · Ctrl-C ends it"), refresh=True)
                await asyncio.wait({watching}, timeout=0.5)
        await watching
    finally:
        watching.cancel()


def _show(ready: Ready, *, screen: Output) -> None:
    from oa_compile.money import format_msat
    from oa_compile.swarm.supervisor import config_lines

    screen.show(
        f"relay    {', '.join(ready.relays)}", f"wallet   {ready.wallet}", f"kept in  {ready.folder}", ""
    )
    for provider in ready.providers:  # keys are copied: each on a line that nothing breaks
        price = format_msat(provider.price_msat) if provider.price_msat else "free"
        screen.show(f"{provider.name:<13}{price:<10}{provider.order:<14}{provider.pubkey}")
    screen.show("", "to use it, in a config:", "", config_lines(ready))
