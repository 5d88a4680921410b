"""The engine under the real DSPy: what DSPy asks is what is called, and no fault is ever scored 0."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config as DspyConfig
from dspy.lm15 import Message, Request
from dspy.utils.exceptions import LMUnexpectedError

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.errors import BudgetExhausted, ExitCode, LaneError, OacompileError, StopRun
from oa_compile.events import Attempt, GaveUp, RunStarted
from oa_compile.journal import events, read
from oa_compile.lanes.engine import Engine, to_chat
from oa_compile.lanes.lane import FATAL, Account, LaneFault, RequestRefused, Spent
from oa_compile.lanes.metered import Sent
from oa_compile.lanes.runtime import Runtime
from oa_compile.optimize.lookahead import early
from tests.support.world import RuleLane, make_config

STARTED = RunStarted(
    command="optimize", run="r", program="p", inputs={}, lanes={"local": "rule:1"}, settings={}, versions={}
)
SIGNATURE = "thing -> colour"
EXAMPLES = [
    dspy.Example(thing=f"thing number {number}", colour="red").with_inputs("thing") for number in range(12)
]


class JsonLane(RuleLane):
    """Keeps what it was asked, and answers `text`."""

    def __init__(self, text: str = '{"idea": "an idea", "count": 3, "parts": {}}') -> None:
        super().__init__()
        self.text = text
        self.asked: list[ChatRequest] = []
        self.finish: Any = "stop"

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.sent.append(key)
        self.asked.append(request)
        return Sent(ChatAnswer(self.text, Usage(7, 2), finish_reason=self.finish, model="m"), Spent(1, 9))


Open = Callable[..., Runtime]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the run: once, or again as another process would."""
    last: list[Runtime] = []

    def open_run(lane: RuleLane, **changes: Any) -> Runtime:
        if last:
            last[-1].close()
        runtime = Runtime(
            tmp_path / "journal.jsonl",
            started=STARTED,
            config=make_config(**{"lanes__local__temperature": 1.0, **changes}),
            lanes={"local": lane},
        )
        last.append(runtime)
        return runtime

    yield open_run
    if last:
        last[-1].close()


def attempts(runtime: Runtime) -> list[Attempt]:
    return [event for event in events(read(runtime.journal.path)) if isinstance(event, Attempt)]


def exact(example: dspy.Example, prediction: dspy.Prediction, _trace: Any = None) -> float:
    return float(example.colour == prediction.colour)


# -- what DSPy asks -----------------------------------------------------------------------------------


def test_a_prediction_is_one_journaled_call(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane)
    with runtime.context(runtime.lm("compile", "task")):
        first = dspy.Predict(SIGNATURE)(thing="thing number 1")
        second = dspy.Predict(SIGNATURE)(thing="thing number 1")
    assert first.colour == second.colour
    (attempt,) = attempts(runtime)
    assert (attempt.stage, attempt.role, attempt.outcome) == ("compile", "task", "ok")
    assert attempt.request is not None
    assert attempt.request.messages[0].role == "system"
    assert "thing number 1" in attempt.request.messages[-1].content
    assert (attempt.request.temperature, attempt.request.max_tokens) == (1.0, 48)
    assert (runtime.calls.tally.made, runtime.calls.tally.saved) == (1, 1)


def test_settings_of_a_call_reach_the_lane(opened: Open) -> None:
    lane = JsonLane("yes")
    runtime = opened(lane)
    lm = runtime.lm("compile", "task")
    assert lm("hi", stop=["x", "y"], seed=3, top_p=0.5, max_tokens=7, temperature=0.2) == ["yes"]
    assert lane.asked == [
        ChatRequest(
            messages=(ChatMessage("user", "hi"),),
            stop=("x", "y"),
            seed=3,
            top_p=0.5,
            max_tokens=7,
            temperature=0.2,
        )
    ]


def test_the_system_text_and_the_developer_role_come_first() -> None:
    asked = Request(model="m", messages=(Message.developer("be brief"), Message.user("hi")), system="you are")
    assert to_chat(asked).messages == (
        ChatMessage("system", "you are"),
        ChatMessage("system", "be brief"),
        ChatMessage("user", "hi"),
    )


