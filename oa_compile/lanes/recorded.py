"""Answers from a journal: the `Recording` a journal folds to, and the lane that has nothing else.

Owns what a call's key was answered, and the diff when a call is not there. Reading journals is
`journal`'s work, and when a run may go on live is its runner's.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.digest import short
from oa_compile.errors import Divergence
from oa_compile.events import AnyEvent, Attempt, GaveUp, Line
from oa_compile.lanes.lane import Account, FaultKind, LaneFault, Quote, RequestRefused

_CLOSE = 16
_AS_GOOD = 0.95
"""Of the nearest requests by lines, at most so many, and only those about as near as the best, are
compared letter by letter."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one key came to: an answer, a refusal (`message`), or a fault (`fault` and `message`)."""

    answer: ChatAnswer | None = None
    fault: FaultKind | None = None
    message: str = ""

    @property
    def weight(self) -> int:
        """What wins when a key has several outcomes: an answer, then a refusal, then giving up."""
        return 2 if self.answer is not None else 1 if self.fault is None else 0

    def replay(self) -> ChatAnswer:
        """The answer again. Raises RequestRefused or LaneFault where that is what happened."""
        if self.answer is not None:
            return self.answer
        if self.fault is None:
            raise RequestRefused(self.message)
        raise LaneFault(self.fault, self.message)


class Recording:
    """What each key of a journal was answered. One thread adds at a time; any may read meanwhile.

    Prompts of a run repeat most of their messages, so equal messages are held once.
    """

    def __init__(self) -> None:
        self._outcomes: dict[str, Recorded] = {}
        self._requests: dict[str, ChatRequest] = {}
        self._messages: dict[ChatMessage, ChatMessage] = {}

    def __len__(self) -> int:
        return len(self._outcomes)

    def get(self, key: str) -> Recorded | None:
        """What `key` came to, None if it never came to an end."""
        return self._outcomes.get(key)

    def requests(self) -> Iterator[tuple[str, ChatRequest]]:
        """Key and request of every call that was recorded, as of now."""
        return iter(list(self._requests.items()))

    def add(self, event: AnyEvent) -> None:
        """Take up one event; those that end no call are passed over."""
        if isinstance(event, GaveUp):
            self._put(event.key, event.request, Recorded(fault=_kind(event.fault), message=event.message))
        elif isinstance(event, Attempt):
            if event.outcome == "ok" and event.answer is not None:
                self._put(event.key, event.request, Recorded(answer=event.answer))
            elif event.outcome == "refused":
                self._put(event.key, event.request, Recorded(message=event.message))

    def _put(self, key: str, request: ChatRequest | None, outcome: Recorded) -> None:
        if request is not None:
            messages = tuple(self._messages.setdefault(m, m) for m in request.messages)
            self._requests[key] = msgspec.structs.replace(request, messages=messages)
        before = self._outcomes.get(key)
        if before is None or before.weight < outcome.weight:
            self._outcomes[key] = outcome


def _kind(fault: str) -> FaultKind:
    known: dict[str, FaultKind] = {kind: kind for kind in get_args(FaultKind)}
    return known.get(fault, "unavailable")  # a kind of another version: given up all the same


def recorded_answers(lines: Iterable[Line]) -> Recording:
    """Fold a journal's lines."""
    recording = Recording()
    for line in lines:
        recording.add(line.event)
    return recording


class RecordedLane:
    """Answers by the call's key, free of charge; a key that is not there is a Divergence."""

    kind = "recorded"
    concurrency = 64

    def __init__(self, name: str, *, identity: str, recording: Recording) -> None:
        self.name = name
        self.identity = identity
        self._recording = recording

    def __repr__(self) -> str:
        return f"RecordedLane({self.name!r}, identity={self.identity!r}, calls={len(self._recording)})"

    def quote(self, request: ChatRequest) -> Quote:  # noqa: ARG002 - whatever is asked
        """Nothing: what is recorded was paid for when it was made."""
        return Quote(0, 0)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """The recorded answer; no attempt is opened. Raises Divergence for a call that is not there,
        and what the call raised when it was recorded.
        """
        recorded = self._recording.get(account.key)
        if recorded is None:
            raise divergence(account.key, request, self._recording)
        return recorded.replay()

    def close(self) -> None:
        """Nothing is held."""


def divergence(key: str, request: ChatRequest, recording: Recording) -> Divergence:
    """The error for a call that was not recorded, with a diff from the nearest call that was."""
    called = f"call {short(key)} is not in the journal"
    near = nearest(request, recording)
    if near is None:
        return Divergence(f"{called}, which holds no calls", hint="the run was stopped before its first call")
    near_key, near_request = near
    if near_request == request:
        return Divergence(
            f"{called}; its request is, as call {short(near_key)}",
            hint="the same request was made of another lane, or in another rollout or number of times: "
            "compare lanes, seed and versions",
        )
    before, after = _pretty(near_request), _pretty(request)
    diff = "\n".join(
        difflib.unified_diff(before, after, f"recorded {short(near_key)}", f"asked {short(key)}", lineterm="")
    )
    return Divergence(
        f"{called}; the nearest recorded call is {short(near_key)}",
        diff=diff,
        hint="the program, the data, the seed or a version changed since the journal was made",
    )


def nearest(request: ChatRequest, recording: Recording) -> tuple[str, ChatRequest] | None:
    """The recorded call most like `request`; the first recorded of those equally like it.

    Whole lines are counted over all of them (linear, some 0.02 ms a request), letters only over the
    few best: difflib over every pair would take minutes for a large run.
    """
    asked = Counter(_pretty(request))

    def by_lines(entry: tuple[str, ChatRequest]) -> float:
        lines = _pretty(entry[1])
        seen = Counter(lines)
        shared = sum(min(count, seen[line]) for line, count in asked.items() if line in seen)
        return 2 * shared / (asked.total() + len(lines))

    scored = [(by_lines(entry), entry) for entry in recording.requests()]
    if not scored:
        return None
    scored.sort(key=lambda pair: -pair[0])  # stable: recorded order among equals
    best = scored[0][0]
    text = "\n".join(_pretty(request))
    return max(
        (entry for score, entry in scored[:_CLOSE] if score >= best * _AS_GOOD),
        key=lambda entry: _alike(text, "\n".join(_pretty(entry[1]))),
    )


def _alike(one: str, other: str) -> int:
    """Letters in common at both ends: prompts of one template differ in the middle."""
    head = _common(one, other)
    room = min(len(one), len(other)) - head
    return head + min(room, _common(one[::-1], other[::-1])) - abs(len(one) - len(other)) // 2


def _common(one: str, other: str) -> int:
    """Length of the common prefix, by bisection on slices (which compare at memcmp's speed)."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _pretty(request: ChatRequest) -> list[str]:
    """A request as lines for people: settings, then each message under its role."""
    lines = []
    for field in msgspec.structs.fields(request):
        value: Any = getattr(request, field.name)
        if field.name != "messages" and value != field.default:
            shown = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode()
            lines += f"{field.name}: {shown}".splitlines()
    for message in request.messages:
        lines += ["", f"[{message.role}]", *message.content.splitlines()]
    return lines
