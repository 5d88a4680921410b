"""Maker of tool-selection examples: the sentence an agent wrote, and the tool it then used.

`thought` is the end of the text right before a call, in the same API message or the one just before;
`tool` is what the call was: read, edit, run or search. Only calls that worked teach, and only the first
call after a text, because a text explains one next step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.session import Message, Session, ToolCall
from oa_compile.extract.tally import Tally
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


def make(session: Session, *, spec: ExtractSpec, tally: Tally) -> Iterator[Draft]:
    """One draft for each call that a text announced and that worked."""
    del spec
    said: Message | None = None
    for step in session.steps:
        if isinstance(step, Message):
            said = step if step.role == "assistant" else None
            continue
        announced, said = said, None
        tool = TOOLS.get(step.name)
        if tool is None:
            tally.leave_out("call of another tool", step.place)
        elif announced is None:
            tally.leave_out("call without a thought before it", step.place)
        elif not step.worked:
            tally.leave_out("call failed" if step.result else "call without a result", step.place)
        elif not (thought := last_sentences(announced.text)):
            tally.leave_out("thought without words", step.place)
        else:
            yield Draft({"thought": thought}, {"tool": tool}, step.place, _evidence(step, announced))


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


def _evidence(call: ToolCall, said: Message) -> dict[str, str]:
    return {"call": call.id, "tool_name": call.name, "said_at": str(said.place)}