def test_an_answer_says_what_it_used(opened: Open) -> None:
    lane = JsonLane("yes")
    runtime = opened(lane)
    engine = runtime.lm("compile", "task").engine
    response = engine.complete(Request(model="local-task", messages=(Message.user("hi"),)))
    assert (response.model, response.finish_reason) == ("m", "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 2)


def test_a_cut_off_answer_is_told_as_one(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    lane = JsonLane("[[ ## colour ## ]]\nre")
    lane.finish = "length"
    runtime = opened(lane)
    logger = logging.getLogger("dspy")
    logger.addHandler(caplog.handler)
    try:
        with runtime.context(runtime.lm("compile", "task")):
            assert dspy.Predict(SIGNATURE)(thing="x").colour == "re"
    finally:
        logger.removeHandler(caplog.handler)
    assert "truncated" in caplog.text


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("question -> idea: str, parts: dict[str, int]", {"type": "json_object"}),
        (
            "question -> idea: str, count: int",
            {
                "type": "json_schema",
                "name": "DSPyProgramOutputs",
                "strict": True,
                "schema": {
                    "title": "DSPyProgramOutputs",
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "idea": {"title": "Idea", "type": "string"},
                        "count": {"title": "Count", "type": "integer"},
                    },
                    "required": ["idea", "count"],
                },
            },
        ),
    ],
    ids=["json object", "json schema"],
)
def test_the_format_dspy_asks_for_arrives_without_an_envelope(
    opened: Open, signature: str, expected: dict[str, Any]
) -> None:
    lane = JsonLane()
    runtime = opened(lane, lanes__local__adapter="json")
    with runtime.context(runtime.lm("compile", "task")):
        assert dspy.Predict(signature)(question="?").idea == "an idea"
    assert [request.response_format for request in lane.asked] == [expected]
    (attempt,) = attempts(runtime)
    assert attempt.request == lane.asked[0]  # read back from the journal: plain data all through


@pytest.mark.parametrize("adapter", ["chat", "xml", "json"])
def test_an_answer_that_does_not_parse_is_asked_for_once(opened: Open, adapter: str) -> None:
    lane = JsonLane("no field in sight")
    runtime = opened(lane, lanes__local__adapter=adapter)
    with runtime.context(runtime.lm("compile", "task")), pytest.raises(Exception, match=r"pars|JSON"):
        dspy.Predict(SIGNATURE)(thing="x")
    assert len(lane.sent) == 1  # a second call in another format would hide that the first one failed


# -- samples ------------------------------------------------------------------------------------------


def test_five_samples_are_five_calls_and_replay_as_they_were(opened: Open) -> None:
    def ask(lane: RuleLane) -> list[str]:
        runtime = opened(lane)
        with runtime.context(runtime.lm("compile", "task")):
            ideas: list[str] = dspy.Predict("question -> idea", n=5)(question="?").completions.idea
        return ideas

    lane, unused = RuleLane(), RuleLane()
    ideas = ask(lane)
    assert len(set(ideas)) == len(set(lane.sent)) == len(lane.sent) == 5
    assert ask(unused) == ideas
    assert unused.sent == []


def test_rollouts_are_kept_apart_and_remembered(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane)
    lm = runtime.lm("compile", "task")
    predict = dspy.Predict("question -> idea")
    ideas = []
    for rollout in (None, 1, 2, 1, None, 2):
        with runtime.context(lm if rollout is None else lm.copy(rollout_id=rollout)):
            ideas.append(predict(question="?").idea)
    assert ideas[:3] == [ideas[4], ideas[3], ideas[5]]
    assert len(set(ideas)) == len(lane.sent) == 3
    with runtime.context(lm):  # and named in the call instead of the LM
        assert predict(question="?", config={"rollout_id": 2}).idea == ideas[2]
        predict(question="?", config={"rollout_id": 3})
    assert len(lane.sent) == 4


def test_samples_of_rollouts_are_calls_of_their_own(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane)
    with runtime.context(runtime.lm("compile", "task")):
        for rollout in (1, 2):
            dspy.Predict("question -> idea", n=3)(question="?", config={"rollout_id": rollout})
    assert len(set(lane.sent)) == 6


