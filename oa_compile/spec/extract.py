"""The ``[extract]`` table of a program spec: how session logs become its examples.

Owns the words it is written in; what they do is `oa_compile.extract`'s.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from oa_compile.spec.base import Identifier, MisfitError, SpecModel
from oa_compile.spec.jmes_path import JmesPath
from oa_compile.spec.log_format import LogFormatSpec

MakerName = Literal[
    "tool_selection",
    "execution_strategy",
    "planning",
    "test_analyzer",
    "build_analyzer",
    "solution_verifier",
    "rlm",
    "event",
    "mapping",
]
_MAPPING = ("each", "where", "inputs", "outputs", "group")


class ExtractSpec(SpecModel):
    """How session logs become examples of this program.

    `example` names an example maker; `fields` maps this program's fields to what the maker yields,
    where the names differ (program field -> maker field). The maker ``mapping`` has no fields of its own:
    `inputs` and `outputs` say where each is, as JMESPath over the session's JSON form.
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
    each: Literal["message", "call", "verification", "event", "episode", "session"] = "call"
    """What the maker ``mapping`` makes an example of."""
    where: JmesPath = ""
    """Only of those for which this is true."""
    inputs: dict[Identifier, JmesPath] = Field(default_factory=dict)
    """Field -> where it is, in what was known before."""
    outputs: dict[Identifier, JmesPath] = Field(default_factory=dict)
    """Field -> where it is, in what then came."""
    group: JmesPath = ""
    """What an example is related to, where it is not the episode it is from."""
    log: LogFormatSpec | None = None
    """A log format to read besides those that are known."""

    @model_validator(mode="after")
    def _paths_go_with_mapping(self) -> Self:
        if self.example == "mapping":
            for name in ("inputs", "outputs"):
                if not getattr(self, name):
                    raise MisfitError(f'example = "mapping" needs `{name}`', at=("example",))
        elif given := self.model_fields_set.intersection(_MAPPING):
            name = min(given)
            raise MisfitError(f'`{name}` goes with example = "mapping"', at=(name,))
        return self
