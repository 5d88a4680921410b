"""Maker of tool-selection examples: what an agent knew before a call, and the call.

Only calls that worked teach. Two ways of asking share it:

- `thought` → `tool`: the end of the text right before a call, in the same API message or the one just before,
  and what the call was: read, edit, run or search. Only the first call after a text, because a text explains
  one next step.
- `task_description`, `available_tools`, `recent_context` → `selected_tool`, `tool_params` (JSON text),
  `expected_outcome`, `fallback_tool`. The context ends before the message that holds the call, so what the
  agent announced is not in it: that is the expected outcome. A fallback is one the same session has proven:
  when this tool had failed, that one worked on the same thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from oa_compile.extract.context import History, as_json, cut, decision_of, task_text
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.failures import Attempt, FailedTries
from oa_compile.extract.session import Message, ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

TOOLS = {
    "Read": "read",
    "Edit": "edit",
    "Write": "edit",
    "MultiEdit": "edit",
    "NotebookEdit": "edit",
    "Bash": "run",
    "Grep": "search",
    "Glob": "search",
}
MAX_CHARS = 200
"""Length of a thought: small models lose the point of longer ones."""

_TASK_CHARS, _OUTCOME_CHARS = 2_000, 300
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=\S)")
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


class ToolSelection:
    """One draft for each call that worked and that has what the program asks for."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        self._tally, self._wanted = tally, wanted
        self._tries = FailedTries(spec.failures)
        self._said: Message | None = None
        self._history = History()
        self._used: dict[str, None] = {}
        self._fallbacks: dict[str, str] = {}

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A text waits for the call it announces."""
        if isinstance(moment, Message):
            self._said = moment if moment.role == "assistant" else None
        elif isinstance(moment, ToolCall):
            announced, self._said = self._said, None
            if (draft := self._draft(scene, moment, announced)) is not None:
                yield draft
            self._used.setdefault(moment.name)
        elif isinstance(moment, Episode):
            self._tries.forget()

    def _draft(self, scene: Scene, call: ToolCall, announced: Message | None) -> Draft | None:
        attempt = self._tries.take(call)
        if attempt.answered and attempt.answered[-1].name != call.name:
            self._fallbacks[attempt.answered[-1].name] = call.name
        thought = ""
        reason = self._why_not(call, attempt, announced)
        if reason is None and announced is not None and "thought" in self._wanted:
            thought = last_sentences(announced.text)
            reason = None if thought else "thought without words"
        if reason is not None:
            self._tally.leave_out(reason, call.line)
            return None
        evidence: dict[str, Any] = {"call": call.id, "tool_name": call.name}
        inputs = {}
        if announced is not None and "thought" in self._wanted:
            inputs["thought"] = thought
            evidence["said_at"] = str(scene.session.place(announced.line))
        outputs = {"tool": TOOLS[call.name]} if call.name in TOOLS else {}
        return Draft(
            inputs | dict(self._known(scene, call)),
            outputs | dict(self._chosen(scene, call)),
            call.line,
            evidence,
            feedback=attempt.feedback,
            negative=attempt.negative,
        )

    def _why_not(self, call: ToolCall, attempt: Attempt, announced: Message | None) -> str | None:
        if call.name not in TOOLS and "tool" in self._wanted:
            return "call of another tool"
        if announced is None and "thought" in self._wanted:
            return "call without a thought before it"
        return attempt.reason

    def _known(self, scene: Scene, call: ToolCall) -> Iterator[tuple[str, Any]]:
        wanted = self._wanted
        if not any(name in wanted for name in ("task_description", "available_tools", "recent_context")):
            return
        line = decision_of(call, scene.trail).line
        issue = scene.episode.issue if scene.episode is not None else None
        if issue is not None and issue.line < line:
            yield "task_description", cut(task_text(issue), _TASK_CHARS)
        tools = list(scene.session.tools or self._used)
        if call.name in tools:  # else the log had not told that there is such a tool
            yield "available_tools", tools
        if "recent_context" in wanted:
            yield "recent_context", self._history.before(line, scene.trail)

    def _chosen(self, scene: Scene, call: ToolCall) -> Iterator[tuple[str, Any]]:
        yield "selected_tool", call.name
        if "tool_params" in self._wanted:
            yield "tool_params", as_json(dict(call.arguments))
        if "expected_outcome" in self._wanted:
            words = last_sentences(decision_of(call, scene.trail).words, limit=_OUTCOME_CHARS)
            if words:
                yield "expected_outcome", words
        if call.name in self._fallbacks:
            yield "fallback_tool", self._fallbacks[call.name]


def last_sentences(text: str, *, limit: int = MAX_CHARS) -> str:
    """The last whole sentences of `text` that fit `limit` characters, on one line, without code blocks;
    of a longer sentence its last words.
    """
    flat = " ".join(_FENCED.sub(" ", text).split())
    kept = ""
    for sentence in reversed(_SENTENCE_END.split(flat)):
        longer = f"{sentence} {kept}".strip()
        if len(longer) > limit:
            break
        kept = longer
    if kept or not flat:
        return kept
    tail = flat[-limit:]
    cut_at = tail.find(" ")
    return tail if len(flat) <= limit or cut_at < 0 else tail[cut_at + 1 :]
