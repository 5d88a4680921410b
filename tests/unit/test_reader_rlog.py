"""rlog/1: a summary is read as far as it can be believed, and nothing in it is guessed."""

from __future__ import annotations

import pytest

from oa_compile.extract.session import Message, ToolCall, Usage
from tests.support.sessions import REAL, Told, tell

HEADER = """---
format: rlog/1
id: sess-1
repo_sha: 0123456
repo: github.com/acme/tools
branch: main
model: some-model
cwd: /repo
agent: autopilot
version: 0.1.0
---
"""
REAL_LOGS = REAL / "rlog"


def read(body: str, header: str = HEADER) -> Told:
    return tell((header + body).encode())


def answers(told: Told) -> list[str | None]:
    return [call.result.text if call.result else None for call in told.calls]


def test_the_header_says_whose_session_it_is() -> None:
    (session,) = read("a: Hello.\n").sessions
    assert (session.id, session.cwd, session.branch, session.agent) == (
        "sess-1",
        "/repo",
        "main",
        "some-model",
    )
    assert session.repository == "tools"
    assert session.about == "a summary: its texts are cut short (autopilot 0.1.0)"


@pytest.mark.parametrize(
    "header",
    [
        "---\nformat: rlog/1\nid: [1\n---\n",
        "---\nformat: rlog/1\nid: !!python/object/apply:os.system ['true']\n---\n",
        "---\nformat: rlog/1\n- 1\n---\n",
        "---\nformat: rlog/1\nid: " + "[" * 10_000 + "\n---\n",
        "---\nformat: rlog/1\nid: *a\n---\n",
    ],
)
def test_a_header_that_is_no_yaml_is_told_and_the_log_is_read(header: str) -> None:
    told = read("a: Hello.\n", header)
    assert [m.text for m in told.messages] == ["Hello."]
    assert [s.id for s in told.sessions] == ["log"]
    assert told.left_out.keys() <= {"header that is no YAML", "header without an end"}
    assert told.left_out.keys() or "object" in header, "a tag is only a text to the base loader"


def test_a_header_without_an_end_does_not_swallow_the_log() -> None:
    told = read("a: Hello.\n" * 150, "---\nformat: rlog/1\nid: sess-1\n")
    assert len(told.messages) == 150
    assert told.left_out == {"header without an end": "log:1", "unknown line type": "log:3"}


def test_a_commit_of_digits_and_a_version_stay_texts() -> None:
    assert read("a: x\n", "---\nformat: rlog/1\nid: 00123\nversion: 1.10\n---\n").sessions[0].id == "00123"


def test_texts_lose_the_fields_at_their_end_only() -> None:
    told = read(
        "a: Set level=3 in a.toml. tokens_in=2 tokens_out=1 tokens_cached=9\n"
        "u: Fix it. ts=2026-01-01T00:00:00Z id=abc\n"
        "a: It is id=7\n"
    )
    assert [m.text for m in told.messages] == ["Set level=3 in a.toml.", "Fix it.", "It is id=7"]


def test_an_indented_line_goes_on_with_the_text_before() -> None:
    told = read("a: One\n  two\n\tthree\nt!:Read id=a → [running]\n  not a text\n")
    assert [m.text for m in told.messages] == ["One\ntwo\nthree"]
    assert told.tally.counts["continuation_lines_passed_over"] == 1


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("", {}),
        ("file_path=/repo/a.py", {"file_path": "/repo/a.py"}),
        ('pattern="a b" path=src', {"pattern": "a b", "path": "src"}),
        ('cmd="grep -n "fn \\|x" a=b → c.rs"', {"cmd": 'grep -n "fn \\|x" a=b → c.rs'}),
        ('desc="cut off in the mid...', {"desc": '"cut off in the mid...'}),
        ("src/auth.rs", {"input": "src/auth.rs"}),
    ],
)
def test_arguments_are_read_as_they_are_written(written: str, arguments: dict[str, str]) -> None:
    (call,) = read(f"t!:Tool id=a {written} → [running] tokens_in=1\n").calls
    assert (call.name, call.arguments) == ("Tool", arguments)


def test_a_result_goes_to_the_call_of_its_id() -> None:
    told = read(
        "t!:Read id=a → [running]\nt!:Bash id=b → [running]\n"
        "o: id=b → [error] Exit code 101\no: id=a → [ok]      1→use maud → x\n"
    )
    assert answers(told) == ["     1→use maud → x", "Exit code 101"]
    read_call, bash = told.calls
    assert read_call.worked
    assert bash.result is not None
    assert (bash.result.is_error, bash.result.exit_code, bash.result.line) == (True, 101, 14)
    assert all(call.result is not None and call.result.passed_over for call in told.calls), (
        "only a first line"
    )


