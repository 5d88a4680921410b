"""The probe of the proposer: it refuses before the search, and is journaled; what a resume may change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.artifact.folder import RunFolder
from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.errors import ExitCode, UsageError
from oa_compile.events import AnyEvent, Attempt, Candidate, Evaluated, PhaseStarted, RunFinished
from oa_compile.journal import events, read
from oa_compile.lanes.lane import Spent
from oa_compile.lanes.metered import Sent
from oa_compile.optimize.driver import Outcome, run_compile
from oa_compile.optimize.preflight import why_not
from oa_compile.optimize.resume import with_budgets
from oa_compile.spec.config import Config
from tests.support.world import RuleLane, make_config, new_run, plan_of, run

OPTIMIZERS = ("miprov2", "copro", "gepa")
WRITTEN = "Name the colour of the thing."
PROSE = (
    "Read the description of the thing with care, think about which of the three colours fits it best, "
    "and answer with that colour alone, in lower case and without any punctuation or explanation."
)


class WriterLane(RuleLane):
    """A proposer that writes whatever it is told to write."""

    def __init__(self, text: Callable[[ChatRequest], str], name: str = "writer") -> None:
        super().__init__(name)
        self.text = text

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.sent.append(key)
        answer = ChatAnswer(self.text(request), Usage(100, 5), model="writer")
        return Sent(answer, Spent(self.price, 105))


def proposal(instruction: str, optimizer: str) -> str:
    """An answer that writes `instruction` in the optimizer's format."""
    if optimizer == "gepa":
        return f"[[ ## new_instruction ## ]]\n{instruction}\n\n[[ ## completed ## ]]"
    prefix = "\n\n[[ ## proposed_prefix_for_output_field ## ]]\nColour:" if optimizer == "copro" else ""
    return f"[[ ## proposed_instruction ## ]]\n{instruction}{prefix}\n\n[[ ## completed ## ]]"


def two_lanes(optimizer: str, **changes: Any) -> Config:
    return make_config(
        optimizer__name=optimizer,
        lanes__writer={"kind": "embedded", "adapter": "chat", "price": 10},
        stages__compile__proposer="writer",
        **changes,
    )


def compile_with(folder: RunFolder, writer: WriterLane) -> Outcome:
    return run_compile(folder, plan_of(folder), lanes={"local": RuleLane(), "writer": writer})


def journaled(folder: RunFolder) -> list[AnyEvent]:
    return list(events(read(folder.journal)))


# -- what is an instruction ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no instruction"),
        ("   \n", "no instruction"),
        ("colour", "no instruction"),
        ("Name it.", "no instruction"),
        ("… — !", "no instruction"),
        (WRITTEN, "echoed"),
        ("  name THE colour, of the thing", "echoed"),
        ("the colour " * 15, "stammers"),
        ("Name it well. " + "Name the colour of the thing. " * 6, "stammers"),
        ("Name the colour now.", ""),
        (f"{WRITTEN} Look closely.", ""),
        (PROSE, ""),
        ("the colour " * 10, ""),  # 20 words are too few to tell
    ],
)
def test_what_is_no_instruction(text: str, reason: str) -> None:
    said = why_not(text, WRITTEN)
    assert reason in said
    assert bool(said) == bool(reason)


@given(text=st.text(max_size=400), instruction=st.text(max_size=80))
def test_any_text_is_judged_in_one_line(text: str, instruction: str) -> None:
    said = why_not(text, instruction)
    assert said == why_not(text, instruction)
    assert "\n" not in said
    assert len(said) < 1_000


def test_a_long_answer_is_quoted_by_its_beginning() -> None:
    said = why_not("spam eggs " * 500, WRITTEN)
    assert "spam eggs" in said
    assert len(said) < 300


