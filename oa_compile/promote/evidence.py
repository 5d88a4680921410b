"""What is known of an artifact's worth: the rows of its validation, read from that validation's journal.

The compile's own scores are no evidence: a candidate never admits itself. Neither is a figure that stands in
a file alone: everything is computed from the rows again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oa_compile.artifact.manifest import Manifest
from oa_compile.digest import short
from oa_compile.errors import LaneError, UsageError
from oa_compile.events import Evaluated, ExampleScore, RunFinished, RunStarted
from oa_compile.journal import FILE_NAME, read


@dataclass(frozen=True, slots=True)
class Evidence:
    """The scores of one artifact, and of the program as written, on its testset, by example; `parts` are the
    means of its metrics by kind. `journal` is where they stand, `scorings` how often it was scored there.
    """

    artifact: str
    testset: str
    metric: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    parts: Mapping[str, float]
    journal: str
    scorings: int


def read_evidence(artifact: Path, manifest: Manifest) -> Evidence:
    """The evidence for an artifact: that of its latest validation which was judged.

    Raises UsageError when it was never validated, LaneError when no validation could be judged.
    """
    journals = sorted(
        artifact.parent.glob(f"validate-*/{FILE_NAME}"), key=lambda path: path.stat().st_mtime_ns
    )
    found = [one for journal in journals if (one := _read(journal, manifest)) is not None]
    hint = f"oacompile validate {artifact.parent}"
    if not found:
        raise UsageError(f"artifact {short(manifest.digest)} was never validated", hint=hint)
    judged = [one for one in found if one.after]
    if not judged:
        raise LaneError(f"the validation of {short(manifest.digest)} could not be judged", hint=hint)
    latest = judged[-1]
    return Evidence(
        latest.artifact,
        latest.testset,
        latest.metric,
        latest.before,
        latest.after,
        latest.parts,
        latest.journal,
        len(judged),
    )


def _read(journal: Path, manifest: Manifest) -> Evidence | None:
    """What one journal says of the artifact: None when it is of another, without scores when not judged."""
    events = [line.event for line in read(journal)]
    started = events[0] if events else None
    if not isinstance(started, RunStarted) or started.command != "validate":
        return None
    testset, metric = manifest.dataset.get("test", ""), manifest.metric
    wanted = (manifest.digest, testset, metric)
    if tuple(started.inputs.get(name) for name in ("artifact", "test", "metric")) != wanted:
        return None
    ends = [event for event in events if isinstance(event, RunFinished)]
    nothing = Evidence(manifest.digest, testset, metric, {}, {}, {}, str(journal), 0)
    if not ends or ends[-1].status != "complete":
        return nothing
    rows = {event.ordinal: event.rows for event in events if isinstance(event, Evaluated)}
    before, after = rows.get(1, []), rows.get(2, [])
    faulted = {row.example for row in (*before, *after) if row.score is None}
    return Evidence(
        manifest.digest,
        testset,
        metric,
        before=_scores(before, faulted),
        after=_scores(after, faulted),
        parts=_parts([row for row in after if row.example not in faulted]),
        journal=str(journal),
        scorings=1,
    )


def _scores(rows: list[ExampleScore], faulted: set[str]) -> dict[str, float]:
    return {row.example: row.score for row in rows if row.score is not None and row.example not in faulted}


def _parts(kept: list[ExampleScore]) -> dict[str, float]:
    """The mean of each kind of metric. One that was not asked for an answer counts 0 there."""
    kinds: dict[str, set[str]] = {}
    for row in kept:
        for name in row.parts:
            kinds.setdefault(name.partition("(")[0], set()).add(name)
    return {
        kind: sum(row.parts.get(name, 0.0) for row in kept for name in names) / (len(kept) * len(names))
        for kind, names in sorted(kinds.items())
    }
