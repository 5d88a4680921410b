"""BOLT11 invoices: read, checked, written and signed, on coincurve alone.

Owns the codec and the keys invoices are signed with. Whether an invoice is one we want to pay is
`invoice`'s matter. What this leaves out of an invoice it reads (fallback addresses, route hints, metadata)
it passes over; what contradicts itself it refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import coincurve

from oa_compile.money import MAX_MSAT, MSAT_PER_BTC
from oa_compile.swarm.lightning import bech32
from oa_compile.swarm.lightning.bech32 import bytes_of, number_of, packed, words_of

PREFIXES = {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
"""Networks, under the names lightningd uses, and what their invoices begin with after ``ln``."""

DEFAULT_FEATURES = 1 << 8 | 1 << 14 | 1 << 17
"""Onions of variable length and a payment secret are needed, payments in parts are understood."""

MOST_CHARACTERS = 7_089
"""What a QR code takes, and the specification's advice: a longer invoice is refused unread."""

DEFAULT_EXPIRY = 3_600
DEFAULT_CLTV = 18
MOST_DESCRIPTION_BYTES = 639

_NETWORKS = {prefix: network for network, prefix in PREFIXES.items()}
_HUMAN = re.compile(r"ln(bcrt|tbs|tb|bc)(?:([1-9][0-9]*)([munp]?))?", re.ASCII)
_TENTHS = {"": 10 * MSAT_PER_BTC, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}
"""Tenths of a msat in one unit: the pico is a tenth."""

_STAMP, _SIGNATURE = 7, 104
_HASH_WORDS, _KEY_WORDS = 52, 53
_ORDER_HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_READ = {kind: bech32.ALPHABET.index(kind.encode()) for kind in "psdhnxc9"}
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
    if len(text) > MOST_CHARACTERS:
        raise InvoiceError(f"an invoice of {len(text):,} characters: {MOST_CHARACTERS:,} at most are read")
    try:
        human, words = bech32.decode(text)
    except ValueError as error:
        raise InvoiceError(f"not an invoice: {error}") from error
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
        description = bytes_of(fields.get("d", b"")).decode()
    except UnicodeDecodeError as error:
        raise InvoiceError("the invoice's description is not UTF-8") from error
    return Invoice(
        bolt11=text.lower(),
        payee=_check_signature(human, signed, bytes_of(signature), named=bytes_of(fields.get("n", b""))),
        payment_hash=bytes_of(fields["p"]).hex(),
        amount_msat=amount_msat,
        network=network,
        created_at=number_of(words[:_STAMP]),
        expiry_seconds=number_of(fields["x"]) if "x" in fields else DEFAULT_EXPIRY,
        description=description,
        payment_secret=bytes_of(fields.get("s", b"")).hex(),
        features=number_of(fields.get("9", b"")),
        description_hash=bytes_of(fields.get("h", b"")).hex(),
        min_final_cltv=number_of(fields["c"]) if "c" in fields else DEFAULT_CLTV,
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
        words_of(created_at, size=_STAMP),
        _field("s", packed(_hash_bytes(payment_secret))) if payment_secret else b"",
        _field("p", packed(_hash_bytes(payment_hash))),
        _field("d", packed(text)),
        _field("x", words_of(expiry_seconds)) if expiry_seconds != DEFAULT_EXPIRY else b"",
        _field("c", words_of(min_final_cltv)) if min_final_cltv != DEFAULT_CLTV else b"",
        _field("9", words_of(features)) if features else b"",
    ]
    signed = b"".join(fields)
    words = signed + packed(key.sign(_message(human, signed)))
    return Invoice(
        bolt11=bech32.encode(human, words),
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
    return human.encode() + (number_of(signed) << spare).to_bytes((len(signed) * 5 + spare) // 8, "big")


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
