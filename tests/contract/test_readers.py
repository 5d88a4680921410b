"""The suite every reader passes: sniffed by its own lines only, exact about places, robust to any damage,
streaming.

A new format adds one `Case` (tests/support/formats.py).
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.extract.assemble import Assembly
from oa_compile.extract.lines import Line, Source, read_lines
from oa_compile.extract.readers import READERS, sniff
from oa_compile.extract.session import MAX_TEXT_BYTES, ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import walk
from tests.support.damage import WRONG, paths, replaced
from tests.support.formats import CASES, Case, line_of, places, read
from tests.support.sessions import encode, tell

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.format)

BAD_JSON = {
    b"\xff\xfe\n": "invalid UTF-8",
    b'{"a": "\xff"}\n': "invalid UTF-8",
    b'{"type": "user\xff", "message": {"content": "\xff"}}\n': "invalid UTF-8",
    b"not json\n": "not JSON",
    b"[1]\n": "not an object",
    b'{"a": 1, "a": 2}\n': "duplicate keys",
    b'{"a": NaN}\n': "NaN or infinity",
    b'{"a": 1e999}\n': "NaN or infinity",
    b'{"a": 1' + b"0" * 400 + b"}\n": "number out of range",
    b'{"a": "\\ud800"}\n': "lone surrogate",
    b'{"a":' * 100_000 + b"\n": "nested too deeply",
}
BAD_TEXT = {b"a: \xff\xfe\n": "invalid UTF-8", b"banana\n": "not an rlog line"}

ALL = {case.format: case.reader for case in CASES}


def said(case: Case) -> list[tuple[str, int]]:
    return [(kind, int(line)) for kind, line in (word.split(":") for word in case.said.split())]


def test_every_reader_has_a_case() -> None:
    assert [case.format for case in CASES] != []
    assert {case.format for case in CASES} == {*READERS, "mapped"}


@every_case
def test_its_lines_are_known_by_it_and_by_no_other_reader(case: Case) -> None:
    knows = set()
    for raw in case.lines:
        body = json.loads(raw) if case.json else {}
        knows |= {name for name, reader in ALL.items() if reader.sniff(body, raw)}
    assert knows == {case.format}


@every_case
def test_it_says_all_there_is_with_its_lines(case: Case) -> None:
    records, tally = read(case, case.lines)
    assert [(type(r).__name__, line) for r in records if (line := line_of(r)) is not None] == said(case)
    assert tally.left_out() == ()


@every_case
def test_bad_lines_are_told_and_the_rest_is_used(case: Case) -> None:
    bad = BAD_JSON if case.json else BAD_TEXT
    at = len(case.lines) // 2 if case.json else case.body + 3
    records, tally = read(case, [*case.lines[:at], *bad, *case.lines[at:]])
    moved = [(kind, line if line <= at else line + len(bad)) for kind, line in said(case)]
    assert [(type(r).__name__, line) for r in records if (line := line_of(r)) is not None] == moved
    reasons = list(bad.values())
    told = {left.reason: (left.count, left.first) for left in tally.left_out()}
    assert told == {r: (reasons.count(r), f"log:{at + 1 + reasons.index(r)}") for r in reasons}
    assert {left.reason for left in tally.refused()} == set(reasons), "bad input, so --strict refuses it"


@every_case
def test_a_line_that_was_cut_is_told(case: Case) -> None:
    if not case.json:
        pytest.skip("a text line that was cut is a line")
    _, tally = read(case, [*case.lines, case.lines[-1][:-5]])
    assert {left.reason: left.first for left in tally.left_out()} == {
        "truncated line": f"log:{len(case.lines) + 1}"
    }


@every_case
def test_no_line_is_passed_over_silently(case: Case) -> None:
    before = read(case, case.lines)[1]
    for unknown in (b'{"type":"banana","message":{}}\n', b'{"type":7}\n', b"{}\n"):
        _, tally = read(case, [*case.lines, unknown])
        passed_over = "housekeeping_lines_passed_over"
        told = len(tally.left_out()) + tally.counts[passed_over] - before.counts[passed_over]
        assert told == 1, unknown


@every_case
def test_it_takes_lines_one_by_one(case: Case) -> None:
    taken = 0

    def lines() -> Iterator[Line]:
        nonlocal taken
        for taken, raw in enumerate(case.lines, start=1):
            yield Line(taken, raw)

    for record in case.reader.read(lines(), tally=Tally()):
        if (line := line_of(record)) is not None and line > case.body:
            assert taken <= line + case.ahead


@every_case
def test_no_value_in_the_wrong_place_makes_it_raise(case: Case) -> None:
    """Every value of every line becomes each wrong one; the other lines still say what they say."""
    if not case.json:
        pytest.skip("its lines have no values")
    for number, raw in enumerate(case.lines, start=1):
        body = json.loads(raw)
        # What a line is needed for beyond itself: which session it is, the call that a result is of.
        others = {
            (kind, line): count
            for (kind, line), count in places(read(case, case.lines)[0]).items()
            if line != number and kind not in {"Opened", "Returned"}
        }
        for path in paths(body):
            for wrong in WRONG:
                changed = [*case.lines]
                changed[number - 1] = encode([replaced(body, path, wrong)])[0:]
                found = places(read(case, changed)[0])
                assert {key: found[key] for key in others} == others, (path, wrong)
                tell(b"".join(changed), reader=case.mapped)


@every_case
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_makes_it_raise(case: Case, data: st.DataObject) -> None:
    long = case.copy(1, 2000).splitlines(keepends=True)  # of a long line some bytes are read late, or never
    lines = [*case.lines]
    for _ in range(data.draw(st.integers(0, 4))):
        line = data.draw(st.sampled_from([*case.lines, *long]))
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    raw = bytearray(b"".join(lines))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    del raw[data.draw(st.integers(0, len(raw))) if data.draw(st.booleans()) else len(raw) :]
    for thorough in (True, False):
        told = tell(bytes(raw), reader=case.mapped, thorough=thorough)
        assert told.tally.counts["lines_read"] <= raw.count(b"\n") + 1
        for step in (step for steps in told.steps.values() for step in steps):
            assert 1 <= step.line <= raw.count(b"\n") + 1
            if isinstance(step, ToolCall):
                assert isinstance(step.arguments, dict)
                assert step.result is None or isinstance(step.result.text, str)
    pieces = bytes(raw).splitlines(keepends=True)
    for record in read(case, pieces)[0]:
        assert (line_of(record) or 1) <= len(pieces)


@every_case
def test_a_text_beyond_the_limit_is_not_kept(case: Case) -> None:
    long = b"".join((*case.lines[: case.body], case.copy(1, MAX_TEXT_BYTES + 1)))
    told = tell(long, reader=case.mapped)
    kept = [step.result.text for step in told.calls if step.result is not None]
    assert all(len(output) <= MAX_TEXT_BYTES for output in kept)
    assert [type(step) for step in told.main] == [
        type(step) for step in tell(case.raw, reader=case.mapped).main
    ]


@every_case
def test_memory_does_not_grow_with_the_log(case: Case) -> None:
    """What is kept of a copy of the log's lines is its ids, not its four kilobytes of output."""
    padding = 4096

    def peak(copies: int) -> int:
        def lines() -> Iterator[Line]:
            number = 0
            for raw in case.lines[: case.body]:
                yield Line(number := number + 1, raw)
            for n in range(copies):
                for raw in case.copy(n, padding).splitlines(keepends=True):
                    yield Line(number := number + 1, raw)

        tally = Tally("log")
        assembly = Assembly(format=case.format, file="log", name="log", tally=tally)
        tracemalloc.start()
        try:
            for _ in walk(case.reader.read(lines(), tally=tally), assembly):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = 600, 1800
    peak(few)  # what is made once, is made here
    assert peak(many) - peak(few) < (many - few) * padding / 4


