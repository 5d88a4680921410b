"""A litellm lane for tests, and the settings of the environment that the CLI would make."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.lanes.litellm import LiteLLMLane
from oa_compile.money import Rate
from oa_compile.spec.lanes import LiteLLMLaneSpec

RATE = Rate(Decimal(100_000))
KEY = "sk-secret-0123456789abcdef"
ASKED = ChatRequest(messages=(ChatMessage("user", "What now?"),), max_tokens=10, temperature=0.0)

MARKS = [
    pytest.mark.xdist_group("litellm"),  # one process pays for importing litellm
    pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning"),  # pydantic, of litellm's own types
    # litellm leaves a pooled connection to the collector when threads ask it all at once.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


@contextmanager
def offline_litellm() -> Iterator[None]:
    """What the CLI sets before litellm is imported: no price table from the network, no ``.env``."""
    # litellm asks for the thread's event loop; where none was ever set, asyncio makes one that nobody
    # closes, and the warning of it fails whichever test the collector runs in.
    asyncio.set_event_loop(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        yield


def litellm_lane(
    base: str,
    *,
    model: str = "openai/gpt-4o-mini",
    key: str | None = KEY,
    name: str = "swarm",
    **more: object,
) -> LiteLLMLane:
    """A lane at `base` that makes one attempt; `more` are settings of its spec."""
    spec = LiteLLMLaneSpec(kind="litellm", model=model, api_base=base, **{"attempts": 1, **more})
    return LiteLLMLane(name, spec, rate=RATE, api_key=key)
