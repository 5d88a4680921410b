"""The ``[extract.log]`` table of a program spec: a log format nobody foresaw, described without code.

Owns the words it is written in; `oa_compile.extract.readers.mapped` reads by them.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from oa_compile.spec.base import SpecModel
from oa_compile.spec.jmes_path import JmesPath


class _Rule(SpecModel):
    when: JmesPath
    """The lines it is about."""
    each: JmesPath | None = None
    """A list in such a line: the other expressions are then about each of its elements."""


class MessageRule(_Rule):
    """What somebody said."""

    role: JmesPath
    """user, assistant or system; human, agent, model, ai, bot and developer are understood."""
    text: JmesPath
    """A string, or a list of parts of which those with a `text` count."""


class CallRule(_Rule):
    """A tool called by the agent."""

    id: JmesPath
    name: JmesPath
    arguments: JmesPath | None = None
    """An object, also one written as JSON in a string."""


class ResultRule(_Rule):
    """What a tool gave back."""

    call: JmesPath
    """The id of the call."""
    text: JmesPath
    error: JmesPath | None = None
    """Whether the call failed: neither null nor false, 0 or empty. A non-zero exit code says so too."""
    exit_code: JmesPath | None = None


class TaskRule(_Rule):
    """What the agent was to do from here on."""

    title: JmesPath
    description: JmesPath | None = None
    key: JmesPath | None = None
    """Its name within the repository; the title where there is none."""


class FinishedRule(_Rule):
    """How the task ended."""

    success: JmesPath | None = None
    """true or false; anything else says that it was given up."""


class EventRule(_Rule):
    """A decision of a runtime, with what it was given and what it gave."""

    type: JmesPath
    success: JmesPath
    context: JmesPath
    output: JmesPath


class LogFormatSpec(SpecModel):
    """How lines of a log nobody foresaw become sessions: every rule whose `when` holds says what a line is.

    The expressions outside the rules are asked of every line; what they give holds from there on.
    """

    session: JmesPath | None = None
    cwd: JmesPath | None = None
    agent: JmesPath | None = None
    repository: JmesPath | None = None
    branch: JmesPath | None = None
    message: tuple[MessageRule, ...] = ()
    call: tuple[CallRule, ...] = ()
    result: tuple[ResultRule, ...] = ()
    task: tuple[TaskRule, ...] = ()
    finished: tuple[FinishedRule, ...] = ()
    event: tuple[EventRule, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.message or self.call or self.result or self.task or self.finished or self.event):
            raise ValueError(
                "a log format needs a rule: [[extract.log.message]], call, result, task, finished or event"
            )
        return self
