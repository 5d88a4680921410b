"""A relay of our own, in this process: nostr-sdk's LocalRelay.

Owns its settings, because the library's own are made for guests (60 events a minute). Its events are in
memory, or in an LMDB folder and then there again after a restart. What no setting moves, each a connection:
events over 65,536 bytes are refused; after 1,200 requests a minute the next is closed with
``rate-limited:``; after 6,000 messages a minute it hangs up without a word, and may be called again at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import nostr_sdk

from oa_compile.errors import LaneError

MAX_CONNECTIONS = 500
MAX_EVENT_BYTES = 65_536
"""A larger event is refused: "blocked: event size …"."""
STORED_EVENTS = 500
"""Stored events that one REQ brings, whatever it asks for, unless told otherwise."""
TRIES = 3
CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class LocalRelayHandle:
    """A relay that runs."""

    url: str
    _relay: nostr_sdk.LocalRelay

    async def close(self) -> None:
        """Stop it, and return when its port is free; connections are cut. Safe to call twice."""
        address = urlsplit(self.url)
        with contextlib.suppress(OSError):  # refused: it is gone. And in time it must be.
            async with asyncio.timeout(CLOSE_SECONDS):
                while True:
                    self._relay.shutdown()  # lost on a relay that is just turning to its next connection
                    _, writer = await asyncio.open_connection(address.hostname, address.port)
                    writer.transport.abort()
                    await asyncio.sleep(0.001)


async def run_local_relay(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    nip42: bool = False,
    stored_events: int = STORED_EVENTS,
    folder: Path | None = None,
) -> LocalRelayHandle:
    """Start a relay on `port`, or on a free one for 0; `host` is an IP address. With `nip42` it serves and
    takes nothing before a client has said who it is. Raises LaneError when it cannot listen or store.

    nostr-sdk calls back into one loop of a process, and this makes it the running one.
    """
    nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    builder = (
        nostr_sdk.LocalRelayBuilder()
        .addr(host)
        .max_connections(MAX_CONNECTIONS)
        .default_filter_limit(stored_events)
        .max_filter_limit(stored_events)
        .rate_limit(nostr_sdk.RateLimit(max_reqs=10**6, notes_per_minute=10**8))
    )
    if port:
        builder = builder.port(port)
    if nip42:
        mode = nostr_sdk.LocalRelayBuilderNip42Mode.BOTH
        builder = builder.nip42(nostr_sdk.LocalRelayBuilderNip42(mode=mode))
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            builder = builder.database(await nostr_sdk.NostrLmdb.open(str(folder)))
    except (nostr_sdk.NostrSdkError, OSError) as error:
        raise LaneError(
            f"the relay cannot keep its events in {folder}: {error}", hint="name a folder you may write to"
        ) from error
    tries = 1 if port else TRIES
    while True:
        tries -= 1
        relay = builder.build()
        try:
            await relay.run()
        except nostr_sdk.NostrSdkError as error:
            if tries:  # the free port it found was taken before it listened
                continue
            raise LaneError(
                f"no relay can listen on {host}, port {port or 'any'}: {error}",
                hint="choose another port, or leave it out for a free one",
            ) from error
        return LocalRelayHandle(str(await relay.url()), relay)
