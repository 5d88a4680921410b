"""The service providers of a simulated swarm, drawn from a seed: who they are, what they ask, how they are.

Owns the draws and what they are drawn from; what a provider does with a job is `provider`'s. The same seed
makes the same 10,000 for every policy, so that policies differ by what they do and not by their luck.

Kinds, and the share of all providers each has:

| kind      | share | what it does |
|-----------|-------|--------------|
| honest    | 58 %  | answers; errors 0.5 %, silence 0.3 %, a wrong answer 0.3 % |
| slow      | 8 %   | the same, six times as slow |
| flaky     | 8 %   | errors on 30 % of the jobs, is silent on 10 % |
| dead      | 7 %   | announced itself once, and never says anything |
| thief     | 3 %   | says pay-first, takes the money, is silent; after 1 … 8 payments it has a new key |
| turncoat  | 2 %   | says result-first, and is a thief all the same |
| builder   | 2 %   | says pay-first and is honest for 2 … 40 jobs, then a thief |
| liar      | 4 %   | answers at once, with words of its own: always (half of them), or for 30 % of the jobs |
| ring      | 3 %   | liars whose wrong answer is the same: a majority of them looks like the truth |
| raiser    | 3 %   | asks two or three times what it announced |
| garbage   | 2 %   | broken invoices, demands without one, forged and tampered events |

Price: log-normal, median 10 msat, sigma 0.4, of a bid of 20 (so 4 % ask too much); who means ill (thief to
ring) undercuts, with a median of 5. Seconds of one answer: a median of each provider's own, log-normal
around 1.5 s with sigma 0.6, and each answer log-normal around it with sigma 0.35; liars and rings take a
fifth. Capacity at once: 1, 2, 4, 8 or 16 jobs (30, 30, 20, 10, 10 %), others wait their turn. Way to the
provider and back: uniform 20 … 150 ms each. Order of honest, slow, flaky, raising and garbage ones: result
first 45 %, a tab of five bids 20 % (result-first to whoever wants none), pay first 25 %, not said 10 % (half
of those pay-first).
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from oa_compile.swarm.protocol.event import Event, Keys
from oa_compile.swarm.protocol.nip89 import Handler, Order, draft_handler

EPOCH = 1_800_000_000
"""Unix seconds of virtual second 0."""
BID = 20
NETWORK = "regtest"

Kind = Literal[
    "honest", "slow", "flaky", "dead", "thief", "turncoat", "builder", "liar", "ring", "raiser", "garbage"
]
SHARES: dict[Kind, float] = {
    "honest": 0.58,
    "slow": 0.08,
    "flaky": 0.08,
    "dead": 0.07,
    "thief": 0.03,
    "turncoat": 0.02,
    "builder": 0.02,
    "liar": 0.04,
    "ring": 0.03,
    "raiser": 0.03,
    "garbage": 0.02,
}
THIEVES: frozenset[Kind] = frozenset({"thief", "turncoat", "builder"})
_ILL = THIEVES | {"liar", "ring"}


@dataclass(frozen=True)
class Profile:
    """One provider as it truly is. `announced` is the order it says, `pay_first` whether it demands money
    first; `honest_jobs` are served before it steals, `takes` the payments after which a thief changes its
    key.
    """

    index: int
    kind: Kind
    seed: str
    price_msat: int
    announced: Order
    pay_first: bool
    tab_msat: int
    seconds: float
    capacity: int
    travel: float
    errors: float
    silences: float
    wrong: float
    factor: int
    honest_jobs: int
    takes: int

    @cached_property
    def keys(self) -> Keys:
        """Its key, of the same seed."""
        return Keys(hashlib.sha256(self.seed.encode()).digest())

    def announcement(self, *, at: float) -> Event:
        """Its kind 31990, as of that virtual second."""
        created = EPOCH + int(at)
        handler = Handler(
            self.keys.public,
            name=f"p{self.index}",
            price_msat=self.price_msat,
            order=self.announced,
            network=NETWORK,
            tab_limit_msat=self.tab_msat,
            created_at=created,
        )
        return self.keys.sign(draft_handler(handler), created_at=created)


class World:
    """All providers of one seed, and what is right."""

    def __init__(self, *, providers: int, seed: int, kinds: Sequence[Kind] = ()) -> None:
        """The first providers are of `kinds`, whatever was drawn for them."""
        self.seed = seed
        forced: list[Kind | None] = [*kinds, *[None] * providers]
        self.profiles = [draw(index, seed, kind=forced[index]) for index in range(providers)]

    @cached_property
    def announcements(self) -> list[Event]:
        """Of everybody there is at the beginning."""
        return [profile.announcement(at=0.0) for profile in self.profiles]


def draw(index: int, seed: int, *, kind: Kind | None = None) -> Profile:
    """The provider of that number."""
    own = f"{seed}:{index}"
    lot = random.Random(own)
    drawn = lot.choices(list(SHARES), list(SHARES.values()))[0]
    kind = kind or drawn
    price = max(1, round(lot.lognormvariate(math.log(5 if kind in _ILL else 10), 0.4)))
    announced, pay_first, tab = _order(kind, lot)
    seconds = lot.lognormvariate(math.log(1.5), 0.6)
    return Profile(
        index=index,
        kind=kind,
        seed=own,
        price_msat=price,
        announced=announced,
        pay_first=pay_first,
        tab_msat=tab,
        seconds=seconds * {"slow": 6.0, "liar": 0.2, "ring": 0.2}.get(kind, 1.0),
        capacity=lot.choices((1, 2, 4, 8, 16), (3, 3, 2, 1, 1))[0],
        travel=lot.uniform(0.02, 0.15),
        errors=0.3 if kind == "flaky" else 0.005,
        silences={"dead": 1.0, "flaky": 0.1}.get(kind, 0.003),
        wrong=1.0 if kind == "ring" else lot.choice((1.0, 0.3)) if kind == "liar" else 0.003,
        factor=lot.choice((2, 3)) if kind == "raiser" else 1,
        honest_jobs=lot.randint(2, 40) if kind == "builder" else 0,
        takes=lot.randint(1, 8),
    )


def _order(kind: Kind, lot: random.Random) -> tuple[Order, bool, int]:
    """The order it announces, whether it demands money first, and the tab it offers."""
    said: Order = lot.choices(("result-first", "tab", "pay-first", ""), (45, 20, 25, 10))[0]
    coin = lot.random() < 0.5
    if kind == "turncoat":
        return "result-first", True, 0
    if kind in THIEVES:
        return "pay-first", True, 0
    if kind in _ILL:
        return "result-first", False, 0
    return said, said == "pay-first" or (said == "" and coin), 5 * BID if said == "tab" else 0


def right(question: str) -> str:
    """The right answer to a question."""
    return hashlib.blake2b(question.encode(), digest_size=6, key=b"right").hexdigest()


def common_lie(question: str) -> str:
    """What a ring answers."""
    return hashlib.blake2b(question.encode(), digest_size=6, key=b"wrong").hexdigest()
