"""Assembly, whatever the log: each call once and in order, with its own result, usage once a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract import assemble
from oa_compile.extract.assemble import Assembly, Closed, Happenings
from oa_compile.extract.records import Opened, Record, Returned, Used
from oa_compile.extract.session import Message, ToolCall, ToolResult, Usage
from oa_compile.extract.tally import Tally

IDS = st.sampled_from("abcdef")
THREADS = st.sampled_from(["", "", "side"])
RECORDS = st.one_of(
    st.builds(lambda i, t: ToolCall(i, "Read", {}, "m", 1, t), IDS, THREADS),
    st.builds(lambda i, e: Returned(i, ToolResult(i, e, 1)), IDS, st.booleans()),
    st.builds(lambda w, t: Message("assistant", w, "m", 1, t), IDS, THREADS),
    st.builds(lambda i, n: Used(i, Usage(output_tokens=n)), IDS, st.integers(0, 9)),
)


def run(records: Sequence[Record]) -> tuple[Happenings, Assembly, Tally]:
    tally = Tally("log")
    assembly = Assembly(format="f", file="log", name="log", tally=tally)
    for number, record in enumerate(records, start=1):
        if isinstance(record, ToolCall | Message):
            record.line = number
    return list(assembly.take(records)), assembly, tally


@given(st.lists(RECORDS, max_size=60))
def test_every_call_comes_once_in_its_place_with_its_own_result(records: list[Record]) -> None:
    out, assembly, tally = run(records)
    for thread in ("", "side"):
        mine = [
            step for session, step in out if session.thread == thread and isinstance(step, ToolCall | Message)
        ]
        assert [step.line for step in mine] == sorted(step.line for step in mine)
        calls = [step for step in mine if isinstance(step, ToolCall)]
        assert len({call.id for call in calls}) == len(calls)
        assert all(call.result is None or call.result.text == call.id for call in calls)
    made = {(record.thread, record.id) for record in records if isinstance(record, ToolCall)}
    delivered = [step for _, step in out if isinstance(step, ToolCall)]
    assert {(step.thread, step.id) for step in delivered} == made
    assert assembly.once.calls() == len({call_id for _, call_id in made})
    ended = [session for session, step in out if isinstance(step, Closed)]
    assert sum(session.calls for session in ended) == len(delivered)
    answered = sum(step.result is not None for step in delivered)
    told = tally.counts["repeated_tool_results"] + sum(left.count for left in tally.left_out())
    assert answered + told == sum(isinstance(record, Returned) for record in records)


@given(st.lists(RECORDS, max_size=60))
def test_usage_counts_once_a_message_as_it_was_told_last(records: list[Record]) -> None:
    out, assembly, _ = run(records)
    last = {record.message_id: record.usage for record in records if isinstance(record, Used)}
    ended = [session for session, step in out if isinstance(step, Closed)]
    total = sum((session.usage for session in ended), Usage())
    assert total.output_tokens == sum(usage.output_tokens for usage in last.values())
    assert assembly.once.usage() == total


@given(st.lists(st.sampled_from(["one", "two", ""]), min_size=1, max_size=12))
def test_a_new_id_is_a_new_session_and_the_same_one_goes_on(ids: list[str]) -> None:
    out, assembly, _ = run([Opened(1, session_id, fresh=True) for session_id in ids])
    runs: list[str] = []
    for session_id in ids:
        if not runs or (session_id and runs[-1] and session_id != runs[-1]):
            runs.append(session_id)
        else:
            runs[-1] = runs[-1] or session_id
    ended = [session.id for session, step in out if isinstance(step, Closed)]
    assert ended == [session_id or "log" for session_id in runs]
    assert assembly.sessions == len(runs)


def test_what_waits_is_bounded() -> None:
    asked = 0

    def calls() -> Iterator[Record]:
        nonlocal asked
        for asked in range(3 * assemble.WINDOW):
            yield ToolCall(f"c{asked}", "Bash", {}, "m", asked)

    assembly = Assembly(format="f", file="log", name="log", tally=Tally("log"))
    steps = (step for _, step in assembly.take(calls()) if isinstance(step, ToolCall))
    behind = [asked - step.line for step in steps]
    assert len(behind) == 3 * assemble.WINDOW
    assert max(behind) == assemble.WINDOW
