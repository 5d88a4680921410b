"""bech32 as BOLT11 uses it: five-bit words, any number of them, and a checksum no wrong character survives.

Owns alphabet, words and checksum. A value of the type ``bytes`` whose name is `words` holds one five-bit word
a byte. What the words mean is `bolt11`'s matter.
"""

from __future__ import annotations

import base64
from functools import reduce
from operator import xor

ALPHABET = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"

_CHECKSUM = 6
_FOREIGN = 255
_DIGITS = b"0123456789abcdefghijklmnopqrstuv"
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_WORDS = bytes(range(32))
_WORD_OF = bytes(ALPHABET.find(c) if c in ALPHABET else _FOREIGN for c in range(256))
_TO_DIGITS = bytes.maketrans(_WORDS, _DIGITS)
_TO_ALPHABET = bytes.maketrans(_WORDS, ALPHABET)
_FROM_BASE32 = bytes.maketrans(_BASE32, _WORDS)

_TAPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_WORTH = tuple(reduce(xor, (tap for bit, tap in enumerate(_TAPS) if top >> bit & 1), 0) for top in range(32))
"""What the five bits that leave the checksum's register put back."""
_AT_ONCE = 6
"""Words the checksum takes in one step where it can: as many bits as its register has, so that all of them
leave. An invoice has hundreds of words, and a step for each was a fifth of what making it took.
"""


def _shifted(register: int, words: int = 1) -> int:
    """The checksum's register with room for so many more words."""
    for _ in range(words):
        register = (register & 0x1FFFFFF) << 5 ^ _WORTH[register >> 25]
    return register


_HIGH, _MIDDLE, _LOW = (
    tuple(_shifted(bits << place, _AT_ONCE) for bits in range(1 << 10)) for place in (20, 10, 0)
)
"""What each ten bits of the register put back when all of them leave."""


def decode(text: str) -> tuple[str, bytes]:
    """The part for humans, and the words without their checksum, which holds. Raises ValueError."""
    if not text.isascii() or text not in {text.lower(), text.upper()}:
        raise ValueError("it should be ASCII, in upper or lower case, never both")
    human, separator, data = text.lower().rpartition("1")
    words = data.encode().translate(_WORD_OF)
    if not separator or _FOREIGN in words or len(words) < _CHECKSUM:
        raise ValueError("it should read ln…1… in bech32's characters")
    if _polymod(_expanded(human) + words) != 1:
        raise ValueError("the checksum does not hold: a character is wrong or missing")
    return human, words[:-_CHECKSUM]


def encode(human: str, words: bytes) -> str:
    """The text of both, checksum included."""
    check = _polymod(_expanded(human) + words + bytes(_CHECKSUM)) ^ 1
    return f"{human}1{(words + words_of(check, size=_CHECKSUM)).translate(_TO_ALPHABET).decode()}"


def _polymod(words: bytes) -> int:
    """bech32's checksum of five-bit words: 1 for those that end in their own."""
    register = 1
    odd = len(words) % _AT_ONCE
    for word in words[:odd]:
        register = _shifted(register) ^ word
    digits = words[odd:].translate(_TO_DIGITS)
    for at in range(0, len(digits), _AT_ONCE):
        left = _HIGH[register >> 20] ^ _MIDDLE[register >> 10 & 1023] ^ _LOW[register & 1023]
        register = left ^ int(digits[at : at + _AT_ONCE], 32)
    return register


def _expanded(human: str) -> bytes:
    """The part for humans as the checksum sees it."""
    raw = human.encode()
    return bytes(c >> 5 for c in raw) + b"\0" + bytes(c & 31 for c in raw)


def number_of(words: bytes) -> int:
    """Words as one number, the first the most worth."""
    return int(words.translate(_TO_DIGITS), 32) if words else 0


def bytes_of(words: bytes) -> bytes:
    """Words as bytes; bits that fill no byte are dropped."""
    bits = len(words) * 5
    return (number_of(words) >> bits % 8).to_bytes(bits // 8, "big")


def packed(data: bytes) -> bytes:
    """Bytes as words, filled up with zero bits."""
    return base64.b32encode(data).rstrip(b"=").translate(_FROM_BASE32)


def words_of(number: int, *, size: int = 0) -> bytes:
    """A number as words: `size` of them, or as few as it takes."""
    count = size or -(-number.bit_length() // 5)
    return bytes(number >> 5 * place & 31 for place in reversed(range(count)))
