"""What changed between two candidates of a run, and what the change did to the examples.

Owns the comparison as values, and its screen. A score
difference here is on examples the search has seen; whether it holds is validate's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oa_compile.digest import canonical_json, short
from oa_compile.hud.find import find_candidate
from oa_compile.hud.record import CandidateView, Split
from oa_compile.hud.text import Printable, percent, plain, points, shorten
from oa_compile.hud.view import RunView
from oa_compile.hud.words import Change, changes, changes_text

SHOWN_FLIPS = 8
"""Flips and demos a screen lists of each kind; the values hold all."""

Presence = Literal["changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class PredictorDiff:
    """One predictor that differs. `instruction` is empty when the instruction is the same; demos are
    as in the state; `fields` tells (what, before, after) of field texts that changed.
    """

    predictor: str
    presence: Presence
    instruction: tuple[Change, ...] = ()
    demos_added: tuple[Mapping[str, Any], ...] = ()
    demos_removed: tuple[Mapping[str, Any], ...] = ()
    demos_kept: int = 0
    reordered: bool = False
    fields: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Flip:
    """An example whose score changed; scores in 0 … 1."""

    example: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class CandidateDiff:
    """Two candidates side by side.

    Scores are means over the `n` examples of `split` that both answered; None when there are none.
    `fixed` are the examples that score higher after, `broken` those that score lower.
    """

    before: CandidateView
    after: CandidateView
    names: tuple[str, str]
    predictors: tuple[PredictorDiff, ...]
    split: Split
    n: int
    scores: tuple[float, float] | None
    fixed: tuple[Flip, ...]
    broken: tuple[Flip, ...]

    @property
    def gain(self) -> float | None:
        """Mean score after minus before, on the examples both answered."""
        return None if self.scores is None else self.scores[1] - self.scores[0]


def diff_candidates(view: RunView, a: str, b: str) -> CandidateDiff:
    """What changed from candidate `a` to candidate `b` (see `find_candidate` for how they are named).

    Raises UsageError when either means none or several.
    """
    before, after = find_candidate(view, a), find_candidate(view, b)
    split, pairs = _shared(before, after)
    flips = [Flip(example, old, new) for example, (old, new) in pairs.items() if old != new]
    n = len(pairs)
    return CandidateDiff(
        before=before,
        after=after,
        names=(view.name(before.candidate), view.name(after.candidate)),
        predictors=tuple(_predictors(before.state, after.state)),
        split=split,
        n=n,
        scores=(sum(old for old, _ in pairs.values()) / n, sum(new for _, new in pairs.values()) / n)
        if n
        else None,
        fixed=tuple(flip for flip in flips if flip.after > flip.before),
        broken=tuple(flip for flip in flips if flip.after < flip.before),
    )


def _shared(before: CandidateView, after: CandidateView) -> tuple[Split, dict[str, tuple[float, float]]]:
    """The split on which both answered most examples (val first among equals), and their scores there."""
    best: tuple[Split, dict[str, tuple[float, float]]] = ("val", {})
    order: Sequence[Split] = ("val", *(split for split in get_args(Split) if split != "val"))
    for split in order:
        old, new = _answered(before, split), _answered(after, split)
        pairs = {example: (old[example], new[example]) for example in old if example in new}
        if len(pairs) > len(best[1]):
            best = (split, pairs)
    return best


def _answered(tried: CandidateView, split: Split) -> dict[str, float]:
    """Scores by example; what a full evaluation says stands over what a minibatch said."""
    rows: dict[str, float] = {}
    mine = [evaluation.event for evaluation in tried.evaluations if evaluation.event.split == split]
    for event in sorted(mine, key=lambda event: event.scope == "full"):
        rows |= {row.example: row.score for row in event.rows if row.score is not None}
    return rows


def _predictors(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[PredictorDiff]:
    diffs = []
    for name in dict.fromkeys([*before, *after]):
        old, new = _part(before.get(name)), _part(after.get(name))
        if name not in before or name not in after or canonical_json(old) != canonical_json(new):
            presence: Presence = (
                "added" if name not in before else "removed" if name not in after else "changed"
            )
            diffs.append(_predictor(name, presence, old, new))
    return diffs


def _part(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _predictor(
    name: str, presence: Presence, old: Mapping[str, Any], new: Mapping[str, Any]
) -> PredictorDiff:
    was, now = str(old.get("instruction") or ""), str(new.get("instruction") or "")
    old_demos, new_demos = _demos(old), _demos(new)
    old_keys, new_keys = ([canonical_json(demo) for demo in demos] for demos in (old_demos, new_demos))
    added, removed = Counter(new_keys) - Counter(old_keys), Counter(old_keys) - Counter(new_keys)
    return PredictorDiff(
        predictor=name,
        presence=presence,
        instruction=changes(was, now) if was != now else (),
        demos_added=_take(new_demos, new_keys, added),
        demos_removed=_take(old_demos, old_keys, removed),
        demos_kept=len(new_keys) - added.total(),
        reordered=not added and not removed and old_keys != new_keys,
        fields=tuple(_fields(old.get("fields"), new.get("fields"))),
    )


def _demos(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    demos = part.get("demos")
    return [demo for demo in demos if isinstance(demo, Mapping)] if isinstance(demos, list) else []


def _take(
    demos: Sequence[Mapping[str, Any]], keys: Sequence[bytes], wanted: Counter[bytes]
) -> tuple[Mapping[str, Any], ...]:
    """The demos behind `wanted`, in their own order, each as often as it is wanted."""
    left = wanted.copy()
    taken = []
    for demo, key in zip(demos, keys, strict=True):
        if left[key] > 0:
            left[key] -= 1
            taken.append(demo)
    return tuple(taken)


def _fields(old: Any, new: Any) -> list[tuple[str, str, str]]:
    was, now = _flat(old), _flat(new)
    return [
        (name, was.get(name, ""), now.get(name, ""))
        for name in dict.fromkeys([*was, *now])
        if was.get(name, "") != now.get(name, "")
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as ``field.prefix`` -> text; lists of fields are told by their place."""
    if isinstance(value, Mapping):
        items = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list):
        items = [(str(place), entry) for place, entry in enumerate(value)]
    else:
        return {} if value is None else {prefix: str(value)}
    flat: dict[str, str] = {}
    for key, entry in items:
        flat |= _flat(entry, f"{prefix}.{key}" if prefix else key)
    return flat


