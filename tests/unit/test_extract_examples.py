"""Examples: a maker's drafts fitted to a program's fields, typed, redacted, and told what they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from oa_compile.dataset import ExampleRecord, group_key
from oa_compile.extract.assemble import Assembly
from oa_compile.extract.examples import Examples
from oa_compile.extract.records import Record
from oa_compile.extract.session import RuntimeEvent
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import walk
from oa_compile.spec.extract import ExtractSpec
from oa_compile.spec.program import ProgramSpec
from tests.support.steps import Steps


def spec(
    maker: str, inputs: list[Any], outputs: list[Any], *, group: str = "episode", **extract: Any
) -> ProgramSpec:
    return ProgramSpec.model_validate(
        {
            "name": "test",
            "signature": {"instructions": "Do it.", "inputs": inputs, "outputs": outputs},
            "metrics": [{"kind": "exact_match", "field": outputs[0]["name"]}],
            "extract": {"example": maker, **extract},
            "splits": {"group": group},
        }
    )


TOOL = {"name": "tool", "type": "enum", "values": ["read", "edit", "run", "search"]}
TOOLS = ("tool_selection", [{"name": "thought"}], [TOOL])
PLANS = ("planning", [{"name": "issue_description"}], [{"name": "files_to_modify", "type": "list[str]"}])
EVENTS = spec(
    "event",
    [{"name": "repository_summary"}, {"name": "issue_description"}],
    [{"name": "expected_analysis"}, {"name": "expected_files", "type": "list[str]"}],
    event_type="PlanningComplete",
)


def make(program: ProgramSpec, records: Iterable[Record]) -> tuple[list[ExampleRecord], Tally]:
    tally, made, threads = Tally("log"), [], {}
    assembly = Assembly(format="test", file="log", name="log", tally=tally)
    for scene, moment in walk(records, assembly):
        thread = scene.session.thread
        if thread not in threads:
            threads[thread] = Examples(program, tally)
        made += threads[thread].take(scene, moment)
    return made, tally


def reasons(tally: Tally) -> dict[str, str]:
    return {left.reason: left.first for left in tally.left_out()}


def event(kind: str = "PlanningComplete", *, success: bool = True, **output: Any) -> RuntimeEvent:
    body = output or {"analysis": "a", "files": ["f.py"]}
    return RuntimeEvent(kind, success, {"repo_summary": "r", "issue": "i"}, body, 3)


def test_a_record_names_where_it_is_from() -> None:
    (made,), _ = make(spec(*TOOLS), Steps().say("Let me look.").call("Read").records)
    assert made.inputs == {"thought": "Let me look."}
    assert made.outputs == {"tool": "read"}
    assert made.meta["source"] == "log:3"
    assert made.meta["session"] == "s1"
    assert made.meta["call"] == "c3"


def test_the_limit_per_session_is_kept_and_reported() -> None:
    steps = Steps().say("One.").call("Read").say("Two.").call("Read")
    made, tally = make(spec(*TOOLS, limit_per_session=1), steps.records)
    assert len(made) == 1
    assert reasons(tally) == {"over the limit per session": "log:6"}


def test_a_label_that_is_not_sure_enough_is_left_out() -> None:
    records = Steps().claim().edit("a.py").complete().records
    (made,), _ = make(spec(*PLANS, min_confidence=0.7), records)
    assert made.meta["confidence"] == 0.7
    none, tally = make(spec(*PLANS, min_confidence=0.75), records)
    assert none == []
    assert reasons(tally) == {"label less sure than the program asks for": "log:8"}


def test_what_a_failed_try_showed_is_in_the_meta() -> None:
    steps = Steps().say("I correct it.").edit("a.py", text="Not read yet.", error=True)
    records = steps.say("I read it first.").read("a.py").records
    (made,), _ = make(spec(*TOOLS, failures="feedback"), records)
    assert "was tried and failed: Not read yet." in made.note
    wrong, right = make(spec(*TOOLS, failures="negatives"), records)[0]
    assert (wrong.negative, wrong.outputs["tool"]) == (True, "edit")
    assert (right.negative, right.note) == (False, "")


@pytest.mark.parametrize(
    ("group", "key"),
    [
        ("episode", group_key("episode", "shop", "7")),
        ("repository", group_key("repository", "shop")),
        ("session", group_key("session", "shop", "s1")),
    ],
)
def test_what_an_example_is_related_to(group: str, key: str) -> None:
    (made,), _ = make(spec(*PLANS, group=group), Steps().claim().edit("a.py").complete().records)
    assert made.group == key


def test_an_example_may_stand_alone() -> None:
    (made,), _ = make(spec(*PLANS, group="none"), Steps().claim().edit("a.py").complete().records)
    assert made.group == made.id


def test_a_mapping_may_name_the_group() -> None:
    plain = spec("event", [{"name": "task"}], [{"name": "files", "type": "list[str]"}])
    mapping = {
        "example": "mapping",
        "each": "episode",
        "group": "session.branch",
        "inputs": {"task": "episode.issue.title"},
        "outputs": {"files": "episode.files"},
    }
    program = plain.model_copy(update={"extract": ExtractSpec.model_validate(mapping)})
    (made,), _ = make(program, Steps(branch="main").claim().edit("a.py").complete().records)
    assert made.group == group_key("mapped", "main")
    assert made.inputs == {"task": "Fix it"}


def test_an_event_becomes_inputs_and_expected_outputs() -> None:
    (made,), _ = make(EVENTS, [event()])
    assert made.inputs == {"repository_summary": "r", "issue_description": "i"}
    assert made.outputs == {"expected_analysis": "a", "expected_files": ["f.py"]}


def test_fields_are_mapped_to_the_programs_names() -> None:
    program = spec(
        "event",
        [{"name": "issue_description"}],
        [{"name": "files_to_modify", "type": "list[str]"}],
        fields={"files_to_modify": "expected_files"},
    )
    (made,), _ = make(program, [event("Whatever")])
    assert made.outputs == {"files_to_modify": ["f.py"]}


def test_an_input_cannot_be_filled_from_what_was_decided() -> None:
    program = spec(
        "event",
        [{"name": "hint", "type": "list[str]"}],
        [{"name": "expected_analysis"}],
        fields={"hint": "expected_files"},
    )
    made, tally = make(program, [event()])
    assert made == []
    assert reasons(tally) == {"no value for `hint`": "log:3"}


def test_events_that_do_not_fit_are_reported() -> None:
    made, tally = make(
        EVENTS,
        [
            event("Other"),
            event(success=False),
            event(analysis="a"),
            event(analysis="a", files="f.py"),
            event(analysis="a", files=[1]),
        ],
    )
    assert made == []
    assert {left.reason: left.count for left in tally.left_out()} == {
        "`expected_files` is no list[str]": 2,
        "event of another type": 1,
        "event of a failure": 1,
        "no value for `expected_files`": 1,
    }


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("int", 3, True),
        ("int", True, False),
        ("int", "3", False),
        ("float", 3, True),
        ("bool", False, True),
        ("bool", 0, False),
        ("list[int]", [1, 2], True),
        ("list[int]", [1, True], False),
        ("str", None, False),
    ],
)
def test_values_have_the_type_the_field_says(kind: str, value: Any, fits: bool) -> None:
    program = spec("event", [{"name": "issue_description"}], [{"name": "expected_x", "type": kind}])
    made, _ = make(program, [event(x=value)])
    assert bool(made) is fits


def test_text_without_a_utf8_form_is_reported() -> None:
    made, tally = make(spec(*TOOLS), Steps().say("broken \ud800 text").call("Read").records)
    assert made == []
    assert reasons(tally) == {"text that is no valid Unicode": "log:3"}


def test_examples_are_redacted_on_the_way_in() -> None:
    (made,), tally = make(spec(*TOOLS), Steps().say("Reading /home/alice/x.py.").call("Read").records)
    assert made.inputs == {"thought": "Reading ~/x.py."}
    assert tally.redacted["home_path"] >= 1
