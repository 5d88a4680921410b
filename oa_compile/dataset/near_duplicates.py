"""Near-duplicates: records whose inputs say nearly the same, and the search for them.

Owns what "nearly the same" means, and finding every record of one list that has such a twin in another.
What becomes of twins is decided elsewhere.

The measure: inputs are folded (width, case, numbers) and cut into words; a record's features are its
pairs of neighbouring words; two records are near-duplicates when the Jaccard similarity of their features
reaches a threshold. A word changed here and there leaves a long text what it was, and another subject
makes another text of a short one.

The search misses no pair, unlike MinHash with bands: a card that says no near-duplicate straddles must
not mean "probably". It is the prefix filter of set similarity joins (Chaudhuri et al. 2006, Bayardo et
al. 2007). Order all features in one way; two sets of n and m features with a similarity of t or more
share a feature among the first ``n - ceil(t*n) + 1`` of the one and the first ``m - ceil(t*m) + 1`` of
the other. With rare features first, few pairs do, and those are compared in full. So the order decides
only how fast it goes, and may come from a sample.

A feature is the 64-bit digest of its pair of words. Besides the records, memory holds 8 bytes for each
feature in the prefixes of the list that is searched, and a sketch of each of its records; features are
made again where they are needed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oa_compile.dataset.card import BY_PROTECTION, SPLITS, SplitName
from oa_compile.dataset.record import ExampleRecord
from oa_compile.digest import canonical_json

Features = NDArray[np.uint64]
"""Distinct, ascending; shape (number of features,)."""

MEASURE = "Jaccard similarity of the inputs' pairs of neighbouring words"
THRESHOLD = 0.6
"""From here on two records are near-duplicates: about one word in eight is another."""

_SAMPLE = 8192
"""Records whose features are counted to tell the rare from the frequent."""
_SKETCH = 2048
"""Bits that stand for a record where most candidates are turned away (Sandes et al. 2017)."""

# Scripts that put no space between words: there, a letter is a word.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_DENSE}]|[^\\W{_DENSE}]+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_NUMBER = re.compile(r"\d+")
_LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Twins:
    """A record and one that is a near-duplicate of it, in a more protected split."""

    record: ExampleRecord
    split: SplitName
    twin: ExampleRecord
    home: SplitName


def straddling(splits: Mapping[SplitName, Sequence[ExampleRecord]], *, threshold: float) -> Iterator[Twins]:
    """Every record with a twin in a more protected split, once: with the most protected of them.

    Whether a record is told of depends on its own twins only, not on what becomes of them: with more
    records, those told of before are told of again.
    """
    waiting = [(name, record) for name in SPLITS for record in splits.get(name, ())]
    for home in BY_PROTECTION[:-1]:
        waiting = [(name, record) for name, record in waiting if name != home]
        twins = find_twins(
            [record for _name, record in waiting], among=splits.get(home, ()), threshold=threshold
        )
        for (name, record), twin in zip(waiting, twins, strict=True):
            if twin is not None:
                yield Twins(record, name, twin, home)
        waiting = [entry for entry, twin in zip(waiting, twins, strict=True) if twin is None]


def find_twins(
    records: Sequence[ExampleRecord], *, among: Sequence[ExampleRecord], threshold: float
) -> list[ExampleRecord | None]:
    """For each of `records`, one of `among` that it is a near-duplicate of; None where there is none.

    `threshold` is in 0 < t <= 1 and counts to three decimals.
    """
    if not records or not among:
        return [None] * len(records)
    order = _Order(chain(_sample(records), _sample(among)))
    index = _Index(among, order, Fraction(threshold).limit_denominator(1000))
    found = (index.twin(record) for record in records)
    return [None if number is None else among[number] for number in found]


def similarity(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """How alike two records' inputs are, 0 … 1; 1 when neither has a feature."""
    one, other = _features(first), _features(second)
    shared = np.intersect1d(one, other, assume_unique=True).size
    union = one.size + other.size - shared
    return shared / union if union else 1.0


class _Order:
    """The one order of all features: rare ones first, by counts over a sample."""

    _BITS = np.uint64(64 - 22)

    def __init__(self, sample: Iterable[ExampleRecord]) -> None:
        # Features share counters by their top bits. That blurs the order and leaves it an order.
        self._counts = np.zeros(1 << 22, dtype=np.uint32)
        for record in sample:
            self._counts[_features(record.inputs) >> self._BITS] += 1

    def prefix(self, features: Features, length: int) -> Features:
        ranks = self._counts[features >> self._BITS]
        # Stable over ascending features: ties are in the same order for every record.
        return features[np.argsort(ranks, kind="stable")[:length]]


