"""Session logs for tests: lines of autopilot's format, and what reading a log gives, whole in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from oa_compile.extract.assemble import Assembly, Closed
from oa_compile.extract.episodes import Episode
from oa_compile.extract.lines import HEAD_LINES, Source, as_lines, read_lines
from oa_compile.extract.readers import Reader, sniff
from oa_compile.extract.session import Message, Session, Step, ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import walk

REAL = Path(__file__).parents[3] / "shared" / "data"
INIT = {"type": "system", "message": {"subtype": "init", "session_id": "s1", "cwd": "/repo", "model": "m"}}


@dataclass
class Told:
    """What a log tells: its sessions (threads) in the order in which they ended, each with its steps."""

    tally: Tally
    format: str = ""
    sessions: list[Session] = field(default_factory=list)
    steps: dict[str, list[Step]] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)

    @property
    def main(self) -> list[Step]:
        """The steps of the main thread, over all sessions."""
        return self.steps.get("", [])

    @property
    def calls(self) -> list[ToolCall]:
        """The main thread's calls."""
        return [step for step in self.main if isinstance(step, ToolCall)]

    @property
    def messages(self) -> list[Message]:
        """The main thread's messages."""
        return [step for step in self.main if isinstance(step, Message)]

    @property
    def left_out(self) -> dict[str, str]:
        """Reason -> first place."""
        return {left.reason: left.first for left in self.tally.left_out()}


def tell(raw: bytes, *, name: str = "log", reader: Reader | None = None, thorough: bool = True) -> Told:
    """Read a log of these bytes."""
    tally = Tally(name, thorough)
    lines = as_lines(read_lines(Source(BytesIO(raw)), tally=tally), tally=tally)
    found = reader or sniff(lines.head(HEAD_LINES))
    told = Told(tally)
    if found is None:
        return told
    told.format = found.FORMAT
    assembly = Assembly(format=found.FORMAT, file=name, name=name, tally=tally)
    for scene, moment in walk(found.read(lines, tally=tally), assembly):
        if isinstance(moment, Episode):
            told.episodes.append(moment)
        elif isinstance(moment, Closed):
            told.sessions.append(scene.session)
        else:
            told.steps.setdefault(scene.session.thread, []).append(moment)
    return told


def encode(lines: Iterable[dict[str, Any]]) -> bytes:
    """JSONL, as compact as agents write it."""
    return b"".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for line in lines
    )


def say(message_id: str, *blocks: dict[str, Any], usage: dict[str, int] | None = None) -> dict[str, Any]:
    """An assistant's line."""
    return {"type": "assistant", "message": {"id": message_id, "content": list(blocks), "usage": usage}}


def text(words: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


def use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    """A tool call's block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def back(call_id: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    """A result's line."""
    block = {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def done(call_id: str, name: str, content: Any = "ok", **arguments: Any) -> Iterator[dict[str, Any]]:
    """A call and its result."""
    yield say(f"m-{call_id}", use(call_id, name, **arguments))
    yield back(call_id, content)


def issue(call_id: str, number: int = 7) -> Iterator[dict[str, Any]]:
    """The tracker hands out an issue."""
    body = f'{{"number": {number}, "title": "Fix it", "description": "It is broken."}}'
    return done(call_id, "mcp__issues__issue_ready", [text(body)])


def claim(call_id: str, number: int = 7, answer: str = "Claimed issue #7") -> Iterator[dict[str, Any]]:
    """The agent claims it."""
    return done(call_id, "mcp__issues__issue_claim", answer, number=number)


def complete(call_id: str, number: int = 7) -> Iterator[dict[str, Any]]:
    """The agent completes it."""
    return done(call_id, "mcp__issues__issue_complete", f"Completed issue #{number}", number=number)


def edit(call_id: str, path: str = "/repo/a.py") -> Iterator[dict[str, Any]]:
    """The agent edits a file."""
    return done(call_id, "Edit", "updated", file_path=path)