# -- the probe -----------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "unparseable": (lambda _optimizer: "I am a small model and love\n\ncolours", "does not parse"),
    "empty": (lambda optimizer: proposal("", optimizer), "no instruction"),
    "echo": (lambda optimizer: proposal(WRITTEN, optimizer), "echoed"),
    "stammer": (lambda optimizer: proposal("the colour " * 20, optimizer), "stammers"),
    "short": (lambda optimizer: proposal("Yes", optimizer), "no instruction"),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("answer", BAD)
def test_a_proposer_that_cannot_write_is_refused_before_the_search(
    tmp_path: Path, answer: str, optimizer: str
) -> None:
    text, reason = BAD[answer]
    writes = text(optimizer)
    folder = new_run(tmp_path, config=two_lanes(optimizer))
    task, writer = RuleLane(), WriterLane(lambda _request: writes)
    with pytest.raises(UsageError) as caught:
        run_compile(folder, plan_of(folder), lanes={"local": task, "writer": writer})
    error = caught.value
    assert error.exit_code == ExitCode.USAGE
    assert "lane `writer`" in error.message
    assert optimizer in error.message
    assert reason in error.message
    assert "\n" not in error.message
    assert "stages.compile.proposer" in error.hint
    assert "optimizer.preflight = false" in error.hint

    assert not task.sent
    assert len(writer.sent) == 1
    happened = journaled(folder)
    (attempt,) = [event for event in happened if isinstance(event, Attempt)]
    assert (attempt.role, attempt.lane, attempt.outcome, attempt.msat) == ("proposer", "writer", "ok", 10)
    assert attempt.answer is not None
    assert attempt.answer.text == writes
    assert [event.phase for event in happened if isinstance(event, PhaseStarted)] == ["preflight"]
    assert not any(isinstance(event, Evaluated) for event in happened)
    assert sum(isinstance(event, Candidate) for event in happened) == 1  # the program as written
    assert isinstance(happened[-1], RunFinished)
    assert happened[-1].status == "failed"
    assert reason in happened[-1].reason
    assert not folder.artifact.exists()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_way_out_is_one_that_there_is(tmp_path: Path, optimizer: str) -> None:
    folder = new_run(tmp_path, config=two_lanes(optimizer))
    with pytest.raises(UsageError) as caught:
        compile_with(folder, WriterLane(lambda _request: proposal("Yes", optimizer)))
    assert ("--optimizer miprov2" in caught.value.hint) == (optimizer != "miprov2")
    assert "instructions = false" in caught.value.hint


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_refused_run_asks_nothing_again(tmp_path: Path, optimizer: str) -> None:
    folder = new_run(tmp_path, config=two_lanes(optimizer))
    for asked in (1, 0):
        writer = WriterLane(lambda _request: proposal("Yes", optimizer))
        with pytest.raises(UsageError):
            compile_with(folder, writer)
        assert len(writer.sent) == asked


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_proposer_that_can_write_is_asked_once_and_the_search_begins(
    tmp_path: Path, optimizer: str
) -> None:
    folder = new_run(tmp_path, config=make_config(optimizer__name=optimizer))
    assert run(folder).status == "complete"
    happened = journaled(folder)
    phases = [index for index, event in enumerate(happened) if isinstance(event, PhaseStarted)]
    probing = happened[phases[0] : phases[1]]
    assert [event.role for event in probing if isinstance(event, Attempt)] == ["proposer"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_preflight_off_asks_no_probe(tmp_path: Path, optimizer: str) -> None:
    folder = new_run(tmp_path, config=make_config(optimizer__name=optimizer, optimizer__preflight=False))
    assert run(folder).status == "complete"
    happened = journaled(folder)
    assert "preflight" not in [event.phase for event in happened if isinstance(event, PhaseStarted)]
    with_probe = new_run(tmp_path / "probed", config=make_config(optimizer__name=optimizer))
    run(with_probe)
    probes = [
        sum(isinstance(event, Attempt) and event.role == "proposer" for event in journaled(each))
        for each in (with_probe, folder)
    ]
    assert probes[0] == probes[1] + 1


def test_a_search_of_demos_alone_never_asks_the_proposer_nor_makes_its_lane(tmp_path: Path) -> None:
    folder = new_run(tmp_path, config=two_lanes("miprov2", optimizer__miprov2__instructions=False))
    plan = plan_of(folder)
    assert plan.lanes == ["local"]
    outcome = run_compile(folder, plan, lanes={"local": RuleLane()})
    assert outcome.status == "complete"
    roles = {event.role for event in journaled(folder) if isinstance(event, Attempt)}
    assert roles == {"task"}


@pytest.mark.parametrize("extra", ["instructions = false", 'frozen = ["predict.instruction"]'])
def test_frozen_instructions_need_no_proposer_either(tmp_path: Path, extra: str) -> None:
    folder = new_run(tmp_path, config=two_lanes("miprov2"), extra=f"\n[optimize]\n{extra}\n")
    assert plan_of(folder).lanes == ["local"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_who_proposes_is_among_the_lanes(tmp_path: Path, optimizer: str) -> None:
    assert plan_of(new_run(tmp_path, config=two_lanes(optimizer))).lanes == ["local", "writer"]


# -- what a resume may change --------------------------------------------------------------------

BUDGET = {"cost": "9sat", "calls": 9, "tokens": 99, "seconds": 9.0}
DECIDES: dict[str, Any] = {
    "run__seed": 7,
    "run__confirm_above": "9usd",
    "money__usd_per_btc": 1,
    "lanes__local__price": 99,
    "lanes__local__model": "other",
    "lanes__local__temperature": 1.0,
    "lanes__local__max_tokens": 9,
    "lanes__other": {"kind": "embedded"},
    "stages__compile__proposer": "other",
    "optimizer__name": "gepa",
    "optimizer__preflight": False,
    "optimizer__miprov2__num_trials": 99,
    "gates": {"min_score": 0.9},
}
ALLOWED: dict[str, Any] = {
    "run__threads": 9,
    "run__max_fault_share": 0.9,
    "budget": BUDGET,
    "lanes__local__budget": BUDGET,
    "stages__compile__budget": BUDGET,
}


def test_budgets_threads_and_fault_share_are_taken() -> None:
    assert with_budgets(make_config(), make_config(**ALLOWED)) == make_config(**ALLOWED)


def test_caps_are_taken_off_too() -> None:
    assert with_budgets(make_config(**ALLOWED), make_config()) == make_config()


@pytest.mark.parametrize("setting", [name for name in DECIDES if name != "stages__compile__proposer"])
def test_nothing_that_decides_the_result_is_taken(setting: str) -> None:
    old = make_config()
    new = make_config(**{setting: DECIDES[setting]})
    assert new != old
    assert with_budgets(old, new) == old


@given(
    decides=st.sets(st.sampled_from(sorted(DECIDES))),
    allowed=st.sets(st.sampled_from(sorted(ALLOWED))),
)
def test_whatever_is_changed_only_what_may_is_taken(decides: set[str], allowed: set[str]) -> None:
    if "stages__compile__proposer" in decides:
        decides = decides | {"lanes__other"}
    taken = {name: ALLOWED[name] for name in allowed}
    changes = {name: DECIDES[name] for name in decides} | taken
    old = make_config()
    kept = copy.deepcopy(old)
    assert with_budgets(old, make_config(**changes)) == make_config(**taken)
    assert old == kept


def test_lanes_and_stages_are_matched_by_name() -> None:
    old = make_config(
        lanes__writer={"kind": "embedded", "budget": {"calls": 1}},
        stages__validate={"task": "writer", "budget": {"calls": 2}},
    )
    new = make_config(lanes__another={"kind": "embedded", "budget": {"calls": 3}}, **ALLOWED)
    taken = with_budgets(old, new)
    assert taken.lanes["writer"].budget.calls == 1
    assert taken.stages["validate"].budget.calls == 2
    assert taken.lanes["local"].budget.calls == 9
    assert "another" not in taken.lanes
