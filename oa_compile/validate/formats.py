"""A validation as plain text, as tables, as diagnostics and as JSON.

Pure functions of a `Validation`: nothing is printed, written or looked up. Example ids and fault texts
come from sessions and lanes and are untrusted: no control character reaches a terminal. What CI reads
is in `github` and `junit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from oa_compile.digest import short
from oa_compile.errors import Diagnostic
from oa_compile.evaluate.stats import CONFIDENCE, Interval
from oa_compile.money import format_msat, format_usd
from oa_compile.validate import words
from oa_compile.validate.evidence import Cost, Row
from oa_compile.validate.gates import GateResult
from oa_compile.validate.poll_formats import poll_lines, polls_json
from oa_compile.validate.verdict import Score, Validation

SCHEMA_VERSION = 1
"""Of the JSON form: raised when a key goes or changes its meaning, not when one is added."""

EXCLUDED, NOT_JUDGED = "OAC204", "OAC205"

LISTED = 20
"""Example ids a person is shown at most; the JSON form has them all."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Location(NamedTuple):
    """Where a gate is set: a config file, rows counting from 1."""

    filename: str
    row: int = 1
    column: int = 1


class Table(NamedTuple):
    """Cells for a terminal or Markdown to lay out."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Locations = Mapping[str, Location]
"""Gate name -> where the config sets it."""


def score_table(validation: Validation) -> Table:
    """Before and after, one row each; only after without a parent, nothing when not judged."""
    named = (("before", validation.before), ("after", validation.after))
    rows = tuple(
        (name, words.percent(score.mean), words.bounds(score.interval), str(validation.n))
        for name, score in named
        if score is not None
    )
    return Table(("", "score", "95 % interval", "n"), rows)


def gate_table(validation: Validation) -> Table:
    """One row a gate."""
    rows = tuple(
        (gate.name, state(gate), _measured(gate), _required(gate, validation.alpha), gate.reason)
        for gate in validation.gates
    )
    return Table(("gate", "", "measured", "required", "why"), rows)


def state(gate: GateResult) -> str:
    """``passed``, ``passed with a reservation`` or ``missed``."""
    return {"ok": "passed", "warning": "passed with a reservation", "error": "missed"}[gate.severity]


def text(validation: Validation) -> list[str]:
    """Plain lines for a terminal, without colours or control characters."""
    subject, evidence = validation.subject, validation.evidence
    lines = [f"{subject.program} {short(subject.artifact)}: {validation.outcome}", f"  {validation.sentence}"]
    lines += [f"  {name:<6}  {score:>7} {bounds}" for name, score, bounds, _n in score_table(validation).rows]
    lines += [f"  gate {gate.name}: {state(gate)}: {gate.reason}" for gate in validation.gates]
    if not validation.gates and not validation.unjudged:
        lines.append("  no gates are set: nothing was asked of it")
    for label, rows in (
        ("broken", broken(validation)),
        ("left out for infrastructure faults", evidence.excluded),
    ):
        if rows:
            lines.append(f"  {label} ({len(rows)}): {_listed([short(row.example) for row in rows])}")
    if selection := selection_line(validation):
        lines.append(f"  {selection}")
    if validation.scorings > 1:
        lines.append(f"  scored {validation.scorings} times on this testset: the best of several is lucky")
    lines += [f"  {line}" for line in poll_lines(validation.polls)]
    lines.append(f"  cost: {cost_line(validation)}")
    return [printable(line) for line in lines]


def as_json(validation: Validation, *, where: Locations | None = None) -> dict[str, Any]:
    """The whole validation as JSON values; stable under `SCHEMA_VERSION`. Scores are in 0 … 1, gains in
    -1 … 1, money in integer msat, dollars as decimal text. Figures are rounded to six digits.
    """
    subject, evidence, result = validation.subject, validation.evidence, validation.paired
    compared = None
    if result is not None:
        compared = {
            "verdict": validation.verdict,
            "n": result.n,
            "gain": _figure(result.mean_gain),
            "interval": _interval(result.interval),
            "p_value": _figure(result.p_value),
            "p_worse": _figure(result.p_worse),
            "p_two_sided": _figure(result.p_two_sided),
            "wins": result.wins,
            "losses": result.losses,
            "ties": result.ties,
            "alpha": validation.alpha,
            "method": result.method,
            "examples_needed": validation.examples_needed,
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "validation",
        "program": subject.program,
        "artifact": subject.artifact,
        "parent": subject.parent or None,
        "testset": subject.testset,
        "config": subject.config,
        "metric": subject.metric or None,
        "outcome": validation.outcome,
        "passed": validation.passed,
        "exit_code": int(validation.exit_code),
        "sentence": validation.sentence,
        "n": validation.n,
        "scores": {"before": _score(validation.before), "after": _score(validation.after)},
        "paired": compared,
        "gates": [_gate(gate) for gate in validation.gates],
        "cost": {
            "artifact": _cost_json(evidence.artifact_cost, validation),
            "spent": _cost_json(evidence.spent, validation),
        },
        "selection": _selection(validation),
        "scorings": validation.scorings,
        "redundancy": polls_json(validation.polls) if validation.polls else None,
        "examples": [
            {"id": row.example, "before": row.before, "after": row.after} for row in evidence.counted
        ],
        "excluded": [{"id": row.example, "fault": row.fault} for row in evidence.excluded],
        "diagnostics": [_ruff(finding) for finding in diagnostics(validation, where=where)],
    }


def diagnostics(validation: Validation, *, where: Locations | None = None) -> list[Diagnostic]:
    """What stands in the way, worst first: not judged, gates missed, gates with a reservation, examples
    left out. Empty when all is well.
    """
    places = where or {}
    found = []
    if validation.unjudged:
        found.append(
            Diagnostic(NOT_JUDGED, "not-judged", validation.sentence, "", hint="see the lane, then try again")
        )
    for gate in sorted(validation.gates, key=lambda gate: gate.severity != "error"):
        if gate.severity != "ok":
            place = places.get(gate.name, Location(""))
            name = gate.name.replace("_", "-")
            found.append(Diagnostic(gate.code, name, gate.reason, *place, severity=gate.severity))
    left_out = validation.evidence.excluded
    if left_out and not validation.unjudged:
        message = f"{words.examples(len(left_out))} left out for infrastructure faults"
        found.append(Diagnostic(EXCLUDED, "examples-excluded", message, "", severity="warning"))
    return found


def broken(validation: Validation) -> tuple[Row, ...]:
    """The examples that score less with the artifact than with its parent."""
    return tuple(
        row
        for row in validation.evidence.counted
        if row.before is not None and row.after is not None and row.after < row.before
    )


def cost_line(validation: Validation) -> str:
    """What the validation spent, and what a call of the artifact costs."""
    spent, own = validation.evidence.spent, validation.evidence.artifact_cost
    usd = format_usd(validation.evidence.rate.to_usd(spent.msat))
    line = f"{spent.calls:,} calls, {spent.saved:,} saved by the journal, {format_msat(spent.msat)} ({usd})"
    return f"{line}; the artifact {own.msat / own.calls:,.6g} msat a call" if own.calls else line


def selection_line(validation: Validation) -> str:
    """The score it was chosen by beside the one it has now; nothing where either is not known."""
    chosen, now = validation.selection, validation.after
    if chosen is None or now is None:
        return ""
    return (
        f"selection: the best of {chosen.candidates:,} candidates had {words.percent(chosen.mean)} on the "
        f"{words.examples(chosen.n)} it was chosen on, and has {words.percent(now.mean)} here "
        f"({words.points(now.mean - chosen.mean)} points)"
    )


def _selection(validation: Validation) -> dict[str, Any] | None:
    chosen = validation.selection
    if chosen is None:
        return None
    effect = None if validation.after is None else _figure(validation.after.mean - chosen.mean)
    return {
        "val_mean": _figure(chosen.mean),
        "val_n": chosen.n,
        "candidates": chosen.candidates,
        "test_minus_val": effect,
    }


def printable(line: str) -> str:
    """`line` with control and direction-changing characters shown as escapes."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), line)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _measured(gate: GateResult) -> str:
    return "nothing" if gate.measured is None else _amount(gate, gate.measured)


