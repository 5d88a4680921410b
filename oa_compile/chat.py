"""One chat call as plain data: what is asked, what was answered, what it used.

Every lane speaks these types, and the journal stores them. Nothing here knows DSPy, a provider or
a price. None of it can point back to itself, and a run holds very many of them: the cycle collector
is spared them (``gc=False``).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "content_filter", "tool_call", "error"]


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """One message; `role` is system, user or assistant."""

    role: str
    content: str


class ChatRequest(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A chat completion request. `response_format` is OpenAI's shape without its inner envelope:
    ``{"type": "json_schema", "name": …, "schema": {…}}`` or ``{"type": "json_object"}``.
    """

    messages: tuple[ChatMessage, ...]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: dict[str, Any] | None = None


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens as the lane reported them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


class ChatAnswer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A completed answer. `model` is what the lane says answered; `by` is who, where a lane has many
    providers to ask (a public key).
    """

    text: str
    usage: Usage = Usage()
    finish_reason: FinishReason = "stop"
    model: str = ""
    by: str = ""


def prompt_bytes(request: ChatRequest) -> int:
    """UTF-8 bytes of all messages: an upper bound on their tokens for byte-level tokenizers."""
    return sum(len(message.content.encode()) for message in request.messages)
