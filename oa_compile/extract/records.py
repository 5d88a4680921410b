"""Records: what a reader yields, line by line. A reader knows its format and nothing else: whether an id was
seen before, which result belongs to which call, where a session ends is `extract.assemble`'s work.

Owns the types. A `Message`, `ToolCall`, `Verification` or `RuntimeEvent` is a record as it stands.
"""

from __future__ import annotations

import msgspec

from oa_compile.extract.session import (
    Issue,
    Message,
    Outcome,
    RuntimeEvent,
    ToolCall,
    ToolResult,
    Usage,
    Verification,
)


class Opened(msgspec.Struct):
    """A session begins, or goes on: the same `id` again is the same session. What is empty was not told.

    `fresh` says that the agent was started here, so that the same id means a resumption.
    """

    line: int
    id: str
    cwd: str = ""
    agent: str = ""
    about: str = ""
    repository: str = ""
    branch: str = ""
    tools: tuple[str, ...] = ()
    fresh: bool = False


class Returned(msgspec.Struct, gc=False):
    """The result of the call `call_id`, whichever thread that is in."""

    call_id: str
    result: ToolResult


class Used(msgspec.Struct, gc=False):
    """What the API message `message_id` took; the same id again is the same message."""

    message_id: str
    usage: Usage
    thread: str = ""


class Compacted(msgspec.Struct, gc=False):
    """The agent's context was summed up here; what came before is known to it no more."""

    line: int


class Tasked(msgspec.Struct):
    """The log itself says what the agent was to do from here on."""

    issue: Issue


class Finished(msgspec.Struct):
    """The log itself says how the task ended; `success` is None when it was given up."""

    line: int
    success: bool | None


Record = (
    Opened
    | Message
    | ToolCall
    | Returned
    | Used
    | Outcome
    | Compacted
    | Verification
    | RuntimeEvent
    | Tasked
    | Finished
)