def test_a_proposer_asked_again_has_another_idea_and_a_resume_has_the_same_ones(opened: Open) -> None:
    def ask(lane: RuleLane) -> list[str]:
        runtime = opened(lane)
        with runtime.context(runtime.lm("compile", "proposer")):
            predict = dspy.Predict("question -> idea")
            return [predict(question="?").idea for _ in range(3)]

    lane, resumed = RuleLane(), RuleLane()
    ideas = ask(lane)
    assert len(set(ideas)) == len(set(lane.sent)) == 3
    assert ask(resumed) == ideas
    assert resumed.sent == []


def test_a_look_ahead_that_was_overtaken_asks_for_no_other_idea(opened: Open) -> None:
    """It asks early what the search asks: what the search has asked already is there."""
    lane = RuleLane()
    runtime = opened(lane)
    with runtime.context(runtime.lm("compile", "proposer")):
        predict = dspy.Predict("question -> idea")
        with early():
            first = predict(question="?").idea
        assert predict(question="?").idea == first
        with early():
            assert predict(question="?").idea == first
        assert len(lane.sent) == 1
        assert predict(question="?").idea != first


def test_at_temperature_zero_there_is_no_other_idea(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane, lanes__local__temperature=0.0)
    with runtime.context(runtime.lm("compile", "proposer")):
        for _ in range(3):
            dspy.Predict("question -> idea")(question="?")
    assert len(lane.sent) == 1


# -- copies -------------------------------------------------------------------------------------------


def test_copies_share_the_engine_and_its_ledger(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane)
    lm = runtime.lm("compile", "task")
    assert copy.deepcopy(lm.engine) is lm.engine
    assert isinstance(lm.engine, Engine)
    program = dspy.Predict(SIGNATURE)
    program.set_lm(lm)
    other = program.deepcopy()
    assert all(predictor.lm.engine is lm.engine for predictor in [*program.predictors(), *other.predictors()])
    assert lm.copy(temperature=0.5).engine is lm.engine
    with runtime.context(lm):
        first, second = program(thing="thing number 1"), other(thing="thing number 1")
    assert first.colour == second.colour
    assert len(lane.sent) == runtime.ledger.totals().calls == 1


# -- what no lane carries -----------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


class Seen(dspy.Signature):
    """Say what is there."""

    image: dspy.Image = dspy.InputField()
    colour: str = dspy.OutputField()


def test_native_tools_are_refused(opened: Open) -> None:
    lane = RuleLane()
    lm = opened(lane).lm("compile", "task")
    with pytest.raises(LMUnexpectedError, match="native tool calls are not carried") as caught:
        lm("hi", tools=[TOOL])
    assert isinstance(caught.value.__cause__, RequestRefused)
    assert lane.sent == []


def test_images_are_refused(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane)
    image = dspy.Image(url="data:image/png;base64,iVBORw0KGgo=")
    with (
        runtime.context(runtime.lm("compile", "task")),
        pytest.raises(LMUnexpectedError, match="image part is not carried") as caught,
    ):
        dspy.Predict(Seen)(image=image)
    assert isinstance(caught.value.__cause__, RequestRefused)
    assert lane.sent == []


def test_what_is_text_only_passes() -> None:
    config = DspyConfig(response_format={"type": "json_object"})
    chat = to_chat(Request(model="m", messages=(Message.user("a"),), config=config))
    assert chat == ChatRequest(messages=(ChatMessage("user", "a"),), response_format={"type": "json_object"})


# -- stops pass through DSPy --------------------------------------------------------------------------


class Buggy(RuleLane):
    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        raise ZeroDivisionError("division by zero")


class Dear(RuleLane):
    def send(self, request: ChatRequest, key: str) -> Sent:
        self.sent.append(key)
        return Sent(ChatAnswer("[[ ## colour ## ]]\nred"), Spent(self.price + 1, 5))


def failing(kind: Any) -> RuleLane:
    return RuleLane(fault=lambda _request: LaneFault(kind, f"{kind} fails"))


