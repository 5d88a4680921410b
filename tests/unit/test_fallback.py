"""Fallback: the order, what falls through, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.errors import BudgetExhausted, UsageError
from oa_compile.lanes import metered
from oa_compile.lanes.fallback import FallbackLane
from oa_compile.lanes.lane import FATAL, Account, FaultKind, LaneFault, Quote, RequestRefused, Spent
from tests.support.accounts import RecordingAccount

ASKED = ChatRequest(messages=(ChatMessage("user", "hi"),))


class Member:
    """A metered lane whose every attempt goes the same way."""

    kind = "scripted"
    concurrency = 3

    def __init__(
        self, name: str, *, quote: Quote | None = None, fails: Callable[[], Exception] | None = None
    ) -> None:
        self.name = name
        self.identity = f"scripted:{name}"
        self.fails = fails
        self.closed = 0
        self._quote = quote or Quote(5, 5)

    def quote(self, request: ChatRequest) -> Quote:
        return self._quote

    def send(self, request: ChatRequest, key: str) -> metered.Sent:
        if self.fails:
            raise self.fails()
        return metered.Sent(ChatAnswer(text=self.name), Spent(1, 1))

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        return metered.complete(self, request, account, metered.Retry(attempts=2))

    def close(self) -> None:
        self.closed += 1


def down(kind: FaultKind, name: str = "cheap") -> Member:
    return Member(name, fails=lambda: LaneFault(kind, f"{name} is down", hint=f"mend {name}"))


def test_the_first_that_answers_answers() -> None:
    account = RecordingAccount()
    lane = FallbackLane("either", [Member("cheap"), Member("dear")])
    assert lane.complete(ASKED, account).text == "cheap"
    assert [entry.lane for entry in account.entries] == ["cheap"]


@pytest.mark.parametrize("kind", sorted(set(get_args(FaultKind)) - FATAL))
def test_a_lane_out_of_attempts_hands_over(kind: FaultKind) -> None:
    account = RecordingAccount()
    lane = FallbackLane("either", [down(kind), Member("dear")])
    assert lane.complete(ASKED, account).text == "dear"
    assert account.outcomes[-1] == "answered"
    assert {entry.lane for entry in account.entries} == {"cheap", "dear"}  # each under its own name


@pytest.mark.parametrize("kind", sorted(FATAL))
def test_a_broken_account_is_not_hidden_behind_a_dearer_lane(kind: FaultKind) -> None:
    account = RecordingAccount()
    with pytest.raises(LaneFault, match="cheap is down"):
        FallbackLane("either", [down(kind), Member("dear")]).complete(ASKED, account)
    assert [entry.lane for entry in account.entries] == ["cheap"]


def test_a_refusal_is_the_call_s_end() -> None:
    account = RecordingAccount()
    strict = Member("cheap", fails=lambda: RequestRefused("too long"))
    with pytest.raises(RequestRefused):
        FallbackLane("either", [strict, Member("dear")]).complete(ASKED, account)
    assert account.outcomes == ["refused"]


def test_a_cap_is_the_call_s_end() -> None:
    account = RecordingAccount(cap_calls=2)
    with pytest.raises(BudgetExhausted):
        FallbackLane("either", [down("server"), Member("dear")]).complete(ASKED, account)
    assert account.outcomes == ["failed", "failed"]


def test_when_all_are_down_the_fault_tells_of_each() -> None:
    lane = FallbackLane("either", [down("server"), down("rate_limited", "dear")])
    with pytest.raises(LaneFault) as fault:
        lane.complete(ASKED, RecordingAccount())
    assert fault.value.kind == "rate_limited"
    assert "cheap is down" in fault.value.message
    assert "dear is down" in fault.value.message
    assert fault.value.hint == "mend dear"
    assert not fault.value.billed  # every attempt was charged where it was made


def test_the_quote_covers_every_member() -> None:
    lane = FallbackLane("either", [Member("a", quote=Quote(9, 100)), Member("b", quote=Quote(70, 20))])
    assert lane.quote(ASKED) == Quote(70, 100)


def test_identity_names_the_members_in_their_order() -> None:
    a, b = Member("a"), Member("b")
    assert FallbackLane("x", [a, b]).identity == "fallback(scripted:a | scripted:b)"
    assert FallbackLane("x", [a, b]).identity != FallbackLane("x", [b, a]).identity


def test_close_closes_all_and_none_is_a_usage_error() -> None:
    members = [Member("a"), Member("b")]
    FallbackLane("x", members).close()
    assert [member.closed for member in members] == [1, 1]
    with pytest.raises(UsageError):
        FallbackLane("x", [])