def test_a_result_that_could_be_of_two_calls_is_of_none() -> None:
    told = read(
        "t!:Glob id=toolu_01 → [running]\nt!:Read id=toolu_01 → [running]\n"
        "o: id=toolu_01 → [ok] one\no: id=toolu_01 → [ok] two\n"
        "t!:Read id=toolu_01 → [running]\no: id=toolu_01 → [ok] three\n"
    )
    assert answers(told) == [None, None, "three"], "and from there on it is clear again"
    assert told.left_out == {"tool result whose call cannot be told": "log:14"}


def test_a_call_that_was_over_at_once_has_its_result_on_its_line() -> None:
    told = read("t:read src/auth.rs → [186 lines]\nc:github.issues state=open → [ok] 8 issues\n")
    assert [(c.name, dict(c.arguments)) for c in told.calls] == [
        ("read", {"input": "src/auth.rs"}),
        ("github.issues", {"state": "open"}),
    ]
    assert answers(told) == ["[186 lines]", "8 issues"]


def test_tokens_are_the_whole_logs() -> None:
    header = HEADER.replace("agent:", "tokens_total_in: 10\ntokens_total_out: 0\ntokens_cached: 90\nagent:")
    assert read("a: x tokens_in=4\n", header).sessions[0].usage == Usage(10, 0, 90)
    told = read("a: x tokens_in=4\n@end tokens_in=11 tokens_out=7 cost_usd=0.25\n", header)
    assert told.sessions[0].usage == Usage(11, 7, 90)
    assert [(o.status, o.cost_usd) for o in told.sessions[0].outcomes] == [("ended", 0.25)]


def test_two_logs_in_one_file_are_two_sessions() -> None:
    told = read("t!:Read id=a → [running]\n" + HEADER.replace("sess-1", "sess-2") + "o: id=a → [ok] x\n")
    assert [(s.id, s.calls) for s in told.sessions] == [("sess-1", 1), ("sess-2", 0)]
    assert answers(told) == [None]
    again = "t!:Read id=a → [running]\n" + HEADER.replace("sess-1", "sess-2") + "t!:Read id=a → [running]\n"
    assert answers(read(again + "o: id=a → [ok] x\n")) == [None, "x"], (
        "the other session's call waits no more"
    )


def test_long_rows_of_fields_take_no_time_to_speak_of() -> None:
    words = 'k="v" ' * 2_000 + '"'
    told = read(f"t!:Tool id=a {words} → [running]\na: {'ts=1 ' * 100_000}x\na: {'ts=1 ' * 20_000}\n")
    assert len(told.calls) == 1
    assert len(told.messages) == 2


@pytest.mark.skipif(not REAL_LOGS.is_dir(), reason="the real logs are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "calls", "results", "messages", "errors"),
    [  # counted by grep
        ("20251219-1610-list-the-cargo-toml-files", 2, 0, 2, 0),
        ("20251219-2231-start-working", 290, 290, 102, 11),
        ("20251222-150214-call-issue-ready-now-to", 100, 99, 39, 6),
        ("20251223-163221-call-issue-ready-now-to", 13, 13, 2, 2),
    ],
)
def test_the_real_logs(name: str, calls: int, results: int, messages: int, errors: int) -> None:
    told = tell((REAL_LOGS / f"{name}.rlog").read_bytes())
    answered = [call.result for call in told.calls if call.result is not None]
    assert (len(told.calls), len(answered), len(told.messages)) == (calls, results, messages)
    assert sum(result.is_error for result in answered) == told.sessions[0].errors == errors
    unclear = {} if results else {"tool result whose call cannot be told": "log:21"}
    assert told.left_out == unclear


@pytest.mark.skipif(not REAL_LOGS.is_dir(), reason="the real logs are not beside this checkout")
@pytest.mark.parametrize(
    "name", ["20251222-150214-call-issue-ready-now-to", "20251223-163221-call-issue-ready-now-to"]
)
def test_a_summary_and_the_log_it_is_of_agree(name: str) -> None:
    """The same session, written in both formats: the same calls, and each result begins as it is told."""
    short = tell((REAL_LOGS / f"{name}.rlog").read_bytes())
    whole = tell((REAL / "autopilot" / f"{name}.jsonl").read_bytes())
    assert short.sessions[0].id == whole.sessions[0].id
    assert [c.name for c in short.calls][: len(whole.calls)] == [c.name for c in whole.calls]
    for told, full in zip(short.calls, whole.calls, strict=False):
        if told.result is not None and full.result is not None:
            assert told.result.is_error == full.result.is_error
            first = told.result.text.removesuffix("...").strip()
            assert full.result.text.strip().startswith(first)
    steps = [type(step) for step in whole.main if isinstance(step, Message | ToolCall)]
    assert steps.count(Message) <= len(short.messages)
