"""One policy's run over one world: the real customer, a workload with known answers, and what came of it.

Owns the workload and the figures. `in_flight` workers ask one question after the other, all different.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.sim import clock
from benchmarks.sim.books import Books, Broken, Seat
from benchmarks.sim.lightning import Lightning
from benchmarks.sim.policies import Policy
from benchmarks.sim.relay import SimNetwork
from benchmarks.sim.world import BID, EPOCH, NETWORK, World, right
from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.swarm.customer.attempt import JobFault
from oa_compile.swarm.customer.customer import Customer
from oa_compile.swarm.customer.errand import Asked
from oa_compile.swarm.customer.payment import Payments
from oa_compile.swarm.customer.settlement import Settlements
from oa_compile.swarm.customer.tab import Tabs
from oa_compile.swarm.customer.terms import Terms
from oa_compile.swarm.protocol.event import Keys

_LONGEST = 3600.0
"""Virtual seconds that one call, or all attempts left open, may take: more than any deadlines add up to."""
_CUSTOMER = Keys(b"the customer of all simulations.")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a policy came to. Money in msat, times in virtual seconds.

    `spent_msat` is what left the wallet, and what is still owed on tabs; `lost_msat` of it was paid for
    nothing; `wrong` answers were taken for right ones; `providers` is how many were ever asked.
    """

    policy: str
    calls: int
    right: int
    wrong: int
    unanswered: int
    msat_per_right: float
    spent_msat: int
    lost_msat: int
    owed_msat: int
    seconds: float
    p50: float
    p99: float
    longest: float
    retries: int
    hedges: int
    audits: int
    payments: int
    providers: int
    newborn: int
    ended: dict[str, int]
    faults: dict[str, int]
    lost_to: dict[str, int]
    """Money lost by the kind of provider that has it."""
    wrong_by: dict[str, int]
    jobs_by: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    right: int = 0
    wrong: int = 0
    wrong_by: Counter[str] = field(default_factory=Counter)
    """By pubkey."""
    faults: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def simulate(world: World, policy: Policy, *, jobs: int, in_flight: int) -> Figures:
    """The figures of `jobs` calls, `in_flight` at once. Raises Broken where the books do not balance, Stalled
    where nothing would ever happen again.
    """
    return clock.run(_simulate(world, policy, jobs=jobs, in_flight=in_flight))


async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    """What would block runs here: nothing of a simulation takes time, and no thread may be used."""
    return work(*arguments)


async def _simulate(world: World, policy: Policy, *, jobs: int, in_flight: int) -> Figures:
    loop = asyncio.get_running_loop()

    def now() -> float:
        return EPOCH + loop.time()

    lightning = Lightning(world.seed)
    network, books = SimNetwork(world, lightning), Books(lightning)
    terms = Terms(**{"bid_msat": BID, "encrypt": False, "lightning": NETWORK} | dict(policy.terms))
    tabs = Tabs(policy.tab) if policy.tab is not None else None
    customer = Customer(
        keys=_CUSTOMER,
        network=network,
        market=policy.build(world.seed),
        terms=terms,
        payments=Payments(lightning, network=NETWORK, max_fee_msat=5, seconds=30.0, offload=at_once, now=now),
        settlements=Settlements(tabs, reserve=books.reserve) if tabs is not None else None,
        offload=at_once,
        now=now,
    )
    await customer.open()
    began, tally = loop.time(), _Tally()
    lots = random.Random(f"audits {world.seed}")
    questions = iter([(f"question {number}", lots.random()) for number in range(jobs)])
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(_work(customer, books, questions, tally))
    seconds = loop.time() - began
    await books.all_ended(seconds=_LONGEST)
    await customer.close(seconds=_LONGEST)
    books.check()
    owed = sum(map(tabs.owed_msat, tabs.providers)) if tabs is not None else 0
    return _figures(policy, tally, books, network, seconds=seconds, owed=owed)


async def _work(
    customer: Customer, books: Books, questions: Iterator[tuple[str, float]], tally: _Tally
) -> None:
    loop = asyncio.get_running_loop()
    for question, lot in questions:
        began, seats = loop.time(), list[Seat]()

        def reserve(own: list[Seat] = seats) -> Seat:
            own.append(books.reserve())
            return own[-1]

        asked = Asked(
            ChatRequest((ChatMessage("user", question),), max_tokens=8, temperature=0.0),
            more=reserve,
            spare=reserve,
            most_tokens=1_000,
            lot=lot,
        )
        try:
            async with asyncio.timeout(_LONGEST):
                answer = await customer.ask(asked, reserve())
        except JobFault as fault:
            tally.faults[fault.kind] += 1
            continue
        except TimeoutError:
            raise Broken(f"the call {question!r} never ended") from None
        finally:
            tally.seconds.append(loop.time() - began)
        taken = _taken(seats)
        if answer.text == right(question):
            tally.right += 1
        else:
            tally.wrong += 1
            tally.wrong_by[taken] += 1


def _taken(seats: list[Seat]) -> str:
    """Who gave the answer of a call. Raises Broken unless it is one."""
    takers = [seat.receipt.provider for seat in seats if seat.outcome == "answered" and seat.receipt]
    if len(takers) != 1:
        raise Broken(f"{len(takers)} answers of one call were taken")
    return takers[0]


def _figures(
    policy: Policy, tally: _Tally, books: Books, network: SimNetwork, *, seconds: float, owed: int
) -> Figures:
    receipts, seconds_each = books.receipts, sorted(tally.seconds)
    kinds = {one.profile.keys.public: one.profile.kind for one in network.asked}
    lost: Counter[str] = Counter()
    for receipt in receipts:
        if receipt.lost:
            lost[kinds[receipt.provider]] += receipt.paid_msat
    whys = Counter(receipt.why for receipt in receipts)
    jobs: Counter[str] = Counter()
    for one in network.asked:
        jobs[one.profile.kind] += one.jobs
    wrong: Counter[str] = Counter()
    for pubkey, times_wrong in tally.wrong_by.items():
        wrong[kinds[pubkey]] += times_wrong
    spent = sum(books.lightning.sent.values()) + owed
    return Figures(
        policy=policy.name,
        calls=len(seconds_each),
        right=tally.right,
        wrong=tally.wrong,
        unanswered=sum(tally.faults.values()),
        msat_per_right=round(spent / max(tally.right, 1), 3),
        spent_msat=spent,
        lost_msat=sum(lost.values()),
        owed_msat=owed,
        seconds=round(seconds, 3),
        p50=round(seconds_each[len(seconds_each) // 2], 3),
        p99=round(seconds_each[min(len(seconds_each) * 99 // 100, len(seconds_each) - 1)], 3),
        longest=round(seconds_each[-1], 3),
        retries=whys["retry"],
        hedges=whys["hedge"],
        audits=whys["audit"],
        payments=len(books.lightning.sent),
        providers=len(kinds),
        newborn=network.newborn,
        ended=dict(Counter(seat.outcome for seat in books.seats)),
        faults=dict(tally.faults),
        lost_to=dict(lost.most_common()),
        wrong_by=dict(wrong.most_common()),
        jobs_by=dict(jobs.most_common()),
    )
