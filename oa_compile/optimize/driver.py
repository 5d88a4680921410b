"""Runs one compile from its folder: open the journal, search, choose, write the artifact and the bundle.

The same function makes a run, resumes it and replays it; only the lanes and the recording differ.
Owns the order of things and what each kind of stop leaves behind; searching is the optimizers' work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dspy.utils.exceptions import AdapterParseError

from oa_compile.artifact.bundle import write_bundle
from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import MANIFEST, Manifest, load_manifest
from oa_compile.errors import (
    BudgetExhausted,
    Divergence,
    Interrupted,
    OacompileError,
    StopRun,
    UsageError,
)
from oa_compile.evaluate.equipped import equipped
from oa_compile.evaluate.examples import score_function
from oa_compile.evaluate.rollouts import over_rollouts
from oa_compile.events import ForecastMade, Noted, PhaseStarted, RunFinished, RunStarted, RunStatus
from oa_compile.journal import Listener
from oa_compile.lanes.lane import Lane
from oa_compile.lanes.recorded import Recording
from oa_compile.lanes.runtime import SETTLED_WITHIN, Runtime, stage_of
from oa_compile.optimize.apart import run_apart
from oa_compile.optimize.assemble import Chosen, assemble, choose
from oa_compile.optimize.forecast import forecast
from oa_compile.optimize.lookahead import LookAhead
from oa_compile.optimize.optimizer import Job
from oa_compile.optimize.plan import Plan
from oa_compile.optimize.preflight import probe_proposer
from oa_compile.optimize.recorder import CandidateRecorder, RecordedSearch
from oa_compile.signatures.state import dump_state, state_digest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a compile came to. `error` is what stopped it, None when it ran to its end."""

    folder: RunFolder
    status: RunStatus
    manifest: Manifest | None
    error: OacompileError | None
    made: int
    saved: int
    bundle: str = ""


def started_event(plan: Plan, *, run: str, lanes: Mapping[str, Lane]) -> RunStarted:
    """The journal's first event: what decides everything that follows."""
    inputs = plan.inputs
    return RunStarted(
        command="optimize",
        run=run,
        program=inputs.program.spec.name,
        optimizer=plan.optimizer.name,
        seed=plan.seed,
        inputs={**inputs.digests, "metric": plan.metric.digest},
        lanes={name: lanes[name].identity for name in plan.lanes},
        settings=inputs.config.model_dump(mode="json"),
        versions=plan.versions,
    )


def run_compile(
    folder: RunFolder,
    plan: Plan,
    *,
    lanes: Mapping[str, Lane],
    listener: Listener | None = None,
    on_saved: Callable[[], None] | None = None,
    recording: Recording | None = None,
    recorded: RecordedSearch | None = None,
) -> Outcome:
    """Run, resume or replay the compile of `folder`.

    With `recorded` this is a strict replay: recorded faults happen again, and a recorded stop
    stops it. Raises what cannot leave an artifact behind: UsageError, Divergence, JournalWriteError.
    """
    runtime = Runtime(
        folder.journal,
        started=started_event(plan, run=folder.name, lanes=lanes),
        config=plan.inputs.config,
        lanes=lanes,
        recording=recording,
        replay_faults=recorded is not None,
        listener=listener,
    )
    if on_saved is not None:
        runtime.calls.on_saved = on_saved
    try:
        outcome = _Compile(folder, plan, runtime, recorded).run()
    finally:
        runtime.close()
    if outcome.manifest is not None and recorded is None:
        digest = write_bundle(folder)
        return Outcome(
            folder, outcome.status, outcome.manifest, outcome.error, outcome.made, outcome.saved, digest
        )
    return outcome


