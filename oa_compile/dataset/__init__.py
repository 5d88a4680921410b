"""Datasets: records, splits, and the card that proves them apart.

The public door is everything here. It does not know where records come from (`extract`), how splits are
chosen (`extract.splits`), or what DSPy makes of them. The search for near-duplicates is imported where it
is needed: whoever reads a card needs no numpy.
"""

from oa_compile.dataset.card import (
    BY_PROTECTION,
    CARD_NAME,
    SPLITS,
    Checked,
    DatasetCard,
    GroupKind,
    LeftOut,
    NearDuplicates,
    SourceInfo,
    SplitInfo,
    SplitMethod,
    SplitName,
    load_card,
)
from oa_compile.dataset.record import ExampleRecord, group_key, record_id
from oa_compile.dataset.store import Split, load_split, load_unsealed, write_dataset

__all__ = [
    "BY_PROTECTION",
    "CARD_NAME",
    "SPLITS",
    "Checked",
    "DatasetCard",
    "ExampleRecord",
    "GroupKind",
    "LeftOut",
    "NearDuplicates",
    "SourceInfo",
    "Split",
    "SplitInfo",
    "SplitMethod",
    "SplitName",
    "group_key",
    "load_card",
    "load_split",
    "load_unsealed",
    "record_id",
    "write_dataset",
]
