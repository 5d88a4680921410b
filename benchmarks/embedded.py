"""DSPy's stock chat layout against the compact layout with its grammar, on the embedded model.

    python benchmarks/embedded.py

The same twenty 4-way choices through `dspy.Predict`, one model instance, greedy. The stock layout gets 64
tokens, twice what its answer takes; it is `dspy.ChatAdapter` without its second call through JSON. A table
first; the last line is one JSON object: the shares that parsed and the ratio of the times.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Literal

import dspy
from dspy.lm15 import Message, Request, Response, Usage
from dspy.utils.exceptions import AdapterParseError

from oa_compile.chat import ChatMessage, ChatRequest
from oa_compile.digest import digest_json
from oa_compile.lanes.compact import CompactAdapter
from oa_compile.lanes.embedded import EmbeddedLane
from oa_compile.spec.lanes import EmbeddedLaneSpec

MAX_TOKENS = 64

ITEMS = [
    ("Let me look at the current implementation of the parser.", "read"),
    ("First I want to see what the config file contains.", "read"),
    ("Let me check how the function handles empty input.", "read"),
    ("I will open the failing test to understand what it expects.", "read"),
    ("Let me view the rest of this module.", "read"),
    ("The comparison is inverted; I will fix it.", "edit"),
    ("Now I will add the missing import at the top.", "edit"),
    ("I will rename the argument so that the call matches.", "edit"),
    ("Let me replace the hard-coded path with a parameter.", "edit"),
    ("The default should be an empty list, so I will change that line.", "edit"),
    ("Let me run the test suite to see what fails.", "run"),
    ("Now I will verify that everything passes.", "run"),
    ("Let me execute the script to reproduce the error.", "run"),
    ("I will run the linter once more.", "run"),
    ("Time to check the build with the new dependency.", "run"),
    ("Where else is this helper used? Let me find all callers.", "search"),
    ("Let me search for the definition of this class.", "search"),
    ("I need to find which file raises this message.", "search"),
    ("Let me grep for other uses of the old name.", "search"),
    ("Are there more places with this pattern? I will look for them.", "search"),
]


class Step(dspy.Signature):
    """Pick the tool for the agent's next step."""

    text: str = dspy.InputField()
    tool: Literal["read", "edit", "run", "search"] = dspy.OutputField()


class Engine:
    """DSPy's engine contract in front of the lane, with no budget and no journal."""

    supports_response_schema = True
    supported_params = ("response_format",)

    def __init__(self, lane: EmbeddedLane) -> None:
        self.lane = lane
        self.tokens = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Engine:
        return self

    def complete(self, request: Request) -> Response:
        """One attempt, straight through."""
        messages = [ChatMessage("system", str(request.system))]
        messages += [ChatMessage(m.role, "".join(part.text for part in m.parts)) for m in request.messages]
        form = request.config.response_format
        chat = ChatRequest(
            tuple(messages), max_tokens=MAX_TOKENS, response_format=dict(form) if form else None
        )
        answer = self.lane.send(chat, digest_json(request.model)).answer
        self.tokens += answer.usage.output_tokens
        return Response(
            id=None,
            model=answer.model,
            message=Message.assistant(answer.text),
            finish_reason=answer.finish_reason,
            usage=Usage(input_tokens=answer.usage.input_tokens, output_tokens=answer.usage.output_tokens),
        )


def measure(adapter: dspy.Adapter, lane: EmbeddedLane) -> dict[str, float]:
    """Share parsed and right, seconds and generated tokens a call."""
    engine = Engine(lane)
    lm = dspy.LM("embedded", engine=engine, cache=False, num_retries=0)
    parsed = right = 0
    began = time.perf_counter()
    with dspy.context(lm=lm, adapter=adapter):
        predict = dspy.Predict(Step)
        for text, tool in ITEMS:
            try:
                answer = predict(text=text).tool
            except AdapterParseError:
                continue
            parsed += 1
            right += answer == tool
    seconds = time.perf_counter() - began
    count = len(ITEMS)
    return {
        "parsed": parsed / count,
        "right": right / count,
        "seconds": seconds / count,
        "tokens": engine.tokens / count,
    }


def main() -> None:
    """Measure both layouts and print the table."""
    logging.getLogger("dspy").setLevel(logging.ERROR)
    lane = EmbeddedLane("local", EmbeddedLaneSpec(kind="embedded", instances=1), price_msat=0)
    lane.send(ChatRequest((ChatMessage("user", "hello"),), max_tokens=1), digest_json("load"))
    compact = measure(CompactAdapter(), lane)
    stock = measure(dspy.ChatAdapter(use_json_adapter_fallback=False), lane)
    lane.close()
    print(f"{'layout':<22}{'parsed':>8}{'right':>8}{'s/call':>9}{'tokens':>8}")
    for name, row in (("dspy.ChatAdapter", stock), ("compact with grammar", compact)):
        print(
            f"{name:<22}{row['parsed']:>8.0%}{row['right']:>8.0%}{row['seconds']:>9.3f}{row['tokens']:>8.1f}"
        )
    figures = {
        "parse_rate_stock": stock["parsed"],
        "parse_rate_compact": compact["parsed"],
        "right_compact": compact["right"],
        "seconds_compact": round(compact["seconds"], 4),
        "speedup_compact": round(stock["seconds"] / compact["seconds"], 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
