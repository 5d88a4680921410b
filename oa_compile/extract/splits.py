"""Splits: which records train, which choose, and which are sealed away.

Owns which side a record is on, and which records are left out for what another side holds.

A record goes where its group goes, and a group goes where the hash of the seed and its key says. So a
side depends on nothing else that was found: with more logs no group ever moves. Two things can still be
the same across groups, and the more protected side (test, then val, then train) keeps them:

- of exact duplicates one record is kept;
- a record with a near-duplicate on a more protected side is left out, and counted.

So with more logs an example can only be left out, or be kept by a more protected side than before when
the very same example turns up there. What is in the testset stays in it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from oa_compile.dataset import (
    BY_PROTECTION,
    SPLITS,
    ExampleRecord,
    LeftOut,
    NearDuplicates,
    SplitMethod,
    SplitName,
)
from oa_compile.digest import canonical_json, digest_json
from oa_compile.errors import UsageError
from oa_compile.spec.program import SplitSpec

METHOD = "groups by hash of seed and key"


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint records by split, sorted by id, and what was found on the way."""

    records: Mapping[SplitName, tuple[ExampleRecord, ...]]
    method: SplitMethod
    duplicates: int
    left_out: tuple[LeftOut, ...]
    """Near-duplicates of what a more protected split holds, by that split."""
    conflicts: int
    """Records whose inputs another record of their split has with different outputs: honest noise."""

    @property
    def near_duplicates(self) -> int:
        """Records left out for a near-duplicate in a more protected split."""
        return sum(left.count for left in self.left_out)


def split_records(records: Iterable[ExampleRecord], *, spec: SplitSpec, seed: int | None = None) -> Splits:
    """Assign every distinct record to the split of its group; the order of records does not matter.

    Raises UsageError when a split with a share stays empty.
    """
    # Numpy is half of what reading logs takes to start.
    from oa_compile.dataset.near_duplicates import MEASURE, THRESHOLD, straddling

    seed = spec.seed if seed is None else seed
    shares: dict[SplitName, float] = {"train": spec.train, "val": spec.val, "test": spec.test}
    sides, total = _assign(records, seed=seed, shares=shares)
    twins = list(straddling(sides, threshold=THRESHOLD))
    lost = {found.record.id for found in twins}
    kept = {name: tuple(record for record in sides[name] if record.id not in lost) for name in SPLITS}
    lost_by = Counter(found.split for found in twins)
    _refuse_empty(kept, sides=sides, shares=shares, lost=lost_by, kind=spec.group)
    return Splits(
        records=kept,
        method=SplitMethod(
            method=METHOD,
            seed=seed,
            group=spec.group,
            shares=shares,
            near_duplicates=NearDuplicates(
                measure=MEASURE,
                threshold=THRESHOLD,
                left_out={name: lost_by[name] for name in ("train", "val")},
            ),
        ),
        duplicates=total - sum(map(len, sides.values())),
        left_out=tuple(
            LeftOut(reason=f"near-duplicate of {word} example", count=len(places), first=min(places))
            for word, home in (("a holdout", "test"), ("a val", "val"))
            if (places := [_place(found.record) for found in twins if found.home == home])
        ),
        conflicts=sum(map(_conflicts, kept.values())),
    )


def _assign(
    records: Iterable[ExampleRecord], *, seed: int, shares: Mapping[SplitName, float]
) -> tuple[dict[SplitName, list[ExampleRecord]], int]:
    """Distinct records by the side of their group, sorted by id, and how many records there were."""
    homes: dict[str, SplitName] = {}
    chosen: dict[str, ExampleRecord] = {}
    total = 0
    for record in records:
        total += 1
        if record.group not in homes:
            homes[record.group] = _side(record.group, seed, shares)
        rival = chosen.setdefault(record.id, record)
        if rival is not record:
            chosen[record.id] = min(rival, record, key=lambda one: _claim(one, homes))
    sides: dict[SplitName, list[ExampleRecord]] = {name: [] for name in SPLITS}
    for identity in sorted(chosen):
        record = chosen[identity]
        sides[homes[record.group]].append(record)
    return sides, total


def _claim(record: ExampleRecord, homes: Mapping[str, SplitName]) -> tuple[int, str, bytes]:
    """Which of exact duplicates is kept: the least. By content alone, so no order of logs matters."""
    return BY_PROTECTION.index(homes[record.group]), record.group, canonical_json(record.meta)


def _side(group: str, seed: int, shares: Mapping[SplitName, float]) -> SplitName:
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    point, edge = int.from_bytes(digest[:8]) / 2**64, 0.0
    # From the most protected side on: other shares of train and val move nothing into the testset.
    for name in BY_PROTECTION:
        edge += shares[name]
        if point < edge:
            return name
    # Shares add up to 1 but for rounding, and a side without a share gets nothing.
    return next(name for name in reversed(BY_PROTECTION) if shares[name] > 0)


def _refuse_empty(
    kept: Mapping[SplitName, tuple[ExampleRecord, ...]],
    *,
    sides: Mapping[SplitName, list[ExampleRecord]],
    shares: Mapping[SplitName, float],
    lost: Mapping[SplitName, int],
    kind: str,
) -> None:
    for name in BY_PROTECTION:
        if shares[name] == 0 or kept[name]:
            continue
        groups = len({record.group for side in sides.values() for record in side})
        missing = "missing holdout: " if name == "test" else ""
        if lost.get(name):
            raise UsageError(
                f"the {name} split would be empty: each of its {lost[name]} examples is a near-duplicate of "
                "one in a more protected split",
                hint="add logs of other work, or leave out inputs that are the same in all examples",
            )
        hint = f"add more session logs, raise splits.{name} in the program, or try another --seed"
        if kind != "none":
            hint += f'; where examples are unrelated, splits.group may be narrower than "{kind}"'
        raise UsageError(
            f"{missing}the {name} split would be empty: none of {groups} groups of related examples fell to "
            f"its share of {shares[name]:g}",
            hint=hint,
        )


def _conflicts(records: Iterable[ExampleRecord]) -> int:
    counts = Counter(digest_json(dict(record.inputs)) for record in records)
    return counts.total() - len(counts)


def _place(record: ExampleRecord) -> str:
    return str(record.meta.get("source", record.id))
