"""The card, ``dataset.json``: what a dataset is made of, how it was split, and the proof of that.

Owns the card's shape, what must hold within it, and reading it.

The proof: every split lists its `members`, the digests of its examples and their groups. The lists have
nothing in common, so nothing is on two sides; and each file is held to its own list when it is loaded.
So whoever loads one split knows that it shares no example and no group with the others, the sealed
testset among them, and has opened none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oa_compile.dataset.record import REMAKE, ExampleRecord
from oa_compile.digest import PREFIX, digest_json
from oa_compile.errors import DigestMismatch, UsageError

CARD_NAME = "dataset.json"
SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
BY_PROTECTION: tuple[SplitName, ...] = ("test", "val", "train")
"""The most protected first: what two splits lay claim to stays in the earlier one."""
GroupKind = Literal["episode", "repository", "session", "none"]
_MARK = 16
"""Hex digits of a digest in a list of members: 64 bits, no two alike by chance in any dataset."""


class _CardModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceInfo(_CardModel):
    """One log that was read. `path` is relative to the deepest folder that holds all sources."""

    path: str
    format: str
    digest: str
    bytes: int = Field(ge=0)
    lines: int = Field(ge=0)
    sessions: int = Field(ge=0)
    examples: int = Field(ge=0)


class LeftOut(_CardModel):
    """Lines, calls or examples that were not used, with one place to look (``file:line``)."""

    reason: str
    count: int = Field(gt=0)
    first: str


class SplitInfo(_CardModel):
    """One split's file and who is in it."""

    file: str = Field(pattern=r"^[\w.-]+\.jsonl$")
    digest: str
    """Of the file's bytes."""
    n: int = Field(ge=0)
    share: float = Field(ge=0, le=1)
    """Of all records, as it came out, to four decimals."""
    groups: int = Field(ge=0)
    groups_digest: str
    """Of the sorted group keys."""
    members: str = Field(pattern=r"^([0-9a-f]{16}( [0-9a-f]{16})*)?$")
    """The first 16 hex digits of every id and group key, each once, sorted."""

    @classmethod
    def of(cls, records: Iterable[ExampleRecord], *, file: str, digest: str, total: int) -> Self:
        """What the card says of a split with these records, of `total` in all splits."""
        held = list(records)
        groups = {record.group for record in held}
        members = {mark(key) for record in held for key in (record.id, record.group)}
        return cls(
            file=file,
            digest=digest,
            n=len(held),
            share=_share(len(held), total),
            groups=len(groups),
            groups_digest=digest_json(sorted(groups)),
            members=" ".join(sorted(members)),
        )


class NearDuplicates(_CardModel):
    """What counts as a near-duplicate, and how many examples were left out for having a twin in a more
    protected split, by the split they were left out of. No pair that reaches the threshold straddles.
    """

    measure: str
    threshold: float = Field(gt=0, le=1)
    left_out: dict[SplitName, int] = {}


class SplitMethod(_CardModel):
    """How records were assigned: enough to do it again. `shares` are those asked for."""

    method: str
    seed: int
    group: GroupKind
    shares: dict[SplitName, float]
    near_duplicates: NearDuplicates | None = None
    """None when nobody looked for them."""


class Checked(_CardModel):
    """What was looked for when the splits were written. It was not found, or there were no card."""

    ids_in_two_splits: Literal[0] = 0
    groups_in_two_splits: Literal[0] = 0
    near_duplicates_in_two_splits: Literal[0] | None = None
    """None when nobody looked for them."""


class DatasetCard(_CardModel):
    """``dataset.json``: what the dataset is made of, and what was left out and why."""

    schema_version: Literal[2] = 2
    program: str
    description: str = ""
    sources: tuple[SourceInfo, ...] = ()
    counts: dict[str, int] = {}
    left_out: tuple[LeftOut, ...] = ()
    redacted: dict[str, int] = {}
    """Replacements on the way in, by kind; what was replaced is never shown."""
    split: SplitMethod
    checked: Checked | None = None
    splits: dict[SplitName, SplitInfo] = {}

    @model_validator(mode="after")
    def _shares_are_those_of_the_records(self) -> Self:
        total = sum(info.n for info in self.splits.values())
        for name, info in self.splits.items():
            if info.share != _share(info.n, total):
                raise ValueError(f"the share of {name} is {info.n} of {total} records, not {info.share:g}")
        return self


def mark(digest: str) -> str:
    """How a list of members names an id or a group key."""
    return digest.removeprefix(PREFIX)[:_MARK]


def load_card(folder: Path) -> DatasetCard:
    """The card of a dataset, with its holdout proven apart.

    Raises UsageError when it is missing, does not hold, or names no holdout; DigestMismatch when a
    member of one split is in another too.
    """
    path = folder / CARD_NAME
    try:
        card = DatasetCard.model_validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        if place == "schema_version":
            raise UsageError(
                f"{path}: schema_version {first['input']}: another version of oacompile made it, and its "
                "splits cannot be checked",
                hint=REMAKE,
            ) from error
        raise UsageError(f"{path}: not a dataset card: {place}: {first['msg']}", hint=REMAKE) from error
    holdout = card.splits.get("test")
    if holdout is None or holdout.n == 0:
        raise UsageError(
            f"{path}: missing holdout: " + ("there is no test split" if holdout is None else "it is empty"),
            hint=REMAKE,
        )
    seen: dict[str, SplitName] = {}
    for name in BY_PROTECTION:
        for member in card.splits[name].members.split() if name in card.splits else ():
            if (other := seen.setdefault(member, name)) != name:
                raise DigestMismatch(
                    f"{path}: {_contaminated(other)}: the {name} split has its member {member} too",
                    hint=REMAKE,
                )
    return card


def check_members(
    card: DatasetCard, split: SplitName, records: Iterable[ExampleRecord], *, path: Path
) -> None:
    """Hold the records of a split's file to the card, their places to `path`.

    Raises DigestMismatch when one of them belongs to another split, or they are not those listed.
    """
    held, info = list(records), card.splits[split]
    others = {
        member: name
        for name in reversed(BY_PROTECTION)
        if name != split and name in card.splits
        for member in card.splits[name].members.split()
    }
    for number, record in enumerate(held, start=1):
        for what, key in (("example", record.id), ("group", record.group)):
            if (other := others.get(mark(key))) is not None:
                holdout = min(split, other, key=BY_PROTECTION.index)
                raise DigestMismatch(
                    f"{path}:{number}: {_contaminated(holdout)}: {what} {mark(key)} is in the {other} split "
                    "too",
                    hint=REMAKE,
                )
    total = sum(each.n for each in card.splits.values())
    expected = SplitInfo.of(held, file=info.file, digest=info.digest, total=total)
    if expected != info:
        wrong = [name for name in SplitInfo.model_fields if getattr(expected, name) != getattr(info, name)]
        raise DigestMismatch(
            f"{path}: its records are not those the card lists: {', '.join(wrong)} would be different",
            hint=REMAKE,
        )


def read_bytes(path: Path) -> bytes:
    """A dataset's file. Raises UsageError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", hint=REMAKE) from error


def _share(n: int, total: int) -> float:
    return round(n / total, 4) if total else 0.0


def _contaminated(split: SplitName) -> str:
    return "contaminated holdout" if split == "test" else f"contaminated {split} split"
