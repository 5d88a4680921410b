"""The suite every reader passes: sniffed by its own lines only, exact about places, robust to bad bytes.

A new format adds one `Case`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile.extract.lines import LogLine, read_lines
from oa_compile.extract.readers import READERS, sniff
from oa_compile.extract.session import Place, Session
from oa_compile.extract.tally import Tally


@dataclass(frozen=True)
class Case:
    """A small valid log of a format, and what is in it."""

    format: str
    lines: tuple[dict[str, Any], ...]
    steps: int = 0
    events: int = 0


def text(message_id: str, words: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"id": message_id, "content": [{"type": "text", "text": words}]}}


def call(message_id: str, call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    block = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
    return {"type": "assistant", "message": {"id": message_id, "content": [block]}}


def result(call_id: str, content: Any, *, is_error: bool = False) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": is_error}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


CASES = (
    Case(
        "autopilot",
        (
            {"type": "system", "message": {"subtype": "init", "session_id": "s1", "cwd": "/repo"}},
            text("m1", "Let me read it."),
            call("m1", "c1", "Read", file_path="/repo/a.py"),
            result("c1", "x = 1"),
            {"type": "result", "message": {"subtype": "success", "session_id": "s1", "total_cost_usd": 0.5}},
        ),
        steps=2,
    ),
    Case(
        "events",
        (
            {
                "event_type": "PlanningComplete",
                "success": True,
                "context": {"repo_summary": "r", "issue": "i"},
                "output": {"analysis": "a", "files": ["f"]},
            },
            {"event_type": "ExecutionComplete", "success": False, "context": {}, "output": {}},
        ),
        events=2,
    ),
)


def encode(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read(path: Path, tally: Tally | None = None) -> tuple[str, list[Session], Tally]:
    tally = tally or Tally()
    reader, lines = sniff(read_lines(path, name="log", tally=tally))
    if reader is None:
        for _ in lines:
            pass
        return "", [], tally
    return reader.FORMAT, list(reader.read(lines, tally=tally)), tally


def reasons(tally: Tally) -> dict[str, tuple[int, str]]:
    return {left.reason: (left.count, left.first) for left in tally.left_out()}


def test_every_reader_has_a_case() -> None:
    assert {case.format for case in CASES} == set(READERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.format)
class TestEveryReader:
    def test_it_knows_its_own_lines_and_no_other_reader_does(self, case: Case) -> None:
        for line in case.lines:
            assert [name for name, reader in READERS.items() if reader.sniff(line)] == [case.format]

    def test_it_reads_everything(self, case: Case, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(encode(*case.lines))
        name, sessions, tally = read(tmp_path / "log")
        assert name == case.format
        assert sum(len(s.steps) for s in sessions) == case.steps
        assert sum(len(s.events) for s in sessions) == case.events
        assert all(s.format == case.format and s.file == "log" for s in sessions)
        assert tally.left_out() == ()
        assert tally.counts["lines_read"] == len(case.lines)

    def test_bad_lines_are_reported_and_the_rest_is_used(self, case: Case, tmp_path: Path) -> None:
        head, *rest = case.lines
        bad = [b"\xff\xfe\n", b"not json\n", b"[1]\n", b"\n", b'{"a": 1, "a": 2}\n', b'{"a": NaN}\n']
        bad.append(b'{"a":' * 100_000 + b"\n")
        (tmp_path / "log").write_bytes(encode(head) + b"".join(bad) + encode(*rest) + b'{"type": "assi')
        name, sessions, tally = read(tmp_path / "log")
        assert name == case.format
        assert sum(len(s.steps) + len(s.events) for s in sessions) == case.steps + case.events
        last = len(case.lines) + len(bad) + 1
        assert reasons(tally) == {
            "invalid UTF-8": (1, "log:2"),
            "not JSON": (1, "log:3"),
            "not an object": (1, "log:4"),
            "blank line": (1, "log:5"),
            "duplicate keys": (1, "log:6"),
            "NaN or infinity": (1, "log:7"),
            "nested too deeply": (1, "log:8"),
            "truncated line": (1, f"log:{last}"),
        }

    def test_a_line_of_an_unknown_type_is_reported(self, case: Case, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(encode(*case.lines, {"type": "banana"}))
        _, _, tally = read(tmp_path / "log")
        assert reasons(tally) == {"unknown line type": (1, f"log:{len(case.lines) + 1}")}

    def test_it_takes_lines_one_by_one(self, case: Case) -> None:
        taken = []

        def lines():
            for number, body in enumerate(case.lines, start=1):
                taken.append(number)
                yield LogLine(body, Place("log", number))

        reader, rest = sniff(lines())
        assert taken == [1]
        assert reader is not None
        assert len(list(reader.read(rest, tally=Tally()))) == 1

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_no_damage_makes_it_raise(self, case: Case, tmp_path: Path, data: st.DataObject) -> None:
        raw = bytearray(encode(*case.lines))
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        (tmp_path / "log").write_bytes(raw)
        _, sessions, tally = read(tmp_path / "log")
        assert tally.counts["lines_read"] == len(bytes(raw).split(b"\n")) - raw.endswith(b"\n") - (not raw)
        assert all(isinstance(session, Session) for session in sessions)

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_no_value_in_the_wrong_place_makes_it_raise(self, case: Case, data: st.DataObject) -> None:
        value = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
        body = json.loads(json.dumps(data.draw(st.sampled_from(case.lines))))
        node: Any = body
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
                node = node[key]
                continue
            node[key] = data.draw(value)
            break
        lines = [LogLine(line, Place("log", 1)) for line in (*case.lines, body)]
        list(READERS[case.format].read(lines, tally=Tally()))


def test_a_line_beyond_the_limit_is_passed_over_without_being_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("oa_compile.extract.lines.MAX_LINE_BYTES", 1000)
    case = CASES[0]
    (tmp_path / "log").write_bytes(encode(case.lines[0]) + b"x" * 5000 + b"\n" + encode(*case.lines[1:]))
    _, sessions, tally = read(tmp_path / "log")
    assert reasons(tally) == {"line too long": (1, "log:2")}
    assert len(sessions[0].steps) == case.steps
    assert tally.counts["lines_read"] == len(case.lines) + 1


def test_the_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(encode(*CASES[0].lines)[:-1])
    _, sessions, tally = read(tmp_path / "log")
    assert tally.left_out() == ()
    assert len(sessions[0].outcomes) == 1


def test_a_log_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(encode({"hello": 1}, {"world": 2}))
    assert read(tmp_path / "log")[0] == ""
