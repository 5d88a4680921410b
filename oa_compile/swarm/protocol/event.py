"""A Nostr event: made, signed, read and verified.

Owns NIP-01's canonical bytes and signatures, on coincurve. What an event says is `nip90`'s matter. An
event read from anywhere is foreign until `verify` says otherwise.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from functools import lru_cache
from typing import Any, NamedTuple

import coincurve
import msgspec
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]  # compiled: no stubs

from oa_compile.errors import UsageError

Tags = list[list[str]]


class Event(msgspec.Struct, frozen=True):
    """A signed event, field for field as NIP-01 writes it. Hex is lower case."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str
    sig: str

    def first(self, name: str) -> list[str] | None:
        """The first tag of that name, name included; None if there is none."""
        return next((tag for tag in self.tags if tag and tag[0] == name), None)

    def value(self, name: str) -> str | None:
        """The first value of the first tag of that name."""
        tag = self.first(name)
        return tag[1] if tag is not None and len(tag) > 1 else None


class Draft(NamedTuple):
    """An event before it is signed."""

    kind: int
    tags: Tags
    content: str


_PUBKEY = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)
_CONTEXT = coincurve.GLOBAL_CONTEXT.ctx


def event_id(pubkey: str, created_at: int, kind: int, tags: Tags, content: str) -> str:
    """SHA-256 of NIP-01's canonical JSON, as hex. msgspec escapes exactly what NIP-01 names."""
    body = _encoder.encode([0, pubkey, created_at, kind, tags, content])
    return hashlib.sha256(body).hexdigest()


def encode_event(event: Event) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode_event(raw: bytes | str) -> Event:
    """An event from JSON; checks types only. Raises ValueError."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # A field that is no event's is skipped, however deep it is nested: deep enough, it ends the decoder.
        raise ValueError(f"not an event: {error}") from error


def event_from(value: Any) -> Event:
    """An event from what a JSON decoder made of it. Raises ValueError."""
    try:
        return msgspec.convert(value, Event)
    except msgspec.ValidationError as error:
        raise ValueError(f"not an event: {error}") from error


def verify(event: Event) -> bool:
    """Whether the id is that of the content and the signature is the author's over it. Never raises.

    Hex in any other spelling (capitals, spaces) is refused: one key would have many names, and whoever
    counts or blocks providers by their keys could be fooled with them.
    """
    if not (_PUBKEY.fullmatch(event.pubkey) and _SIGNATURE.fullmatch(event.sig)):
        return False
    try:
        if event.id != event_id(event.pubkey, event.created_at, event.kind, event.tags, event.content):
            return False
        return bool(_author(event.pubkey).verify(bytes.fromhex(event.sig), bytes.fromhex(event.id)))
    except (ValueError, UnicodeEncodeError):
        return False


@lru_cache(maxsize=4096)
def _author(pubkey: str) -> coincurve.PublicKeyXOnly:
    """The point of a public key: finding it takes a fifth of verifying, and authors write more than once."""
    return coincurve.PublicKeyXOnly(bytes.fromhex(pubkey))


class Keys:
    """A secret key and what is done with it. Its repr shows the public half only."""

    __slots__ = ("_pair", "_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """From 32 bytes. Raises UsageError for what is no secp256k1 key."""
        try:
            if len(secret) != 32:  # coincurve pads a short one
                raise ValueError("32 bytes")
            self._secret = coincurve.PrivateKey(secret)
        except ValueError as error:
            raise UsageError("not a secret key: 32 bytes (64 hex digits) are wanted") from error
        # coincurve's own sign_schnorr makes the pair anew each time and verifies what it made: three times
        # the work, on the hot path of every job.
        self._pair = ffi.new("secp256k1_keypair *")
        lib.secp256k1_keypair_create(_CONTEXT, self._pair, secret)
        self.public: str = coincurve.PublicKeyXOnly.from_secret(secret).format().hex()
        """The public key, 64 hex digits."""

    def __repr__(self) -> str:
        return f"Keys({self.public})"

    @classmethod
    def generate(cls) -> Keys:
        """New random keys."""
        while True:
            secret = os.urandom(32)
            try:
                return cls(secret)
            except UsageError:  # one in 2^128 is above the curve's order
                continue

    @classmethod
    def from_hex(cls, text: str) -> Keys:
        """From 64 hex digits. Raises UsageError, never with the text in it."""
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            secret = b""
        if len(secret) != 32:
            raise UsageError("not a secret key: 64 hex digits are wanted")
        return cls(secret)

    @property
    def secret_hex(self) -> str:
        """The secret itself, for a file of its owner's or another library; never for a log."""
        return self._secret.secret.hex()

    def sign(self, draft: Draft, *, created_at: int | None = None) -> Event:
        """`draft` as a signed event of now, or of `created_at` (Unix seconds)."""
        at = int(time.time()) if created_at is None else created_at
        id_ = event_id(self.public, at, draft.kind, draft.tags, draft.content)
        return Event(
            id_, self.public, at, draft.kind, draft.tags, draft.content, self._signature(bytes.fromhex(id_))
        )

    def _signature(self, message: bytes) -> str:
        """BIP 340's signature over 32 bytes, as hex."""
        made = ffi.new("unsigned char[64]")
        if not lib.secp256k1_schnorrsig_sign32(_CONTEXT, made, message, self._pair, os.urandom(32)):
            raise AssertionError("libsecp256k1 does not sign with a valid key pair")
        return bytes(ffi.buffer(made)).hex()
