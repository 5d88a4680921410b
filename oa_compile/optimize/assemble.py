"""From the search's record to the artifact: which candidate it is, and the manifest that names it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import (
    Manifest,
    ProgramPart,
    Search,
    SplitScore,
    json_bytes,
    sealed,
    write_artifact,
)
from oa_compile.artifact.provenance import statement
from oa_compile.dataset import SPLITS
from oa_compile.digest import digest_bytes
from oa_compile.lanes.runtime import stage_of
from oa_compile.optimize.plan import Plan
from oa_compile.optimize.recorder import CandidateRecorder, Standing
from oa_compile.signatures.frozen import reveal
from oa_compile.signatures.state import apply_state, dump_state, field_types, state_digest


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidate the artifact holds. `complete` when the search ran to its end."""

    standing: Standing
    complete: bool


def choose(
    recorder: CandidateRecorder, winner: str | None, *, note: Callable[[str, str], None]
) -> Chosen | None:
    """The optimizer's winner, if all its validation examples were answered; else the best that is.

    None when no candidate was scored on the whole valset.
    """
    if winner is not None:
        standing = recorder.standing(winner)
        if standing is not None:
            return Chosen(standing, complete=True)
        note(
            "invalid-winner",
            "the optimizer's winner was never scored without faults; the best that was is taken",
        )
    if recorder.best is None:
        return None
    return Chosen(recorder.best, complete=winner is not None)


def assemble(
    plan: Plan,
    chosen: Chosen,
    *,
    folder: RunFolder,
    recorder: CandidateRecorder,
    models: Mapping[str, str],
    reason: str,
    started_ms: int,
    byproducts: Mapping[str, Any],
) -> Manifest:
    """Write the artifact of `chosen` into the run's folder; returns its manifest."""
    inputs = plan.inputs
    program = plan.program.deepcopy()
    apply_state(program, chosen.standing.state)
    reveal(program)
    data = program_json(program)
    stage = stage_of(inputs.config, "compile")
    roles = {"task": stage.task}
    if plan.optimizer.proposes(plan.settings):
        roles["proposer"] = stage.lane("proposer")
    if plan.metric.judges:
        roles["judge"] = stage.lane("judge")
    base = recorder.standing(recorder.baseline)
    manifest = sealed(
        Manifest(
            status="complete" if chosen.complete else "partial",
            reason=reason,
            program=ProgramPart(
                name=inputs.program.spec.name,
                digest=inputs.program.digest,
                files={k: v for k, v in inputs.digests.items() if k.endswith(".py")},
                signatures=field_types(program),
                state=state_digest(dump_state(program)),
                file=digest_bytes(data),
            ),
            adapter=plan.adapter,
            metric=plan.metric.digest,
            dataset={name: inputs.digests[name] for name in SPLITS if name in inputs.digests},
            models={role: models[lane] for role, lane in roles.items()},
            search=Search(
                optimizer=plan.optimizer.name,
                settings=plan.settings.model_dump(mode="json"),
                seed=plan.seed,
                evaluations=recorder.evaluations,
                candidates=recorder.candidates,
            ),
            versions=plan.versions,
            parent=recorder.baseline,
            scores=[_split_score(chosen.standing)],
            baseline=[_split_score(base)] if base else [],
        )
    )
    provenance = statement(
        manifest,
        run=folder.name,
        started_ms=started_ms,
        finished_ms=time.time_ns() // 1_000_000,
        config=inputs.config.model_dump(mode="json"),
        byproducts=byproducts,
    )
    write_artifact(folder.artifact, manifest=manifest, program=data, provenance=provenance)
    return manifest


def _split_score(standing: Standing) -> SplitScore:
    rows = [(row.example, row.score) for row in standing.rows if row.score is not None]
    return SplitScore(candidate=standing.candidate, n=len(rows), mean=standing.score, rows=rows)


def program_json(program: dspy.Module) -> bytes:
    """The program's state as plain DSPy saves it, without an LM: where it runs is not what it is."""
    state: dict[str, Any] = program.dump_state()
    for part in [state, *state.values()]:
        if isinstance(part, dict) and "lm" in part:
            part["lm"] = None
    state["metadata"] = {"dependency_versions": {"dspy": dspy.__version__}}
    return json_bytes(state)