class _Index:
    """The records that are searched, by the features of their prefixes."""

    def __init__(self, records: Sequence[ExampleRecord], order: _Order, threshold: Fraction) -> None:
        self._order, self._num, self._den = order, threshold.numerator, threshold.denominator
        self._same: dict[bytes, int] = {}
        self._sizes = np.zeros(len(records), dtype=np.int64)
        self._sketches = np.zeros((len(records), _SKETCH // 8), dtype=np.uint8)
        self._features = lru_cache(maxsize=1024)(lambda number: _features(records[number].inputs))
        postings = array("Q")
        for number, record in enumerate(records):
            features = _features(record.inputs)
            # Texts that differ in numbers only, thousands of them in some logs, are searched as one.
            if self._same.setdefault(_fingerprint(features), number) != number:
                continue
            self._sizes[number] = features.size
            self._sketches[number] = _sketch(features)
            prefix = order.prefix(features, self._prefix_length(features.size))
            # Half a digest finds candidates as well, and leaves room for whose it is.
            postings.frombytes((prefix & ~_LOW | np.uint64(number)).tobytes())
        self._postings: Features = np.frombuffer(postings, dtype=np.uint64)
        self._postings.sort()

    def twin(self, record: ExampleRecord) -> int | None:
        """The number of a record that is a near-duplicate of `record`."""
        features = _features(record.inputs)
        same = self._same.get(_fingerprint(features))
        if same is not None:
            return same
        prefix = self._order.prefix(features, self._prefix_length(features.size))
        for number in self._candidates(features, prefix):
            other = self._features(number)
            shared = np.intersect1d(features, other, assume_unique=True).size
            if shared * self._den >= self._num * (features.size + other.size - shared):
                return number
        return None

    def _candidates(self, features: Features, prefix: Features) -> list[int]:
        """Records that may reach the threshold, the likeliest first."""
        keys = np.sort(prefix & ~_LOW)
        starts = np.searchsorted(self._postings, keys, side="left")
        stops = np.searchsorted(self._postings, keys | _LOW, side="right")
        hits = [self._postings[start:stop] for start, stop in zip(starts, stops, strict=True) if start < stop]
        if not hits:
            return []
        numbers, shared = np.unique((np.concatenate(hits) & _LOW).astype(np.int64), return_counts=True)
        size, sizes = features.size, self._sizes[numbers]
        needed = -(-self._num * (size + sizes) // (self._num + self._den))
        # Whichever prefix ends earlier in the order has all it shares in the other prefix too; beyond
        # it there is no more to share than what is left of its own record.
        beyond = np.maximum(size - prefix.size, sizes - self._prefix_length(sizes))
        likely = (sizes * self._den >= size * self._num) & (size * self._den >= sizes * self._num)
        likely &= shared + beyond >= needed
        numbers, shared, needed = numbers[likely], shared[likely], needed[likely]
        # What only one of them has is at least the bits in which their sketches differ.
        apart = np.unpackbits(self._sketches[numbers] ^ _sketch(features), axis=1).sum(axis=1, dtype=np.int64)
        likely = size + self._sizes[numbers] - apart >= 2 * needed
        ranked = np.argsort(-shared[likely], kind="stable")
        return [int(number) for number in numbers[likely][ranked]]

    def _prefix_length(self, size: Any) -> Any:
        """Of a number of features, or of an array of them. Whole numbers: a rounding error loses pairs."""
        return size + (-self._num * size // self._den) + 1


def _features(inputs: Mapping[str, Any]) -> Features:
    # An empty word before, between and after the fields: also one word makes a pair.
    words = [""]
    for name in sorted(inputs):
        value = inputs[name]
        text = value if isinstance(value, str) else canonical_json(value).decode()
        if text.isascii():
            words += _ASCII_WORD.findall(text.lower())
        else:
            words += _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        words.append("")
    digests = np.fromiter(map(_digest, words), dtype=np.uint64, count=len(words))
    pairs = digests[:-1] * np.uint64(0x9E3779B97F4A7C15) + digests[1:]
    # The finish of splitmix64: all bits of a feature depend on all bits of both words.
    pairs = (pairs ^ (pairs >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    pairs = (pairs ^ (pairs >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.unique(pairs ^ (pairs >> np.uint64(31)))


@lru_cache(maxsize=1 << 17)
def _digest(word: str) -> int:
    plain = _NUMBER.sub("0", word)
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest(), "little")


def _sketch(features: Features) -> NDArray[np.uint8]:
    """For each bit, whether an odd number of features fall on it; shape (_SKETCH // 8,)."""
    counts = np.bincount((features % np.uint64(_SKETCH)).astype(np.int64), minlength=_SKETCH)
    return np.packbits((counts & 1).astype(np.uint8))


def _fingerprint(features: Features) -> bytes:
    return hashlib.blake2b(features.tobytes(), digest_size=16).digest()


def _sample(records: Sequence[ExampleRecord]) -> Sequence[ExampleRecord]:
    return records[:: len(records) // _SAMPLE + 1]
