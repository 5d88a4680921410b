"""Datasets on disk: the same records give the same bytes, and nothing is read that was not promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.dataset import (
    Checked,
    DatasetCard,
    ExampleRecord,
    NearDuplicates,
    SplitMethod,
    SplitName,
    group_key,
    load_card,
    load_split,
    load_unsealed,
    record_id,
    write_dataset,
)
from oa_compile.dataset.card import mark
from oa_compile.dataset.near_duplicates import MEASURE, THRESHOLD
from oa_compile.dataset.record import encode_record
from oa_compile.digest import digest_bytes, digest_json
from oa_compile.errors import DigestMismatch, ExitCode, UsageError

GROUP = group_key("episode", "a").encode()
CARD = DatasetCard(
    program="triage",
    split=SplitMethod(
        method="by hand",
        seed=0,
        group="episode",
        shares={"train": 0.5, "val": 0.25, "test": 0.25},
        near_duplicates=NearDuplicates(measure=MEASURE, threshold=THRESHOLD),
    ),
)


def record(text: str, label: str = "read", *, group: str | None = None) -> ExampleRecord:
    key = None if group is None else group_key("episode", group)
    return ExampleRecord.of(
        {"thought": text}, outputs={"tool": label}, meta={"source": "a.jsonl:1"}, group=key
    )


PARTS: dict[SplitName, list[ExampleRecord]] = {
    "train": [record("one", group="a"), record("two", group="a")],
    "val": [record("three", group="b")],
    "test": [record("four")],
}


def written(folder: Path) -> DatasetCard:
    return write_dataset(folder, card=CARD, records=PARTS)


def edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the card by hand; the shares it tells are kept true."""
    card = json.loads((folder / "dataset.json").read_text())
    change(card)
    total = sum(info["n"] for info in card["splits"].values())
    for info in card["splits"].values():
        info["share"] = round(info["n"] / total, 4)
    (folder / "dataset.json").write_text(json.dumps(card))


def rewrite(folder: Path, split: str, data: bytes) -> None:
    """Replace a split's file and make the card agree with its bytes."""
    (folder / f"{split}.jsonl").write_bytes(data)
    told = {"digest": digest_bytes(data), "n": len(data.splitlines())}
    edit_card(folder, lambda card: card["splits"][split].update(told))


def lines(*records: ExampleRecord) -> bytes:
    return b"".join(encode_record(one) for one in records)


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = written(tmp_path)
    split = load_split(tmp_path, "train")
    assert {r.inputs["thought"] for r in split.records} == {"one", "two"}
    assert split.records[0].meta == {"source": "a.jsonl:1"}
    assert split.digest == card.splits["train"].digest
    assert load_card(tmp_path) == card


def test_what_not_to_do_is_apart_from_what_is_scored(tmp_path: Path) -> None:
    wrong = ExampleRecord.of({"thought": "five"}, outputs={"tool": "run"}, meta={"negative": True})
    parts = PARTS | {"train": [*PARTS["train"], wrong]}
    write_dataset(tmp_path, card=CARD, records=parts)
    for train in (load_split(tmp_path, "train"), load_unsealed(tmp_path)["train"]):
        assert train.negatives == (wrong,)
        assert {record.id for record in train.records} == {record.id for record in PARTS["train"]}


def test_what_not_to_do_is_no_holdout(tmp_path: Path) -> None:
    wrong = ExampleRecord.of({"thought": "five"}, outputs={"tool": "run"}, meta={"negative": True})
    with pytest.raises(UsageError, match="missing holdout"):
        write_dataset(tmp_path, card=CARD, records=PARTS | {"test": [wrong]})


def test_bytes_do_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    records = [record(str(n)) for n in range(9)]
    for name, order in (("a", records), ("b", records[::-1])):
        write_dataset(tmp_path / name, card=CARD, records={"test": order})
    for file in ("test.jsonl", "dataset.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_a_folder_the_card_is_what_it_would_be(tmp_path: Path) -> None:
    assert write_dataset(None, card=CARD, records=PARTS) == written(tmp_path)


def test_loading_a_split_opens_no_other_split(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    assert len(load_split(tmp_path, "val").records) == 1


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "test.jsonl"
    path.write_bytes(path.read_bytes().replace(b"four", b"five"))
    with pytest.raises(DigestMismatch, match=r"test\.jsonl: the digest is") as caught:
        load_split(tmp_path, "test")
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert len(load_split(tmp_path, "train").records) == 2


def test_a_record_whose_id_is_not_its_content_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    body = json.loads((tmp_path / "val.jsonl").read_text())
    body["outputs"]["tool"] = "edit"
    rewrite(tmp_path, "val", json.dumps(body).encode() + b"\n")
    with pytest.raises(DigestMismatch, match=r"val\.jsonl:1: the id is not"):
        load_split(tmp_path, "val")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "not JSON"),
        (b"[1]", "exactly id, group, inputs, outputs and meta"),
        (b'{"id": "x"}', "exactly id"),
        (b'{"id": "x", "group": "g", "inputs": [], "outputs": {}, "meta": {}}', "must be objects"),
        (b'{"id": "x", "group": "g", "inputs": {}, "outputs": {}, "meta": {}}', "the group must be a digest"),
        (b'{"id": "x", "group": "%s", "inputs": {"a": NaN}, "outputs": {}, "meta": {}}', "no canonical JSON"),
        (
            b'{"id": "x", "group": "%s", "inputs": {"a": "\\ud800"}, "outputs": {}, "meta": {}}',
            "no canonical",
        ),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, bad: bytes, message: str) -> None:
    written(tmp_path)
    good = (tmp_path / "train.jsonl").read_bytes().splitlines()[0]
    rewrite(tmp_path, "train", good + b"\n" + bad.replace(b"%s", GROUP) + b"\n")
    with pytest.raises(UsageError, match=rf"train\.jsonl:2: .*{message}"):
        load_split(tmp_path, "train")


