"""Answers from a journal: the `Recording` a journal folds to, and the lane that has nothing else.

Owns what a call's key was answered, and the diff when a call is not there. Reading journals is
`journal`'s work, and when a run may go on live is its runner's.
"""

from __future__ import annotations

import difflib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.digest import short
from oa_compile.errors import Divergence
from oa_compile.events import AnyEvent, Attempt, Borrowed, GaveUp, Line, SandboxRan
from oa_compile.lanes.lane import Account, FaultKind, LaneFault, Quote, RequestRefused

_CLOSE = 16
"""How many of the nearest requests by words are compared letter by letter."""
_EXACT = 4_000_000
"""Pairs of letters up to which that comparison is exact; above, only counts of letters are compared."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """What one key came to: an answer, a refusal (`message`), or a fault (`fault` and `message`)."""

    answer: ChatAnswer | None = None
    fault: FaultKind | None = None
    message: str = ""
    msat: int = 0
    """What the answer cost when it was made."""

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
        self._tests: dict[str, SandboxRan] = {}
        self._messages: dict[ChatMessage, ChatMessage] = {}

    def __len__(self) -> int:
        return len(self._outcomes)

    def get(self, key: str) -> Recorded | None:
        """What `key` came to, None if it never came to an end."""
        return self._outcomes.get(key)

    def tested(self, key: str) -> SandboxRan | None:
        """What the job of that digest came to, None if it never did."""
        return self._tests.get(key)

    def requests(self) -> Iterator[tuple[str, ChatRequest]]:
        """Key and request of every call that was recorded, as of now."""
        return iter(list(self._requests.items()))

    def add(self, event: AnyEvent) -> None:
        """Take up one event; those that end no call are passed over."""
        if isinstance(event, GaveUp):
            self._put(event.key, event.request, Recorded(fault=_kind(event.fault), message=event.message))
        elif isinstance(event, Borrowed):
            self._put(
                event.key,
                event.request,
                Recorded(answer=event.answer, message=event.message, msat=event.msat),
            )
        elif isinstance(event, Attempt):
            if event.outcome == "ok" and event.answer is not None:
                self._put(event.key, event.request, Recorded(answer=event.answer, msat=event.msat))
            elif event.outcome == "refused":
                self._put(event.key, event.request, Recorded(message=event.message))
        elif isinstance(event, SandboxRan):
            self._tests.setdefault(event.key, event)

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

    Words are counted over all of them (linear in the distinct messages of the recording), letters only
    over the few best: difflib over every pair would take minutes for a large run.
    """
    asked = [_words(message) for message in request.messages]
    known: dict[tuple[int, ChatMessage], int] = {}

    def shared(place: int, message: ChatMessage) -> int:
        """Letters of the words a message shares with the one asked in its place, less those it has alone."""
        found = known.get((place, message))
        if found is None:
            words = _words(message)
            both = asked[place] & words if place < len(asked) else Counter()
            found = known[place, message] = 2 * _letters(both) - _letters(words)
        return found

    scored = [
        (sum(shared(place, message) for place, message in enumerate(entry[1].messages)), entry)
        for entry in recording.requests()
    ]
    if not scored:
        return None
    close = heapq.nlargest(_CLOSE, scored, key=lambda pair: pair[0])  # stable: recorded order among equals
    lines = Counter(_pretty(request))
    return max((entry for _, entry in close), key=lambda entry: _likeness(lines, Counter(_pretty(entry[1]))))


def _words(message: ChatMessage) -> Counter[str]:
    return Counter(message.content.split())


def _letters(words: Counter[str]) -> int:
    return sum((len(word) + 1) * count for word, count in words.items())


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """0 … 1: equal lines count whole, the lines that are left by their letters in common."""
    both = one & other
    same = _letters(both)
    mine, theirs = ("\n".join((lines - both).elements()) for lines in (one, other))
    left = len(mine) + len(theirs)
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    ratio: float = matcher.ratio() if len(mine) * len(theirs) <= _EXACT else matcher.quick_ratio()
    return (2 * same + ratio * left) / (2 * same + left or 1)


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
