"""``oacompile swarm providers``: who announces itself on the relays, at what price, with what record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json
from oa_compile.cli.runs import RUNS, records_of_runs
from oa_compile.cli.swarm_options import RelayUrls
from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.cli.swarm_target import Target
    from oa_compile.swarm.market.census import Census
    from oa_compile.swarm.market.choice import Row
    from oa_compile.swarm.market.record import ProviderRecord, Records
    from oa_compile.swarm.protocol.nip89 import Handler

_SECONDS = 5.0


class _Seen(NamedTuple):
    """One provider: what it announces, how the market sees it, what the journals say."""

    handler: Handler
    row: Row
    record: ProviderRecord | None


def providers(
    budget: Budget = None,
    relay: RelayUrls = None,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="<folder>", help="Runs whose journals tell their record.")
    ] = RUNS,
    json: Json = False,
) -> int:
    """List the service providers that announce themselves, with price, terms and record.

    The record is what the journals of the newest runs say: answers, failures, losses, latency. With a
    config, each row says whether its lane would ask that provider, and why not.
    """
    from oa_compile.cli.swarm_target import find_target

    screen = output.current()
    target = find_target(budget, relay)
    if target.spec.is_local:
        raise UsageError(
            "on which relays?"
            if budget is None
            else f"{budget}: its swarm is started for a run and ends with it",
            hint="--relay wss://…, or `oacompile swarm up` for one of this machine",
        )
    records = records_of_runs(runs)
    census = asyncio.run(_census(target))
    seen = _seen(census, target, records, judged=budget is not None)
    if json:
        screen.emit(
            {
                "relays": list(target.spec.relays),
                "providers": [_as_json(one) for one in seen],
                "passed_over": dict(census.passed_over),
            }
        )
    else:
        _show(seen, census, target, screen=screen)
    return 0


async def _census(target: Target) -> Census:
    from oa_compile.swarm.market.census import take_census
    from oa_compile.swarm.protocol.event import Keys
    from oa_compile.swarm.relays.relays import Relays

    relays = Relays(target.spec.relays, keys=Keys.generate())
    await relays.open()
    try:
        return await take_census(relays, seconds=_SECONDS)
    finally:
        await relays.close()


def _seen(census: Census, target: Target, records: Records, *, judged: bool) -> list[_Seen]:
    """Everybody, those first that would be asked first. Not `judged`: any price and network will do."""
    from oa_compile.money import MAX_MSAT, parse_amount
    from oa_compile.swarm.market.market import Market

    spec = target.spec
    market = Market(
        bid_msat=parse_amount(spec.bid, target.rate) if judged else MAX_MSAT,
        seed=0,
        allow=frozenset(spec.providers),
        records=records,
        network=spec.network if judged else "",
    )
    handlers = {handler.provider: handler for handler in census.handlers}
    for handler in census.handlers:
        market.offer(handler)
    return [_Seen(handlers[row.provider], row, records.get(row.provider)) for row in market.explain()]


def _as_json(seen: _Seen) -> dict[str, Any]:
    handler, row, record = seen
    return {
        "provider": handler.provider,
        "name": handler.name,
        "about": handler.about,
        "operator": handler.operator,
        "price_msat": handler.price_msat,
        "order": handler.order,
        "tab_limit_msat": handler.tab_limit_msat,
        "network": handler.network,
        "models": list(handler.models),
        "encrypts": handler.encrypts,
        "announced_at": handler.created_at,
        "state": row.state,
        "why_not": row.why_not,
        "record": None if record is None else _record_json(record),
    }


def _record_json(record: ProviderRecord) -> dict[str, Any]:
    return {
        "answered": record.answered,
        "failed": dict(record.failed),
        "refused": record.refused,
        "lost": {"jobs": record.lost_count, "msat": record.lost_msat},
        "compared": record.compared,
        "disagreed": record.disagreed,
        "paid_msat": record.paid_msat,
        "owed_msat": record.owed_msat,
        "latency_ms": {"p50": record.latency_ms(0.5), "p99": record.latency_ms(0.99)},
    }


def _show(seen: list[_Seen], census: Census, target: Target, *, screen: Output) -> None:
    from rich.table import Table

    from oa_compile.hud.text import clean, counted, plain, shorten

    where = ", ".join(target.spec.relays)
    if not seen:
        screen.show(f"nobody announces text generation (kind 5050) on {where}")
        screen.note("other relays may know more: --relay; `oacompile swarm provide` serves a lane of yours")
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("provider", "name", "price", "paid", "state", "record", "models"):
            table.add_column(title, no_wrap=title != "models")
        for handler, row, record in seen:
            table.add_row(
                handler.provider[:16],
                plain(shorten(handler.name, 16)),
                _price(handler),
                handler.order or "–",
                row.state,
                "none yet" if record is None else _record(record),
                plain(shorten(", ".join(handler.models) or "any", 40)),
            )
        screen.show(table, "", f"{counted(len(seen), 'provider')} on {where}")
        for handler, row, _ in seen:
            if row.why_not:
                screen.show(f"{handler.provider[:16]}  gets no job: {clean(row.why_not)}")
    if census.passed_over:
        reasons = ", ".join(f"{number} {reason}" for reason, number in census.passed_over.items())
        screen.note(f"announcements passed over: {reasons}")


def _price(handler: Handler) -> str:
    from oa_compile.money import format_msat

    if handler.price_msat is None:
        return "not said"
    return format_msat(handler.price_msat) if handler.price_msat else "free"


def _record(record: ProviderRecord) -> str:
    parts = [f"{record.answered:,} answered"]
    if record.failures:
        parts.append(f"{record.failures:,} failed")
    if record.lost_count:
        parts.append(f"{record.lost_count:,} lost")
    if record.disagreed:
        parts.append(f"{record.disagreed:,} of {record.compared:,} disagreed")
    latency = record.latency_ms()
    return ", ".join(parts) + (f", {latency:,} ms" if latency is not None else "")
