"""One artifact's way up: as many steps as its gates let it, each journaled with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oa_compile.artifact.manifest import load_manifest
from oa_compile.errors import ExitCode, UsageError
from oa_compile.promote.evidence import Evidence, read_evidence
from oa_compile.promote.gates import STEPS, Gate, State, gates, held
from oa_compile.promote.store import Store
from oa_compile.spec.promotion import PromotionSpec


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was tried."""

    before: State
    after: State
    gates: tuple[Gate, ...]

    @property
    def taken(self) -> bool:
        """Whether its gates held."""
        return held(self.gates)


@dataclass(frozen=True, slots=True)
class Promotion:
    """How far an artifact came. `replaced` is the artifact that was in use before, "" if none was."""

    program: str
    artifact: str
    state: State
    steps: tuple[Step, ...]
    evidence: Evidence
    folder: Path
    replaced: str = ""

    @property
    def exit_code(self) -> ExitCode:
        """0 when every step was taken, 1 when a gate was missed."""
        return ExitCode.OK if all(step.taken for step in self.steps) else ExitCode.GATE_MISSED


def promote(
    artifact: Path, store: Store, spec: PromotionSpec, *, to: State | None = None, seed: int = 0
) -> Promotion:
    """Take `artifact` up to state `to`, or one step. Stops at the first step whose gates do not hold.

    Raises UsageError when it is there already or was never validated, LaneError when its worth could not be
    judged, DigestMismatch when it is not whole.
    """
    manifest = load_manifest(artifact)
    name, digest = manifest.program.name, manifest.digest
    evidence = read_evidence(artifact, manifest)
    states = store.program(name)
    state: State = states.states.get(digest, "candidate")
    if state == "rolled_back":
        state = "candidate"  # from the start: what is in use now is another
    target = to or (STEPS[STEPS.index(state) + 1] if state != "promoted" else "promoted")
    if STEPS.index(target) <= STEPS.index(state):
        raise UsageError(f"the artifact is {state} already", hint=f"oacompile status {name}")
    current = states.evidence.get(states.current)
    folder = store.add(artifact, manifest)
    steps: list[Step] = []
    for after in STEPS[STEPS.index(state) + 1 : STEPS.index(target) + 1]:
        step = Step(state, after, gates(after, spec, evidence, current=current, seed=seed))
        steps.append(step)
        if not step.taken:
            break
        store.move(name, digest, after, gates=step.gates, evidence=evidence)
        state = after
    replaced = states.current if state == "promoted" else ""
    return Promotion(name, digest, state, tuple(steps), evidence, folder, replaced)
