"""Scores an artifact and its parent on the sealed testset, once, and hands the evidence to the judge.

Checks first that the artifact is whole, that it is of this program, and that the testset is of the
dataset it was compiled on. The scoring has a journal of its own: asked again, it is answered from
there and nothing is scored a second time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from oa_compile.artifact.folder import RunFolder, dataset_of
from oa_compile.artifact.manifest import (
    PROGRAM,
    TEST_RESULT,
    Manifest,
    json_bytes,
    load_manifest,
    write_whole,
)
from oa_compile.chat import ChatRequest
from oa_compile.dataset import SPLITS, Split, load_card, load_unsealed
from oa_compile.digest import digest_json, short
from oa_compile.errors import DigestMismatch, Interrupted, OacompileError, StopRun, UsageError
from oa_compile.evaluate.equipped import equipped
from oa_compile.evaluate.examples import score_function
from oa_compile.evaluate.metrics import Metric, build_metric
from oa_compile.evaluate.scoring import pass_on, score_program
from oa_compile.events import (
    Candidate,
    Evaluated,
    ExampleScore,
    ForecastMade,
    RunFinished,
    RunStarted,
    RunStatus,
)
from oa_compile.journal import Listener
from oa_compile.lanes.lane import Lane
from oa_compile.lanes.runtime import SETTLED_WITHIN, Runtime, stage_of
from oa_compile.signatures.build import build_program
from oa_compile.signatures.state import State, apply_state, dump_state, field_types, read_state, state_digest
from oa_compile.spec.config import Config
from oa_compile.spec.load import LoadedProgram
from oa_compile.validate.attestation import statement
from oa_compile.validate.evidence import Cost, Evidence, Row
from oa_compile.validate.verdict import Subject, Validation, judge


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
    def lanes(self) -> list[str]:
        """Names of all lanes it takes: the one that answers, and the judge's."""
        stage = stage_of(self.config, "validate")
        return list(dict.fromkeys([stage.task, *([stage.lane("judge")] if self.metric.judges else [])]))


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
    ]
    name = f"validate-{short(digest_json(asked))}"
    run = RunFolder(question.artifact.parent)
    return run.path / name if run.inputs.is_dir() else Path("runs") / name


def validate(
    question: Question,
    *,
    lanes: Mapping[str, Lane],
    listener: Listener | None = None,
    on_saved: Callable[[], None] | None = None,
) -> Validation:
    """Score and judge. Writes ``test-result.intoto.json`` beside the manifest.

    Raises BudgetExhausted, LaneError or Interrupted when the scoring could not be finished; it goes
    on where it stopped when asked again.
    """
    folder = validation_folder(question, lanes)
    config = question.config
    started = RunStarted(
        command="validate",
        run=folder.name,
        program=question.program.spec.name,
        seed=config.run.seed,
        inputs={
            "artifact": question.manifest.digest,
            "metric": question.metric.digest,
            "test": question.testset.digest,
        },
        lanes={name: lanes[name].identity for name in question.lanes},
        settings=config.model_dump(mode="json"),
        versions=question.manifest.versions,
    )
    runtime = Runtime(
        folder / "journal.jsonl", started=started, config=config, lanes=lanes, listener=listener
    )
    if on_saved is not None:
        runtime.calls.on_saved = on_saved
    try:
        return _Scoring(question, runtime).run()
    except StopRun as stop:
        raise _finished(runtime, stop.error) from stop
    except KeyboardInterrupt:
        runtime.calls.interrupt()
        error = runtime.calls.stopped_by
        assert error is not None
        raise _finished(runtime, error) from None
    finally:
        runtime.close()


def _finished(runtime: Runtime, error: OacompileError) -> OacompileError:
    runtime.calls.wait_idle(SETTLED_WITHIN)
    try:
        runtime.settle()
    except OacompileError as broken:
        error = broken
    status: RunStatus = "interrupted" if isinstance(error, Interrupted) else "failed"
    runtime.journal.append(RunFinished(status=status, reason=error.message), sync=True)
    return error


