"""Autopilot sessions: calls by id, usage by message, results matched, episodes bounded by their own issue."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from oa_compile.extract.episodes import find_episodes, relative_path
from oa_compile.extract.lines import LogLine, read_lines
from oa_compile.extract.readers import autopilot, sniff
from oa_compile.extract.session import Message, Place, Session, Usage
from oa_compile.extract.tally import Tally

REAL = Path(__file__).parents[3] / "shared" / "data" / "autopilot"
INIT = {"type": "system", "message": {"subtype": "init", "session_id": "s1", "cwd": "/repo", "model": "m"}}


def say(message_id: str, *blocks: dict[str, Any], usage: dict[str, int] | None = None) -> dict[str, Any]:
    return {"type": "assistant", "message": {"id": message_id, "content": list(blocks), "usage": usage}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def back(call_id: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def read(*lines: dict[str, Any]) -> tuple[list[Session], Tally]:
    tally = Tally()
    numbered = (LogLine(line, Place("log", n)) for n, line in enumerate(lines, start=1))
    return list(autopilot.read(numbered, tally=tally)), tally


def done(call_id: str, name: str, content: Any = "ok", **arguments: Any) -> Iterable[dict[str, Any]]:
    """A call and its result."""
    return say(f"m-{call_id}", use(call_id, name, **arguments)), back(call_id, content)


def issue(call_id: str, number: int = 7) -> Iterable[dict[str, Any]]:
    body = f'{{"number": {number}, "title": "Fix it", "description": "It is broken."}}'
    return done(call_id, "mcp__issues__issue_ready", [{"type": "text", "text": body}])


def claim(call_id: str, number: int = 7, answer: str = "Claimed issue #7") -> Iterable[dict[str, Any]]:
    return done(call_id, "mcp__issues__issue_claim", answer, number=number)


def complete(call_id: str, number: int = 7) -> Iterable[dict[str, Any]]:
    return done(call_id, "mcp__issues__issue_complete", f"Completed issue #{number}", number=number)


def edit(call_id: str, path: str = "/repo/a.py") -> Iterable[dict[str, Any]]:
    return done(call_id, "Edit", "updated", file_path=path)


def test_a_message_in_several_lines_counts_its_usage_once() -> None:
    usage = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 5}
    sessions, _ = read(
        INIT,
        say("m1", text("a"), usage=usage),
        say("m1", use("c1", "Read"), usage={**usage, "output_tokens": 8}),
    )
    assert sessions[0].usage == Usage(input_tokens=10, output_tokens=8, cache_read_tokens=5)


def test_a_repeated_call_or_result_counts_once() -> None:
    sessions, tally = read(INIT, *done("c1", "Read", "first"), *done("c1", "Read", "second"))
    assert [c.result.text for c in sessions[0].calls if c.result] == ["first"]
    assert tally.counts["tool_calls"] == 1
    assert tally.counts["repeated_tool_calls"] == 1
    assert tally.counts["repeated_tool_results"] == 1


def test_results_are_matched_by_id_whatever_their_order() -> None:
    calls = say("m1", use("c1", "Read"), use("c2", "Bash"))
    sessions, _ = read(INIT, calls, back("c2", "two", is_error=True), back("c1", [text("one")]))
    first, second = sessions[0].calls
    assert (first.worked, second.worked) == (True, False)
    assert first.result is not None
    assert (first.result.text, first.result.place) == ("one", Place("log", 4))


def test_a_call_without_a_result_did_not_work() -> None:
    sessions, _ = read(INIT, say("m1", use("c1", "Read")))
    assert sessions[0].calls[0].result is None
    assert not sessions[0].calls[0].worked


def test_what_cannot_be_used_is_reported() -> None:
    _, tally = read(
        INIT,
        back("nowhere"),
        say("m1", {"type": "tool_use", "name": "Read", "input": {}}, {"type": "hologram"}),
        {"type": "assistant", "message": {"id": "m2"}},
        {"type": "user", "message": None},
        say("m3", {"type": "thinking", "thinking": "hm"}),
    )
    assert {left.reason: left.first for left in tally.left_out()} == {
        "tool result without its call": "log:2",
        "tool call without id, name or input": "log:3",
        "unknown content block": "log:3",
        "message without content": "log:4",
        "line without a message object": "log:5",
    }
    assert tally.counts["thinking_blocks_passed_over"] == 1


def test_a_resumed_session_goes_on_and_a_new_one_starts() -> None:
    end = {"type": "result", "message": {"subtype": "success", "session_id": "s1", "total_cost_usd": 0.25}}
    other = {"type": "system", "message": {"subtype": "init", "session_id": "s2"}}
    sessions, _ = read(INIT, *done("c1", "Read"), end, INIT, *done("c2", "Read"), end, other)
    assert [(s.id, len(s.calls), len(s.outcomes)) for s in sessions] == [("s1", 2, 2), ("s2", 0, 0)]
    assert [o.cost_usd for o in sessions[0].outcomes] == [0.25, 0.25]


def test_compactions_are_counted() -> None:
    sessions, _ = read(INIT, {"type": "system", "message": {"subtype": "compact_boundary"}})
    assert sessions[0].compactions == 1


def test_plain_text_content_is_a_message() -> None:
    sessions, _ = read(INIT, {"type": "user", "message": {"role": "user", "content": "Please fix it."}})
    assert sessions[0].steps == (Message("user", "Please fix it.", "log:2", Place("log", 2)),)


def test_an_episode_has_its_issue_its_files_and_its_commit() -> None:
    commit = "[main f0dd7ba82] Fix it\n 1 file changed"
    sessions, _ = read(
        INIT,
        *edit("c0", "/repo/before.py"),
        *issue("c1"),
        *claim("c2"),
        *edit("c3"),
        *edit("c4"),
        *edit("c5", "/elsewhere/b.py"),
        *edit("c6", "src/c.py"),
        *done("c7", "Bash", commit, command="git commit"),
        *complete("c8"),
        *edit("c9", "/repo/after.py"),
    )
    (episode,) = find_episodes(sessions[0])
    assert episode.teaches
    assert episode.files == ("a.py", "src/c.py")
    assert episode.commits == ("f0dd7ba82",)
    assert episode.issue is not None
    assert (episode.issue.title, episode.issue.description) == ("Fix it", "It is broken.")
    assert episode.claimed < episode.completed


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((*issue("1"), *claim("2"), *edit("3")), "not completed"),
        ((*issue("1"), *claim("2"), *complete("3")), "no file edited"),
        ((*claim("2"), *edit("3"), *complete("4")), "no issue text"),
        ((*issue("1"), *claim("2"), *edit("3"), *complete("4", 8)), "another issue completed"),
        (
            (*issue("1"), *claim("2", answer="Could not claim issue #7"), *edit("3"), *complete("4")),
            "refused",
        ),
        ((*issue("1"), *edit("3"), *complete("4")), "never claimed"),
        (
            (*issue("1"), *claim("2"), *edit("3"), *claim("4", 8), *complete("5")),
            "another issue claimed in between",
        ),
        (
            (
                *done("1", "mcp__issues__issue_create", "Created issue #7: Fix it", title="Fix it"),
                *claim("2"),
                *edit("3"),
                *complete("4"),
            ),
            "the agent wrote the issue itself",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_teach(lines: tuple[dict[str, Any], ...], why: str) -> None:
    sessions, _ = read(INIT, *lines)
    assert not any(episode.teaches for episode in find_episodes(sessions[0])), why


def test_a_failed_edit_edits_nothing() -> None:
    failed = say("m3", use("3", "Edit", file_path="/repo/a.py")), back("3", "no match", is_error=True)
    sessions, _ = read(INIT, *issue("1"), *claim("2"), *failed, *complete("4"))
    assert find_episodes(sessions[0])[0].files == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/repo/a/b.py", "a/b.py"), ("a.py", "a.py"), ("/repository/a.py", None), ("/repo/../etc/x", None)],
)
def test_paths_are_relative_to_the_repository(path: str, expected: str | None) -> None:
    assert relative_path(path, "/repo") == expected


@pytest.mark.skipif(not REAL.is_dir(), reason="the real logs are not beside this checkout")
def test_the_real_sessions() -> None:
    """Counts that an independent script found in the ten real files."""
    tally, teaching, claimed, sessions = Tally(), 0, 0, 0
    for path in sorted(REAL.glob("*.jsonl")):
        reader, lines = sniff(read_lines(path, name=path.name, tally=tally))
        assert reader is autopilot
        for session in reader.read(lines, tally=tally):
            sessions += 1
            episodes = find_episodes(session)
            claimed += len(episodes)
            teaching += sum(episode.teaches for episode in episodes)
    assert (sessions, claimed, teaching) == (10, 50, 34)
    assert tally.counts["tool_calls"] == 1241
    assert tally.left_out() == ()
