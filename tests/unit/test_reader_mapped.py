"""A format described in a spec: whatever a rule says a line is, and nothing where it does not fit."""

from __future__ import annotations

import json
import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from oa_compile.extract.explain import explain
from oa_compile.extract.lines import Line
from oa_compile.extract.readers import READERS, sniff
from oa_compile.extract.readers.mapped import Mapped, reader_for
from oa_compile.extract.reading import read_file
from oa_compile.extract.sources import LogFile
from oa_compile.spec.extract import ExtractSpec
from oa_compile.spec.log_format import LogFormatSpec
from oa_compile.spec.program import ProgramSpec
from tests.support.sessions import INIT, Told, encode, tell

CHAT: dict[str, Any] = {
    "message": [{"when": "content", "role": "role", "text": "content"}],
    "call": [
        {
            "when": "tool_calls",
            "each": "tool_calls",
            "id": "id",
            "name": "function.name",
            "arguments": "function.arguments",
        }
    ],
    "result": [{"when": "role == 'tool'", "call": "tool_call_id", "text": "content"}],
}
"""The chat format that many agents write, one message a line."""


def read(rules: dict[str, Any], *lines: dict[str, Any]) -> Told:
    return tell(encode(lines), reader=Mapped(LogFormatSpec.model_validate(rules)))


def call(**values: Any) -> Told:
    return read(
        {"call": [{"when": "id", "id": "id", "name": "name", "arguments": "args"}]}, {"id": "c1", **values}
    )


def answer(rule: dict[str, Any], **values: Any) -> tuple[str, bool, int | None]:
    rules = {
        "call": [{"when": "name", "id": "id", "name": "name"}],
        "result": [{"when": "of", "call": "of", "text": "out", **rule}],
    }
    (called,) = read(rules, {"id": "c1", "name": "ls"}, {"of": "c1", **values}).calls
    assert called.result is not None
    return called.result.text, called.result.is_error, called.result.exit_code


def test_no_format_no_reader() -> None:
    assert reader_for(None) is None
    assert reader_for(LogFormatSpec.model_validate(CHAT)) is not None


def test_a_chat_log_is_described_in_a_dozen_lines() -> None:
    told = read(
        CHAT,
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "List the files."}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "function": {"name": "ls", "arguments": '{"path": "."}'}},
                {"id": "c2", "function": {"name": "pwd", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "/repo"},
        {"role": "tool", "tool_call_id": "c1", "content": "a.py"},
    )
    assert [(m.role, m.text) for m in told.messages] == [("system", "Be brief."), ("user", "List the files.")]
    assert [(c.name, c.arguments, c.result and c.result.text) for c in told.calls] == [
        ("ls", {"path": "."}, "a.py"),
        ("pwd", {}, "/repo"),
    ]
    assert told.left_out == {"message of an unknown role": "log:4"}, "a tool's answer is also content"


def test_the_format_that_the_docs_describe() -> None:
    page = (Path(__file__).parents[2] / "docs" / "extract.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(\[extract\.log\].*?)^```$", page, re.S | re.M)
    told = read(
        tomllib.loads(block)["extract"]["log"],
        {"run": {"id": "r1", "folder": "/repo"}, "role": "user", "content": "List the files."},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "ls", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "no", "status": "failed"},
    )
    assert [(s.id, s.cwd) for s in told.sessions] == [("r1", "/repo")]
    assert [m.text for m in told.messages] == ["List the files."]
    assert [(c.name, c.worked, c.result and c.result.text) for c in told.calls] == [("ls", False, "no")]
    assert told.left_out == {}


def test_a_line_is_known_by_any_rule_and_a_program_is_sent_to_workers_with_its_format() -> None:
    spec = pickle.loads(pickle.dumps(LogFormatSpec.model_validate(CHAT)))
    reader = Mapped(spec)
    assert reader.sniff({"role": "user", "content": "x"}, b"")
    assert reader.sniff({"tool_calls": [1]}, b"")
    assert not reader.sniff({"type": "user"}, b"")
    assert not reader.sniff({}, b"")


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ({"a": 1}, {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("ls -a", {"input": "ls -a"}),
        ('{"a": 1, "a": 2}', {"input": '{"a": 1, "a": 2}'}),
        (["ls", "-a"], {"input": ["ls", "-a"]}),
        ("", {}),
        (None, {}),
    ],
)
def test_arguments_in_each_of_their_shapes(written: Any, arguments: dict[str, Any]) -> None:
    assert call(name="sh", args=written).calls[0].arguments == arguments


def test_what_is_described_comes_before_what_is_known() -> None:
    lines = [Line(1, b'{"x":1}\n'), Line(2, encode([INIT])), Line(3, b'{"mine":true}\n')]
    mine = Mapped(LogFormatSpec.model_validate({"finished": [{"when": "mine"}]}))
    assert sniff(lines, described=mine) is mine
    assert sniff(lines) is READERS["autopilot"]
    assert sniff(lines[:2], described=mine) is READERS["autopilot"]


