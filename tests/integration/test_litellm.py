"""The litellm lane against a real HTTP server: what it sends, what it reads, what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.errors import UsageError
from oa_compile.lanes.prices import price_of, price_table
from oa_compile.spec.lanes import PriceSpec
from tests.support import openai_server as wire
from tests.support.accounts import RecordingAccount
from tests.support.litellm_lane import ASKED, KEY, MARKS, RATE, litellm_lane, offline_litellm
from tests.support.openai_server import OpenAIServer, Reply

pytestmark = MARKS
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _offline_litellm() -> Iterator[None]:
    with offline_litellm():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


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
    answer = litellm_lane(server.base_url).complete(ASKED, account)
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
    subject = litellm_lane(server.base_url)
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
    answer = litellm_lane(server.base_url).complete(ASKED, RecordingAccount())
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
    answer = litellm_lane(server.base_url).complete(asked, RecordingAccount())
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
    litellm_lane(server.base_url, key=None).complete(ASKED, RecordingAccount())
    assert KEY not in json.dumps(dict(server.seen[-1].headers))


def test_no_more_calls_at_once_than_the_lane_allows() -> None:
    with OpenAIServer() as server:
        server.script(*[wire.held()] * 4)
        subject = litellm_lane(server.base_url, concurrency=2)
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
        litellm_lane("", model="openai/my-own-model")
    assert "[lanes.swarm.price]" in refused.value.hint
    priced = litellm_lane(
        "http://127.0.0.1:9/v1", model="openai/my-own-model", price=PriceSpec(input="2.5", output="10")
    )
    assert priced.quote(ASKED).msat == RATE.to_msat(
        Decimal("2.5") / 10**6 * (len("What now?") + 64 + 16) + Decimal(10) / 10**6 * 10
    )
    assert litellm_lane("http://127.0.0.1:9/v1", model="hosted_vllm/mine").quote(ASKED).msat == 0
    assert litellm_lane("http://127.0.0.1:9/v1", model="ollama/llama3").quote(ASKED).msat == 0


def test_a_model_nobody_is_named_for_is_refused() -> None:
    with pytest.raises(UsageError, match="who serves"):
        litellm_lane("", model="my-own-model", price=PriceSpec(input=0, output=0))


@pytest.mark.parametrize(
    ("base", "identity"),
    [
        ("", "litellm:openai/gpt-4o-mini"),
        ("https://api.openai.com/v1", "litellm:openai/gpt-4o-mini"),
        ("http://user:hunter2@gpu.lan:8000/v1?token=x", "litellm:openai/gpt-4o-mini@gpu.lan:8000"),
    ],
)
def test_identity_names_the_server_where_it_is_another(base: str, identity: str) -> None:
    assert litellm_lane(base).identity == identity


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
        "from oa_compile.money import Rate\nfrom oa_compile.spec.lanes import LiteLLMLaneSpec\n"
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
            litellm_lane(f"{base}/v1").complete(ASKED, RecordingAccount())
            with urllib.request.urlopen(f"{base}/requests") as answer:
                told_of = json.load(answer)
            assert told_of["count"] == 1
            assert told_of["bodies"][0]["messages"] == [{"role": "user", "content": "What now?"}]
        finally:
            process.terminate()
    assert process.returncode == 0