def _required(gate: GateResult, alpha: float) -> str:
    if gate.unit == "gain" and gate.required < 0:
        return f"above {_amount(gate, gate.required)} at level {alpha:g}"
    demanded = ("at most " if gate.unit == "msat" else "at least ") + _amount(gate, gate.required)
    return f"{demanded}, p < {alpha:g}" if gate.unit == "gain" else demanded


def _amount(gate: GateResult, value: float) -> str:
    if gate.unit == "msat":
        return f"{value:,.6g} msat"
    return words.percent(value) if gate.unit == "score" else f"{words.points(value)} points"


def _figure(value: float) -> float:
    """Six digits: more would differ between machines in the last place, and say nothing."""
    return float(f"{value:.6g}")


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "low": _figure(interval.low),
        "high": _figure(interval.high),
        "confidence": CONFIDENCE,
        "method": interval.method,
    }


def _score(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {"mean": _figure(score.mean), "interval": _interval(score.interval)}


def _gate(gate: GateResult) -> dict[str, Any]:
    return {
        "name": gate.name,
        "code": gate.code,
        "passed": gate.passed,
        "severity": gate.severity,
        "measured": None if gate.measured is None else _figure(gate.measured),
        "required": gate.required,
        "unit": gate.unit,
        "reason": gate.reason,
    }


def _cost_json(cost: Cost, validation: Validation) -> dict[str, Any]:
    usd = validation.evidence.rate.to_usd(cost.msat)
    return {"calls": cost.calls, "saved": cost.saved, "msat": cost.msat, "usd": f"{usd.normalize():f}"}


def _ruff(finding: Diagnostic) -> dict[str, Any]:
    """The keys ruff's JSON has, so that what reads one reads the other."""
    start = {"row": finding.row, "column": finding.column}
    end = {"row": finding.end_row or finding.row, "column": finding.end_column or finding.column}
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "message": finding.message,
        "filename": finding.filename or None,
        "location": start if finding.filename else None,
        "end_location": end if finding.filename else None,
        "url": None,
        "hint": finding.hint,
    }
