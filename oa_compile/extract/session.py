"""The session model: what every reader yields and every example maker consumes.

Owns the types. Where they are read from is `readers`' matter, what becomes of them `makers`'.
Everything knows the file and line it came from, so that an example can name its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a log; lines count from 1, 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, summed over unique API messages."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One text block somebody wrote. `message_id` is the API message's, shared by its blocks."""

    role: Literal["user", "assistant"]
    text: str
    message_id: str
    place: Place


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back, as text; parts that are no text (images) are passed over."""

    text: str
    is_error: bool
    place: Place


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call with its result, if the log has it. `name` is as the agent's tools call it."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    message_id: str
    place: Place
    result: ToolResult | None = None

    @property
    def worked(self) -> bool:
        """There is a result, and it is no error."""
        return self.result is not None and not self.result.is_error

    @property
    def plain_name(self) -> str:
        """The name without its MCP server: ``mcp__issues__issue_claim`` is ``issue_claim``."""
        return self.name.rsplit("__", 1)[-1] if self.name.startswith("mcp__") else self.name


Step = Message | ToolCall


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query's end as the log tells it; a resumed session has several."""

    status: str
    is_error: bool
    turns: int
    cost_usd: float
    place: Place


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """One event of a runtime that logs decisions, not messages (the seed's event JSONL)."""

    event_type: str
    success: bool
    context: Mapping[str, Any]
    output: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Issue:
    """The text of an issue. `given` is False when the agent only wrote it itself (``issue_create``):
    such a text is the agent's idea, not a task it was handed.
    """

    number: int
    title: str
    description: str
    given: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Episode:
    """The work on one issue, from its claim to its own completion.

    `files` are the files edited in between, relative to the session's folder, in order of the first
    edit; `start` and `stop` index the session's steps.
    """

    number: int
    issue: Issue | None
    claimed: Place
    completed: Place | None
    files: tuple[str, ...]
    commits: tuple[str, ...]
    start: int
    stop: int

    @property
    def teaches(self) -> bool:
        """The episode has a given issue text, at least one edited file, and was completed."""
        return self.issue is not None and self.issue.given and bool(self.files) and self.completed is not None


@dataclass(frozen=True, slots=True)
class Session:
    """One agent session. `about` is what the log says of its own making."""

    id: str
    format: str
    file: str
    cwd: str = ""
    agent: str = ""
    about: str = ""
    steps: tuple[Step, ...] = ()
    events: tuple[RuntimeEvent, ...] = ()
    usage: Usage = field(default_factory=Usage)
    outcomes: tuple[Outcome, ...] = ()
    compactions: int = 0

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls, in order, each once."""
        return tuple(step for step in self.steps if isinstance(step, ToolCall))
