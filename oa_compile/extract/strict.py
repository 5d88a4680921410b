"""JSON of a log, believed only where it can be read in one way.

Owns what is refused and under which name: duplicate keys, NaN and infinities, numbers that libraries round
differently, invalid UTF-8, surrogates that are no character, nesting beyond reason. Most lines are written
compactly by one of the usual libraries: such a line is what it says exactly when writing it again gives the
same bytes, which is quickly found out. Only others are read with care.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

_INT_DIGITS = 20
"""Of the longest whole number that 64 bits hold, with its sign."""


class BadJson(ValueError):
    """A text that is no JSON, or is not to be trusted; its message is the reason, in a fixed phrase."""


def parse_value(raw: bytes) -> Any:
    """The JSON value `raw` holds, white space round it allowed. Raises BadJson."""
    raw = raw.strip()
    if not raw:
        raise BadJson("blank line")
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value) == raw:
            return value
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # the careful reading says what is wrong
    return _carefully(raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object `raw` holds. Raises BadJson."""
    value = parse_value(raw)
    if not isinstance(value, dict):
        raise BadJson("not an object")
    return value


def _carefully(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("invalid UTF-8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_of_64_bits,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except BadJson:
        raise
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except UnicodeEncodeError:
        raise BadJson("lone surrogate") from None
    except ValueError:
        raise BadJson("not JSON") from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise BadJson("duplicate keys")
    return body


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadJson("NaN or infinity")
    return number


def _of_64_bits(digits: str) -> int:
    number = int(digits) if len(digits) <= _INT_DIGITS else 2**64
    if not -(2**63) <= number < 2**64:
        raise BadJson("number out of range")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise BadJson("NaN or infinity")
