"""Fields of a log's object: of the type they should be, or not told; never too long."""

from __future__ import annotations

from typing import Any

import pytest

from oa_compile.extract import fields
from oa_compile.extract.session import MAX_TEXT_BYTES
from oa_compile.extract.tally import Tally
from tests.support.damage import WRONG


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_each_gives_its_type_whatever_it_is_given(value: Any) -> None:
    assert isinstance(fields.text(value), str)
    assert isinstance(fields.mapping(value), dict)
    assert isinstance(fields.listed(value), list)
    assert type(fields.whole(value)) in {int, type(None)}
    assert type(fields.count(value)) is int
    assert fields.count(value) >= 0
    assert type(fields.amount(value)) is float
    assert type(fields.truth(value)) in {bool, type(None)}
    assert isinstance(fields.written(value), str)
    assert all(isinstance(part, str) for part in fields.parts_of(value, tally=Tally()))


def test_a_number_that_is_none_is_nothing() -> None:
    assert [fields.count(n) for n in (3, -3, True, 1.5)] == [3, 0, 0, 0]
    assert [fields.amount(n) for n in (1.5, 2, True, float("nan"), float("inf"), 10**400)] == [
        1.5,
        2,
        0,
        0,
        0,
        0,
    ]


def test_a_long_text_is_cut_and_of_a_long_output_nothing_is_kept() -> None:
    tally = Tally()
    fits, long = "é" * MAX_TEXT_BYTES, "é" * (MAX_TEXT_BYTES + 1)
    assert fields.kept(fits, tally=tally) == fits == fields.kept(long, tally=tally)
    whole = fields.result(fits, 3, is_error=True, tally=tally, exit_code=2)
    assert (whole.text, whole.is_error, whole.exit_code, whole.passed_over, whole.line) == (
        fits,
        True,
        2,
        False,
        3,
    )
    assert fields.result(long, 3, is_error=False, tally=tally).passed_over
    assert fields.result(long, 3, is_error=False, tally=tally).text == ""
    assert tally.counts == {"long_texts_cut": 1, "huge_outputs_passed_over": 2}


def test_of_a_messages_parts_the_texts_count_and_the_rest_is_counted() -> None:
    tally = Tally()
    parts = [
        "a",
        {"type": "text", "text": "b"},
        {"type": "input_image"},
        {"type": "encrypted_content"},
        {"text": 1},
        7,
    ]
    assert fields.parts_of(parts, tally=tally) == ["a", "b"]
    assert tally.counts == {"image_blocks_passed_over": 1, "encrypted_parts_passed_over": 1}
