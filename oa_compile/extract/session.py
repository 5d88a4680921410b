"""The session model: what every reader's records become and every example maker consumes.

Owns the types. A session is never whole in memory: its steps come one by one, in the order in which they
were taken (`extract.assemble`), beside what was known when they were taken (`extract.walk`). Everything
knows the line it came from, so that an example can name its evidence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import msgspec

from oa_compile.extract.strict import BadJson, parse_value

MAX_TEXT_BYTES = 256 * 1024
"""Of a longer output nothing is kept: it is counted, and its step stays."""


class Place(NamedTuple):
    """A line of a log; lines count from 1, 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things, from 0 on."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens, summed over unique API messages."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


class Message(msgspec.Struct, gc=False):
    """One text block somebody wrote. `message_id` is the API message's, shared by its blocks; `thread` is
    the sidechain it belongs to, empty for the main one.
    """

    role: Literal["user", "assistant", "system"]
    text: str
    message_id: str
    line: int
    thread: str = ""


class Doubter(Protocol):
    """Who is told of input that turns out to be bad when it is looked at."""

    def refuse(self, reason: str, line: int) -> None:
        """Something in `line` is no text that can be believed."""


class ToolResult(msgspec.Struct, gc=False):
    """What a tool gave back, kept as the log's bytes until somebody reads it.

    `body` is JSON: a string, or a list of parts of which those with a ``text`` count. `passed_over` says
    that there was more than is kept (an image, an output over `MAX_TEXT_BYTES`).
    """

    body: msgspec.Raw | str
    is_error: bool
    line: int
    exit_code: int | None = None
    passed_over: bool = False
    doubter: Doubter | None = None

    @property
    def text(self) -> str:
        """The output as text: empty, and told to the doubter, where the bytes are none."""
        if not isinstance(self.body, str):
            try:
                self.body = text_of(self.body)
            except BadJson as error:
                self.body = ""
                if self.doubter is not None:
                    self.doubter.refuse(str(error), self.line)
        return self.body


class ToolCall(msgspec.Struct):
    """One tool call with its result, if the log has it. `name` is as the agent's tools call it."""

    id: str
    name: str
    body: msgspec.Raw | dict[str, Any]
    message_id: str
    line: int
    thread: str = ""
    result: ToolResult | None = None
    parsed: dict[str, Any] | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the tool was called with; parsed when it is first asked for."""
        if self.parsed is None:
            body = self.body
            self.parsed = body if isinstance(body, dict) else _object(body)
        return self.parsed

    @property
    def worked(self) -> bool:
        """There is a result, and it is no error."""
        return self.result is not None and not self.result.is_error

    @property
    def plain_name(self) -> str:
        """The name without its MCP server: ``mcp__issues__issue_claim`` is ``issue_claim``."""
        return self.name.rsplit("__", 1)[-1] if self.name.startswith("mcp__") else self.name


class Verification(msgspec.Struct):
    """A command that was run to see whether the work holds, and what it showed. Logs that tell it as such
    give it as a step; of others it is found among the tool calls (`extract.commands`).
    """

    command: str
    passed: bool
    output: str
    line: int
    kind: Literal["test", "build", "lint", "other"] = "other"


class RuntimeEvent(msgspec.Struct):
    """One event of a runtime that logs decisions, not messages (the seed's event JSONL)."""

    event_type: str
    success: bool
    context: dict[str, Any]
    output: dict[str, Any]
    line: int


Step = Message | ToolCall | Verification | RuntimeEvent


class Outcome(msgspec.Struct):
    """One query's end as the log tells it; a resumed session has several."""

    status: str
    is_error: bool
    line: int
    turns: int = 0
    cost_usd: float = 0.0


class Issue(msgspec.Struct, frozen=True):
    """The text of a task. `given` is False when the agent only wrote it itself (``issue_create``): such a
    text is the agent's idea, not a task it was handed. `key` names it within its repository.
    """

    key: str
    title: str
    description: str
    given: bool
    line: int


class Session(msgspec.Struct):
    """One thread of an agent's session: what the log says of it as a whole.

    It is filled while its steps are read: `usage`, `outcomes` and the counts are complete at its end.
    `about` is what the log says of its own making, `thread` names a sidechain.
    """

    id: str
    format: str
    file: str
    thread: str = ""
    cwd: str = ""
    agent: str = ""
    about: str = ""
    repository: str = ""
    branch: str = ""
    tools: tuple[str, ...] = ()
    usage: Usage = Usage()
    outcomes: list[Outcome] = []
    compactions: int = 0
    resumptions: int = 0
    calls: int = 0
    errors: int = 0

    @property
    def root(self) -> str:
        """The repository's folder, as far as the log tells."""
        return root_of(self.cwd)

    def place(self, line: int) -> Place:
        """A line of this session's log."""
        return Place(self.file, line)


_WORKSPACES = frozenset({"code", "src", "projects", "repos", "work", "git", "dev", "workspace", "workspaces"})


@functools.lru_cache(maxsize=256)
def root_of(cwd: str) -> str:
    """The folder of the repository that `cwd` lies in: what stands behind a usual workspace folder, else
    `cwd` itself. A guess, but the same one whatever else is read.
    """
    parts = cwd.rstrip("/").split("/")
    for index, part in enumerate(parts[:-1]):
        if part.lower() in _WORKSPACES:
            return "/".join(parts[: index + 2])
    return cwd.rstrip("/")


def repository_of(cwd: str) -> str:
    """A name for the repository that `cwd` lies in."""
    return root_of(cwd.replace("\\", "/")).rsplit("/", 1)[-1]


def text_of(body: msgspec.Raw) -> str:
    """The text of a tool result's JSON; parts that are no text are passed over. Raises BadJson."""
    content = parse_value(bytes(body))
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _object(body: msgspec.Raw) -> dict[str, Any]:
    try:
        content = parse_value(bytes(body))
    except BadJson:
        return {}
    return content if isinstance(content, dict) else {}
