"""What a relay says of itself over HTTP (NIP-11): its limits, and whether it wants payment or a name."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

_MOST_BYTES = 1 << 18


class Limits(msgspec.Struct, frozen=True):
    """What a relay lets one do; None where it does not say. Bytes and counts."""

    max_message_length: int | None = None
    max_content_length: int | None = None
    auth_required: bool = False
    payment_required: bool = False
    restricted_writes: bool = False


async def fetch_limits(url: str, *, seconds: float = 4.0) -> Limits | None:
    """The limits of the relay at a ``ws://`` or ``wss://`` address; None if it does not say. Never raises for
    what a relay does.
    """
    address = "http" + url.removeprefix("ws")
    headers = {"Accept": "application/nostr+json"}
    try:
        async with (
            httpx.AsyncClient(timeout=seconds, follow_redirects=True) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            response.raise_for_status()
            body = b""
            async for block in response.aiter_bytes():
                body += block
                if len(body) > _MOST_BYTES:
                    return None
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return read_limits(body)


def read_limits(body: bytes) -> Limits | None:
    """The limits in a NIP-11 document; None if it has none."""
    try:
        told: Any = msgspec.json.decode(body)
        return msgspec.convert(told["limitation"], Limits)
    except (msgspec.DecodeError, msgspec.ValidationError, LookupError, TypeError, UnicodeDecodeError):
        return None
