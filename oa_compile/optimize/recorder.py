"""Makes every candidate visible: what was tried, what it scored example by example, and its fate.

Hangs on DSPy's evaluate hook, the one place that sees the candidates of all three optimizers. It
writes events, keeps the best candidate so far, and sees to it that an infrastructure fault never
counts as a wrong answer: a candidate with a faulted example is marked invalid and cannot win, and too
many faults stop the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import dspy
from dspy.utils.callback import BaseCallback

from oa_compile.dataset import ExampleRecord
from oa_compile.digest import digest_json
from oa_compile.errors import LaneError, OacompileError
from oa_compile.events import AnyEvent, Candidate, Decided, Evaluated, ExampleScore
from oa_compile.lanes.calls import Calls, Tally
from oa_compile.optimize.changes import changes
from oa_compile.optimize.faults import FaultWatch, Watched, check_share, neutralise
from oa_compile.signatures.state import State, dump_state, state_digest

Split = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class RecordedSearch:
    """What a strict replay must keep to. `evaluated` are the recorded run's evaluations; when the run
    was stopped by `error`, it had finished `evaluations` and seen `candidates` by then.
    """

    evaluated: tuple[Evaluated, ...] = ()
    error: OacompileError | None = None
    evaluations: int = 0
    candidates: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate with a whole evaluation on the valset."""

    candidate: str
    state: State
    score: float
    rows: tuple[ExampleScore, ...]


@dataclass(slots=True)
class _Open:
    """An evaluation under way."""

    candidate: str
    tally: Tally
    faults: Watched


@dataclass(slots=True)
class _Fate:
    """What is known of a candidate so far."""

    state: State
    parent: str
    full: Standing | None = None
    minibatches: list[float] = field(default_factory=list)
    decided: bool = False