class _Scoring:
    """One validation under way."""

    def __init__(self, question: Question, runtime: Runtime) -> None:
        self.question = question
        self.runtime = runtime
        self._written = {event.ordinal for event in runtime.history if isinstance(event, Evaluated)}

    def run(self) -> Validation:
        question, tally = self.question, self.runtime.calls.tally
        self._forecast()
        before = self._score(1, question.parent, origin="the program as written", parent="")
        worth, answers = tally.worth, tally.made + tally.saved
        after = self._score(2, question.state, origin="the artifact", parent=question.manifest.parent)
        artifact_cost = Cost(calls=tally.made + tally.saved - answers, msat=tally.worth - worth)
        try:
            self.runtime.settle()  # what is owed is part of what it cost
        except OacompileError as error:
            raise self.runtime.calls.stop(error) from error
        rows = tuple(
            Row(old.example, old.score, new.score, old.fault or new.fault)
            for old, new in zip(before, after, strict=True)
        )
        evidence = Evidence(
            rows,
            rate=question.config.money.rate,
            artifact_cost=artifact_cost,
            spent=Cost(calls=tally.made, msat=tally.msat, saved=tally.saved),
            seed=question.config.run.seed,
        )
        subject = Subject(
            program=question.program.spec.name,
            artifact=question.manifest.digest,
            testset=question.testset.digest,
            config=digest_json(_without_floats(question.config.gates.model_dump(mode="json"))),
            metric=question.metric.digest,
            parent=question.manifest.parent,
        )
        validation = judge(
            evidence,
            subject=subject,
            gates=question.config.gates,
            max_fault_share=question.config.run.max_fault_share,
        )
        if not validation.unjudged:
            write_whole(question.artifact / TEST_RESULT, json_bytes(statement(validation)))
        self.runtime.journal.append(
            RunFinished(
                status="complete" if not validation.unjudged else "failed",
                reason=validation.sentence,
                artifact=question.manifest.digest,
                results={"outcome": validation.outcome, "n": validation.n},
            ),
            sync=True,
        )
        return validation

    def _score(self, ordinal: int, state: State, *, origin: str, parent: str) -> list[ExampleScore]:
        question, runtime = self.question, self.runtime
        program: dspy.Module = build_program(question.program.spec, question.program.folder)
        apply_state(program, state)
        digest = state_digest(state)
        before = replace(runtime.calls.tally)
        metric = equipped(question.metric, runtime, stage="validate")
        score = score_function(metric, stop=runtime.calls.stop, on_fault=pass_on)
        with runtime.context(runtime.lm("validate", "task")):
            rows = score_program(
                program, question.testset.records, score=score, threads=question.config.run.threads
            )
        if ordinal not in self._written:
            scores = [row.score for row in rows if row.score is not None]
            tally = runtime.calls.tally
            runtime.journal.append(Candidate(candidate=digest, parent=parent, origin=origin, state=state))
            runtime.journal.append(
                Evaluated(
                    ordinal=ordinal,
                    candidate=digest,
                    split="test",
                    scope="full",
                    score=sum(scores) / len(scores) if scores else None,
                    rows=rows,
                    valid=len(scores) == len(rows),
                    calls=tally.made - before.made,
                    saved=tally.saved - before.saved,
                    msat=tally.msat - before.msat,
                )
            )
        return rows

    def _forecast(self) -> None:
        if any(isinstance(event, ForecastMade) for event in self.runtime.history):
            return
        calls = 2 * len(self.question.testset.records) * max(len(self.question.parent), 1)
        # What a call costs before its first token: all of it where calls have one price.
        each = self.runtime.lanes[self.question.lane].quote(ChatRequest(())).msat
        line = {
            "phase": "score",
            "stage": "validate",
            "role": "task",
            "lane": self.question.lane,
            "calls": calls,
            "at_most": calls,
            "tokens": 0,
            "msat": calls * each,
            "seconds": 0.0,
            "cap": "",
        }
        self.runtime.journal.append(ForecastMade(lines=[line]))


def _without_floats(value: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{item:.9g}" if isinstance(item, float) else item for key, item in value.items()}
