"""Any provider litellm knows, one chat completion at a time.

Owns the one import of litellm, the request and the answer on litellm's terms, and what an answer
costs. Prices are `prices`' work, failures `litellm_faults`', retries `metered`'s. litellm takes
seconds to import, so it is imported when the first request is sent. It reads its settings from the
environment as it is imported: without ``LITELLM_LOCAL_MODEL_COST_MAP=True`` it fetches its price
table from the network, without ``LITELLM_MODE=PRODUCTION`` it loads a ``.env`` file; the CLI sets both.
"""

from __future__ import annotations

import logging
import threading
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx

from oa_compile.chat import ChatAnswer, ChatRequest, FinishReason, Usage, prompt_bytes
from oa_compile.digest import canonical_json
from oa_compile.errors import UsageError
from oa_compile.lanes import metered
from oa_compile.lanes.lane import Account, LaneFault, Quote, Spent
from oa_compile.lanes.litellm_faults import classify
from oa_compile.lanes.prices import ModelPrice, price_of
from oa_compile.money import Rate
from oa_compile.spec.lanes import LiteLLMLaneSpec

LOCAL_PROVIDERS = frozenset(
    {"ollama", "ollama_chat", "hosted_vllm", "vllm", "llamafile", "lm_studio", "xinference", "lemonade"}
)
"""Servers people run themselves: no price in the table means they are free."""

_DEFAULT_HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "deepseek": "api.deepseek.com",
    "groq": "api.groq.com",
    "mistral": "api.mistral.ai",
    "openrouter": "openrouter.ai",
    "together_ai": "api.together.xyz",
    "xai": "api.x.ai",
    "ollama": "localhost:11434",
    "ollama_chat": "localhost:11434",
}

_REQUEST_TOKENS, _MESSAGE_TOKENS, _FORMAT_TOKENS = 64, 16, 640
"""Upper bounds for what chat templates add to the text: a default system prompt, role marks, and the
tool frame that some providers wrap a response format in."""

_MILLION = 1_000_000  # [price] is in dollars per million tokens

_SANE_TOKENS = 10**9
"""A usage above it is a broken count, not a bill."""

_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
}

_loading = threading.Lock()


class LiteLLMLane:
    """One model of one provider. The key is sent to the provider, and shown nowhere."""

    kind = "litellm"

    def __init__(self, name: str, spec: LiteLLMLaneSpec, *, rate: Rate, api_key: str | None) -> None:
        """Raises UsageError for a model whose price is not known: no cap could hold it."""
        self.name = name
        self.spec = spec
        self.concurrency = spec.concurrency
        self.price = _price(name, spec)
        self.provider = spec.model.partition("/")[0] if "/" in spec.model else self.price.provider
        if not self.provider:
            raise UsageError(
                f"lane `{name}`: litellm cannot tell who serves `{spec.model}`",
                hint=f'put the provider in front: model = "openai/{spec.model}" for a compatible server',
            )
        self.identity = _identity(spec, self.provider)
        self._rate = rate
        self._api_key = api_key
        self._slots = threading.BoundedSemaphore(spec.concurrency)
        self._retry = metered.Retry(attempts=spec.attempts)

    def __repr__(self) -> str:
        key = "set" if self._api_key else "none"
        return f"LiteLLMLane({self.name!r}, identity={self.identity!r}, api_key={key})"

    def quote(self, request: ChatRequest) -> Quote:
        """The price of every byte as an input token and every allowed output token."""
        bound = self._bound(request)
        usd = self.price.ceiling(input_tokens=bound.input_tokens, output_tokens=bound.output_tokens)
        return Quote(self._rate.to_msat(usd), bound.total)

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """Answer `request`, with retries. Raises LaneFault, RequestRefused, BudgetExhausted.

        A call keeps its slot while it waits for a retry: when a provider asks for patience, sending
        others in its place would be none.
        """
        with self._slots:
            return metered.complete(self, request, account, self._retry)

    def send(self, request: ChatRequest, key: str) -> metered.Sent:  # noqa: ARG002 - no provider takes it
        """One attempt."""
        litellm, provider_errors = _load()
        failure = None
        try:
            response = litellm.completion(**self._arguments(request))
        except provider_errors as error:
            failure = classify(error, mask=self._mask)
        if failure is not None:
            raise failure  # outside the handler: the provider's exception carries the key in its request
        answer = self._answer(response, request)
        return metered.Sent(*answer)

    def estimate(self, usage: Usage, *, calls: int) -> int:
        """The price of so many calls of the same size each, nothing cached, in msat."""
        if not calls:
            return 0
        each = self.price.cost(
            input_tokens=round(usage.input_tokens / calls), output_tokens=round(usage.output_tokens / calls)
        )
        return self._rate.to_msat(calls * each)

    def close(self) -> None:
        """Nothing is held: litellm keeps its own connections, for all lanes of the process."""

    def _bound(self, request: ChatRequest) -> Usage:
        """The most tokens a request can use."""
        asked = request.response_format
        framed = 0 if asked is None else _FORMAT_TOKENS + len(canonical_json(asked))
        overhead = _REQUEST_TOKENS + _MESSAGE_TOKENS * len(request.messages) + framed
        return Usage(
            input_tokens=prompt_bytes(request) + overhead,
            output_tokens=self.spec.max_tokens if request.max_tokens is None else request.max_tokens,
        )

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        optional = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "response_format": _response_format(request.response_format),
            "api_base": self.spec.api_base or None,
            # With an address of the user's and no key, litellm would send that address the provider's
            # key from the environment.
            "api_key": self._api_key or ("none" if self.spec.api_base else None),
        }
        return {
            "model": self.spec.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": self.spec.max_tokens if request.max_tokens is None else request.max_tokens,
            "timeout": self.spec.timeout,
            "max_retries": 0,  # retries are metered: each is reserved and told
            "num_retries": 0,
            "drop_params": False,  # a setting that is part of a call's key must not be dropped silently
            "caching": False,
        } | {name: value for name, value in optional.items() if value is not None}

    def _answer(self, response: Any, request: ChatRequest) -> tuple[ChatAnswer, Spent]:
        choices = getattr(response, "choices", None)
        if not choices:
            raise LaneFault("malformed", "the answer has no choices", billed=True)
        message = choices[0].message
        finish = _FINISH.get(str(choices[0].finish_reason), "stop")
        text = message.content
        if text is None:
            refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
            # A model may think until its tokens are out, or decline: that is its answer, and paid for.
            text = refusal or ("" if finish in {"length", "content_filter"} else None)
        if not isinstance(text, str):
            raise LaneFault("malformed", "the answer has no content", billed=True)
        if any("\ud800" <= letter <= "\udfff" for letter in text):  # half of a character has no UTF-8 form
            raise LaneFault("malformed", "the answer holds half of a character", billed=True)
        usage, spent = self._spent(response, request)
        model = str(getattr(response, "model", None) or "")
        return ChatAnswer(text=text, usage=usage, finish_reason=finish, model=model), spent

    def _spent(self, response: Any, request: ChatRequest) -> tuple[Usage, Spent]:
        receipt: dict[str, Any] = {
            "id": str(getattr(response, "id", None) or ""),
            "model": str(getattr(response, "model", None) or ""),
            "provider": str(response._hidden_params.get("custom_llm_provider") or self.provider),
        }
        counted = _usage(response)
        if counted is None:
            quote = self.quote(request)
            receipt["usage"] = "not reported; counted and charged at the quote"
            return self._bound(request), Spent(quote.msat, quote.tokens, receipt)
        usage, written = counted
        usd = self.price.cost(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            written_tokens=written,
        )
        return usage, Spent(self._rate.to_msat(usd), usage.total, receipt | {"usd": str(usd.normalize())})

    def _mask(self, text: str) -> str:
        return text.replace(self._api_key, "***") if self._api_key else text


