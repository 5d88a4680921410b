"""JSON values damaged on purpose: every place of a value, and what does not belong there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**64 - 1, "", "x", "<b>", "\x00", "é" * 3, "{", "-1"),
    *([], [None], [[]], ["x"], [{}], [{"type": "text"}], [{"type": "tool_use", "id": 1}]),
    *({}, {"": None}, {"type": "text", "text": 1}, {"content": {"content": []}}),
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but the value itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*at, key)
        yield from paths(part, (*at, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy of a JSON value with another one at `path`."""
    changed = copy.deepcopy(value)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = by
    return changed
