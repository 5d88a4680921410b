"""A lane for the colours of tests.support.world that says what a test wants, right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oa_compile.chat import ChatAnswer, ChatRequest, Usage
from oa_compile.lanes.metered import Sent
from tests.support.world import COLOURS, RuleLane, unit


def said(colour: str) -> str:
    """An answer in ChatAdapter's format."""
    return f"[[ ## colour ## ]]\n{colour}\n\n[[ ## completed ## ]]"


def thing_of(request: ChatRequest) -> str:
    """The thing that a request asks about."""
    return request.messages[-1].content.split("]]\n", 1)[-1].split("\n", 1)[0]


def truth(request: ChatRequest) -> str:
    """Its gold colour."""
    return COLOURS[int(unit(thing_of(request)) * 3)]


class Saying(RuleLane):
    """Answers what `says` makes of a request and of how often the same was asked before."""

    def __init__(self, says: Callable[[ChatRequest, int], str], name: str = "local", **options: Any) -> None:
        super().__init__(name, **options)
        self.identity = f"saying:{name}"
        self.says = says
        self.requests: list[ChatRequest] = []

    def send(self, request: ChatRequest, key: str) -> Sent:
        sent = super().send(request, key)
        with self._lock:
            before = sum(one.messages == request.messages for one in self.requests)
            self.requests.append(request)
        return Sent(ChatAnswer(said(self.says(request, before)), Usage(100, 5), model="saying"), sent.spent)

    def estimate(self, usage: Usage, *, calls: int) -> int:
        return calls * self.price
