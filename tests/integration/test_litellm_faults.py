"""Every way a provider fails, over real HTTP, and what the litellm lane tells of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from oa_compile.chat import ChatRequest
from oa_compile.lanes.lane import Lane, LaneFault, RequestRefused
from tests.support import openai_server as wire
from tests.support.accounts import RecordingAccount
from tests.support.litellm_lane import ASKED, KEY, MARKS, litellm_lane, offline_litellm
from tests.support.openai_server import OpenAIServer, Reply

pytestmark = MARKS


@pytest.fixture(scope="module", autouse=True)
def _offline_litellm() -> Iterator[None]:
    with offline_litellm():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def told(subject: Lane, asked: ChatRequest = ASKED) -> tuple[LaneFault | RequestRefused, RecordingAccount]:
    """The failure of a call, and the account it was told to."""
    account = RecordingAccount()
    with pytest.raises((LaneFault, RequestRefused)) as failure:
        subject.complete(asked, account)
    assert KEY not in f"{failure.value!r} {failure.value} {failure.value.hint} {subject!r}"
    assert failure.value.__cause__ is failure.value.__context__ is None  # litellm's carries the key's header
    return failure.value, account


@pytest.mark.parametrize(
    ("reply", "kind", "billed"),
    [
        pytest.param(wire.status(401, message=f"Incorrect API key: {KEY}"), "auth", False, id="401"),
        pytest.param(wire.status(403), "auth", False, id="403"),
        pytest.param(
            wire.status(400, message="API key not valid", code="API_KEY_INVALID"), "auth", False, id="400-key"
        ),
        pytest.param(wire.status(402), "billing", False, id="402"),
        pytest.param(wire.status(429, code="insufficient_quota"), "billing", False, id="429-quota"),
        pytest.param(
            wire.status(400, message="Your credit balance is too low"), "billing", False, id="400-credit"
        ),
        pytest.param(wire.status(404, code="model_not_found"), "unavailable", False, id="404"),
        pytest.param(wire.status(408), "timeout", True, id="408"),
        pytest.param(wire.status(409), "server", False, id="409"),
        pytest.param(wire.status(429), "rate_limited", False, id="429"),
        pytest.param(wire.status(500), "server", False, id="500"),
        pytest.param(wire.status(503), "server", False, id="503"),
        pytest.param(wire.status(504), "timeout", True, id="504"),
        pytest.param(wire.status(529), "server", False, id="529"),
        pytest.param(wire.cut_off(), "transport", True, id="cut-off"),
        pytest.param(wire.not_json(), "malformed", True, id="html"),
        pytest.param(Reply(body=b'{"id": "x", "choices": [{"mess'), "malformed", True, id="half-json"),
        pytest.param(Reply(body=b"null"), "malformed", True, id="null"),
        pytest.param(Reply(body=b"{}"), "malformed", True, id="empty-object"),
        pytest.param(
            Reply(body=b'{"error": {"message": "boom", "code": 500}}'), "malformed", True, id="200-error"
        ),
        pytest.param(wire.no_choices(), "malformed", True, id="no-choices"),
        pytest.param(wire.no_content(), "malformed", True, id="no-content"),
        pytest.param(
            Reply(
                body=b'{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": '
                b'[{"index": 0, "finish_reason": "stop", '
                b'"message": {"role": "assistant", "content": "\\ud83d"}}]}'
            ),
            "malformed",
            True,
            id="half-a-character",
        ),
    ],
)
def test_a_failure_is_told_as_what_it_is(server: OpenAIServer, reply: Reply, kind: str, billed: bool) -> None:
    server.script(reply)
    before = len(server.seen)
    fault, account = told(litellm_lane(server.base_url))
    assert isinstance(fault, LaneFault)
    assert (fault.kind, fault.billed) == (kind, billed)
    assert fault.message
    assert account.outcomes == ["failed"]
    assert account.entries[0].msat == (account.entries[0].quote.msat if billed else 0)
    assert len(server.seen) - before == 1  # neither litellm nor its client retries behind our back


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(wire.status(400, message="Invalid 'temperature'"), id="400"),
        pytest.param(
            wire.status(
                400,
                message="This model's maximum context length is 10 tokens",
                code="context_length_exceeded",
            ),
            id="context-length",
        ),
        pytest.param(wire.status(400, code="content_policy_violation"), id="content-policy"),
        pytest.param(wire.status(403, message="input flagged by moderation"), id="403-moderation"),
        pytest.param(wire.status(413), id="413"),
        pytest.param(wire.status(422), id="422"),
    ],
)
def test_what_the_request_itself_is_guilty_of_is_refused(server: OpenAIServer, reply: Reply) -> None:
    server.script(reply)
    before = len(server.seen)
    refusal, account = told(litellm_lane(server.base_url, attempts=4))
    assert isinstance(refusal, RequestRefused)
    assert account.outcomes == ["refused"]
    assert len(server.seen) - before == 1


def test_a_slow_answer_is_a_timeout_that_may_be_billed() -> None:
    with OpenAIServer() as server:
        server.script(wire.held())
        fault, account = told(litellm_lane(server.base_url, timeout=0.2))
    assert isinstance(fault, LaneFault)
    assert (fault.kind, fault.billed) == ("timeout", True)
    assert account.entries[0].msat == account.entries[0].quote.msat > 0


def test_nobody_listening_is_a_transport_fault_and_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fault, account = told(litellm_lane(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert isinstance(fault, LaneFault)
    assert (fault.kind, fault.billed) == ("transport", False)
    assert account.entries[0].msat == 0


def test_another_protocol_fails_in_the_same_words(server: OpenAIServer) -> None:
    """The words come from HTTP, not from one provider's client."""
    subject = litellm_lane(server.base_url, model="anthropic/claude-sonnet-4-5")
    kinds = []
    for reply in (wire.status(401), wire.status(529), wire.status(429, headers={"Retry-After": "3"})):
        server.script(reply)
        fault, _ = told(subject)
        assert isinstance(fault, LaneFault)
        kinds.append((fault.kind, fault.retry_after))
    assert kinds == [("auth", None), ("server", None), ("rate_limited", 3.0)]


def test_a_setting_the_provider_does_not_have_is_refused_not_dropped(server: OpenAIServer) -> None:
    before = len(server.seen)
    asked = ChatRequest(messages=ASKED.messages, max_tokens=10, temperature=0.3)
    refusal, _ = told(litellm_lane(server.base_url, model="openai/o3-mini"), asked)
    assert isinstance(refusal, RequestRefused)
    assert "temperature" in refusal.message
    assert len(server.seen) == before


def test_retry_after_is_honoured_in_seconds_and_as_a_date(server: OpenAIServer) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    server.script(
        wire.status(429, headers={"Retry-After": "7"}),
        wire.status(429, headers={"Retry-After": soon}),
        wire.status(503, headers={"Retry-After-Ms": "1500"}),
    )
    account = RecordingAccount()
    assert litellm_lane(server.base_url, attempts=4).complete(ASKED, account).text
    assert account.outcomes == ["failed", "failed", "failed", "answered"]
    assert account.pauses == [7.0, 120.0, 1.5]  # a date two hours off is cut to the longest asked


def test_auth_is_not_tried_again(server: OpenAIServer) -> None:
    server.script(wire.status(401))
    _, account = told(litellm_lane(server.base_url, attempts=4))
    assert account.outcomes == ["failed"]
    assert account.pauses == []
