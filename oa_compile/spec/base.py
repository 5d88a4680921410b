"""The base of every model read from a file a person wrote."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=64)]
"""A field or predictor name: what Python and every adapter can carry."""

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""A program's name: also its folder's."""


class SpecModel(BaseModel):
    """Strict about names, frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
