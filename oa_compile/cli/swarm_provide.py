"""``oacompile swarm provide``: any lane as a service provider on Nostr relays."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.cli.swarm_options import (
    LaneName,
    PayOrder,
    Price,
    RelayUrls,
    Tab,
    Wallet,
    WithParent,
    amount,
)
from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.lanes.lane import Lane
    from oa_compile.swarm.protocol.event import Keys
    from oa_compile.swarm.provider.terms import Terms


class _Shop(NamedTuple):
    """Everything one provider is made of."""

    keys: Keys
    terms: Terms
    lane: Lane
    relays: tuple[str, ...]
    wallet: Path | None
    tabs: Path | None
    concurrency: int
    serves_open: bool


def provide(
    lane: LaneName = "embedded",
    price: Price = "0",
    relay: RelayUrls = None,
    wallet: Wallet = None,
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="<name>", help="Variable that holds the secret key (hex).")
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="<file>", help="File that holds the secret key; made if missing."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="<folder>", help="Keeps the key and what customers owe."),
    ] = None,
    order: PayOrder = "result-first",
    tab: Tab = "0",
    models: Annotated[
        str,
        typer.Option(
            "--models", metavar="<names>", help="Models to announce, with commas; the lane's if left out."
        ),
    ] = "",
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", metavar="<int>", min=0, help="Jobs at once; 0 is what the lane takes."),
    ] = 0,
    serves_open: Annotated[
        bool, typer.Option("--open", help="Also take jobs that name no provider.")
    ] = False,
    name: Annotated[str, typer.Option("--name", help="Name to announce.")] = "",
    about: Annotated[str, typer.Option("--about", help="A sentence to announce.")] = "",
    json: Json = False,
    with_parent: WithParent = False,
) -> int:
    """Serve a lane as a service provider (NIP-90, kind 5050) on Nostr relays.

    Announces itself (kind 31990), answers jobs and is paid over Lightning; runs until Ctrl-C. One line a
    job; with --json the first line says who it is, and each further one is a job or a payment.
    """
    from oa_compile.cli.swarm_service import serve
    from oa_compile.swarm.provider.provider_home import FolderLock
    from oa_compile.swarm.provider.terms import Terms

    screen = output.current()
    if key_env and key_file is not None:
        raise UsageError("--key-env and --key-file name two keys, and a provider has one")
    if not relay:
        raise UsageError(
            "on which relay?", hint="--relay wss://…, or `oacompile swarm up` for one of your own"
        )
    msat = amount("--price", price)
    if msat and wallet is None:
        raise UsageError(
            f"a price of {msat} msat needs a wallet to be paid into",
            hint="--wallet ~/.lightning/bitcoin/lightning-rpc, or --price 0",
        )
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(FolderLock(folder))
        keys = _keys(key_env, key_file or (folder and folder / "key"), screen=screen)
        served, named = _lane(lane, screen=screen)
        stack.enter_context(closing(served))
        terms = Terms(
            price_msat=msat,
            order=order,
            models=tuple(part.strip() for part in models.split(",") if part.strip()) or named,
            tab_limit_msat=amount("--tab", tab),
            name=name,
            about=about,
        )
        shop = _Shop(
            keys,
            terms,
            served,
            tuple(relay),
            None if wallet is None else wallet.expanduser(),
            None if folder is None else folder / "tabs.jsonl",
            concurrency or served.concurrency,
            serves_open,
        )
        return serve(_serve(shop, screen=screen, json=json), with_parent=with_parent)


def _keys(variable: str, file: Path | None, *, screen: Output) -> Keys:
    from oa_compile.swarm.key_file import kept_keys
    from oa_compile.swarm.protocol.event import Keys

    if variable:
        value = os.environ.get(variable)
        if not value:
            raise UsageError(
                f"--key-env: the variable {variable} is not set", hint="it holds a secret key, 64 hex digits"
            )
        return Keys.from_hex(value)
    if file is not None:
        return kept_keys(file)
    screen.note("a new key for this time only: --dir or --key-file keeps one, and with it a good name")
    return Keys.generate()


def _lane(text: str, *, screen: Output) -> tuple[Lane, tuple[str, ...]]:
    """The lane, and the models it answers with. Raises UsageError or SpecError."""
    from oa_compile.cli.runs import fetch_bar, secret
    from oa_compile.lanes.build import build_lanes
    from oa_compile.spec.config import Config
    from oa_compile.spec.load import load_config

    kind, _, model = text.partition(":")
    if kind in {"embedded", "litellm"} and (model or kind == "embedded"):
        spec: dict[str, Any] = {"kind": kind, **({"model": model} if model else {})}
        if kind == "embedded":
            spec["instances"] = 1
        config = Config.model_validate({"lanes": {"served": spec}, "stages": {"compile": {"task": "served"}}})
        name = "served"
    else:
        file, _, name = text.rpartition(":")
        if not file.endswith(".toml"):
            raise UsageError(
                f"--lane: {text!r} is no lane",
                hint="write embedded, embedded:<model>, litellm:<model> or <config.toml>:<lane>",
            )
        config = load_config(Path(file)).config
    with fetch_bar(screen) as progress:
        lane = build_lanes(config, [name], secrets=secret, progress=progress)[name]
        named = getattr(config.lanes[name], "model", "")
        if lane.kind == "embedded":
            _warm(lane)
    return lane, ((named,) if named else ())


def _warm(lane: Lane) -> None:
    """Load the model before the first customer waits for it. Raises what keeps it from loading."""
    from oa_compile.chat import ChatMessage, ChatRequest
    from oa_compile.digest import digest_bytes
    from oa_compile.errors import OacompileError
    from oa_compile.lanes.serve import answering
    from oa_compile.swarm.provider.terms import AnswerFailed

    try:
        answering(lane)(ChatRequest((ChatMessage("user", "Hello"),), max_tokens=1), digest_bytes(b""))
    except AnswerFailed as error:
        if isinstance(error.__cause__, OacompileError):
            raise error.__cause__ from None
        raise


async def _serve(shop: _Shop, *, screen: Output, json: bool) -> None:
    """Open the till, the tabs and the relays, serve until cancelled, and let go of them in turn."""
    from dataclasses import replace

    from oa_compile.cli.swarm_teller import Teller
    from oa_compile.lanes.serve import answering
    from oa_compile.swarm.lightning.cln_till import ClnTill
    from oa_compile.swarm.protocol.seal import SealCipher
    from oa_compile.swarm.provider.provider import Provider
    from oa_compile.swarm.provider.till import Tabs
    from oa_compile.swarm.relays.relays import Relays

    async with AsyncExitStack() as stack:
        till, terms = None, shop.terms
        if shop.wallet is not None:
            till = ClnTill(shop.wallet)
            stack.push_async_callback(till.close)
            await till.open()
            terms = replace(terms, network=await _network(shop.wallet))
        tabs = stack.enter_context(closing(Tabs(shop.tabs)))
        relays = Relays(shop.relays, keys=shop.keys)
        stack.push_async_callback(relays.close)
        await relays.open()
        teller = Teller(screen, json=json, till=till, seconds=terms.invoice_seconds)
        stack.push_async_callback(teller.close)
        provider = Provider(
            shop.keys,
            relays,
            answer=answering(shop.lane),
            terms=terms,
            till=till,
            tabs=tabs,
            cipher=SealCipher(shop.keys),
            concurrency=shop.concurrency,
            serves_open=shop.serves_open,
            on_served=teller.served,
        )
        stack.push_async_callback(provider.close)
        await provider.start()
        teller.ready(shop.keys.public, shop.relays, terms, serving=shop.lane.identity)
        try:
            await asyncio.Event().wait()
        finally:
            teller.ended(provider.tally.answered, provider.tally.declined, owed_msat=tabs.total())


async def _network(wallet: Path) -> str:
    """The Lightning network of a node."""
    from oa_compile.swarm.lightning.cln import ClnWallet

    node = ClnWallet(wallet)
    try:
        return await node.network()
    finally:
        await node.close()
