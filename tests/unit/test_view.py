"""The reducer: a journal's lines folded into a run's state."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.events import Evaluated, ForecastMade, GaveUp, Line, Noted, SegmentStarted
from oa_compile.hud.caps import read_caps, read_rate
from oa_compile.hud.record import ForecastLine, Spend, shortest_ids
from oa_compile.hud.view import RunView
from oa_compile.journal import Journal, read
from oa_compile.ledger import Caps
from oa_compile.spec.config import Config
from tests.support.runs import (
    BASELINE,
    FIRST,
    REQUEST,
    SECOND,
    SETTINGS,
    START,
    THIRD,
    Script,
    optimize_run,
    prefixes,
    scores,
)


@pytest.fixture(name="view")
def _view() -> RunView:
    return RunView.of(optimize_run())


def test_it_knows_the_run(view: RunView) -> None:
    assert (view.run, view.program, view.optimizer) == ("20261123-1551", "tool-selection", "miprov2")
    assert (view.status, view.phase, view.artifact) == ("complete", "search", "runs/r1/artifact")


def test_spend_adds_up_by_lane_stage_and_role(view: RunView) -> None:
    assert view.spend() == Spend(calls=78, answered=76, failed=1, lost=1, msat=1170, tokens=76 * 44 + 100)
    assert view.spend(lane="premium") == Spend(calls=4, answered=4, msat=800, tokens=4 * 44)
    assert view.spend(role="task").calls == view.spend(lane="local").calls == 74
    assert view.spend(stage="compile") == view.spend()
    assert view.spend(stage="validate") == Spend()
    assert view.lanes == ["local", "premium"]


def test_a_retried_call_counts_once_towards_what_is_done(view: RunView) -> None:
    assert view.done == 77, "76 answered and one given up; its failed attempt and the lost one are not calls"
    assert view.expected == 212
    assert view.gave_up == 1
    assert view.faults == {"timeout": 1}


def test_a_cap_of_calls_below_the_forecast_is_what_to_expect() -> None:
    script = Script()
    script.begin(settings={"budget": {"calls": 50}})
    script.add(ForecastMade(lines=[{"calls": 80}]))
    assert RunView.of(script.lines).expected == 50


def test_attempts_are_in_flight_from_reserve_to_settle() -> None:
    script = Script()
    script.begin()
    first, second = script.reserve(), script.reserve(lane="premium", role="proposer")
    assert RunView.of(script.lines).in_flight == 2
    assert RunView.of(script.lines).spend(lane="premium").in_flight == 1
    script.settle(first)
    script.settle(second, "fault", lane="premium", role="proposer", fault="rate_limited", message="429")
    view = RunView.of(script.lines)
    assert (view.in_flight, view.spend().in_flight, view.spend().failed) == (0, 0, 1)
    assert view.last_fault == "429"


def test_candidates_keep_parent_origin_scores_and_why(view: RunView) -> None:
    assert list(view.candidates) == [BASELINE, FIRST, SECOND, THIRD]
    first, second = view.candidates[FIRST], view.candidates[SECOND]
    assert (first.number, first.parent, first.origin) == (2, BASELINE, "labeled demos")
    assert first.score("val") == pytest.approx(9 / 19)
    full, batch = first.last("val", "full"), first.last("val", "minibatch")
    assert full is not None
    assert batch is not None
    assert (full.n, full.faults, batch.n) == (19, 1, 10)
    assert first.msat == 140
    assert second.score("val") is None
    assert second.decision is not None
    assert not second.decision.kept
    assert second.decision.reason.startswith("30.0% on the minibatch")


def test_the_best_score_climbs_over_calls(view: RunView) -> None:
    assert view.baseline is view.candidates[BASELINE]
    assert view.best is view.candidates[THIRD]
    assert (view.baseline_score, view.best_score) == (0.35, 0.6)
    assert view.curve == [(20, 0.35), (53, pytest.approx(9 / 19)), (77, 0.6)]


def test_minibatches_and_invalid_evaluations_never_make_a_best() -> None:
    script = Script()
    script.begin()
    script.candidate(BASELINE)
    script.evaluated(BASELINE, scores(10, 10), scope="minibatch")
    script.evaluated(BASELINE, [1.0, None, None], valid=False)
    view = RunView.of(script.lines)
    assert view.best is None
    assert view.best_score is None
    assert view.curve == []
    script.evaluated(BASELINE, scores(1, 4))
    assert RunView.of(script.lines).best_score == 0.25


def test_of_equals_the_earlier_candidate_is_best() -> None:
    script = Script()
    script.begin()
    for name in (SECOND, FIRST):
        script.candidate(name)
        script.evaluated(name, scores(1, 2))
    best = RunView.of(script.lines).best
    assert best is not None
    assert best.candidate == SECOND


def test_without_a_valset_the_trainset_tells_the_climb_and_validate_reads_the_testset() -> None:
    script = Script()
    script.begin()
    script.candidate(BASELINE)
    script.evaluated(BASELINE, scores(1, 2), split="train")
    assert (RunView.of(script.lines).split, RunView.of(script.lines).best_score) == ("train", 0.5)
    script = Script()
    script.begin(command="validate")
    script.candidate(BASELINE)
    script.evaluated(BASELINE, scores(3, 4), split="test")
    assert (RunView.of(script.lines).split, RunView.of(script.lines).best_score) == ("test", 0.75)


def test_the_baseline_is_named_by_its_origin_else_the_first_without_a_parent() -> None:
    script = Script()
    script.begin()
    script.candidate(FIRST, parent=BASELINE)
    script.candidate(SECOND)
    view = RunView.of(script.lines)
    assert view.baseline is view.candidates[SECOND]
    script.candidate(THIRD, origin="baseline")
    view = RunView.of(script.lines)
    assert view.baseline is view.candidates[THIRD]


def test_an_evaluation_told_again_by_a_resume_changes_nothing() -> None:
    lines = optimize_run(finished=False)
    told = next(line.event for line in lines if isinstance(line.event, Evaluated))
    before = RunView.of(lines)
    again = Evaluated(
        **{name: getattr(told, name) for name in told.__struct_fields__} | {"saved": 20, "msat": 0}
    )
    after = RunView.of([*lines, Line(1, len(lines) + 1, lines[-1].at, again)])
    assert after.saved == before.saved == 7
    assert after.curve == before.curve
    assert after.candidates[BASELINE].msat == 100


def test_an_evaluation_that_was_invalid_is_replaced_when_it_is_told_valid() -> None:
    script = Script()
    script.begin()
    script.candidate(BASELINE)
    script.evaluated(BASELINE, [1.0, None], valid=False)
    script.ordinal -= 1
    script.evaluated(BASELINE, [1.0, 0.0])
    view = RunView.of(script.lines)
    assert len(view.candidates[BASELINE].evaluations) == 1
    assert view.best_score == 0.5


def test_time_between_segments_does_not_count(view: RunView) -> None:
    assert len(view.segments) == 2
    assert view.segments[1].resumed == 1
    assert view.elapsed() == pytest.approx(29 + 12)


def test_a_running_segment_counts_up_to_now_and_a_finished_one_does_not() -> None:
    running, finished = RunView.of(optimize_run(finished=False)), RunView.of(optimize_run())
    now = running.segments[-1].last + 5_000
    assert running.elapsed(now) == pytest.approx(46)
    assert finished.elapsed(now) == pytest.approx(41)
    assert running.elapsed(START) == pytest.approx(41), "a clock set back takes nothing away"


def test_time_left_comes_from_this_segment_alone() -> None:
    view = RunView.of(optimize_run(finished=False))
    assert view.segments[-1].settled == 24
    assert view.time_left() == pytest.approx((212 - 77) * 12 / 24)


@pytest.mark.parametrize("upto", ["begin", "forecast", "few", "over", "finished"])
def test_no_time_left_rather_than_nonsense(upto: str) -> None:
    script = Script()
    script.begin(settings={})
    if upto != "begin":
        script.add(ForecastMade(lines=[{"calls": 20}]))
    script.calls({"few": 4, "over": 21}.get(upto, 0), seconds=9)
    lines = optimize_run() if upto == "finished" else script.lines
    assert RunView.of(lines).time_left() is None


def test_no_time_left_when_no_time_has_passed() -> None:
    script = Script()
    script.begin(settings={})
    script.add(ForecastMade(lines=[{"calls": 20}]))
    script.calls(10, seconds=0)
    assert RunView.of(script.lines).time_left() is None


def test_the_cap_of_seconds_bounds_the_time_left() -> None:
    script = Script()
    script.begin(settings={"budget": {"seconds": 15}})
    script.add(ForecastMade(lines=[{"calls": 1000}]))
    script.calls(10, seconds=10)
    assert RunView.of(script.lines).time_left() == pytest.approx(5)


def test_gauges_set_spend_against_every_cap(view: RunView) -> None:
    run = {gauge.unit: (gauge.used, gauge.limit) for gauge in view.gauges("run")}
    assert run == {"msat": (1170, 5000), "calls": (78, 400), "seconds": (pytest.approx(41), 600)}
    assert [(g.unit, g.used, g.limit) for g in view.gauges("lane local")] == [("calls", 74, 300)]
    assert [(g.unit, g.used, g.limit) for g in view.gauges("stage compile")] == [("msat", 1170, 4000)]
    assert view.gauges("lane premium") == []


def test_a_resume_with_other_budgets_changes_the_caps() -> None:
    script = Script()
    script.begin()
    script.add(SegmentStarted(pid=2, resumed=1, settings={"budget": {"calls": 9_999}}))
    assert RunView.of(script.lines).caps == {"run": Caps(calls=9_999)}


def test_a_cap_of_nothing_is_full() -> None:
    script = Script()
    script.begin(settings={"budget": {"calls": 0}})
    assert RunView.of(script.lines).gauges("run")[0].share == 1.0


def test_caps_are_read_from_the_effective_config() -> None:
    config = Config.model_validate(
        {
            "budget": {"cost": "$0.50", "tokens": 9},
            "lanes": {"local": {"kind": "embedded", "budget": {"calls": 7}}},
            "stages": {"compile": {"task": "local", "budget": {"cost": "12sat"}}},
        }
    )
    assert read_caps(config.model_dump(mode="json")) == {
        "run": Caps(msat=500_000, tokens=9),
        "stage compile": Caps(msat=12_000),
        "lane local": Caps(calls=7),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"budget": 3},
        {"budget": {"cost": "much"}},
        {"lanes": ["x"]},
        {"stages": {"compile": 1}},
        {"money": 7},
    ],
)
def test_settings_that_cannot_be_read_are_no_caps(settings: dict[str, Any]) -> None:
    assert read_caps(settings) == {}
    assert read_rate(settings).usd_per_btc == 100_000


def test_budget_notes_are_warnings_and_others_are_not(view: RunView) -> None:
    assert [(note.code, note.warning) for note in view.notes] == [("fitted", False), ("budget", True)]
    script = Script()
    script.add(Noted(code="invalid-winner", message="m"))
    script.add(Noted(code="x", message="m", data={"severity": "warning"}))
    assert all(note.warning for note in RunView.of(script.lines).notes)


@pytest.mark.parametrize(
    "line", [{}, {"calls": "many", "seconds": None, "stage": 3}, {"msat": float("nan")}, {"calls": -1}]
)
def test_a_forecast_line_takes_what_it_can_read(line: dict[str, Any]) -> None:
    read_line = ForecastLine.read(line)
    assert (read_line.calls, read_line.msat, read_line.seconds) == (0, 0, 0)


def test_live_and_from_the_file_are_the_same(tmp_path: Path) -> None:
    live = RunView()
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.listen(live.apply)
        for line in optimize_run():
            journal.append(line.event)
    assert RunView.of(read(path)) == live
    assert live.spend().msat == 1170


@given(st.integers(0, len(optimize_run())))
def test_a_prefix_and_the_rest_are_the_whole(cut: int) -> None:
    lines = optimize_run()
    view = RunView.of(lines[:cut])
    for line in lines[cut:]:
        view.apply(line)
    assert view == RunView.of(lines)


def test_every_prefix_can_be_read_in_full() -> None:
    for lines in prefixes(optimize_run()):
        read_everything(RunView.of(lines))


@given(st.lists(st.sampled_from(optimize_run()), max_size=60), st.data())
def test_no_order_of_events_makes_it_raise(lines: list[Line], data: st.DataObject) -> None:
    clock = data.draw(st.lists(st.integers(0, START), min_size=len(lines), max_size=len(lines)))
    view = RunView()
    for line, at in zip(lines, clock, strict=True):
        view.apply(Line(1, 1, at, line.event))
    read_everything(view)
    assert view.in_flight >= 0
    assert view.spend().in_flight == view.in_flight


def read_everything(view: RunView) -> None:
    """All that a screen would ask."""
    before = copy.deepcopy(view)
    _ = (view.best, view.best_score, view.baseline_score, view.curve, view.expected, view.saved, view.lanes)
    assert view.elapsed() >= 0
    assert view.elapsed(START) >= 0
    assert (view.time_left() or 0) >= 0
    for scope in ("run", "stage compile", "lane local"):
        assert all(gauge.share >= 0 for gauge in view.gauges(scope))
    names = [view.name(candidate) for candidate in view.candidates]
    assert len(set(names)) == len(names)
    before.name(""), view.name("")
    assert view == before, "reading changes nothing"


def test_settling_what_was_never_reserved_is_counted_and_nothing_more() -> None:
    script = Script()
    script.settle(7)
    script.add(GaveUp(key="k", request=REQUEST, fault="server", message="500"))
    view = RunView.of(script.lines)
    assert (view.spend().calls, view.in_flight, view.done) == (1, 0, 2)


def test_names_grow_until_they_are_unique() -> None:
    assert shortest_ids({"sha256:a": "aaaaaaaaaa", "sha256:b": "aaaaaaaaab"}) == {
        "sha256:a": "aaaaaaaaaa",
        "sha256:b": "aaaaaaaaab",
    }
    assert shortest_ids({"x": "0123456789", "y": "9876543210"}) == {"x": "0123456", "y": "9876543"}
    assert shortest_ids({"c1": "c1", "c2": "c2"}) == {"c1": "c1", "c2": "c2"}


def test_settings_of_the_script_are_what_a_config_gives() -> None:
    assert read_caps(SETTINGS)["stage compile"] == Caps(msat=4_000)


def test_a_later_evaluation_that_faults_spoil_takes_no_score_away() -> None:
    script = Script()
    script.begin()
    script.candidate(BASELINE)
    script.evaluated(BASELINE, scores(1, 2))
    script.evaluated(BASELINE, [1.0, None], valid=False)
    assert RunView.of(script.lines).best_score == 0.5


def test_a_candidate_told_twice_stays_what_it_first_was() -> None:
    script = Script()
    script.begin(command="validate")
    script.candidate(BASELINE, origin="the program as written", state={"predict": {}})
    script.candidate(BASELINE, origin="the artifact", parent=BASELINE, state={"predict": {}})
    view = RunView.of(script.lines)
    assert view.baseline is view.candidates[BASELINE]
    assert view.candidates[BASELINE].origin == "the program as written"
