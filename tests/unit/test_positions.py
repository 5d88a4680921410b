"""Positions agree with tomllib: the text at a value's span parses to that value."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.spec.positions import Path, Span, index_positions

DOCUMENT = '''\
# a comment with [brackets] and "quotes"
title = "x" # after
"quoted key" = 'literal'
a.b.c = 1
a . "d.e" = 2

[table]
numbers = [
  1, # one
  2,
]
inline = { x = 1, y.z = [ { w = "}" } ] }
when = 1979-05-27 07:32:00
text = """
first \\""" still
last"""""
raw = \'\'\'it's\'\'\'

[[rows]]
kind = "one"
[rows.sub]
n = 1
[[rows.deep]]
n = 1

[[rows]]
kind = "two"
[[rows.deep]]
n = 2
[[rows.deep]]
n = 3
'''


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every value that is not a non-empty table, by path; arrays count themselves and their elements."""
    if isinstance(value, dict):
        return {p: v for key, item in value.items() for p, v in leaves(item, (*path, key)).items()}
    if isinstance(value, list):
        return {p: v for n, item in enumerate(value) for p, v in leaves(item, (*path, n)).items()}
    return {path: value}


def cut(text: str, span: Span) -> str:
    block = [f"{line}\n" for line in text.split("\n")][span.row - 1 : span.end_row]
    block[-1] = block[-1][: span.end_column - 1]
    block[0] = block[0][span.column - 1 :]
    return "".join(block)


def check(text: str) -> None:
    places = index_positions(text)
    for path, value in leaves(tomllib.loads(text)).items():
        assert tomllib.loads(f"v = {cut(text, places[path].value)}")["v"] == value, path


def test_every_value_of_a_varied_document_is_found() -> None:
    check(DOCUMENT)


@pytest.mark.parametrize(
    ("path", "row", "column"),
    [
        (("title",), 2, 1),
        (("quoted key",), 3, 1),
        (("a", "b", "c"), 4, 5),
        (("a", "d.e"), 5, 5),
        (("table",), 7, 2),
        (("table", "inline", "y", "z"), 12, 21),
        (("rows",), 19, 3),
        (("rows", 0, "sub"), 21, 7),
        (("rows", 1, "deep", 1, "n"), 31, 1),
    ],
)
def test_the_key_of_an_entry_is_found(path: Path, row: int, column: int) -> None:
    key = index_positions(DOCUMENT)[path].key
    assert (key.row, key.column) == (row, column)


scalars = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.dates()
    | st.datetimes()
)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=4), st.booleans())
def test_what_tomli_w_writes_is_found(document: dict[str, Any], multiline: bool) -> None:
    check(tomli_w.dumps(document, multiline_strings=multiline))
