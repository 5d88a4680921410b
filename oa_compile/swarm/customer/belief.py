"""Whether an event that a relay brought is what it says, for a job under way: never the relay's word."""

from __future__ import annotations

from oa_compile.swarm.customer.exchange import Exchange
from oa_compile.swarm.protocol.event import Event, verify
from oa_compile.swarm.protocol.nip90 import FEEDBACK_KIND, RESULT_KIND, addressed_to

CLOCK_SKEW = 600
"""Seconds that a provider's clock may be behind ours."""


def disbelief(event: Event, exchange: Exchange | None, *, me: str) -> str:
    """Why an event is passed over, in one word; empty if it is for `exchange`, by its provider, to `me`
    (a public key), of its time and truly signed.
    """
    if event.kind not in (RESULT_KIND, FEEDBACK_KIND):
        return "kind"
    if exchange is None:
        return "job"
    if event.pubkey != exchange.provider:
        return "provider"
    if not addressed_to(event, me):
        return "customer"
    if event.created_at < exchange.job.created_at - CLOCK_SKEW:
        return "time"
    return "" if verify(event) else "signature"
