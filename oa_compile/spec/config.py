"""The config: lanes, stages, budgets, optimizer settings and gates (``configs/<name>.toml``)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from oa_compile.spec.base import MisfitError, Slug, SpecModel
from oa_compile.spec.budget import Amount, BudgetSpec, MoneySpec
from oa_compile.spec.lanes import AnyLaneSpec, FallbackLaneSpec, PylonLaneSpec
from oa_compile.spec.promotion import PromotionSpec
from oa_compile.spec.sandbox import SandboxSpec

OptimizerName = Literal["miprov2", "copro", "gepa"]


class RunSpec(SpecModel):
    """How a run behaves."""

    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=2, ge=1, le=256)
    max_fault_share: float = Field(default=0.1, ge=0, le=1)
    """Share of one evaluation's examples that may fail on infrastructure before the run stops (exit 4)."""
    confirm_above: Amount = "1usd"
    """A forecast above this amount asks first on a terminal, and needs --yes elsewhere."""


class RedundancySpec(SpecModel):
    """How many answers to one example are asked for, and how many must agree.

    They come from different service providers on a lane that has several, and are samples of one model
    elsewhere. ``of = 1`` takes the first answer.
    """

    of: int = Field(default=1, ge=1, le=15)
    agree: int = Field(default=1, ge=1, le=15)
    temperature: float = Field(default=0.7, ge=0, le=2)
    """Of samples; providers are asked at the lane's own. At 0 one sample says it all."""

    @model_validator(mode="after")
    def _is_a_majority(self) -> Self:
        if not self.of / 2 < self.agree <= self.of:
            raise MisfitError(
                f"`agree` must be more than half of `of` ({self.of}), and no more than it", at=("agree",)
            )
        return self


class ConsistencySpec(SpecModel):
    """Self-consistency: of so many samples of one model, the most frequent answer is taken."""

    samples: int = Field(default=1, ge=1, le=63)
    temperature: float = Field(default=0.7, gt=0, le=2)


class StageSpec(SpecModel):
    """Which lanes a stage uses, and its own caps."""

    task: str
    proposer: str = ""
    """Lane that writes instructions; the task lane when left out."""
    judge: str = ""
    """Lane that scores answers for metrics of kind ``judge``; the task lane when left out."""
    escalate: str = ""
    """Lane of a program's last run, where its spec refines answers; the task lane when left out."""
    redundancy: RedundancySpec = RedundancySpec()
    """Of the validate stage: how its answers become one."""
    consistency: ConsistencySpec = ConsistencySpec()
    """Of the verify stage: how often it is asked."""
    budget: BudgetSpec = BudgetSpec()

    def lane(self, role: Literal["task", "proposer", "judge"]) -> str:
        """Name of the lane that plays `role`."""
        named = {"task": self.task, "proposer": self.proposer, "judge": self.judge}
        return named[role] or self.task


class WalletSpec(SpecModel):
    """What pays for the swarm's answers. The swarm of this machine brings its own (``ledger``)."""

    kind: Literal["ledger", "cln", "nwc"] = "ledger"
    rpc: str = ""
    """Path of lightningd's unix socket (``cln``, or a ledger started elsewhere)."""
    uri_env: str = "NWC_URI"
    """Name of the environment variable with the ``nostr+walletconnect://`` address (``nwc``)."""
    pay_seconds: float = Field(default=20.0, gt=0, le=300)
    """Seconds after which a payment that has not ended counts as pending."""


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
    wallet: WalletSpec = WalletSpec()
    lanes: dict[Slug, AnyLaneSpec]
    stages: dict[Literal["compile", "validate", "verify"], StageSpec]
    optimizer: OptimizerSpec = OptimizerSpec()
    gates: GateSpec = GateSpec()
    promotion: PromotionSpec = PromotionSpec()
    sandbox: SandboxSpec = SandboxSpec()

    @model_validator(mode="after")
    def _lanes_exist(self) -> Self:
        for name, stage in self.stages.items():
            roles = [(role, getattr(stage, role)) for role in ("task", "proposer", "judge", "escalate")]
            for role, lane in roles:
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
        if self.wallet.kind == "cln" and not self.wallet.rpc:
            raise MisfitError("a wallet of kind `cln` needs `rpc`", at=("wallet", "kind"))
        for label, spec in self.lanes.items():
            if isinstance(spec, PylonLaneSpec) and spec.relays and self.wallet == WalletSpec():
                raise MisfitError(
                    f"lane `{label}` is paid on the relays it names, and there is no [wallet] to pay with",
                    at=("lanes", label, "relays"),
                )
        redundant = [name for name, stage in self.stages.items() if stage.redundancy.of > 1]
        if redundant and "verify" not in self.stages:
            raise MisfitError(
                "redundancy needs a [stages.verify]: where answers do not agree, it decides",
                at=("stages", redundant[0], "redundancy"),
            )
        if "compile" not in self.stages:
            raise MisfitError("a config needs [stages.compile]", at=("stages",))
        return self
