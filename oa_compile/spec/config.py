"""The config: lanes, stages, budgets, optimizer settings and gates (``configs/<name>.toml``)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from oa_compile.ledger import Caps
from oa_compile.money import MSAT_PER_BTC, Rate, parse_amount
from oa_compile.spec.base import MisfitError, Slug, SpecModel

AdapterName = Literal["compact", "chat", "json", "xml"]
OptimizerName = Literal["miprov2", "copro", "gepa"]


def _is_an_amount(value: int | str) -> int | str:
    parse_amount(value, Rate(Decimal(100_000)))  # the form is checked here; the rate is applied later
    return value


Amount = Annotated[int | str, AfterValidator(_is_an_amount)]
"""Money: a whole number of msat, or ``"500msat"``, ``"12sat"``, ``"0.50usd"``."""


class MoneySpec(SpecModel):
    """The exchange rate used for every price; a setting with a date, never looked up."""

    usd_per_btc: Decimal = Field(default=Decimal(100_000), gt=0, le=MSAT_PER_BTC)
    as_of: str = ""

    @property
    def rate(self) -> Rate:
        """The rate as a value that converts."""
        return Rate(self.usd_per_btc)


class BudgetSpec(SpecModel):
    """Caps; what is left out is not capped. `cost` is an amount: 5000, "500msat", "12sat", "0.50usd"."""

    cost: Amount | None = None
    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, gt=0)

    def caps(self, rate: Rate) -> Caps:
        """These caps as the ledger holds them; `cost` in msat."""
        msat = None if self.cost is None else parse_amount(self.cost, rate)
        return Caps(msat=msat, calls=self.calls, tokens=self.tokens, seconds=self.seconds)


class RunSpec(SpecModel):
    """How a run behaves."""

    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=2, ge=1, le=256)
    max_fault_share: float = Field(default=0.1, ge=0, le=1)
    """Share of one evaluation's examples that may fail on infrastructure before the run stops (exit 4)."""
    confirm_above: Amount = "1usd"
    """A forecast above this amount asks first on a terminal, and needs --yes elsewhere."""


class StageSpec(SpecModel):
    """Which lanes a stage uses, and its own caps."""

    task: str
    proposer: str = ""
    """Lane that writes instructions; the task lane when left out."""
    budget: BudgetSpec = BudgetSpec()


class LaneSpec(SpecModel):
    """What all lanes share."""

    adapter: AdapterName = "chat"
    max_tokens: int = Field(default=1024, gt=0)
    temperature: float = Field(default=0.0, ge=0, le=2)
    budget: BudgetSpec = BudgetSpec()


class EmbeddedLaneSpec(LaneSpec):
    """llama.cpp in this process: SmolLM2 by name, or any GGUF file by path."""

    kind: Literal["embedded"]
    model: str = "smollm2-135m"
    adapter: AdapterName = "compact"
    max_tokens: int = Field(default=48, gt=0)
    instances: int = Field(default=2, ge=1, le=64)
    """Model instances, one thread each: as many as there are cores to spare."""
    context: int = Field(default=4096, ge=256)
    price: Amount = 0
    """What one call is billed at, so that a budget can be tried without spending."""


class PriceSpec(SpecModel):
    """Dollars per million tokens, overriding litellm's table."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)


class LiteLLMLaneSpec(LaneSpec):
    """Any provider litellm knows, ollama and OpenAI-compatible servers included."""

    kind: Literal["litellm"]
    model: str = Field(min_length=1)
    api_key_env: str = ""
    """Name of the environment variable that holds the key."""
    api_base: str = ""
    timeout: float = Field(default=60.0, gt=0, lt=110)
    """Seconds for one attempt; below DSPy's 120 s straggler limit."""
    attempts: int = Field(default=4, ge=1, le=20)
    concurrency: int = Field(default=16, ge=1)
    price: PriceSpec | None = None


class RecordedLaneSpec(LaneSpec):
    """Answers from a journal, and nothing else."""

    kind: Literal["recorded"]
    journal: str
    lane: str
    """Name of the lane, in that journal, whose calls are answered."""


class FallbackLaneSpec(LaneSpec):
    """Lanes in order: the next one when the one before is out of attempts."""

    kind: Literal["fallback"]
    lanes: tuple[str, ...] = Field(min_length=2)


AnyLaneSpec = Annotated[
    EmbeddedLaneSpec | LiteLLMLaneSpec | RecordedLaneSpec | FallbackLaneSpec, Field(discriminator="kind")
]