class CandidateRecorder(BaseCallback):  # type: ignore[misc]
    """One search's record. `append` writes an event; events a resumed journal has are not written again."""

    def __init__(
        self,
        *,
        append: Callable[[AnyEvent], object],
        history: Iterable[AnyEvent],
        calls: Calls,
        examples: Mapping[Split, Iterable[ExampleRecord]],
        max_fault_share: float,
        recorded: RecordedSearch | None = None,
    ) -> None:
        self._append = append
        self._calls = calls
        self._splits = {record.id: split for split, records in examples.items() for record in records}
        self._sizes = {split: sum(1 for _ in records) for split, records in examples.items()}
        self._max_fault_share = max_fault_share
        self._lock = threading.RLock()
        self._open: dict[str, _Open] = {}
        self._fates: dict[str, _Fate] = {}
        self._ids: dict[int, tuple[Any, str]] = {}
        self._closed = False
        self.faults = FaultWatch()
        self._ordinal = 0
        self._parent = ""
        self._latest = ""
        self.baseline = ""
        self.best: Standing | None = None
        self._written: set[tuple[str, object]] = set()
        self._end = recorded if recorded is not None and recorded.error is not None else None
        self._recorded = {event.ordinal: event for event in recorded.evaluated} if recorded else {}
        calls.tolerates_faults = lambda: self.faults.watching
        for event in history:
            if isinstance(event, Candidate):
                self._written.add(("candidate", event.candidate))
            elif isinstance(event, Evaluated):
                self._written.add(("evaluated", event.ordinal))
                self._recorded[event.ordinal] = event
            elif isinstance(event, Decided):
                self._written.add(("decided", (event.ordinal, event.candidate)))

    @property
    def evaluations(self) -> int:
        """Evaluations finished so far."""
        return self._ordinal

    @property
    def candidates(self) -> int:
        """Distinct program states seen so far."""
        return len(self._fates)

    def begin(self, program: dspy.Module) -> None:
        """Name the uncompiled program: the parent of what comes first."""
        state = dump_state(program)
        self.baseline = self._parent = state_digest(state)
        self._introduce(self.baseline, state, parent="", origin=changes(state, state))

    def set_parent(self, instructions: Mapping[str, str]) -> None:
        """The candidate with these instructions is what the next proposals come from."""
        for digest, fate in self._fates.items():
            if all(fate.state[name]["instruction"] == text for name, text in instructions.items()):
                self._parent = digest
                return

    def standing(self, candidate: str) -> Standing | None:
        """A candidate's evaluation on the whole valset, if it has a valid one."""
        fate = self._fates.get(candidate)
        return fate.full if fate else None

    # -- DSPy's hooks ----------------------------------------------------------------------------

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An evaluation begins: name its candidate."""
        del instance
        if self._closed:
            return
        program = inputs["program"]
        state = dump_state(program)
        digest = state_digest(state)
        with self._lock:
            if digest not in self._fates:
                self._check_end(self._end is not None and len(self._fates) >= self._end.candidates)
                base = self._fates[self.baseline].state if self.baseline else state
                self._introduce(digest, state, parent=self._parent, origin=changes(base, state))
            tally = self._calls.tally
            now = Tally(made=tally.made, saved=tally.saved, faults=tally.faults, msat=tally.msat)
            self._open[call_id] = _Open(digest, now, self.faults.begin(program))

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """An evaluation ended: write its scores, and take faults out of them."""
        with self._lock:
            opened = self._open.pop(call_id, None)
            if opened is None:
                return
            self.faults.end(opened.faults)
            if self._closed or outputs is None or exception is not None:
                return
            self._check_end(self._end is not None and self._ordinal >= self._end.evaluations)
            rows = self._as_recorded([self._row(row, opened) for row in outputs.results])
            self._check_faults(rows)
            neutralise(outputs, rows)
            self._finish(opened, rows)

    # -- inside ----------------------------------------------------------------------------------

    def _check_end(self, reached: bool) -> None:  # noqa: FBT001
        """Stop a replay where the recorded run was stopped. Its last calls may have been answered after
        it was stopped, so that they are all there and would carry the replay further.
        """
        if reached and self._end is not None and self._end.error is not None:
            raise self._calls.stop(self._end.error)

    def _introduce(self, digest: str, state: State, *, parent: str, origin: str) -> None:
        self._fates[digest] = _Fate(state, parent)
        self._write(
            ("candidate", digest), Candidate(candidate=digest, parent=parent, origin=origin, state=state)
        )

    def _row(self, row: tuple[Any, Any, Any], opened: _Open) -> ExampleScore:
        example, prediction, score = row
        name = self._example_id(example)
        kind = opened.faults.of(example)
        if not kind and isinstance(prediction, dspy.Prediction) and not prediction.keys():
            # A fault in a thread of the program's own belongs to some example that came to nothing.
            faults = self._calls.tally.faults - opened.tally.faults
            if faults > len(opened.faults.faults):
                kind = self._calls.tally.fault_kinds[-1]
        if kind:
            return ExampleScore(example=name, score=None, fault=kind)
        return ExampleScore(example=name, score=_number(score))

    def _as_recorded(self, rows: list[ExampleScore]) -> list[ExampleScore]:
        """Faults this evaluation had when it was first made stay faults: the search went on from them,
        and the same call may have been answered since.
        """
        recorded = self._recorded.get(self._ordinal + 1)
        if recorded is None or recorded.valid or len(recorded.rows) != len(rows):
            return rows
        return [old if old.fault else new for old, new in zip(recorded.rows, rows, strict=True)]

    def _example_id(self, example: dspy.Example) -> str:
        known = self._ids.get(id(example))
        if known is None or known[0] is not example:
            record = {"inputs": example.inputs().toDict(), "outputs": example.labels().toDict()}
            known = self._ids[id(example)] = (example, digest_json(record))
        return known[1]

    def _check_faults(self, rows: list[ExampleScore]) -> None:
        """Stop the run when so many examples failed that an evaluation says nothing."""
        try:
            check_share(rows, most=self._max_fault_share)
        except LaneError as error:
            raise self._calls.stop(error) from error

    def _finish(self, opened: _Open, rows: list[ExampleScore]) -> None:
        split: Split = "val" if all(self._splits.get(row.example) == "val" for row in rows) else "train"
        scope: Literal["full", "minibatch"] = "full" if len(rows) == self._sizes[split] else "minibatch"
        answered = [row.score for row in rows if row.score is not None]
        score = sum(answered) / len(answered) if answered else None
        valid = len(answered) == len(rows)
        self._ordinal += 1
        self._latest = opened.candidate
        tally = self._calls.tally
        self._write(
            ("evaluated", self._ordinal),
            Evaluated(
                ordinal=self._ordinal,
                candidate=opened.candidate,
                split=split,
                scope=scope,
                score=score,
                rows=rows,
                valid=valid,
                calls=tally.made - opened.tally.made,
                saved=tally.saved - opened.tally.saved,
                msat=tally.msat - opened.tally.msat,
            ),
        )
        fate = self._fates[opened.candidate]
        if not valid:
            if fate.full is None:
                missing = len(rows) - len(answered)
                self._decide(
                    opened.candidate,
                    kept=False,
                    reason=f"invalid: {missing} of {len(rows)} examples failed on the lane",
                )
        elif split == "val" and scope == "full" and score is not None:
            self._stand(Standing(opened.candidate, fate.state, score, tuple(rows)))
        elif score is not None:
            fate.minibatches.append(score)

    def _stand(self, standing: Standing) -> None:
        fate = self._fates[standing.candidate]
        again = fate.full is not None
        fate.full = standing
        before = self.best
        if before is None:
            self.best = standing
            self._decide(standing.candidate, kept=True, reason=f"first to stand: {standing.score:.1%}")
        elif standing.score > before.score:
            self.best = standing
            self._decide(
                standing.candidate, kept=True, reason=f"{standing.score:.1%} beats {before.score:.1%}"
            )
        elif not again and not fate.decided:
            self._decide(
                standing.candidate,
                kept=False,
                reason=f"{standing.score:.1%} does not beat {before.score:.1%}",
            )

    def decide_latest(self, *, kept: bool, reason: str) -> None:
        """The optimizer's own word on the candidate evaluated last."""
        with self._lock:
            self._decide(self._latest, kept=kept, reason=reason)

    def close(self) -> None:
        """Take nothing in any more: what a search that is stuck in a call still does comes too late."""
        with self._lock:
            self._closed = True

    def finish(self) -> None:
        """Say why candidates that only saw minibatches went no further."""
        for digest, fate in self._fates.items():
            if fate.full is None and fate.minibatches and not fate.decided:
                mean = sum(fate.minibatches) / len(fate.minibatches)
                self._decide(
                    digest, kept=False, reason=f"its minibatch mean {mean:.1%} never led: not scored in full"
                )

    def _decide(self, candidate: str, *, kept: bool, reason: str) -> None:
        if candidate not in self._fates:
            return
        self._fates[candidate].decided = True
        self._write(
            ("decided", (self._ordinal, candidate)),
            Decided(ordinal=self._ordinal, candidate=candidate, kept=kept, reason=reason),
        )

    def _write(self, name: tuple[str, object], event: AnyEvent) -> None:
        if name not in self._written:
            self._written.add(name)
            self._append(event)


def _number(score: Any) -> float:
    return float(score["score"] if isinstance(score, dspy.Prediction) else score)
