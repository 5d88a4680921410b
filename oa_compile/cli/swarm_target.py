"""Which swarm a command is about: a lane of a config, relays that were typed, or one of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.money import Rate
    from oa_compile.spec.budget import BudgetSpec
    from oa_compile.spec.config import Config, WalletSpec
    from oa_compile.spec.lanes import PylonLaneSpec


class Target(NamedTuple):
    """A swarm lane, and what its config says around it."""

    name: str
    spec: PylonLaneSpec
    wallet: WalletSpec
    rate: Rate
    budget: BudgetSpec


def find_target(
    budget: Path | None,
    relays: Sequence[str] | None,
    *,
    wallet: Path | None = None,
    network: Callable[[], str] | None = None,
    changes: dict[str, Any] | None = None,
) -> Target:
    """The lane of kind ``pylon`` that a config's stages use (else its first), or one made of `relays`, or of
    none. `network` tells which Lightning network the wallet is on; `changes` are settings of the lane that
    were typed. Raises UsageError, SpecError.
    """
    from oa_compile.spec.budget import BudgetSpec, MoneySpec
    from oa_compile.spec.config import WalletSpec

    if budget is not None and (relays or wallet is not None):
        raise UsageError("--budget names relays and wallet: leave out --relay and --wallet")
    if budget is None:
        settings: dict[str, Any] = {"relays": tuple(relays or ()), "max_tokens": 256, "temperature": 0.7}
        if network is not None:
            settings["network"] = network()
        spec = _spec({"kind": "pylon", **settings, **(changes or {})})
        paid = WalletSpec() if wallet is None else WalletSpec(kind="cln", rpc=str(wallet))
        return Target("swarm", spec, paid, MoneySpec().rate, BudgetSpec())
    from oa_compile.spec.load import load_config

    config = load_config(budget).config
    name, spec = _lane_of(config, budget)
    if changes:
        spec = _spec(spec.model_dump() | changes)
    return Target(name, spec, config.wallet, config.money.rate, config.budget)


def _lane_of(config: Config, path: Path) -> tuple[str, PylonLaneSpec]:
    from oa_compile.spec.lanes import PylonLaneSpec

    used = [name for stage in config.stages.values() for name in (stage.task, stage.proposer) if name]
    for name in (*used, *config.lanes):
        spec = config.lanes[name]
        if isinstance(spec, PylonLaneSpec):
            return name, spec
    raise UsageError(f"{path}: it has no lane of kind `pylon`", hint="configs/swarm.toml shows one")


def _spec(settings: dict[str, Any]) -> PylonLaneSpec:
    """The settings as a lane's, with what pydantic says against them as a usage error."""
    from pydantic import ValidationError

    from oa_compile.spec.lanes import PylonLaneSpec

    try:
        return PylonLaneSpec.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{where}: {message}") from error
