"""What holds for every optimizer: determinism, budgets, resume, candidates, faults, frozen parts, fitting."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from oa_compile.artifact.folder import RunFolder, read_inputs, write_config
from oa_compile.artifact.manifest import load_manifest
from oa_compile.chat import ChatRequest
from oa_compile.errors import BudgetExhausted, ExitCode, LaneError, OacompileError, UsageError
from oa_compile.events import Attempt, Candidate, Decided, Evaluated, GaveUp, Noted, Reserved, RunFinished
from oa_compile.journal import read
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.runtime import caps_of
from oa_compile.ledger import Ledger
from oa_compile.optimize.resume import with_budgets
from oa_compile.replay.player import replay
from tests.support.world import RuleLane, make_config, new_run, plan_of, run

OPTIMIZERS = ("miprov2", "copro", "gepa")
SIZES = (10, 8, 4)
PRICE = 10

Event = TypeVar("Event")

pytestmark = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def fresh(root: Path, optimizer: str, *, steps: int = 1, extra: str = "", **changes: Any) -> RunFolder:
    config = make_config(**{"optimizer__name": optimizer, "run__threads": 8} | changes)
    return new_run(root, config=config, sizes=SIZES, steps=steps, extra=extra)


def of(folder: RunFolder, kind: type[Event]) -> list[Event]:
    return [line.event for line in read(folder.journal) if isinstance(line.event, kind)]


def rebudget(folder: RunFolder, **budget: Any) -> None:
    """What ``--resume --budget`` does."""
    config = read_inputs(folder).config
    new = config.model_copy(update={"budget": make_config(budget=budget).budget})
    write_config(folder, with_budgets(config, new))


def program_of(folder: RunFolder) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder.artifact / "program.json").read_bytes())
    return state


def check_caps(folder: RunFolder) -> None:
    """Settled plus reserved never passed a cap, at any point of the journal."""
    caps = caps_of(read_inputs(folder).config)
    ledger = Ledger(caps)
    for line in read(folder.journal):
        ledger.replay([line.event])
        if isinstance(line.event, Reserved | Attempt):
            for scope, cap in caps.items():
                for unit in ("msat", "calls", "tokens"):
                    limit = getattr(cap, unit)
                    assert limit is None or ledger.totals(scope).used(unit) <= limit


@pytest.mark.parametrize("steps", [1, 2])
def test_the_result_is_the_same_with_one_thread_and_with_eight(
    optimizer: str, steps: int, tmp_path: Path
) -> None:
    outcomes = []
    for threads in (1, 8):
        folder = fresh(tmp_path / str(threads), optimizer, steps=steps, run__threads=threads)
        outcomes.append(run(folder))
    one, eight = (outcome.manifest for outcome in outcomes)
    assert one is not None
    assert one == eight
    assert one.status == "complete"
    assert outcomes[0].made == outcomes[1].made
    assert set(one.program.signatures) == ({"self"} if steps == 1 else {"describe", "name"})


def test_a_search_finds_something_better_and_says_so(optimizer: str, tmp_path: Path) -> None:
    outcome = run(fresh(tmp_path, optimizer, steps=2))
    manifest = outcome.manifest
    assert manifest is not None
    assert manifest.scores[0].mean > manifest.baseline[0].mean
    assert manifest.scores[0].candidate != manifest.parent == manifest.baseline[0].candidate


# The lane reserves 10,000 tokens for a call and uses 105: the 41st call is the first to find no room.
CAPS = [("calls", 40), ("cost", 40 * PRICE), ("tokens", 39 * 105 + 10_000)]


@pytest.mark.parametrize(("unit", "limit"), CAPS)
def test_a_budget_stops_the_search_and_a_larger_one_resumes_it(
    optimizer: str, unit: str, limit: int, tmp_path: Path
) -> None:
    full = run(fresh(tmp_path / "full", optimizer))
    assert full.manifest is not None
    folder = fresh(tmp_path / "small", optimizer, budget={unit: limit})
    lane = RuleLane()
    outcome = run(folder, lane)

    assert len(lane.sent) == 40
    check_caps(folder)
    assert outcome.status == "partial"
    assert isinstance(outcome.error, BudgetExhausted)
    assert outcome.error.exit_code == ExitCode.BUDGET
    assert outcome.error.cap.startswith({"cost": "run.msat"}.get(unit, f"run.{unit}"))
    partial = load_manifest(folder.artifact)
    assert partial == outcome.manifest
    assert (partial.status, partial.reason) == ("partial", outcome.error.message)
    best = max(e.score for e in of(folder, Evaluated) if e.scope == "full" and e.split == "val" and e.score)
    assert partial.scores[0].mean == pytest.approx(best)
    assert of(folder, RunFinished)[-1].status == "partial"
    assert len(of(folder, Attempt)) == len(lane.sent) == len(of(folder, Reserved)), "nothing after the stop"

    again = RuleLane()
    assert run(folder, again).status == "partial"
    assert again.sent == [], "out of budget is out of budget"

    rebudget(folder)
    rest = RuleLane()
    resumed = run(folder, rest)
    assert resumed.status == "complete"
    assert resumed.manifest == full.manifest
    assert set(rest.sent).isdisjoint(lane.sent)
    assert len(rest.sent) + len(lane.sent) == full.made
    assert replay(folder.bundle).identical


def test_a_budget_for_nothing_leaves_no_artifact(optimizer: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer, budget={"calls": 3})
    outcome = run(folder)
    assert isinstance(outcome.error, BudgetExhausted)
    assert outcome.manifest is None
    assert not folder.artifact.exists()
    assert not folder.bundle.exists()
    assert outcome.made == 3


def test_every_candidate_is_told(optimizer: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer, steps=2)
    outcome = run(folder)
    assert outcome.manifest is not None
    candidates = {event.candidate: event for event in of(folder, Candidate)}
    assert len(candidates) == len(of(folder, Candidate)), "each is told once"
    baseline = next(iter(candidates.values()))
    assert (baseline.parent, baseline.candidate) == ("", outcome.manifest.parent)
    for event in list(candidates.values())[1:]:
        assert event.parent in candidates
        assert event.parent != event.candidate
        assert event.origin
        assert set(event.state) == {"describe", "name"}
    evaluated = of(folder, Evaluated)
    assert [event.ordinal for event in evaluated] == list(range(1, len(evaluated) + 1))
    plan = plan_of(folder)
    ids = {
        "val": {record.id for record in plan.val_records},
        "train": {record.id for record in plan.inputs.train.records},
    }
    for event in evaluated:
        rows = [row.example for row in event.rows]
        assert set(rows) <= ids[event.split]
        assert (event.scope == "full") == (len(rows) == SIZES[event.split == "val"])
        scores = [row.score for row in event.rows if row.score is not None]
        assert event.score == pytest.approx(sum(scores) / len(scores))
        assert event.msat == event.calls * PRICE
    searched = sum(event.calls for event in evaluated)
    assert 0 < searched <= outcome.made
    decided = {event.candidate: event for event in of(folder, Decided)}
    assert set(decided) == set(candidates), "every candidate was kept or dropped"
    assert all(event.reason for event in decided.values())
    winner = outcome.manifest.scores[0].candidate
    assert decided[winner].kept
    assert (len(candidates), len(evaluated)) == (
        outcome.manifest.search.candidates,
        outcome.manifest.search.evaluations,
    )


# -- faults --------------------------------------------------------------------------------------


def on_thing(number: int, fault: Callable[[], LaneFault], *, times: int = 1 << 30) -> Any:
    """A fault for the task calls about one thing, the first `times` of them."""
    left = [times]
    lock = threading.Lock()

    def check(request: ChatRequest) -> LaneFault | None:
        with lock:
            if f"thing number {number}\n" in request.messages[-1].content and left[0] > 0:
                left[0] -= 1
                return fault()
        return None

    return check


def timeout() -> LaneFault:
    return LaneFault("timeout", "no answer in time")


def first_val_thing(folder: RunFolder) -> int:
    return int(str(plan_of(folder).val_records[0].inputs["thing"]).rsplit(" ", 1)[-1])


def test_a_fault_is_never_a_wrong_answer(optimizer: str, tmp_path: Path) -> None:
    """One validation example never gets an answer from one candidate's prompt on: that candidate is
    invalid, the others are judged, and the winner is one that was scored whole.
    """
    clean = run(fresh(tmp_path / "clean", optimizer))
    assert clean.manifest is not None
    folder = fresh(tmp_path / "faulty", optimizer, run__max_fault_share=0.3)
    thing = first_val_thing(folder)
    seen: set[str] = set()

    def fault(request: ChatRequest) -> LaneFault | None:
        system = request.messages[0].content
        if f"thing number {thing}\n" not in request.messages[-1].content:
            return None
        seen.add(system)
        return timeout() if (system == min(seen, key=len) and len(seen) > 1) or len(seen) == 2 else None

    outcome = run(folder, RuleLane(fault=fault))
    assert outcome.status == "complete"
    assert outcome.error is None
    invalid = [event for event in of(folder, Evaluated) if not event.valid]
    assert invalid
    assert of(folder, GaveUp)
    for event in invalid:
        faulted = [row for row in event.rows if row.fault]
        assert faulted
        assert all(row.score is None and row.fault == "timeout" for row in faulted)
        answered = [row.score for row in event.rows if row.score is not None]
        assert event.score == pytest.approx(sum(answered) / len(answered))
    assert outcome.manifest is not None
    winner = outcome.manifest.scores[0]
    assert winner.n == SIZES[1]
    whole = {e.candidate for e in of(folder, Evaluated) if e.valid and e.scope == "full" and e.split == "val"}
    assert winner.candidate in whole
    again = replay(folder.bundle)
    assert (again.identical, again.differences) == (True, ())


def test_an_unreadable_answer_beside_a_fault_stays_a_wrong_answer(optimizer: str, tmp_path: Path) -> None:
    """Two examples come to nothing: one on the lane, one on its own. Only the first is excused."""
    folder = fresh(tmp_path, optimizer, run__max_fault_share=0.3)
    things = [str(record.inputs["thing"]) for record in plan_of(folder).val_records]

    class Mumbling(RuleLane):
        def send(self, request: ChatRequest, key: str) -> Any:
            sent = super().send(request, key)
            mumble = f"{things[1]}\n" in request.messages[-1].content
            return sent._replace(answer=type(sent.answer)("mumble", sent.answer.usage)) if mumble else sent

    number = int(things[0].rsplit(" ", 1)[-1])
    run(folder, Mumbling(fault=on_thing(number, timeout, times=2)))
    event = next(e for e in of(folder, Evaluated) if not e.valid)
    by_id = {row.example: row for row in event.rows}
    records = plan_of(folder).val_records
    assert by_id[records[0].id].fault == "timeout"
    assert (by_id[records[1].id].score, by_id[records[1].id].fault) == (0.0, "")


def test_a_call_that_is_answered_later_leaves_the_replay_as_it_was(optimizer: str, tmp_path: Path) -> None:
    """A fault, a stop on the budget, and after the resume the same call is answered: the search had gone
    on from the fault, and so it does in resume and replay.
    """
    folder = fresh(tmp_path, optimizer, budget={"calls": 45}, run__max_fault_share=0.3)
    lane = RuleLane(fault=on_thing(first_val_thing(folder), timeout, times=2))
    assert run(folder, lane).status == "partial"
    assert of(folder, GaveUp)
    rebudget(folder)
    resumed = run(folder)
    assert resumed.status == "complete"
    assert resumed.manifest is not None
    assert any(not event.valid for event in of(folder, Evaluated))
    again = replay(folder.bundle)
    assert (again.identical, again.differences) == (True, ())


def test_too_many_faults_stop_the_run_which_resumes_to_the_clean_result(
    optimizer: str, tmp_path: Path
) -> None:
    clean = run(fresh(tmp_path / "clean", optimizer))
    folder = fresh(tmp_path / "faulty", optimizer)
    calls = Counter[str]()

    def fault(request: ChatRequest) -> LaneFault | None:
        calls["all"] += 1
        return LaneFault("server", "503") if calls["all"] > 25 else None

    outcome = run(folder, RuleLane(fault=fault))
    assert isinstance(outcome.error, LaneError)
    assert outcome.error.exit_code == ExitCode.LANE
    assert outcome.status == "failed"
    assert all(row.score != 0 or not row.fault for event in of(folder, Evaluated) for row in event.rows)
    if outcome.manifest is not None:
        assert outcome.manifest.status == "partial"
        assert replay(folder.bundle).identical
    resumed = run(folder)
    assert resumed.status == "complete"
    assert resumed.manifest == clean.manifest
    assert replay(folder.bundle).identical


@pytest.mark.parametrize("kind", ["auth", "billing"])
def test_a_fault_that_no_retry_mends_stops_at_once(optimizer: str, kind: Any, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer, run__threads=1)
    tried = []

    def fault(request: ChatRequest) -> LaneFault | None:
        if len(tried) < 20:
            tried.append(request)
            return None
        tried.append(request)
        return LaneFault(kind, "key refused")

    outcome = run(folder, RuleLane(fault=fault))
    assert isinstance(outcome.error, LaneFault)
    assert (outcome.error.kind, outcome.error.exit_code) == (kind, ExitCode.LANE)
    assert len(tried) == 21
    assert [a.outcome for a in of(folder, Attempt)] == ["ok"] * 20 + ["fault"]
    assert of(folder, GaveUp) == []
    assert run(folder).status == "complete"


def test_a_metric_that_raises_stops_the_run(optimizer: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer)
    program = folder.inputs / "program"
    spec = (program / "program.toml").read_text()
    head = spec[: spec.index("[[metrics]]")]
    metric = '[[metrics]]\nkind = "python"\ntarget = "metric.py:score"\n'
    (program / "program.toml").write_text(head + metric)
    (program / "metric.py").write_text("def score(inputs, gold, pred):\n    raise KeyError('colour')\n")
    lane = RuleLane()
    outcome = run(folder, lane)
    assert isinstance(outcome.error, OacompileError)
    assert "metric.py" in outcome.error.message
    assert outcome.status == "failed"
    assert all(event.score != 0 for event in of(folder, Evaluated))
    assert outcome.manifest is None


# -- what may change, and what is fitted ---------------------------------------------------------


def test_frozen_parts_stay_as_they_were(optimizer: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer, steps=2, extra='\n[optimize]\nfrozen = ["describe"]\n')
    outcome = run(folder)
    assert outcome.manifest is not None
    plan = plan_of(folder)
    from oa_compile.signatures.build import build_program

    before = build_program(plan.inputs.program.spec, plan.inputs.program.folder).dump_state()
    after = program_of(folder)
    assert set(after) == {"describe", "name", "metadata"}
    assert after["describe"] == json.loads(json.dumps(before["describe"]))
    assert after["name"] != json.loads(json.dumps(before["name"]))
    assert all("describe" not in event.origin for event in of(folder, Candidate))
    assert replay(folder.bundle, trust_code=True).identical


@pytest.mark.parametrize("part", ["instruction", "demos"])
def test_one_frozen_part_of_a_predictor_stays_as_it_was(optimizer: str, part: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer, extra=f'\n[optimize]\nfrozen = ["predict.{part}"]\n')
    if part == "instruction" and optimizer != "miprov2":  # they search instructions alone
        with pytest.raises(UsageError, match="nothing to change"):
            plan_of(folder)
        return
    outcome = run(folder)
    assert outcome.status == "complete"
    after = program_of(folder)
    tried = [event.state["self"] for event in of(folder, Candidate)]
    instructions = {state["instruction"] for state in tried} | {after["signature"]["instructions"]}
    if part == "instruction":
        assert instructions == {"Name the colour of the thing."}
        assert after["demos"]
    else:
        assert all(state["demos"] == [] for state in [*tried, after])
        assert len(instructions) > 1


def test_nothing_to_search_is_a_usage_error(optimizer: str, tmp_path: Path) -> None:
    closed = "instructions = false" + ("\ndemos = false" if optimizer == "miprov2" else "")
    folder = fresh(tmp_path, optimizer, extra=f"\n[optimize]\n{closed}\n")
    with pytest.raises(UsageError, match="nothing to"):
        plan_of(folder)


def test_sets_too_small_are_fitted_and_it_is_said(optimizer: str, tmp_path: Path) -> None:
    config = make_config(
        optimizer__name=optimizer,
        optimizer__miprov2={
            "num_candidates": 3,
            "num_trials": 4,
            "max_labeled_demos": 16,
            "max_bootstrapped_demos": 2,
        },
        optimizer__gepa={"max_metric_calls": 20, "reflection_minibatch_size": 5},
    )
    folder = new_run(tmp_path, config=config, sizes=(3, 2, 1))
    outcome = run(folder)
    assert outcome.status == "complete"
    notes = [note.message for note in of(folder, Noted)]
    wanted = {
        "miprov2": ["max_labeled_demos 16 -> 3", "2 validation examples fit one minibatch of 35"],
        "copro": ["it scores on the 2 validation examples"],
        "gepa": ["reflection_minibatch_size 5 -> 3"],
    }[optimizer]
    for text in wanted:
        assert any(text in note for note in notes), notes


def test_a_run_that_is_complete_makes_no_call_when_it_is_resumed(optimizer: str, tmp_path: Path) -> None:
    folder = fresh(tmp_path, optimizer)
    first = run(folder)
    events = len(list(read(folder.journal)))
    lane = RuleLane()
    second = run(folder, lane)
    assert lane.sent == []
    assert second.manifest == first.manifest
    # A segment and its end; nothing is told a second time.
    assert len(list(read(folder.journal))) == events + 2
