"""Reader of Codex rollouts: ``{timestamp, type, payload}`` a line, the type being ``session_meta``,
``turn_context``, ``response_item``, ``event_msg`` or ``compacted``.

What the model was told and said are the ``response_item`` lines; of the events, which tell much of it again,
only usage and how a turn ended are read. A file is one thread: the head of the session it was forked from
may be repeated in it. What Codex itself puts into a user's mouth (the environment, the repository's
instructions) is no prompt; a sub-agent's prompt is what its parent wrote to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from oa_compile.extract.fields import count, kept, mapping, parts_of, result, text, truth, whole
from oa_compile.extract.lines import Line, objects
from oa_compile.extract.records import Compacted, Finished, Opened, Record, Returned, Used
from oa_compile.extract.session import Message, Outcome, ToolCall, Usage
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally

FORMAT = "codex"

_TYPES = frozenset({"session_meta", "turn_context", "response_item", "event_msg", "compacted"})
_HOUSEKEEPING_LINES = frozenset({"inter_agent_communication_metadata", "task_complete"})
_NOT_SAID = (
    "<environment_context>",
    "<user_instructions>",
    "<user_shell_command>",
    "<user_action>",
    "<turn_aborted>",
    "<subagent_notification>",
    "<skill>",
    "<INSTRUCTIONS>",
    "# AGENTS.md instructions",
)
_PASSED_OVER = frozenset(
    {
        "compaction",
        "compaction_summary",
        "ghost_snapshot",
        "image_generation_call",
        "other",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""What a provider's own tools did, with no result in the log, and the rollout's housekeeping."""
_EXIT = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d{1,9})$", re.M)
_REFUSED = (
    "apply_patch verification failed",
    "exec_command failed",
    "execution error",
    "failed to parse function arguments",
    "unsupported call",
    "aborted by user",
)


def sniff(body: Mapping[str, Any], _raw: bytes) -> bool:
    """A rollout's line type around a payload."""
    return text(body.get("type")) in _TYPES and isinstance(body.get("payload"), dict)