def diff_screen(diff: CandidateDiff) -> RenderableType:
    """`diff` for people: instruction and demos by predictor, then the score and the examples that flipped."""
    origins = " → ".join(tried.origin or "–" for tried in (diff.before, diff.after))
    parts: list[RenderableType] = [
        Text.assemble(plain(" → ".join(diff.names), "bold"), "  ", plain(origins, "dim"))
    ]
    for predictor in diff.predictors:
        parts += [Text(), *_predictor_parts(predictor)]
    if not diff.predictors:
        parts += [Text(), Text("the same program state")]
    parts += [Text(), *_score_parts(diff)]
    return Printable(Group(*parts))


def _predictor_parts(predictor: PredictorDiff) -> list[RenderableType]:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if predictor.instruction:
        table.add_row("  instruction", changes_text(predictor.instruction))
    for field, was, now in predictor.fields:
        table.add_row(Text.assemble("  field ", plain(field)), changes_text(changes(was, now)))
    for sign, style, demos in (("-", "red", predictor.demos_removed), ("+", "green", predictor.demos_added)):
        for demo in demos[:SHOWN_FLIPS]:
            table.add_row(f"  demo {sign}", plain(demo_line(demo), style))
        if len(demos) > SHOWN_FLIPS:
            table.add_row(f"  demo {sign}", f"{len(demos) - SHOWN_FLIPS} more")
    kept = f"{predictor.demos_kept} kept" + (", in another order" if predictor.reordered else "")
    if predictor.demos_kept:
        table.add_row("  demos", kept)
    return [Text.assemble(plain(predictor.predictor, "bold"), "  ", predictor.presence), table]


def demo_line(demo: Mapping[str, Any], *, width: int = 60) -> str:
    """A demo on one line: ``thought: The tests fail … · tool: run``; each value at most `width` long.

    Reads ``{"inputs": …, "outputs": …}`` as well as one flat mapping.
    """
    flat: dict[str, Any] = {}
    for key, value in demo.items():
        flat |= dict(value) if key in {"inputs", "outputs"} and isinstance(value, Mapping) else {key: value}
    flat.pop("augmented", None)
    return " · ".join(f"{key}: {shorten(str(value), width)}" for key, value in flat.items())


def _score_parts(diff: CandidateDiff) -> list[RenderableType]:
    if diff.scores is None or diff.gain is None:
        return [Text("no example was answered by both, so their scores cannot be compared", "yellow")]
    scores = " → ".join(percent(score) for score in diff.scores)
    head = Text.assemble(
        f"{diff.split}, n={diff.n} answered by both: {scores}  ", (points(diff.gain), "bold")
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for word, style, flips in (("fixed", "green", diff.fixed), ("broken", "red", diff.broken)):
        shown = ", ".join(_flip(flip) for flip in flips[:SHOWN_FLIPS])
        more = f" and {len(flips) - SHOWN_FLIPS} more" if len(flips) > SHOWN_FLIPS else ""
        table.add_row(Text(f"{word} {len(flips)}", style), plain(shown + more))
    return [head, table]


def _flip(flip: Flip) -> str:
    name = short(flip.example)
    if {flip.before, flip.after} == {0.0, 1.0}:
        return name
    return f"{name} ({flip.before:.2f} → {flip.after:.2f})"
