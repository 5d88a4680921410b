"""The litellm lane against a real HTTP server: every way a provider fails, and what is told of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path

import pytest

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.errors import UsageError
from oa_compile.lanes.lane import Lane, LaneFault, RequestRefused
from oa_compile.lanes.litellm import LiteLLMLane
from oa_compile.lanes.prices import price_of, price_table
from oa_compile.money import Rate
from oa_compile.spec.config import LiteLLMLaneSpec, PriceSpec
from tests.support import openai_server as wire
from tests.support.accounts import RecordingAccount
from tests.support.openai_server import OpenAIServer, Reply

pytestmark = [
    pytest.mark.xdist_group("litellm"),  # one process pays for importing litellm
    pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning"),  # pydantic, of litellm's own types
]

RATE = Rate(Decimal(100_000))
KEY = "sk-secret-0123456789abcdef"
ASKED = ChatRequest(messages=(ChatMessage("user", "What now?"),), max_tokens=10, temperature=0.0)
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _offline_litellm() -> Iterator[None]:
    """What the CLI sets before litellm is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def lane(
    base: str, *, model: str = "openai/gpt-4o-mini", key: str | None = KEY, **more: object
) -> LiteLLMLane:
    spec = LiteLLMLaneSpec(kind="litellm", model=model, api_base=base, **{"attempts": 1, **more})
    return LiteLLMLane("swarm", spec, rate=RATE, api_key=key)


def told(subject: Lane, asked: ChatRequest = ASKED) -> tuple[LaneFault | RequestRefused, RecordingAccount]:
    """The failure of a call, and the account it was told to."""
    account = RecordingAccount()
    with pytest.raises((LaneFault, RequestRefused)) as failure:
        subject.complete(asked, account)
    assert KEY not in f"{failure.value!r} {failure.value} {failure.value.hint} {subject!r}"
    return failure.value, account


# -- faults --------------------------------------------------------------------------------------


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
    ],
)
def test_a_failure_is_told_as_what_it_is(server: OpenAIServer, reply: Reply, kind: str, billed: bool) -> None:
    server.script(reply)
    before = len(server.seen)
    fault, account = told(lane(server.base_url))
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
    refusal, account = told(lane(server.base_url, attempts=4))
    assert isinstance(refusal, RequestRefused)
    assert account.outcomes == ["refused"]
    assert len(server.seen) - before == 1


def test_a_slow_answer_is_a_timeout_that_may_be_billed() -> None:
    with OpenAIServer() as server:
        server.script(wire.held())
        fault, account = told(lane(server.base_url, timeout=0.2))
    assert isinstance(fault, LaneFault)
    assert (fault.kind, fault.billed) == ("timeout", True)
    assert account.entries[0].msat == account.entries[0].quote.msat > 0


