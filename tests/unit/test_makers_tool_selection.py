"""Tool-selection examples: a thought and its tool, or a whole context and the call that worked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.makers.tool_selection import MAX_CHARS, last_sentences
from tests.support.steps import ROOT, Steps

SHIPPED = ("thought", "tool")
CATALOGUE = ("task_description", "available_tools", "recent_context", "selected_tool", "tool_params")


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
    (made,), _ = Steps().say("Let me look.").call(name).drafts("tool_selection", *SHIPPED)
    assert made.inputs == {"thought": "Let me look."}
    assert made.outputs["tool"] == tool
    assert made.line == 3
    assert made.evidence == {"call": "c3", "tool_name": name, "said_at": "log:2"}


def test_only_announced_calls_that_worked_teach() -> None:
    steps = Steps().call("Read").say("Now the tests.").call("Bash", error=True)
    steps.say("Planning.").call("TodoWrite").say("```\ncode only\n```").call("Edit").say("Again.").ask("Bash")
    assert steps.drafts("tool_selection", *SHIPPED) == (
        [],
        {
            "call without a thought before it": 1,
            "call failed": 1,
            "call without a result": 1,
            "call of another tool": 1,
            "thought without words": 1,
        },
    )


def test_a_thought_explains_one_call_only() -> None:
    steps = Steps().say("Let me see both.").call("Read").call("Grep")
    made, left = steps.drafts("tool_selection", *SHIPPED)
    assert [draft.outputs["tool"] for draft in made] == ["read"]
    assert left == {"call without a thought before it": 1}


def test_a_call_of_another_tool_uses_the_thought_up() -> None:
    made, _ = Steps().say("First the plan.").plan().read("a").drafts("tool_selection", *SHIPPED)
    assert made == []


def test_what_the_user_says_is_no_thought() -> None:
    steps = Steps().say("I will read.").say("No, stop!", "user").read("a")
    assert steps.drafts("tool_selection", *SHIPPED)[0] == []


def whole() -> Steps:
    return (
        Steps(tools=("Read", "Grep", "Bash"))
        .claim(title="Fix the cart", description="Totals are wrong.")
        .read("cart.py", "def total(): ...")
        .say("The sum is missing. Let me see who calls it.")
        .call("Grep", "app.py:3", pattern="total(", path=f"{ROOT}/src")
    )


def test_a_whole_context_and_the_call() -> None:
    made, left = whole().drafts("tool_selection", *CATALOGUE)
    assert left == {}
    draft = made[-1]
    assert draft.inputs["task_description"] == "Fix the cart\n\nTotals are wrong."
    assert draft.inputs["available_tools"] == ["Read", "Grep", "Bash"]
    assert draft.inputs["recent_context"].splitlines()[-1] == (
        f'Read {{"file_path":"{ROOT}/cart.py"}} → def total(): ...'
    )
    assert draft.outputs["selected_tool"] == "Grep"
    assert json.loads(draft.outputs["tool_params"]) == {"pattern": "total(", "path": f"{ROOT}/src"}


def test_what_was_announced_is_the_expected_outcome_and_no_input() -> None:
    made, _ = whole().drafts("tool_selection", *CATALOGUE, "expected_outcome")
    assert made[-1].outputs["expected_outcome"] == "The sum is missing. Let me see who calls it."
    assert "sum is missing" not in str(made[-1].inputs)


def test_calls_made_in_one_message_do_not_know_of_each_other() -> None:
    steps = whole()
    first, second = steps.ask("Read", file_path="/x/FIRST"), steps.ask("Bash", command="ls")
    steps.answer(first, "FIRST-RESULT").answer(second)
    made, _ = steps.drafts("tool_selection", *CATALOGUE)
    assert made[-1].outputs["selected_tool"] == "Bash"
    assert "FIRST" not in str(made[-1].inputs)


def test_a_result_that_is_not_there_yet_is_not_told() -> None:
    steps = whole()
    slow = steps.ask("Bash", command="make")
    steps.turn()
    quick = steps.ask("Read", file_path="/x/y")
    steps.answer(quick).answer(slow, "SLOW-RESULT")
    made, _ = steps.drafts("tool_selection", *CATALOGUE)
    assert made[-1].outputs["selected_tool"] == "Read"
    assert made[-1].inputs["recent_context"].endswith('Bash {"command":"make"} → (no result yet)')


def test_a_tool_nobody_had_heard_of_is_no_choice() -> None:
    (first, second), _ = (
        Steps().call("Read").call("Read").drafts("tool_selection", "selected_tool", "available_tools")
    )
    assert "available_tools" not in first.inputs
    assert second.inputs["available_tools"] == ["Read"]


def test_a_fallback_is_one_the_session_has_proven() -> None:
    steps = Steps().call("Grep", "no such tool", error=True, path="/x").call("Read", file_path="/x")
    made, _ = steps.call("Grep", path="/y").drafts("tool_selection", "selected_tool", "fallback_tool")
    assert [draft.outputs.get("fallback_tool") for draft in made] == [None, "Read"]


def failed_edit() -> Steps:
    steps = Steps().say("Now I correct it.").edit("a.py", text="File has not been read yet.", error=True)
    return steps.say("I must read it first.").read("a.py")


def test_a_failed_try_is_left_out() -> None:
    made, left = failed_edit().drafts("tool_selection", *SHIPPED)
    assert [(draft.outputs["tool"], draft.feedback, draft.negative) for draft in made] == [
        ("read", "", False)
    ]
    assert left == {"call failed": 1}


def test_a_failed_try_is_feedback_for_what_then_worked() -> None:
    (made,), _ = failed_edit().drafts("tool_selection", *SHIPPED, failures="feedback")
    assert made.outputs["tool"] == "read"
    assert made.feedback.startswith('Edit {"file_path":"/home/ann/code/shop/a.py"')
    assert made.feedback.endswith("was tried and failed: File has not been read yet.")


def test_a_failed_try_is_a_negative() -> None:
    (wrong, right), _ = failed_edit().drafts("tool_selection", *SHIPPED, failures="negatives")
    assert (wrong.outputs["tool"], wrong.negative) == ("edit", True)
    assert "File has not been read yet." in wrong.feedback
    assert (right.outputs["tool"], right.negative, right.feedback) == ("read", False, "")


def test_what_the_user_refused_is_no_failed_try() -> None:
    steps = Steps().say("Delete it.").call("Bash", "The user doesn't want to proceed.", error=True)
    assert steps.drafts("tool_selection", *SHIPPED, failures="negatives") == ([], {"call failed": 1})


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
