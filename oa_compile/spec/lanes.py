"""The lanes a config can have: one model a kind, told apart by ``kind``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, field_validator

from oa_compile.spec.base import SpecModel
from oa_compile.spec.budget import Amount, BudgetSpec

AdapterName = Literal["compact", "chat", "json", "xml"]


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


class TabSpec(SpecModel):
    """A tab with each service provider: many jobs settled in one invoice, where the provider offers it."""

    jobs: int = Field(default=0, ge=0)
    """Jobs after which the tab is settled; 0 keeps no tab, and every job is paid by itself."""
    cost: Amount = "1sat"
    """Amount owed at which it is settled, however few the jobs."""
    limit: Amount = "5sat"
    """Most that may ever be owed to one provider; jobs beyond it are paid by themselves."""


class LocalSwarmSpec(SpecModel):
    """The swarm that is started on this machine when no relay is named."""

    providers: int = Field(default=3, ge=1, le=64)
    """Service providers, one process each, with one instance of the model."""
    model: str = "smollm2-135m"
    price: Amount = "10msat"
    order: Literal["result-first", "pay-first"] = "result-first"
    balance: Amount = "100000sat"
    """What the customer's wallet of the embedded ledger begins with."""


PrivacyMode = Literal["open", "paths", "identifiers", "full"]


class PylonLaneSpec(LaneSpec):
    """Service providers reached over Nostr relays (NIP-90), paid over Lightning."""

    kind: Literal["pylon"]
    model: str = ""
    """Model that is asked for; any when left out."""
    relays: tuple[str, ...] = ()
    """``wss://`` addresses; with none, a swarm is started on this machine for as long as the run takes."""
    bid: Amount = "20msat"
    """Most that is paid for one answer, fees aside."""
    max_fee: Amount = "5msat"
    """Most that one payment may take in routing fees."""
    deadline: float = Field(default=60.0, gt=0, lt=110)
    """Seconds one provider has; below DSPy's 120 s straggler limit."""
    hedge_after: float = Field(default=10.0, ge=0)
    """Seconds after which a second provider is asked beside a slow one, at most; 0 never asks one."""
    attempts: int = Field(default=4, ge=1, le=20)
    """Providers asked for one answer, hedges aside."""
    concurrency: int = Field(default=16, ge=1)
    encrypt: bool = True
    privacy: PrivacyMode | None = None
    """What is replaced before a prompt leaves: ``open`` on the swarm of this machine and ``paths``
    elsewhere, unless it says otherwise. Known secrets never leave."""
    max_prompt_bytes: int = Field(default=24_000, ge=256, le=60_000)
    providers: tuple[str, ...] = ()
    """Public keys (hex) of the only providers that are asked; anybody when left out."""
    audit: float | None = Field(default=None, ge=0, le=1)
    """Share of the calls that a second provider answers too, to compare: 0 on the swarm of this machine and
    0.05 elsewhere, unless it says otherwise. Without audits nothing tells a wrong answer from a right one."""
    key_env: str = ""
    """Name of the environment variable with the customer's secret Nostr key (hex); new keys for every run
    when left out."""
    network: Literal["bitcoin", "testnet", "signet", "regtest"] = "bitcoin"
    """Lightning network that invoices must be for; the swarm of this machine is ``regtest``."""
    tab: TabSpec = TabSpec()
    local: LocalSwarmSpec = LocalSwarmSpec()

    @field_validator("relays")
    @classmethod
    def _addresses(cls, relays: tuple[str, ...]) -> tuple[str, ...]:
        for url in relays:
            if not url.startswith(("ws://", "wss://")):
                raise ValueError(f"not a relay: {url!r} (write wss://…)")
        return relays

    @field_validator("providers")
    @classmethod
    def _public_keys(cls, providers: tuple[str, ...]) -> tuple[str, ...]:
        for key in providers:
            if re.fullmatch(r"[0-9a-f]{64}", key) is None:
                raise ValueError(f"not a public key: {key!r} (64 lower-case hex digits)")
        return providers

    @property
    def is_local(self) -> bool:
        """Whether the swarm is started on this machine."""
        return not self.relays

    @property
    def audit_in_force(self) -> float:
        """The share of audits, the default resolved."""
        return (0.0 if self.is_local else 0.05) if self.audit is None else self.audit

    @property
    def privacy_in_force(self) -> PrivacyMode:
        """The privacy mode, the default resolved."""
        return self.privacy or ("open" if self.is_local else "paths")


AnyLaneSpec = Annotated[
    EmbeddedLaneSpec | LiteLLMLaneSpec | PylonLaneSpec | RecordedLaneSpec | FallbackLaneSpec,
    Field(discriminator="kind"),
]
