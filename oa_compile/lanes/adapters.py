"""Which adapter lays out a prompt: decided by the lane the call goes to, not by the process.

A small task model needs the compact layout while the proposer on another lane reads DSPy's own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import dspy

from oa_compile.lanes.engine import RunLM
from oa_compile.spec.lanes import AdapterName


@cache
def adapter_for(name: AdapterName) -> dspy.Adapter:
    """The adapter of that name. No fallback adapters: a second call in another format would hide
    that the first one failed.
    """
    if name == "compact":
        from oa_compile.lanes.compact import CompactAdapter

        return CompactAdapter()
    if name == "json":
        return dspy.JSONAdapter()
    if name == "xml":
        return dspy.XMLAdapter(use_json_adapter_fallback=False)
    return dspy.ChatAdapter(use_json_adapter_fallback=False)


class LaneAdapter(dspy.Adapter):  # type: ignore[misc]
    """Hands every call to the adapter of its LM's lane."""

    def __call__(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        return self._of(lm)(lm, lm_kwargs, signature, demos, inputs)

    async def acall(self, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        return await self._of(lm).acall(lm, lm_kwargs, signature, demos, inputs)

    @staticmethod
    def _of(lm: Any) -> dspy.Adapter:
        return adapter_for(lm.adapter_name if isinstance(lm, RunLM) else "chat")
