"""Splits: which records train, which choose, and which are sealed away.

Owns removing exact duplicates, finding near-duplicates, and assigning each group of them to one side.

A group is a cluster of records whose inputs are near-duplicates, directly or through others. It goes
where the hash of the seed and of its smallest record id says, so a record's side depends on nothing but
its own cluster: adding other records never moves it. It can move in one case only: when new records
join its cluster (or join two clusters into one) and one of them has a smaller id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oa_compile.dataset import SPLITS, ExampleRecord, SplitMethod, SplitName
from oa_compile.errors import UsageError
from oa_compile.spec.program import SplitSpec

METHOD = "near-duplicate groups by hash of seed and smallest id"
THRESHOLD = 0.7
"""Jaccard similarity of 5-character shingles from which two inputs are near-duplicates."""

_SHINGLE = 5
_BANDS, _ROWS = 32, 4
# A pair at the threshold shares a band with probability 1 - (1 - 0.7^4)^32 = 0.9998.


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint records by split, sorted by id, and what was found on the way."""

    records: Mapping[SplitName, tuple[ExampleRecord, ...]]
    method: SplitMethod
    duplicates: int
    near_duplicates: int
    conflicts: int
    """Records whose inputs another record has with different outputs: honest noise, kept on one side."""


def split_records(records: Iterable[ExampleRecord], *, spec: SplitSpec, seed: int | None = None) -> Splits:
    """Assign every distinct record to a split; the first of exact duplicates is kept.

    Raises UsageError when a split with a share stays empty.
    """
    seed = spec.seed if seed is None else seed
    distinct: dict[str, ExampleRecord] = {}
    total = 0
    for record in records:
        total += 1
        distinct.setdefault(record.id, record)
    ordered = [distinct[key] for key in sorted(distinct)]
    groups = _groups(ordered)
    shares: dict[SplitName, float] = {"train": spec.train, "val": spec.val, "test": spec.test}
    sides: dict[SplitName, list[ExampleRecord]] = {name: [] for name in SPLITS}
    for group in groups:
        sides[_side(group[0].id, seed, shares)] += group
    for name in SPLITS:
        if shares[name] > 0 and not sides[name]:
            raise UsageError(
                f"the {name} split would be empty: {len(groups)} groups of distinct examples are too few "
                f"for a share of {shares[name]:g}",
                hint=f"add more session logs, raise splits.{name} in the program, or try another --seed",
            )
    contents = [repr(sorted(record.inputs.items())) for record in ordered]
    return Splits(
        records={name: tuple(sorted(sides[name], key=lambda record: record.id)) for name in SPLITS},
        method=SplitMethod(
            method=METHOD, seed=seed, shares=shares, groups=len(groups), near_duplicate_threshold=THRESHOLD
        ),
        duplicates=total - len(ordered),
        near_duplicates=len(ordered) - len(groups),
        conflicts=len(contents) - len(set(contents)),
    )


def similarity(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Jaccard similarity of two records' inputs, 0 … 1."""
    return _jaccard(_shingles(first), _shingles(second))


def _side(group_id: str, seed: int, shares: Mapping[SplitName, float]) -> SplitName:
    digest = hashlib.sha256(f"{seed}:{group_id}".encode()).digest()
    point, edge = int.from_bytes(digest[:8]) / 2**64, 0.0
    for name in SPLITS:
        edge += shares[name]
        if point < edge:
            return name
    return "test"


def _groups(records: Sequence[ExampleRecord]) -> list[list[ExampleRecord]]:
    """Clusters of near-duplicates, each in the order of `records`, by first member."""
    shingles = [_shingles(record.inputs) for record in records]
    parent = list(range(len(records)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in _candidates(shingles):
        a, b = root(first), root(second)
        if a != b and _jaccard(shingles[first], shingles[second]) >= THRESHOLD:
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[ExampleRecord]] = {}
    for index, record in enumerate(records):
        groups.setdefault(root(index), []).append(record)
    return list(groups.values())


def _candidates(shingles: Sequence[frozenset[bytes]]) -> Iterable[tuple[int, int]]:
    """Pairs that share a band of their MinHash signatures."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    for number, signature in enumerate(MinHash.generator(shingles, num_perm=_BANDS * _ROWS)):
        for other in sorted(index.query(signature)):
            yield other, number
        index.insert(number, signature)


def _shingles(inputs: Mapping[str, Any]) -> frozenset[bytes]:
    text = " ".join(f"{inputs[name]}" for name in sorted(inputs))
    plain = re.sub(r"\d+", "0", " ".join(re.findall(r"\w+", text.lower())))
    stop = max(1, len(plain) - _SHINGLE + 1)
    return frozenset(plain[start : start + _SHINGLE].encode() for start in range(stop))


def _jaccard(first: frozenset[bytes], second: frozenset[bytes]) -> float:
    return len(first & second) / len(first | second)
