"""The record of a search: candidates, scores, fates, and faults that never count as wrong answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import BudgetExhausted, LaneError, StopRun
from oa_compile.evaluate.examples import to_examples
from oa_compile.events import AnyEvent, Candidate, Decided, Evaluated, ExampleScore, GaveUp
from oa_compile.journal import Journal, read
from oa_compile.lanes.calls import Calls
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.recorded import Recording
from oa_compile.ledger import Ledger
from oa_compile.optimize.faults import FaultWatch, fault_kinds, neutralise
from oa_compile.optimize.recorder import CandidateRecorder, RecordedSearch
from oa_compile.signatures.state import dump_state, state_digest
from tests.support.world import RuleLane, make_config, new_run, records, run

TRAIN = records(6)
VAL = records(4, offset=6)
EXAMPLES = {"train": to_examples(TRAIN), "val": to_examples(VAL)}


def program(instruction: str = "Name the colour.", demos: Any = ()) -> dspy.Predict:
    made = dspy.Predict(dspy.Signature("thing -> colour", instruction))
    made.demos = list(demos)
    return made


def digest(of: dspy.Module) -> str:
    return state_digest(dump_state(of))


class Search:
    """A recorder, fed as DSPy would feed it."""

    def __init__(
        self,
        folder: Path,
        *,
        history: list[AnyEvent] | None = None,
        recorded: RecordedSearch | None = None,
        base: dspy.Module | None = None,
    ) -> None:
        self.events: list[AnyEvent] = []
        self.journal = Journal(folder / "journal.jsonl")
        self.calls = Calls(journal=self.journal, ledger=Ledger({}), recording=Recording())
        self.recorder = CandidateRecorder(
            append=self.events.append,
            history=history or [],
            calls=self.calls,
            examples={"train": TRAIN, "val": VAL},
            max_fault_share=0.3,
            recorded=recorded,
        )
        self.base = base or program()
        self.recorder.begin(self.base)
        self._count = 0

    def evaluate(
        self, candidate: dspy.Module, scores: list[float | None], *, split: str = "val", first: int = 0
    ) -> Any:
        """An evaluation with these scores; None is an example whose call failed on the lane."""
        self._count += 1
        name = str(self._count)
        self.recorder.on_evaluate_start(name, None, {"program": candidate})
        rows: list[Any] = []
        for example, score in zip(EXAMPLES[split][first:], scores, strict=False):
            if score is None:
                run_id = f"{name} {example.thing}"
                faults = self.recorder.faults
                faults.on_module_start(run_id, candidate, {"kwargs": example.inputs().toDict()})
                faults.on_lm_end("call", None, LaneFault("timeout", "late"))
                faults.on_module_end(run_id, None, LaneFault("timeout", "late"))
                rows.append((example, dspy.Prediction(), 0.0))
            else:
                rows.append((example, dspy.Prediction(colour="red"), score))
        answered = sum(score or 0 for score in scores) / len(scores)
        outputs = SimpleNamespace(results=rows, score=100 * answered)
        self.recorder.on_evaluate_end(name, outputs)
        return outputs

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def fate(self, candidate: dspy.Module) -> Decided:
        return [event for event in self.of(Decided) if event.candidate == digest(candidate)][-1]


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    made = Search(tmp_path)
    yield made
    made.journal.close()


def test_the_uncompiled_program_is_the_first_candidate(search: Search) -> None:
    (first,) = search.of(Candidate)
    assert first.candidate == search.recorder.baseline == digest(search.base)
    assert (first.parent, first.origin) == ("", "the program as written")
    assert first.state["self"]["instruction"] == "Name the colour."


def test_a_candidate_is_told_once_with_its_parent_and_what_it_changed(search: Search) -> None:
    labeled, own = {"thing": "a", "colour": "red"}, {"thing": "b", "colour": "red", "augmented": True}
    other = program("Say the colour.", [labeled, own, own])
    search.evaluate(other, [1, 1, 0, 0])
    search.evaluate(other, [1, 1, 0, 0])
    _base, told = search.of(Candidate)
    assert told.candidate == digest(other)
    assert told.parent == search.recorder.baseline
    assert told.origin == "new instruction, 1 labeled and 2 bootstrapped demos"
    assert search.recorder.candidates == 2


def test_the_optimizer_may_name_the_parent(search: Search) -> None:
    first, second, third = program("One."), program("Two."), program("Three.")
    search.evaluate(first, [1, 0, 0, 0])
    search.recorder.set_parent({"self": "One."})
    search.evaluate(second, [1, 0, 0, 0])
    search.recorder.set_parent({"self": "never seen"})
    search.evaluate(third, [1, 0, 0, 0])
    assert [event.parent for event in search.of(Candidate)[2:]] == [digest(first)] * 2


def test_the_best_on_the_whole_valset_stands(search: Search) -> None:
    better, worse, equal = program("Better."), program("Worse."), program("Equal.")
    for candidate, scores in ((search.base, [1, 0]), (better, [1, 1]), (worse, [0, 0]), (equal, [1, 1])):
        search.evaluate(candidate, [*scores, 0, 0])
    best = search.recorder.best
    assert best is not None
    assert (best.candidate, best.score) == (digest(better), 0.5)
    assert (search.fate(search.base).kept, search.fate(search.base).reason) == (True, "first to stand: 25.0%")
    assert (search.fate(better).kept, search.fate(better).reason) == (True, "50.0% beats 25.0%")
    assert (search.fate(worse).kept, search.fate(worse).reason) == (False, "0.0% does not beat 50.0%")
    assert not search.fate(equal).kept


def test_splits_and_scopes_are_told_apart(search: Search) -> None:
    search.evaluate(search.base, [1, 0, 1, 0])
    search.evaluate(search.base, [1, 0])
    search.evaluate(search.base, [1] * 6, split="train")
    search.evaluate(search.base, [0, 1, 1], split="train", first=2)
    told = [(event.ordinal, event.split, event.scope, event.score) for event in search.of(Evaluated)]
    assert told == [
        (1, "val", "full", 0.5),
        (2, "val", "minibatch", 0.5),
        (3, "train", "full", 1.0),
        (4, "train", "minibatch", pytest.approx(2 / 3)),
    ]
    assert [row.example for row in search.of(Evaluated)[1].rows] == [record.id for record in VAL[:2]]


def test_a_candidate_that_saw_only_minibatches_is_dropped_with_its_mean(search: Search) -> None:
    other = program("Other.")
    search.evaluate(other, [1, 0])
    search.evaluate(other, [1, 1])
    assert search.of(Decided) == []
    search.recorder.finish()
    assert (search.fate(other).kept, search.fate(other).reason) == (
        False,
        "its minibatch mean 75.0% never led: not scored in full",
    )
    assert search.recorder.best is None


def test_the_optimizers_own_word_is_kept(search: Search) -> None:
    other = program("Other.")
    search.evaluate(other, [1, 0], split="train")
    search.recorder.decide_latest(kept=False, reason="not better than its parent")
    search.recorder.finish()
    assert [event.reason for event in search.of(Decided)] == ["not better than its parent"]


# -- faults --------------------------------------------------------------------------------------


def test_a_fault_leaves_the_score_to_the_others(search: Search) -> None:
    other = program("Other.")
    outputs = search.evaluate(other, [1, None, 1, 0])
    event = search.of(Evaluated)[-1]
    assert (event.valid, event.score) == (False, pytest.approx(2 / 3))
    assert event.rows[1] == ExampleScore(VAL[1].id, None, "timeout")
    # What the optimizer sees: neither a wrong answer nor a right one.
    assert outputs.results[1][2] == pytest.approx(2 / 3)
    assert outputs.score == 66.67
    assert search.fate(other).reason == "invalid: 1 of 4 examples failed on the lane"
    assert not search.fate(other).kept
    assert search.recorder.standing(digest(other)) is None


def test_a_candidate_that_was_invalid_stands_once_it_is_scored_whole(search: Search) -> None:
    other = program("Other.")
    search.evaluate(other, [1, None, 1, 0])
    search.evaluate(other, [1, 1, 1, 0])
    standing = search.recorder.standing(digest(other))
    assert standing is not None
    assert standing.score == 0.75
    assert search.fate(other).kept


def test_a_fault_in_a_later_evaluation_does_not_take_a_standing_away(search: Search) -> None:
    search.evaluate(search.base, [1, 1, 1, 0])
    search.evaluate(search.base, [1, None, 1, 0])
    assert search.recorder.best is not None
    assert search.fate(search.base).kept


@pytest.mark.parametrize("scores", [[1, None, None, 0], [None, None, None, None]])
def test_too_many_faults_stop_the_run(search: Search, scores: list[float | None]) -> None:
    with pytest.raises(StopRun) as stop:
        search.evaluate(search.base, scores)
    assert isinstance(stop.value.error, LaneError)
    assert "failed on the lane (timeout), above max_fault_share = 0.3" in stop.value.error.message
    assert search.of(Evaluated) == []
    assert search.calls.stopped_by is stop.value.error


def test_faults_are_borne_only_while_an_evaluation_is_under_way(search: Search) -> None:
    assert not search.calls.tolerates_faults()
    search.recorder.on_evaluate_start("1", None, {"program": search.base})
    assert search.calls.tolerates_faults()
    search.recorder.on_evaluate_end("1", None, exception=ValueError())
    assert not search.calls.tolerates_faults()
    assert search.of(Evaluated) == []


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12), st.booleans())
def test_neutral_scores_leave_the_mean_where_it_was(scores: list[float | None], traced: bool) -> None:
    answered = [score for score in scores if score is not None]
    if not answered:
        return
    good: Any = (dspy.Prediction(colour="red"), ["trace"]) if traced else dspy.Prediction(colour="red")
    results = [
        (n, dspy.Prediction() if score is None else good, score or 0.0) for n, score in enumerate(scores)
    ]
    outputs = SimpleNamespace(results=results, score=-1.0)
    neutralise(
        outputs, [ExampleScore("x", score, "" if score is not None else "timeout") for score in scores]
    )
    seen = [score for _, _, score in outputs.results]
    assert sum(seen) / len(seen) == pytest.approx(sum(answered) / len(answered))
    for (_, prediction, score), before in zip(outputs.results, scores, strict=True):
        assert before is None or score == before
        if traced:  # GEPA takes every prediction apart
            _prediction, _trace = prediction
    assert (outputs.score == -1.0) == (None not in scores)


def test_kinds_of_fault_are_named_once_each() -> None:
    rows = [ExampleScore("a", None, "timeout"), ExampleScore("b", 1.0), ExampleScore("c", None, "server")]
    assert fault_kinds([*rows, *rows]) == "server, timeout"


def test_other_programs_and_their_parts_are_not_watched() -> None:
    watch, inner = FaultWatch(), program()
    watched = watch.begin(program())
    watch.on_module_start("1", inner, {"kwargs": {"thing": "a"}})
    watch.on_lm_end("2", None, LaneFault("timeout", "late"))
    assert watched.faults == []
    watch.end(watched)
    assert not watch.watching


CAREFUL = """\
import dspy


