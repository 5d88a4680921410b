"""Planning examples: a task, what was known before the first edit, and what was really done."""

from __future__ import annotations

from pathlib import Path

import pytest

from oa_compile.extract.wanted import Wanted
from oa_compile.spec.load import load_program
from tests.support.steps import ROOT, Steps

ROOT_FOLDER = Path(__file__).parents[2]

OK = "test result: ok. 3 passed; 0 failed"


def solved() -> Steps:
    return (
        Steps()
        .claim(title="Fix the cart", description="Totals are wrong.")
        .say("Let me look. This is a risk for old carts. The sum is off.")
        .read("cart/total.py", "     1→def total(items):\n     2→    return 0\n")
        .plan(("Correct the sum", "in_progress"), ("Test it", "pending"))
        .edit("cart/total.py", "return sum(items)")
        .say("Now the tests.")
        .edit("tests/test_total.py")
        .run("cd x && pytest -q | tail -3", "=== 3 passed in 0.1s ===")
        .run("git commit -m fix", "[main 1234abc] fix")
        .complete()
    )


def test_a_solved_issue_becomes_a_plan() -> None:
    (draft,), left = solved().drafts("planning")
    assert left == {}
    assert draft.inputs == {
        "issue_title": "Fix the cart",
        "issue_description": "Fix the cart\n\nTotals are wrong.",
        "relevant_files": ["cart/total.py"],
        "code_patterns": ["cart/total.py: def total(items):"],
        "repository_summary": "Repository: shop\n\nFolders seen: cart/",
    }
    assert draft.outputs == {
        "files_to_modify": ["cart/total.py", "tests/test_total.py"],
        "implementation_steps": ["Correct the sum", "Test it"],
        "test_strategy": "pytest -q",
        "analysis": "Let me look. This is a risk for old carts. The sum is off.",
        "risk_factors": ["This is a risk for old carts."],
        "estimated_complexity": "LOW",
        "confidence": 0.95,
    }


def test_the_evidence_names_the_lines_that_prove_it() -> None:
    (draft,), _ = solved().drafts("planning")
    assert draft.line == 20
    assert draft.confidence == 0.95
    assert draft.evidence == {
        "issue": "7",
        "issue_at": "log:3",
        "claimed_at": "log:4",
        "decided_at": "log:11",
        "commits": ["1234abc"],
        "checks": ["16: cd x && pytest -q | tail -3"],
    }


def test_only_what_is_asked_for_is_made() -> None:
    (draft,), _ = solved().drafts("planning", "issue_description", "files_to_modify")
    assert set(draft.inputs) == {"issue_description", "issue_title"}


def test_what_came_with_or_after_the_first_edit_is_no_input() -> None:
    steps = Steps().claim().read("a.py")
    # One message: a file is read and another edited, before anybody has seen the first.
    steps.say("I see both.")
    beside = steps.ask("Read", file_path=f"{ROOT}/beside.py")
    first = steps.ask("Edit", file_path=f"{ROOT}/a.py", old_string="", new_string="y")
    steps.answer(beside, "class Beside:").answer(first).read("later.py", "class Later:")
    steps.run("cargo test", OK).complete()
    (draft,), _ = steps.drafts("planning")
    assert draft.inputs["relevant_files"] == ["a.py"]
    assert draft.inputs["code_patterns"] == []
    assert draft.evidence["decided_at"] == "log:8"


def test_a_result_that_comes_late_is_no_input() -> None:
    steps = Steps().claim()
    late = steps.ask("Read", file_path=f"{ROOT}/late.py")
    steps.turn()
    edit = steps.ask("Edit", file_path=f"{ROOT}/a.py", old_string="", new_string="y")
    steps.answer(edit).answer(late, "class Late:").complete()
    (draft,), _ = steps.drafts("planning")
    assert draft.inputs["relevant_files"] == []


