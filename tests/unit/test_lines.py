"""Lines of a log: packed or plain, cut, huge, damaged; and JSON believed only where it reads one way."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract import lines as lines_module
from oa_compile.extract.lines import Line, Source, as_lines, in_batches, objects, read_lines
from oa_compile.extract.strict import BadJson, parse_object, parse_value
from oa_compile.extract.tally import Tally

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN = b'{"a":1}\n{"b":2}\n'
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read(raw: bytes) -> tuple[list[Line], Tally, Source]:
    tally, source = Tally("log"), Source(BytesIO(raw))
    return list(read_lines(source, tally=tally)), tally, source


def document(raw: bytes) -> list[Line]:
    tally = Tally("log")
    return list(as_lines(read_lines(Source(BytesIO(raw)), tally=tally), tally=tally))


def reasons(tally: Tally) -> dict[str, str]:
    return {left.reason: left.first for left in tally.left_out()}


@pytest.mark.parametrize(
    "packed",
    [
        PLAIN,
        gzip.compress(PLAIN),
        zstd.compress(PLAIN),
        zstd.compress(PLAIN[:8]) + zstd.compress(PLAIN[8:]),
    ],
    ids=["plain", "gzip", "zstd", "zstd in two frames"],
)
def test_a_log_reads_the_same_however_it_is_packed(packed: bytes) -> None:
    found, tally, source = read(packed)
    assert found == [Line(1, b'{"a":1}\n'), Line(2, b'{"b":2}\n')]
    assert tally.counts["lines_read"] == 2
    assert source.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert source.bytes == len(packed)
    assert tally.refused() == ()


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert read(b"\xef\xbb\xbf" + PLAIN)[0] == read(PLAIN)[0]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_of_a_damaged_packed_log_the_beginning_is_used(pack: Any) -> None:
    lines = b"".join(
        json.dumps({"n": n, "x": hashlib.sha256(b"%d" % n).hexdigest()}).encode() + b"\n"
        for n in range(60_000)
    )
    packed = pack(lines)
    found, tally, _ = read(packed[: len(packed) // 2])
    assert 0 < len(found) < 60_000
    assert list(reasons(tally)) == ["packed file that is damaged from here on"]
    assert [left.reason for left in tally.refused()] == list(reasons(tally))


def test_the_digest_is_the_whole_files_also_when_reading_stops_early() -> None:
    raw = PLAIN * 500_000
    source = Source(BytesIO(raw))
    next(read_lines(source, tally=Tally("log")))
    assert source.bytes < len(raw)
    assert source.digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_a_line_too_long_is_left_out_and_the_rest_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 100)
    found, tally, _ = read(b'{"a":1}\n' + b"x" * 1000 + b'\n{"b":2}\n')
    assert [line.number for line in found] == [1, 3]
    assert reasons(tally) == {"line too long": "log:2"}


LINES = st.lists(st.sampled_from([b"", b"{}", b"x" * 30, b"y" * 99, b"z" * 100, b"z" * 101, b"w" * 350]))


@given(LINES, st.booleans(), st.integers(0, 5))
def test_batches_are_the_lines_whatever_their_sizes(bodies: list[bytes], ended: bool, looked_at: int) -> None:
    raw = b"\n".join(bodies) + (b"\n" if ended else b"")
    whole = raw.splitlines(keepends=True)
    limit = 100
    expected = [Line(number, line) for number, line in enumerate(whole, 1) if len(line) <= limit]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "MAX_LINE_BYTES", limit)
        patch.setattr(lines_module, "_BLOCK", 64)
        one_by_one, tally, source = read(raw)
        assert one_by_one == expected
        assert tally.counts["lines_read"] == len(whole)
        assert sum(left.count for left in tally.left_out()) == len(whole) - len(expected)
        assert source.bytes == len(raw)
        lines = read_lines(Source(BytesIO(raw)), tally=Tally("log"))
        assert lines.head(looked_at) == expected[:looked_at]
        batches = list(in_batches(lines))
        assert [Line(first + n, raw) for first, raws in batches for n, raw in enumerate(raws)] == expected
        assert list(in_batches(expected)) == [(number, [line]) for number, line in expected]


def test_why_lines_are_left_out() -> None:
    raw = b'{"a":1}\n{"a":1,"a":2}\n[1]\n{"a":NaN}\n{"a":"\xff"}\nnonsense\n\n' + b"[" * 3000 + b'\n{"a":'
    found, tally, _ = read(raw)
    assert [body for _, body in objects(found, tally=tally)] == [{"a": 1}]
    assert reasons(tally) == {
        "duplicate keys": "log:2",
        "not an object": "log:3",
        "NaN or infinity": "log:4",
        "invalid UTF-8": "log:5",
        "not JSON": "log:6",
        "nested too deeply": "log:8",
        "truncated line": "log:9",
    }
    assert tally.counts["blank_lines"] == 1


def test_a_document_over_many_lines_is_one_line() -> None:
    body = {"steps": [{"n": n} for n in range(50)]}
    (line,) = document(json.dumps(body, indent=2).encode())
    assert json.loads(line.raw) == body


@pytest.mark.parametrize("indent", [None, 2])
def test_the_objects_of_an_array_are_lines(indent: int | None) -> None:
    got = document(json.dumps([{"a": 1}, {"b": 2}], indent=indent).encode())
    assert [(line.number, json.loads(line.raw)) for line in got] == [(1, {"a": 1}), (2, {"b": 2})]


def test_a_truncated_first_line_makes_no_document_of_a_log() -> None:
    raw = b'{"type":"assistant","mess\n{"a":1}\n'
    assert document(raw) == read(raw)[0]


@given(JSON)
def test_what_is_written_is_what_is_read(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, separators=(",", ":"), ensure_ascii=False)):
        assert (
            parse_value(text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode()) == value
        )


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1), st.data())
def test_a_repeated_key_is_refused_wherever_it_stands(body: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(body)))
    text = json.dumps(body)[:-1] + f", {json.dumps(key)}: 1}}"
    for nested in (text, f'{{"in": [{text}]}}'):
        with pytest.raises(BadJson, match="duplicate keys"):
            parse_object(nested.encode())
