"""NIP-44 and NIP-04: what two keys say so that nobody else can read it.

Owns the `Cipher` of the swarm, on nostr_sdk. It writes NIP-44 version 2 and reads both: NIP-90 still names
NIP-04. Which part of an event is encrypted is `nip90`'s matter.
"""

from __future__ import annotations

from functools import lru_cache

from nostr_sdk import (
    InternalError,
    Nip44Version,
    NostrSdkError,
    PublicKey,
    SecretKey,
    nip04_decrypt,
    nip44_decrypt,
    nip44_encrypt,
)

from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.nip90 import ProtocolError
from oa_compile.swarm.protocol.tags import read_hex64

MOST_BYTES = 65_408
"""The longest text nostr_sdk encrypts, in UTF-8; NIP-44 itself ends at 65,535 with its padding."""

_MOST_PEERS = 1024
_NIP04 = "?iv="
"""Stands in every NIP-04 text, and in no base64."""


class SealCipher:
    """Encrypts and decrypts with one secret key. Safe to call from many threads."""

    __slots__ = ("_public", "_secret")

    def __init__(self, keys: Keys) -> None:
        self._secret = SecretKey.parse(keys.secret_hex)
        # Not the module's: nostr_sdk's objects that outlive their interpreter complain on stderr.
        self._public = lru_cache(maxsize=_MOST_PEERS)(_parse)

    def encrypt(self, peer: str, text: str) -> str:
        """`text` for `peer`, as NIP-44. Raises ProtocolError for a text that is empty or over the cap, and
        for a peer that is no public key.
        """
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ProtocolError("not Unicode text: a lone surrogate stands in it") from error
        if not text:
            raise ProtocolError("NIP-44 cannot encrypt an empty text")
        if size > MOST_BYTES:
            raise ProtocolError(
                f"too long to encrypt: {size:,} bytes, and NIP-44 takes {MOST_BYTES:,}; shorten the prompt"
            )
        try:
            sealed: str = nip44_encrypt(self._secret, self._public(peer), text, Nip44Version.V2)
        except NostrSdkError as error:
            raise ProtocolError(f"cannot encrypt to {peer}: {error}") from error
        return sealed

    def decrypt(self, peer: str, text: str) -> str:
        """What `peer` encrypted to us, as NIP-44 or NIP-04. Raises ProtocolError."""
        read = nip04_decrypt if _NIP04 in text else nip44_decrypt
        try:
            opened: str = read(self._secret, self._public(peer), text)
        except (NostrSdkError, InternalError, UnicodeEncodeError) as error:
            raise ProtocolError(f"cannot decrypt what {peer} sent: {error}") from error
        return opened


def _parse(peer: str) -> PublicKey:
    return PublicKey.parse(read_hex64(peer))
