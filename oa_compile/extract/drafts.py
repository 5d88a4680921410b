"""Drafts: what a maker yields before the program's own field names and types are applied.

Owns the shape and the shared notes about places; a leaf, so that makers need nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oa_compile.extract.session import Place


@dataclass(frozen=True, slots=True)
class Draft:
    """Inputs and outputs by the maker's field names. `place` is the line that proves the outputs;
    `evidence` goes into the record's meta.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    place: Place
    evidence: Mapping[str, Any] = field(default_factory=dict)
