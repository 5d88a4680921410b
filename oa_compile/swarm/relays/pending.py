"""What one relay was told and has not answered: events on their way, and standing requests.

Owns patience (when something is said again, and when it is given up) and what has to be said anew on
another connection. Knows no socket: it is given a way to write that may do nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from oa_compile.swarm.protocol.event import Event
from oa_compile.swarm.relays.network import Filter
from oa_compile.swarm.relays.wire import close_frame, req_frame

OVERLAP_SECONDS = 120
"""How far before the loss of a connection it is asked again: clocks differ, and events arrive late."""
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
"""Seconds until a request is made again that a relay closed."""

Verdict = Literal["accepted", "refused", "silent"]
Report = Callable[[str, Verdict, str], None]
"""Called once for an event that was sent: (relay, verdict, reason)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an event is sent in all, and how long an answer is waited for each time."""

    resend_seconds: float = 2.0
    sends: int = 3

    @property
    def seconds(self) -> float:
        """How long until an event is given up."""
        return self.resend_seconds * self.sends


class _Sent:
    """An event on its way; `waits` says why it needs an authentication first."""

    __slots__ = ("due", "frame", "report", "sent_at", "tries", "waits")

    def __init__(self, frame: bytes, report: Report, *, now: float, due: float) -> None:
        self.frame, self.report = frame, report
        self.sent_at, self.due, self.tries, self.waits = now, due, 1, ""


class Outbox:
    """Events sent to one relay and not yet answered by it."""

    def __init__(self, url: str, patience: Patience, *, write: Callable[[bytes], None]) -> None:
        self._url, self._patience, self._write = url, patience, write
        self._sent: dict[str, _Sent] = {}  # in the order in which they are due
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, event_id: str, frame: bytes, report: Report) -> None:
        """Send an event. If the same one is under way already, one answer serves both."""
        now = asyncio.get_running_loop().time()
        twin = self._sent.pop(event_id, None)
        if twin is not None:
            report = _both(twin.report, report)
        self._sent[event_id] = _Sent(frame, report, now=now, due=now + self._patience.resend_seconds)
        self._write(frame)
        self._arm()

    def sent_at(self, event_id: str) -> float | None:
        """When the event was sent last, on the loop's clock; None if it is not under way."""
        sent = self._sent.get(event_id)
        return None if sent is None else sent.sent_at

    def only(self) -> str:
        """The id of the event under way if there is exactly one, else nothing."""
        return next(iter(self._sent)) if len(self._sent) == 1 else ""

    def answer(self, event_id: str, verdict: Verdict, reason: str) -> None:
        """The relay has spoken, or will not: the event is off our hands."""
        self._sent.pop(event_id).report(self._url, verdict, reason)

    def hold(self, event_id: str, reason: str) -> None:
        """The event was refused for want of an authentication that may come."""
        self._sent[event_id].waits = reason

    def resend(self, *, held: bool = False) -> None:
        """Send all again, or the held ones only: after a reconnect, after an authentication."""
        for sent in self._sent.values():
            if sent.waits or not held:
                sent.waits = ""
                self._again(sent)

    def refuse_held(self, reason: str) -> None:
        """The authentication that the held ones need will not come."""
        for event_id in [event_id for event_id, sent in self._sent.items() if sent.waits]:
            self.answer(event_id, "refused", reason or self._sent[event_id].waits)

    def refuse_largest(self, reason: str) -> None:
        """The relay hung up on a size: sent once more, it would cost all others their connection."""
        if self._sent:
            self.answer(max(self._sent, key=lambda one: len(self._sent[one].frame)), "refused", reason)

    def close(self) -> None:
        """Give up what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for event_id in list(self._sent):
            self.answer(event_id, "silent", "")

    def _again(self, sent: _Sent) -> None:
        sent.sent_at = asyncio.get_running_loop().time()
        self._write(sent.frame)

    def _arm(self) -> None:
        """One timer for all of them, so that an event in its time costs none."""
        if self._timer is None and self._sent:
            due = next(iter(self._sent.values())).due
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._sent:
            event_id, sent = next(iter(self._sent.items()))
            if sent.due > now:
                break
            if sent.tries >= self._patience.sends:
                self.answer(event_id, "refused" if sent.waits else "silent", sent.waits)
                continue
            del self._sent[event_id]
            self._sent[event_id] = sent
            sent.due, sent.tries = now + self._patience.resend_seconds, sent.tries + 1
            self._again(sent)
        self._arm()


def _both(first: Report, second: Report) -> Report:
    def report(url: str, verdict: Verdict, reason: str) -> None:
        first(url, verdict, reason)
        second(url, verdict, reason)

    return report


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription as one relay is asked for it. `on_end` is called with (relay, reason) whenever the
    relay has sent what it had stored, or (with a reason) will not. A standing one goes on after that.
    """

    id: str
    filters: Sequence[Filter]
    on_event: Callable[[Event], None]
    on_end: Callable[[str, str], None]
    standing: bool = True