class Colours(dspy.Module):
    def __init__(self):
        super().__init__()
        self.name = dspy.Predict("thing -> colour")

    def forward(self, thing):
        try:
            return self.name(thing=thing)
        except Exception:
            return dspy.Prediction(colour="unknown")
"""


def test_a_program_that_catches_a_fault_does_not_hide_it(tmp_path: Path) -> None:
    """It went on with an answer that the lane made it give: that answer is not judged."""
    config = make_config(optimizer__name="copro", run__max_fault_share=0.3)
    folder = new_run(tmp_path, config=config, sizes=(6, 8, 2), steps=2)
    (folder.inputs / "program" / "program.py").write_text(CAREFUL)
    left = [2]

    def fault(request: Any) -> LaneFault | None:
        if left[0] and "thing number 6\n" in request.messages[-1].content:
            left[0] -= 1
            return LaneFault("timeout", "late")
        return None

    outcome = run(folder, RuleLane(fault=fault))
    assert outcome.status == "complete"
    events = [line.event for line in read(folder.journal)]
    assert sum(isinstance(event, GaveUp) for event in events) == 1
    faulted = [row for e in events if isinstance(e, Evaluated) for row in e.rows if row.fault]
    assert [(row.score, row.fault) for row in faulted] == [(None, "timeout")]


# -- resume and replay ---------------------------------------------------------------------------


def play(search: Search) -> None:
    search.evaluate(search.base, [1, 0, 0, 0])
    search.evaluate(program("Other."), [1, None, 1, 0])
    search.evaluate(program("Third."), [1, 0])
    search.recorder.finish()


def test_what_a_journal_tells_is_not_told_again(search: Search, tmp_path: Path) -> None:
    play(search)
    resumed = Search(tmp_path / "resumed", history=search.events)
    play(resumed)
    assert resumed.events == []
    resumed.evaluate(program("Fourth."), [1, 1, 1, 1])
    assert [type(event) for event in resumed.events] == [Candidate, Evaluated, Decided]
    assert resumed.of(Evaluated)[0].ordinal == 4
    resumed.journal.close()


@pytest.mark.parametrize("source", ["history", "recorded"])
def test_faults_of_the_recorded_evaluation_stay_faults(search: Search, source: str, tmp_path: Path) -> None:
    """The same call may have been answered since, but the search went on from the fault."""
    play(search)
    evaluated = tuple(search.of(Evaluated))
    again = (
        Search(tmp_path / "again", history=search.events)
        if source == "history"
        else Search(tmp_path / "again", recorded=RecordedSearch(evaluated=evaluated))
    )
    again.evaluate(again.base, [1, 0, 0, 0])
    outputs = again.evaluate(program("Other."), [1, 1, 1, 0])
    assert outputs.results[1][2] == pytest.approx(2 / 3)
    assert again.recorder.standing(digest(program("Other."))) is None
    again.journal.close()


@pytest.mark.parametrize(("evaluations", "candidates", "written"), [(1, 3, 1), (2, 3, 2), (9, 2, 2)])
def test_a_replay_stops_where_the_recorded_run_was_stopped(
    search: Search, evaluations: int, candidates: int, written: int, tmp_path: Path
) -> None:
    """Also when every call that would carry it further has been answered."""
    error = BudgetExhausted("the cap run.calls (40) is reached", cap="run.calls")
    end = RecordedSearch(error=error, evaluations=evaluations, candidates=candidates)
    replayed = Search(tmp_path / "replayed", recorded=end)
    with pytest.raises(StopRun) as stop:
        play(replayed)
    assert stop.value.error is error
    assert replayed.recorder.evaluations == written
    assert replayed.recorder.candidates <= candidates
    replayed.journal.close()


def test_after_its_end_nothing_is_taken_in(search: Search) -> None:
    search.recorder.on_evaluate_start("late", None, {"program": program("Late.")})
    before = list(search.events)
    search.recorder.close()
    search.recorder.on_evaluate_end("late", SimpleNamespace(results=[], score=0.0))
    search.evaluate(program("Later."), [1, 1, 1, 1])
    assert search.events == before
    assert search.recorder.best is None
