"""Any lane as the answering function of a service provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import pytest

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import DigestMismatch, UsageError
from oa_compile.lanes.lane import Account, FaultKind, LaneFault, Quote, RequestRefused, Spent
from oa_compile.lanes.serve import answering
from oa_compile.swarm.customer.attempt import Intent
from oa_compile.swarm.provider.terms import AnswerFailed, AnswerRefused
from tests.support.customers import chat

ANSWER = ChatAnswer(text="Run the tests.")


@dataclass
class OneLane:
    """A lane that does as `act` does."""

    act: Callable[[Account], ChatAnswer]
    name: str = "one"
    kind: str = "one"
    identity: str = "one:1"
    concurrency: int = 1

    def quote(self, request: ChatRequest) -> Quote:
        return Quote(5, 50)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        return self.act(account)

    def close(self) -> None:
        pass


def test_a_lane_answers_with_the_providers_key_and_nobody_keeps_account() -> None:
    keys = []

    def act(account: Account) -> ChatAnswer:
        keys.append(account.key)
        account.attempt("one", Quote(5, 50)).failed(LaneFault("timeout", "late"))
        account.pause(0.0)
        account.attempt("one", Quote(5, 50), wait=False).refused(RequestRefused("no"))
        account.attempt("one", Quote(5, 50)).answered(ANSWER, Spent(5, 13))
        return ANSWER

    assert answering(OneLane(act))(chat(), "sha256:k") == ANSWER
    assert keys == ["sha256:k"]


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_a_lanes_fault_is_told_by_its_kind(kind: FaultKind) -> None:
    def act(_account: Account) -> ChatAnswer:
        raise LaneFault(kind, "the server at /run/secret is away")

    with pytest.raises(AnswerFailed) as caught:
        answering(OneLane(act))(chat(), "k")
    assert (caught.value.kind, str(caught.value)) == (kind, kind)


def test_a_lanes_refusal_keeps_its_words_and_other_errors_do_not() -> None:
    def refuse(_account: Account) -> ChatAnswer:
        raise RequestRefused("too long", hint="shorten it")

    def mismatch(_account: Account) -> ChatAnswer:
        raise DigestMismatch("weights in /secret")

    def patient(account: Account) -> ChatAnswer:
        account.pause(60.0)
        return ANSWER

    with pytest.raises(AnswerRefused, match="too long"):
        answering(OneLane(refuse))(chat(), "k")
    with pytest.raises(AnswerFailed, match=r"^unavailable$"):
        answering(OneLane(mismatch))(chat(), "k")
    with pytest.raises(AnswerFailed, match=r"^rate_limited$"):
        answering(OneLane(patient))(chat(), "k")


def test_a_lane_that_pays_is_not_served() -> None:
    class Paying(OneLane):
        def take_up(self, books: object) -> None:
            pass

        def reconcile(self, intent: Intent, *, written: float) -> None:
            pass

        def settle(self) -> None:
            pass

    def pays(account: Account) -> ChatAnswer:
        account.attempt("hidden", Quote(5, 50)).intend(Intent("h", "lnbcrt", 5, 0, "cln", "p", "j"))
        return ANSWER

    with pytest.raises(UsageError, match="keep no record"):
        answering(Paying(pays))
    with pytest.raises(AnswerFailed):  # behind another lane, where it shows only when it pays
        answering(OneLane(pays))(chat(), "k")