class _Compile:
    """One compile under way."""

    def __init__(
        self, folder: RunFolder, plan: Plan, runtime: Runtime, recorded: RecordedSearch | None
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.runtime = runtime
        self.recorded = recorded
        self.started_ms = time.time_ns() // 1_000_000
        self.recorder = CandidateRecorder(
            append=runtime.journal.append,
            history=runtime.history,
            calls=runtime.calls,
            examples={"train": plan.inputs.train.records, "val": plan.val_records},
            max_fault_share=plan.inputs.config.run.max_fault_share,
            recorded=recorded,
        )
        self.recorder.begin(plan.program)
        self._phases = sum(isinstance(event, PhaseStarted) for event in runtime.history)
        self._phase = 0

    def run(self) -> Outcome:
        self._note_plan()
        error: OacompileError | None = None
        winner: str | None = None
        try:
            winner = run_apart(self._search, log=self.folder.log, on_interrupt=self.runtime.calls.interrupt)
        except StopRun as stop:
            error = stop.error
        except KeyboardInterrupt:
            error = self.runtime.calls.stopped_by
        except AdapterParseError as parse_error:
            error = _unparseable(parse_error)
        except Exception as unexpected:
            # A stop in one thread surfaces as some other error in another.
            error = self.runtime.calls.stopped_by
            if error is None:
                self._finish("failed", f"{type(unexpected).__name__}: {unexpected}", None)
                raise
        self.runtime.calls.wait_idle(SETTLED_WITHIN)
        self.recorder.close()
        error = self._settle(error)
        error = self._as_recorded(error)
        if isinstance(error, Divergence):
            raise error
        self.recorder.finish()
        return self._leave(winner, error)

    def _settle(self, error: OacompileError | None) -> OacompileError | None:
        """Pay what is owed before the run's cost is written down. What breaks in it (a wallet that did what
        it must not) is worse than whatever ended the run.
        """
        try:
            self.runtime.settle()
        except OacompileError as broken:
            return broken
        return error

    def _search(self) -> str:
        plan, runtime = self.plan, self.runtime
        task = runtime.lm("compile", "task")
        proposer = runtime.lm("compile", "proposer" if plan.optimizer.proposes(plan.settings) else "task")
        metric = equipped(plan.metric, runtime, stage="compile")
        faults, stop = self.recorder.faults, runtime.calls.stop
        score = over_rollouts(
            score_function(metric, stop=stop, on_fault=faults.met),
            plan.inputs.program.spec.evaluation,
            rerun=faults.evaluated,
            stop=stop,
            on_fault=faults.met,
        )
        threads = plan.inputs.config.run.threads
        with (
            LookAhead(threads) as ahead,
            runtime.context(task, callbacks=[self.recorder, self.recorder.faults]),
        ):
            if plan.optimizer.proposes(plan.settings) and plan.inputs.config.optimizer.preflight:
                self._enter("preflight")
                stage = stage_of(plan.inputs.config, "compile")
                probe_proposer(plan, proposer, lane=stage.proposer or stage.task)
            job = Job(
                program=plan.program.deepcopy(),
                trainset=plan.trainset,
                valset=plan.valset,
                score=score,
                task_lm=task,
                proposer_lm=proposer,
                tunable=plan.tunable,
                seed=plan.seed,
                threads=threads,
                recorder=self.recorder,
                phase=self._enter,
                # A replay has nothing to wait for, and what it lacks must end it where the search asks.
                ahead=ahead if self.recorded is None else None,
            )
            return state_digest(dump_state(plan.optimizer.compile(job, plan.settings)))

    def _leave(self, winner: str | None, error: OacompileError | None) -> Outcome:
        """Write what there is, and say how it ended."""
        status: RunStatus = "complete"
        if error is not None:
            status = "interrupted" if isinstance(error, Interrupted) else "failed"
            status = "partial" if isinstance(error, BudgetExhausted) else status
        chosen = choose(self.recorder, winner, note=self._note)
        manifest = None if error is None else self._further()
        if manifest is None and chosen is not None:
            manifest = self._write(chosen, error)
        self._finish(status, error.message if error else "", manifest)
        tally = self.runtime.calls.tally
        return Outcome(self.folder, status, manifest, error, tally.made, tally.saved)

    def _further(self) -> Manifest | None:
        """The artifact that is there already, if its search had come further than this segment did."""
        if not (self.folder.artifact / MANIFEST).is_file():
            return None
        before = load_manifest(self.folder.artifact)
        return before if before.search.evaluations > self.recorder.evaluations else None

    def _write(self, chosen: Chosen, error: OacompileError | None) -> Manifest:
        totals = self.runtime.ledger
        return assemble(
            self.plan,
            chosen,
            folder=self.folder,
            recorder=self.recorder,
            models={name: lane.identity for name, lane in self.runtime.lanes.items()},
            reason=error.message if error else "",
            started_ms=self.started_ms,
            byproducts={
                "calls": {"made": self.runtime.calls.tally.made, "saved": self.runtime.calls.tally.saved},
                "lanes": {
                    name: {"calls": used.calls, "tokens": used.tokens, "msat": used.msat}
                    for name, used in totals.lanes().items()
                },
            },
        )

    def _finish(self, status: RunStatus, reason: str, manifest: Manifest | None) -> None:
        best, base = self.recorder.best, self.recorder.standing(self.recorder.baseline)
        tally = self.runtime.calls.tally
        results = {
            "baseline": base.score if base else None,
            "best": best.score if best else None,
            "evaluations": self.recorder.evaluations,
            "calls": {"made": tally.made, "saved": tally.saved, "faults": tally.faults},
        }
        self.runtime.journal.append(
            RunFinished(
                status=status, reason=reason, artifact=manifest.digest if manifest else "", results=results
            ),
            sync=True,
        )

    def _as_recorded(self, error: OacompileError | None) -> OacompileError | None:
        """A replayed call that is missing where the recorded run stopped is that stop, not a divergence."""
        end = self.recorded
        if isinstance(error, Divergence) and end is not None and end.error is not None:
            reached = (self.recorder.evaluations, self.recorder.candidates)
            if reached == (end.evaluations, end.candidates):
                return end.error
        return error

    def _note_plan(self) -> None:
        if any(isinstance(event, ForecastMade) for event in self.runtime.history):
            return
        for code, message in self.plan.notes:
            self._note(code, message)
        lines = forecast(self.plan, lanes=dict(self.runtime.lanes))
        self.runtime.journal.append(ForecastMade(lines=[line.as_dict() for line in lines]))

    def _note(self, code: str, message: str) -> None:
        self.runtime.journal.append(Noted(code=code, message=message))

    def _enter(self, phase: str) -> None:
        self._phase += 1
        if self._phase > self._phases:
            self.runtime.journal.append(PhaseStarted(phase=phase))


def _unparseable(error: AdapterParseError) -> UsageError:
    answer = " ".join(str(error.lm_response).split())[:160]
    return UsageError(
        f"the proposer wrote what the optimizer cannot read: {answer!r}",
        hint="name a larger model as stages.compile.proposer, or search demos only",
    )