STOPS = [
    *[pytest.param(lambda kind=kind: failing(kind), {}, LaneFault, 4, id=kind) for kind in sorted(FATAL)],
    pytest.param(Buggy, {}, OacompileError, 70, id="a bug of the lane"),
    pytest.param(Dear, {}, LaneError, 4, id="a broken ceiling"),
    pytest.param(RuleLane, {"budget__calls": 0}, BudgetExhausted, 3, id="no budget"),
]


@pytest.mark.parametrize(("lane", "changes", "error", "code"), STOPS)
def test_a_stop_passes_through_predict(
    opened: Open, lane: Callable[[], RuleLane], changes: dict[str, Any], error: type, code: int
) -> None:
    runtime = opened(lane(), **changes)
    with runtime.context(runtime.lm("compile", "task")), pytest.raises(StopRun) as stop:
        dspy.ChainOfThought(SIGNATURE)(thing="x")
    assert isinstance(stop.value.error, error)
    assert stop.value.error.exit_code == ExitCode(code)


@pytest.mark.parametrize(("lane", "changes", "error", "code"), STOPS)
def test_a_stop_passes_through_evaluate_and_nothing_is_scored_0(
    opened: Open, lane: Callable[[], RuleLane], changes: dict[str, Any], error: type, code: int
) -> None:
    for threads in (1, 4):
        runtime = opened(lane(), **changes)
        before = len(attempts(runtime))
        scored: list[float] = []

        def metric(
            example: dspy.Example,
            prediction: dspy.Prediction,
            trace: Any = None,
            scored: list[float] = scored,
        ) -> float:
            scored.append(exact(example, prediction))
            return scored[-1]

        evaluate = dspy.Evaluate(devset=EXAMPLES, metric=metric, num_threads=threads)
        with runtime.context(runtime.lm("compile", "task")), pytest.raises(StopRun) as stop:
            evaluate(dspy.Predict(SIGNATURE))
        assert isinstance(stop.value.error, error)
        assert stop.value.error.exit_code == ExitCode(code)
        assert runtime.calls.wait_idle(60)
        assert 0.0 not in scored
        assert len(attempts(runtime)) - before <= threads  # those under way at the stop, and no more


def test_a_budget_that_runs_out_stops_evaluate_at_the_last_call_it_allows(opened: Open) -> None:
    lane = RuleLane()
    runtime = opened(lane, budget__calls=5)
    evaluate = dspy.Evaluate(devset=EXAMPLES, metric=exact, num_threads=4)
    with runtime.context(runtime.lm("compile", "task")), pytest.raises(StopRun) as stop:
        evaluate(dspy.Predict(SIGNATURE))
    assert isinstance(stop.value.error, BudgetExhausted)
    assert runtime.calls.wait_idle(60)
    assert len(lane.sent) == runtime.ledger.totals().calls == 5


def test_a_fault_outside_of_an_evaluation_stops(opened: Open) -> None:
    """Bootstrapping and proposing cannot leave an example out."""
    runtime = opened(failing("server"))
    runtime.calls.tolerates_faults = lambda: False
    with runtime.context(runtime.lm("compile", "proposer")), pytest.raises(StopRun, match="server fails"):
        dspy.Predict(SIGNATURE)(thing="x")


def test_a_fault_in_an_evaluation_is_one_example_s_and_is_told(opened: Open) -> None:
    lane = RuleLane(
        fault=lambda request: (
            LaneFault("timeout", "late") if "thing number 3\n" in request.messages[-1].content else None
        )
    )
    runtime = opened(lane)
    evaluate = dspy.Evaluate(devset=EXAMPLES, metric=exact, num_threads=4)
    with runtime.context(runtime.lm("compile", "task")):
        results = evaluate(dspy.Predict(SIGNATURE)).results
    unanswered = [example.thing for example, prediction, _score in results if not prediction.keys()]
    assert unanswered == ["thing number 3"]
    gave_up = [event for event in events(read(runtime.journal.path)) if isinstance(event, GaveUp)]
    assert [event.fault for event in gave_up] == ["timeout"]
    assert runtime.calls.tally.fault_kinds == ["timeout"]
    assert runtime.calls.stopped_by is None
