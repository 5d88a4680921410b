"""Examples: what is said before a decision, what was decided, and nothing from after it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.examples import make_examples
from oa_compile.extract.makers.tool_selection import MAX_CHARS, last_sentences
from oa_compile.extract.redact import redact, redact_value
from oa_compile.extract.session import (
    Message,
    Place,
    RuntimeEvent,
    Session,
    Step,
    ToolCall,
    ToolResult,
)
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import ProgramSpec


def spec(maker: str, inputs: list[Any], outputs: list[Any], **extract: Any) -> ProgramSpec:
    return ProgramSpec.model_validate(
        {
            "name": "test",
            "signature": {"instructions": "Do it.", "inputs": inputs, "outputs": outputs},
            "metrics": [{"kind": "exact_match", "field": outputs[0]["name"]}],
            "extract": {"example": maker, **extract},
        }
    )


TOOLS = spec(
    "tool_selection",
    [{"name": "thought"}],
    [{"name": "tool", "type": "enum", "values": ["read", "edit", "run", "search"]}],
)
EVENTS = spec(
    "event",
    [{"name": "repository_summary"}, {"name": "issue_description"}],
    [{"name": "expected_analysis"}, {"name": "expected_files", "type": "list[str]"}],
    event_type="PlanningComplete",
)


def said(words: str, line: int = 1, role: Any = "assistant") -> Message:
    return Message(role, words, f"m{line}", Place("log", line))


def called(name: str, line: int = 2, *, worked: bool | None = True, output: str = "ok") -> ToolCall:
    result = None if worked is None else ToolResult(output, not worked, Place("log", line + 1))
    return ToolCall(f"c{line}", name, {}, f"m{line}", Place("log", line), result)


def make(
    program: ProgramSpec, *steps: Step, events: tuple[RuntimeEvent, ...] = ()
) -> tuple[list[Any], Tally]:
    tally = Tally()
    session = Session("s", "autopilot", "log", cwd="/repo", steps=steps, events=events)
    return list(make_examples(session, spec=program, tally=tally)), tally


def reasons(tally: Tally) -> dict[str, str]:
    return {left.reason: left.first for left in tally.left_out()}


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("Read", "read"),
        ("Edit", "edit"),
        ("Write", "edit"),
        ("MultiEdit", "edit"),
        ("NotebookEdit", "edit"),
        ("Bash", "run"),
        ("Grep", "search"),
        ("Glob", "search"),
    ],
)
def test_the_tool_is_named_by_what_it_does(name: str, tool: str) -> None:
    (made,), _ = make(TOOLS, said("Let me look."), called(name))
    assert made.inputs == {"thought": "Let me look."}
    assert made.outputs == {"tool": tool}
    assert made.meta == {
        "source": "log:2",
        "session": "s",
        "call": "c2",
        "tool_name": name,
        "said_at": "log:1",
    }


def test_only_announced_calls_that_worked_teach() -> None:
    made, tally = make(
        TOOLS,
        called("Read", 1),
        said("Now the tests.", 2),
        called("Bash", 3, worked=False),
        said("Again.", 5),
        called("Bash", 6, worked=None),
        said("Planning.", 7),
        called("TodoWrite", 8),
        said("```\ncode only\n```", 9),
        called("Edit", 10),
    )
    assert made == []
    assert reasons(tally) == {
        "call without a thought before it": "log:1",
        "call failed": "log:3",
        "call without a result": "log:6",
        "call of another tool": "log:8",
        "thought without words": "log:10",
    }


def test_a_thought_explains_one_call_only() -> None:
    made, tally = make(TOOLS, said("Let me see both."), called("Read", 2), called("Grep", 4))
    assert [record.outputs["tool"] for record in made] == ["read"]
    assert reasons(tally) == {"call without a thought before it": "log:4"}


def test_a_call_of_another_tool_uses_the_thought_up() -> None:
    made, _ = make(TOOLS, said("First the plan."), called("TodoWrite", 2), called("Read", 4))
    assert made == []


def test_what_the_user_says_is_no_thought() -> None:
    made, _ = make(TOOLS, said("I will read."), said("No, stop!", 2, "user"), called("Read", 3))
    assert made == []


def test_nothing_from_after_the_decision_is_in_the_input() -> None:
    steps = (said("Let me check."), called("Bash", 2, output="SECRET-RESULT"), said("AFTERWARDS", 4))
    (made,), _ = make(TOOLS, *steps)
    assert "SECRET-RESULT" not in str(made)
    assert "AFTERWARDS" not in str(made)


def test_the_limit_per_session_is_kept_and_reported() -> None:
    program = TOOLS.model_copy(update={"extract": TOOLS.extract.model_copy(update={"limit_per_session": 1})})
    steps = (said("One."), called("Read", 2), said("Two.", 4), called("Read", 5))
    made, tally = make(program, *steps)
    assert len(made) == 1
    assert reasons(tally) == {"over the limit per session": "log:5"}


def test_last_sentences() -> None:
    assert last_sentences("One. Two! Three: four?", limit=12) == "Three: four?"
    assert last_sentences("A:\n```py\nx = 1\n```\nNow  run it.") == "A: Now run it."
    assert last_sentences("word " * 60, limit=20) == "word word word word"
    assert last_sentences("```\nnever closed") == ""


@given(st.text())
def test_a_thought_is_one_line_within_the_limit(words: str) -> None:
    found = last_sentences(words)
    assert len(found) <= MAX_CHARS
    assert found == " ".join(found.split())


def event(kind: str = "PlanningComplete", *, success: bool = True, **output: Any) -> RuntimeEvent:
    body = output or {"analysis": "a", "files": ["f.py"]}
    return RuntimeEvent(kind, success, {"repo_summary": "r", "issue": "i"}, body, Place("log", 3))


def test_an_event_becomes_inputs_and_expected_outputs() -> None:
    (made,), _ = make(EVENTS, events=(event(),))
    assert made.inputs == {"repository_summary": "r", "issue_description": "i"}
    assert made.outputs == {"expected_analysis": "a", "expected_files": ["f.py"]}


def test_fields_are_mapped_to_the_programs_names() -> None:
    program = spec(
        "event",
        [{"name": "issue_description"}],
        [{"name": "files_to_modify", "type": "list[str]"}],
        fields={"files_to_modify": "expected_files"},
    )
    (made,), _ = make(program, events=(event("Whatever"),))
    assert made.outputs == {"files_to_modify": ["f.py"]}


def test_an_input_cannot_be_filled_from_what_was_decided() -> None:
    program = spec(
        "event",
        [{"name": "hint", "type": "list[str]"}],
        [{"name": "expected_analysis"}],
        fields={"hint": "expected_files"},
    )
    made, tally = make(program, events=(event(),))
    assert made == []
    assert reasons(tally) == {"no value for `hint`": "log:3"}


def test_events_that_do_not_fit_are_reported() -> None:
    made, tally = make(
        EVENTS,
        events=(
            event("Other"),
            event(success=False),
            event(analysis="a"),
            event(analysis="a", files="f.py"),
            event(analysis="a", files=[1]),
        ),
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
    made, _ = make(program, events=(event(x=value),))
    assert bool(made) is fits


def test_text_without_a_utf8_form_is_reported() -> None:
    made, tally = make(TOOLS, said("broken \ud800 text"), called("Read"))
    assert made == []
    assert reasons(tally) == {"text that is no valid Unicode": "log:2"}


@pytest.mark.parametrize(
    ("kind", "private", "public"),
    [
        ("home_path", "see /home/alice/code/x.py", "see ~/code/x.py"),
        ("home_path", "see /Users/Bob/x", "see ~/x"),
        ("home_path", r"C:\Users\bob\x", r"~\x"),
        ("email", "ask a.b+c@mail.example.org now", "ask <email> now"),
        ("api_key", "key sk-ant-" + "a1B2" * 8, "key <secret>"),
        ("api_key", "sk_live_" + "a1B2" * 5, "<secret>"),
        ("github_token", "ghp_" + "a1B2" * 9, "<secret>"),
        ("gitlab_token", "glpat-" + "a1B2" * 5, "<secret>"),
        ("aws_key", "AKIA" + "A1B2" * 4, "<secret>"),
        ("google_key", "AIza" + "a1B2c" * 7, "<secret>"),
        ("slack_token", "xoxb-1234567890-abc", "<secret>"),
        ("huggingface_token", "hf_" + "a1B2" * 8, "<secret>"),
        ("nostr_secret", "nsec1" + "qpzry9x8" * 7, "<secret>"),
        ("jwt", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK", "<secret>"),
        ("bearer", "Authorization: Bearer abcdefghijklmnopqrstuvwxyz", "Authorization: <secret>"),
        ("url_password", "https://bob:hunter2@host/x", "https://<secret>@host/x"),
        (
            "private_key",
            "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- x",
            "<secret> x",
        ),
        ("private_key", "-----BEGIN PRIVATE KEY-----\ncut off", "<secret>"),
    ],
)
def test_private_things_are_replaced_and_counted(kind: str, private: str, public: str) -> None:
    counts: Counter[str] = Counter()
    assert redact(private, counts=counts) == public
    assert counts == {kind: 1}
    assert redact(public, counts=counts) == public


def test_harmless_text_stays_as_it_is() -> None:
    text = "Let me check crates/home/lib.rs, sk-learn, a@b and https://example.org/home/x at 50% @ 3"
    assert redact(text, counts=Counter()) == text


def test_redaction_reaches_every_string() -> None:
    counts: Counter[str] = Counter()
    value = {"a@b.org": ["/home/x/y", {"k": "c@d.org"}], "n": 3}
    assert redact_value(value, counts=counts) == {"<email>": ["~/y", {"k": "<email>"}], "n": 3}
    assert counts == {"email": 2, "home_path": 1}


def test_examples_are_redacted_on_the_way_in() -> None:
    (made,), tally = make(TOOLS, said("Reading /home/alice/x.py."), called("Read"))
    assert made.inputs == {"thought": "Reading ~/x.py."}
    assert tally.redacted == {"home_path": 1}
