"""Any signature by mapping: what paths see, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from oa_compile.extract.session import RuntimeEvent, Verification
from oa_compile.spec.extract import ExtractSpec
from tests.support.steps import ROOT, Steps


def worked() -> Steps:
    return (
        Steps()
        .claim(title="Fix the cart", description="Totals are wrong.")
        .say("Let me look.")
        .read("cart.py", "def total(): ...")
        .edit("cart.py")
        .run("cargo test", "test result: ok. 3 passed; 0 failed")
        .complete()
    )


def test_each_call_from_what_was_known_before_it() -> None:
    made, _ = worked().drafts(
        "mapping",
        each="call",
        where="call.tool == 'Edit'",
        inputs={"task": "episode.issue.title", "last": "trail[-1].result.text", "seen": "episode.read"},
        outputs={"file": "call.arguments.file_path", "after": "call.result.text"},
    )
    (draft,) = made
    assert draft.inputs == {"task": "Fix the cart", "last": "def total(): ...", "seen": ["cart.py"]}
    assert draft.outputs == {"file": f"{ROOT}/cart.py", "after": "ok"}
    assert draft.line == 10
    assert draft.evidence == {"decided_at": "log:8", "mapped": "call"}


@pytest.mark.parametrize(
    ("each", "path"),
    [
        ("call", "call"),
        ("message", "message"),
        ("verification", "verification.passed"),
        ("episode", "episode.files"),
        ("session", "totals"),
    ],
)
def test_inputs_do_not_see_what_then_came(each: str, path: str) -> None:
    made, _ = worked().drafts("mapping", each=each, inputs={"all": path}, outputs={"all": path})
    assert made
    assert all(draft.inputs == {} and draft.outputs["all"] is not None for draft in made)


def test_each_message() -> None:
    (made,), _ = worked().drafts(
        "mapping",
        each="message",
        inputs={"calls": "trail[?type=='call'].tool"},
        outputs={"said": "message.text"},
    )
    assert made.inputs == {"calls": ["issue_ready", "issue_claim"]}
    assert made.outputs == {"said": "Let me look."}


def test_each_verification() -> None:
    steps = worked().task()
    steps.record(Verification("make check", passed=False, output="bad", line=steps.line + 1))
    made, _ = steps.drafts(
        "mapping",
        each="verification",
        inputs={"output": "verification.output", "command": "verification.command"},
        outputs={"passed": "verification.passed"},
    )
    assert [draft.outputs["passed"] for draft in made] == [True, False]
    assert made[1].inputs == {"output": "bad", "command": "make check"}


def test_each_event_tells_its_own_inputs() -> None:
    steps = Steps().record(
        RuntimeEvent("Routed", success=True, context={"q": "why"}, output={"to": "a"}, line=2)
    )
    (made,), _ = steps.drafts(
        "mapping", each="event", inputs={"q": "event.context.q"}, outputs={"to": "event.output.to"}
    )
    assert (made.inputs, made.outputs, made.line) == ({"q": "why"}, {"to": "a"}, 2)


def test_each_episode_and_each_session() -> None:
    (made,), _ = worked().drafts(
        "mapping",
        each="episode",
        inputs={"task": "episode.issue.description"},
        outputs={"files": "episode.files", "ok": "episode.succeeded"},
        group="episode.key",
    )
    assert made.inputs == {"task": "Totals are wrong."}
    assert made.outputs == {"files": ["cart.py"], "ok": True}
    assert made.group == "7"
    (whole,), _ = worked().drafts(
        "mapping", each="session", inputs={"agent": "session.agent"}, outputs={"calls": "totals.calls"}
    )
    assert (whole.inputs, whole.outputs) == ({"agent": "m"}, {"calls": 6})


def test_work_beside_a_call_is_not_known_to_it() -> None:
    steps = Steps().claim().read("a.py")
    edit = steps.ask("Edit", file_path=f"{ROOT}/BESIDE.py", old_string="", new_string="")
    test = steps.ask("Bash", command="cargo test")
    made, _ = (
        steps.answer(edit)
        .answer(test, "test result: ok. 1 passed")
        .drafts(
            "mapping",
            each="call",
            inputs={"files": "episode.files", "read": "episode.read"},
            outputs={"tool": "call.tool"},
        )
    )
    assert [draft.inputs for draft in made][-2:] == [{"files": [], "read": ["a.py"]}] * 2


def test_a_path_that_does_not_fit_is_told() -> None:
    assert worked().drafts(
        "mapping", each="episode", inputs={"n": "length(episode.opened)"}, outputs={"x": "episode.key"}
    ) == ([], {"path that does not fit its value (JMESPathTypeError)": 1})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"example": "mapping", "outputs": {"a": "b"}}, "needs `inputs`"),
        ({"example": "mapping", "inputs": {"a": "b"}}, "needs `outputs`"),
        ({"example": "planning", "where": "a"}, "`where` goes with"),
        ({"example": "mapping", "inputs": {"a": "b.["}, "outputs": {"a": "b"}}, "no JMESPath"),
        ({"example": "mapping", "inputs": {"a": ""}, "outputs": {"a": "b"}}, "at least 1 character"),
        ({"example": "mapping", "inputs": {"A b": "b"}, "outputs": {"a": "b"}}, "pattern"),
    ],
)
def test_a_mapping_that_does_not_hold_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ExtractSpec.model_validate(spec)
