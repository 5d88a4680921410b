"""NIP-01's and NIP-42's messages between a client and a relay, as JSON.

Owns what a message looks like; `relay` owns when it is sent and what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from oa_compile.swarm.protocol.event import Event, encode_event
from oa_compile.swarm.relays.network import Filter


class EventMessage(msgspec.Struct, tag="EVENT", array_like=True, frozen=True):
    """An event for a request, unverified."""

    request: str
    event: Event


class OkMessage(msgspec.Struct, tag="OK", array_like=True, frozen=True):
    """What became of an event that was sent; some relays leave the id of a large one empty."""

    id: str
    accepted: bool
    reason: str = ""


class EoseMessage(msgspec.Struct, tag="EOSE", array_like=True, frozen=True):
    """All that was stored for a request has been sent."""

    request: str


class ClosedMessage(msgspec.Struct, tag="CLOSED", array_like=True, frozen=True):
    """The relay serves a request no more, or not at all."""

    request: str
    reason: str = ""


class NoticeMessage(msgspec.Struct, tag="NOTICE", array_like=True, frozen=True):
    """Words for people."""

    text: str = ""


class AuthMessage(msgspec.Struct, tag="AUTH", array_like=True, frozen=True):
    """The relay wants to know who we are."""

    challenge: str


Message = EventMessage | OkMessage | EoseMessage | ClosedMessage | NoticeMessage | AuthMessage
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def decode_message(raw: bytes) -> Message:
    """A relay's message; what stands behind its last known part is ignored. Raises ValueError."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a relay's message: {error}") from error


def event_frame(event: Event) -> bytes:
    """EVENT: take this event."""
    return b'["EVENT",' + encode_event(event) + b"]"


def auth_frame(event: Event) -> bytes:
    """AUTH: this is who we are."""
    return b'["AUTH",' + encode_event(event) + b"]"


def req_frame(request_id: str, filters: Sequence[Filter]) -> bytes:
    """REQ: send what is stored for any of the filters, and then what comes."""
    return _encoder.encode(["REQ", request_id, *filters])


def close_frame(request_id: str) -> bytes:
    """CLOSE: a request is over."""
    return _encoder.encode(["CLOSE", request_id])
