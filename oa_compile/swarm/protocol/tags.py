"""What stands in a tag, read strictly: ids, amounts, numbers, JSON.

Owns the readers that `nip90` and `nip89` are made of, and their one error. A stranger wrote what they read:
each ends in a value or in ProtocolError, and takes ASCII digits only, where Python's own ``int`` and
``float`` take underscores, spaces, ``nan`` and the digits of every script.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from oa_compile.money import check_msat
from oa_compile.swarm.protocol.event import Event, Tags

_HEX64 = re.compile(r"[0-9a-f]{64}")
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")
_MOST_COUNT = 2**53


class ProtocolError(ValueError):
    """What an event says, or what it is asked to say, makes no sense. The message is for people."""


def expect_kind(event: Event, kind: int) -> None:
    """Refuses an event of another kind."""
    if event.kind != kind:
        raise ProtocolError(f"an event of kind {kind} was wanted, this is a {event.kind}")


def named(tags: Tags, name: str) -> Iterator[list[str]]:
    """The tags of that name that have a value, in order."""
    return (tag for tag in tags if len(tag) > 1 and tag[0] == name)


def is_hex64(text: str) -> bool:
    """Whether `text` is an id or a public key: 64 hex digits, lower case."""
    return _HEX64.fullmatch(text) is not None


def read_hex64(text: str) -> str:
    """`text`, which is an id or a public key."""
    if not is_hex64(text):
        raise ProtocolError(f"not an id or public key of 64 hex digits: {_shown(text)}")
    return text


def read_ids(text: str) -> tuple[str, ...]:
    """Ids between commas, each named once."""
    ids = tuple(map(read_hex64, text.split(",")))
    if len(set(ids)) != len(ids):
        raise ProtocolError("the same id is named twice")
    return ids


def read_integer(text: str) -> int:
    """Up to 20 digits, maybe with a minus."""
    if _INTEGER.fullmatch(text) is None:
        raise ProtocolError(f"not a whole number: {_shown(text)}")
    return int(text)


def read_count(text: str) -> int:
    """A number of things (tokens): whole, not negative, at most 2^53."""
    count = read_integer(text)
    if not 0 <= count <= _MOST_COUNT:
        raise ProtocolError(f"not a number of anything: {_shown(text)}")
    return count


def read_decimal(text: str) -> float:
    """A finite number that is not negative."""
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ProtocolError(f"not a number that makes sense here: {_shown(text)}")
    return number


def read_msat(text: str) -> int:
    """An amount: digits and nothing else, at most all bitcoin."""
    try:
        return check_msat(int(text) if _INTEGER.fullmatch(text) else text)
    except ValueError as error:
        raise ProtocolError(f"not an amount in msat: {_shown(text)}") from error


def read_json(text: str, type_: Any = Any) -> Any:
    """`text` as JSON of that msgspec type."""
    try:
        return msgspec.json.decode(text, type=type_)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"not the JSON that belongs here: {_shown(text)}") from error


def write_json(value: Any) -> str:
    """`value` as compact JSON with its keys in their order; refuses what JSON has no word for."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"JSON has no word for this: {error}") from error


def check_text(values: Iterable[str]) -> None:
    """Refuses half a surrogate pair: it has no UTF-8, and no relay would take it."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"not Unicode text, a lone surrogate stands in it: {error.reason}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
