"""Settings from several places, laid over one another.

Owns the merge and the memory of where each value came from. Which places there are is `load`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from oa_compile.spec.diagnose import Located
from oa_compile.spec.positions import Path, Place, Span

LayerName = Literal["flag", "environment", "file", "pyproject", "user", "default"]

_NOWHERE = Place(Span(1, 1, 1, 1), Span(1, 1, 1, 1))


@dataclass(frozen=True, slots=True)
class Source:
    """Where one value came from: the layer, and the flag, variable or ``file:row`` in it."""

    layer: LayerName
    where: str

    def __str__(self) -> str:
        return "default" if self.layer == "default" else self.where


class Layer(Protocol):
    """One place settings come from."""

    @property
    def name(self) -> LayerName:
        """Which layer it is."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Its settings as nested tables."""

    def locate(self, path: Path) -> Located:
        """Where `path` stands in it, or what is nearest."""


@dataclass(frozen=True)
class NamedValues:
    """A layer of single values that each have a name outside any file: flags, or variables."""

    name: LayerName
    data: Mapping[str, Any]
    names: Mapping[Path, str]

    def locate(self, path: Path) -> Located:
        """The flag or variable that set `path`, or something within it, as ``<name>``."""
        for known, name in self.names.items():
            if known == path[: len(known)] or path == known[: len(path)]:
                return Located(f"<{name}>", _NOWHERE, found=True)
        return Located(f"<{self.name}>", _NOWHERE, found=False)


def nest(values: Iterable[tuple[Path, Any]]) -> dict[str, Any]:
    """Nested tables of ``(path, value)`` pairs."""
    root: dict[str, Any] = {}
    for path, value in values:
        table = root
        for step in path[:-1]:
            inner = table.setdefault(str(step), {})
            if not isinstance(inner, dict):
                inner = table[str(step)] = {}
            table = inner
        table[str(path[-1])] = value
    return root


def merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`layers` laid over one another, the first on top. Tables merge key by key; anything else is
    replaced whole, and so is a table that names another `kind`: its other keys mean something else.
    """
    merged: dict[str, Any] = {}
    for data in reversed(list(layers)):
        merged = _over(data, merged)
    return merged


def _over(top: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    if "kind" in top and top["kind"] != below.get("kind"):
        below = {}
    result = dict(below)
    for key, value in top.items():
        under = result.get(key)
        if isinstance(value, Mapping):
            result[key] = _over(value, under if isinstance(under, Mapping) else {})
        else:
            result[key] = value
    return result


def holder(layers: Iterable[Layer], path: Path) -> Layer | None:
    """The topmost layer that sets `path` or something within it."""
    for layer in layers:
        value: Any = layer.data
        for step in path:
            if isinstance(value, Mapping) and step in value:
                value = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                break
        else:
            return layer
    return None


def leaves(data: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of nested tables that is not itself a non-empty table, with its path."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value
