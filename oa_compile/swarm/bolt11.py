"""BOLT11 invoices: read, checked, written and signed, on coincurve alone.

Owns the codec and the keys invoices are signed with. Whether an invoice is one we want to pay is
`invoice`'s matter. What this leaves out of an invoice it reads (fallback addresses, route hints, metadata)
it passes over; what contradicts itself it refuses.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import reduce
from operator import xor

import coincurve

from oa_compile.money import MAX_MSAT, MSAT_PER_BTC

PREFIXES = {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
"""Networks, under the names lightningd uses, and what their invoices begin with after ``ln``."""

DEFAULT_FEATURES = 1 << 8 | 1 << 14 | 1 << 17
"""Onions of variable length and a payment secret are needed, payments in parts are understood."""

MOST_CHARACTERS = 7_089
"""What a QR code takes, and the specification's advice: a longer invoice is refused unread."""

DEFAULT_EXPIRY = 3_600
DEFAULT_CLTV = 18
MOST_DESCRIPTION_BYTES = 639

_ALPHABET = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_DIGITS = b"0123456789abcdefghijklmnopqrstuv"
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_WORDS = bytes(range(32))
_FOREIGN = 255
_WORD_OF = bytes(_ALPHABET.find(c) if c in _ALPHABET else _FOREIGN for c in range(256))
_TO_DIGITS = bytes.maketrans(_WORDS, _DIGITS)
_TO_ALPHABET = bytes.maketrans(_WORDS, _ALPHABET)
_FROM_BASE32 = bytes.maketrans(_BASE32, _WORDS)

_NETWORKS = {prefix: network for network, prefix in PREFIXES.items()}
_HUMAN = re.compile(r"ln(bcrt|tbs|tb|bc)(?:([1-9][0-9]*)([munp]?))?", re.ASCII)
_TENTHS = {"": 10 * MSAT_PER_BTC, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}
"""Tenths of a msat in one unit: the pico is a tenth."""

_TAPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_WORTH = tuple(reduce(xor, (tap for bit, tap in enumerate(_TAPS) if top >> bit & 1), 0) for top in range(32))
"""bech32's code: what the five bits that leave its register put back."""

_STAMP, _SIGNATURE, _CHECKSUM = 7, 104, 6
_HASH_WORDS, _KEY_WORDS = 52, 53
_ORDER_HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_READ = {kind: _ALPHABET.index(kind.encode()) for kind in "psdhnxc9"}
_SIZED = {"p": _HASH_WORDS, "s": _HASH_WORDS, "h": _HASH_WORDS, "n": _KEY_WORDS}


class InvoiceError(ValueError):
    """A text that is no invoice, or an invoice that cannot be written. The message is for people."""


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice. Hex is lower case; `amount_msat` is None where the payer may choose.

    `created_at` is in Unix seconds, `expiry_seconds` counts from there. `payment_secret` is empty for
    an invoice without one. `description` is empty if the invoice has its SHA-256 only
    (`description_hash`). `features` has bit n set for feature n.
    """

    bolt11: str
    payee: str
    payment_hash: str
    amount_msat: int | None
    network: str
    created_at: int
    expiry_seconds: int = DEFAULT_EXPIRY
    description: str = ""
    payment_secret: str = ""
    features: int = 0
    description_hash: str = ""
    min_final_cltv: int = DEFAULT_CLTV

    @property
    def expires_at(self) -> int:
        """Unix seconds after which it must not be paid."""
        return self.created_at + self.expiry_seconds


class NodeKey:
    """The key of a Lightning node: what its invoices are signed with. The repr shows the public half."""

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        """From 32 bytes. Raises InvoiceError for what is no secp256k1 key."""
        try:
            self._secret = coincurve.PrivateKey(secret)
        except ValueError as error:
            raise InvoiceError("not a node's key: 32 bytes below the curve's order are wanted") from error
        self.id: str = self._secret.public_key.format().hex()
        """The node's id: the compressed public key, 66 hex digits."""

    def __repr__(self) -> str:
        return f"NodeKey({self.id})"

    def sign(self, message: bytes) -> bytes:
        """65 bytes: the signature over SHA-256 of `message`, and which of the four keys it recovers."""
        return self._secret.sign_recoverable(message)


