"""Reader of the Agent Trajectory Interchange Format, as JSONL (a header line, then a step a line) and as one
object that holds its steps.

A step is a message with its calls and their results. An orchestrator's steps say in ``extra.event_type`` what
happened: a task selected, a verification, the end. Of a trajectory that is one object, a place is the step's
position: all of it is one line, and what was known before a decision is told by places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from oa_compile.extract.checks import kind_of_check
from oa_compile.extract.commands import OUTPUT_CHARS
from oa_compile.extract.fields import (
    count,
    kept,
    listed,
    mapping,
    parts_of,
    result,
    text,
    truth,
    whole,
    written,
)
from oa_compile.extract.lines import Line, objects
from oa_compile.extract.records import Finished, Opened, Record, Returned, Tasked, Used
from oa_compile.extract.session import Issue, Message, ToolCall, Usage, Verification
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

FORMAT = "atif"

_ROLES: Mapping[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "agent": "assistant",
    "system": "system",
}
_TASK = "Selected task:"


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A header or a whole trajectory names the format; a step has its number and its source."""
    return _is_head(body) or _is_step(body)


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says."""
    trajectory = _Trajectory(tally)
    for number, body in objects(lines, tally=tally):
        if _is_head(body):
            yield from trajectory.open(number, body)
        elif _is_step(body):
            yield from trajectory.step(number, body)
        else:
            tally.leave_out("unknown line type", number)


class _Trajectory:
    """One trajectory while it is read."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._session = ""

    def open(self, line: int, body: Mapping[str, Any]) -> Iterator[Record]:
        """A header, or a whole trajectory with its steps."""
        agent = mapping(body.get("agent"))
        name, version, model = (text(agent.get(key)) for key in ("name", "version", "model_name"))
        self._session = text(body.get("session_id")) or text(body.get("trajectory_id"))
        yield Opened(
            line,
            id=self._session,
            cwd=text(mapping(body.get("extra")).get("cwd")),
            agent=model or name,
            about=f"{name} {version}".strip() if model else version,
            tools=_tools(agent.get("tool_definitions")),
        )
        metered = False
        for position, step in enumerate(listed(body.get("steps")), start=1):
            if not _is_step(mapping(step)):
                self._tally.leave_out("step without number or source", position)
                continue
            for record in self.step(position, step):
                metered = metered or isinstance(record, Used)
                yield record
        if not metered and (final := mapping(body.get("final_metrics"))):
            # Where the steps tell theirs, these are the same tokens again.
            yield Used(f"{self._session}:totals", _usage(final, "total_"))

    def step(self, line: int, body: Mapping[str, Any]) -> Iterator[Record]:
        """What one step says."""
        if body.get("is_copied_context") is True:
            self._tally.count("copied_steps_passed_over")
            return
        own = f"{self._session}:{whole(body.get('step_id'))}"
        if body.get("reasoning_content"):
            self._tally.count("thinking_blocks_passed_over")
        if metrics := mapping(body.get("metrics")):
            yield Used(own, _usage(metrics, ""))
        happened = text(mapping(body.get("extra")).get("event_type"))
        if happened == "verification_complete":
            yield from self._verifications(line, body)
        elif happened == "task_selected":
            yield Tasked(_task(line, body))
        elif happened == "session_complete":
            yield Finished(line, truth(mapping(body.get("extra")).get("success")))
        else:
            for words in parts_of(body.get("message"), tally=self._tally):
                if words:
                    role = _ROLES[text(body.get("source"))]
                    yield Message(role, kept(words, tally=self._tally), own, line)
            yield from self._calls(line, body, own)

    def _calls(self, line: int, body: Mapping[str, Any], own: str) -> Iterator[Record]:
        asked = []
        for call in listed(body.get("tool_calls")):
            call_id = text(mapping(call).get("tool_call_id"))
            name = text(mapping(call).get("function_name"))
            arguments = _arguments(mapping(call).get("arguments"))
            if not call_id or not name or arguments is None:
                self._tally.leave_out("tool call without id, name or input", line)
                continue
            asked.append(call_id)
            yield ToolCall(call_id, name, arguments, own, line)
        for answer in listed(mapping(body.get("observation")).get("results")):
            call_id = text(mapping(answer).get("source_call_id"))
            if not call_id and len(asked) == 1:
                call_id = asked[0]
            if not call_id:
                self._tally.leave_out("tool result without its call", line)
            else:
                yield self._returned(line, mapping(answer), call_id)

    def _returned(self, line: int, answer: Mapping[str, Any], call_id: str) -> Returned:
        content, extra = answer.get("content"), mapping(answer.get("extra"))
        told = {**mapping(content), **extra}
        if isinstance(content, dict):
            words = text(content.get("output")) or written(content)
        else:
            words = "\n".join(parts_of(content, tally=self._tally))
        exit_code = whole(told.get("exit_code"))
        failed = told.get("is_error") is True or told.get("passed") is False or bool(exit_code)
        return Returned(call_id, result(words, line, is_error=failed, tally=self._tally, exit_code=exit_code))

    def _verifications(self, line: int, body: Mapping[str, Any]) -> Iterator[Record]:
        for answer in listed(mapping(body.get("observation")).get("results")):
            content = mapping(mapping(answer).get("content"))
            command, passed = text(content.get("command")), truth(content.get("passed"))
            if not command or passed is None:
                self._tally.leave_out("verification without a command or verdict", line)
                continue
            output = text(content.get("output"))[-OUTPUT_CHARS:]
            yield Verification(command, passed, output, line, kind_of_check(command) or "other")


def _is_head(body: Mapping[str, Any]) -> bool:
    return text(body.get("schema_version")).startswith("ATIF")


def _is_step(body: Mapping[str, Any]) -> bool:
    return whole(body.get("step_id")) is not None and text(body.get("source")) in _ROLES


def _task(line: int, body: Mapping[str, Any]) -> Issue:
    extra, words = mapping(body.get("extra")), text(body.get("message"))
    title = text(extra.get("task_title")) or words.removeprefix(_TASK).strip()
    description = text(extra.get("task_description")) or text(extra.get("description"))
    return Issue(text(extra.get("task_id")) or title, title, description, given=True, line=line)


def _arguments(value: object) -> dict[str, Any] | None:
    """A call's arguments: an object, also where it is written as a string."""
    if isinstance(value, dict):
        return value
    try:
        return parse_object(value.encode()) if isinstance(value, str) else None
    except BadJson:
        return None


def _tools(definitions: object) -> tuple[str, ...]:
    named = (text(mapping(mapping(tool).get("function")).get("name")) for tool in listed(definitions))
    return tuple(filter(None, named))


def _usage(metrics: Mapping[str, Any], prefix: str) -> Usage:
    prompt, cached = (
        count(metrics.get(f"{prefix}prompt_tokens")),
        count(metrics.get(f"{prefix}cached_tokens")),
    )
    return Usage(max(0, prompt - cached), count(metrics.get(f"{prefix}completion_tokens")), cached)
