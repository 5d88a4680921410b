"""What a simulated service provider does with a job, from what it is (`world`).

Owns its behaviour: real keys, real drafts, real invoices. Work is a wait, answers come from the question.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from benchmarks.sim.lightning import Lightning
from benchmarks.sim.world import EPOCH, THIEVES, Profile, common_lie, right
from oa_compile.chat import ChatAnswer, Usage
from oa_compile.swarm.protocol.event import Draft, Event, Keys
from oa_compile.swarm.protocol.nip90 import Feedback, Job, Result, draft_feedback, draft_result, read_job

UNPAID_SECONDS = 60.0
"""How long it waits for its money."""
_STRANGER = Keys(b"a key that nobody was asked with")

Say = Callable[[Event], None]


class SimProvider:
    """One provider. `say` brings an event to the relay, `gone` is called when a thief leaves its key."""

    def __init__(self, profile: Profile, lightning: Lightning, *, say: Say, gone: Callable[[], None]) -> None:
        self.profile = profile
        self.served = 0
        self.stolen = 0
        self.jobs = 0
        self._lightning = lightning
        self._say = say
        self._gone = gone
        self._random = random.Random(f"{profile.seed} at work")
        self._seats = asyncio.Semaphore(profile.capacity)
        self._tab: dict[str, int] = {}

    async def serve(self, event: Event) -> None:
        """Do what it does with a job."""
        job, profile, lot = read_job(event), self.profile, self._random
        self.jobs += 1
        if job.settles:
            await self._settle(event, job)
            return
        silent, wrong = lot.random() < profile.silences, lot.random() < profile.errors
        seconds = profile.seconds * lot.lognormvariate(0.0, 0.35)
        if silent:
            return
        if profile.kind == "garbage":
            await self._work(seconds)
            self._babble(event)
        elif wrong:
            await asyncio.sleep(seconds / 4)
            self._feedback(event, Feedback(event.id, "error", "out of memory"))
        elif profile.pay_first:
            await self._pay_first(event, job, seconds)
        else:
            await self._result_first(event, job, seconds)

    # -- both orders -----------------------------------------------------------------------------

    async def _pay_first(self, event: Event, job: Job, seconds: float) -> None:
        price = self.profile.price_msat * self.profile.factor
        if not await self._paid(event, price):
            return
        if self.profile.kind in THIEVES and self.served >= self.profile.honest_jobs:
            self.stolen += 1
            if self.stolen == self.profile.takes:
                self._gone()
            return
        await self._work(seconds)
        self.served += 1
        self._answer(event, job, None, "")

    async def _result_first(self, event: Event, job: Job, seconds: float) -> None:
        profile = self.profile
        await self._work(seconds)
        self.served += 1
        price = profile.price_msat * profile.factor
        if job.tab and sum(self._tab.values()) + price <= profile.tab_msat:
            self._tab[event.id] = price
            self._answer(event, job, price, "", tab=True)
        else:
            self._answer(event, job, price, self._lightning.invoice(price)[0])

    async def _settle(self, event: Event, job: Job) -> None:
        """One invoice for jobs on the tab; an error for a sum that is not theirs."""
        if sum(self._tab.get(one, 0) for one in job.settles) != job.bid_msat:
            self._feedback(event, Feedback(event.id, "error", "the tab says otherwise"))
        elif await self._paid(event, job.bid_msat):
            for one in job.settles:
                self._tab.pop(one, None)

    async def _paid(self, event: Event, msat: int) -> bool:
        bolt11, payment_hash = self._lightning.invoice(msat)
        self._feedback(event, Feedback(event.id, "payment-required", "", msat, bolt11))
        return await self._lightning.arrived(payment_hash, seconds=UNPAID_SECONDS)

    async def _work(self, seconds: float) -> None:
        async with self._seats:
            await asyncio.sleep(seconds)

    # -- what it says ----------------------------------------------------------------------------

    def _text(self, question: str) -> str:
        if self._random.random() >= self.profile.wrong:
            return right(question)
        return common_lie(question) if self.profile.kind == "ring" else self._random.randbytes(6).hex()

    def _answer(self, event: Event, job: Job, msat: int | None, bolt11: str, *, tab: bool = False) -> None:
        answer = ChatAnswer(self._text(job.chat.messages[0].content), Usage(60, 8))
        self._sign(draft_result(event, Result(event.id, answer, msat, bolt11, tab=tab)))

    def _feedback(self, event: Event, feedback: Feedback) -> None:
        self._sign(draft_feedback(event, feedback))

    def _babble(self, event: Event) -> None:
        """Something that makes no sense, or is not what it says."""
        price, answer = self.profile.price_msat, ChatAnswer("0")
        match self._random.randrange(5):
            case 0:
                self._sign(draft_result(event, Result(event.id, answer, price, "lnbcrt1broken")))
            case 1:
                self._feedback(event, Feedback(event.id, "payment-required", "pay", price))
            case 2:
                other = self._lightning.invoice(price + 1)[0]
                self._sign(draft_result(event, Result(event.id, answer, price, other)))
            case 3:
                self._sign(draft_result(event, Result(event.id, answer)), keys=_STRANGER)
            case _:
                self._sign(draft_result(event, Result(event.id, answer)), tampered=True)

    def _sign(self, draft: Draft, *, keys: Keys | None = None, tampered: bool = False) -> None:
        at = EPOCH + int(asyncio.get_running_loop().time())
        said = (keys or self.profile.keys).sign(draft, created_at=at)
        if tampered:
            said = Event(said.id, said.pubkey, said.created_at, said.kind, said.tags, "1", said.sig)
        self._say(said)