def test_nobody_listening_is_a_transport_fault_and_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        fault, account = told(lane(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert isinstance(fault, LaneFault)
    assert (fault.kind, fault.billed) == ("transport", False)
    assert account.entries[0].msat == 0


def test_another_protocol_fails_in_the_same_words(server: OpenAIServer) -> None:
    """The words come from HTTP, not from one provider's client."""
    subject = lane(server.base_url, model="anthropic/claude-sonnet-4-5")
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
    refusal, _ = told(lane(server.base_url, model="openai/o3-mini"), asked)
    assert isinstance(refusal, RequestRefused)
    assert "temperature" in refusal.message
    assert len(server.seen) == before


# -- retries -------------------------------------------------------------------------------------


def test_retry_after_is_honoured_in_seconds_and_as_a_date(server: OpenAIServer) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    server.script(
        wire.status(429, headers={"Retry-After": "7"}),
        wire.status(429, headers={"Retry-After": soon}),
        wire.status(503, headers={"Retry-After-Ms": "1500"}),
    )
    account = RecordingAccount()
    assert lane(server.base_url, attempts=4).complete(ASKED, account).text
    assert account.outcomes == ["failed", "failed", "failed", "answered"]
    assert account.pauses == [7.0, 120.0, 1.5]  # a date two hours off is cut to the longest asked


def test_auth_is_not_tried_again(server: OpenAIServer) -> None:
    server.script(wire.status(401))
    _, account = told(lane(server.base_url, attempts=4))
    assert account.outcomes == ["failed"]
    assert account.pauses == []


# -- answers -------------------------------------------------------------------------------------


def test_an_answer_is_priced_with_a_receipt(server: OpenAIServer) -> None:
    usage = {
        "prompt_tokens": 60,
        "completion_tokens": 5,
        "total_tokens": 65,
        "prompt_tokens_details": {"cached_tokens": 40},
    }
    server.script(wire.ok(usage=usage))
    account = RecordingAccount()
    answer = lane(server.base_url).complete(ASKED, account)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cached_tokens) == (60, 5, 40)
    spent = account.entries[0].spent
    assert spent is not None
    usd = 20 * Decimal("1.5E-7") + 40 * Decimal("7.5E-8") + 5 * Decimal("6E-7")
    assert spent.msat == RATE.to_msat(usd) == 9
    assert spent.tokens == 65
    assert spent.receipt["usd"] == str(usd.normalize())
    assert spent.receipt["id"].startswith("chatcmpl-")
    assert (spent.receipt["model"], spent.receipt["provider"]) == ("gpt-4o-mini", "openai")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(wire.no_usage(), id="none"),
        pytest.param(wire.ok(usage={"prompt_tokens": -3}), id="negative"),
        pytest.param(wire.ok(usage={"prompt_tokens": 10**15}), id="absurd"),
    ],
)
def test_usage_that_is_not_told_is_counted_at_the_quote(server: OpenAIServer, reply: Reply) -> None:
    server.script(reply)
    account = RecordingAccount()
    subject = lane(server.base_url)
    answer = subject.complete(ASKED, account)
    spent, quote = account.entries[0].spent, subject.quote(ASKED)
    assert spent is not None
    assert (spent.msat, spent.tokens) == (quote.msat, quote.tokens)
    assert answer.usage.total == quote.tokens
    assert "not reported" in spent.receipt["usage"]


@pytest.mark.parametrize(("finish", "expected"), [("length", "length"), ("content_filter", "content_filter")])
def test_an_answer_without_words_may_still_be_an_answer(
    server: OpenAIServer, finish: str, expected: str
) -> None:
    server.script(Reply(finish=finish, content=False))
    answer = lane(server.base_url).complete(ASKED, RecordingAccount())
    assert (answer.text, answer.finish_reason) == ("", expected)


def test_the_request_arrives_whole_in_openai_s_shape(server: OpenAIServer) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    asked = ChatRequest(
        messages=(ChatMessage("system", "Count."), ChatMessage("user", "é?")),
        max_tokens=12,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=3,
        response_format={"type": "json_schema", "name": "count", "schema": schema},
    )
    answer = lane(server.base_url).complete(asked, RecordingAccount())
    assert isinstance(json.loads(answer.text)["n"], int)
    seen = server.seen[-1]
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Count."}, {"role": "user", "content": "é?"}],
        "max_tokens": 12,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "count", "schema": schema, "strict": True},
        },
    }


