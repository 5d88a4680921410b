"""Near-duplicates are found without a miss: the search says what comparing all with all says."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.dataset import ExampleRecord
from oa_compile.dataset.near_duplicates import THRESHOLD, find_twins, similarity, straddling

THRESHOLDS = (0.3, 0.5, THRESHOLD, 0.7, 0.8, 0.95, 1.0)
LETTERS = [chr(ord("a") + n) for n in range(26)]
_text = st.lists(st.sampled_from([*LETTERS[:6], "x y", "ä", "日本", ""]), max_size=14).map(" ".join)
_inputs = st.fixed_dictionaries({"text": _text}, optional={"more": _text})


def record(text: str) -> ExampleRecord:
    return ExampleRecord.of({"text": text}, outputs={})


def jaccard(first: str, second: str) -> float:
    """The measure once more, in the plainest way, for small words in ASCII."""
    one, other = (
        set(itertools.pairwise(["", *text.split(), ""])) for text in (first.casefold(), second.casefold())
    )
    return len(one & other) / len(one | other)


@given(st.lists(st.sampled_from(LETTERS[:5])).map(" ".join), st.lists(st.sampled_from("ABCDE")).map(" ".join))
def test_the_measure_is_jaccard_of_neighbouring_words(first: str, second: str) -> None:
    assert similarity({"text": first}, {"text": second}) == jaccard(first, second)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(_inputs, max_size=12),
    st.lists(_inputs, max_size=12),
    st.sampled_from(THRESHOLDS),
)
def test_a_twin_is_found_exactly_when_there_is_one(one: list, other: list, threshold: float) -> None:
    records = [ExampleRecord.of(inputs, outputs={}) for inputs in one]
    among = [ExampleRecord.of(inputs, outputs={}) for inputs in other]
    found = find_twins(records, among=among, threshold=threshold)
    for mine, twin in zip(records, found, strict=True):
        if twin is None:
            assert all(similarity(mine.inputs, each.inputs) < threshold for each in among)
        else:
            assert twin in among
            assert similarity(mine.inputs, twin.inputs) >= threshold


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("length", [4, 30, 400])
def test_no_pair_is_missed_at_the_threshold(length: int, threshold: float) -> None:
    """Word by word away from a text: the last near-duplicate of it, and the first text that is none."""
    dice = random.Random(f"{length} {threshold}")
    vocabulary = ["".join(word) for word in itertools.product(LETTERS[:12], repeat=3)]
    among, within, beyond = [], [], []
    for _ in range(8):
        original = " ".join(dice.choices(vocabulary, k=length))
        words, still = original.split(), original
        for place in dice.sample(range(length), k=length):
            words[place] = dice.choice(vocabulary)
            if jaccard(" ".join(words), original) < threshold:
                break
            still = " ".join(words)
        among.append(record(original))
        within.append(record(still))
        beyond.append(record(" ".join(words)))
    assert find_twins(within, among=among, threshold=threshold) == among
    assert find_twins(beyond, among=among, threshold=threshold) == [None] * len(among)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Running test 12 of the suite", "running TEST 7 of the suite!"),
        ("ﬁx the ＷＩＤＴＨ", "fix the width"),
        ("", "?!"),
        ("テストを実行して結果を確認します。", "テストを実行して結果を見ます。"),
        (
            "Let me check the whole of it, then fix it and run",
            "Let me check the whole of it, then fix it and go",
        ),
    ],
)
def test_what_is_nearly_the_same(first: str, second: str) -> None:
    assert similarity({"text": first}, {"text": second}) >= THRESHOLD


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("yes", "no"),
        ("", "no"),
        ("Let me run the tests", "Let me read the file"),
        ("実行します", "確認する"),
        ("the dog bites the man", "the man bites the dog"),
    ],
)
def test_what_is_not(first: str, second: str) -> None:
    assert similarity({"text": first}, {"text": second}) < THRESHOLD


def test_values_that_are_no_text_count_too() -> None:
    first = {"text": "fix it", "files": ["a.py", "b.py"], "options": {"deep": True, "wide": False}}
    second = {"options": {"wide": False, "deep": True}, "files": ["a.py", "b.py"], "text": "fix it"}
    assert similarity(first, second) == 1
    assert similarity(first, {**first, "files": ["tests", "docs"]}) < THRESHOLD


def test_a_record_without_inputs_is_the_twin_of_another() -> None:
    bare = ExampleRecord.of({}, outputs={"a": 1})
    assert find_twins([bare], among=[ExampleRecord.of({}, outputs={})], threshold=1) != [None]
    assert find_twins([bare], among=[record("something")], threshold=THRESHOLD) == [None]


def test_each_straddler_is_told_once_with_its_most_protected_twin() -> None:
    text = "one and the same sentence in all three of them"
    splits = {
        "train": [record(text), record(f"{text} 1")],
        "val": [record(f"{text} 2")],
        "test": [record(text)],
    }
    told = [(found.split, found.home) for found in straddling(splits, threshold=THRESHOLD)]
    assert sorted(told) == [("train", "test"), ("train", "test"), ("val", "test")]


def test_a_twin_that_is_a_straddler_itself_still_counts() -> None:
    """train ~ val and val ~ test, and train is nothing like test: it does not come back when val goes."""
    words = LETTERS[:20]
    train, val, test = " ".join(words), " ".join(words[3:]), " ".join(words[6:])
    assert similarity({"t": train}, {"t": test}) < 0.7 <= similarity({"t": train}, {"t": val})
    splits = {"train": [record(train)], "val": [record(val)], "test": [record(test)]}
    told = [(found.split, found.home) for found in straddling(splits, threshold=0.7)]
    assert told == [("val", "test"), ("train", "val")]