def test_a_line_beyond_the_limit_is_passed_over_without_being_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oa_compile.extract.lines.MAX_LINE_BYTES", 1000)
    case = CASES[0]
    told = tell(case.lines[0] + b"x" * 5000 + b"\n" + b"".join(case.lines[1:]))
    assert told.left_out == {"line too long": "log:2"}
    assert len(told.main) == len(tell(case.raw).main)
    assert told.tally.counts["lines_read"] == len(case.lines) + 1


@every_case
def test_the_last_line_needs_no_newline(case: Case) -> None:
    whole, cut = (tell(raw, reader=case.mapped) for raw in (case.raw, case.raw[:-1]))
    assert cut.left_out == {}
    assert [type(step) for step in cut.main] == [type(step) for step in whole.main]


@every_case
def test_other_line_ends_change_nothing(case: Case) -> None:
    raws = (case.raw, case.raw.replace(b"\n", b"\r\n"))
    whole, windows = (tell(raw, reader=case.mapped) for raw in raws)
    assert windows.format == case.format
    assert windows.left_out == {}
    assert [type(step) for step in windows.main] == [type(step) for step in whole.main]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":"\xff"}',
        b'{"hello":1}\n{"world":2}\n',
        b"\x00\x01\x02",
        b"[]",
        b"[1,2]",
        b"---\na: b\n---\n",
        b"{",
    ],
)
def test_what_is_no_log_is_no_format(raw: bytes) -> None:
    head = list(read_lines(Source(BytesIO(raw)), tally=Tally()))
    assert sniff(head) is None
    assert tell(raw).format == ""
