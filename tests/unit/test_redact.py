"""Redaction of a dataset: nothing planted survives, nothing else is lost, and twice is once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.redact import redact, redact_value
from oa_compile.redaction import Pattern, patterns_for
from tests.support.secrets_made_up import MADE_UP, NAMED, PEM, A

REAL = Path(__file__).parents[3] / "shared" / "data"

PLANTS = [
    *(("", private, "") for parts in MADE_UP.values() for private in parts),
    *(parts for every in NAMED.values() for parts in every),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)

plants = st.sampled_from(PLANTS)
edges = st.sampled_from([" ", "\n", "\t", '"', "(", ")", "`", ",", "<", ">", r"\n", r"\""])


def once(value: Any) -> Any:
    return redact_value(value, counts=Counter())


@given(st.text(max_size=30), edges, plants, edges, st.text(max_size=30))
def test_what_is_planted_never_survives(
    before: str, left: str, plant: tuple[str, str, str], right: str, after: str
) -> None:
    text = before + left + "".join(plant) + right + after
    assert plant[1] not in redact(text, counts=Counter())


@given(st.lists(plants, min_size=1, max_size=4), st.integers(1, 3), JSON)
def test_nor_does_it_in_json_in_json(plants: list[tuple[str, str, str]], depth: int, other: Any) -> None:
    value: Any = {"a": [" ".join(plant) if not plant[0] else "".join(plant) for plant in plants], "b": other}
    for _ in range(depth):
        value = {"content": json.dumps(value, ensure_ascii=False)}
    left = once(value)
    for _ in range(depth):
        left = json.loads(left["content"])
    kept = " ".join(left["a"])
    assert [plant for plant in plants if plant[1] in kept] == []


@given(st.lists(plants.map("".join) | edges | st.text(max_size=5), max_size=9).map("".join))
def test_redacting_twice_changes_nothing(text: str) -> None:
    first = redact(text, counts=Counter())
    counts: Counter[str] = Counter()
    assert redact(first, counts=counts) == first
    assert counts == {}


@given(JSON)
def test_a_value_is_redacted_once_too_and_keeps_its_shape(value: Any) -> None:
    left = once(value)
    assert once(left) == left
    assert _shape(left) == _shape(value)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return ["dict", *(_shape(item) for item in value.values())]
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return type(value)


def test_what_one_replacement_uncovers_is_replaced_too() -> None:
    counts: Counter[str] = Counter()
    token = "hf_" + A * 2
    assert redact("AgEDbG5k" + A * 3 + "==" + token, counts=counts) == "<secret><secret>"
    assert redact("/home/x token=/home/a/" + A * 2, counts=counts) == "~ token=<secret>"


def test_a_value_without_private_things_is_itself() -> None:
    value = {"a": ["b", {"c": "d"}], "n": 3}
    assert redact_value(value, counts=Counter()) is value


def test_no_value_is_changed_in_place() -> None:
    value = {"a": [{"mail a@b.org": "/home/x"}]}
    copy = json.loads(json.dumps(value))
    assert once(value) == {"a": [{"mail <email>": "~"}]}
    assert value == copy


def test_keys_that_become_the_same_keep_their_values() -> None:
    value = {"a@b.org": 1, "<email>": 2, "c@d.org": 3, "x": {"/home/a": 4, "/home/b": 5}}
    assert once(value) == {"<email>_2": 1, "<email>": 2, "<email>_3": 3, "x": {"~": 4, "~_2": 5}}


def test_a_key_tells_what_its_string_is() -> None:
    counts: Counter[str] = Counter()
    value = {"db": {"password": "hunter2", "user": "app1"}, "apiKey": "x1y2z3", "list": [{"secret": "abc"}]}
    assert redact_value(value, counts=counts) == {
        "db": {"password": "<secret>", "user": "app1"},
        "apiKey": "<secret>",
        "list": [{"secret": "abc"}],
    }
    assert counts == {"named_secret": 2}


def test_counts_are_by_kind_and_tell_nothing_more() -> None:
    counts: Counter[str] = Counter()
    redact(f"{PEM} a@b.org c@d.org /home/alice", counts=counts)
    assert counts == {"private_key": 1, "email": 2, "home_path": 1}


def test_nesting_has_no_end() -> None:
    value: Any = "a@b.org"
    for _ in range(50_000):
        value = [value]
    value = once(value)
    for _ in range(50_000):
        (value,) = value
    assert value == "<email>"


def test_many_keys_of_one_kind_are_no_trap() -> None:
    left = once({f"u{number}@b.org": number for number in range(30_000)})
    assert list(left.values()) == list(range(30_000))


@pytest.mark.parametrize("glue", ["", "=", "x", " ", "-", ".", "_"])
def test_a_text_is_looked_through_a_few_times_whatever_is_in_it(
    glue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(text: str) -> Sequence[Pattern]:
        nonlocal looks
        looks += 1
        return patterns_for(text)

    monkeypatch.setattr("oa_compile.extract.redact.patterns_for", counted)
    for plant in PLANTS:
        unit = "".join(plant) + glue
        looks = 0
        redact(unit * (10_000 // len(unit)), counts=Counter())
        assert looks <= 4, unit


def test_the_rest_of_a_secrets_word_goes_too() -> None:
    key = "AC" + "0123456789abcdef" * 2
    assert redact(f"x_{key}Z9-b", counts=Counter()) == "<secret>-b"
    assert redact(rf"a\n{key}Z9é", counts=Counter()) == r"a\n<secret>é"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real logs are not beside this checkout")
def test_real_logs_lose_homes_and_addresses_and_no_code() -> None:
    counts: Counter[str] = Counter()
    for log in sorted(REAL.glob("**/*.jsonl")):
        for line in log.read_text(encoding="utf-8").splitlines():
            redact_value(json.loads(line), counts=counts)
    assert set(counts) == {"email", "home_path"}
    assert counts["home_path"] > 3000
