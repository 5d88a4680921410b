"""Drafts: what a maker yields before the program's own field names and types are applied.

Owns the shape; a leaf, so that makers need nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Draft:
    """Inputs and outputs by the maker's field names.

    `line` proves the outputs, `evidence` says more (lines, call ids) for the record's meta; `confidence`
    (0 … 1) says how surely the log proves the outputs. `feedback` is what a failed try showed, for
    optimizers that read text. `negative` says that the outputs are what not to do.
    `group` names what it is related to, where the maker knows better than the session.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    line: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    feedback: str = ""
    negative: bool = False
    group: str = ""
