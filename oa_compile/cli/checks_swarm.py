"""What `doctor` looks at for a swarm's lane: relays, wallet, providers, and what leaves.

A swarm of this machine is not started, only its parts are looked at; relays and a wallet that a config
names are connected to, all at once, for a few seconds. Nothing is asked of a provider, and nothing is paid.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from oa_compile.cli.check import Check, failed
from oa_compile.cli.runs import RUNS, records_of_runs
from oa_compile.errors import OacompileError

if TYPE_CHECKING:
    from oa_compile.spec.config import Config
    from oa_compile.spec.lanes import PylonLaneSpec
    from oa_compile.swarm.lightning.wallet import Wallet
    from oa_compile.swarm.market.census import Census
    from oa_compile.swarm.protocol.event import Keys
    from oa_compile.swarm.relays.relay_info import Limits

SECONDS = 8.0
"""For everything that is connected to."""
_ROOM = 1.4
"""Times a prompt's bytes: encryption (4/3), and what else stands in an event."""


def swarm_checks(config: Config, name: str, spec: PylonLaneSpec) -> Iterator[Check]:
    """The rows of one lane of kind ``pylon``."""
    if spec.is_local:
        yield from _local(config, name, spec)
    else:
        yield from _lane(config, name, spec)
        yield from asyncio.run(_connected(config, name, spec))
    yield _privacy(name, spec)


def _privacy(name: str, spec: PylonLaneSpec) -> Check:
    mode = spec.privacy_in_force
    found = f"{mode}, prompts up to {spec.max_prompt_bytes:,} bytes, " + (
        "encrypted to the provider" if spec.encrypt else "readable by everybody on the relays"
    )
    if mode == "open" and not spec.is_local:
        return Check(f"privacy of {name}", "warn", found, 'set privacy = "paths", or one that hides more')
    if not spec.encrypt and not spec.is_local:
        return Check(f"privacy of {name}", "warn", found, "set encrypt = true")
    return Check(f"privacy of {name}", "ok", found)


# -- a swarm of this machine ---------------------------------------------------------------------


def _local(config: Config, name: str, spec: PylonLaneSpec) -> Iterator[Check]:
    from oa_compile.lanes.weights import resolve
    from oa_compile.money import format_msat, parse_amount

    label, local, rate = f"lane {name}", spec.local, config.money.rate
    try:
        weights = resolve(local.model, offline=True)
    except OacompileError as error:
        yield failed(label, error)
    else:
        price = parse_amount(local.price, rate)
        found = f"{spec.kind}: {local.providers} providers on this machine at {format_msat(price)}"
        found += f", weights at {weights.path}"
        if price > parse_amount(spec.bid, rate):
            yield Check(label, "fail", f"{found}; the bid is {spec.bid}", f'set bid = "{price}msat" or more')
        else:
            yield Check(label, "ok", found)
    balance, cost = parse_amount(local.balance, rate), _cost(config)
    found = f"embedded ledger, begins with {format_msat(balance)}"
    if cost is not None and balance < cost:
        fix = f"raise local.balance, or lower the budget of {format_msat(cost)}"
        yield Check(f"wallet of {name}", "warn", found, fix)
    else:
        yield Check(f"wallet of {name}", "ok", found)


def _cost(config: Config) -> int | None:
    """The run's cap in msat."""
    return config.budget.caps(config.money.rate).msat


# -- relays and a wallet elsewhere ---------------------------------------------------------------


def _lane(config: Config, name: str, spec: PylonLaneSpec) -> Iterator[Check]:
    """Whether the lane can be made: its keys and amounts."""
    from oa_compile.hud.text import counted
    from oa_compile.lanes.build import build_lanes

    try:
        build_lanes(config, [name], secrets=os.environ.get)[name].close()
    except OacompileError as error:
        yield failed(f"lane {name}", error)
    else:
        yield Check(
            f"lane {name}", "ok", f"{spec.kind}: {counted(len(spec.relays), 'relay')}, bid {spec.bid}"
        )


async def _connected(config: Config, name: str, spec: PylonLaneSpec) -> list[Check]:
    from oa_compile.swarm.protocol.event import Keys

    keys = Keys.generate()
    relays = [_guarded(f"relay {url}", _relay(url, spec, keys)) for url in spec.relays]
    others = (
        _guarded(f"wallet of {name}", _wallet(config, name, spec)),
        _guarded(f"providers of {name}", _providers(config, name, spec, keys)),
    )
    return list(await asyncio.gather(*relays, *others))


async def _guarded(label: str, work: Awaitable[Check]) -> Check:
    """A row in any case, within the time there is."""
    try:
        async with asyncio.timeout(SECONDS):
            return await work
    except TimeoutError:
        return Check(label, "fail", f"no answer in {SECONDS:g} s", "see whether it is up, or name another")
    except OacompileError as error:
        return failed(label, error)


