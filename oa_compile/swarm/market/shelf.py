"""Service providers in the order of what they cost, so that the best one is found without asking all.

Owns the order only: what a cost is, and who may be taken, is the market's matter. Kept sorted: moving one
of 10,000 takes microseconds, and the first that fits is found by walking from the cheap end.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple


def serves(models: Sequence[str], model: str) -> bool:
    """Whether who announces `models` may be asked for `model`. Who names none may serve any."""
    return not model or not models or model in models


class Shelf:
    """Pubkeys in the order of a cost."""

    def __init__(self) -> None:
        self._order: list[tuple[float, bytes, str]] = []
        self._keys: dict[str, tuple[float, bytes, str]] = {}

    def __iter__(self) -> Iterator[str]:
        return (key[2] for key in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def at(self, index: int) -> str:
        """The pubkey at a place in the order."""
        return self._order[index][2]

    def put(self, pubkey: str, cost: float, tie: bytes) -> None:
        """Add a pubkey that is not there yet; of two equal costs the lower tie comes first."""
        key = self._keys[pubkey] = (cost, tie, pubkey)
        insort(self._order, key)

    def drop(self, pubkey: str) -> None:
        """Take a pubkey off; one that is not there is no error."""
        key = self._keys.pop(pubkey, None)
        if key is not None:
            del self._order[bisect_left(self._order, key)]


class Pair(NamedTuple):
    """Those that compete for every job, and those that are only tried."""

    known: Shelf
    others: Shelf


class _Entry(NamedTuple):
    models: Sequence[str]
    known: bool
    cost: float
    tie: bytes


class Shelves:
    """A pair of shelves for all providers, and one for each model that was ever asked for."""

    def __init__(self, *, salt: bytes) -> None:
        """`salt` (at most 64 bytes) decides who of two equals comes first, so that nobody gains by making
        himself a small pubkey.
        """
        self._salt = salt
        self._pairs = {"": Pair(Shelf(), Shelf())}
        self._entries: dict[str, _Entry] = {}

    def of(self, model: str) -> Pair:
        """The shelves of those that may serve `model`; of all if it is empty."""
        pair = self._pairs.get(model)
        if pair is None:
            pair = self._pairs[model] = Pair(Shelf(), Shelf())
            for pubkey, entry in self._entries.items():
                if serves(entry.models, model):
                    pair[not entry.known].put(pubkey, entry.cost, entry.tie)
        return pair

    def put(self, pubkey: str, models: Sequence[str], *, known: bool, cost: float) -> None:
        """Add or move a provider."""
        self.drop(pubkey)
        tie = hashlib.blake2b(pubkey.encode(), digest_size=8, key=self._salt).digest()
        self._entries[pubkey] = _Entry(models, known, cost, tie)
        for model, pair in self._pairs.items():
            if serves(models, model):
                pair[not known].put(pubkey, cost, tie)

    def drop(self, pubkey: str) -> None:
        """Take a provider off all shelves; one that is on none is no error."""
        if self._entries.pop(pubkey, None) is not None:
            for pair in self._pairs.values():
                pair.known.drop(pubkey)
                pair.others.drop(pubkey)
