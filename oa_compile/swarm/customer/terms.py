"""What a customer asks under: price, patience, audits, who may be asked. Nothing of how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """What every job is asked under. `bid_msat` without fees; times in seconds; `audit` is the share of
    calls that two providers answer; `lightning` the network of invoices.
    """

    bid_msat: int
    model: str = ""
    deadline: float = 60.0
    hedge_after: float = 10.0
    attempts: int = 4
    patience: float = 100.0
    """Seconds for one call, all its attempts together: below DSPy's 120 s straggler limit."""
    audit: float = 0.0
    encrypt: bool = True
    lightning: str = "bitcoin"
    providers: frozenset[str] = frozenset()
    discover: float = 5.0
    """Seconds to wait for the first announcement."""
    look_again: float = 3.0
    """Seconds of silence after which relays are asked what they have stored about a job."""
