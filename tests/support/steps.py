"""Small sessions for example makers, written step by step; a line is a step's, or a result's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from oa_compile.extract.assemble import Assembly
from oa_compile.extract.drafts import Draft
from oa_compile.extract.makers import MAKERS
from oa_compile.extract.records import Finished, Opened, Record, Returned, Tasked
from oa_compile.extract.session import Issue, Message, ToolCall, ToolResult
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import walk
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

ROOT = "/home/ann/code/shop"


class Steps:
    """Records of one session in the repository ``/home/ann/code/shop``. Every record is a line of its own;
    what is said and called is one API message until `turn` is called, or a result comes.
    """

    def __init__(self, **opened: Any) -> None:
        self.records: list[Record] = []
        self.line = 0
        self._message = 1
        self._add(Opened(self._next(), id="s1", cwd=ROOT, agent="m", **opened))

    def _next(self) -> int:
        self.line += 1
        return self.line

    def _add(self, record: Record) -> None:
        self.records.append(record)

    def turn(self) -> Steps:
        """The next words or calls are another API message."""
        self._message += 1
        return self

    def say(self, text: str, role: Any = "assistant") -> Steps:
        if role != "assistant":
            self.turn()
        self._add(Message(role, text, f"m{self._message}", self._next()))
        return self

    def ask(self, tool: str, **arguments: Any) -> str:
        """A call without its result; its id."""
        line = self._next()
        self._add(ToolCall(f"c{line}", tool, arguments, f"m{self._message}", line))
        return f"c{line}"

    def answer(
        self, call: str, text: str = "ok", *, error: bool = False, exit_code: int | None = None
    ) -> Steps:
        self._add(Returned(call, ToolResult(text, error, self._next(), exit_code)))
        return self.turn()

    def call(
        self, tool: str, text: str = "ok", *, error: bool = False, exit_code: int | None = None, **given: Any
    ) -> Steps:
        """A call and its result."""
        return self.answer(self.ask(tool, **given), text, error=error, exit_code=exit_code)

    def read(self, path: str, text: str = "x = 1", **given: Any) -> Steps:
        return self.call("Read", text, file_path=f"{ROOT}/{path}", **given)

    def edit(self, path: str, new: str = "x = 2", old: str = "x = 1", **given: Any) -> Steps:
        return self.call("Edit", file_path=f"{ROOT}/{path}", old_string=old, new_string=new, **given)

    def run(
        self, command: str, text: str = "", *, error: bool = False, exit_code: int | None = None
    ) -> Steps:
        return self.call("Bash", text, error=error, exit_code=exit_code, command=command)

    def plan(self, *todos: tuple[str, str]) -> Steps:
        """A plan, as (step, state)."""
        return self.call("TodoWrite", todos=[{"content": text, "status": state} for text, state in todos])

    def claim(self, number: int = 7, title: str = "Fix it", description: str = "It is broken.") -> Steps:
        """An issue is handed out and claimed."""
        body = json.dumps({"number": number, "title": title, "description": description})
        self.call("mcp__issues__issue_ready", body)
        return self.call("mcp__issues__issue_claim", f"Claimed issue #{number}", number=number)

    def complete(self, number: int = 7) -> Steps:
        return self.call("mcp__issues__issue_complete", f"Completed issue #{number}", number=number)

    def task(self, title: str = "Fix it", description: str = "It is broken.") -> Steps:
        """The log itself names a task."""
        line = self._next()
        self._add(Tasked(Issue(f"t{line}", title, description, given=True, line=line)))
        return self

    def finish(self, *, success: bool | None = True) -> Steps:
        self._add(Finished(self._next(), success))
        return self

    def record(self, record: Record) -> Steps:
        """A record as it is; its line is the caller's matter."""
        self._add(record)
        self.line += 1
        return self

    def drafts(self, maker: str, *wanted: str, **extract: Any) -> tuple[list[Draft], dict[str, int]]:
        """What the maker makes of it, and what it left out: reason -> count."""
        return drafts(self.records, maker, *wanted, **extract)


def drafts(
    records: Iterable[Record], maker: str, *wanted: str, **extract: Any
) -> tuple[list[Draft], dict[str, int]]:
    """What `maker` makes of records when a program asks for the fields `wanted` (all of them without any),
    and what it left out: reason -> count.
    """
    tally, made, makers = Tally("log"), [], {}
    spec = ExtractSpec.model_validate(extract | {"example": maker})
    assembly = Assembly(format="test", file="log", name="log", tally=tally)
    for scene, moment in walk(records, assembly):
        key = scene.session.thread
        if key not in makers:
            makers[key] = MAKERS[maker](spec, tally, Wanted(*wanted))
        made += makers[key].take(scene, moment)
    return made, {left.reason: left.count for left in tally.left_out()}
