"""Any lane as the answering function of a service provider.

The lane is asked as it always is, and nobody keeps account: what a provider earns is its till's matter,
what the lane costs its owner's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.errors import OacompileError, UsageError
from oa_compile.lanes.lane import Lane, LaneFault, Payer, Quote, RequestRefused, Spent
from oa_compile.swarm.customer.attempt import Intent
from oa_compile.swarm.provider.terms import AnswerFailed, Answering, AnswerRefused

_LONGEST_PAUSE = 5.0
"""Seconds. Whoever waits for the answer can ask another provider meanwhile."""


def answering(lane: Lane) -> Answering:
    """Answer with `lane`; the key a provider gives is the call's key. Raises what `Answering` says: a
    refusal with the lane's words, any other failure with its kind alone. Raises UsageError for a lane that
    pays for its answers by itself.
    """
    if isinstance(lane, Payer):
        raise _unjournaled(lane.name)

    def answer(request: ChatRequest, key: str) -> ChatAnswer:
        try:
            return lane.complete(request, _NoAccount(key))
        except RequestRefused as error:
            raise AnswerRefused(error.message) from error
        except LaneFault as fault:
            raise AnswerFailed(fault.kind) from fault
        except OacompileError as error:  # weights that are not there, a digest that is not theirs
            raise AnswerFailed("unavailable") from error

    return answer


@dataclass(frozen=True, slots=True)
class _NoAccount:
    """Fulfils lanes.lane.Account: reserves nothing and records nothing."""

    key: str

    def attempt(self, lane: str, quote: Quote, *, wait: bool = True) -> _NoAttempt:  # noqa: ARG002
        return _NoAttempt()

    def pause(self, seconds: float) -> None:
        if seconds > _LONGEST_PAUSE:
            raise LaneFault("rate_limited", f"the lane asks to wait {seconds:.0f} s before a retry")
        time.sleep(seconds)


class _NoAttempt:
    """Fulfils lanes.lane.Attempted: forgets what it is told."""

    def intend(self, intent: Intent, *, sync: bool = True) -> None:  # noqa: ARG002
        """No payment without an intent on the disk, and there is no journal here: nothing is paid."""
        raise _unjournaled(f"asking {intent.provider[:12]}")

    def pending(self) -> None:
        pass

    def answered(self, answer: ChatAnswer, spent: Spent) -> None:
        pass

    def refused(self, error: RequestRefused) -> None:
        pass

    def failed(self, fault: LaneFault, spent: Spent | None = None) -> None:
        pass

    def paid(self, spent: Spent) -> None:
        pass

    def unused(self, answer: ChatAnswer, spent: Spent) -> None:
        pass


def _unjournaled(lane: str) -> UsageError:
    return UsageError(
        f"the lane {lane} pays other providers, and serving it would keep no record of the payments",
        hint="serve a lane that runs models or buys them on an account: embedded or litellm",
    )
