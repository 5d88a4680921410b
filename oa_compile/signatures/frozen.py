"""Which parts of a program an optimizer may change, and keeping the others out of its sight.

A predictor with nothing left to change is wrapped so that DSPy does not count it; a predictor with
one frozen part stays visible, and the optimizer's own file keeps that part as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from oa_compile.errors import UsageError
from oa_compile.spec.program import ProgramSpec

Part = Literal["instruction", "demos"]
PARTS: tuple[Part, ...] = ("instruction", "demos")


class FrozenPredictor(dspy.Module):  # type: ignore[misc]
    """Runs a predictor, and hides it from `named_predictors` (DSPy passes over compiled modules)."""

    def __init__(self, inner: dspy.Predict) -> None:
        super().__init__()
        self.inner = inner
        self._compiled = True

    def forward(self, **kwargs: Any) -> Any:
        return self.inner(**kwargs)

    async def aforward(self, **kwargs: Any) -> Any:
        return await self.inner.acall(**kwargs)

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("inner")
        if inner is None:
            raise AttributeError(name)
        return getattr(inner, name)


@dataclass(frozen=True, slots=True)
class Tunable:
    """Predictor name -> the parts an optimizer may change; predictors without any are left out."""

    parts: dict[str, frozenset[Part]]

    def allows(self, predictor: str, part: Part) -> bool:
        """Whether `part` of `predictor` may change."""
        return part in self.parts.get(predictor, frozenset())

    def any(self, part: Part) -> bool:
        """Whether `part` of any predictor may change."""
        return any(part in allowed for allowed in self.parts.values())


def tunable_parts(spec: ProgramSpec, program: dspy.Module, *, searched: frozenset[Part]) -> Tunable:
    """What `spec` leaves open, cut down to what the optimizer `searched`.

    Raises UsageError for a frozen name that is no predictor, and when nothing is left to change.
    """
    names = [name for name, _ in program.named_predictors()]
    if not names:
        raise UsageError(
            f"program `{spec.name}` has no predictor that DSPy can see",
            hint="make each dspy.Predict an attribute of its module, or an item of one",
        )
    frozen: set[tuple[str, Part]] = set()
    for entry in spec.optimize.frozen:
        predictor, parts = _parse(entry, names)
        frozen.update((predictor, part) for part in parts)
    switches: dict[Part, bool] = {"instruction": spec.optimize.instructions, "demos": spec.optimize.demos}
    tunable = {
        name: frozenset(p for p in PARTS if switches[p] and p in searched and (name, p) not in frozen)
        for name in names
    }
    tunable = {name: parts for name, parts in tunable.items() if parts}
    if not tunable:
        raise UsageError(
            f"program `{spec.name}` leaves this optimizer nothing to change "
            f"(it searches {' and '.join(sorted(searched))})",
            hint=_what_to_open(switches, searched, frozen=spec.optimize.frozen),
        )
    return Tunable(tunable)


def _what_to_open(switches: dict[Part, bool], searched: frozenset[Part], *, frozen: tuple[str, ...]) -> str:
    keys: dict[Part, str] = {"instruction": "instructions", "demos": "demos"}
    ways = [f"set optimize.{keys[part]} = true" for part in PARTS if part in searched and not switches[part]]
    if frozen:
        ways.append(f"take one of {', '.join(f'`{entry}`' for entry in frozen)} out of optimize.frozen")
    if switches["demos"] and "demos" not in searched:
        ways.append("use --optimizer miprov2, which searches demos too")
    return "in program.toml, " + ", or ".join(ways)


def _parse(entry: str, names: list[str]) -> tuple[str, tuple[Part, ...]]:
    known = {_written(name): name for name in names}
    if entry in known:
        return known[entry], PARTS
    head, _, tail = entry.rpartition(".")
    if tail in PARTS and head in known:
        return known[head], (tail,)
    raise UsageError(
        f"`optimize.frozen` names `{entry}`, but the program's predictors are: {', '.join(known)}",
        hint="write a predictor's name, or one of its parts: " + ", ".join(f"name.{part}" for part in PARTS),
    )


def _written(name: str) -> str:
    """A predictor's name as a spec writes it: DSPy calls a lone one `self`, and quotes a dict's keys."""
    return "predict" if name == "self" else name.replace("'", "")


def hide(program: dspy.Module, tunable: Tunable) -> None:
    """Wrap every predictor that has nothing to change, in place, wherever the program holds it."""
    wrapped = {
        id(predictor): FrozenPredictor(predictor)
        for name, predictor in program.named_predictors()
        if name not in tunable.parts and predictor is not program
    }
    _swap(program, lambda item: wrapped.get(id(item), item))


def reveal(program: dspy.Module) -> None:
    """Undo `hide`, in place."""
    _swap(program, lambda item: item.inner if isinstance(item, FrozenPredictor) else item)


def _swap(program: dspy.Module, new: Callable[[Any], Any]) -> None:
    """Put `new(item)` in the place of every item of `program`: attributes, lists, tuples and dicts."""
    seen: set[int] = set()

    def swapped(item: Any) -> Any:
        other = new(item)
        if other is not item:
            return other
        if isinstance(item, tuple) and type(item) is tuple:
            items = tuple(swapped(inner) for inner in item)
            return items if any(a is not b for a, b in zip(items, item, strict=True)) else item
        if id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, list):
                replace(item, enumerate(item))
            elif isinstance(item, dict):
                replace(item, item.items())
            elif isinstance(item, dspy.Module):
                replace(item.__dict__, item.__dict__.items())
        return item

    def replace(holder: Any, items: Iterable[tuple[Any, Any]]) -> None:
        for key, inner in list(items):
            other = swapped(inner)
            if other is not inner:
                holder[key] = other

    swapped(program)
