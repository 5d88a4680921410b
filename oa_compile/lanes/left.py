"""What a dead process had under way: charged at its worst case, or at what the wallet says was paid.

Owns which of the two; how a wallet is asked is the lane's matter (`Payer.reconcile`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from oa_compile.events import Attempt, Line, PaymentIntended
from oa_compile.lanes.account import Accounts
from oa_compile.lanes.lane import Payer, Spent
from oa_compile.ledger import Hold
from oa_compile.swarm.customer.attempt import Intent


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """Fulfils lanes.lane.Left."""

    accounts: Accounts
    hold: Hold
    intent: Intent
    written: float

    def lost(self, spent: Spent) -> None:
        self.accounts.end_left(self.hold, spent)


def settle_left(
    holds: Iterable[Hold], lines: Iterable[Line], *, accounts: Accounts, payers: Mapping[str, Payer]
) -> tuple[list[Attempt], list[LeftOpen]]:
    """End the attempts that `holds` are of, with the journal's `lines`; `payers` are lanes by name. Returns
    their ends, and those that nobody can end yet, which count as spent until then.

    Calls are charged at their worst case, for nobody can know; where payments are intended before they are
    made, at what the wallet says. Raises LaneError when that cannot be asked: what was ended by then is.
    """
    intents = {e.hold: (e, line.at) for line in lines if isinstance(e := line.event, PaymentIntended)}
    ended: list[Attempt] = []
    left: list[LeftOpen] = []
    for hold in holds:
        payer = payers.get(hold.lane)
        spent: Spent | None
        if payer is None:
            spent = Spent(hold.msat, hold.tokens)
        elif hold.number not in intents:
            spent = Spent(0, 0)
        else:
            event, at = intents[hold.number]
            intent, written = intent_of(event), at / 1000
            spent = payer.reconcile(intent, written=written)
            if spent is None:
                accounts.pend(hold)
                left.append(LeftOpen(accounts, hold, intent, written))
        if spent is not None:
            ended.append(accounts.end_left(hold, spent))
    return ended, left


def intent_of(event: PaymentIntended) -> Intent:
    """A journaled intent as lanes know it."""
    return Intent(
        event.payment_hash,
        event.bolt11,
        event.msat,
        event.max_fee_msat,
        event.wallet,
        event.provider,
        event.job,
        tuple(event.settles),
    )
