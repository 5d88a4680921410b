"""Context: what an agent knew when it decided, as text of bounded length.

Owns the rule that nothing from after a decision is in an example's input. A decision begins with the first
words or call of its API message, for all of a message is one decision: what the agent says in it explains the
call, and calls made beside it have no results yet. A step counts as known from before that line, and its
result only if that had come by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from oa_compile.extract.session import Issue, Message, Step, ToolCall, Verification
from oa_compile.extract.walk import Trail

STEPS = 8
"""Steps a history tells of."""
WORDS_CHARS, ARGUMENT_CHARS, RESULT_CHARS = 300, 160, 400
_CACHED = 64
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]{0,200}\x07")


class Decision(NamedTuple):
    """Where a decision began, and what was said in it before its call. `said_at` is 0 without words."""

    line: int
    words: str
    said_at: int


def decision_of(call: ToolCall, trail: Trail) -> Decision:
    """The decision that led to a call, `trail` being what came before."""
    line, words, said_at = call.line, [], 0
    for step in reversed(trail.steps):
        if isinstance(step, Message) and step.role == "assistant":
            words.append(step.text.strip())
            said_at = said_at or step.line
        elif not isinstance(step, ToolCall) or step.message_id != call.message_id or words:
            break
        line = step.line
    return Decision(line, "\n\n".join(reversed([text for text in words if text])), said_at)


class History:
    """The last steps before a decision as text. Each step is put into words once."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[Step, str, str]] = {}

    def before(self, line: int, trail: Trail, *, since: int = 0) -> str:
        """What was done from line `since` on and known before `line`, oldest first; empty when that is
        nothing.
        """
        known = [step for step in trail if since <= step.line < line][-STEPS:]
        if len(self._told) > _CACHED:
            self._told.clear()
        return "\n".join(self._tell(step, line) for step in known)

    def _tell(self, step: Step, line: int) -> str:
        told = self._told.get(id(step))
        if told is None or told[0] is not step:
            told = self._told[id(step)] = (step, _done(step), _shown(step))
        _, done, shown = told
        if isinstance(step, ToolCall):
            return f"{done} → {shown if came_before(step, line) else '(no result yet)'}"
        return done


def came_before(call: ToolCall, line: int) -> bool:
    """Whether a call's result was there before `line`."""
    return call.result is not None and call.result.line < line


def cut(text: str, limit: int) -> str:
    """`text` in at most about `limit` characters: its beginning and its end."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n… {len(text) - head - tail} characters …\n{text[-tail:]}"


def on_one_line(text: str, limit: int) -> str:
    """The beginning of `text`, white space drawn together."""
    flat = " ".join(text[: 4 * limit].split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def plain(text: str) -> str:
    """`text` without a terminal's colours."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def as_json(value: Any) -> str:
    """`value` as JSON text, keys in their order. What is nested beyond reason is an ellipsis."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        pass  # a number of more than 64 bits, or a text without a UTF-8 form
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except RecursionError:
        return '"…"'


def brief_arguments(arguments: Iterable[tuple[str, Any]]) -> str:
    """A call's arguments as JSON text, long texts cut."""
    return as_json({name: _brief(value) for name, value in arguments})


def _brief(value: Any) -> Any:
    if isinstance(value, str):
        return on_one_line(value, ARGUMENT_CHARS)
    if isinstance(value, dict | list):
        text = as_json(value)
        return value if len(text) <= ARGUMENT_CHARS else on_one_line(text, ARGUMENT_CHARS)
    return value


def _done(step: Step) -> str:
    if isinstance(step, ToolCall):
        return f"{step.plain_name} {brief_arguments(step.arguments.items())}"
    if isinstance(step, Message):
        return f"{step.role}: {on_one_line(step.text, WORDS_CHARS)}"
    if isinstance(step, Verification):
        showed = "passed" if step.passed else "failed"
        return f"check {step.command}: {showed}\n{cut(plain(step.output).strip(), RESULT_CHARS)}".strip()
    return f"event {step.event_type}: {'success' if step.success else 'failure'}"


def _shown(step: Step) -> str:
    if not isinstance(step, ToolCall) or step.result is None:
        return ""
    text = cut(plain(step.result.text).strip(), RESULT_CHARS)
    return f"failed: {text}" if step.result.is_error else text or "(nothing)"


def task_text(issue: Issue) -> str:
    """A task's whole text; a prompt's title is its own first line."""
    title, description = issue.title.strip(), issue.description.strip()
    return description if description.startswith(title) else f"{title}\n\n{description}".strip()


def line_of(step: Step) -> int:
    """The line from which a step is wholly known."""
    if isinstance(step, ToolCall) and step.result is not None:
        return max(step.line, step.result.line)
    return step.line
