"""The folder of a dataset: ``{train,val,test}.jsonl`` and the card, written and read.

Owns writing them with deterministic bytes, and reading them with every digest checked. Nothing is
written that straddles: no example, no group and, where the card says so, no near-duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oa_compile.dataset.card import (
    BY_PROTECTION,
    CARD_NAME,
    SPLITS,
    Checked,
    DatasetCard,
    SplitInfo,
    SplitName,
    check_members,
    load_card,
    read_bytes,
)
from oa_compile.dataset.record import REMAKE, ExampleRecord, decode_record, encode_record
from oa_compile.digest import digest_bytes, short
from oa_compile.errors import DigestMismatch, UsageError


@dataclass(frozen=True, slots=True)
class Split:
    """The records of one split, in file order, and the digest of the file they came from.

    `negatives` say what not to do. They are apart, so that nobody scores by them or shows them as demos.
    """

    name: SplitName
    records: tuple[ExampleRecord, ...]
    digest: str
    path: Path
    negatives: tuple[ExampleRecord, ...] = ()


def write_dataset(
    folder: Path | None, *, card: DatasetCard, records: Mapping[SplitName, Sequence[ExampleRecord]]
) -> DatasetCard:
    """Write the splits and then the card; returns the card with `splits` and `checked` filled in. Without
    a folder that is all: the card tells what would be written.

    Records are sorted by id, so the same records give the same bytes in whatever order they came.
    Raises UsageError, with nothing written, when anything straddles or the test split is empty; and when
    the folder cannot be written.
    """
    if all(record.negative for record in records.get("test", ())):
        raise UsageError("missing holdout: no example is in the test split")
    if (straddler := next(_straddlers(records, card), None)) is not None:
        raise UsageError(f"this is no dataset: {straddler}")
    total = sum(map(len, records.values()))
    infos: dict[SplitName, SplitInfo] = {}
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        for name in SPLITS:
            ordered = sorted(records.get(name, ()), key=lambda record: record.id)
            data = b"".join(encode_record(record) for record in ordered)
            infos[name] = SplitInfo.of(ordered, file=f"{name}.jsonl", digest=digest_bytes(data), total=total)
            if folder is not None:
                (folder / infos[name].file).write_bytes(data)
        looked = card.split.near_duplicates is not None
        checked = Checked(near_duplicates_in_two_splits=0 if looked else None)
        card = card.model_copy(update={"splits": infos, "checked": checked})
        if folder is not None:
            text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
            (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write the dataset: {error.strerror}") from error
    return card


def load_split(folder: Path, split: SplitName) -> Split:
    """The records of one split; opens its file and the card only, so the testset stays sealed.

    Raises DigestMismatch when the file is not the one the card names or holds what another split has,
    UsageError when the card has no holdout, and with ``file:line`` for a line that is no record.
    """
    card = load_card(folder)
    info = card.splits.get(split)
    if info is None:
        raise UsageError(f"{folder / CARD_NAME}: there is no {split} split", hint=REMAKE)
    path = folder / info.file
    data = read_bytes(path)
    digest = digest_bytes(data)
    if digest != info.digest:
        raise DigestMismatch(
            f"{path}: the digest is {digest}, the card says {info.digest}",
            hint=f"restore the file, or {REMAKE}",
        )
    lines = enumerate(data.splitlines(), start=1)
    records = tuple(decode_record(raw, where=f"{path}:{number}") for number, raw in lines)
    if len(records) != info.n:
        raise DigestMismatch(f"{path}: {len(records)} records, the card says {info.n}", hint=REMAKE)
    check_members(card, split, records, path=path)
    gold = tuple(record for record in records if not record.negative)
    return Split(split, gold, digest, path, tuple(record for record in records if record.negative))


def load_unsealed(folder: Path) -> Mapping[SplitName, Split]:
    """All splits, the testset among them, with the one check that needs them together: that no
    near-duplicate straddles, if the card says so. For whoever scores the testset.

    Raises what `load_split` does, and DigestMismatch for a near-duplicate.
    """
    card = load_card(folder)
    splits = {name: load_split(folder, name) for name in SPLITS}
    records = {name: (*split.records, *split.negatives) for name, split in splits.items()}
    if (straddler := next(_straddlers(records, card), None)) is not None:
        raise DigestMismatch(f"{folder}: contaminated holdout: {straddler}", hint=REMAKE)
    return splits


def _straddlers(records: Mapping[SplitName, Sequence[ExampleRecord]], card: DatasetCard) -> Iterator[str]:
    """What is in two splits, in words."""
    homes: dict[str, SplitName] = {}
    for name in BY_PROTECTION:
        for record in records.get(name, ()):
            for what, key in (("example", record.id), ("group", record.group)):
                if (other := homes.setdefault(key, name)) != name:
                    yield f"{what} {short(key)} is in the {name} and the {other} split"
    claim = card.split.near_duplicates
    if claim is None:
        return
    from oa_compile.dataset import near_duplicates

    if claim.measure != near_duplicates.MEASURE:
        raise UsageError(
            f"the splits were checked with `{claim.measure}`, which this version of oacompile does not know",
            hint=REMAKE,
        )
    for found in near_duplicates.straddling(records, threshold=claim.threshold):
        yield (
            f"example {short(found.record.id)} of the {found.split} split is a near-duplicate of "
            f"{short(found.twin.id)} of the {found.home} split"
        )
