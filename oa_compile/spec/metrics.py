"""The metrics a program spec can list: one model a kind, told apart by ``kind``, in two tiers.

*Proxy* metrics are free and look at the answer's form; *truth* metrics say whether it is right, and run only
where the proxies reach their threshold. What each kind computes is `evaluate`'s.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from oa_compile.spec.base import MisfitError, SpecModel

Tier = Literal["proxy", "truth"]

Language = Literal["json", "python", "toml", "yaml"]


class MetricBase(SpecModel):
    """What all metrics share. The program's score is the weighted mean of its metrics, each in 0 … 1.

    `feedback` is text for GEPA; ``{gold}``, ``{pred}``, ``{field}``, ``{inputs}`` and ``{note}`` are filled
    in. A note is what the log says of failed tries, where [extract] keeps it (failures = "feedback").
    """

    reads_gold: ClassVar[bool] = True
    """Whether a score needs the example's own outputs, which are not there when a program is in use."""
    natural_tier: ClassVar[Tier] = "truth"

    kind: str
    weight: float = Field(default=1.0, ge=0)
    """Its share of the score; 0 for a proxy that only decides whether the truth is worth asking."""
    feedback: str = ""
    tier: Tier | None = None
    """Its tier, where it is not the kind's own."""

    @property
    def field_name(self) -> str:
        """The output it reads, "" when it reads all of them."""
        return str(getattr(self, "field", ""))

    @property
    def tier_in_force(self) -> Tier:
        """The tier, the default resolved."""
        return self.tier or self.natural_tier


class FieldMetric(MetricBase):
    """A metric over one output."""

    field: str = Field(min_length=1)


class ComparisonMetric(FieldMetric):
    """Compares an output with the example's own: equal, equal but for form, share of items in common."""

    kind: Literal["exact_match", "normalized_match", "set_f1", "contains", "file_overlap"]


class NumericMetric(FieldMetric):
    """Whether a number is the example's own, give or take `tolerance` (in the field's units)."""

    kind: Literal["numeric"]
    tolerance: float = Field(default=0.0, ge=0)


class ProxyMetric(FieldMetric):
    """Free: a look at the answer alone."""

    reads_gold: ClassVar[bool] = False
    natural_tier: ClassVar[Tier] = "proxy"


class FormatMetric(ProxyMetric):
    """Whether all of an output is of a form: the regular expression `pattern` (RE2's syntax)."""

    kind: Literal["format"]
    pattern: str = Field(min_length=1)


class KeywordsMetric(ProxyMetric):
    """Words that an output must hold (`every`), at least one of (`some`), or must not hold (`none`).

    Whole words, whatever their case; the score is the share of these demands that is met.
    """

    kind: Literal["keywords"]
    every: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    some: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    none: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if not (self.every or self.some or self.none):
            raise MisfitError("the `keywords` metric needs words: `every`, `some` or `none`", at=("every",))
        return self


class LengthMetric(ProxyMetric):
    """Whether an output is between `least` and `most` characters, words or lines long, ends included.

    Beyond them the score falls with the ratio: twice `most` is 0.5.
    """

    kind: Literal["length"]
    unit: Literal["characters", "words", "lines"] = "words"
    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.most is None and not self.least:
            raise MisfitError("the `length` metric needs `least` or `most`", at=("most",))
        if self.most is not None and self.least > self.most:
            raise MisfitError(f"`least` is above `most` ({self.most})", at=("least",))
        return self


class SyntaxMetric(ProxyMetric):
    """Whether an output parses as a language. It is parsed, and never run."""

    kind: Literal["syntax"]
    language: Language


class PythonMetric(MetricBase):
    """A callable ``metric.py:name`` (inputs, gold, pred) -> score or (score, feedback)."""

    kind: Literal["python"]
    target: str = Field(min_length=1)
    field: str = ""


class JudgeMetric(MetricBase):
    """A language model scores the answer by a rubric, on the stage's judge lane, from 0 to `scale`."""

    kind: Literal["judge"]
    rubric: str = Field(min_length=1)
    scale: int = Field(default=5, ge=1, le=10)
    fields: tuple[str, ...] = ()
    """The outputs it is shown; all of them when left out."""
    gold: bool = True
    """Whether it is shown the example's own outputs too."""

    @field_validator("tier")
    @classmethod
    def _is_not_free(cls, tier: Tier | None) -> Tier | None:
        return _truth_only(tier)


class SandboxedMetric(MetricBase):
    """Runs an answer's code in the sandbox.

    `files` puts outputs at paths in its folder (``{"solution.py" = "code"}``), `with_files` files of the
    program's folder under their own names, and `gold_files` the example's own outputs, which the answer's
    code can then read.
    """

    files: dict[str, str] = Field(min_length=1)
    with_files: tuple[str, ...] = ()
    gold_files: dict[str, str] = Field(default_factory=dict)

    @field_validator("tier")
    @classmethod
    def _is_not_free(cls, tier: Tier | None) -> Tier | None:
        return _truth_only(tier)


class CommandMetric(SandboxedMetric):
    """Whether a command ends with 0 (score = "exit"), or the number in 0 … 1 that it prints last
    (score = "stdout").
    """

    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1)
    score: Literal["exit", "stdout"] = "exit"


class PytestMetric(SandboxedMetric):
    """The share of tests that pass. `tests` are those that are run: all ``test_*.py`` files when left out."""

    kind: Literal["pytest"]
    tests: tuple[str, ...] = ()


def _truth_only(tier: Tier | None) -> Tier | None:
    if tier == "proxy":
        raise ValueError("not possible: a proxy is free, and this metric costs calls or time")
    return tier


AnyMetricSpec = Annotated[
    ComparisonMetric
    | NumericMetric
    | FormatMetric
    | KeywordsMetric
    | LengthMetric
    | SyntaxMetric
    | PythonMetric
    | JudgeMetric
    | CommandMetric
    | PytestMetric,
    Field(discriminator="kind"),
]


class EvaluationSpec(SpecModel):
    """How metrics become an example's score."""

    proxy_threshold: float = Field(default=0.7, ge=0, le=1)
    """Least weighted mean of the proxies at which the truth is asked; below it, the truth counts 0."""
    rollouts: int = Field(default=1, ge=1, le=15)
    """How often the program is run on an example when it is scored, in a search and in a validation without
    redundancy."""
    aggregate: Literal["median", "mean", "min"] = "median"
    """What becomes the example's score of those of its rollouts."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Of the rollouts after the first; the lane's own when left out. At 0 they may all say the same."""


class RefineSpec(SpecModel):
    """Runs the program again with feedback while its answer falls short, and keeps the best.

    In a validation, where it is in use; a search scores the program itself.
    """

    rollouts: int = Field(default=1, ge=1, le=10)
    threshold: float = Field(default=1.0, gt=0, le=1)
    """The reward at which an answer is good enough, and no other run is made."""
    reward: str = ""
    """A callable ``reward.py:name`` (inputs, pred) -> score or (score, feedback); the weighted mean of the
    program's proxy metrics when left out."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """Of the runs after the first."""
