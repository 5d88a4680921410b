"""A small valid log of each format, and what its lines say: what the shared suite of readers is run on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from oa_compile.extract.lines import Line
from oa_compile.extract.readers import READERS, Reader
from oa_compile.extract.readers.mapped import Mapped
from oa_compile.extract.records import Record, Returned, Tasked, Used
from oa_compile.extract.tally import Tally
from tests.support.mapped_format import MAPPED
from tests.support.sessions import INIT, back, encode, say, text, use

PAD = "PADDING"
"""Where a long log's copies have something to say (`Case.copy`)."""


@dataclass(frozen=True)
class Case:
    """A log of a format.

    `said` are its records in order, each with its line, but for usage, which has none; `ids` are the names
    in it that must be new in each copy of its lines from `body` on. `ahead` is how many lines further a
    reader may have to look: a text may go on in the next ones.
    """

    format: str
    lines: tuple[bytes, ...]
    said: str
    ids: tuple[str, ...] = ()
    body: int = 1
    ahead: int = 0
    json: bool = True
    mapped: Mapped | None = None

    @property
    def reader(self) -> Reader:
        """The format's reader."""
        return self.mapped or READERS[self.format]

    @property
    def raw(self) -> bytes:
        """The log's bytes."""
        return b"".join(self.lines)

    def copy(self, number: int, padding: int) -> bytes:
        """The log's lines once more, with other ids."""
        raw = b"".join(self.lines[self.body :]).replace(PAD.encode(), b"x" * padding)
        for name in self.ids:
            raw = raw.replace(name.encode(), f"{name}-{number}".encode())
        return raw


def line_of(record: Record) -> int | None:
    """The line a record says it is from; usage has none."""
    if isinstance(record, Used):
        return None
    if isinstance(record, Returned):
        return record.result.line
    return record.issue.line if isinstance(record, Tasked) else record.line


def places(records: Iterable[Record]) -> Counter[tuple[str, int]]:
    """How often there is a record of a kind from a line."""
    return Counter((type(r).__name__, line) for r in records if (line := line_of(r)) is not None)


def read(case: Case, lines: Iterable[bytes]) -> tuple[list[Record], Tally]:
    """What the case's reader makes of these lines."""
    tally = Tally("log", thorough=True)
    numbered = (Line(number, raw) for number, raw in enumerate(lines, start=1))
    return list(case.reader.read(numbered, tally=tally)), tally


def each(*lines: dict[str, Any]) -> tuple[bytes, ...]:
    """JSON lines."""
    return tuple(encode([line]) for line in lines)


def entry(event: str, data: Any, *, phase: str = "execution") -> dict[str, Any]:
    """A log entry of autopilot-core's."""
    return {"timestamp": "t", "session_id": "s1", "phase": phase, "event_type": event, "data": data}


def item(kind: str, **payload: Any) -> dict[str, Any]:
    """A response item of a Codex rollout."""
    return {"timestamp": "t", "type": "response_item", "payload": {"type": kind, **payload}}


def native(kind: str, uuid: str, **more: Any) -> dict[str, Any]:
    """A line of a Claude Code transcript."""
    head = {"type": kind, "uuid": uuid, "parentUuid": None, "isSidechain": False, "sessionId": "s1"}
    return {**head, "cwd": "/repo", "gitBranch": "main", **more}


TOKENS = {"input_tokens": 9, "output_tokens": 2, "cached_input_tokens": 4, "total_tokens": 11}