def read(lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
    """What each line says."""
    rollout = _Rollout(tally)
    for number, body in objects(lines, tally=tally):
        kind, payload = body.get("type"), body.get("payload")
        if not isinstance(kind, str) or kind not in _TYPES | _HOUSEKEEPING_LINES:
            tally.leave_out("unknown line type", number)
        elif not isinstance(payload, dict):
            tally.leave_out("line without a payload", number)
        elif kind == "compacted":
            yield Compacted(number)
        elif kind in _HOUSEKEEPING_LINES:
            tally.count("housekeeping_lines_passed_over")
        else:
            yield from _LINES[kind](rollout, number, payload)


class _Rollout:
    """One rollout while it is read: whose it is."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._session = ""
        self._parents: frozenset[str] = frozenset()
        self._path = ""
        self._told = ("", "")

    def take_session_meta(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        """The head of a session: this one's, or its parent's again."""
        session = text(payload.get("id"))
        if session in self._parents:
            self._tally.count("housekeeping_lines_passed_over")
            return
        spawned = mapping(mapping(mapping(payload.get("source")).get("subagent")).get("thread_spawn"))
        parents = (text(payload.get("forked_from_id")), text(spawned.get("parent_thread_id")))
        self._session, self._parents = session, frozenset(filter(None, parents))
        self._path = text(spawned.get("agent_path")).strip("/")
        maker = " ".join(filter(None, (text(payload.get("originator")), text(payload.get("cli_version")))))
        role = f"sub-agent {text(spawned.get('agent_role')) or self._path}".rstrip() if spawned else ""
        git = mapping(payload.get("git"))
        url = text(git.get("repository_url")).rstrip("/").removesuffix(".git")
        yield Opened(
            line,
            id=session,
            cwd=text(payload.get("cwd")),
            agent=text(payload.get("model")),
            about=", ".join(filter(None, (maker, role))),
            repository=re.split(r"[/:]", url)[-1],
            branch=text(git.get("branch")),
        )

    def take_turn_context(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        """Where a turn runs and with which model; told only when it changed."""
        told = (text(payload.get("cwd")), text(payload.get("model")))
        if told != self._told:
            self._told = told
            yield Opened(line, id=self._session, cwd=told[0], agent=told[1])

    def take_event_msg(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        """Usage, and how a turn ended."""
        kind = text(payload.get("type"))
        if kind == "token_count":
            info = mapping(payload.get("info"))
            last, total = mapping(info.get("last_token_usage")), mapping(info.get("total_token_usage"))
            # The same count is told again when only rate limits changed; the running total tells them apart.
            turn = count(total.get("total_tokens")) or f"line {line}"
            if last:
                yield Used(f"{self._session}:{turn}", _usage(last))
        elif kind in {"task_complete", "turn_complete"}:
            yield Outcome("completed", is_error=False, line=line)
        elif kind == "turn_aborted":
            yield Finished(line, None)
            yield Outcome(text(payload.get("reason")) or "aborted", is_error=True, line=line)
        else:
            self._tally.count("housekeeping_lines_passed_over")

    def take_response_item(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        """One item of what went to the model and came from it."""
        kind = text(payload.get("type"))
        if take := _ITEMS.get(kind):
            yield from take(self, line, payload)
        elif kind == "reasoning":
            self._tally.count("thinking_blocks_passed_over")
        elif kind in _PASSED_OVER:
            self._tally.count("housekeeping_lines_passed_over")
        else:
            self._tally.leave_out("unknown line type", line)

    def _message(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        role = payload.get("role")
        for words in self._words(line, payload):
            if role == "assistant":
                yield self._said("assistant", words, line, payload)
            elif role == "user" and not words.lstrip().startswith(_NOT_SAID):
                yield self._said("user", words, line, payload)
            else:
                yield self._said("system", words, line, payload)

    def _agent_message(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        sender, receiver = (text(payload.get(name)).strip("/") for name in ("author", "recipient"))
        asked = bool(self._path) and receiver == self._path
        role = "assistant" if sender == (self._path or "root") else "user" if asked else "system"
        for words in self._words(line, payload):
            yield self._said(role, words, line, payload)

    def _words(self, line: int, payload: Mapping[str, Any]) -> list[str]:
        if not isinstance(payload.get("content"), str | list):
            self._tally.leave_out("message without content", line)
        return parts_of(payload.get("content"), tally=self._tally)

    def _said(self, role: Any, words: str, line: int, payload: Mapping[str, Any]) -> Message:
        return Message(role, kept(words, tally=self._tally), self._id(line, payload), line)

    def _function_call(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        yield from self._call(line, payload, text(payload.get("name")), _arguments(payload.get("arguments")))

    def _custom_tool_call(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        yield from self._call(line, payload, text(payload.get("name")), {"input": text(payload.get("input"))})

    def _local_shell_call(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        action = mapping(payload.get("action"))
        arguments = {name: action[name] for name in ("command", "working_directory") if name in action}
        yield from self._call(line, payload, "local_shell", arguments)

    def _call(
        self, line: int, payload: Mapping[str, Any], name: str, arguments: dict[str, Any] | None
    ) -> Iterator[Record]:
        call_id = text(payload.get("call_id")) or text(payload.get("id"))
        if not call_id or not name or arguments is None:
            self._tally.leave_out("tool call without id, name or input", line)
        else:
            yield ToolCall(call_id, name, arguments, self._id(line, payload), line)

    def _output(self, line: int, payload: Mapping[str, Any]) -> Iterator[Record]:
        call_id = text(payload.get("call_id"))
        if not call_id:
            self._tally.leave_out("tool result without its call", line)
            return
        output = payload.get("output")
        success, exit_code = None, None
        if isinstance(output, dict):
            success, output = truth(output.get("success")), output.get("content")
        words = "\n".join(parts_of(output, tally=self._tally))
        if words.startswith("{"):
            words, exit_code = _unwrapped(words)
        elif match := _EXIT.search(f"\n{words}".partition("\nOutput:")[0]):
            exit_code = int(match[1])
        is_error = bool(exit_code) or success is False or words.startswith(_REFUSED)
        yield Returned(
            call_id, result(words, line, is_error=is_error, tally=self._tally, exit_code=exit_code)
        )

    def _id(self, line: int, payload: Mapping[str, Any]) -> str:
        return text(payload.get("id")) or f"{self._session}:{line}"


_Take = Callable[[_Rollout, int, Mapping[str, Any]], Iterator[Record]]
_LINES: Mapping[str, _Take] = {
    "session_meta": _Rollout.take_session_meta,
    "turn_context": _Rollout.take_turn_context,
    "event_msg": _Rollout.take_event_msg,
    "response_item": _Rollout.take_response_item,
}
_ITEMS: Mapping[str, _Take] = {
    "message": _Rollout._message,
    "agent_message": _Rollout._agent_message,
    "function_call": _Rollout._function_call,
    "custom_tool_call": _Rollout._custom_tool_call,
    "local_shell_call": _Rollout._local_shell_call,
    "function_call_output": _Rollout._output,
    "custom_tool_call_output": _Rollout._output,
    "local_shell_call_output": _Rollout._output,
}


def _arguments(value: object) -> dict[str, Any] | None:
    """A call's arguments, written as JSON in a string; what is none is the tool's one free input."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        return None
    try:
        return parse_object(value.encode())
    except BadJson as error:
        return {} if str(error) == "blank line" else {"input": value}


def _unwrapped(words: str) -> tuple[str, int | None]:
    """The output and exit code in ``{"output": …, "metadata": {"exit_code": …}}``; else the text as it is."""
    try:
        body = parse_object(words.encode())
    except BadJson:
        return words, None
    if not isinstance(body.get("output"), str):
        return words, None
    return body["output"], whole(mapping(body.get("metadata")).get("exit_code"))


def _usage(tokens: Mapping[str, Any]) -> Usage:
    cached = count(tokens.get("cached_input_tokens"))
    return Usage(
        max(0, count(tokens.get("input_tokens")) - cached), count(tokens.get("output_tokens")), cached
    )
