"""Two artifacts of one program on one testset, example by example: which is better, and how sure that is.

Owns the comparison; both were validated before, each scored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from oa_compile.digest import short
from oa_compile.errors import DigestMismatch, LaneError
from oa_compile.evaluate.stats import Paired, examples_needed, paired, verdict
from oa_compile.events import Attempt, Evaluated, Line
from oa_compile.money import format_msat
from oa_compile.validate import words
from oa_compile.validate.verdict import Validation


class Flip(NamedTuple):
    """An example that the two score otherwise."""

    example: str
    other: float
    this: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`this` artifact against the `other`. Latencies are milliseconds of a call, None where none was made."""

    this: Validation
    other: Validation
    paired: Paired
    flips: tuple[Flip, ...]
    latency: tuple[float | None, float | None] = (None, None)

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no evidence``: of this one."""
        return verdict(self.paired, self.this.alpha)

    @property
    def examples_needed(self) -> int | None:
        """Examples that would show a difference of this size, where there is no evidence of one yet."""
        if self.verdict != "no evidence":
            return None
        return examples_needed(self.paired, alpha=self.this.alpha)

    @property
    def win_rate(self) -> float:
        """Share of the examples won, ties half each."""
        return (self.paired.wins + self.paired.ties / 2) / self.paired.n

    @property
    def cost_per_call(self) -> tuple[float | None, float | None]:
        """What a call costs, other and this, in msat."""
        return _per_call(self.other), _per_call(self.this)

    @property
    def sentence(self) -> str:
        """The verdict, with every number it stands on."""
        found = self.paired
        said = {
            "better": "better",
            "worse": "worse",
            "no evidence": "no evidence either way",
        }[self.verdict]
        text = (
            f"{said}: {found.wins} won, {found.losses} lost, {found.ties} tied of {found.n}, difference "
            f"{words.points(found.mean_gain)} points {words.bounds(found.interval)}, two-sided "
            f"{words.probability(found.p_two_sided)} ({found.method})"
        )
        if self.examples_needed is not None:
            text += f"; a difference of this size would show on about {self.examples_needed:,} examples"
        elif self.verdict == "no evidence":
            text += "; they do not differ, and no number of examples like these would show that they do"
        return text


def compare(
    this: Validation, other: Validation, *, latency: tuple[float | None, float | None] = (None, None)
) -> Comparison:
    """Compare what both were scored on. Raises DigestMismatch when that is not the same, LaneError when one
    of them could not be judged.
    """
    for what in ("program", "testset", "metric"):
        ours, theirs = getattr(this.subject, what), getattr(other.subject, what)
        if ours != theirs:
            raise DigestMismatch(
                f"the two artifacts have another {what}: {short(ours)} and {short(theirs)}",
                hint="compare artifacts of one program, compiled on one dataset",
            )
    for one in (this, other):
        if one.unjudged:
            raise LaneError(
                f"{short(one.subject.artifact)} {one.sentence}", hint="compare when the lane is back"
            )
    ours, theirs = _scores(this), _scores(other)
    both = [name for name in ours if name in theirs]
    if not both:
        raise LaneError("no example was scored with both artifacts", hint="compare when the lane is back")
    before, after = [theirs[name] for name in both], [ours[name] for name in both]
    flips = tuple(Flip(name, theirs[name], ours[name]) for name in both if theirs[name] != ours[name])
    return Comparison(this, other, paired(before, after, seed=this.evidence.seed), flips, latency)


def latency(journal: Iterable[Line]) -> float | None:
    """Milliseconds that a call of the artifact took, on average; None when none was made in that journal."""
    taken: list[int] = []
    is_artifact = False
    for line in journal:
        event = line.event
        if isinstance(event, Evaluated):
            is_artifact = event.ordinal == 1  # the parent's is over
        elif is_artifact and isinstance(event, Attempt) and event.outcome == "ok" and event.role == "task":
            taken.append(event.latency_ms)
    return sum(taken) / len(taken) if taken else None


def lines(comparison: Comparison, *, listed: int = 20) -> list[str]:
    """The comparison for a terminal."""
    this, other = (short(one.subject.artifact) for one in (comparison.this, comparison.other))
    found = [f"{this} against {other}: {comparison.sentence}"]
    for label, value in (("other", other), ("this", this)):
        one = comparison.other if label == "other" else comparison.this
        assert one.after is not None
        score = f"{words.percent(one.after.mean):>7} {words.bounds(one.after.interval)}"
        found.append(f"  {label:<6} {value}  {score}")
    costs, times = comparison.cost_per_call, comparison.latency
    if None not in costs:
        found.append(f"  cost    {_msat(costs[0])} -> {_msat(costs[1])} a call")
    if None not in times:
        found.append(f"  latency {times[0]:,.0f} ms -> {times[1]:,.0f} ms a call")
    for label, rows in (
        ("won", [flip for flip in comparison.flips if flip.this > flip.other]),
        ("lost", [flip for flip in comparison.flips if flip.this < flip.other]),
    ):
        if rows:
            names = ", ".join(short(flip.example) for flip in rows[:listed])
            more = f" and {len(rows) - listed:,} more" if len(rows) > listed else ""
            found.append(f"  {label} ({len(rows)}): {names}{more}")
    return found


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: gains in -1 … 1, money in msat, latency in ms of a call."""
    found, costs, times = comparison.paired, comparison.cost_per_call, comparison.latency
    return {
        "this": comparison.this.subject.artifact,
        "other": comparison.other.subject.artifact,
        "verdict": comparison.verdict,
        "sentence": comparison.sentence,
        "n": found.n,
        "wins": found.wins,
        "losses": found.losses,
        "ties": found.ties,
        "win_rate": round(comparison.win_rate, 6),
        "difference": round(found.mean_gain, 6),
        "interval": [round(found.interval.low, 6), round(found.interval.high, 6)],
        "p_two_sided": float(f"{found.p_two_sided:.6g}"),
        "p_better": float(f"{found.p_value:.6g}"),
        "p_worse": float(f"{found.p_worse:.6g}"),
        "method": found.method,
        "alpha": comparison.this.alpha,
        "examples_needed": comparison.examples_needed,
        "msat_per_call": {"other": costs[0], "this": costs[1]},
        "ms_per_call": {"other": times[0], "this": times[1]},
        "flips": [flip._asdict() for flip in comparison.flips],
    }


def _scores(validation: Validation) -> Mapping[str, float]:
    return {row.example: row.after for row in validation.evidence.counted if row.after is not None}


def _per_call(validation: Validation) -> float | None:
    cost = validation.evidence.artifact_cost
    return cost.msat / cost.calls if cost.calls else None


def _msat(value: float | None) -> str:
    return format_msat(round(value or 0)) if value is None or value == round(value) else f"{value:,.3g} msat"