def test_the_number_of_records_is_checked(tmp_path: Path) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["splits"]["train"].update(n=3))
    with pytest.raises(DigestMismatch, match="2 records, the card says 3"):
        load_split(tmp_path, "train")


def test_a_missing_card_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.json: cannot read") as caught:
        load_split(tmp_path, "train")
    assert "oacompile extract" in caught.value.hint


def test_a_card_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": 1}))
    with pytest.raises(UsageError, match="note"):
        load_card(tmp_path)


def test_a_card_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"val.jsonl"', '"../val.jsonl"'))
    with pytest.raises(UsageError, match="not a dataset card"):
        load_split(tmp_path, "val")


def test_a_split_the_card_does_not_name(tmp_path: Path) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["splits"].pop("val"))
    with pytest.raises(UsageError, match="there is no val split"):
        load_split(tmp_path, "val")


def test_a_card_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card.update(schema_version=1))
    with pytest.raises(UsageError, match="schema_version 1: another version") as caught:
        load_card(tmp_path)
    assert "oacompile extract" in caught.value.hint


# -- what the card proves --------------------------------------------------------------------------


def test_the_card_tells_the_shares_the_groups_and_what_was_checked(tmp_path: Path) -> None:
    card = written(tmp_path)
    told = {name: (info.n, info.share, info.groups) for name, info in card.splits.items()}
    assert told == {"train": (2, 0.5, 1), "val": (1, 0.25, 1), "test": (1, 0.25, 1)}
    assert card.checked == Checked(near_duplicates_in_two_splits=0)
    assert card.splits["train"].groups_digest == digest_json([group_key("episode", "a")])
    # Two ids and their group; a record that stands alone is its own group.
    assert [len(info.members.split()) for info in card.splits.values()] == [3, 2, 1]


def test_a_card_whose_near_duplicates_nobody_looked_for_does_not_claim_it(tmp_path: Path) -> None:
    split = CARD.split.model_copy(update={"near_duplicates": None})
    card = write_dataset(tmp_path, card=CARD.model_copy(update={"split": split}), records=PARTS)
    assert card.checked == Checked(near_duplicates_in_two_splits=None)


@pytest.mark.parametrize(
    ("intruder", "message"),
    [
        (record("four"), "example .* is in the train and the test split"),
        (record("five", group="b"), "group .* is in the train and the val split"),
        (record("FOUR", label="run"), "example .* of the train split is a near-duplicate of"),
    ],
)
def test_nothing_that_straddles_is_written(tmp_path: Path, intruder: ExampleRecord, message: str) -> None:
    parts = {**PARTS, "train": [*PARTS["train"], intruder]}
    with pytest.raises(UsageError, match=message):
        write_dataset(tmp_path / "out", card=CARD, records=parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("parts", [{}, {"train": [record("one")]}, {"train": [record("one")], "test": []}])
def test_no_dataset_is_written_without_a_holdout(tmp_path: Path, parts: dict) -> None:
    with pytest.raises(UsageError, match="missing holdout"):
        write_dataset(tmp_path / "out", card=CARD, records=parts)
    assert not (tmp_path / "out").exists()


def test_a_missing_holdout_is_an_error_for_whoever_loads_another_split(tmp_path: Path) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["splits"].pop("test"))
    with pytest.raises(UsageError, match="missing holdout: there is no test split") as caught:
        load_split(tmp_path, "train")
    assert caught.value.exit_code == ExitCode.USAGE


