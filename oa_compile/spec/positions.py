"""Where each key and value of a TOML text stands.

Owns the scan that finds positions. It trusts `tomllib` to have accepted the text first, so it does not
check anything; it only has to walk the text the same way.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and array positions from the top of the document: ``("metrics", 0, "kind")``."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[^\s.=\]\[{},#\"']+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'  # up to two quotes may stand before the closing three
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:[^\s,\]}#]+|[^\s,\]}#]+")


class Span(NamedTuple):
    """A stretch of text. Rows and columns count from 1, in characters; the end is exclusive."""

    row: int
    column: int
    end_row: int
    end_column: int


class Place(NamedTuple):
    """Where an entry stands. Elements of an array have no key of their own: there it is the value."""

    key: Span
    value: Span


class _Key(NamedTuple):
    name: str
    span: Span


def index_positions(text: str) -> dict[Path, Place]:
    """The place of every table, key and array element of a valid TOML `text`."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[Path, Place] = {}
        self.lengths: dict[Path, int] = {}
        self.rows = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> dict[Path, Place]:
        table: Path = ()
        while self._more():
            if self._take("[["):
                table = self._table(self._key(), element=True)
                self._take("]]")
            elif self._take("["):
                table = self._table(self._key(), element=False)
                self._take("]")
            else:
                self._pair(table)
        return self.places

    def _more(self) -> bool:
        self._skip(_BLANK)
        return self.at < len(self.text)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = match.end()
        return match[0]

    def _take(self, mark: str) -> bool:
        if found := self.text.startswith(mark, self.at):
            self.at += len(mark)
        return found

    def _span(self, start: int, end: int) -> Span:
        row, end_row = bisect_right(self.rows, start), bisect_right(self.rows, end)
        return Span(row, start - self.rows[row - 1] + 1, end_row, end - self.rows[end_row - 1] + 1)

    def _key(self) -> list[_Key]:
        """One key, dotted or not, up to what follows it."""
        parts: list[_Key] = []
        while not parts or self._take("."):
            self._skip(_SPACE)
            start = self.at
            if self.text[start] in "\"'":
                name = next(iter(tomllib.loads(f"{self._skip(_STRING)} = 0")))
            else:
                name = self._skip(_BARE_KEY)
            parts.append(_Key(name, self._span(start, self.at)))
            self._skip(_SPACE)
        return parts

    def _table(self, key: list[_Key], *, element: bool) -> Path:
        """Enter the table of a header. A part that names an array means its last element."""
        path: Path = ()
        for number, (name, span) in enumerate(key):
            path = (*path, name)
            self.places.setdefault(path, Place(span, span))
            if element and number == len(key) - 1:
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
                self.places.setdefault(path, Place(span, span))
        return path

    def _pair(self, table: Path) -> None:
        path, span = table, None
        for name, span in self._key():
            path = (*path, name)
            self.places.setdefault(path, Place(span, span))
        self._take("=")
        self._skip(_SPACE)
        self._value(path, span)

    def _value(self, path: Path, key: Span | None) -> None:
        start = self.at
        if self._take("["):
            number = 0
            while self._more() and not self._take("]"):
                self._value((*path, number), None)
                number += 1
                self._skip(_BLANK)
                self._take(",")
        elif self._take("{"):
            while self._more() and not self._take("}"):
                self._pair(path)
                self._skip(_BLANK)
                self._take(",")
        else:
            self._skip(_STRING if self.text[start] in "\"'" else _SCALAR)
        span = self._span(start, self.at)
        self.places[path] = Place(key or span, span)
