"""What is validated: an artifact of a program, on a sealed testset, on lanes; checked before any call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oa_compile.artifact.folder import RunFolder, dataset_of
from oa_compile.artifact.manifest import PROGRAM, Manifest, load_manifest
from oa_compile.dataset import SPLITS, Split, load_card, load_unsealed
from oa_compile.digest import digest_json, short
from oa_compile.errors import DigestMismatch, UsageError
from oa_compile.evaluate.metrics import Metric, build_metric
from oa_compile.lanes.lane import Lane
from oa_compile.lanes.runtime import stage_of
from oa_compile.signatures.build import build_program
from oa_compile.signatures.state import State, dump_state, field_types, read_state, state_digest
from oa_compile.spec.config import Config, RedundancySpec
from oa_compile.spec.load import LoadedProgram


@dataclass(frozen=True, slots=True)
class Question:
    """What is validated: an artifact of a program, on a testset, on lanes."""

    artifact: Path
    manifest: Manifest
    program: LoadedProgram
    config: Config
    testset: Split
    metric: Metric
    state: State
    parent: State

    @property
    def lane(self) -> str:
        """Name of the lane that answers."""
        return stage_of(self.config, "validate").task

    @property
    def redundancy(self) -> RedundancySpec:
        """How many answers there are to an example."""
        return stage_of(self.config, "validate").redundancy

    @property
    def court(self) -> str:
        """Name of the verify stage's lane, "" where it is not needed."""
        return stage_of(self.config, "verify").task if self.redundancy.of > 1 else ""

    @property
    def lanes(self) -> list[str]:
        """Names of all lanes it takes: the one that answers, the judge's, the verify stage's."""
        judge = stage_of(self.config, "validate").lane("judge")
        asks = self.metric.judges or (self.court and self.program.spec.agreement.kind == "verifier")
        refines = self.program.spec.refine.rollouts > 1
        last = stage_of(self.config, "validate").escalate if refines else ""
        return list(dict.fromkeys(filter(None, (self.lane, judge if asks else "", last, self.court))))

    @property
    def instrument(self) -> str:
        """The digest of how answers become one; "" where one is taken as it is."""
        if not self.court:
            return ""
        consistency = stage_of(self.config, "verify").consistency
        return digest_json(
            {
                "redundancy": self.redundancy.model_dump_json(),
                "consistency": consistency.model_dump_json(),
                "agreement": self.program.spec.agreement.model_dump_json(),
            }
        )


def find_artifact(path: Path) -> Path:
    """The artifact folder meant by `path`: itself, or that of a run folder."""
    inside = RunFolder(path).artifact
    return inside if inside.is_dir() else path


def ask(path: Path, *, program: LoadedProgram, config: Config, dataset: Path | None) -> Question:
    """Check everything that can be checked before a call is made.

    Raises DigestMismatch when artifact, program, metric or dataset are not of one piece, UsageError
    when something is missing.
    """
    artifact = find_artifact(path)
    manifest = load_manifest(artifact)
    if program.digest != manifest.program.digest:
        raise DigestMismatch(
            f"{artifact} was compiled from another version of program `{manifest.program.name}` "
            f"than {program.path}",
            hint="compile again, or name the program it was made from with --program",
        )
    metric = build_metric(program.spec, program.folder)
    if metric.digest != manifest.metric:
        raise DigestMismatch(f"{artifact} was compiled for another metric than {program.path} has now")
    built = build_program(program.spec, program.folder)
    parent = dump_state(built)
    if field_types(built) != manifest.program.signatures:
        raise DigestMismatch(
            f"{artifact}: its signatures are not those of {program.path}",
            hint="a predictor or a field changed since the compile: compile again",
        )
    state = read_state(json.loads((artifact / PROGRAM).read_bytes()), predictors=list(parent))
    if state_digest(state) != manifest.program.state:
        raise DigestMismatch(f"{artifact / PROGRAM}: its state is not the one the manifest names")
    return Question(
        artifact, manifest, program, config, _testset(artifact, manifest, dataset), metric, state, parent
    )


def _testset(artifact: Path, manifest: Manifest, dataset: Path | None) -> Split:
    folder = dataset or dataset_of(RunFolder(artifact.parent))
    if folder is None:
        raise UsageError(
            f"{artifact}: the dataset it was compiled on is not here", hint="name its folder with --dataset"
        )
    card = load_card(folder)
    for name in SPLITS:
        info = card.splits.get(name)
        if info is None or info.digest != manifest.dataset.get(name):
            raise DigestMismatch(
                f"{folder}: its {name} split is not the one this artifact was compiled with, so its test "
                "split may hold examples the compile has seen",
                hint="name the right dataset with --dataset, or compile again on this one",
            )
    return load_unsealed(folder)["test"]


def validation_folder(question: Question, lanes: Mapping[str, Lane]) -> Path:
    """Where this question's journal lies: the same question finds its answers again."""
    asked = [
        question.manifest.digest,
        question.testset.digest,
        question.metric.digest,
        *(lanes[name].identity for name in question.lanes),
        *filter(None, [question.instrument]),
    ]
    name = f"validate-{short(digest_json(asked))}"
    run = RunFolder(question.artifact.parent)
    return run.path / name if run.inputs.is_dir() else Path("runs") / name
