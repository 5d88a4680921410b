"""A swarm lane under test: a relay on loopback, real service providers with instant answers, a real ledger.

The customer's half is a `PylonLane` as a config makes it; the rest runs on the process's loop beside it.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.lanes.pylon import PylonLane
from oa_compile.money import Rate
from oa_compile.spec.config import WalletSpec
from oa_compile.spec.lanes import PylonLaneSpec
from oa_compile.swarm.lightning.cln_till import ClnTill
from oa_compile.swarm.lightning.ledger_node import Ledger
from oa_compile.swarm.lightning.ledger_rpc import LedgerServer
from oa_compile.swarm.loop import shared_loop
from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.protocol.seal import SealCipher
from oa_compile.swarm.provider.provider import Provider
from oa_compile.swarm.provider.terms import AnswerFailed, Terms
from oa_compile.swarm.provider.till import Tabs
from oa_compile.swarm.relays.local_relay import LocalRelayHandle, run_local_relay
from oa_compile.swarm.relays.relays import Relays

PRICE = 10
FUNDS = 1_000_000
SECONDS = 20.0


def instant(request: ChatRequest, key: str) -> ChatAnswer:
    """An answer that says what was asked; JSON where a schema is asked for."""
    said = request.messages[-1].content
    if said == "the wire is down":
        raise AnswerFailed("server")
    text = json.dumps({"tool": "bash"}) if request.response_format else f"answer to {said}"
    return ChatAnswer(text=text, usage=Usage(input_tokens=9, output_tokens=2), model="instant")


@dataclass(eq=False)
class PylonWorld:
    """A relay, a ledger with a customer's node, and `count` providers."""

    folder: Path
    answer: Callable[[ChatRequest, str], ChatAnswer] = instant
    answer_of: Callable[[int], Callable[[ChatRequest, str], ChatAnswer]] | None = None
    """What each provider answers, by its number; all of them `answer` when left out."""
    price_of: Callable[[int], int] | None = None
    """What each asks; all of them `price` when left out."""
    count: int = 2
    price: int = PRICE
    order: Literal["result-first", "pay-first"] = "result-first"
    tab_limit_msat: int = 0
    funds: int = FUNDS
    ledger: Ledger = field(init=False)
    relay: LocalRelayHandle = field(init=False)
    server: LedgerServer = field(init=False)
    providers: list[Provider] = field(default_factory=list)
    keys: list[Keys] = field(default_factory=list)
    _networks: list[Relays] = field(default_factory=list)
    _tills: list[ClnTill] = field(default_factory=list)

    async def open(self) -> None:
        self.relay = await run_local_relay()
        names = [f"provider-{number}" for number in range(self.count)]
        self.ledger = Ledger(self.folder, {"customer": self.funds, **dict.fromkeys(names, 0)})
        self.server = LedgerServer(self.ledger, self.folder)
        await self.server.start()
        for number, name in enumerate(names):
            answer = self.answer if self.answer_of is None else self.answer_of(number)
            await self._serve(name, answer, self.price if self.price_of is None else self.price_of(number))

    async def _serve(self, name: str, answer: Callable[[ChatRequest, str], ChatAnswer], price: int) -> None:
        keys = Keys.generate()
        relays = Relays([self.relay.url], keys=keys)
        await relays.open()
        till = ClnTill(self.server.rpc_path(name))
        await till.open()
        terms = Terms(
            price_msat=price, order=self.order, network="regtest", tab_limit_msat=self.tab_limit_msat
        )
        provider = Provider(
            keys,
            relays,
            answer=answer,
            terms=terms,
            till=till,
            tabs=Tabs(self.folder / f"{name}.tabs.jsonl"),
            cipher=SealCipher(keys),
        )
        await provider.start()
        self.providers.append(provider)
        self.keys.append(keys)
        self._networks.append(relays)
        self._tills.append(till)

    async def close(self) -> None:
        for provider in self.providers:
            await provider.close(seconds=0.2)  # whoever waits for a payment may wait for ever
        for till in self._tills:
            await till.close()
        for relays in self._networks:
            await relays.close()
        await self.server.close()
        await self.relay.close()

    @property
    def wallet(self) -> Path:
        """The customer's socket."""
        return self.server.rpc_path("customer")

    @property
    def spent_msat(self) -> int:
        """What left the customer's node, as the ledger says."""
        return self.funds - self.ledger.nodes["customer"].balance_msat

    def spec(self, **fields: Any) -> PylonLaneSpec:
        """The lane's spec; `fields` change it."""
        settings: dict[str, Any] = {
            "kind": "pylon",
            "relays": [self.relay.url],
            "network": "regtest",
            "privacy": "open",
            "max_tokens": 8,
            "hedge_after": 0.0,
            "audit": 0.0,
            "deadline": 20.0,
        }
        return PylonLaneSpec.model_validate(settings | fields)

    def lane(self, name: str = "swarm", *, pay_seconds: float = 20.0, **fields: Any) -> PylonLane:
        """A lane of this world."""
        wallet = WalletSpec(kind="ledger", rpc=str(self.wallet), pay_seconds=pay_seconds)
        rate = Rate(Decimal(100_000))
        home = self.folder / "lane"
        return PylonLane(
            name, self.spec(**fields), wallet=wallet, rate=rate, secrets=lambda _name: None, home=home
        )


@contextlib.contextmanager
def pylon_world(**what: Any) -> Iterator[PylonWorld]:
    """A world while the block runs."""
    loop = shared_loop()
    with tempfile.TemporaryDirectory(prefix="oac-") as folder:
        world = PylonWorld(Path(folder), **what)
        loop.run(world.open(), seconds=SECONDS)
        try:
            yield world
        finally:
            loop.run(world.close(), seconds=SECONDS)
