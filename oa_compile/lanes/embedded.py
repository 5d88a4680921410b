"""The embedded lane: llama.cpp in this process, on real weights, with no key and no network.

Owns the engine's settings, the pool of model instances, and the translation of a request into what the
engine takes; weights are found by `weights`, the compact layout is `grammar`'s.

An answer is a function of the request and the weights alone. It must be: a run that was killed asks again
for what it did not settle, on instances that have seen other prompts. llama.cpp's answers depend on which
part of a prompt was cached, unless attention takes the same path for one token and for many; with flash
attention on an 8-bit key-value cache it does, bit for bit (tests/integration/test_embedded.py holds it).
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from oa_compile.chat import ChatAnswer, ChatRequest, Usage, prompt_bytes
from oa_compile.digest import PREFIX, short
from oa_compile.errors import UsageError
from oa_compile.lanes import metered, weights
from oa_compile.lanes.grammar import SCHEMA_NAME, Grammar, compact_grammar
from oa_compile.lanes.lane import Account, LaneFault, Quote, RequestRefused, Spent
from oa_compile.spec.lanes import EmbeddedLaneSpec

_TEMPLATE_TOKENS = 64
_MESSAGE_TOKENS = 16
"""Most a chat template adds to a conversation, and to each of its messages."""

_RETRY = metered.Retry(attempts=2, base=0.0)
"""A crashed instance is replaced at once; one that crashes again will not do better later."""


class EmbeddedLane:
    """A `Lane` of `spec.instances` instances of one model, loaded when they are first needed.

    `progress` is told (bytes done, bytes in all) while weights are fetched. Raises UsageError for a model
    that is neither packaged nor a GGUF file.
    """

    kind = "embedded"

    def __init__(
        self,
        name: str,
        spec: EmbeddedLaneSpec,
        *,
        price_msat: int,
        progress: weights.Progress | None = None,
    ) -> None:
        self.name = name
        self.concurrency = spec.instances
        self._spec = spec
        self._price_msat = price_msat
        # A packaged model's digest is known; making a lane fetches and loads nothing.
        self._weights = weights.promised(spec.model) or weights.resolve(spec.model)
        self.identity = f"embedded:{self._weights.name}@{short(self._weights.digest)}"
        self._pool = _Pool(spec, progress)

    def quote(self, request: ChatRequest) -> Quote:
        """The fixed price, and the most tokens: a byte-level tokenizer makes at most one of each byte."""
        prompt = prompt_bytes(request) + _TEMPLATE_TOKENS + _MESSAGE_TOKENS * len(request.messages)
        opening = _grammar(request)
        if opening is not None:
            prompt += len(opening.opening.encode())
        return Quote(self._price_msat, min(prompt, self._spec.context) + self._max_tokens(request))

    def complete(self, request: ChatRequest, account: Account) -> ChatAnswer:
        """Answer `request`. Raises RequestRefused when it is longer than the context; UsageError, LaneError
        or DigestMismatch, before anything is reserved, when the model cannot be had.
        """
        self._pool.prepare()
        return metered.complete(self, request, account, _RETRY)

    def send(self, request: ChatRequest, key: str) -> metered.Sent:
        """One attempt on a free instance; waits for one."""
        grammar = _grammar(request)
        payload = self._payload(request, key, grammar)
        with self._pool.instance(payload["messages"]) as instance:
            reply = instance.complete(payload)
        answer = self._answer(reply, opening=grammar.opening if grammar else "")
        return metered.Sent(answer, Spent(self._price_msat, answer.usage.total))

    def estimate(self, usage: Usage, *, calls: int) -> int:  # noqa: ARG002 - a call has one price
        """What so many calls are billed at, msat."""
        return calls * self._price_msat

    def close(self) -> None:
        """Free all instances; those at work are freed when they are done."""
        self._pool.close()

    def _max_tokens(self, request: ChatRequest) -> int:
        return self._spec.max_tokens if request.max_tokens is None else request.max_tokens

    def _payload(self, request: ChatRequest, key: str, grammar: Grammar | None) -> dict[str, Any]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        temperature = self._spec.temperature if request.temperature is None else request.temperature
        payload: dict[str, Any] = {
            "messages": messages,
            "max_tokens": self._max_tokens(request),
            "temperature": temperature,
            "cache_prompt": True,
            # Small budgets of tokens leave no room to think aloud before the answer.
            "chat_template_kwargs": {"enable_thinking": False},
        }
        if request.top_p is not None:
            payload["top_p"] = request.top_p
        if request.top_k is not None:
            payload["top_k"] = request.top_k
        if request.stop:
            payload["stop"] = list(request.stop)
        if temperature > 0:
            payload["seed"] = _seed(key) if request.seed is None else request.seed
        if grammar is not None:
            # What every answer begins with is not worth generating: the model goes on from there.
            messages.append({"role": "assistant", "content": grammar.opening})
            payload["grammar"] = grammar.gbnf
        elif request.response_format is not None:
            payload["response_format"] = _response_format(request.response_format)
        return payload

    def _answer(self, reply: Mapping[str, Any], *, opening: str) -> ChatAnswer:
        if "error" in reply:
            raise _failure(reply["error"])
        choice, usage = reply["choices"][0], reply["usage"]
        text = choice["message"]["content"] or ""
        return ChatAnswer(
            text=text if text.startswith(opening) else opening + text,
            usage=Usage(
                input_tokens=usage["prompt_tokens"],
                output_tokens=usage["completion_tokens"],
                cached_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            ),
            finish_reason="length" if choice["finish_reason"] == "length" else "stop",
            model=self._weights.name,
        )


class _Instance:
    """One loaded model, one thread, one conversation at a time; keeps the last prompt cached."""

    def __init__(self, path: str, *, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx = context
        params.n_parallel = 1
        # llama.cpp's threads spin: more than one each, on shared cores, is many times slower.
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_Q8_0
        params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
        params.cache_ram_mib = 0
        params.fit_params = False
        params.warmup = False
        params.verbosity = -1
        # The engine listens on a loopback port whether or not it is wanted: nobody else gets in.
        params.api_keys = [secrets.token_hex(16)]
        params.n_threads_http = 1
        params.ui = False
        params.endpoint_slots = False
        params.endpoint_props = False
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise UsageError(
                f"{path}: llama.cpp cannot load this model: {error}",
                hint="check that the file is whole, and that there is memory for its weights and context",
            ) from error
        self.messages: list[dict[str, str]] = []

    def complete(self, payload: dict[str, Any]) -> Mapping[str, Any]:
        """The engine's reply. Raises RequestRefused or LaneFault."""
        self.messages = payload["messages"]
        try:
            reply: Mapping[str, Any] = self._server.handle_chat_completions(payload)
        except ValueError as error:
            raise RequestRefused(f"the engine refused the request: {error}") from error
        except (RuntimeError, OSError, MemoryError) as error:
            raise LaneFault("server", f"the engine failed: {type(error).__name__}: {error}") from error
        return reply