def decode(text: str) -> Invoice:
    """Read an invoice. Checksum and signature hold when this returns. Raises InvoiceError, nothing else."""
    human, words = _unpack(text)
    network, amount_msat = _read_human(human)
    if len(words) < _STAMP + _SIGNATURE:
        raise InvoiceError("the invoice is cut off")
    signed, signature = words[:-_SIGNATURE], words[-_SIGNATURE:]
    fields = _read_fields(signed)
    if "p" not in fields:
        raise InvoiceError("the invoice has no payment hash")
    if ("d" in fields) == ("h" in fields):
        raise InvoiceError("the invoice must have a description or its hash, and not both")
    try:
        description = _bytes(fields.get("d", b"")).decode()
    except UnicodeDecodeError as error:
        raise InvoiceError("the invoice's description is not UTF-8") from error
    return Invoice(
        bolt11=text.lower(),
        payee=_check_signature(human, signed, _bytes(signature), named=_bytes(fields.get("n", b""))),
        payment_hash=_bytes(fields["p"]).hex(),
        amount_msat=amount_msat,
        network=network,
        created_at=_number(words[:_STAMP]),
        expiry_seconds=_number(fields["x"]) if "x" in fields else DEFAULT_EXPIRY,
        description=description,
        payment_secret=_bytes(fields.get("s", b"")).hex(),
        features=_number(fields.get("9", b"")),
        description_hash=_bytes(fields.get("h", b"")).hex(),
        min_final_cltv=_number(fields["c"]) if "c" in fields else DEFAULT_CLTV,
    )


def encode(
    key: NodeKey,
    *,
    payment_hash: str,
    payment_secret: str,
    amount_msat: int | None,
    network: str,
    created_at: int,
    expiry_seconds: int = DEFAULT_EXPIRY,
    description: str = "",
    features: int = DEFAULT_FEATURES,
    min_final_cltv: int = DEFAULT_CLTV,
) -> Invoice:
    """Write and sign an invoice; `decode` of its text gives the same value. Raises InvoiceError for what
    an invoice cannot hold: a longer description than 639 bytes, an amount above all bitcoin, zero.
    """
    try:
        text = description.encode()
    except UnicodeEncodeError as error:
        raise InvoiceError("the description is no text that UTF-8 can write") from error
    if len(text) > MOST_DESCRIPTION_BYTES:
        raise InvoiceError(f"a description of {len(text)} bytes: an invoice holds {MOST_DESCRIPTION_BYTES}")
    if not 0 <= created_at < 1 << 35:
        raise InvoiceError(f"no time an invoice can hold: {created_at}")
    if min(expiry_seconds, min_final_cltv, features) < 0:
        raise InvoiceError("expiry, final CLTV and features cannot be negative")
    human = _write_human(network, amount_msat)
    fields = [
        _to_words(created_at, size=_STAMP),
        _field("s", _packed(_hash_bytes(payment_secret))) if payment_secret else b"",
        _field("p", _packed(_hash_bytes(payment_hash))),
        _field("d", _packed(text)),
        _field("x", _to_words(expiry_seconds)) if expiry_seconds != DEFAULT_EXPIRY else b"",
        _field("c", _to_words(min_final_cltv)) if min_final_cltv != DEFAULT_CLTV else b"",
        _field("9", _to_words(features)) if features else b"",
    ]
    signed = b"".join(fields)
    words = signed + _packed(key.sign(_message(human, signed)))
    checked = words + _to_words(_polymod(_expanded(human) + words + bytes(_CHECKSUM)) ^ 1, size=_CHECKSUM)
    return Invoice(
        bolt11=f"{human}1{checked.translate(_TO_ALPHABET).decode()}",
        payee=key.id,
        payment_hash=payment_hash,
        amount_msat=amount_msat,
        network=network,
        created_at=created_at,
        expiry_seconds=expiry_seconds,
        description=description,
        payment_secret=payment_secret,
        features=features,
        min_final_cltv=min_final_cltv,
    )


def _unpack(text: str) -> tuple[str, bytes]:
    """The part for humans and the five-bit words without checksum, which holds."""
    if len(text) > MOST_CHARACTERS:
        raise InvoiceError(f"an invoice of {len(text):,} characters: {MOST_CHARACTERS:,} at most are read")
    if not text.isascii() or text not in {text.lower(), text.upper()}:
        raise InvoiceError("an invoice is ASCII, in upper or lower case, never both")
    human, separator, data = text.lower().rpartition("1")
    words = data.encode().translate(_WORD_OF)
    if not separator or _FOREIGN in words or len(words) < _CHECKSUM:
        raise InvoiceError("not an invoice: it should read ln…1… in bech32's characters")
    if _polymod(_expanded(human) + words) != 1:
        raise InvoiceError("the invoice's checksum does not hold: a character is wrong or missing")
    return human, words[:-_CHECKSUM]


