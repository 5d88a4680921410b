"""AutopilotSession: its task, its judged decisions, its verifications, and what its outcome proves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oa_compile.extract.session import RuntimeEvent, Verification
from tests.support.sessions import Told, tell

SESSION: dict[str, Any] = {
    "id": "s1",
    "task_id": "adhoc",
    "task_title": "Fix it",
    "task_description": "It is broken.",
    "decisions": [],
    "outcome": None,
    "iterations_used": 3,
    "verification_history": [],
}


def read(**more: Any) -> Told:
    return tell(json.dumps(SESSION | more, indent=2).encode())


def decided(**more: Any) -> dict[str, Any]:
    kind = {"decision_type": "delegation", "input_summary": "task: fix", "output": {"delegate": True}}
    return {**kind, "predicted_confidence": 0.5, "was_correct": True, **more}


def test_a_judged_decision_is_an_event_with_the_task_it_was_made_for() -> None:
    told = read(decisions=[decided(), decided(was_correct=False, output="no")])
    context = {
        "task_title": "Fix it",
        "task_description": "It is broken.",
        "input_summary": "task: fix",
        "predicted_confidence": 0.5,
    }
    assert told.main == [
        RuntimeEvent("decision.delegation", True, context, {"delegate": True}, 1),
        RuntimeEvent("decision.delegation", False, context, {"output": "no"}, 1),
    ]


def test_what_nobody_judged_teaches_nothing_and_is_told() -> None:
    told = read(
        decisions=[decided(was_correct=None), decided(output=None), {}, 7],
        verification_history=[{"iteration": 1, "reason": "?"}],
    )
    assert told.main == []
    assert told.left_out == {
        "decision that nobody judged": "log:1",
        "decision without a type or output": "log:1",
        "verification without a command or verdict": "log:1",
    }


@pytest.mark.parametrize(
    ("check", "test", "passed", "verdicts"),
    [
        (True, True, True, [("cargo check", True), ("cargo test", True)]),
        (True, False, False, [("cargo check", True), ("cargo test", False)]),
        (True, None, False, [("cargo check", True), ("verification", False)]),
        (None, None, True, [("verification", True)]),
    ],
)
def test_a_verification_is_its_commands(
    check: bool | None, test: bool | None, passed: bool, verdicts: list[tuple[str, bool]]
) -> None:
    entry = {"iteration": 1, "passed": passed, "cargo_check": check, "cargo_test": test, "reason": "r"}
    steps = read(verification_history=[entry]).main
    assert [(s.command, s.passed) for s in steps if isinstance(s, Verification)] == verdicts


@pytest.mark.parametrize(
    ("outcome", "state", "is_error"),
    [
        ({"type": "Success", "summary": "", "verification_passed": True}, "completed", False),
        ({"type": "Success", "summary": "", "verification_passed": False}, "failed", False),
        ({"type": "Failed", "reason": "no"}, "failed", False),
        ({"type": "MaxIterationsReached"}, "failed", False),
        ({"type": "UserInterrupted"}, "abandoned", False),
        ({"type": "Error"}, "abandoned", True),
        ({"type": "Unheard"}, "abandoned", False),
    ],
)
def test_what_the_outcome_says_of_the_work(outcome: dict[str, Any], state: str, is_error: bool) -> None:
    told = read(outcome=outcome)
    assert [e.state for e in told.episodes] == [state]
    assert [(o.status, o.is_error, o.turns) for o in told.sessions[0].outcomes] == [
        (outcome["type"], is_error, 3)
    ]


def test_a_session_that_goes_on_has_no_outcome() -> None:
    told = read()
    assert told.sessions[0].outcomes == []
    assert [(e.key, e.state) for e in told.episodes] == [("adhoc", "abandoned")]
    assert told.tally.counts["sessions_without_outcome"] == 1