def test_an_address_of_one_s_own_never_gets_the_key_of_the_environment(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    lane(server.base_url, key=None).complete(ASKED, RecordingAccount())
    assert KEY not in json.dumps(dict(server.seen[-1].headers))


def test_no_more_calls_at_once_than_the_lane_allows() -> None:
    with OpenAIServer() as server:
        server.script(*[wire.held()] * 4)
        subject = lane(server.base_url, concurrency=2)
        accounts = [RecordingAccount() for _ in range(4)]
        calls = [threading.Thread(target=subject.complete, args=(ASKED, account)) for account in accounts]
        for call in calls:
            call.start()
        for _ in range(2):
            assert server.arrived.acquire(timeout=60)
        assert sum(len(account.entries) for account in accounts) == 2  # the others have not even reserved
        server.release.set()
        for call in calls:
            call.join()
        assert len(server.seen) == 4


# -- construction --------------------------------------------------------------------------------


def test_a_model_without_a_price_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="price") as refused:
        lane("", model="openai/my-own-model")
    assert "[lanes.swarm.price]" in refused.value.hint
    priced = lane(
        "http://127.0.0.1:9/v1", model="openai/my-own-model", price=PriceSpec(input="2.5", output="10")
    )
    assert priced.quote(ASKED).msat == RATE.to_msat(
        Decimal("2.5") / 10**6 * (len("What now?") + 64 + 16) + Decimal(10) / 10**6 * 10
    )
    assert lane("http://127.0.0.1:9/v1", model="hosted_vllm/mine").quote(ASKED).msat == 0
    assert lane("http://127.0.0.1:9/v1", model="ollama/llama3").quote(ASKED).msat == 0


def test_a_model_nobody_is_named_for_is_refused() -> None:
    with pytest.raises(UsageError, match="who serves"):
        lane("", model="my-own-model", price=PriceSpec(input=0, output=0))


@pytest.mark.parametrize(
    ("base", "identity"),
    [
        ("", "litellm:openai/gpt-4o-mini"),
        ("https://api.openai.com/v1", "litellm:openai/gpt-4o-mini"),
        ("http://user:hunter2@gpu.lan:8000/v1?token=x", "litellm:openai/gpt-4o-mini@gpu.lan:8000"),
    ],
)
def test_identity_names_the_server_where_it_is_another(base: str, identity: str) -> None:
    assert lane(base).identity == identity


# -- the table, and the process ------------------------------------------------------------------


def test_prices_are_litellm_s() -> None:
    """For every chat model of a provider asked for by prefix: the price litellm itself would find."""
    import litellm

    checked = 0
    for provider in ("openai", "anthropic", "groq", "mistral", "gemini", "deepseek", "xai", "bedrock"):
        for key, entry in price_table().items():
            if entry.get("litellm_provider") != provider or entry.get("mode") != "chat":
                continue
            model = key if key.startswith(f"{provider}/") else f"{provider}/{key}"
            price = price_of(model)
            if price is None or "tiered_pricing" in entry:
                continue
            info = litellm.get_model_info(model)
            assert float(price.input_usd_per_token) == info["input_cost_per_token"], model
            assert float(price.output_usd_per_token) >= info["output_cost_per_token"], model
            checked += 1
    assert checked > 300


def test_building_a_lane_does_not_import_litellm() -> None:
    code = (
        "import sys\nfrom decimal import Decimal\nfrom oa_compile.lanes.litellm import LiteLLMLane\n"
        "from oa_compile.money import Rate\nfrom oa_compile.spec.config import LiteLLMLaneSpec\n"
        "spec = LiteLLMLaneSpec(kind='litellm', model='openai/gpt-4o-mini')\n"
        "LiteLLMLane('a', spec, rate=Rate(Decimal(1)), api_key=None)\n"
        "assert not {'litellm', 'dspy', 'openai'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def test_the_server_runs_in_its_own_process(tmp_path: Path) -> None:
    ports = tmp_path / "port"
    command = [sys.executable, "-m", "tests.support.openai_server", "--port-file", str(ports)]
    with subprocess.Popen(command, cwd=REPO) as process:
        try:
            pause = threading.Event()
            while not ports.exists():
                assert process.poll() is None
                pause.wait(0.01)
            base = f"http://127.0.0.1:{ports.read_text().strip()}"
            lane(f"{base}/v1").complete(ASKED, RecordingAccount())
            with urllib.request.urlopen(f"{base}/requests") as answer:
                told_of = json.load(answer)
            assert told_of["count"] == 1
            assert told_of["bodies"][0]["messages"] == [{"role": "user", "content": "What now?"}]
        finally:
            process.terminate()
    assert process.returncode == 0