def test_so_is_an_empty_one(tmp_path: Path) -> None:
    written(tmp_path)
    rewrite(tmp_path, "test", b"")
    with pytest.raises(UsageError, match="missing holdout: it is empty"):
        load_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("intruder", "message"),
    [
        (PARTS["test"][0], "contaminated holdout: example .* is in the test split too"),
        (record("five", group="b"), "contaminated val split: group .* is in the val split too"),
        (
            # A test example under another group: what gives it away is its id.
            ExampleRecord.of({"thought": "four"}, outputs={"tool": "read"}, group=group_key("episode", "a")),
            "contaminated holdout: example .* is in the test split too",
        ),
    ],
)
def test_a_split_with_what_another_holds_is_refused_without_opening_that(
    tmp_path: Path, intruder: ExampleRecord, message: str
) -> None:
    written(tmp_path)
    rewrite(tmp_path, "train", lines(*PARTS["train"], intruder))
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(DigestMismatch, match=rf"train\.jsonl:3: {message}") as caught:
        load_split(tmp_path, "train")
    assert caught.value.exit_code == ExitCode.MISMATCH


def test_a_card_that_lists_a_member_twice_is_refused(tmp_path: Path) -> None:
    """Who puts a test example into train and makes the card's list of train agree is caught by the lists."""
    written(tmp_path)
    rewrite(tmp_path, "train", lines(*PARTS["train"], *PARTS["test"]))
    members = " ".join(sorted(mark(key) for one in PARTS["test"] for key in {one.id, one.group}))
    edit_card(tmp_path, lambda card: card["splits"]["train"].update(members=members))
    with pytest.raises(DigestMismatch, match="contaminated holdout: the train split has its member"):
        load_card(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("groups", 2), ("groups_digest", "sha256:0"), ("members", "0123456789abcdef")]
)
def test_a_card_that_tells_other_members_than_the_file_has_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["splits"]["train"].update({key: value}))
    with pytest.raises(DigestMismatch, match=f"not those the card lists: {key} would"):
        load_split(tmp_path, "train")


def test_a_record_that_was_put_into_another_group_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    moved = ExampleRecord.of({"thought": "one"}, outputs={"tool": "read"}, group=group_key("episode", "new"))
    rewrite(tmp_path, "train", lines(moved, PARTS["train"][1]))
    with pytest.raises(DigestMismatch, match="not those the card lists: groups, groups_digest, members"):
        load_split(tmp_path, "train")


def test_a_card_with_a_false_share_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"share": 0.5', '"share": 0.4'))
    with pytest.raises(UsageError, match=r"the share of train is 2 of 4 records, not 0\.4"):
        load_card(tmp_path)


@pytest.mark.parametrize("claim", ["ids", "groups", "near_duplicates"])
def test_a_card_that_admits_a_straddler_is_refused(tmp_path: Path, claim: str) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["checked"].update({f"{claim}_in_two_splits": 1}))
    with pytest.raises(UsageError, match="Input should be 0"):
        load_card(tmp_path)


def test_whoever_opens_all_splits_looks_for_near_duplicates_again(tmp_path: Path) -> None:
    """Every list and digest was made to agree; only the texts themselves tell."""
    written(tmp_path)
    twin = record("FOUR", group="a")
    bare = CARD.model_copy(update={"split": CARD.split.model_copy(update={"near_duplicates": None})})
    write_dataset(tmp_path, card=bare, records={**PARTS, "train": [*PARTS["train"], twin]})
    claim = NearDuplicates(measure=MEASURE, threshold=THRESHOLD).model_dump(mode="json")
    assert len(load_unsealed(tmp_path)["test"].records) == 1
    edit_card(tmp_path, lambda card: card["split"].update(near_duplicates=claim))
    assert len(load_split(tmp_path, "train").records) == 3
    with pytest.raises(
        DigestMismatch, match=r"contaminated holdout: .* of the train split is a near-duplicate"
    ):
        load_unsealed(tmp_path)


def test_near_duplicates_by_a_measure_from_elsewhere_cannot_be_checked(tmp_path: Path) -> None:
    written(tmp_path)
    edit_card(tmp_path, lambda card: card["split"]["near_duplicates"].update(measure="by eye"))
    with pytest.raises(UsageError, match="`by eye`, which this version"):
        load_unsealed(tmp_path)


# -- records ---------------------------------------------------------------------------------------


def test_a_group_is_a_digest_and_its_kind_counts() -> None:
    with pytest.raises(ValueError, match="group_key"):
        ExampleRecord.of({"a": 1}, outputs={}, group="acme/secret#12")
    assert group_key("session", "a") != group_key("episode", "a")
    assert group_key("episode", "a", "b") != group_key("episode", "ab")


def test_meta_is_no_part_of_the_identity() -> None:
    one = ExampleRecord.of({"a": 1}, outputs={"b": 2}, meta={"source": "x:1"})
    other = ExampleRecord.of({"a": 1}, outputs={"b": 2}, meta={"source": "y:2"})
    assert one.id == other.id == record_id({"a": 1}, outputs={"b": 2})


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), _json, max_size=3), _json)
def test_writing_and_loading_are_inverse(tmp_path_factory: pytest.TempPathFactory, inputs, output) -> None:
    folder = tmp_path_factory.mktemp("dataset")
    made = ExampleRecord.of(inputs, outputs={"out": output})
    write_dataset(folder, card=CARD, records={"test": [made]})
    assert load_split(folder, "test").records == (made,)
