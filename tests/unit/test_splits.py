"""Splits hold related examples together, hold twins apart, and stay as they are when logs are added."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oa_compile.dataset import SPLITS, ExampleRecord, group_key
from oa_compile.dataset.near_duplicates import THRESHOLD, similarity
from oa_compile.errors import UsageError
from oa_compile.extract.splits import Splits, split_records
from oa_compile.spec.program import SplitSpec

ONLY_TEST = SplitSpec(train=0.0, val=0.0, test=1.0)
HALF = SplitSpec(train=0.0, val=0.5, test=0.5)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("read", "run", "tests", "file", "edit", "fix", "it", "now")


def record(text: str, group: str | None = None, *, label: str = "x", source: str = "a:1") -> ExampleRecord:
    key = None if group is None else group_key("episode", group)
    return ExampleRecord.of({"text": text}, outputs={"label": label}, meta={"source": source}, group=key)


# Nothing like each other or anything else here, so that no side is ever empty: 0.7 ** 56 = 2e-9.
ANCHORS = [
    record(f"{a}{b} {b}{a}{b} {a}{b}{b}", f"anchor {a}{b}")
    for a, b in itertools.product("bcdfghjk", "pqvwxyz")
]

_text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
_record = st.builds(
    record,
    _text,
    st.sampled_from("ABCDEFGH") | st.none(),
    label=st.sampled_from("xy"),
    source=st.sampled_from(["a:1", "b:2"]),
)
_records = st.lists(_record, max_size=25)
_seed = st.integers(0, 99)


def split(records: list[ExampleRecord], seed: int = 0) -> Splits:
    return split_records([*records, *ANCHORS], spec=SplitSpec(), seed=seed)


def ids(splits: Splits, name: str) -> set[str]:
    return {one.id for one in splits.records[name]}


@settings(max_examples=150, deadline=None)
@given(_records, _records, _seed)
def test_more_logs_move_nothing_towards_train(some: list, more: list, seed: int) -> None:
    before, after = split(some, seed), split(some + more, seed)
    old = {one.id for one in some}
    assert ids(before, "test") <= ids(after, "test")
    assert not ids(before, "val") & ids(after, "train")
    # What was left out of train stays out of it: its twin does not go away.
    assert ids(after, "train") & old <= ids(before, "train")


@settings(max_examples=100, deadline=None)
@given(_records, _records, _seed)
def test_without_exact_duplicates_across_groups_nothing_moves_at_all(
    some: list, more: list, seed: int
) -> None:
    homes: dict[str, str] = {}
    unique = [one for one in some + more if homes.setdefault(one.id, one.group) == one.group]
    before, after = split([one for one in unique if one in some], seed), split(unique, seed)
    for one, other in itertools.permutations(SPLITS, 2):
        assert not ids(before, one) & ids(after, other)


@settings(max_examples=100, deadline=None)
@given(_records, _seed, st.randoms())
def test_the_order_of_records_does_not_matter(records: list, seed: int, rng) -> None:
    shuffled = list(records)
    rng.shuffle(shuffled)
    assert split(shuffled, seed) == split(records, seed)


@settings(max_examples=150, deadline=None)
@given(_records, _seed)
def test_no_id_no_group_and_no_near_duplicate_straddles(records: list, seed: int) -> None:
    splits = split(records, seed)
    for one, other in itertools.combinations(SPLITS, 2):
        assert not ids(splits, one) & ids(splits, other)
        groups = [{each.group for each in splits.records[name]} for name in (one, other)]
        assert not groups[0] & groups[1]
        for first, second in itertools.product(splits.records[one], splits.records[other]):
            assert similarity(first.inputs, second.inputs) < THRESHOLD


@settings(max_examples=100, deadline=None)
@given(_records, _seed)
def test_every_record_is_kept_or_counted(records: list, seed: int) -> None:
    splits = split(records, seed)
    kept = {one.id: name for name in SPLITS for one in splits.records[name]}
    assert len(records) + len(ANCHORS) == len(kept) + splits.duplicates + splits.near_duplicates
    for one in records:
        if one.id not in kept:
            twins = [each for name in ("val", "test") for each in splits.records[name]]
            lost_to = [each for each in twins if similarity(one.inputs, each.inputs) >= THRESHOLD]
            # A twin in val may have been left out for one in test, and is no less a twin.
            lost = [each for each in records if each.id not in kept and each.id != one.id]
            assert lost_to or any(similarity(one.inputs, each.inputs) >= THRESHOLD for each in lost)
    assert set(kept) <= {one.id for one in [*records, *ANCHORS]}


def test_where_a_group_goes_is_settled() -> None:
    """The sides of a version are those of the next: who adds logs after an update finds nothing moved."""
    records = [record(f"{a} {a}{b} {b}", f"{a}{b}") for a, b in itertools.product(LETTERS[:10], "pq")]
    splits = split_records(records, spec=SplitSpec(), seed=7)
    found = {one.inputs["text"].split()[1]: name for name in SPLITS for one in splits.records[name]}
    assert " ".join(found[f"{a}{b}"] for a, b in itertools.product(LETTERS[:10], "pq")) == SETTLED


def test_the_most_protected_side_keeps_an_exact_duplicate() -> None:
    sides = {name: next(iter(ANCHORS_BY_SIDE[name])) for name in SPLITS}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        twins = [
            ExampleRecord.of({"text": "the very same"}, outputs={}, group=sides[name].group)
            for name in (one, other)
        ]
        for order in (twins, twins[::-1]):
            splits = split(order)
            assert twins[0].id in ids(splits, other)
            assert splits.duplicates == 1
            assert splits.near_duplicates == 0


def test_near_duplicates_of_more_protected_sides_are_left_out_and_counted() -> None:
    group = {name: ANCHORS_BY_SIDE[name][0].group for name in SPLITS}
    text = "please fix the flaky test of the parser now"

    def made(number: int, side: str) -> ExampleRecord:
        inputs, source = {"text": f"{text} {number}"}, f"{side}.jsonl:{number}"
        return ExampleRecord.of(inputs, outputs={}, meta={"source": source}, group=group[side])

    splits = split([made(1, "train"), made(2, "train"), made(3, "val"), made(4, "test")])
    (left,) = splits.left_out
    assert (left.reason, left.count, left.first) == (
        "near-duplicate of a holdout example",
        3,
        "train.jsonl:1",
    )
    assert made(4, "test").id in ids(splits, "test")
    claim = splits.method.near_duplicates
    assert claim is not None
    assert claim.left_out == {"train": 2, "val": 1}

    splits = split([made(1, "train"), made(2, "train"), made(3, "val")])
    (left,) = splits.left_out
    assert (left.reason, left.count) == ("near-duplicate of a val example", 2)
    assert made(3, "val").id in ids(splits, "val")


def test_near_duplicates_on_one_side_stay() -> None:
    splits = split_records([record("run test 1"), record("run test 2")], spec=ONLY_TEST)
    assert len(splits.records["test"]) == 2
    assert splits.near_duplicates == 0


def test_the_same_inputs_with_other_outputs_are_counted() -> None:
    records = [record("let me check", "one", label="read"), record("let me check", "one", label="run")]
    assert split(records).conflicts == 1


def test_the_seed_decides() -> None:
    assert len({tuple(sorted(ids(split([], seed), "test"))) for seed in range(6)}) > 1


def test_shares_are_kept_on_average() -> None:
    spec = SplitSpec(train=0.5, val=0.2, test=0.3)
    records = [record(f"{a} {b} {c}", f"{a}{b}{c}") for a, b, c in itertools.permutations(LETTERS[:10], 3)]
    splits = split_records(records, spec=spec)
    assert len(records) == sum(map(len, splits.records.values())) == 720
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        assert abs(len(splits.records[name]) / 720 - share) < 0.08
    assert splits.method.shares == {"train": 0.5, "val": 0.2, "test": 0.3}
    assert splits.method.group == "episode"


@pytest.mark.parametrize(("train", "val"), [(0.0, 0.7), (0.6, 0.1), (0.7, 0.0)])
def test_other_shares_of_train_and_val_leave_the_testset_alone(train: float, val: float) -> None:
    other = split_records(ANCHORS, spec=SplitSpec(train=train, val=val, test=0.3))
    assert other.records["test"] == split([]).records["test"]


def test_a_missing_holdout_is_an_error_that_says_what_to_do() -> None:
    lonely = ANCHORS_BY_SIDE["train"][0]
    with pytest.raises(
        UsageError, match="missing holdout: the test split would be empty: none of 1 groups"
    ) as e:
        split_records([lonely], spec=SplitSpec())
    assert "add more session logs" in e.value.hint
    assert 'may be narrower than "episode"' in e.value.hint


def test_an_empty_split_is_an_error() -> None:
    lonely = ANCHORS_BY_SIDE["test"][0]
    with pytest.raises(UsageError, match=r"^the val split would be empty: none of 1 groups"):
        split_records([lonely], spec=HALF)


def test_a_split_that_is_all_near_duplicates_is_an_error_that_says_so() -> None:
    groups = {one.group for one in ANCHORS}
    records = [
        ExampleRecord.of({"text": f"always the same words, number {n}"}, outputs={}, group=group)
        for n, group in enumerate(sorted(groups))
    ]
    with pytest.raises(UsageError, match=r"the val split would be empty: each of its \d+ examples is a near"):
        split_records(records, spec=SplitSpec())


def test_a_split_without_a_share_may_be_empty() -> None:
    splits = split_records([record("alone")], spec=ONLY_TEST)
    assert splits.records["train"] == ()
    assert len(splits.records["test"]) == 1


SETTLED = (
    "test test val train train train val train test train "
    "train train train test train test train train test test"
)
ANCHORS_BY_SIDE = split([]).records