class _Pool:
    """Hands out instances, at most `spec.instances`, each to one caller at a time."""

    def __init__(self, spec: EmbeddedLaneSpec, progress: weights.Progress | None) -> None:
        self._spec = spec
        self._progress = progress
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._idle: list[_Instance] = []
        self._made = 0
        self._closed = False
        self._ready = False

    @contextmanager
    def instance(self, messages: list[dict[str, str]]) -> Iterator[_Instance]:
        """A free instance, best the one whose cache shares most of `messages`; waits for one.

        An instance that fails with a LaneFault is thrown away.
        """
        instance = self._take(messages) or self._load()
        try:
            yield instance
        except LaneFault:
            self._forget()
            raise
        except BaseException:
            self._put(instance)
            raise
        else:
            self._put(instance)

    def prepare(self) -> None:
        """Have at least one instance. Returns at once when there is one."""
        if self._ready:
            return
        with self.instance([]):
            self._ready = True

    def close(self) -> None:
        """Free idle instances now and the others when they come back. Twice is safe."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()

    def _take(self, messages: list[dict[str, str]]) -> _Instance | None:
        """An idle instance, or None with the right to load one."""
        with self._changed:
            while not self._closed:
                if self._idle:
                    best = max(self._idle, key=lambda instance: _shared(instance.messages, messages))
                    self._idle.remove(best)
                    return best
                if self._made < self._spec.instances:
                    self._made += 1
                    return None
                self._changed.wait()
        raise LaneFault("unavailable", "the embedded lane is closed")

    def _load(self) -> _Instance:
        try:
            with self._loading:  # the first one may have to fetch the weights
                found = weights.resolve(self._spec.model, progress=self._progress)
                return _Instance(str(found.path), context=self._spec.context)
        except BaseException:
            self._forget()
            raise

    def _put(self, instance: _Instance) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(instance)
                self._changed.notify()

    def _forget(self) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()


def _shared(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> int:
    """Characters two conversations have in common from the start."""
    total = 0
    for one, other in zip(ours, theirs, strict=False):
        total += len(os.path.commonprefix([one["content"], other["content"]]))  # noqa: RUF071 - characters
        if one != other:
            break
    return total


def _grammar(request: ChatRequest) -> Grammar | None:
    form = request.response_format
    if form is None or form.get("type") != "json_schema" or form.get("name") != SCHEMA_NAME:
        return None
    try:
        return compact_grammar(form["schema"])
    except UsageError as error:
        raise RequestRefused(error.message, hint=error.hint) from error


def _response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    """Our response format in the envelope of OpenAI's, which the engine reads."""
    if form.get("type") != "json_schema":
        return dict(form)
    return {"type": "json_schema", "json_schema": {key: form[key] for key in form if key != "type"}}


def _seed(key: str) -> int:
    """A seed from the call's own digest: the same call samples the same answer."""
    return int(key.removeprefix(PREFIX)[:8], 16)


def _failure(error: Mapping[str, Any]) -> LaneFault | RequestRefused:
    if error.get("type") == "exceed_context_size_error":
        return RequestRefused(
            f"the prompt has {error['n_prompt_tokens']:,} tokens, the context holds {error['n_ctx']:,}",
            hint="raise `context` of the lane, or use fewer or shorter demos",
        )
    message = f"the engine answered {error.get('code')}: {error.get('message')}"
    return RequestRefused(message) if error.get("code") == 400 else LaneFault("server", message)
