"""What our lane is measured against: the same jobs by nostr-sdk's Client, used by somebody who knows it.

One standing subscription at either end, and the settings found to be fastest here: events as a stream, for
the notifications bring every relay message too; no waiting for a relay's OK; tags that come again and again
made once; one look at an event's JSON, for each accessor makes objects across the language border. The Client
verifies id and signature of what it hands on (one that is forged or changed never comes), so nothing is
verified twice.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import nostr_sdk

from oa_compile.swarm.protocol.nip90 import JOB_KIND, RESULT_KIND, Job, draft_job
from swarm_parts.drive import Measured, Meter, Plan, run_parts
from swarm_parts.lane import question

Pubkey = str
_STANDING = timedelta(days=1)
_NO_OK = nostr_sdk.AckPolicy.none()
_JOB = nostr_sdk.Kind(JOB_KIND)
_RESULT = nostr_sdk.Kind(RESULT_KIND)


async def ask_providers(
    relay: str, providers: tuple[Pubkey, ...], *, plan: Plan, meter: Meter
) -> list[Measured]:
    """Jobs through a Client, by turns to each of `providers`: a measure for each part of the plan. Raises
    AssertionError for a wrong answer, or one by another than was asked.
    """
    keys = nostr_sdk.Keys.generate()
    client = await _connected(relay)
    waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
    results = await _standing(client, _RESULT, keys)
    turns = itertools.cycle(providers)

    async def listen() -> None:
        async for result in results:
            future = waiting.pop(_named(result, "e"), None)
            if future is not None:
                future.set_result(result)

    async def ask(number: int) -> None:
        provider = next(turns)
        tags = draft_job(Job(chat=question(number), provider=provider)).tags
        job = nostr_sdk.EventBuilder(_JOB, "").tags([_tag(*tag) for tag in tags]).finalize(keys)
        future = waiting[job.id().to_hex()] = asyncio.get_running_loop().create_future()
        await client.send_event(job, ack_policy=_NO_OK)
        result = await future
        assert result["pubkey"] == provider
        assert result["content"] == f"answer to question {number}", result["content"]

    try:
        return await run_parts(ask, asyncio.create_task(listen()), plan=plan, meter=meter)
    finally:
        await client.shutdown()


async def serve_jobs(relay: str, ready: Callable[[Pubkey], None]) -> None:
    """A service provider with the same instant answers as ours, until its standard input ends."""
    keys = nostr_sdk.Keys.generate()
    client = await _connected(relay)
    jobs = await _standing(client, _JOB, keys)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(job: dict[str, Any]) -> None:
        asked = _named(job, "i").rpartition("\n")[2]
        tags = [
            nostr_sdk.Tag.parse(["e", job["id"]]),
            _tag("p", job["pubkey"]),
            _tag("status", "success"),
            _tag("usage", "50", "5", "0"),
            _tag("model", "instant"),
            _tag("finish_reason", "stop"),
        ]
        result = nostr_sdk.EventBuilder(_RESULT, f"answer to {asked}").tags(tags).finalize(keys)
        await client.send_event(result, ack_policy=_NO_OK)

    async def serve() -> None:
        async for job in jobs:
            task = asyncio.create_task(answer(job))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    serving = asyncio.create_task(serve())
    ready(keys.public_key().to_hex())
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    serving.cancel()
    await client.shutdown()


async def _connected(relay: str) -> nostr_sdk.Client:
    nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    client = nostr_sdk.ClientBuilder().verify_subscriptions(True).notification_channel_size(65_536).build()
    await client.add_relay(nostr_sdk.RelayUrl.parse(relay))
    await client.connect(and_wait=timedelta(seconds=5))
    return client


async def _standing(
    client: nostr_sdk.Client, kind: nostr_sdk.Kind, keys: nostr_sdk.Keys
) -> AsyncIterator[dict[str, Any]]:
    """Subscribe to events of that kind for `keys`; each as its JSON."""
    wanted = nostr_sdk.Filter().kinds([kind]).pubkey(keys.public_key())
    until = nostr_sdk.ReqExitPolicy.WAIT_DURATION_AFTER_EOSE(_STANDING)
    stream = await client.stream_events(nostr_sdk.ReqTarget.auto([wanted]), policy=until)

    async def events() -> AsyncIterator[dict[str, Any]]:
        while (item := await stream.next()) is not None:
            if item.event is not None:
                yield json.loads(item.event.as_json())

    return events()


@functools.lru_cache(256)
def _tag(*words: str) -> nostr_sdk.Tag:
    """A tag that comes again and again, made once."""
    return nostr_sdk.Tag.parse(list(words))


def _named(event: dict[str, Any], name: str) -> str:
    """The value of an event's first tag of that name."""
    value: str = next(tag[1] for tag in event["tags"] if tag[0] == name)
    return value
