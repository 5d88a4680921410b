"""Execution-strategy and solution-verifier examples: the next action, and whether the work was done."""

from __future__ import annotations

import json

import pytest

from oa_compile.extract.session import Verification
from tests.support.steps import ROOT, Steps

OK, FAILED = (
    "test result: ok. 3 passed; 0 failed",
    "test a ... FAILED\n\ntest result: FAILED. 2 passed; 1 failed",
)
BROKEN = "error[E0308]: mismatched types\n --> src/a.rs:3:1"


def at_work() -> Steps:
    return (
        Steps()
        .claim(title="Fix the cart", description="Totals are wrong.")
        .plan(("Read it", "completed"), ("Correct the sum", "in_progress"), ("Test it", "pending"))
        .read("cart.py", "def total(): ...")
        .say("The sum is missing.")
        .edit("cart.py", "return sum(items)")
    )


def test_an_action_and_what_was_known_before_it() -> None:
    made, _ = at_work().drafts("execution_strategy")
    draft = made[-1]
    assert draft.inputs["plan_step"] == "Correct the sum"
    assert draft.inputs["current_file_state"] == "cart.py (as read):\ndef total(): ..."
    claimed, planned, read = draft.inputs["execution_history"].splitlines()
    assert claimed == 'issue_claim {"number":7} → Claimed issue #7'
    assert planned.startswith('TodoWrite {"todos":[{"content":"Read it","status":"completed"}')
    assert read == f'Read {{"file_path":"{ROOT}/cart.py"}} → def total(): ...'
    assert draft.outputs["next_action"] == "EDIT_FILE"
    assert json.loads(draft.outputs["action_params"])["new_string"] == "return sum(items)"
    assert draft.outputs["reasoning"] == "The sum is missing."
    assert draft.outputs["progress_estimate"] == 0.33
    assert draft.evidence == {"call": "c11", "tool_name": "Edit", "decided_at": "log:10"}


def test_the_actions_there_are() -> None:
    steps = at_work().run("cargo test", OK).call("Grep", pattern="x").complete()
    made, left = steps.drafts("execution_strategy", "next_action")
    assert [draft.outputs["next_action"] for draft in made] == [
        "READ_FILE",
        "EDIT_FILE",
        "RUN_COMMAND",
        "COMPLETE",
    ]
    assert left == {"call that is no action": 4}


def test_without_a_plan_the_task_is_the_step() -> None:
    made, _ = (
        Steps()
        .claim(title="Fix it", description="Now.")
        .read("a.py")
        .drafts("execution_strategy", "plan_step")
    )
    assert made[0].inputs["plan_step"] == "Fix it\n\nNow."
    assert "progress_estimate" not in made[0].outputs


def test_the_file_an_action_is_about_is_not_given_away() -> None:
    made, _ = at_work().edit("other.py").drafts("execution_strategy")
    assert made[-1].inputs["current_file_state"] == "cart.py (as edited):\nreturn sum(items)"


def test_a_plan_written_beside_a_call_is_not_known_to_it() -> None:
    steps = Steps().claim().turn()
    plan = steps.ask("TodoWrite", todos=[{"content": "LATER", "status": "in_progress"}])
    read = steps.ask("Read", file_path=f"{ROOT}/a.py")
    made, _ = steps.answer(plan).answer(read).drafts("execution_strategy")
    assert made[0].inputs["plan_step"] == "Fix it\n\nIt is broken."


def test_a_failed_action_is_feedback_or_a_negative() -> None:
    steps = Steps().claim().edit("a.py", text="String to replace not found", error=True).edit("a.py", "y")
    (made,), left = steps.drafts("execution_strategy", failures="feedback")
    assert "was tried and failed: String to replace not found" in made.feedback
    assert left["call failed"] == 1
    wrong, right = steps.drafts("execution_strategy", failures="negatives")[0]
    assert (wrong.negative, right.negative) == (True, False)


def test_work_that_passed_its_check_is_done() -> None:
    steps = at_work().run("cargo test", OK).say("All tests pass.").complete()
    (draft,), _ = steps.drafts("solution_verifier")
    assert draft.inputs == {
        "requirements": "Fix the cart\n\nTotals are wrong.",
        "requirement_results": ["[x] Read it", "[~] Correct the sum", "[ ] Test it"],
        "build_status": "NOT_RUN",
        "test_status": "PASSED",
        "blocking_issues": [],
    }
    assert draft.outputs == {
        "verdict": "PASS",
        "next_action": "complete",
        "confidence": 0.95,
        "explanation": "All tests pass.",
    }
    assert draft.confidence == 0.95
    assert draft.evidence["decided_at"] == "log:14"


def test_work_nobody_checked_is_less_surely_done() -> None:
    (draft,), _ = at_work().complete().drafts("solution_verifier")
    assert (draft.outputs["verdict"], draft.confidence) == ("PASS", 0.6)


def test_a_failure_that_was_worked_on_is_a_retry() -> None:
    steps = at_work().run("cargo test", FAILED, error=True).say("One is wrong.").edit("src/b.rs", "b")
    retry, done = steps.run("cargo test", OK).complete().drafts("solution_verifier")[0]
    assert retry.inputs["test_status"] == "FAILED"
    assert retry.inputs["blocking_issues"] == ["test a ... FAILED", "test result: FAILED. 2 passed; 1 failed"]
    assert retry.outputs == {
        "verdict": "RETRY",
        "next_action": "edit src/b.rs",
        "confidence": 0.85,
        "explanation": "One is wrong.",
    }
    assert retry.evidence["decided_at"] == "log:14"
    assert done.outputs["verdict"] == "PASS"


def test_a_failure_nothing_was_done_about_is_none() -> None:
    steps = (
        at_work().run("cargo test", FAILED, error=True).run("git commit -m x", "[main 1234abc] x").complete()
    )
    assert steps.drafts("solution_verifier") == ([], {"episode completed although its last check failed": 1})


def test_what_the_compiler_said_blocks() -> None:
    steps = (
        at_work()
        .run("cargo build", BROKEN, error=True)
        .edit("src/a.rs")
        .run("cargo build", "    Finished `dev`")
    )
    retry, _ = steps.complete().drafts("solution_verifier")[0]
    assert retry.inputs["blocking_issues"] == ["E0308: mismatched types (src/a.rs:3)"]
    assert retry.inputs["build_status"] == "FAILED"


@pytest.mark.parametrize(
    ("steps", "confidence"),
    [
        (Steps().task().edit("a.py").run("cargo test", FAILED, error=True).finish(success=False), 0.9),
        (Steps().claim().edit("a.py").run("cargo test", FAILED, error=True), 0.6),
    ],
)
def test_work_that_failed(steps: Steps, confidence: float) -> None:
    (draft,), _ = steps.drafts("solution_verifier")
    assert (draft.outputs["verdict"], draft.outputs["next_action"]) == ("FAIL", "give up")
    assert draft.confidence == confidence


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (Steps().claim().read("a.py").complete(), "episode without an edited file"),
        (Steps().claim().edit("a.py"), "episode given up without a failed check"),
    ],
)
def test_what_proves_no_verdict_is_told(steps: Steps, reason: str) -> None:
    assert steps.drafts("solution_verifier") == ([], {reason: 1})


def test_a_check_the_log_itself_tells_of() -> None:
    steps = Steps().task().edit("a.py")
    steps.record(Verification("make check", passed=True, output="fine", line=steps.line + 1, kind="test"))
    (draft,), _ = steps.finish().drafts("solution_verifier")
    assert (draft.outputs["verdict"], draft.inputs["test_status"]) == ("PASS", "PASSED")