def test_the_repositorys_own_pages_are_its_summary() -> None:
    steps = Steps().read("README.md", "# Shop\nSells things.").claim().edit("src/a.py")
    steps.read("CLAUDE.md", "Be careful.").complete()
    (draft,), _ = steps.drafts("planning")
    assert draft.inputs["repository_summary"] == "Repository: shop\n\nREADME.md:\n# Shop\nSells things."


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (Steps().claim().edit("a.py"), "episode not completed"),
        (Steps().claim().read("a.py").complete(), "episode without an edited file"),
        (
            Steps()
            .call("issue_create", "Created issue #7", title="Idea", description="Mine.")
            .call("issue_claim", "Claimed issue #7", number=7)
            .edit("a.py")
            .complete(),
            "episode of an issue the agent wrote itself",
        ),
        (
            Steps().call("issue_claim", "Claimed issue #7", number=7).edit("a.py").complete(),
            "episode without issue text",
        ),
    ],
)
def test_what_teaches_nothing_is_told(steps: Steps, reason: str) -> None:
    assert steps.drafts("planning") == ([], {reason: 1})


def test_a_prompt_is_its_own_title() -> None:
    steps = Steps().say("Make it blue.\nAll of it.", "user").edit("a.css").run("npm test", exit_code=0)
    (draft,), _ = steps.drafts("planning")
    assert draft.inputs["issue_description"] == "Make it blue.\nAll of it."
    assert draft.confidence == 0.9


@pytest.mark.parametrize(
    ("checked", "confidence"), [(None, 0.7), (("", 0), 0.9), (("test result: FAILED", 1), 0.4)]
)
def test_how_sure_a_plan_is(checked: tuple[str, int] | None, confidence: float) -> None:
    steps = Steps().claim().edit("a.rs")
    if checked:
        steps.run("cargo test", checked[0], exit_code=checked[1])
    (draft,), _ = steps.complete().drafts("planning")
    assert draft.confidence == draft.outputs["confidence"] == confidence


@pytest.mark.parametrize(
    ("files", "reads", "complexity", "clear"),
    [
        (1, 2, "LOW", True),
        (2, 2, "LOW", False),
        (3, 10, "MEDIUM", True),
        (7, 0, "HIGH", False),
        (9, 9, "HIGH", True),
    ],
)
def test_complexity_weighs_files_edits_and_calls(
    files: int, reads: int, complexity: str, clear: bool
) -> None:
    steps = Steps().claim()
    for number in range(reads):
        steps.read(f"r{number}.py")
    for number in range(files):
        steps.edit(f"f{number}.py")
    (draft,), _ = steps.run("cargo test", OK).complete().drafts("planning", "estimated_complexity")
    assert draft.outputs["estimated_complexity"] == complexity
    assert (draft.confidence > 0.6) is clear


def tried_twice() -> Steps:
    failed = "test result: FAILED. 0 passed; 1 failed"
    steps = Steps().claim().edit("wrong.rs").run("cargo test", failed, error=True)
    return steps.claim().edit("right.rs").run("cargo test", OK).complete()


def test_a_try_that_failed_is_feedback_for_the_one_that_worked() -> None:
    (draft,), left = tried_twice().drafts("planning", failures="feedback")
    assert draft.outputs["files_to_modify"] == ["right.rs"]
    assert draft.feedback == "Changing wrong.rs was tried and did not work: `cargo test` failed."
    assert left == {"episode not completed": 1}


def test_a_try_that_failed_is_a_negative() -> None:
    (wrong, right), left = tried_twice().drafts("planning", failures="negatives")
    assert (wrong.outputs["files_to_modify"], wrong.negative, wrong.confidence) == (["wrong.rs"], True, 0.4)
    assert (right.negative, right.feedback, left) == (False, "", {})


def test_a_try_that_was_merely_given_up_is_neither() -> None:
    steps = Steps().claim().edit("a.rs").claim().edit("b.rs").complete()
    for failures in ("feedback", "negatives"):
        (draft,), left = steps.drafts("planning", failures=failures)
        assert (draft.feedback, draft.negative, left) == ("", False, {"episode not completed": 1})


def test_the_shipped_program_asks_for_what_there_is() -> None:
    program = load_program(ROOT_FOLDER / "programs" / "autopilot-planning").spec
    wanted = Wanted.by(program)
    assert program.signature is not None
    (draft,), _ = solved().drafts("planning", *(field.name for field in program.signature.inputs))
    assert all(field.name in draft.inputs for field in program.signature.inputs)
    assert "relevant_files" in wanted
    assert "code_patterns" not in wanted
