"""Lanes from a config: only those that are named, each kind's code imported when it is.

Owns which spec makes which lane. Reading the environment is the caller's: keys come through `secrets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oa_compile import journal
from oa_compile.errors import UsageError
from oa_compile.events import RunStarted
from oa_compile.lanes.closed import ClosedLane
from oa_compile.lanes.fallback import FallbackLane
from oa_compile.lanes.lane import Lane
from oa_compile.lanes.recorded import RecordedLane, recorded_answers
from oa_compile.money import parse_amount
from oa_compile.spec.config import Config
from oa_compile.spec.lanes import (
    EmbeddedLaneSpec,
    FallbackLaneSpec,
    LiteLLMLaneSpec,
    PylonLaneSpec,
    RecordedLaneSpec,
)
from oa_compile.swarm.market.record import ProviderRecord

_USUAL_KEYS = {
    "anthropic": "ANTHROPIC_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "xai": "XAI_API_KEY",
}
"""Variables used when a lane names none; other providers (bedrock, vertex_ai, azure) have more than
a key, and litellm finds theirs."""

Secrets = Callable[[str], str | None]
"""The secret of that name, None if there is none."""

Progress = Callable[..., None]
"""What a lane tells while it gets ready (weights to fetch and load)."""


Records = Callable[[], Mapping[str, ProviderRecord]]
"""What earlier journals say of service providers, read when somebody is about to be asked."""


_NO_KEY = "none"
"""For a lane that is built to be known, and never called."""


@dataclass(frozen=True, slots=True)
class _Means:
    """What lanes are built with, besides their specs."""

    secrets: Secrets
    progress: Progress | None
    home: Path | None
    records: Records


def build_lanes(
    config: Config,
    names: Iterable[str],
    *,
    secrets: Secrets,
    optional: Iterable[str] = (),
    progress: Progress | None = None,
    home: Path | None = None,
    records: Records = dict,
) -> dict[str, Lane]:
    """The lanes of those names, and the members of the fallback lanes among them, by name; also those of
    `optional`, which answer nothing where their key is not there.

    `home` is where lanes keep what must outlive the process, each in a folder of its name: the books of a
    swarm of this machine (None: nothing is kept). `records` are of service providers elsewhere. Raises
    UsageError for a name or a key that is not there; lanes built so far are closed then.
    """
    lanes: dict[str, Lane] = {}
    means = _Means(secrets, progress, home, records)

    def build(name: str) -> Lane:
        if name not in lanes:
            lanes[name] = _build(config, name, build, means)
        return lanes[name]

    try:
        for name in names:
            build(name)
        for name in optional:
            try:
                build(name)
            except UsageError as error:
                keyless = replace(means, secrets=lambda _name: _NO_KEY)
                lanes[name] = ClosedLane(_build(config, name, build, keyless), error)
    except BaseException:
        for lane in lanes.values():
            lane.close()
        raise
    return lanes


def _build(config: Config, name: str, member: Callable[[str], Lane], means: _Means) -> Lane:
    spec = config.lanes.get(name)
    match spec:
        case EmbeddedLaneSpec():
            from oa_compile.lanes.embedded import EmbeddedLane

            price = parse_amount(spec.price, config.money.rate)
            return EmbeddedLane(name, spec, price_msat=price, progress=means.progress)
        case LiteLLMLaneSpec():
            from oa_compile.lanes.litellm import LiteLLMLane

            return LiteLLMLane(name, spec, rate=config.money.rate, api_key=_key(name, spec, means.secrets))
        case PylonLaneSpec():
            from oa_compile.lanes.pylon import PylonLane

            return PylonLane(
                name,
                spec,
                wallet=config.wallet,
                rate=config.money.rate,
                secrets=means.secrets,
                seed=config.run.seed,
                home=None if means.home is None else means.home / name,
                records=dict if spec.is_local else means.records,
            )
        case RecordedLaneSpec():
            return _recorded(name, spec)
        case FallbackLaneSpec():
            return FallbackLane(name, [member(other) for other in spec.lanes])
    raise UsageError(f"no lane `{name}` in the config", hint=f"it has: {', '.join(sorted(config.lanes))}")


def _key(name: str, spec: LiteLLMLaneSpec, secrets: Secrets) -> str | None:
    """The provider's key. A server at an address of the user's gets only the key the lane names."""
    variable = spec.api_key_env
    if not variable and not spec.api_base:
        provider, slash, _ = spec.model.partition("/")
        variable = _USUAL_KEYS.get(provider if slash else "openai", "")
    if not variable:
        return None
    key = secrets(variable)
    if not key:
        raise UsageError(
            f"lane `{name}`: the variable {variable} is not set",
            hint=f"export {variable}=… with the provider's key, or name another with api_key_env",
        )
    return key


def _recorded(name: str, spec: RecordedLaneSpec) -> RecordedLane:
    path = Path(spec.journal)
    if path.is_dir():
        path = path / journal.FILE_NAME
    lines = journal.read(path)
    first = next(lines, None)
    identities = first.event.lanes if first is not None and isinstance(first.event, RunStarted) else {}
    if spec.lane not in identities:
        raise UsageError(
            f"lane `{name}`: {path} has no lane `{spec.lane}`",
            hint=f"it has: {', '.join(sorted(identities)) or 'none'}",
        )
    return RecordedLane(name, identity=identities[spec.lane], recording=recorded_answers(lines))
