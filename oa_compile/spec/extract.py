"""The ``[extract]`` table of a program spec: how session logs become its examples.

Owns the words it is written in; what they do is `oa_compile.extract`'s.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from oa_compile.spec.base import SpecModel

MakerName = Literal[
    "tool_selection",
    "execution_strategy",
    "planning",
    "test_analyzer",
    "build_analyzer",
    "solution_verifier",
    "event",
]


class ExtractSpec(SpecModel):
    """How session logs become examples of this program.

    `example` names an example maker; `fields` maps this program's fields to what the maker yields,
    where the names differ (program field -> maker field).
    """

    example: MakerName = "event"
    event_type: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    limit_per_session: int | None = Field(default=None, gt=0)
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """Labels the log proves less surely are left out."""
    failures: Literal["leave_out", "feedback", "negatives"] = "leave_out"
    """What becomes of failed tries: nothing; a note in the record of what then worked (``{note}`` in a
    metric's feedback); or records of their own that say what not to do, which no optimizer is given."""