def _price(name: str, spec: LiteLLMLaneSpec) -> ModelPrice:
    listed = price_of(spec.model)
    if spec.price is not None:
        return ModelPrice.flat(
            input_usd_per_token=spec.price.input / _MILLION,
            output_usd_per_token=spec.price.output / _MILLION,
            provider=listed.provider if listed else "",
        )
    if listed is not None:
        return listed
    if spec.model.partition("/")[0] in LOCAL_PROVIDERS:
        return ModelPrice.flat(input_usd_per_token=Decimal(0), output_usd_per_token=Decimal(0))
    raise UsageError(
        f"lane `{name}`: the price of `{spec.model}` is not known, so no budget could hold it",
        hint=f"say it, in dollars per million tokens: [lanes.{name}.price] input = 0.15, output = 0.60 "
        "(0 for a server of your own)",
    )


def _identity(spec: LiteLLMLaneSpec, provider: str) -> str:
    """The model, and the server where it is not the provider's own: another server, another answer."""
    identity = f"litellm:{spec.model}"
    if not spec.api_base:
        return identity
    url = urlsplit(spec.api_base)
    host = (url.hostname or "") + (f":{url.port}" if url.port else "")  # never a user or password
    return identity if host == _DEFAULT_HOSTS.get(provider) else f"{identity}@{host}"


def _response_format(asked: dict[str, Any] | None) -> dict[str, Any] | None:
    """OpenAI's shape, with the envelope that ChatRequest leaves out."""
    if asked is None or asked.get("type") != "json_schema":
        return asked
    envelope = {"name": asked.get("name") or "answer", "schema": asked["schema"]}
    return {"type": "json_schema", "json_schema": envelope | {"strict": asked.get("strict", True)}}


def _usage(response: Any) -> tuple[Usage, int] | None:
    """Usage, and the input tokens that were written to the provider's cache; None where the provider
    reported none (litellm then says 0) or no sane count.
    """
    usage = getattr(response, "usage", None)
    given, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if not given or made is None:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    cached, written = _count(details, "cached_tokens") or 0, _count(details, "cache_write_tokens") or 0
    return Usage(input_tokens=given, output_tokens=made, cached_tokens=cached), written


def _count(holder: Any, name: str) -> int | None:
    value = getattr(holder, name, None)
    sane = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _SANE_TOKENS
    return value if sane else None


def _load() -> tuple[Any, tuple[type[Exception], ...]]:
    """litellm, silenced, and the exceptions it raises on purpose."""
    with _loading:
        import litellm
        import openai

        litellm.suppress_debug_info = True  # it prints to stdout on errors otherwise
        litellm.disable_hf_tokenizer_download = True
        litellm.callbacks = []
        litellm.success_callback = []
        litellm.failure_callback = []
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)  # every failure is told as a LaneFault
    return litellm, (openai.OpenAIError, httpx.HTTPError)
