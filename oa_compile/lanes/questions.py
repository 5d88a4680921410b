"""Questions that a process began and did not live to end: what became of the payments it had begun.

A question of ``swarm ask`` is a run of one call that nobody resumes, so whoever asks the next one looks
after it: the wallet that its journal names is asked, and what it says is written there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from oa_compile.errors import OacompileError, UsageError
from oa_compile.events import Attempt, Line, PaymentIntended, Reserved, RunFinished, RunStarted
from oa_compile.journal import Journal, read
from oa_compile.lanes.account import Accounts
from oa_compile.lanes.lane import Payer
from oa_compile.lanes.left import settle_left
from oa_compile.lanes.pylon import PylonLane
from oa_compile.lanes.stop import StopSwitch
from oa_compile.ledger import Ledger
from oa_compile.spec.budget import MoneySpec
from oa_compile.spec.config import WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec

_DIED = "the process died before there was an answer"


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a payment that a dead process had begun; `msat` is what left the wallet, fees included.

    ``pending``: the wallet does not know yet. ``gone``: the wallet was a swarm's of this machine and ended
    with it; `msat` is what was set aside then. ``unknown``: it cannot be found out now, `trouble` says why;
    `provider` (hex pubkey) may be empty then.
    """

    journal: Path
    outcome: Literal["paid", "unpaid", "pending", "gone", "unknown"]
    provider: str = ""
    msat: int = 0
    trouble: str = ""


def settle_questions(journals: Iterable[Path], *, secrets: Callable[[str], str | None]) -> Iterator[Found]:
    """End what was left of the questions of those journals, and tell it payment by payment. One that is being
    asked at this moment is passed over; one that cannot be looked into is told of, and tried again next time.
    """
    for path in journals:
        try:
            yield from _settle(path, secrets)
        except OacompileError as error:
            yield Found(path, "unknown", trouble=error.message)


def _settle(path: Path, secrets: Callable[[str], str | None]) -> Iterator[Found]:
    if not _is_open(read(path)):
        return
    try:
        journal = Journal(path)
    except UsageError:  # somebody is asking it
        return
    with ExitStack() as closing:
        closing.callback(journal.close)
        lines = journal.history
        ledger = Ledger()
        ledger.replay(line.event for line in lines)
        payers: dict[str, Payer] = {}
        lane = _lane_of(lines, secrets)
        if lane is not None:
            closing.callback(lane.close)
            payers[lane.name] = lane
        accounts = Accounts(
            journal=journal, ledger=ledger, switch=StopSwitch(ledger), settled=lambda _attempt: None
        )
        ended, left = settle_left(ledger.open_holds(), lines, accounts=accounts, payers=payers)
        if not left and not isinstance(lines[-1].event, RunFinished):
            journal.append(RunFinished(status="failed", reason=_DIED), sync=True)
    intents = {e.hold: e for line in lines if isinstance(e := line.event, PaymentIntended)}
    for attempt in ended:
        if attempt.hold in intents:
            yield _told(path, attempt, intents[attempt.hold], gone=lane is None)
    for one in left:
        yield Found(path, "pending", one.intent.provider, one.intent.msat)


def _told(path: Path, attempt: Attempt, intent: PaymentIntended, *, gone: bool) -> Found:
    if gone:
        return Found(path, "gone", intent.provider, attempt.msat)
    paid = int(attempt.receipt.get("paid_msat", 0))
    return Found(path, "paid" if paid else "unpaid", intent.provider, paid)


def _is_open(lines: Iterable[Line]) -> bool:
    """Whether an attempt was begun that has no end."""
    open_holds: set[int] = set()
    for line in lines:
        if isinstance(line.event, Reserved):
            open_holds.add(line.event.hold)
        elif isinstance(line.event, Attempt):
            open_holds.discard(line.event.hold)
    return bool(open_holds)


def _lane_of(lines: list[Line], secrets: Callable[[str], str | None]) -> PylonLane | None:
    """The lane that the question was asked on, to ask its wallet; None where that ended with its process."""
    started = lines[0].event
    if not isinstance(started, RunStarted):
        raise UsageError("its journal does not begin with run_started")
    settings = started.settings
    try:
        spec = PylonLaneSpec.model_validate(settings.get("lane"))
        wallet = WalletSpec.model_validate(settings.get("wallet"))
    except ValidationError as error:
        raise UsageError(f"its settings are of another version: {error.errors()[0]['msg']}") from error
    if spec.is_local:
        return None
    name = next(iter(started.lanes), "swarm")
    # The rate turns a bid in dollars into msat; for what was bid already it does not matter.
    return PylonLane(name, spec, wallet=wallet, rate=MoneySpec().rate, secrets=secrets)
