"""ATIF: the same steps as JSONL and as one object; an orchestrator's events are tasks, checks and ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oa_compile.extract.session import Usage, Verification
from tests.support.damage import WRONG, paths, replaced
from tests.support.sessions import REAL, Told, encode, tell

REAL_LOGS = REAL / "atif"
AGENT = {"name": "worker", "version": "2", "model_name": "some-model"}


def step(number: int, source: str = "agent", **more: Any) -> dict[str, Any]:
    return {"step_id": number, "source": source, "message": "", **more}


def happened(number: int, event: str, message: str = "", **more: Any) -> dict[str, Any]:
    return step(number, "system", message=message, extra={"event_type": event, **more})


def asked(*ids: str) -> list[dict[str, Any]]:
    return [{"tool_call_id": i, "function_name": "bash", "arguments": {"command": i}} for i in ids]


def observed(*results: dict[str, Any]) -> dict[str, Any]:
    return {"results": list(results)}


def lines(*steps: dict[str, Any]) -> Told:
    header = {"__header__": True, "schema_version": "ATIF-v1.4", "session_id": "s1", "agent": AGENT}
    return tell(encode([header, *steps]))


def whole(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "ATIF-v1.7",
        "trajectory_id": "s1",
        "agent": AGENT,
        "steps": list(steps),
        **more,
    }


STEPS = (
    step(1, "user", message="Fix it."),
    step(
        2,
        message=[{"type": "text", "text": "Looking."}],
        reasoning_content="hm",
        tool_calls=asked("c1", "c2"),
        observation=observed(
            {"source_call_id": "c2", "content": "two"},
            {"source_call_id": "c1", "content": [{"type": "text", "text": "one"}, {"type": "image"}]},
        ),
        metrics={"prompt_tokens": 100, "cached_tokens": 60, "completion_tokens": 7},
    ),
)


@pytest.mark.parametrize(
    "raw",
    [
        encode(
            [{"__header__": True, "schema_version": "ATIF-v1.4", "session_id": "s1", "agent": AGENT}, *STEPS]
        ),
        encode([whole(*STEPS)]),
        json.dumps(whole(*STEPS), indent=2).encode(),
    ],
    ids=["lines", "one line", "indented"],
)
def test_the_same_trajectory_in_each_form(raw: bytes) -> None:
    told = tell(raw)
    (session,) = told.sessions
    assert (session.id, session.agent, session.about) == ("s1", "some-model", "worker 2")
    assert [(m.role, m.text) for m in told.messages] == [("user", "Fix it."), ("assistant", "Looking.")]
    assert [c.result.text for c in told.calls if c.result] == ["one", "two"]
    assert session.usage == Usage(40, 7, 60)
    assert told.tally.counts["thinking_blocks_passed_over"] == 1
    assert told.tally.counts["image_blocks_passed_over"] == 1
    assert told.left_out == {}


def test_a_step_of_one_object_has_its_position_for_a_place() -> None:
    def ran(number: int, name: str, arguments: dict[str, str], output: str) -> dict[str, Any]:
        call = {"tool_call_id": f"c{number}", "function_name": name, "arguments": arguments}
        results = observed({"source_call_id": f"c{number}", "content": output})
        return step(number, tool_calls=[call], observation=results)

    steps = (
        step(1, "user", message="Fix it."),
        ran(2, "Edit", {"file_path": "a.py"}, "done"),
        ran(3, "Bash", {"command": "pytest -q"}, "3 passed"),
    )
    told = tell(json.dumps(whole(*steps), indent=1).encode())
    assert [s.line for s in told.main] == [1, 2, 3]
    assert [e.verified for e in told.episodes] == [True], "the check came after the edit"
    told = tell(encode([whole({"schema_version": "ATIF-v1.7", "message": "x"}, 7, *steps)]))
    assert [s.line for s in told.main] == [3, 4, 5]
    assert told.left_out == {"step without number or source": "log:1"}


def test_no_value_in_the_wrong_place_of_one_object_makes_it_raise() -> None:
    body = whole(*STEPS, final_metrics={"total_prompt_tokens": 1})
    for path in paths(body):
        for wrong in WRONG:
            told = tell(encode([replaced(body, path, wrong)]))
            assert told.format in {"atif", ""}, (path, wrong)


def test_final_metrics_count_where_the_steps_tell_none() -> None:
    final = {"total_prompt_tokens": 9, "total_cached_tokens": 4, "total_completion_tokens": 2}
    assert tell(encode([whole(STEPS[0], final_metrics=final)])).sessions[0].usage == Usage(5, 2, 4)
    assert tell(encode([whole(*STEPS, final_metrics=final)])).sessions[0].usage == Usage(40, 7, 60)


@pytest.mark.parametrize(
    ("answer", "text", "is_error"),
    [
        ({"content": "plain"}, "plain", False),
        ({"content": "bad", "extra": {"is_error": True}}, "bad", True),
        ({"content": {"output": "bad", "exit_code": 2}}, "bad", True),
        ({"content": {"passed": False}}, '{"passed":false}', True),
        ({"content": None}, "", False),
    ],
)
def test_a_lone_result_is_the_lone_calls(answer: dict[str, Any], text: str, is_error: bool) -> None:
    (call,) = lines(step(1, tool_calls=asked("c1"), observation=observed(answer))).calls
    assert call.result is not None
    assert (call.result.text, call.result.is_error) == (text, is_error)


def test_what_cannot_be_used_is_told() -> None:
    told = lines(
        step(1, tool_calls=asked("a", "b"), observation=observed({"content": "whose?"})),
        step(2, tool_calls=[{"tool_call_id": "c", "function_name": "x", "arguments": "no object"}]),
        happened(3, "verification_complete"),
        step(4, observation=observed({"source_call_id": "z", "content": "x"})),
        {"step_id": 5, "source": "nobody", "message": "x"},
        happened(6, "verification_complete") | {"observation": observed({"content": {"command": "make"}})},
    )
    assert told.left_out == {
        "tool result without its call": "log:2",
        "tool call without id, name or input": "log:3",
        "unknown line type": "log:6",
        "verification without a command or verdict": "log:7",
    }


def test_copied_context_is_another_trajectorys() -> None:
    told = lines(step(1, message="Before.", is_copied_context=True), step(2, message="Now."))
    assert [m.text for m in told.messages] == ["Now."]
    assert told.tally.counts["copied_steps_passed_over"] == 1


def test_a_task_its_checks_and_its_end() -> None:
    check = {"content": {"command": "bun run typecheck", "passed": False, "output": "error TS1"}}
    told = lines(
        happened(1, "task_selected", "Selected task: Fix it", task_id="t1"),
        happened(2, "verification_complete") | {"observation": observed(check)},
        happened(3, "session_complete", "Session failed", success=False),
    )
    (episode,) = told.episodes
    assert (episode.kind, episode.key, episode.state, episode.opened, episode.closed) == (
        "task",
        "t1",
        "failed",
        2,
        4,
    )
    assert episode.issue is not None
    assert episode.issue.title == "Fix it"
    assert episode.verifications == [Verification("bun run typecheck", False, "error TS1", 3, "build")]


@pytest.mark.skipif(not REAL_LOGS.is_dir(), reason="the real logs are not beside this checkout")
def test_the_real_logs() -> None:
    told = {path.name[26:34]: tell(path.read_bytes()) for path in sorted(REAL_LOGS.glob("*.jsonl"))}
    checks = {name: [s.passed for s in t.main if isinstance(s, Verification)] for name, t in told.items()}
    assert sorted(checks.values()) == [[False], [False, False, True]]
    assert sorted(len(t.messages) for t in told.values()) == [0, 4]
    assert [e.key for t in told.values() for e in t.episodes] == ["oa-abafe0"]
    assert all(t.left_out == {} for t in told.values())
