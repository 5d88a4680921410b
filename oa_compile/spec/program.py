"""The program spec: ``programs/<name>/program.toml`` as a model.

Owns the shape and its own consistency; building a DSPy program from it is `signatures`' work.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from oa_compile.spec.base import Identifier, MisfitError, Slug, SpecModel
from oa_compile.spec.extract import ExtractSpec
from oa_compile.spec.metrics import AnyMetricSpec, EvaluationSpec, JudgeMetric, RefineSpec, SandboxedMetric

FieldType = Literal["str", "int", "float", "bool", "enum", "list[str]", "list[int]", "list[float]"]


class FieldSpec(SpecModel):
    """One input or output of a signature."""

    name: Identifier
    type: FieldType = "str"
    description: str = ""
    values: tuple[str, ...] = ()
    """The allowed values of an ``enum``."""
    labels: dict[str, str] = Field(default_factory=dict)
    """The words a prompt uses for enum values (value -> label); answers are mapped back."""

    @model_validator(mode="after")
    def _enum_has_values(self) -> Self:
        if (self.type == "enum") != bool(self.values):
            raise MisfitError("an enum field needs `values`, and only an enum field has them", at=("values",))
        if len(set(self.values)) != len(self.values):
            raise MisfitError("`values` must be distinct", at=("values",))
        unknown = set(self.labels) - set(self.values)
        if unknown:
            word = min(unknown)
            raise MisfitError(
                f"`labels` names `{word}`, which is not in `values`", at=("labels", word), options=self.values
            )
        words = [self.labels.get(value, value) for value in self.values]
        if len(set(words)) != len(words):
            raise MisfitError("`labels` must stay distinct", at=("labels",))
        return self


class SignatureSpec(SpecModel):
    """Instructions and typed fields: what one predictor is asked."""

    instructions: str = Field(min_length=1)
    inputs: tuple[FieldSpec, ...] = Field(min_length=1)
    outputs: tuple[FieldSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [field.name for field in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError("field names must be distinct over inputs and outputs")
        return self


class ModuleSpec(SpecModel):
    """How the signature is run. ``python`` names a dspy.Module: ``program.py:ClassName``."""

    kind: Literal["predict", "chain_of_thought", "python"] = "predict"
    target: str = ""

    @model_validator(mode="after")
    def _python_has_a_target(self) -> Self:
        if (self.kind == "python") != bool(self.target):
            raise MisfitError('`target` ("program.py:ClassName") goes with kind = "python"', at=("target",))
        return self


class OptimizeSpec(SpecModel):
    """Which parts the optimizer may change.

    `frozen` names predictors (``router``) or their parts (``router.instruction``, ``router.demos``).
    The predictor of a one-signature program is called ``predict``.
    """

    instructions: bool = True
    demos: bool = True
    frozen: tuple[Annotated[str, Field(pattern=r"^[\w.\[\]]+$")], ...] = ()


class AgreementSpec(SpecModel):
    """When two answers to one example count as the same.

    ``fields``: by each output's type, text normalised (case, white space, punctuation around words).
    ``normalized``: all outputs as text. ``similarity``: their likeness, 0 … 1, is at least `threshold`.
    ``python``: a callable ``agree.py:same`` (one, other) -> bool. ``verifier``: a model on the stage's judge
    lane says so.
    """

    kind: Literal["fields", "normalized", "similarity", "python", "verifier"] = "fields"
    fields: tuple[str, ...] = ()
    """The outputs that are compared: all of the signature's when left out."""
    threshold: float = Field(default=0.9, gt=0, le=1)
    target: str = ""

    @model_validator(mode="after")
    def _python_has_a_target(self) -> Self:
        if (self.kind == "python") != bool(self.target):
            raise MisfitError('`target` ("agree.py:same") goes with kind = "python"', at=("target",))
        return self


class SplitSpec(SpecModel):
    """How examples are split. The shares must add up to 1.

    Examples of one `group` go to one split: those of the same issue of the same repository (``episode``),
    of the same repository, of the same session, or each by itself (``none``). Where the wider thing is
    not in the logs, the next narrower one is the group.
    """

    group: Literal["episode", "repository", "session", "none"] = "episode"
    train: float = Field(default=0.4, ge=0, le=1)
    val: float = Field(default=0.3, ge=0, le=1)
    test: float = Field(default=0.3, gt=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError("train + val + test must be 1")
        return self


class ProgramSpec(SpecModel):
    """A whole ``program.toml``."""

    schema_version: Literal[1] = 1
    name: Slug
    description: str = ""
    dataset: str = ""
    """Folder of ``{train,val,test}.jsonl``, relative to the spec's file."""
    signature: SignatureSpec | None = None
    module: ModuleSpec = ModuleSpec()
    optimize: OptimizeSpec = OptimizeSpec()
    metrics: tuple[AnyMetricSpec, ...] = Field(min_length=1)
    evaluation: EvaluationSpec = EvaluationSpec()
    agreement: AgreementSpec = AgreementSpec()
    refine: RefineSpec = RefineSpec()
    extract: ExtractSpec = ExtractSpec()
    splits: SplitSpec = SplitSpec()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.module.kind != "python" and self.signature is None:
            raise ValueError('a program needs a [signature], or a [module] of kind "python"')
        if self.signature is not None:
            outputs = {field.name for field in self.signature.outputs}
            for number, metric in enumerate(self.metrics):
                read: list[tuple[tuple[str | int, ...], str]] = []
                if metric.field_name:
                    read.append((("field",), metric.field_name))
                if isinstance(metric, JudgeMetric):
                    read += [(("fields", index), name) for index, name in enumerate(metric.fields)]
                if isinstance(metric, SandboxedMetric):
                    read += [(("files", path), name) for path, name in metric.files.items()]
                for where, name in read:
                    if name not in outputs:
                        raise MisfitError(
                            f"metric `{metric.kind}` reads `{name}`, which is not an output "
                            f"({', '.join(sorted(outputs))})",
                            at=("metrics", number, *where),
                            options=outputs,
                        )
            for number, name in enumerate(self.agreement.fields):
                if name not in outputs:
                    raise MisfitError(
                        f"agreement is over `{name}`, which is not an output ({', '.join(sorted(outputs))})",
                        at=("agreement", "fields", number),
                        options=outputs,
                    )
        free = [
            metric for metric in self.metrics if metric.tier_in_force == "proxy" and not metric.reads_gold
        ]
        if self.refine.rollouts > 1 and not self.refine.reward and not free:
            raise MisfitError(
                "refine needs a reward that can be had without the right answer: `reward`, or a proxy metric",
                at=("refine",),
            )
        if not any(metric.weight for metric in self.metrics):
            raise MisfitError("some metric needs a `weight` above 0", at=("metrics", 0, "weight"))
        return self

    @property
    def judges(self) -> tuple[JudgeMetric, ...]:
        """The metrics that ask a language model."""
        return tuple(metric for metric in self.metrics if isinstance(metric, JudgeMetric))