class MiproSettings(SpecModel):
    """MIPROv2. With `auto` unset, `num_candidates` and `num_trials` rule."""

    auto: Literal["light", "medium", "heavy"] | None = None
    num_candidates: int = Field(default=6, ge=2)
    num_trials: int | None = Field(default=None, ge=1)
    max_bootstrapped_demos: int = Field(default=4, ge=0)
    max_labeled_demos: int = Field(default=4, ge=0)
    minibatch: bool = True
    minibatch_size: int = Field(default=35, ge=1)
    full_eval_steps: int = Field(default=5, ge=1)
    instructions: bool = True
    """False searches demos only: right when the proposer is too small to write instructions."""
    init_temperature: float = Field(default=1.0, gt=0, le=2)
    metric_threshold: float = Field(default=1.0, gt=0, le=1)
    """Least score at which the program's own answer may become a bootstrapped demo."""


class CoproSettings(SpecModel):
    """COPRO."""

    breadth: int = Field(default=10, ge=2)
    depth: int = Field(default=3, ge=1)
    init_temperature: float = Field(default=1.4, gt=0, le=2)


class GepaSettings(SpecModel):
    """GEPA. One of `auto`, `max_full_evals`, `max_metric_calls`; ``auto = "light"`` when none is set."""

    auto: Literal["light", "medium", "heavy"] | None = None
    max_full_evals: int | None = Field(default=None, ge=1)
    max_metric_calls: int | None = Field(default=None, ge=1)
    reflection_minibatch_size: int = Field(default=3, ge=1)
    use_merge: bool = True
    reflection_temperature: float = Field(default=1.0, ge=0, le=2)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if sum(v is not None for v in (self.auto, self.max_full_evals, self.max_metric_calls)) > 1:
            raise ValueError("set at most one of `auto`, `max_full_evals`, `max_metric_calls`")
        return self


class OptimizerSpec(SpecModel):
    """Which optimizer runs, and the settings of each."""

    name: OptimizerName = "miprov2"
    preflight: bool = True
    """Probe the proposer's format before the run, and refuse when it cannot be parsed."""
    miprov2: MiproSettings = MiproSettings()
    copro: CoproSettings = CoproSettings()
    gepa: GepaSettings = GepaSettings()


class GateSpec(SpecModel):
    """What an artifact must reach on the testset. A gate left out is not applied."""

    min_score: float | None = Field(default=None, ge=0, le=1)
    min_gain: float | None = Field(default=None, ge=-1, le=1)
    """Least mean gain over the parent, with a one-sided paired test below `alpha`."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    max_cost_per_call: Amount | None = None


class Config(SpecModel):
    """A whole config file, merged over the defaults."""

    schema_version: Literal[1] = 1
    description: str = ""
    run: RunSpec = RunSpec()
    money: MoneySpec = MoneySpec()
    budget: BudgetSpec = BudgetSpec()
    lanes: dict[Slug, AnyLaneSpec]
    stages: dict[Literal["compile", "validate", "verify"], StageSpec]
    optimizer: OptimizerSpec = OptimizerSpec()
    gates: GateSpec = GateSpec()

    @model_validator(mode="after")
    def _lanes_exist(self) -> Self:
        for name, stage in self.stages.items():
            for role, lane in (("task", stage.task), ("proposer", stage.proposer)):
                if lane and lane not in self.lanes:
                    raise MisfitError(
                        f"stage `{name}` names the {role} lane `{lane}`, which is not under [lanes]",
                        at=("stages", name, role),
                        options=self.lanes,
                    )
        plain = [name for name, spec in self.lanes.items() if not isinstance(spec, FallbackLaneSpec)]
        for label, spec in self.lanes.items():
            if isinstance(spec, FallbackLaneSpec):
                if spec.budget != BudgetSpec():
                    raise MisfitError(
                        f"fallback lane `{label}` has no budget of its own: calls count where they are made",
                        at=("lanes", label, "budget"),
                    )
                for number, member in enumerate(spec.lanes):
                    if member not in plain:
                        raise MisfitError(
                            f"fallback lane `{label}` names `{member}`, which is not a plain lane here",
                            at=("lanes", label, "lanes", number),
                            options=plain,
                        )
        if "compile" not in self.stages:
            raise MisfitError("a config needs [stages.compile]", at=("stages",))
        return self
