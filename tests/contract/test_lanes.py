"""What every lane promises, whatever it is made of. A new lane adds a factory here and passes."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from oa_compile.chat import ChatAnswer, ChatMessage, ChatRequest, Usage
from oa_compile.digest import digest_bytes
from oa_compile.errors import BudgetExhausted
from oa_compile.events import Attempt, GaveUp
from oa_compile.lanes.fallback import FallbackLane
from oa_compile.lanes.lane import Lane, LaneFault, RequestRefused
from oa_compile.lanes.litellm import LiteLLMLane
from oa_compile.lanes.recorded import RecordedLane, Recording
from oa_compile.spec.lanes import EmbeddedLaneSpec
from tests.support.accounts import RecordingAccount
from tests.support.litellm_lane import KEY, MARKS, litellm_lane, offline_litellm
from tests.support.openai_server import OpenAIServer, status
from tests.support.pylon_lane import pylon_world

THREADS = 16
SCHEMA = {
    "type": "object",
    "properties": {"tool": {"type": "string", "enum": ["bash", "edit", "read"]}},
    "required": ["tool"],
    "additionalProperties": False,
}


def request(text: str = "The build is red. What now?", **more: object) -> ChatRequest:
    """A small request; `more` are its settings."""
    system = ChatMessage("system", "You choose the next tool.")
    return ChatRequest(
        messages=(system, ChatMessage("user", text)), **{"max_tokens": 8, "temperature": 0.0, **more}
    )


def key_of(asked: ChatRequest) -> str:
    """A key as the engine makes it: equal for equal requests."""
    return digest_bytes(msgspec.json.encode(asked))


def account(asked: ChatRequest, **caps: int) -> RecordingAccount:
    """An account for the call of `asked`."""
    return RecordingAccount(key=key_of(asked), **caps)


STRUCTURED = request(
    "Name a tool.",
    max_tokens=64,  # llama.cpp writes JSON with spaces and newlines
    response_format={"type": "json_schema", "name": "x", "schema": SCHEMA},
)
REFUSED, FAULTY = request("too long " * 6000), request("the wire is down")
MANY = [request(f"Example {number}: what now?") for number in range(48)]


@dataclass
class Subject:
    """A lane under test, and how to bring about what the contract speaks of."""

    lane: Lane
    rebuild: Callable[[], Lane]
    other: Lane | None = None
    """A lane of the same kind with another model."""
    sent: Callable[[], int] | None = None
    """How many requests left the process; None where none can."""
    reserves: bool = True
    refuse: Callable[[], None] = field(default=lambda: None)
    """Make the next call of REFUSED one that is refused."""
    fail: Callable[[], None] | None = None
    """Make the next call of FAULTY fail for good; None where nothing can fail."""


@contextmanager
def litellm_subject() -> Iterator[Subject]:
    with OpenAIServer() as server:

        def build(model: str = "openai/gpt-4o-mini") -> LiteLLMLane:
            return litellm_lane(server.base_url, model=model, attempts=3)

        yield Subject(
            lane=build(),
            rebuild=build,
            other=build("openai/gpt-4o"),
            sent=lambda: len(server.seen),
            refuse=lambda: server.script(status(400, message="too long")),
            fail=lambda: server.script(*[status(500)] * 3),
        )


@contextmanager
def fallback_subject() -> Iterator[Subject]:
    """Its first member is down for good: nothing listens on its port."""
    with OpenAIServer() as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        def build(model: str = "openai/gpt-4o-mini") -> FallbackLane:
            down = litellm_lane(nobody, model=model, name="down")
            up = litellm_lane(server.base_url, model=model, name="up", attempts=3)
            return FallbackLane("either", [down, up])

        yield Subject(
            lane=build(),
            rebuild=build,
            other=build("openai/gpt-4o"),
            sent=lambda: len(server.seen),
            refuse=lambda: server.script(status(400, message="too long")),
            fail=lambda: server.script(*[status(500)] * 3),
        )


@contextmanager
def recorded_subject() -> Iterator[Subject]:
    recording = Recording()
    for number, asked in enumerate((request(), STRUCTURED, *MANY), start=1):
        text = json.dumps({"tool": "bash"}) if asked is STRUCTURED else f"answer {number}"
        answer = ChatAnswer(text=text, usage=Usage(input_tokens=9, output_tokens=2), model="smollm2")
        recording.add(_attempt(number, asked, outcome="ok", answer=answer))
    recording.add(_attempt(98, REFUSED, outcome="refused", message="too long"))
    recording.add(
        GaveUp(key=key_of(FAULTY), request=FAULTY, fault="server", message="HTTP 500 after 3 attempts")
    )

    def build(identity: str = "embedded:smollm2") -> RecordedLane:
        return RecordedLane("played", identity=identity, recording=recording)

    yield Subject(
        lane=build(), rebuild=build, other=build("embedded:other"), reserves=False, fail=lambda: None
    )


def _attempt(number: int, asked: ChatRequest, **what: object) -> Attempt:
    common = {"key": key_of(asked), "lane": "local", "stage": "compile", "role": "task"}
    return Attempt(hold=number, request=asked, **common, **what)


@contextmanager
def embedded_subject() -> Iterator[Subject]:
    embedded = importlib.import_module("oa_compile.lanes.embedded")
    spec = EmbeddedLaneSpec(kind="embedded", instances=1, context=2048)

    def build() -> Lane:
        return embedded.EmbeddedLane("local", spec, price_msat=7)

    lane = build()
    try:
        yield Subject(lane=lane, rebuild=build)
    finally:
        lane.close()


@contextmanager
def pylon_subject() -> Iterator[Subject]:
    with pylon_world() as world:
        built: list[Lane] = []

        def build(model: str = "") -> Lane:
            built.append(world.lane(model=model))
            return built[-1]

        try:
            yield Subject(
                lane=build(),
                rebuild=build,
                other=build("another"),
                sent=lambda: sum(provider.tally.jobs for provider in world.providers),
                fail=lambda: None,
            )
        finally:
            for lane in built:
                lane.close()


FACTORIES = {
    "pylon": (pylon_subject, []),
    "litellm": (litellm_subject, MARKS),
    "fallback": (fallback_subject, MARKS),
    "recorded": (recorded_subject, []),
    "embedded": (embedded_subject, [pytest.mark.model, pytest.mark.xdist_group("embedded")]),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(factory, id=name, marks=marks) for name, (factory, marks) in FACTORIES.items()],
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with offline_litellm(), request.param() as made:
        yield made


def test_an_answer_has_text_and_usage(subject: Subject) -> None:
    asked = request()
    answer = subject.lane.complete(asked, account(asked))
    assert answer.text
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert answer.model


def test_a_schema_is_kept(subject: Subject) -> None:
    answer = subject.lane.complete(STRUCTURED, account(STRUCTURED))
    assert json.loads(answer.text)["tool"] in {"bash", "edit", "read"}


def test_attempts_are_reserved_and_ended_within_their_quote(subject: Subject) -> None:
    asked = request()
    told = account(asked)
    answer = subject.lane.complete(asked, told)
    assert bool(told.entries) is subject.reserves
    if not subject.reserves:
        assert subject.lane.quote(asked).msat == 0
        return
    last = told.entries[-1]
    assert last.outcome == "answered"
    assert last.answer == answer
    assert all(outcome == "failed" for outcome in told.outcomes[:-1])
    worst = subject.lane.quote(asked)
    for entry in told.entries:
        assert 0 <= entry.msat <= entry.quote.msat <= worst.msat
    assert last.spent is not None
    assert answer.usage.total <= last.spent.tokens <= last.quote.tokens <= worst.tokens


def test_a_longer_request_is_not_quoted_lower(subject: Subject) -> None:
    short, long = subject.lane.quote(request("a")), subject.lane.quote(request("a" * 500))
    assert short.msat <= long.msat
    assert short.tokens <= long.tokens


def test_the_account_is_asked_before_anything_is_sent(subject: Subject) -> None:
    if not subject.reserves:
        return
    asked = request("never sent")
    before = subject.sent() if subject.sent else 0
    told = account(asked, cap_calls=0)
    with pytest.raises(BudgetExhausted) as refused:
        subject.lane.complete(asked, told)
    assert refused.value.cap == "run.calls"
    assert told.entries == []
    assert (subject.sent() if subject.sent else 0) == before


def test_many_threads_get_the_answers_one_would(subject: Subject) -> None:
    asked = MANY[:THREADS] if subject.sent is None and subject.reserves else MANY  # a real model is slow
    with ThreadPoolExecutor(THREADS) as pool:
        ledgers = [account(one) for one in asked]
        answers = list(pool.map(subject.lane.complete, asked, ledgers))
    assert all(answer.text for answer in answers)
    assert all("open" not in told.outcomes for told in ledgers)
    again = [subject.lane.complete(one, account(one)) for one in asked[:4]]
    assert [answer.text for answer in again] == [answer.text for answer in answers[:4]]


def test_identity_is_stable_tells_models_apart_and_keeps_secrets(subject: Subject) -> None:
    rebuilt = subject.rebuild()
    try:
        assert rebuilt.identity == subject.lane.identity != ""
    finally:
        rebuilt.close()
    if subject.other is not None:
        assert subject.other.identity != subject.lane.identity
    assert KEY not in subject.lane.identity
    assert KEY not in repr(subject.lane)
    assert subject.lane.concurrency >= 1
    assert subject.lane.name


def test_a_refusal_is_typed_told_and_free(subject: Subject) -> None:
    subject.refuse()
    told = account(REFUSED)
    with pytest.raises(RequestRefused) as refused:
        subject.lane.complete(REFUSED, told)
    assert refused.value.message
    assert KEY not in str(refused.value)
    assert all(entry.outcome != "open" for entry in told.entries)
    assert sum(entry.msat for entry in told.entries) == 0
    assert told.outcomes.count("refused") == (1 if subject.reserves else 0)


def test_a_fault_is_typed_and_every_attempt_is_told(subject: Subject) -> None:
    if subject.fail is None:
        return
    subject.fail()
    told = account(FAULTY)
    with pytest.raises(LaneFault) as fault:
        subject.lane.complete(FAULTY, told)
    assert fault.value.kind == "server"
    assert set(told.outcomes) <= {"failed"}
    assert bool(told.entries) is subject.reserves


def test_close_may_be_called_twice(subject: Subject) -> None:
    lane = subject.rebuild()
    lane.close()
    lane.close()
