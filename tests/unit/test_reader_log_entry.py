"""autopilot-core's log entries: calls without ids, phases as events, raw and typed entries told once."""

from __future__ import annotations

from typing import Any

import pytest

from oa_compile.extract.session import RuntimeEvent
from tests.support.formats import entry
from tests.support.sessions import Told, back, encode, say, tell, text, use


def read(*lines: dict[str, Any]) -> Told:
    return tell(encode(lines))


def called(tool: str) -> dict[str, Any]:
    return entry("tool_use", {"tool": tool, "input": {"path": "a"}})


def returned(tool: str, result: Any) -> dict[str, Any]:
    return entry("tool_result", {"tool": tool, "result": result})


def test_a_result_is_the_one_waiting_calls_of_its_tool() -> None:
    told = read(called("Read"), called("Bash"), returned("Bash", "b"), returned("Read", "a"), called("Read"))
    assert [(c.name, c.result and c.result.text) for c in told.calls] == [
        ("Read", "a"),
        ("Bash", "b"),
        ("Read", None),
    ]


def test_a_result_that_could_be_of_two_calls_is_of_none() -> None:
    told = read(called("Read"), called("Read"), returned("Read", "a"), returned("Read", "b"))
    assert [c.result for c in told.calls] == [None, None]
    assert told.left_out == {"tool result whose call cannot be told": "log:3"}


@pytest.mark.parametrize(
    ("result", "output", "is_error"),
    [
        ("plain", "plain", False),
        ([text("a"), text("b")], "a\nb", False),
        ({"content": "bad", "is_error": True}, "bad", True),
        ({"output": "bad", "success": False}, "bad", True),
        ({"error": "boom"}, '{"error":"boom"}', True),
        ({"lines": 3}, '{"lines":3}', False),
        (None, "", False),
    ],
)
def test_a_result_in_each_of_its_shapes(result: Any, output: str, is_error: bool) -> None:
    (call,) = read(called("Read"), returned("Read", result)).calls
    assert call.result is not None
    assert (call.result.text, call.result.is_error, call.result.line) == (output, is_error, 2)


@pytest.mark.parametrize(
    "data", ["Hello.", {"content": "Hello."}, {"text": "Hello."}, {"message": {"content": [text("Hello.")]}}]
)
def test_a_message_in_each_of_its_shapes(data: Any) -> None:
    (message,) = read(entry("assistant", data)).messages
    assert (message.role, message.text) == ("assistant", "Hello.")


def test_what_is_told_raw_and_typed_counts_once() -> None:
    raw = [
        entry("raw_message", say("m1", text("Reading."), use("c1", "Read", path="a"))),
        entry("raw_message", back("c1", "x = 1")),
        entry("raw_message", {"type": "system", "message": {}}),
    ]
    typed = [entry("assistant", "Reading."), called("Read"), returned("Read", "x = 1")]
    for lines in (raw + typed, typed + raw, [*raw[:1], *typed, *raw[1:]]):
        told = read(*lines)
        assert [m.text for m in told.messages] == ["Reading."]
        assert [c.result and c.result.text for c in told.calls] == ["x = 1"]
        assert told.tally.counts["entries_told_twice"] == 3


def test_a_phase_is_one_event_with_what_it_was_given_and_gave() -> None:
    given, gave = {"issue_description": "Fix it.\nIt is broken."}, {"analysis": "a", "files_to_modify": ["f"]}
    told = read(
        entry("phase_start", given, phase="planning"),
        entry("result", gave, phase="planning"),
        entry("phase_end", {}, phase="planning"),
        entry("result", {"is_error": True}, phase="planning"),
        entry("result", {"verdict": "fail"}, phase="verification"),
    )
    assert told.main == [
        RuntimeEvent("planning.result", True, given, gave, 2),
        RuntimeEvent("planning.result", False, {}, {"is_error": True}, 4),
        RuntimeEvent("verification.result", False, {}, {"verdict": "fail"}, 5),
    ]
    (episode,) = told.episodes
    assert episode.issue is not None
    assert (episode.issue.title, episode.issue.description) == ("Fix it.", "Fix it.\nIt is broken.")
    assert episode.state == "failed"


def test_each_session_of_a_file_is_its_own() -> None:
    told = read(called("Read"), {**returned("Read", "a"), "session_id": "s2"})
    assert [(s.id, s.calls) for s in told.sessions] == [("s1", 1), ("s2", 0)]
    assert told.calls[0].result is None
