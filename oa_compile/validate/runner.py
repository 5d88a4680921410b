"""Scores an artifact and its parent on the sealed testset, once, and hands the evidence to the judge.

The scoring has a journal of its own: asked again, it is answered from there and nothing is scored a second
time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import dspy

from oa_compile.artifact.manifest import TEST_RESULT, json_bytes, write_whole
from oa_compile.dataset import ExampleRecord
from oa_compile.digest import digest_json
from oa_compile.errors import Interrupted, OacompileError, StopRun, UsageError
from oa_compile.evaluate.equipped import equipped
from oa_compile.evaluate.examples import score_function
from oa_compile.evaluate.refine import Refine, reward_of
from oa_compile.evaluate.rollouts import over_rollouts
from oa_compile.evaluate.scoring import pass_on, score_program
from oa_compile.events import (
    Candidate,
    Evaluated,
    ExampleScore,
    ForecastMade,
    Noted,
    Polled,
    RunFinished,
    RunStarted,
    RunStatus,
)
from oa_compile.journal import FILE_NAME, Listener
from oa_compile.lanes.lane import AsksMany, Lane
from oa_compile.lanes.recorded import Recording
from oa_compile.lanes.runtime import SETTLED_WITHIN, Runtime, stage_of
from oa_compile.signatures.build import build_program
from oa_compile.signatures.state import State, apply_state, state_digest
from oa_compile.validate.agreement import compared_fields, equality
from oa_compile.validate.attestation import statement
from oa_compile.validate.evidence import Cost, Evidence, Row
from oa_compile.validate.forecast import forecast
from oa_compile.validate.panel import Court, Panel
from oa_compile.validate.polls import Polls
from oa_compile.validate.question import Question, validation_folder
from oa_compile.validate.seal import check_seal
from oa_compile.validate.verdict import Selection, Subject, Validation, judge


def validate(
    question: Question,
    *,
    lanes: Mapping[str, Lane],
    listener: Listener | None = None,
    on_saved: Callable[[], None] | None = None,
    again: bool = False,
    borrowed: Recording | None = None,
) -> Validation:
    """Score and judge. Writes ``test-result.intoto.json`` beside the manifest. An artifact that was scored on
    this testset before, otherwise, is refused without `again`. Answers in `borrowed` are taken over.

    Raises BudgetExhausted, LaneError or Interrupted when the scoring could not be finished; it goes
    on where it stopped when asked again.
    """
    folder = validation_folder(question, lanes)
    config = question.config
    artifact, testset = question.manifest.digest, question.testset.digest
    others = check_seal(folder, artifact=artifact, testset=testset, again=again)
    started = RunStarted(
        command="validate",
        run=folder.name,
        program=question.program.spec.name,
        seed=config.run.seed,
        inputs={
            "artifact": artifact,
            "metric": question.metric.digest,
            "test": testset,
            **({"instrument": question.instrument} if question.instrument else {}),
        },
        lanes={name: lanes[name].identity for name in question.lanes},
        settings=config.model_dump(mode="json"),
        versions=question.manifest.versions,
    )
    runtime = Runtime(
        folder / FILE_NAME,
        started=started,
        config=config,
        lanes=lanes,
        listener=listener,
        recording=borrowed,
    )
    if again and others and not runtime.resumed:
        times = f"scored {others} times on this testset before, and again because it was asked for"
        runtime.journal.append(Noted(code="again", message=times, data={"severity": "warning"}))
    if on_saved is not None:
        runtime.calls.on_saved = on_saved
    try:
        return _Scoring(question, runtime, scorings=others + 1).run()
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


@dataclass(frozen=True, slots=True)
class _Scored:
    """One side of a comparison."""

    rows: list[ExampleScore]
    polls: list[Polled]

    @property
    def cost(self) -> Cost:
        """What using it costs: one run of the program for each example."""
        return Cost(calls=sum(poll.calls for poll in self.polls), msat=sum(poll.msat for poll in self.polls))


class _Scoring:
    """One validation under way."""

    def __init__(self, question: Question, runtime: Runtime, *, scorings: int) -> None:
        self.question = question
        self.scorings = scorings
        self.runtime = runtime
        self._written = {one.ordinal: one.rows for one in runtime.history if isinstance(one, Evaluated)}

    def run(self) -> Validation:
        question, tally = self.question, self.runtime.calls.tally
        if not any(isinstance(event, ForecastMade) for event in self.runtime.history):
            self.runtime.journal.append(ForecastMade(lines=forecast(question, self.runtime.lanes)))
        before = self._score(1, question.parent, origin="the program as written", parent="")
        after = self._score(2, question.state, origin="the artifact", parent=question.manifest.parent)
        try:
            self.runtime.settle()  # what is owed is part of what it cost
        except OacompileError as error:
            raise self.runtime.calls.stop(error) from error
        rows = tuple(
            Row(old.example, old.score, new.score, old.fault or new.fault)
            for old, new in zip(before.rows, after.rows, strict=True)
        )
        evidence = Evidence(
            rows,
            rate=question.config.money.rate,
            artifact_cost=after.cost,
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
            polls=self._polls(before, after),
            selection=_selection(question),
            scorings=self.scorings,
            folder=self.runtime.journal.path.parent,
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

    def _score(self, ordinal: int, state: State, *, origin: str, parent: str) -> _Scored:
        question, runtime = self.question, self.runtime
        program: dspy.Module = build_program(question.program.spec, question.program.folder)
        apply_state(program, state)
        digest = state_digest(state)
        before = replace(runtime.calls.tally)
        metric = equipped(question.metric, runtime, stage="validate")
        panel, refined = self._panel(ordinal), self._refined(program)
        score = score_function(metric, stop=runtime.calls.stop, on_fault=pass_on)
        if not question.court:  # a panel is several runs already
            score = over_rollouts(
                score,
                question.program.spec.evaluation,
                rerun=lambda: refined,
                stop=runtime.calls.stop,
                on_fault=pass_on,
            )

        def answer(record: ExampleRecord, example: dspy.Example) -> Any:
            try:
                return panel.run(refined, example, example_id=record.id)
            except UsageError as error:  # of the program's own equality or reward: nothing can be judged
                raise runtime.calls.stop(error) from error

        with runtime.context(runtime.lm("validate", "task")):
            rows = score_program(
                answer, question.testset.records, score=score, threads=question.config.run.threads
            )
        polls = [panel.polls[record.id] for record in question.testset.records]
        if self._written.get(ordinal) != rows:  # the first time, or faults had left out what has a score now
            scores = [row.score for row in rows if row.score is not None]
            tally = runtime.calls.tally
            runtime.journal.append(Candidate(candidate=digest, parent=parent, origin=origin, state=state))
            if question.court:
                for poll in polls:
                    runtime.journal.append(poll)
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
        return _Scored(rows, polls)

    def _refined(self, program: dspy.Module) -> Callable[..., Any]:
        """How the program is run where it is in use."""
        question, runtime = self.question, self.runtime
        spec = question.program.spec
        if spec.refine.rollouts == 1:
            return cast(Callable[..., Any], program)
        lane = stage_of(question.config, "validate").escalate
        last = runtime.lm("validate", "task", lane=lane) if lane else None
        return Refine(program, spec.refine, reward_of(spec, question.program.folder), last)

    def _panel(self, ordinal: int) -> Panel:
        question, runtime = self.question, self.runtime
        lane, spec = runtime.lanes[question.lane], question.program.spec
        if not question.court:
            return Panel(lane, ordinal=ordinal)
        return Panel(
            lane,
            ordinal=ordinal,
            settings=question.redundancy,
            same=equality(spec, question.program.folder, verifier=lambda: runtime.lm("validate", "judge")),
            fields=compared_fields(spec),
            court=self._court(),
        )

    def _court(self) -> Court:
        stage = stage_of(self.question.config, "verify")
        return Court(self.runtime.lanes[stage.task], self.runtime.lm("verify", "task"), stage.consistency)

    def _polls(self, before: _Scored, after: _Scored) -> Polls | None:
        if not self.question.court:
            return None
        return Polls(
            settings=self.question.redundancy,
            providers=isinstance(self.runtime.lanes[self.question.lane], AsksMany),
            court=self._court().name,
            before=tuple(before.polls),
            after=tuple(after.polls),
        )


def _selection(question: Question) -> Selection | None:
    """How the artifact was chosen, as its manifest tells."""
    manifest = question.manifest
    if not manifest.scores:
        return None
    chosen = manifest.scores[0]
    return Selection(chosen.mean, chosen.n, manifest.search.candidates)


def _without_floats(value: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{item:.9g}" if isinstance(item, float) else item for key, item in value.items()}
