"""Codex rollouts: what the model was told and did, how each command ended, and whose words are a prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oa_compile.extract.lines import Line
from oa_compile.extract.readers import codex
from oa_compile.extract.records import Used
from oa_compile.extract.session import Usage
from oa_compile.extract.tally import Tally
from tests.support.formats import item
from tests.support.sessions import REAL, Told, encode, tell

REAL_LOGS = REAL / "codex"


def line(kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": "t", "type": kind, "payload": payload}


META = line("session_meta", id="s1", cwd="/repo", originator="codex_cli", cli_version="1.2")


def read(*lines: dict[str, Any]) -> Told:
    return tell(encode([META, *lines]))


def ran(output: Any, **call: Any) -> Told:
    called = item("function_call", call_id="c1", **({"name": "shell", "arguments": "{}"} | call))
    return read(called, item("function_call_output", call_id="c1", output=output))


def user(*texts: str) -> dict[str, Any]:
    return item("message", role="user", content=[{"type": "input_text", "text": words} for words in texts])


def tokens(total: int, *, fresh: int, cached: int, out: int) -> dict[str, Any]:
    last = {"input_tokens": fresh + cached, "cached_input_tokens": cached, "output_tokens": out}
    info = {"last_token_usage": last, "total_token_usage": {"total_tokens": total}}
    return line("event_msg", type="token_count", info=info)


def test_the_head_and_each_turn_say_whose_session_it_is() -> None:
    told = tell(
        encode(
            [
                line(
                    "session_meta",
                    id="s1",
                    git={"branch": "fix", "repository_url": "git@host:acme/tools.git"},
                ),
                line("turn_context", cwd="/repo", model="gpt-a"),
                line("turn_context", cwd="/repo/sub", model="gpt-b"),
            ]
        )
    )
    (session,) = told.sessions
    assert (session.id, session.branch, session.repository) == ("s1", "fix", "tools")
    assert (session.cwd, session.agent) == ("/repo/sub", "gpt-b")
    assert read().sessions[0].about == "codex_cli 1.2"


def test_what_codex_puts_into_a_users_mouth_is_no_prompt() -> None:
    told = read(
        item("message", role="developer", content=[{"type": "input_text", "text": "Be careful."}]),
        user(
            "# AGENTS.md instructions for /repo\n…",
            "<environment_context>\n<cwd>/repo</cwd>",
            "Fix <b>it</b>.",
        ),
        user("<div> is not closed in a.html"),
    )
    assert [(m.role, m.text[:12]) for m in told.messages] == [
        ("system", "Be careful."),
        ("system", "# AGENTS.md "),
        ("system", "<environment"),
        ("user", "Fix <b>it</b"),
        ("user", "<div> is not"),
    ]


@pytest.mark.parametrize(
    ("output", "text", "is_error", "exit_code"),
    [
        ("Process exited with code 0\nOutput:\nok", "Process exited with code 0\nOutput:\nok", False, 0),
        ("Chunk ID: 1\nProcess exited with code 2\nOutput:\nbad", None, True, 2),
        ("Exit code: 101\nWall time: 1 seconds\nOutput:\nbad", None, True, 101),
        ("Process running with session ID 7\nOutput:\nProcess exited with code 1", None, False, None),
        ("Output:\nExit code: 3", None, False, None),
        ('{"output":"done","metadata":{"exit_code":0,"duration_seconds":1.5}}', "done", False, 0),
        ('{"output":"no","metadata":{"exit_code":1}}', "no", True, 1),
        ('{"name":"package"}', '{"name":"package"}', False, None),
        ('{"output": 1', '{"output": 1', False, None),
        ({"content": "boom", "success": False}, "boom", True, None),
        (
            [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:"}],
            "a",
            False,
            None,
        ),
        ("apply_patch verification failed: no such line", None, True, None),
        (None, "", False, None),
    ],
)
def test_how_a_command_ended(output: Any, text: str | None, is_error: bool, exit_code: int | None) -> None:
    (call,) = ran(output).calls
    assert call.result is not None
    assert call.result.text == (output if text is None else text)
    assert (call.result.is_error, call.result.exit_code, call.result.line) == (is_error, exit_code, 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"cmd":"ls"}', {"cmd": "ls"}),
        ({"cmd": "ls"}, {"cmd": "ls"}),
        ("bun test", {"input": "bun test"}),
        ('{"a":1,"a":2}', {"input": '{"a":1,"a":2}'}),
        ("", {}),
    ],
)
def test_arguments_are_json_in_a_string_or_one_free_text(arguments: Any, expected: dict[str, Any]) -> None:
    assert ran("x", arguments=arguments).calls[0].arguments == expected


def test_each_kind_of_call_is_one() -> None:
    told = read(
        item("custom_tool_call", call_id="c1", name="apply_patch", input="*** Begin Patch"),
        item("custom_tool_call_output", call_id="c1", output="Done"),
        item("local_shell_call", call_id="c2", action={"type": "exec", "command": ["ls", "-a"], "env": {}}),
        item("function_call", call_id="c3", name="shell"),
        item("web_search_call", action={"query": "x"}),
        item("reasoning", summary=[], encrypted_content="secret"),
    )
    assert [(c.name, dict(c.arguments)) for c in told.calls] == [
        ("apply_patch", {"input": "*** Begin Patch"}),
        ("local_shell", {"command": ["ls", "-a"]}),
    ]
    assert told.left_out == {"tool call without id, name or input": "log:5"}
    assert told.tally.counts["thinking_blocks_passed_over"] == 1


def test_usage_is_by_turn_and_a_count_told_twice_counts_once() -> None:
    first = tokens(100, fresh=30, cached=60, out=10)
    told = read(
        first, first, tokens(150, fresh=5, cached=40, out=5), line("event_msg", type="token_count", info=None)
    )
    assert told.sessions[0].usage == Usage(35, 15, 100)


def test_usage_of_two_files_is_of_two_sessions() -> None:
    """The card adds usage up by its id over all files."""
    for session in ("s1", "s2"):
        raw = encode([line("session_meta", id=session), tokens(100, fresh=1, cached=0, out=1)])
        lines = (Line(number, part) for number, part in enumerate(raw.splitlines(keepends=True), start=1))
        used = [r.message_id for r in codex.read(lines, tally=Tally()) if isinstance(r, Used)]
        assert used == [f"{session}:100"]


def test_how_a_turn_ended() -> None:
    told = read(
        user("Fix it."),
        line("event_msg", type="turn_aborted", reason="interrupted"),
        user("Again."),
        line("event_msg", type="task_complete", turn_id="t"),
    )
    assert [(o.status, o.is_error) for o in told.sessions[0].outcomes] == [
        ("interrupted", True),
        ("completed", False),
    ]
    assert [e.state for e in told.episodes] == ["abandoned", "abandoned"], "a turn's end is no success"


def test_a_forked_session_repeats_its_parents_head() -> None:
    told = tell(
        encode(
            [
                line("session_meta", id="child", forked_from_id="parent", cwd="/repo"),
                line("session_meta", id="parent", cwd="/elsewhere"),
                user("Fix it."),
            ]
        )
    )
    assert [(s.id, s.cwd) for s in told.sessions] == [("child", "/repo")]


def test_a_sub_agents_prompt_is_what_its_parent_wrote() -> None:
    spawn = {"parent_thread_id": "root", "agent_path": "root/worker", "agent_role": "worker"}
    words = [{"type": "output_text", "text": "Check it."}, {"type": "encrypted_content", "data": "x"}]
    told = tell(
        encode(
            [
                line("session_meta", id="child", source={"subagent": {"thread_spawn": spawn}}),
                item("agent_message", author="/root", recipient="/root/worker", content=words),
                item("agent_message", author="/root/worker", recipient="/root", content=words),
                item("agent_message", author="/root/other", recipient="/root", content=words),
            ]
        )
    )
    assert [m.role for m in told.messages] == ["user", "assistant", "system"]
    assert told.sessions[0].about == "sub-agent worker"
    assert told.tally.counts["encrypted_parts_passed_over"] == 3


@pytest.mark.skipif(not REAL_LOGS.is_dir(), reason="the real logs are not beside this checkout")
def test_the_real_logs() -> None:
    sample = tell((REAL_LOGS / "codex-rollout.sample.jsonl").read_bytes())
    assert [m.role for m in sample.messages] == ["system", "user", "assistant", "assistant"]
    assert [(c.name, c.result and c.result.exit_code) for c in sample.calls] == [("exec_command", 0)] * 2
    total = json.loads(
        '{"input_tokens":82056,"cached_input_tokens":44992,"output_tokens":340}'  # the log's own last total
    )
    usage = sample.sessions[0].usage
    assert usage.input_tokens + usage.cache_read_tokens == total["input_tokens"]
    assert (usage.cache_read_tokens, usage.output_tokens) == (44992, 340)
    child = tell((REAL_LOGS / "smoke-child.jsonl").read_bytes())
    assert [m.role for m in child.messages] == ["user", *["assistant"] * 16]
    assert [c.worked for c in child.calls] == [True]
    assert sample.left_out == child.left_out == {}
