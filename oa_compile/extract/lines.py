"""Lines of a JSONL log, one at a time: the only place that meets the raw bytes.

Owns what counts as a usable line; every other line goes to the tally with its reason. Memory is
bounded by the longest line that is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from oa_compile.extract.session import Place
from oa_compile.extract.tally import Tally

MAX_LINE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One JSON object of a log."""

    body: dict[str, Any]
    place: Place


class _RefusedError(ValueError):
    """A line is JSON by the letter and still not to be trusted."""


def read_lines(path: Path, *, name: str, tally: Tally) -> Iterator[LogLine]:
    """The JSON objects of `path`, called `name` in every place. Raises OSError when it cannot be read.

    Left out, with their place: blank lines, lines over `MAX_LINE_BYTES`, invalid UTF-8, a truncated
    last line, what is not JSON or nested beyond reason, duplicate keys, NaN and infinities, values
    that are no object.
    """
    number = 0
    with path.open("rb") as handle:
        while raw := handle.readline(MAX_LINE_BYTES):
            number += 1
            tally.count("lines_read")
            place = Place(name, number)
            ended = raw.endswith(b"\n")
            if not ended and len(raw) == MAX_LINE_BYTES:
                _skip_rest(handle)
                tally.leave_out("line too long", place)
                continue
            try:
                body = parse_object(raw)
            except _RefusedError as error:
                tally.leave_out(str(error), place)
            except UnicodeDecodeError:
                tally.leave_out("invalid UTF-8", place)
            except RecursionError:
                tally.leave_out("nested too deeply", place)
            except ValueError:
                tally.leave_out("not JSON" if ended else "truncated line", place)
            else:
                yield LogLine(body, place)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object `raw` holds. Raises ValueError (UnicodeDecodeError, refusals included) or
    RecursionError.
    """
    text = raw.decode("utf-8")
    if not text.strip():
        raise _RefusedError("blank line")
    body = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    if not isinstance(body, dict):
        raise _RefusedError("not an object")
    return body


def _skip_rest(handle: BinaryIO) -> None:
    while (piece := handle.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
        pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise _RefusedError("duplicate keys")
    return body


def _no_constant(_name: str) -> NoReturn:
    raise _RefusedError("NaN or infinity")
