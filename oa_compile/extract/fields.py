"""Fields of a log's object, as the type they should be: what has another type was not told.

Owns what every reader of JSON asks: nothing here raises, whatever stands in a log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from oa_compile.extract.session import MAX_TEXT_BYTES, ToolResult
from oa_compile.extract.tally import Tally

_NOTHING: Mapping[str, Any] = {}


def text(value: object) -> str:
    """A string; empty for anything else."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else _NOTHING


def listed(value: object) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def whole(value: object) -> int | None:
    """A whole number, as exit codes are; a boolean is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: object) -> int:
    """A whole number from 0 on; 0 for anything else."""
    return max(0, whole(value) or 0)


def amount(value: object) -> float:
    """A finite number; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def truth(value: object) -> bool | None:
    """A boolean; None for anything else."""
    return value if isinstance(value, bool) else None


def kept(words: str, *, tally: Tally) -> str:
    """A message's text, cut where it is too long to keep whole."""
    if len(words) <= MAX_TEXT_BYTES:
        return words
    tally.count("long_texts_cut")
    return words[:MAX_TEXT_BYTES]


def result(
    output: str,
    line: int,
    *,
    is_error: bool,
    tally: Tally,
    exit_code: int | None = None,
    passed_over: bool = False,
) -> ToolResult:
    """A tool's result; of an output that is too long nothing is kept."""
    if len(output) > MAX_TEXT_BYTES:
        tally.count("huge_outputs_passed_over")
        output, passed_over = "", True
    return ToolResult(output, is_error, line, exit_code=exit_code, passed_over=passed_over)


def parts_of(content: object, *, tally: Tally) -> list[str]:
    """The texts of a message's content: a string, or parts of which those with a ``text`` count."""
    if isinstance(content, str):
        return [content]
    texts = []
    for part in listed(content):
        kind = text(mapping(part).get("type"))
        if isinstance(part, str):
            texts.append(part)
        elif words := text(mapping(part).get("text")):
            texts.append(words)
        elif "image" in kind:
            tally.count("image_blocks_passed_over")
        elif kind == "encrypted_content":
            tally.count("encrypted_parts_passed_over")
    return texts


def written(value: object) -> str:
    """Any value as a text: a string as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""