def test_a_program_reads_the_logs_it_describes(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(encode([{"role": "user", "content": "Fix it."}]))
    spec = ProgramSpec.model_validate(
        {
            "name": "triage",
            "module": {"kind": "python", "target": "program.py:Triage"},
            "metrics": [{"kind": "python", "target": "metric.py:score"}],
            "extract": {"log": CHAT},
        }
    )
    file = LogFile(str(log), "log.jsonl")
    assert read_file(spec, False, file).format == "mapped"
    assert explain(log, spec=spec).format == "mapped"
    plain = spec.model_copy(update={"extract": ExtractSpec()})
    reading = read_file(plain, False, file)
    assert (reading.format, [left.reason for left in reading.tally.left_out()]) == (
        "",
        ["file of unknown format"],
    )


def test_names_may_be_numbers() -> None:
    assert [(c.id, c.name) for c in call(id=7, name="sh").calls] == [("7", "sh")]
    assert call(name="").left_out == {"tool call without id, name or input": "log:1"}


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ({}, {"out": "x"}, ("x", False, None)),
        ({}, {"out": [{"type": "text", "text": "a"}, {"text": "b"}]}, ("a\nb", False, None)),
        ({}, {"out": {"a": 1}}, ('{"a":1}', False, None)),
        ({}, {"out": None}, ("", False, None)),
        ({"exit_code": "code"}, {"out": "x", "code": 0}, ("x", False, 0)),
        ({"exit_code": "code"}, {"out": "x", "code": 2}, ("x", True, 2)),
        ({"exit_code": "code"}, {"out": "x", "code": "2"}, ("x", False, None)),
        ({"exit_code": "to_number(code)"}, {"out": "x", "code": "2"}, ("x", True, 2)),
        ({"error": "bad"}, {"out": "x", "bad": 0}, ("x", False, None)),
        ({"error": "bad"}, {"out": "x", "bad": "yes"}, ("x", True, None)),
        ({"error": "level == 'error'"}, {"out": "x", "level": "error"}, ("x", True, None)),
    ],
)
def test_what_came_back(rule: dict[str, Any], values: dict[str, Any], expected: Any) -> None:
    assert answer(rule, **values) == expected


def test_an_expression_that_does_not_fit_a_line_gives_nothing_and_is_counted() -> None:
    rules = {"finished": [{"when": "contains(tags, 'end')", "success": "length(of) > `1`"}]}
    told = read(rules, {"tags": None}, {"tags": ["end"], "of": 7}, {"tags": ["end"], "of": "ab"})
    assert told.tally.counts["expressions_that_did_not_fit"] == 2
    assert told.left_out == {"line that no rule is about": "log:1"}


def test_the_session_is_what_was_last_said_of_it() -> None:
    rules = {
        "session": "run",
        "cwd": "dir",
        "agent": "model",
        "branch": "branch",
        "repository": "repo",
        "message": [{"when": "say", "role": "'user'", "text": "say"}],
    }
    told = read(
        rules,
        {"run": "a", "dir": "/x/one", "say": "1"},
        {"say": "2", "model": "m", "branch": "main", "repo": "tools"},
        {"run": "b", "dir": "/x/two", "say": "3"},
    )
    assert [(s.id, s.cwd, s.agent, s.branch, s.repository) for s in told.sessions] == [
        ("a", "/x/one", "m", "main", "tools"),
        ("b", "/x/two", "", "", "two"),
    ]


def test_tasks_their_end_and_events() -> None:
    rules = {
        "task": [{"when": "task", "title": "task", "description": "about", "key": "nr"}],
        "finished": [{"when": "end", "success": "ok"}],
        "event": [{"when": "event", "type": "event", "success": "ok", "context": "given", "output": "gave"}],
    }
    told = read(
        rules,
        {"task": "Fix it", "about": "Broken.", "nr": 7},
        {"event": "plan", "ok": True, "given": {"a": 1}, "gave": {"b": 2}},
        {"end": True, "ok": True},
        {"task": "Again"},
        {"end": True, "ok": "given up"},
        {"event": "plan", "ok": True, "given": {"a": 1}, "gave": None},
        {"task": ["no", "title"]},
        {"event": "plan", "ok": 1, "given": {}, "gave": {}},
    )
    assert [(e.key, e.state) for e in told.episodes] == [("7", "completed"), ("Again", "abandoned")]
    assert len(told.main) == 1
    assert told.left_out == {
        "event without a type, context or output": "log:6",
        "task without a title": "log:7",
        "event without success or output": "log:8",
    }


def test_each_gives_one_record_an_element() -> None:
    rules = {"message": [{"when": "turns", "each": "turns[?text]", "role": "by", "text": "text"}]}
    line = json.loads('{"turns": [{"by": "human", "text": "a"}, {"by": "ai"}, {"by": "ai", "text": "b"}]}')
    assert [(m.role, m.text) for m in read(rules, line, {"turns": "none"}).messages] == [
        ("user", "a"),
        ("assistant", "b"),
    ]
