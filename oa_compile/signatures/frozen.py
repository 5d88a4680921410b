"""Which parts of a program an optimizer may change, and keeping the others out of its sight.

A predictor with nothing left to change is wrapped so that DSPy does not count it; a predictor with
one frozen part stays visible, and the optimizer's own file keeps that part as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import dspy
from dspy.utils import magicattr

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
    frozen: set[tuple[str, Part]] = set()
    for entry in spec.optimize.frozen:
        predictor, parts = _parse(entry, names)
        frozen.update((predictor, part) for part in parts)
    open_parts = {
        part
        for part, on in (("instruction", spec.optimize.instructions), ("demos", spec.optimize.demos))
        if on
    }
    tunable = {
        name: frozenset(p for p in PARTS if p in open_parts and p in searched and (name, p) not in frozen)
        for name in names
    }
    tunable = {name: parts for name, parts in tunable.items() if parts}
    if not tunable:
        raise UsageError(
            f"program `{spec.name}` leaves this optimizer nothing to change "
            f"(it searches {' and '.join(sorted(searched))})",
            hint="open a part under [optimize] in program.toml, or choose another --optimizer",
        )
    return Tunable(tunable)


def _parse(entry: str, names: list[str]) -> tuple[str, tuple[Part, ...]]:
    aliases = {"predict": "self"} if names == ["self"] else {}
    head, _, tail = entry.rpartition(".")
    if tail in PARTS and (aliases.get(head, head) in names):
        return aliases.get(head, head), (tail,)
    whole = aliases.get(entry, entry)
    if whole in names:
        return whole, PARTS
    raise UsageError(
        f"`optimize.frozen` names `{entry}`, but the program's predictors are: "
        + ", ".join("predict" if name == "self" else name for name in names)
    )


def hide(program: dspy.Module, tunable: Tunable) -> None:
    """Wrap every predictor that has nothing to change."""
    for name, predictor in program.named_predictors():
        if name not in tunable.parts and name != "self":
            magicattr.set(program, name, FrozenPredictor(predictor))


def reveal(program: dspy.Module) -> None:
    """Undo `hide`, in place."""
    for name, module in list(program.named_sub_modules(FrozenPredictor)):
        magicattr.set(program, name.removeprefix("self."), module.inner)
