"""Datasets on disk: the same records give the same bytes, and nothing is read that was not promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.dataset import (
    DatasetCard,
    ExampleRecord,
    SplitMethod,
    load_card,
    load_split,
    record_id,
    write_dataset,
)
from oa_compile.digest import digest_bytes
from oa_compile.errors import DigestMismatch, ExitCode, UsageError

CARD = DatasetCard(
    program="triage",
    split=SplitMethod(
        method="by hand",
        seed=0,
        shares={"train": 0.5, "val": 0.25, "test": 0.25},
        groups=3,
        near_duplicate_threshold=0.7,
    ),
)


def record(text: str, label: str = "read") -> ExampleRecord:
    return ExampleRecord.of({"thought": text}, outputs={"tool": label}, meta={"source": "a.jsonl:1"})


def written(folder: Path) -> DatasetCard:
    parts = {"train": [record("one"), record("two")], "val": [record("three")], "test": [record("four")]}
    return write_dataset(folder, card=CARD, records=parts)


def rewrite(folder: Path, split: str, data: bytes) -> None:
    """Replace a split's file and make the card agree with it."""
    (folder / f"{split}.jsonl").write_bytes(data)
    card = json.loads((folder / "dataset.json").read_text())
    card["splits"][split] |= {"digest": digest_bytes(data), "n": len(data.splitlines())}
    (folder / "dataset.json").write_text(json.dumps(card))


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = written(tmp_path)
    split = load_split(tmp_path, "train")
    assert {r.inputs["thought"] for r in split.records} == {"one", "two"}
    assert split.records[0].meta == {"source": "a.jsonl:1"}
    assert split.digest == card.splits["train"].digest
    assert load_card(tmp_path) == card


def test_bytes_do_not_depend_on_the_order_of_records(tmp_path: Path) -> None:
    records = [record(str(n)) for n in range(9)]
    for name, order in (("a", records), ("b", records[::-1])):
        write_dataset(tmp_path / name, card=CARD, records={"train": order})
    for file in ("train.jsonl", "dataset.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


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
        (b"[1]", "exactly id, inputs, outputs and meta"),
        (b'{"id": "x"}', "exactly id"),
        (b'{"id": "x", "inputs": [], "outputs": {}, "meta": {}}', "must be objects"),
        (b'{"id": "x", "inputs": {"a": NaN}, "outputs": {}, "meta": {}}', "no canonical JSON form"),
        (b'{"id": "x", "inputs": {"a": "\\ud800"}, "outputs": {}, "meta": {}}', "no canonical JSON form"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, bad: bytes, message: str) -> None:
    written(tmp_path)
    good = (tmp_path / "train.jsonl").read_bytes().splitlines()[0]
    rewrite(tmp_path, "train", good + b"\n" + bad + b"\n")
    with pytest.raises(UsageError, match=rf"train\.jsonl:2: .*{message}"):
        load_split(tmp_path, "train")


def test_the_number_of_records_is_checked(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text().replace('"n": 2', '"n": 3'))
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
    path = tmp_path / "dataset.json"
    card = json.loads(path.read_text())
    del card["splits"]["val"]
    path.write_text(json.dumps(card))
    with pytest.raises(UsageError, match="there is no val split"):
        load_split(tmp_path, "val")


def test_one_example_cannot_be_in_two_splits(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train and the test split"):
        write_dataset(tmp_path, card=CARD, records={"train": [record("x")], "test": [record("x")]})


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
    write_dataset(folder, card=CARD, records={"val": [made]})
    assert load_split(folder, "val").records == (made,)
