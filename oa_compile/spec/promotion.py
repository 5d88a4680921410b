"""The ``[promotion]`` of a config: what an artifact must show before it takes a further step."""

from __future__ import annotations

from pydantic import Field

from oa_compile.spec.base import SpecModel


class PromotionSpec(SpecModel):
    """Thresholds of the three steps, with OpenAgents' own for defaults.

    candidate -> staged: the answers' form. staged -> shadow: their worth, and a gain over the program as
    written. shadow -> promoted: examples enough, and a win over the artifact in use.
    """

    store: str = "artifacts"
    """Folder of the artifact store, relative to where the command runs."""
    min_format: float | None = Field(default=0.95, ge=0, le=1)
    """Least mean of the metrics of kind ``format`` on the testset."""
    min_syntax: float | None = Field(default=0.90, ge=0, le=1)
    """Least mean of the metrics of kind ``syntax``."""
    min_judge: float | None = Field(default=0.80, ge=0, le=1)
    """Least mean of the metrics of kind ``judge``."""
    min_gain: float | None = Field(default=0.02, ge=0, le=1)
    """Least gain over the program as written, with a one-sided paired test below `alpha`."""
    min_examples: int | None = Field(default=100, ge=1)
    """Least examples that both were scored on."""
    min_win_rate: float | None = Field(default=0.52, ge=0, le=1)
    """Least share of examples won over the artifact in use, ties half each, with the same test."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
