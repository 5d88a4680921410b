"""The base of every model read from a file a person wrote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=64)]
"""A field or predictor name: what Python and every adapter can carry."""

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""A program's name: also its folder's."""


class SpecModel(BaseModel):
    """Strict about names, frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MisfitError(ValueError):
    """Raised by a validator when parts of a file do not fit together.

    `at` is the path of the offending value, relative to the model that raises, so that a diagnostic
    can point at it; `options` are the words that would have fitted, for "did you mean".
    """

    def __init__(self, message: str, *, at: tuple[str | int, ...] = (), options: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.at = at
        self.options = tuple(options)
