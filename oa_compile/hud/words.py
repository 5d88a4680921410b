"""Differences of two texts, word by word, and how they are written with and without colour."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.text import Text

from oa_compile.hud.text import clean

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_TOKENS = 4_000
"""Words of both texts together above which lines are compared: the search for words is quadratic."""


class Change(NamedTuple):
    """A stretch of text: in both, only before (`removed`) or only after (`added`)."""

    kind: Literal["same", "removed", "added"]
    text: str


def changes(before: str, after: str) -> tuple[Change, ...]:
    """How `before` becomes `after`: the same and removed parts joined are `before`, the same and added
    ones are `after`.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) + len(new) > _MOST_TOKENS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found: list[Change] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if tag == "equal":
            _push(found, "same", old[old_from:old_to])
        else:
            _push(found, "removed", old[old_from:old_to])
            _push(found, "added", new[new_from:new_to])
    return _joined(found)


def _push(found: list[Change], kind: Literal["same", "removed", "added"], tokens: Sequence[str]) -> None:
    if tokens:
        found.append(Change(kind, "".join(tokens)))


def _joined(found: Sequence[Change]) -> tuple[Change, ...]:
    """White space that stands unchanged between two changed words joins them: one phrase, not two."""
    joined: list[Change] = []
    index = 0
    while index < len(found):
        removed = added = ""
        start = index
        while index < len(found):
            change = found[index]
            if change.kind == "removed":
                removed += change.text
            elif change.kind == "added":
                added += change.text
            elif change.text.isspace() and index > start and index + 1 < len(found):
                removed, added = removed + change.text, added + change.text
            else:
                break
            index += 1
        _push(joined, "removed", [removed] if removed else [])
        _push(joined, "added", [added] if added else [])
        if index < len(found):
            joined.append(found[index])
            index += 1
    return tuple(joined)


def changes_text(found: Sequence[Change], *, context: int = 80) -> Text:
    """`found` as ``[-removed-]{+added+}`` among the same words, which is readable without colour.

    Of a long unchanged stretch `context` characters stay on either side of a change.
    """
    text = Text()
    for place, change in enumerate(found):
        cleaned = clean(change.text, keep_newlines=True)
        if change.kind == "removed":
            text.append(f"[-{cleaned}-]", "red")
        elif change.kind == "added":
            text.append(f"{{+{cleaned}+}}", "green")
        else:
            text.append(_elided(cleaned, context, first=place == 0, last=place == len(found) - 1))
    return text


def _elided(same: str, context: int, *, first: bool, last: bool) -> str:
    head, tail = "" if first else same[:context], "" if last else same[-context:]
    return same if len(head) + len(tail) + 1 >= len(same) else f"{head}…{tail}"
