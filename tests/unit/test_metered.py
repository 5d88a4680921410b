"""The retry loop: every attempt reserved and told once, waits as asked, nothing retried in vain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.errors import BudgetExhausted
from oa_compile.lanes.lane import RETRYABLE, FaultKind, LaneFault, Quote, RequestRefused, Spent
from oa_compile.lanes.metered import Retry, Sent, complete
from tests.support.accounts import RecordingAccount

ASKED = ChatRequest(messages=(ChatMessage("user", "hi"),))
ANSWER = ChatAnswer(text="yes", usage=Usage(input_tokens=1, output_tokens=1))


class Scripted:
    """A sender that fails as told, and then answers."""

    name = "scripted"

    def __init__(self, script: Iterable[BaseException]) -> None:
        self.script = list(script)
        self.keys: list[str] = []

    def quote(self, request: ChatRequest) -> Quote:
        return Quote(10, 20)

    def send(self, request: ChatRequest, key: str) -> Sent:
        self.keys.append(key)
        if self.script:
            raise self.script.pop(0)
        return Sent(ANSWER, Spent(4, 2))


def test_an_answer_is_reserved_then_settled() -> None:
    sender, account = Scripted([]), RecordingAccount(key="sha256:k")
    assert complete(sender, ASKED, account, Retry()) == ANSWER
    (entry,) = account.entries
    assert (entry.lane, entry.quote, entry.outcome, entry.spent) == (
        "scripted",
        Quote(10, 20),
        "answered",
        Spent(4, 2),
    )
    assert sender.keys == ["sha256:k"]


@given(kinds=st.lists(st.sampled_from(sorted(get_args(FaultKind))), max_size=8), attempts=st.integers(1, 6))
def test_faults_are_retried_while_it_may_help(kinds: list[FaultKind], attempts: int) -> None:
    sender = Scripted(LaneFault(kind, kind) for kind in kinds)
    account = RecordingAccount()
    final = next((n for n, kind in enumerate(kinds) if kind not in RETRYABLE or n + 1 == attempts), None)
    if final is None:
        assert complete(sender, ASKED, account, Retry(attempts=attempts)) == ANSWER
        assert account.outcomes == ["failed"] * len(kinds) + ["answered"]
        assert len(account.pauses) == len(kinds)
    else:
        with pytest.raises(LaneFault) as fault:
            complete(sender, ASKED, account, Retry(attempts=attempts))
        assert fault.value.kind == kinds[final]
        assert account.outcomes == ["failed"] * (final + 1)
        assert len(account.pauses) == final  # no wait after the last


def test_a_refusal_is_not_tried_again() -> None:
    account = RecordingAccount()
    with pytest.raises(RequestRefused):
        complete(Scripted([RequestRefused("too long")]), ASKED, account, Retry())
    assert account.outcomes == ["refused"]
    assert account.pauses == []


def test_a_cap_stops_before_sending_also_between_retries() -> None:
    sender = Scripted([LaneFault("server", "500")] * 3)
    account = RecordingAccount(cap_calls=2)
    with pytest.raises(BudgetExhausted):
        complete(sender, ASKED, account, Retry(attempts=4))
    assert len(sender.keys) == 2
    assert account.outcomes == ["failed", "failed"]


def test_money_that_may_be_gone_stays_reserved_for_the_next_attempt() -> None:
    """A timeout is charged at its quote, so the retry needs room beside it."""
    account = RecordingAccount(cap_msat=15)
    with pytest.raises(BudgetExhausted):
        complete(Scripted([LaneFault("timeout", "late", billed=True)]), ASKED, account, Retry())
    assert account.outcomes == ["failed"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_whatever_breaks_the_attempt_is_told_as_billed(error: BaseException) -> None:
    account = RecordingAccount()
    with pytest.raises(type(error)):
        complete(Scripted([error]), ASKED, account, Retry())
    (entry,) = account.entries
    assert entry.outcome == "failed"
    assert entry.msat == 10


def test_waits_double_up_to_the_longest() -> None:
    retry = Retry(base=1.0, longest=5.0)
    assert [retry.wait(LaneFault("server", ""), n) for n in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize(("asked", "waited"), [(0.25, 0.25), (7.0, 7.0), (-3.0, 0.0), (9999.0, 60.0)])
def test_a_provider_s_own_time_is_honoured_within_reason(asked: float, waited: float) -> None:
    retry = Retry(base=1.0, longest=5.0, longest_asked=60.0)
    assert retry.wait(LaneFault("rate_limited", "", retry_after=asked), 0) == waited