CASES = (
    Case(
        "autopilot",
        each(
            INIT,
            say("m1", text("Let me read it."), usage={"input_tokens": 3, "output_tokens": 1}),
            say("m1", use("c1", "Read", file_path="/repo/a.py")),
            back("c1", PAD),
            {"type": "system", "message": {"subtype": "compact_boundary"}},
            {"type": "result", "message": {"subtype": "success", "session_id": "s1", "total_cost_usd": 0.5}},
        ),
        "Opened:1 Message:2 ToolCall:3 Returned:4 Compacted:5 Opened:6 Outcome:6",
        ids=("m1", "c1"),
    ),
    Case(
        "claude-code",
        each(
            native("user", "u1", message={"role": "user", "content": "Fix it."}),
            native("assistant", "u2", message=say("m1", text("Reading."))["message"]),
            native("assistant", "u3", message=say("m1", use("c1", "Read", file_path="a.py"))["message"]),
            native("user", "u4", message=back("c1", PAD)["message"], toolUseResult={"file": "a.py"}),
            native("system", "u5", subtype="compact_boundary"),
        ),
        "Opened:1 Message:1 Opened:2 Message:2 ToolCall:3 Returned:4 Compacted:5",
        ids=("m1", "c1", "u2", "u3", "u4"),
    ),
    Case(
        "codex",
        each(
            {"type": "session_meta", "payload": {"id": "s1", "cwd": "/repo", "git": {"branch": "main"}}},
            {"type": "turn_context", "payload": {"cwd": "/repo", "model": "gpt"}},
            item("message", role="user", content=[{"type": "input_text", "text": "Fix it."}]),
            item("function_call", name="exec_command", arguments='{"cmd":"ls"}', call_id="c1"),
            item("function_call_output", call_id="c1", output=PAD),
            item("custom_tool_call", name="apply_patch", input="*** Begin Patch", call_id="c2"),
            item("custom_tool_call_output", call_id="c2", output='{"output":"x","metadata":{"exit_code":1}}'),
            item("local_shell_call", call_id="c3", action={"type": "exec", "command": ["ls"]}),
            item("function_call_output", call_id="c3", output=[{"type": "input_text", "text": "a.py"}]),
            {
                "type": "event_msg",
                "payload": {
                    "type": "token_count",
                    "info": {"last_token_usage": TOKENS, "total_token_usage": TOKENS},
                },
            },
            {"type": "compacted", "payload": {"message": "so far"}},
            {"type": "event_msg", "payload": {"type": "turn_aborted", "reason": "interrupted"}},
        ),
        "Opened:1 Opened:2 Message:3 ToolCall:4 Returned:5 ToolCall:6 Returned:7 ToolCall:8 Returned:9"
        " Compacted:11 Finished:12 Outcome:12",
        ids=("c1", "c2", "c3"),
        body=2,
    ),
    Case(
        "atif",
        each(
            {
                "__header__": True,
                "schema_version": "ATIF-v1.4",
                "session_id": "s1",
                "agent": {"name": "a", "version": "1", "model_name": "m"},
            },
            {
                "step_id": 1,
                "source": "system",
                "message": "Selected task: Fix it",
                "extra": {"event_type": "task_selected", "task_id": "t1"},
            },
            {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "Go on."}]},
            {
                "step_id": 3,
                "source": "agent",
                "message": "Looking.",
                "reasoning_content": "hm",
                "tool_calls": [{"tool_call_id": "c1", "function_name": "ls", "arguments": {"path": "."}}],
                "observation": {"results": [{"source_call_id": "c1", "content": PAD}]},
                "metrics": {"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4},
            },
            {
                "step_id": 4,
                "source": "system",
                "message": "Tool execution results",
                "observation": {
                    "results": [{"content": {"command": "bun test", "passed": True, "output": "ok"}}]
                },
                "extra": {"event_type": "verification_complete"},
            },
            {
                "step_id": 5,
                "source": "system",
                "message": "Done",
                "extra": {"event_type": "session_complete", "success": True},
            },
        ),
        "Opened:1 Tasked:2 Message:3 Message:4 ToolCall:4 Returned:4 Verification:5 Finished:6",
        ids=("c1", "t1"),
    ),
    Case(
        "rlog",
        (
            b"---\n",
            b"format: rlog/1\n",
            b"id: s1\n",
            b"repo_sha: abc123\n",
            b"tokens_total_in: 5\n",
            b"---\n",
            b"\n",
            b"@start id=s1 ts=2026-01-01T00:00:00Z\n",
            b"u: Fix it. ts=2026-01-01T00:00:00Z\n",
            b"  And soon.\n",
            "t!:Read id=c1 file_path=/repo/a.py → [running] tokens_in=2\n".encode(),
            f"o: id=c1 → [ok] {PAD}\n".encode(),
            b"# status: Compacting\n",
            b"@end tokens_in=5 tokens_out=2 cost_usd=0.5\n",
        ),
        "Opened:1 Message:9 ToolCall:11 Returned:12 Compacted:13 Outcome:14",
        ids=("c1",),
        body=7,
        ahead=2,
        json=False,
    ),
    Case(
        "log-entry",
        each(
            entry(
                "phase_start", {"issue_description": "Fix it.", "repository_summary": "r"}, phase="planning"
            ),
            entry("result", {"analysis": "a", "files_to_modify": ["f"]}, phase="planning"),
            entry("assistant", {"content": [{"type": "text", "text": "Reading."}]}),
            entry("tool_use", {"tool": "Read", "input": {"path": "a.py"}}),
            entry("tool_result", {"tool": "Read", "result": PAD}),
            entry("error", {"error": "broken"}),
            entry("result", {"verdict": "PASS"}, phase="verification"),
            entry("phase_end", {"summary": "done"}, phase="verification"),
        ),
        "Opened:1 Tasked:1 RuntimeEvent:2 Message:3 ToolCall:4 Returned:5 Outcome:6 RuntimeEvent:7"
        " Finished:7",
        body=2,
    ),
    Case(
        "autopilot-session",
        each(
            {
                "id": "s1",
                "task_id": "t1",
                "task_title": "Fix it",
                "task_description": "It is broken.",
                "decisions": [
                    {
                        "decision_type": "complexity",
                        "input_summary": PAD,
                        "output": {"complexity": "Low"},
                        "predicted_confidence": 0.8,
                        "was_correct": True,
                    }
                ],
                "outcome": {"type": "Success", "summary": "done", "verification_passed": True},
                "iterations_used": 2,
                "verification_history": [
                    {"iteration": 1, "passed": False, "cargo_check": True, "cargo_test": False, "reason": "r"}
                ],
            }
        ),
        "Opened:1 Tasked:1 RuntimeEvent:1 Verification:1 Verification:1 Outcome:1 Finished:1",
        ids=("s1", "t1"),
        body=0,
    ),
    Case(
        "events",
        each(
            {
                "event_type": "PlanningComplete",
                "success": True,
                "context": {"repo_summary": PAD, "issue": "i"},
                "output": {"analysis": "a", "files": ["f"]},
            },
            {"event_type": "ExecutionComplete", "success": False, "context": {}, "output": {}},
        ),
        "RuntimeEvent:1 RuntimeEvent:2",
        body=0,
    ),
    Case(
        "mapped",
        each(
            {
                "run": {"id": "s1", "dir": "/repo"},
                "kind": "task",
                "nr": 7,
                "title": "Fix it",
                "about": "Broken.",
            },
            {"kind": "say", "who": "ai", "body": {"text": [{"type": "text", "text": "Reading."}]}},
            {"tool": {"id": "c1", "name": "Read", "args": '{"path":"a.py"}'}},
            {"kind": "done", "of": "c1", "out": PAD, "flags": [], "code": "0"},
            {"tools": [{"id": "c2", "name": "ls", "args": {}}, {"id": "c3", "name": "ls"}]},
            {"kind": "done", "of": "c2", "out": ["x"], "flags": ["bad"]},
            {"kind": "event", "name": "plan", "ok": True, "given": {"a": 1}, "gave": {"b": [2]}},
            {"kind": "end", "ok": True},
        ),
        "Opened:1 Tasked:1 Message:2 ToolCall:3 Returned:4 ToolCall:5 ToolCall:5 Returned:6 RuntimeEvent:7"
        " Finished:8",
        ids=("c1", "c2", "c3"),
        mapped=MAPPED,
    ),
)
