"""Autopilot sessions: calls by id, usage by message, results matched, episodes bounded by their own issue."""

from __future__ import annotations

from typing import Any

import pytest

from oa_compile.extract.assemble import WINDOW
from oa_compile.extract.episodes import relative_path
from oa_compile.extract.session import Message, Usage
from tests.support.sessions import (
    INIT,
    REAL,
    Told,
    back,
    claim,
    complete,
    done,
    edit,
    encode,
    issue,
    say,
    tell,
    text,
    use,
)


def read(*lines: dict[str, Any]) -> Told:
    return tell(encode(lines))


def test_a_message_in_several_lines_counts_its_usage_once() -> None:
    usage = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 5}
    told = read(
        INIT,
        say("m1", text("a"), usage=usage),
        say("m1", use("c1", "Read"), usage={**usage, "output_tokens": 8}),
    )
    assert told.sessions[0].usage == Usage(input_tokens=10, output_tokens=8, cache_read_tokens=5)


def test_a_repeated_call_or_result_counts_once() -> None:
    told = read(INIT, *done("c1", "Read", "first"), *done("c1", "Read", "second"))
    assert [c.result.text for c in told.calls if c.result] == ["first"]
    assert len(told.calls) == 1
    assert told.tally.counts["repeated_tool_calls"] == 1
    assert told.tally.counts["repeated_tool_results"] == 1


def test_results_are_matched_by_id_whatever_their_order() -> None:
    calls = say("m1", use("c1", "Read"), use("c2", "Bash"))
    told = read(INIT, calls, back("c2", "two", is_error=True), back("c1", [text("one")]))
    first, second = told.calls
    assert (first.worked, second.worked) == (True, False)
    assert first.result is not None
    assert (first.result.text, first.result.line) == ("one", 4)


def test_a_call_without_a_result_did_not_work() -> None:
    told = read(INIT, say("m1", use("c1", "Read")))
    assert told.calls[0].result is None
    assert not told.calls[0].worked


def test_what_cannot_be_used_is_reported() -> None:
    told = read(
        INIT,
        back("nowhere"),
        say("m1", {"type": "tool_use", "name": "Read", "input": {}}, {"type": "hologram"}),
        {"type": "assistant", "message": {"id": "m2"}},
        {"type": "user", "message": None},
        say("m3", {"type": "thinking", "thinking": "hm"}),
    )
    assert told.left_out == {
        "tool result without its call": "log:2",
        "tool call without id, name or input": "log:3",
        "unknown content block": "log:3",
        "message without content": "log:4",
        "line without a message object": "log:5",
    }
    assert told.tally.counts["thinking_blocks_passed_over"] == 1


def test_a_resumed_session_goes_on_and_a_new_one_starts() -> None:
    end = {"type": "result", "message": {"subtype": "success", "session_id": "s1", "total_cost_usd": 0.25}}
    other = {"type": "system", "message": {"subtype": "init", "session_id": "s2"}}
    told = read(INIT, *done("c1", "Read"), end, INIT, *done("c2", "Read"), end, other)
    assert told.sessions[0].resumptions == 1
    assert [(s.id, s.calls, len(s.outcomes)) for s in told.sessions] == [("s1", 2, 2), ("s2", 0, 0)]
    assert [o.cost_usd for o in told.sessions[0].outcomes] == [0.25, 0.25]


def test_compactions_are_counted() -> None:
    told = read(INIT, {"type": "system", "message": {"subtype": "compact_boundary"}})
    assert told.sessions[0].compactions == 1


def test_plain_text_content_is_a_message() -> None:
    told = read(INIT, {"type": "user", "message": {"role": "user", "content": "Please fix it."}})
    assert told.main == [Message("user", "Please fix it.", "line 2", 2)]


def test_an_episode_has_its_issue_its_files_and_its_commit() -> None:
    commit = "[main f0dd7ba82] Fix it\n 1 file changed"
    told = read(
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
    (episode,) = told.episodes
    assert episode.teaches
    assert episode.files == ["a.py", "src/c.py"]
    assert episode.commits == ["f0dd7ba82"]
    assert episode.issue is not None
    assert (episode.issue.title, episode.issue.description) == ("Fix it", "It is broken.")
    assert episode.opened < (episode.closed or 0)


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
    told = read(INIT, *lines)
    assert not any(episode.teaches for episode in told.episodes), why


def test_a_failed_edit_edits_nothing() -> None:
    failed = say("m3", use("3", "Edit", file_path="/repo/a.py")), back("3", "no match", is_error=True)
    told = read(INIT, *issue("1"), *claim("2"), *failed, *complete("4"))
    assert told.episodes[0].files == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/repo/a/b.py", "a/b.py"), ("a.py", "a.py"), ("/repository/a.py", None), ("/repo/../etc/x", None)],
)
def test_paths_are_relative_to_the_repository(path: str, expected: str | None) -> None:
    assert relative_path(path, "/repo") == expected


def test_a_result_that_comes_too_late_is_no_result_and_holds_nothing_up() -> None:
    many = (line for n in range(WINDOW) for line in done(f"c{n}", "Read"))
    told = read(INIT, say("m", use("slow", "Bash")), *many, back("slow"))
    assert len(told.calls) == WINDOW + 1
    assert told.calls[0].result is None
    assert told.tally.counts["repeated_tool_results"] == 1


def test_what_a_user_asks_is_the_task_where_there_is_no_tracker() -> None:
    ask = {"type": "user", "message": {"role": "user", "content": "Please fix it.\nIt is broken."}}
    more = {"type": "user", "message": {"role": "user", "content": "Quickly."}}
    told = read(INIT, ask, more, *edit("1"), *done("2", "Bash", "3 passed", command="pytest"), ask)
    first, second = told.episodes
    assert (first.kind, first.state, first.teaches) == ("prompt", "completed", True)
    assert first.issue is not None
    assert first.issue.description == "Please fix it.\nIt is broken.\n\nQuickly."
    assert (second.state, second.teaches) == ("abandoned", False)


def test_a_prompt_whose_last_check_failed_teaches_nothing() -> None:
    ask = {"type": "user", "message": {"role": "user", "content": "Fix it."}}
    passed = done("2", "Bash", "3 passed", command="pytest")
    told = read(INIT, ask, *edit("1"), *passed, *done("3", "Bash", "1 failed, 2 passed", command="pytest"))
    assert [episode.succeeded for episode in told.episodes] == [False]


def test_a_log_without_a_session_id_has_the_name_it_is_given() -> None:
    told = read(*done("c1", "Read"))
    assert [session.id for session in told.sessions] == ["log"]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real logs are not beside this checkout")
def test_the_real_sessions() -> None:
    """Counts that an independent script found in the ten real files."""
    told = [tell(path.read_bytes()) for path in sorted((REAL / "autopilot").glob("*.jsonl"))]
    assert {each.format for each in told} == {"autopilot"}
    episodes = [episode for each in told for episode in each.episodes]
    assert sum(len(each.sessions) for each in told) == 10
    assert len(episodes) == 50
    assert sum(episode.teaches for episode in episodes) == 34
    assert sum(len(each.calls) for each in told) == 1241
    assert [each.left_out for each in told if each.left_out] == []
