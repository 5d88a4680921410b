"""What our lane is measured against: nostr-sdk's Client as one would use it, and a bare websocket."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import nostr_sdk
from websockets.asyncio.client import connect

from oa_compile.swarm.protocol.nip90 import JOB_KIND, RESULT_KIND, Job, draft_job
from swarm_parts.drive import Measured, Meter, Plan, used
from swarm_parts.lane import question


async def nostr_sdk_client(
    relay: str, providers: tuple[str, ...], *, plan: Plan, meter: Meter
) -> list[Measured]:
    """Jobs through nostr-sdk's Client, one standing subscription, each result verified: a measure for
    each part of the plan.
    """
    nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    keys = nostr_sdk.Keys.generate()
    client = (
        nostr_sdk.ClientBuilder()
        .verify_subscriptions(True)
        .notification_channel_size(65_536)
        .authenticator(nostr_sdk.SignerAuthenticator(keys))
        .build()
    )
    await client.add_relay(nostr_sdk.RelayUrl.parse(relay))
    await client.connect(and_wait=timedelta(seconds=5))
    wanted = nostr_sdk.Filter().kinds([nostr_sdk.Kind(RESULT_KIND)]).pubkey(keys.public_key())
    await client.subscribe(nostr_sdk.ReqTarget.auto([wanted]))
    waiting: dict[str, asyncio.Future[nostr_sdk.Event]] = {}
    listener = asyncio.create_task(_listen(client, waiting))
    authors = {pubkey: nostr_sdk.PublicKey.parse(pubkey) for pubkey in providers}
    turns = itertools.cycle(providers)

    async def ask(number: int) -> None:
        provider = next(turns)
        draft = draft_job(Job(chat=question(number), provider=provider))
        tags = [nostr_sdk.Tag.parse(tag) for tag in draft.tags]
        event = nostr_sdk.EventBuilder(nostr_sdk.Kind(JOB_KIND), "").tags(tags).finalize(keys)
        job = event.id().to_hex()
        future = waiting[job] = asyncio.get_running_loop().create_future()
        await client.send_event(event)
        result = await future
        assert result.verify()
        assert result.author() == authors[provider]
        assert result.content() == f"answer to question {number}", result.content()

    try:
        return await _parts(ask, listener, plan=plan, meter=meter)
    finally:
        await client.shutdown()


async def _listen(client: Any, waiting: dict[str, asyncio.Future[Any]]) -> None:
    notifications = client.notifications()
    while (notification := await notifications.next()) is not None:
        if not notification.is_new_event():
            continue
        event = notification.event
        # Its JSON is the cheapest way to its tags: each accessor makes objects across the language border.
        tags = json.loads(event.as_json())["tags"]
        future = waiting.pop(next(tag[1] for tag in tags if tag[0] == "e"), None)
        if future is not None:
            future.set_result(event)


async def websocket_echo(url: str, *, plan: Plan, meter: Meter) -> list[Measured]:
    """Messages of a job's size to a websocket and back, over one connection."""
    padding = "x" * 900
    async with connect(url, compression=None, max_queue=1024, proxy=None) as connection:
        waiting: dict[str, asyncio.Future[None]] = {}

        async def listen() -> None:
            async for message in connection:
                assert isinstance(message, str)
                waiting.pop(message.partition(" ")[0]).set_result(None)

        async def ask(number: int) -> None:
            future = waiting[str(number)] = asyncio.get_running_loop().create_future()
            await connection.send(f"{number} {padding}")
            await future

        return await _parts(ask, asyncio.create_task(listen()), plan=plan, meter=meter)


async def _parts(
    ask: Callable[[int], Awaitable[None]], listener: asyncio.Task[None], *, plan: Plan, meter: Meter
) -> list[Measured]:
    """Every part of the plan, as long as somebody listens."""

    async def parts() -> list[Measured]:
        found = []
        for jobs, at_once in plan:
            before = meter()
            found.append(await _drive(ask, jobs=jobs, at_once=at_once))
            found[-1].cpu = used(before, meter())
        return found

    driving = asyncio.create_task(parts())
    try:
        await asyncio.wait({driving, listener}, return_when=asyncio.FIRST_COMPLETED)
        return driving.result() if driving.done() else listener.result()  # type: ignore[return-value]
    finally:
        for task in (driving, listener):
            task.cancel()
        await asyncio.gather(driving, listener, return_exceptions=True)


async def _drive(ask: Callable[[int], Awaitable[None]], *, jobs: int, at_once: int) -> Measured:
    """As `drive.drive`, with tasks for threads."""
    numbers = iter(range(jobs))
    latencies: list[float] = []

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await ask(number)
            latencies.append(time.perf_counter() - began)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return Measured(time.perf_counter() - start, latencies)
