"""The verdict on one artifact: a value that everything told about a validation is made from.

Owns when a run counts as judged and what its one sentence says. Rendering is `formats`', running the
program is not here at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oa_compile.errors import ExitCode, UsageError
from oa_compile.evaluate.stats import Interval, Paired, examples_needed, mean_interval, paired, verdict
from oa_compile.spec.config import GateSpec
from oa_compile.validate import words
from oa_compile.validate.evidence import Evidence
from oa_compile.validate.gates import GateResult, apply_gates
from oa_compile.validate.polls import Polls

Outcome = Literal["passed", "missed", "not judged"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What was judged, and on what, by digest (``sha256:<hex>``). `parent` is empty without one."""

    program: str
    artifact: str
    testset: str
    config: str
    metric: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A mean score in 0 … 1 with its 95 % interval."""

    mean: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Selection:
    """What the search had seen of the artifact: its score on the `n` validation examples it was chosen on,
    the best of so many `candidates`. The best of many is lucky: its score elsewhere tells by how much.
    """

    mean: float
    n: int
    candidates: int


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of ``validate``. `unjudged` says why a run could not be judged; then there are no gates,
    and neither a pass nor a miss.
    """

    subject: Subject
    evidence: Evidence
    before: Score | None
    after: Score | None
    paired: Paired | None
    alpha: float
    gates: tuple[GateResult, ...]
    unjudged: str = ""
    polls: Polls | None = None
    """How the answers came about, where there were several to each example."""
    selection: Selection | None = None
    scorings: int = 1
    """How often this artifact was scored on this testset: once, unless more was asked for."""
    folder: Path | None = None
    """Where its journal lies."""

    @property
    def n(self) -> int:
        """Examples that were scored."""
        return len(self.evidence.counted)

    @property
    def passed(self) -> bool:
        """Whether the run was judged and no gate was missed."""
        return not self.unjudged and all(gate.passed for gate in self.gates)

    @property
    def outcome(self) -> Outcome:
        """``not judged`` is neither of the other two."""
        if self.unjudged:
            return "not judged"
        return "passed" if self.passed else "missed"

    @property
    def exit_code(self) -> ExitCode:
        """0 passed, 1 a gate was missed, 4 not judged: try again."""
        return {"passed": ExitCode.OK, "missed": ExitCode.GATE_MISSED, "not judged": ExitCode.LANE}[
            self.outcome
        ]

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no evidence``; empty without a parent or a judgement."""
        return verdict(self.paired, self.alpha) if self.paired is not None else ""

    @property
    def examples_needed(self) -> int | None:
        """Examples that would show a difference of this size, where there is no evidence of one yet."""
        if self.paired is None or self.verdict != "no evidence":
            return None
        return examples_needed(self.paired, alpha=self.alpha)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with every number it stands on."""
        if self.unjudged:
            return f"could not be judged: {self.unjudged}"
        assert self.after is not None
        if self.paired is None:
            score = f"{words.percent(self.after.mean)} {words.bounds(self.after.interval)}"
            return f"score {score} on {words.examples(self.n)}; no parent to compare with"
        result = self.paired
        up, down = ("fixed", "broken") if result.binary else ("up", "down")
        p = result.p_worse if self.verdict == "worse" else result.p_value
        text = (
            f"{self.verdict}: {result.wins} of {result.n} {up}, {result.losses} {down}, gain "
            f"{words.points(result.mean_gain)} points {words.bounds(result.interval)}, {words.probability(p)}"
        )
        if self.examples_needed is not None:
            text += f"; a difference of this size would show on about {self.examples_needed:,} examples"
        return text


def judge(
    evidence: Evidence,
    *,
    subject: Subject,
    gates: GateSpec,
    max_fault_share: float = 0.1,
    polls: Polls | None = None,
    selection: Selection | None = None,
    scorings: int = 1,
    folder: Path | None = None,
) -> Validation:
    """Judge an artifact. When faults left out more than `max_fault_share` of the testset, or all of it,
    the run is not judged: the answer would be about the lanes. Raises UsageError for an empty testset.
    """
    if not evidence.rows:
        raise UsageError(
            "the testset has no examples",
            hint="run `oacompile extract` on more sessions, or change the splits",
        )
    left_out, total = len(evidence.excluded), len(evidence.rows)
    unjudged = ""
    if left_out == total or left_out > max_fault_share * total:
        unjudged = (
            f"{left_out} of {total} examples failed on infrastructure ({100 * left_out / total:.0f} %, "
            f"at most {100 * max_fault_share:g} % may)"
        )
    pairs = None if unjudged else evidence.pairs
    return Validation(
        subject=subject,
        evidence=evidence,
        before=_score(pairs.before, evidence.seed) if pairs else None,
        after=None if unjudged else _score(evidence.scores, evidence.seed),
        paired=paired(pairs.before, pairs.after, seed=evidence.seed) if pairs else None,
        alpha=gates.alpha,
        gates=() if unjudged else apply_gates(gates, evidence),
        unjudged=unjudged,
        polls=polls,
        selection=selection,
        scorings=scorings,
        folder=folder,
    )


def _score(scores: tuple[float, ...], seed: int) -> Score:
    return Score(math.fsum(scores) / len(scores), mean_interval(scores, seed=seed))
