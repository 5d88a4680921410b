"""Maker of tool-selection examples: the sentence an agent wrote, and the tool it then used.

`thought` is the end of the text right before a call, in the same API message or the one just before;
`tool` is what the call was: read, edit, run or search. Only calls that worked teach, and only the first
call after a text, because a text explains one next step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.session import Message, ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.spec.program import ExtractSpec

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

_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=\S)")
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


class ToolSelection:
    """One draft for each call that a text announced and that worked."""

    def __init__(self, spec: ExtractSpec, tally: Tally) -> None:
        del spec
        self._tally = tally
        self._said: Message | None = None

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A text waits for the call it announces."""
        if isinstance(moment, Message):
            self._said = moment if moment.role == "assistant" else None
        if not isinstance(moment, ToolCall):
            return
        announced, self._said = self._said, None
        tool = TOOLS.get(moment.name)
        if tool is None:
            self._tally.leave_out("call of another tool", moment.line)
        elif announced is None:
            self._tally.leave_out("call without a thought before it", moment.line)
        elif not moment.worked:
            self._tally.leave_out("call failed" if moment.result else "call without a result", moment.line)
        elif not (thought := last_sentences(announced.text)):
            self._tally.leave_out("thought without words", moment.line)
        else:
            said_at = str(scene.session.place(announced.line))
            evidence = {"call": moment.id, "tool_name": moment.name, "said_at": said_at}
            yield Draft({"thought": thought}, {"tool": tool}, moment.line, evidence)


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
    cut = tail.find(" ")
    return tail if len(flat) <= limit or cut < 0 else tail[cut + 1 :]
