"""The retry loop every lane with one provider shares: reserve, send, settle, and again if it may.

Owns when to retry and how long to wait; how to send is the lane's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from oa_compile.chat import ChatAnswer, ChatRequest
from oa_compile.lanes.lane import RETRYABLE, Account, LaneFault, Quote, RequestRefused, Spent


class Sent(NamedTuple):
    """An answer and what it cost."""

    answer: ChatAnswer
    spent: Spent


class Sender(Protocol):
    """What a lane must offer to be metered."""

    name: str

    def quote(self, request: ChatRequest) -> Quote:
        """The worst case of one attempt."""

    def send(self, request: ChatRequest, key: str) -> Sent:
        """One attempt. Raises LaneFault or RequestRefused, nothing else on purpose."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently. Waits are `base` · 2^n seconds, at most `longest`, unless the
    provider names a time, which is honoured up to `longest_asked`.
    """

    attempts: int = 4
    base: float = 1.0
    longest: float = 30.0
    longest_asked: float = 120.0

    def wait(self, fault: LaneFault, attempt: int) -> float:
        """Seconds before attempt number `attempt` + 1."""
        if fault.retry_after is not None:
            return min(max(fault.retry_after, 0.0), self.longest_asked)
        return min(self.base * 2.0**attempt, self.longest)


def complete(sender: Sender, request: ChatRequest, account: Account, retry: Retry) -> ChatAnswer:
    """Send until answered, refused, or out of attempts; every attempt is reserved and told."""
    for number in range(retry.attempts):
        attempt = account.attempt(sender.name, sender.quote(request))
        try:
            sent = sender.send(request, account.key)
        except RequestRefused as error:
            attempt.refused(error)
            raise
        except LaneFault as fault:
            attempt.failed(fault)
            if fault.kind not in RETRYABLE or number + 1 == retry.attempts:
                raise
            account.pause(retry.wait(fault, number))
        except BaseException as error:
            attempt.failed(LaneFault("transport", f"{type(error).__name__}: {error}", billed=True))
            raise
        else:
            attempt.answered(sent.answer, sent.spent)
            return sent.answer
    raise AssertionError("unreachable: the last attempt returns or raises")
