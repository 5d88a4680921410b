"""Digests: the canonical form is OpenAgents' own, and says the same of equal values only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile.digest import canonical_json, digest_bytes, digest_file, digest_json, short

LOOSE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy: how long an example takes says nothing."""
VECTORS = Path(__file__).parents[3] / "shared" / "data" / "other" / "spacetime_payload_hash_vectors.v1.json"

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.skipif(not VECTORS.is_file(), reason="OpenAgents' vectors are not beside the checkout")
def test_the_canonical_form_is_the_one_openagents_publishes() -> None:
    vectors = json.loads(VECTORS.read_bytes())["vectors"]
    assert len(vectors) == 5
    for vector in vectors:
        assert canonical_json(vector["payload"]).decode() == vector["canonical_json"], vector["name"]
        assert digest_json(vector["payload"]) == vector["sha256"], vector["name"]


@pytest.mark.parametrize(
    ("value", "hexdigest"),
    [  # made with `printf '%s' '<canonical form>' | sha256sum`
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        (
            {"b": {"y": "z"}, "a": [1, 2.5, -3, True, False, None]},
            "0dd12aef8ca71148a69b82f294416b5a52749200793457c352765a6af766f1b0",
        ),
        ('grün 😀 \u0001"\\/', "1363bc865d4f7b1f195b35369894b953579664897254b9bad147f93c244f0a83"),
        (
            {"😀": 3, "ä": 2, "a": 1, "A": 0},
            "35bb1513fd406fbffcaf1cb28f976b1a6ab81084a7acf1530f5d1b741259aa37",
        ),
        ("\u2028\x7f", "daa0b8668c42f8a54ab2b8d7e175da6fddca9ad19f3849ca775f53b427e33e40"),
    ],
    ids=["empty", "nested", "text", "key order", "separators"],
)
def test_vectors_of_ours(value: Any, hexdigest: str) -> None:
    assert digest_json(value) == f"sha256:{hexdigest}"


@given(JSON)
@LOOSE
def test_the_canonical_form_says_the_value(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert b"\n" not in text


@given(st.dictionaries(TEXTS, st.integers()), st.randoms())
@LOOSE
def test_the_order_of_keys_does_not_matter(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest_json(dict(items)) == digest_json(value)


@given(JSON, JSON)
@LOOSE
def test_other_values_have_other_digests(one: Any, other: Any) -> None:
    assert (digest_json(one) == digest_json(other)) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}], ids=repr)
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object, {"a": 1j}, {1: 1, "1": 2}], ids=repr)
def test_types_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        digest_json(value)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        digest_json("\ud800")


def test_files_are_digested_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"oacompile\n")
    expected = "sha256:dbadb522f95ea5df1b5106ac1247c385097d8bd2ae0be5a8df7ba337d8d57154"
    assert digest_file(path) == digest_bytes(b"oacompile\n") == expected
    path.write_bytes(b"x" * 3_000_000)
    assert digest_file(path) == digest_bytes(b"x" * 3_000_000)


def test_people_read_twelve_digits() -> None:
    assert short("sha256:44136fa355b3678a1146ad16f7e8649e") == short("44136fa355b3678a") == "44136fa355b3"
