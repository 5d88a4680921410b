"""What DSPy calls: an engine and an LM for one stage and role, in front of the run's `Calls`.

Translates DSPy's request and response to ours and back, and tells the desk which sample of a
request is wanted: DSPy hides `rollout_id` and `n` from engines, and without them repeated samples
would be answered from one recording.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from contextvars import ContextVar, copy_context
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, Usage

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.errors import StopRun
from oa_compile.events import Role, Stage
from oa_compile.lanes.calls import Calls, Look, call_key, looking_ahead
from oa_compile.lanes.lane import Lane, RequestRefused
from oa_compile.lanes.rollout import current
from oa_compile.spec.lanes import LaneSpec


class _Samples:
    """Numbers the completions of one LM call."""

    __slots__ = ("count", "rollout", "wanted")

    def __init__(self, rollout: int | None, wanted: int) -> None:
        self.rollout = rollout
        self.wanted = wanted
        self.count = -1

    def next(self) -> int:
        self.count += 1
        return self.count


_samples: ContextVar[_Samples | None] = ContextVar("oa_compile_samples", default=None)


class Engine:
    """Fulfils DSPy's engine contract: ``complete(Request) -> Response``."""

    supports_response_schema = True
    supported_params = ("response_format",)
    supports_function_calling = False
    supports_reasoning = False

    def __init__(self, calls: Calls, lane: Lane, *, stage: Stage, role: Role) -> None:
        self._calls = calls
        self._lane = lane
        self._stage: Stage = stage
        self._role: Role = role
        self._occurrences: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def is_task(self) -> bool:
        """Whether it answers the program's own calls."""
        return self._role == "task"

    def __deepcopy__(self, memo: dict[int, Any]) -> Engine:
        """Itself: DSPy copies programs, and a copied engine would fork the ledger."""
        return self

    def complete(self, request: Request) -> Response:
        """Answer one request. Raises LaneFault, RequestRefused or StopRun."""
        chat = to_chat(request)
        samples = _samples.get()
        rollout = samples.rollout if samples else None
        sample = samples.next() if samples else 0
        if self._role == "proposer" and chat.temperature:
            sample = self._occurrence(chat, rollout)
        if samples is not None and samples.count == 0 and samples.wanted > 1:
            self._ask_for_the_rest(chat, rollout, first=sample, wanted=samples.wanted)
        answer = self._calls.complete(
            chat, lane=self._lane, stage=self._stage, role=self._role, rollout=rollout, sample=sample
        )
        if (run := current()) is not None and self._role == "task":
            key = call_key(self._lane.identity, chat, rollout=rollout, sample=sample)
            run.take(answer, msat=self._calls.worth(key))
        return Response(
            id=None,
            model=answer.model or request.model,
            message=Message.assistant(answer.text),
            finish_reason=answer.finish_reason,
            usage=Usage(
                input_tokens=answer.usage.input_tokens,
                output_tokens=answer.usage.output_tokens,
            ),
        )

    def _ask_for_the_rest(self, chat: ChatRequest, rollout: int | None, *, first: int, wanted: int) -> None:
        """Of `wanted` completions, DSPy asks for one after the other; here all are asked for beside the
        first, and DSPy finds them in the journal or under way.
        """
        numbers = iter(range(first + 1, first + wanted))

        def ask() -> None:
            looking_ahead.set(Look())
            with contextlib.suppress(StopRun, Exception):  # told to the call it is for
                for number in numbers:
                    self._calls.complete(
                        chat,
                        lane=self._lane,
                        stage=self._stage,
                        role=self._role,
                        rollout=rollout,
                        sample=number,
                    )

        for _ in range(min(wanted, self._lane.concurrency) - 1):
            threading.Thread(target=copy_context().run, args=(ask,), name="sample", daemon=True).start()

    def _occurrence(self, chat: ChatRequest, rollout: int | None) -> int:
        """A proposer asked the same thing again wants another idea, not the same one (GEPA names no
        rollout). Proposers are asked serially, so counting is deterministic.
        """
        key = call_key(self._lane.identity, chat, rollout=rollout, sample=0)
        if looking_ahead.get() is not None:
            # One that the search has overtaken finds its answer there, and asks for no other.
            return max(self._occurrences[key] - 1, 0)
        with self._lock:
            self._occurrences[key] += 1
            return self._occurrences[key] - 1


class RunLM(dspy.LM):  # type: ignore[misc]
    """A dspy.LM that tells its engine the rollout id and the number of each completion."""

    def __init__(self, engine: Engine, *, name: str, spec: LaneSpec) -> None:
        super().__init__(
            name,
            engine=engine,
            cache=False,
            num_retries=0,
            temperature=spec.temperature,
            max_tokens=spec.max_tokens,
        )
        self.adapter_name = spec.adapter
        self._is_task = engine.is_task

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        rollout = kwargs.get("rollout_id", self.kwargs.get("rollout_id"))
        if (run := current()) is not None and self._is_task:
            rollout = run.id_of(rollout)
            if run.temperature is not None:
                kwargs = {"temperature": run.temperature, **kwargs}
        token = _samples.set(_Samples(rollout, kwargs.get("n") or self.kwargs.get("n") or 1))
        try:
            return super().__call__(prompt, messages=messages, **kwargs)
        finally:
            _samples.reset(token)


def to_chat(request: Request) -> ChatRequest:
    """DSPy's request as ours. Raises RequestRefused for what no lane carries yet (tools, media)."""
    if request.tools:
        raise RequestRefused("native tool calls are not carried by lanes; use DSPy's text adapters")
    config = request.config
    messages = [ChatMessage(_role(message.role), _text(message.parts)) for message in request.messages]
    if request.system is not None:
        system = request.system if isinstance(request.system, str) else _text(request.system)
        messages.insert(0, ChatMessage("system", system))
    return ChatRequest(
        messages=tuple(messages),
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        stop=config.stop,
        seed=config.seed,
        response_format=_plain(config.response_format),
    )


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _text(parts: Any) -> str:
    texts = []
    for part in parts:
        if getattr(part, "type", "") != "text":
            raise RequestRefused(f"a {getattr(part, 'type', 'non-text')} part is not carried by lanes")
        texts.append(part.text)
    return "".join(texts)


def _plain(value: Any) -> Any:
    """Frozen mappings as dicts, tuples as lists: what JSON can say."""
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