class _Asked:
    """A request and how far it got. `since`: what came before is known; `waits`: as in `_Sent`."""

    __slots__ = ("answered", "request", "retry", "sent_at", "since", "tries", "waits")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answered, self.since, self.tries, self.waits = False, 0, 0, ""
        self.sent_at, self.retry = 0.0, FIRST_RETRY

    def filters(self) -> Sequence[Filter]:
        if not self.since:
            return self.request.filters
        # `limit` bounds what is stored, and all that was missed is wanted
        return [
            {name: value for name, value in one.items() if name != "limit"}
            | {"since": max(self.since, one.get("since", 0))}
            for one in self.request.filters
        ]


class Requests:
    """What one relay is asked for, on this connection and on those to come.

    After a loss the missed part is asked for by *our* clock: by an event's `created_at`, one event dated
    tomorrow would hide all that comes until then.
    """

    def __init__(self, url: str, patience: Patience, *, write: Callable[[bytes], None]) -> None:
        self._url, self._patience, self._write = url, patience, write
        self._asked: dict[str, _Asked] = {}
        self.heard = 0.0
        """Unix time of the last message of this relay: whoever reads them keeps it."""

    def add(self, request: Request, *, now: bool) -> None:
        """Make a request until `drop`; `now` says that there is a connection."""
        asked = self._asked[request.id] = _Asked(request)
        if now:
            self._ask(asked)

    def drop(self, request_id: str) -> None:
        """Take a request back."""
        if self._asked.pop(request_id, None) is not None:
            self._write(close_frame(request_id))

    def opened(self) -> None:
        """There is a new connection: ask for everything."""
        self.heard = time.time()
        for asked in list(self._asked.values()):
            self._ask(asked)

    def lost(self) -> None:
        """The connection is gone."""
        for asked in self._asked.values():
            self._interrupted(asked)
            asked.tries, asked.sent_at = 0, 0.0

    def sent_at(self, request_id: str) -> float | None:
        """When the request was made last, on the loop's clock; None if it is not ours."""
        asked = self._asked.get(request_id)
        return None if asked is None else asked.sent_at

    def event(self, request_id: str, event: Event) -> bool:
        """Hand an event on; False if nobody asked for it."""
        asked = self._asked.get(request_id)
        if asked is None:
            return False
        asked.request.on_event(event)
        return True

    def end(self, request_id: str) -> bool:
        """All that was stored has come; False if nobody asked."""
        asked = self._asked.get(request_id)
        if asked is None:
            return False
        asked.answered, asked.retry = True, FIRST_RETRY
        asked.request.on_end(self._url, "")
        return True

    def closed(self, request_id: str, reason: str) -> None:
        """The relay has ended a request. A standing one is made again after a while, ever longer."""
        asked = self._asked[request_id]
        self._interrupted(asked)
        if asked.request.standing:
            self._ask_again(asked, asked.retry)
            asked.retry = min(LAST_RETRY, 2 * asked.retry)
        asked.request.on_end(self._url, reason or "the relay closed the subscription")

    def hold(self, request_id: str, reason: str) -> None:
        """The request was refused for want of an authentication that may come."""
        self._interrupted(self._asked[request_id])
        self._asked[request_id].waits = reason

    def resend_held(self) -> None:
        """The authentication has come."""
        for asked in [asked for asked in self._asked.values() if asked.waits]:
            self._ask(asked)

    def refuse_held(self, reason: str) -> None:
        """The authentication will not come."""
        for asked in [asked for asked in self._asked.values() if asked.waits]:
            self.closed(asked.request.id, reason or asked.waits)

    def close(self) -> None:
        """Give up all."""
        asked, self._asked = self._asked, {}
        for one in asked.values():
            one.request.on_end(self._url, "the connection was closed")

    def _interrupted(self, asked: _Asked) -> None:
        if asked.answered:
            asked.since = max(1, int(self.heard) - OVERLAP_SECONDS)
        asked.answered = False

    def _ask(self, asked: _Asked) -> None:
        asked.tries += 1
        asked.waits = ""
        asked.sent_at = asyncio.get_running_loop().time()
        self._write(req_frame(asked.request.id, asked.filters()))
        if asked.tries < self._patience.sends:  # a relay may lose a REQ as it may lose an event
            self._ask_again(asked, self._patience.resend_seconds)

    def _ask_again(self, asked: _Asked, seconds: float) -> None:
        """Unless it is answered, dropped, or made anew meanwhile."""
        at = asked.sent_at

        def again() -> None:
            ours = self._asked.get(asked.request.id) is asked
            if ours and asked.sent_at == at and not asked.answered:
                self._ask(asked)

        asyncio.get_running_loop().call_later(seconds, again)