async def _relay(url: str, spec: PylonLaneSpec, keys: Keys) -> Check:
    from oa_compile.swarm.protocol.nip89 import HANDLER_KIND
    from oa_compile.swarm.relays.relay_info import fetch_limits
    from oa_compile.swarm.relays.relays import Relays

    label = f"relay {url}"
    relays = Relays([url], keys=keys)
    await relays.open()
    try:
        await relays.fetch([{"kinds": [HANDLER_KIND], "limit": 1}], seconds=2.0)
        state, trouble = relays.states()[url], relays.troubles().get(url, "")
    finally:
        await relays.close()
    limits = await fetch_limits(url)
    if state != "open":
        found = f"{state}: {trouble or 'it asks who we are, and does not take our word'}"
        return Check(label, "fail", found, "use another relay, or set key_env to a key that it knows")
    return _limited(label, spec, limits)


def _limited(label: str, spec: PylonLaneSpec, limits: Limits | None) -> Check:
    """A relay that is open, held against what it says of its limits."""
    if limits is None:
        return Check(label, "ok", "connected; says nothing of its limits")
    if limits.payment_required or limits.restricted_writes:
        word = "payment" if limits.payment_required else "leave"
        return Check(label, "warn", f"connected; wants {word} before it takes events", "use another relay")
    needed = round(spec.max_prompt_bytes * _ROOM)
    most = min(limits.max_message_length or needed, limits.max_content_length or needed)
    if most < needed:
        fix = f"set max_prompt_bytes = {max(int(most / _ROOM), 256)}, or use another relay"
        return Check(label, "warn", f"connected; takes events up to {most:,} bytes", fix)
    told = "knows who asks" if limits.auth_required else "no authentication"
    return Check(label, "ok", f"connected; {told}, events up to {most:,} bytes or more")


async def _wallet(config: Config, name: str, spec: PylonLaneSpec) -> Check:
    from oa_compile.money import format_msat

    label, cost = f"wallet of {name}", _cost(config)
    wallet, network = await _opened(config)
    try:
        on = "" if network is None else await network()
        balance = await wallet.balance_msat()
    finally:
        await wallet.close()
    found = f"{config.wallet.kind}{f' on {on}' if on else ''}, " + (
        "does not tell its balance" if balance is None else f"holds {format_msat(balance)}"
    )
    if on and on != spec.network:
        return Check(
            label, "fail", f"{found}; the lane pays on {spec.network}", f'set network = "{on}" in the lane'
        )
    if cost is not None and balance is not None and balance < cost:
        fix = f"fund it, or lower the budget of {format_msat(cost)}"
        return Check(label, "warn", found, fix)
    if not wallet.bounds_fees:
        fix = "nothing, if the wallet's own fee limit is low; a wallet of kind cln keeps to max_fee"
        return Check(label, "warn", f"{found}; it takes no limit on fees", fix)
    return Check(label, "ok", found)


async def _opened(config: Config) -> tuple[Wallet, Callable[[], Awaitable[str]] | None]:
    """The wallet, and the question which network it is on, if it can be asked that."""
    from oa_compile.errors import UsageError

    spec = config.wallet
    if spec.kind == "nwc":
        from oa_compile.swarm.lightning.nwc import NwcWallet

        uri = os.environ.get(spec.uri_env)
        if not uri:
            raise UsageError(
                f"the variable {spec.uri_env} is not set", hint="it holds a nostr+walletconnect:// address"
            )
        return NwcWallet(uri), None
    from oa_compile.swarm.lightning.cln import ClnWallet

    if not spec.rpc:
        raise UsageError("no wallet is named", hint='[wallet] kind = "cln" and rpc = "…/lightning-rpc"')
    node = ClnWallet(Path(spec.rpc).expanduser(), kind=spec.kind)
    return node, node.network


async def _providers(config: Config, name: str, spec: PylonLaneSpec, keys: Keys) -> Check:
    from oa_compile.swarm.market.census import take_census
    from oa_compile.swarm.relays.relays import Relays

    relays = Relays(spec.relays, keys=keys)
    await relays.open()
    try:
        census = await take_census(relays, seconds=3.0)
    finally:
        await relays.close()
    return _eligible(config, name, spec, census)


def _eligible(config: Config, name: str, spec: PylonLaneSpec, census: Census) -> Check:
    """How many of those who announced themselves the lane would ask."""
    from collections import Counter

    from oa_compile.hud.text import clean, counted
    from oa_compile.money import parse_amount
    from oa_compile.swarm.market.market import Market

    label = f"providers of {name}"
    market = Market(
        bid_msat=parse_amount(spec.bid, config.money.rate),
        seed=0,
        allow=frozenset(spec.providers),
        records=records_of_runs(RUNS),
        network=spec.network,
    )
    for handler in census.handlers:
        market.offer(handler)
    rows = market.explain()
    fit = [row for row in rows if row.state != "not eligible"]
    found = f"{counted(len(rows), 'provider')} announced, {len(fit)} eligible"
    if fit:
        return Check(label, "ok", found)
    if not rows:
        return Check(
            label, "fail", found, "name other relays; `oacompile swarm provide` serves a lane of yours"
        )
    reason, count = Counter(row.why_not for row in rows).most_common(1)[0]
    return Check(
        label,
        "fail",
        f"{found}; {count} × {clean(reason)}",
        "raise the bid, or change `network` or `providers` of the lane",
    )
