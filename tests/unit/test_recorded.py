"""Recordings: what a journal folds to, and the diff when a call is not in it."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest
from oa_compile.errors import Divergence
from oa_compile.events import AnyEvent, Attempt, GaveUp, Line, PhaseStarted, Reserved
from oa_compile.lanes.lane import LaneFault, RequestRefused
from oa_compile.lanes.recorded import RecordedLane, Recording, divergence, nearest, recorded_answers
from tests.support.accounts import RecordingAccount

SYSTEM = "You choose the next tool.\nThe tools are bash, edit and read.\nAnswer with one word."


def asked(text: str, **more: object) -> ChatRequest:
    return ChatRequest(messages=(ChatMessage("system", SYSTEM), ChatMessage("user", text)), **more)


def attempt(key: str, outcome: str, **what: object) -> Attempt:
    return Attempt(hold=1, key=key, lane="local", stage="compile", role="task", outcome=outcome, **what)


def answered(key: str, request: ChatRequest, text: str = "bash") -> Attempt:
    return attempt(key, "ok", request=request, answer=ChatAnswer(text=text))


def recording_of(*requests: ChatRequest) -> Recording:
    recording = Recording()
    for number, request in enumerate(requests):
        recording.add(answered(f"sha256:{number:064x}", request))
    return recording


OK = answered("k", asked("a"))
REFUSED = attempt("k", "refused", request=asked("a"), message="too long")
FAULT = attempt("k", "fault", request=asked("a"), fault="server", message="500")
LOST = attempt("k", "lost", message="died")
GAVE_UP = GaveUp(key="k", request=asked("a"), fault="server", message="500 thrice")


def outcome(events: tuple[AnyEvent, ...]) -> str:
    recording = Recording()
    for event in events:
        recording.add(event)
    recorded = recording.get("k")
    if recorded is None:
        return "none"
    try:
        return recorded.replay().text
    except RequestRefused as refusal:
        return f"refused {refusal.message}"
    except LaneFault as fault:
        return f"{fault.kind} {fault.message}"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((OK,), "bash"),
        ((REFUSED,), "refused too long"),
        ((GAVE_UP,), "server 500 thrice"),
        ((FAULT, LOST), "none"),
        ((FAULT, GAVE_UP), "server 500 thrice"),
        ((OK, GAVE_UP, FAULT), "bash"),
        ((REFUSED, GAVE_UP, LOST), "refused too long"),
        ((OK, REFUSED), "bash"),
        ((Reserved(hold=1, key="k", lane="l", stage="compile", role="task", msat=0, tokens=0),), "none"),
        ((PhaseStarted(phase="search"),), "none"),
    ],
)
def test_an_outcome_does_not_depend_on_the_order(events: tuple[AnyEvent, ...], expected: str) -> None:
    assert {outcome(order) for order in permutations(events)} == {expected}


def test_the_first_of_two_answers_stays() -> None:
    assert outcome((OK, answered("k", asked("a"), "edit"))) == "bash"


def test_a_fault_of_a_kind_nobody_knows_is_still_a_fault() -> None:
    unknown = GaveUp(key="k", request=asked("a"), fault="relay_lost", message="gone")
    assert outcome((unknown,)) == "unavailable gone"


def test_lines_fold_as_events_do() -> None:
    lines = [Line(v=1, seq=1, at=0, event=OK), Line(v=1, seq=2, at=0, event=GAVE_UP)]
    recording = recorded_answers(lines)
    assert len(recording) == 1
    assert [key for key, _ in recording.requests()] == ["k"]


def test_equal_messages_are_held_once() -> None:
    decoded = [
        msgspec.json.decode(msgspec.json.encode(answered(str(n), asked(f"text {n}"))), type=Attempt)
        for n in range(50)
    ]
    assert len({id(event.request.messages[0]) for event in decoded if event.request}) == 50
    recording = Recording()
    for event in decoded:
        recording.add(event)
    assert len({id(request.messages[0]) for _, request in recording.requests()}) == 1
    assert [request for _, request in recording.requests()] == [event.request for event in decoded]


def test_requests_may_be_read_while_more_arrive() -> None:
    recording = recording_of(asked("a"), asked("b"))
    for number, _ in enumerate(recording.requests()):
        recording.add(answered(f"new {number}", asked(f"new {number}")))
    assert len(recording) == 4


def test_the_lane_answers_and_opens_no_attempt() -> None:
    lane = RecordedLane("played", identity="embedded:m", recording=recording_of(asked("a")))
    account = RecordingAccount(key=f"sha256:{0:064x}")
    assert lane.complete(asked("a"), account).text == "bash"
    assert account.entries == []


def test_a_call_that_is_not_there_is_shown_as_a_diff() -> None:
    recording = recording_of(asked("the build is red"), asked("all tests pass now", max_tokens=9))
    lane = RecordedLane("played", identity="embedded:m", recording=recording)
    with pytest.raises(Divergence) as divergence:
        lane.complete(asked("all tests fail now", max_tokens=12), RecordingAccount(key="sha256:" + "f" * 64))
    changed = [line for line in divergence.value.diff.splitlines() if line[0] in "+-"]
    assert changed == [
        "--- recorded 000000000000",
        "+++ asked ffffffffffff",
        "-max_tokens: 9",
        "+max_tokens: 12",
        "-all tests pass now",
        "+all tests fail now",
    ]
    assert "ffffffffffff" in divergence.value.message
    assert divergence.value.hint


def test_the_same_request_under_another_key_is_said() -> None:
    error = divergence("sha256:" + "f" * 64, asked("a"), recording_of(asked("a")))
    assert error.diff == ""
    assert "rollout" in error.hint


def test_an_empty_recording_has_nothing_near() -> None:
    error = divergence("sha256:" + "f" * 64, asked("a"), Recording())
    assert "no calls" in error.message
    assert error.diff == ""


def test_one_long_line_is_compared_letter_by_letter() -> None:
    pasted = "x" * 400
    recording = recording_of(
        asked(f"start {pasted} other end"), asked(f"start {pasted} same end"), asked("y" * 410)
    )
    near = nearest(asked(f"start {pasted}z same end"), recording)
    assert near is not None
    assert near[0] == f"sha256:{1:064x}"


@given(
    texts=st.lists(st.text(max_size=60), min_size=1, max_size=12, unique=True),
    pick=st.integers(0, 11),
)
def test_a_request_that_is_there_is_its_own_nearest(texts: list[str], pick: int) -> None:
    recording = recording_of(*[asked(text) for text in texts])
    wanted = asked(texts[pick % len(texts)])
    near = nearest(wanted, recording)
    assert near is not None
    assert "".join(near[1].messages[1].content.splitlines()) == "".join(
        wanted.messages[1].content.splitlines()
    )


def test_the_nearest_of_twenty_thousand_is_found_in_one_pass() -> None:
    """All differ from what is asked in one line of one template; comparing each by letters would
    outlast the suite's time limit.
    """
    recording = recording_of(
        *[asked(f"the log of build {number} says {number * 7}") for number in range(20_000)]
    )
    near = nearest(asked("the log of build 777 says 5440"), recording)
    assert near is not None
    assert near[1] == asked("the log of build 777 says 5439")
