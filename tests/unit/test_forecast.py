"""The forecast: made without a call, an upper bound that holds, and the cap that will really stop the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import dspy
import pytest

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import BudgetExhausted
from oa_compile.events import Attempt, ForecastMade, PhaseStarted
from oa_compile.journal import events, read
from oa_compile.lanes.lane import Account, Quote
from oa_compile.ledger import Caps
from oa_compile.optimize.copro import OPTIMIZER as COPRO
from oa_compile.optimize.forecast import ForecastLine, _Used, forecast
from oa_compile.optimize.gepa import OPTIMIZER as GEPA
from oa_compile.optimize.miprov2 import OPTIMIZER as MIPROV2
from oa_compile.optimize.optimizer import Sizes
from oa_compile.spec.config import CoproSettings, GepaSettings, MiproSettings
from oa_compile.spec.lanes import FallbackLaneSpec
from tests.support.world import RuleLane, make_config, new_run, plan_of, run

OPTIMIZERS = ("miprov2", "copro", "gepa")

SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "miprov2": ("miprov2", {}),
    "miprov2-minibatch": (
        "miprov2",
        {"num_candidates": 5, "num_trials": 9, "minibatch_size": 4, "full_eval_steps": 3},
    ),
    "miprov2-light": ("miprov2", {"auto": "light"}),
    "miprov2-zeroshot": (
        "miprov2",
        {"num_candidates": 4, "num_trials": 6, "max_bootstrapped_demos": 0, "max_labeled_demos": 0},
    ),
    "miprov2-no-labels": ("miprov2", {"num_candidates": 4, "num_trials": 6, "max_labeled_demos": 0}),
    "miprov2-demos-only": ("miprov2", {"num_candidates": 4, "num_trials": 6, "instructions": False}),
    "miprov2-least": ("miprov2", {"num_candidates": 2, "num_trials": 2}),
    "copro": ("copro", {}),
    "copro-deep": ("copro", {"breadth": 4, "depth": 3}),
    "gepa": ("gepa", {}),
    "gepa-full-evals": ("gepa", {"max_full_evals": 5}),
    "gepa-less-than-a-valset": ("gepa", {"max_metric_calls": 5}),
}


class Untouched(RuleLane):
    """A lane that may be asked for its price, and nothing else."""

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        raise AssertionError("a forecast makes no call")


def config_for(search: str, **changes: Any) -> Any:
    optimizer, settings = SEARCHES[search]
    if settings:
        changes[f"optimizer__{optimizer}"] = settings
    return make_config(optimizer__name=optimizer, **changes)


def made_by_role(path: Path) -> dict[str, int]:
    made = {"task": 0, "proposer": 0}
    for event in events(read(path)):
        if isinstance(event, Attempt):
            made[event.role] += 1
    return made


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("search", SEARCHES)
def test_a_run_stays_within_its_forecast(tmp_path: Path, search: str, steps: int) -> None:
    folder = new_run(tmp_path, config=config_for(search), steps=steps)
    lines = forecast(plan_of(folder), lanes={"local": Untouched()})
    outcome = run(folder)
    assert outcome.status == "complete"
    made = made_by_role(folder.journal)
    for role in made:
        assert made[role] <= sum(line.at_most for line in lines if line.role == role), role
    expected = sum(line.calls for line in lines)
    assert outcome.made / 2 <= expected <= outcome.made * 2
    assert all(line.calls <= line.at_most for line in lines)
    assert not any(line.cap for line in lines)


def test_proposals_of_miprov2_and_copro_are_known_exactly(tmp_path: Path) -> None:
    for search in ("miprov2", "copro", "copro-deep"):
        folder = new_run(tmp_path / search, config=config_for(search), steps=2)
        lines = forecast(plan_of(folder), lanes={"local": Untouched()})
        run(folder)
        proposals = sum(line.calls for line in lines if line.role == "proposer")
        assert proposals == made_by_role(folder.journal)["proposer"], search


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_step_costs_calls_all_the_same(tmp_path: Path, optimizer: str) -> None:
    config = make_config(optimizer__name=optimizer)
    folder = new_run(tmp_path, config=config, steps=2, extra='\n[optimize]\nfrozen = ["describe"]\n')
    lines = forecast(plan_of(folder), lanes={"local": Untouched()})
    outcome = run(folder)
    assert outcome.status == "complete"
    assert outcome.made <= sum(line.at_most for line in lines)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_line_says_what_it_takes_and_says_it_again(tmp_path: Path, optimizer: str) -> None:
    folder = new_run(tmp_path, config=make_config(optimizer__name=optimizer))
    plan = plan_of(folder)
    lines = forecast(plan, lanes={"local": Untouched()})
    assert lines == forecast(plan, lanes={"local": Untouched()})
    for line in lines:
        assert min(line.calls, line.at_most, line.tokens, line.msat, line.seconds) > 0, line
        assert line.msat == line.calls * 10  # the lane's quote
        assert (line.stage, line.lane) == ("compile", "local")


def test_the_journal_holds_the_forecast_that_was_made_before_the_run(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    lines = [line.as_dict() for line in forecast(plan_of(folder), lanes={"local": Untouched()})]
    run(folder)
    journaled = list(events(read(folder.journal)))
    (index,) = [i for i, event in enumerate(journaled) if isinstance(event, ForecastMade)]
    assert journaled[index].lines == lines
    assert not any(isinstance(event, Attempt) for event in journaled[:index])


def test_the_probe_is_a_line_if_there_is_one(tmp_path: Path) -> None:
    def phases(name: str, **changes: Any) -> list[str]:
        folder = new_run(tmp_path / name, config=make_config(**changes))
        return [line.phase for line in forecast(plan_of(folder), lanes={"local": Untouched()})]

    assert phases("on") == ["preflight", "bootstrap demos", "propose instructions", "search"]
    assert "preflight" not in phases("off", optimizer__preflight=False)
    assert phases("demos", optimizer__miprov2__instructions=False) == ["bootstrap demos", "search"]


CAPS: dict[str, tuple[dict[str, Any], str]] = {
    "run calls": ({"budget": {"calls": 40}}, "run.calls"),
    "run money": ({"budget": {"cost": 400}}, "run.msat"),
    "run tokens": ({"budget": {"tokens": 12_000}}, "run.tokens"),
    "run time": ({"budget": {"seconds": 1e-6}}, "run.seconds"),
    "stage calls": ({"stages__compile__budget": {"calls": 35}}, "stage compile.calls"),
    "stage money": ({"stages__compile__budget": {"cost": 350}}, "stage compile.msat"),
    "lane calls": ({"lanes__local__budget": {"calls": 30}}, "lane local.calls"),
    "lane money": ({"lanes__local__budget": {"cost": 300}}, "lane local.msat"),
    "the tighter of two": (
        {"budget": {"calls": 45}, "stages__compile__budget": {"cost": 200}},
        "stage compile.msat",
    ),
    "a lane under a run": (
        {"budget": {"cost": 440, "tokens": 400_000}, "lanes__local__budget": {"calls": 20}},
        "lane local.calls",
    ),
    "less than one call": ({"budget": {"tokens": 5_000}}, "run.tokens"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("case", CAPS)
def test_the_cap_named_is_the_one_that_stops_the_run(tmp_path: Path, case: str, optimizer: str) -> None:
    changes, cap = CAPS[case]
    folder = new_run(tmp_path, config=make_config(optimizer__name=optimizer, **changes))
    lines = forecast(plan_of(folder), lanes={"local": Untouched()})
    assert next(line.cap for line in lines if line.cap) == cap
    assert lines[-1].cap == cap  # a phase that is never reached is stopped by the same cap
    outcome = run(folder)
    assert isinstance(outcome.error, BudgetExhausted)
    assert outcome.error.cap == cap


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_cap_that_no_run_can_reach_is_not_named(tmp_path: Path, optimizer: str) -> None:
    free = new_run(tmp_path / "free", config=make_config(optimizer__name=optimizer))
    at_most = sum(line.at_most for line in forecast(plan_of(free), lanes={"local": Untouched()}))
    config = make_config(optimizer__name=optimizer, budget={"calls": at_most, "cost": at_most * 10})
    folder = new_run(tmp_path / "capped", config=config)
    assert not any(line.cap for line in forecast(plan_of(folder), lanes={"local": Untouched()}))
    assert run(folder).status == "complete"


def test_the_cap_is_named_in_the_phase_that_reaches_it(tmp_path: Path) -> None:
    folder = new_run(tmp_path, config=make_config(budget={"calls": 30}))
    lines = forecast(plan_of(folder), lanes={"local": Untouched()})
    named = next(line.phase for line in lines if line.cap)
    run(folder)
    entered = [event.phase for event in events(read(folder.journal)) if isinstance(event, PhaseStarted)]
    assert named == entered[-1] == "search"


def test_a_call_needs_room_for_its_worst_case() -> None:
    line = ForecastLine("search", "compile", "task", "local", 10, 10, 1_000, 0, 1.0)
    for quote, cap in ((100, ""), (300, ""), (301, "run.tokens")):
        used = _Used({"run": Caps(tokens=1_200)})
        assert used.add(line, scopes=("run",), quote=Quote(0, quote)) == cap


def test_a_fallback_is_counted_under_the_member_that_answers(tmp_path: Path) -> None:
    config = make_config(
        lanes__first={"kind": "embedded", "adapter": "chat", "budget": {"calls": 3}},
        lanes__both={"kind": "fallback", "lanes": ["first", "local"]},
        stages__compile__task="both",
    )
    assert isinstance(config.lanes["both"], FallbackLaneSpec)
    lines = forecast(plan_of(new_run(tmp_path, config=config)), lanes={"both": Untouched("both")})
    assert {line.lane for line in lines} == {"both"}
    assert next(line.cap for line in lines if line.cap) == "lane first.calls"


def test_two_lanes_have_lines_of_their_own(tmp_path: Path) -> None:
    config = make_config(
        lanes__writer={"kind": "embedded", "adapter": "chat", "price": 500},
        stages__compile__proposer="writer",
    )
    lanes = {"local": Untouched(), "writer": Untouched("writer", price=500)}
    lines = forecast(plan_of(new_run(tmp_path, config=config)), lanes=lanes)
    assert {(line.role, line.lane) for line in lines} == {("task", "local"), ("proposer", "writer")}
    assert {line.msat // line.calls for line in lines if line.role == "proposer"} == {500}


def test_more_threads_take_less_time_up_to_what_the_lane_serves(tmp_path: Path) -> None:
    def seconds(threads: int, concurrency: int) -> float:
        name = f"{threads}-{concurrency}"
        lane = Untouched()
        lane.concurrency = concurrency
        plan = plan_of(new_run(tmp_path / name, config=make_config(run__threads=threads)))
        return sum(line.seconds for line in forecast(plan, lanes={"local": lane}))

    assert seconds(8, 16) < seconds(2, 16)
    assert seconds(8, 2) == pytest.approx(seconds(2, 2))


# What DSPy's own runs took on other programs (10 x 3 COPRO over 100 examples with two predictors: 24,058
# calls asked for, 51 % of them repeats) holds the estimates to more than this small world.


def test_copro_of_two_predictors_asks_for_as_many_calls_as_were_counted() -> None:
    sizes = Sizes(train=100, val=100, predictors=2, calls_per_example=2)
    phases = COPRO.forecast(CoproSettings(breadth=10, depth=3), sizes=sizes)
    assert sum(phase.at_most for phase in phases) == 24_058
    assert sum(phase.calls for phase in phases) == pytest.approx(0.49 * 24_058, rel=0.2)


def test_miprov2_light_asks_for_as_many_calls_as_were_counted() -> None:
    sizes = Sizes(train=100, val=100, predictors=1, calls_per_example=1)
    phases = MIPROV2.forecast(MiproSettings(auto="light"), sizes=sizes)
    assert sum(phase.at_most for phase in phases) >= 685
    assert sum(phase.calls for phase in phases) == pytest.approx(685, rel=0.3)


def test_the_budget_of_gepa_is_gepas_own_rule() -> None:
    gepa = dspy.GEPA(metric=lambda gold, pred, trace, name, part: 0.0, auto="light", reflection_lm=object())
    for predictors, val in ((1, 12), (2, 100)):
        theirs = gepa.auto_budget(num_preds=predictors, num_candidates=6, valset_size=val)
        sizes = Sizes(train=20, val=val, predictors=predictors, calls_per_example=predictors)
        ours, by_number = (
            GEPA.forecast(settings, sizes=sizes)
            for settings in (GepaSettings(auto="light"), GepaSettings(max_metric_calls=theirs))
        )
        assert ours == by_number


def test_a_line_is_plain_data() -> None:
    line = ForecastLine("search", "compile", "task", "local", 1, 2, 3, 4, 0.5, "run.calls")
    assert ForecastLine(**line.as_dict()) == line
    assert set(line.as_dict()) == {field.name for field in dataclasses.fields(line)}
