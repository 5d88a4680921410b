"""Scores over several runs, and answers refined: in searches and validations, on a lane that samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from oa_compile.artifact.folder import RunFolder, create, read_inputs
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import SpecError
from oa_compile.evaluate.examples import Score
from oa_compile.evaluate.refine import reward_of
from oa_compile.evaluate.rollouts import aggregated
from oa_compile.events import Attempt, Evaluated, ForecastMade
from oa_compile.journal import read
from oa_compile.lanes.lane import LaneFault
from oa_compile.lanes.metered import Sent
from oa_compile.replay.player import replay
from oa_compile.spec.load import load_program
from oa_compile.spec.metrics import EvaluationSpec
from oa_compile.spec.program import ProgramSpec
from oa_compile.validate.question import ask
from oa_compile.validate.runner import validate
from oa_compile.validate.verdict import Validation
from tests.support.saying import Saying, truth
from tests.support.world import RuleLane, make_config, make_dataset, make_program, new_run, run

ROLLED = "\n[evaluation]\nrollouts = 3\ntemperature = 0.7\n"
REFINED = """
[[metrics]]
kind = "keywords"
field = "colour"
none = ["grey"]
weight = 0

[refine]
rollouts = 3
"""


@pytest.mark.parametrize(("how", "value"), [("median", 0.5), ("mean", 0.4), ("min", 0.0)])
def test_one_score_of_several(how: str, value: float) -> None:
    scores = [Score(0.0, "none"), Score(0.5, "half", {"a": 1.0}), Score(0.7, "most", {"a": 0.5})]
    spec = EvaluationSpec.model_validate({"aggregate": how, "rollouts": 3})
    found = aggregated(scores, spec)
    assert found.score == pytest.approx(value)
    assert found.feedback == {"median": "half", "mean": "half", "min": "none"}[how]
    assert found.parts == {"a": pytest.approx(0.5)}


@pytest.mark.parametrize("optimizer", ["miprov2", "copro", "gepa"])
def test_a_search_scores_the_median_of_its_rollouts(tmp_path: Path, optimizer: str) -> None:
    settings = {
        "copro": {"breadth": 2, "depth": 1},
        "gepa": {"max_metric_calls": 15},
        "miprov2": {"num_candidates": 3, "num_trials": 2, "minibatch": False},
    }
    config = make_config(optimizer__name=optimizer, **{f"optimizer__{optimizer}": settings[optimizer]})
    folder = new_run(tmp_path, config=config, sizes=(5, 4, 2), extra=ROLLED)
    lane = RuleLane()
    assert run(folder, lane).status == "complete"
    events = [line.event for line in read(folder.journal)]
    rows = [row for event in events if isinstance(event, Evaluated) for row in event.rows]
    assert {row.score for row in rows} <= {0.0, 1.0}  # a median of zeros and ones
    tasks = [event for event in events if isinstance(event, Attempt) and event.role == "task"]
    warm = {event.request.temperature for event in tasks if event.request is not None}
    assert 0.7 in warm
    forecast = next(event for event in events if isinstance(event, ForecastMade))
    assert len(tasks) <= sum(int(str(line["at_most"])) for line in forecast.lines if line["role"] == "task")
    assert replay(folder.path).identical


def test_a_fault_in_a_later_rollout_leaves_the_example_out(tmp_path: Path) -> None:
    def fault(request: ChatRequest) -> LaneFault | None:
        doomed = request.temperature == 0.7 and "thing number 6" in request.messages[-1].content
        return LaneFault("server", "down") if doomed else None

    config = make_config(
        optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1}, run__max_fault_share=0.5
    )
    folder = new_run(tmp_path, config=config, sizes=(5, 4, 2), extra=ROLLED)
    assert run(folder, RuleLane(fault=fault)).status == "complete"
    rows = [r for line in read(folder.journal) if isinstance(line.event, Evaluated) for r in line.event.rows]
    assert {row.fault for row in rows if row.score is None} == {"server"}


# -- validation and refine -----------------------------------------------------------------------------


def validated(root: Path, extra: str, lanes: dict[str, RuleLane], **changes: Any) -> Validation:
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1}, **changes)
    dataset = make_dataset(root / "dataset", train=4, val=4, test=5)
    program = make_program(root / "program", extra=extra)
    text = (program / "program.toml").read_text()
    (program / "program.toml").write_text(
        text.replace(', type = "enum", values = ["red", "green", "blue"]', "")
    )
    folder = create(root / "runs" / "run", program=load_program(program), config=config, dataset=dataset)
    assert run(folder).status == "complete"
    inputs = read_inputs(folder)
    question = ask(folder.path, program=inputs.program, config=config, dataset=None)
    return validate(question, lanes=lanes)


def test_a_validation_without_a_panel_scores_rollouts_too(tmp_path: Path) -> None:
    """Right twice of three times: the median is right, the first alone would be wrong."""
    lane = Saying(lambda request, _n: truth(request) if request.temperature == 0.7 else "grey")
    validation = validated(tmp_path, ROLLED, {"local": lane})
    assert validation.after is not None
    assert validation.after.mean == 1
    assert len(lane.requests) == 2 * 5 * 3


def test_refine_runs_again_with_what_was_wrong_and_stops_when_it_is_good(tmp_path: Path) -> None:
    lane = Saying(
        lambda request, _n: truth(request) if "should not hold" in str(request.messages) else "grey"
    )
    validation = validated(tmp_path, REFINED, {"local": lane})
    assert validation.after is not None
    assert validation.after.mean == 1
    assert len(lane.requests) == 2 * 5 * 2  # good enough at the second run
    hints = [request for request in lane.requests if "An earlier answer" in request.messages[0].content]
    assert len(hints) == 2 * 5
    assert {request.temperature for request in hints} == {0.7}
    assert validation.evidence.artifact_cost.calls == 5 * 2  # what using it takes


def test_refine_keeps_the_best_and_escalates_the_last_run(tmp_path: Path) -> None:
    local = Saying(lambda _request, _n: "grey")
    better = Saying(lambda request, _n: truth(request), "better", price=70)
    validation = validated(
        tmp_path,
        REFINED,
        {"local": local, "better": better},
        lanes__better={"kind": "embedded", "adapter": "chat"},
        stages__validate={"task": "local", "escalate": "better"},
    )
    assert validation.after is not None
    assert validation.after.mean == 1
    assert (len(local.requests), len(better.requests)) == (2 * 5 * 2, 2 * 5)


def test_a_fault_passes_through_refine_and_an_unreadable_answer_is_tried_again(tmp_path: Path) -> None:
    down = RuleLane(fault=lambda _request: LaneFault("server", "down"))
    assert validated(tmp_path / "a", REFINED, {"local": down}).outcome == "not judged"

    class Mumbles(Saying):
        def send(self, request: ChatRequest, key: str) -> Sent:
            sent = super().send(request, key)
            mumbled = "An earlier answer" not in request.messages[0].content
            return Sent(ChatAnswer("hm", Usage(1, 1)), sent.spent) if mumbled else sent

    lane = Mumbles(lambda request, _n: truth(request))
    validation = validated(tmp_path / "b", REFINED, {"local": lane})
    assert validation.after is not None
    assert validation.after.mean == 1


def test_the_reward_may_be_a_function_that_knows_no_right_answer(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(
        "def good(inputs, pred):\n    return (0.25, 'too short') if len(pred['colour']) < 4 else 1.0\n"
        "def bad(inputs, pred):\n    raise KeyError('gone')\n"
    )
    program = make_program(tmp_path, extra='\n[refine]\nrollouts = 2\nreward = "reward.py:good"\n')
    spec = load_program(program).spec
    reward = reward_of(spec, tmp_path)
    assert reward({}, {"colour": "red"}) == (0.25, "too short")
    assert reward({}, {"colour": "green"}).score == 1
    broken = spec.model_copy(update={"refine": spec.refine.model_copy(update={"reward": "reward.py:bad"})})
    with pytest.raises(SpecError, match=r"reward reward\.py:bad raised KeyError"):
        reward_of(broken, tmp_path)({}, {})


def test_a_reward_that_needs_the_right_answer_is_refused(tmp_path: Path) -> None:
    body = {
        "name": "x",
        "signature": {"instructions": "x", "inputs": [{"name": "a"}], "outputs": [{"name": "b"}]},
        "metrics": [{"kind": "exact_match", "field": "b"}],
        "refine": {"rollouts": 2},
    }
    with pytest.raises(ValidationError, match="without the right answer"):
        ProgramSpec.model_validate(body)
    shutil.rmtree(tmp_path)


def test_the_artifact_of_a_refined_program_opens_in_plain_dspy(tmp_path: Path) -> None:
    lane = Saying(lambda request, _n: truth(request))
    validated(tmp_path, REFINED, {"local": lane})
    state = json.loads((RunFolder(tmp_path / "runs" / "run").artifact / "program.json").read_text())
    assert "signature" in state
    assert "An earlier answer" not in json.dumps(state)