def _read_human(human: str) -> tuple[str, int | None]:
    """Network and amount, from what stands before the separator."""
    match = _HUMAN.fullmatch(human)
    if match is None or len(match[2] or "") > 20:
        raise InvoiceError(f"not an invoice of a network known here: {human[:24]!r}")
    network = _NETWORKS[match[1]]
    if match[2] is None:
        return network, None
    msat, tenths = divmod(int(match[2]) * _TENTHS[match[3]], 10)
    if tenths:
        raise InvoiceError("the invoice's amount is a fraction of a msat")
    if msat > MAX_MSAT:
        raise InvoiceError(f"more bitcoin than there are: {msat:,} msat")
    return network, msat


def _write_human(network: str, amount_msat: int | None) -> str:
    """What stands before the separator, in the largest unit that is exact."""
    if network not in PREFIXES:
        raise InvoiceError(f"no network {network!r}: there are {', '.join(PREFIXES)}")
    prefix = f"ln{PREFIXES[network]}"
    if amount_msat is None:
        return prefix
    if not 0 < amount_msat <= MAX_MSAT:
        raise InvoiceError(f"no amount an invoice can ask for: {amount_msat} msat")
    unit = next(unit for unit, tenths in _TENTHS.items() if amount_msat * 10 % tenths == 0)
    return f"{prefix}{amount_msat * 10 // _TENTHS[unit]}{unit}"


def _read_fields(words: bytes) -> dict[str, bytes]:
    """The tagged fields this codec knows, as words. One of the wrong size is passed over, as specified;
    one that stands twice is refused, since a wallet might read the other.
    """
    kinds = {word: kind for kind, word in _READ.items()}
    fields: dict[str, bytes] = {}
    at = _STAMP
    while at < len(words):
        if at + 3 > len(words):
            raise InvoiceError("the invoice's last field is cut off")
        start = at + 3
        end = start + words[at + 1] * 32 + words[at + 2]
        if end > len(words):
            raise InvoiceError("one of the invoice's fields is longer than the invoice")
        kind = kinds.get(words[at], "")
        at = end
        if not kind or end - start != _SIZED.get(kind, end - start):
            continue
        if kind in fields:
            raise InvoiceError(f"the invoice's field {kind!r} stands twice")
        fields[kind] = words[start:end]
    return fields


def _check_signature(human: str, signed: bytes, signature: bytes, *, named: bytes) -> str:
    """The payee's id: whoever signed, which must be the `named` one, if the invoice names one."""
    try:
        payee = coincurve.PublicKey.from_signature_and_message(signature, _message(human, signed)).format()
    except ValueError as error:
        raise InvoiceError("the invoice's signature is none") from error
    if named and (payee != named or int.from_bytes(signature[32:64], "big") > _ORDER_HALF):
        raise InvoiceError("the invoice is not signed by the payee it names")
    return payee.hex()


def _message(human: str, signed: bytes) -> bytes:
    """What the payee signs: the part for humans, and the words as whole bytes."""
    spare = -len(signed) * 5 % 8
    return human.encode() + (_number(signed) << spare).to_bytes((len(signed) * 5 + spare) // 8, "big")


def _polymod(words: bytes) -> int:
    """bech32's checksum of five-bit words: 1 for those that end in their own."""
    worth, register = _WORTH, 1
    for word in words:
        register = (register & 0x1FFFFFF) << 5 ^ word ^ worth[register >> 25]
    return register


def _expanded(human: str) -> bytes:
    """The part for humans as the checksum sees it."""
    raw = human.encode()
    return bytes(c >> 5 for c in raw) + b"\0" + bytes(c & 31 for c in raw)


def _number(words: bytes) -> int:
    """Words as one number, the first the most worth."""
    return int(words.translate(_TO_DIGITS), 32) if words else 0


def _bytes(words: bytes) -> bytes:
    """Words as bytes; bits that fill no byte are dropped."""
    bits = len(words) * 5
    return (_number(words) >> bits % 8).to_bytes(bits // 8, "big")


def _packed(data: bytes) -> bytes:
    """Bytes as words, filled up with zero bits."""
    return base64.b32encode(data).rstrip(b"=").translate(_FROM_BASE32)


def _to_words(number: int, *, size: int = 0) -> bytes:
    """A number as words: `size` of them, or as few as it takes."""
    count = size or -(-number.bit_length() // 5)
    return bytes(number >> 5 * place & 31 for place in reversed(range(count)))


def _field(kind: str, words: bytes) -> bytes:
    """A tagged field: its kind, its length, its words."""
    return bytes((_READ[kind], *divmod(len(words), 32))) + words


def _hash_bytes(text: str) -> bytes:
    """32 bytes from 64 hex digits. Raises InvoiceError."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InvoiceError(f"64 hex digits are wanted, not {text[:80]!r}")
    return raw
