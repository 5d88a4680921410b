"""What a tool call did: files edited or read, steps planned, the work checked.

Owns the names that tools have in the agents whose logs are read. What a check showed is `extract.checks`'.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from oa_compile.extract.checks import judge, kind_of_check
from oa_compile.extract.session import ToolCall, Verification

EDIT_TOOLS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit", "apply_patch"})
RUN_TOOLS = frozenset({"Bash", "shell", "exec_command", "local_shell", "run_command"})
_EDITING = EDIT_TOOLS | RUN_TOOLS  # apply_patch is a program too
READ_TOOLS = frozenset({"Read", "read_file", "view"})
# Where a step's text stands: the list, and the field of its items.
_PLANNING = {"TodoWrite": ("todos", "content"), "update_plan": ("plan", "step")}

_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.M)
OUTPUT_CHARS = 4_000
"""Kept of a check's output, its end: that is where runners say what failed."""


def command_of(call: ToolCall) -> str:
    """The shell command a call ran; empty for a call of another tool."""
    if call.name not in RUN_TOOLS:
        return ""
    for name in ("command", "cmd"):
        value = call.arguments.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            # ``["bash", "-lc", "cargo test"]``: the words stay words.
            return shlex.join(value)
    return ""


def edited_paths(call: ToolCall) -> list[str]:
    """The files a call edited, as it names them."""
    if call.name not in _EDITING:
        return []
    arguments = call.arguments
    if call.name in EDIT_TOOLS:
        for name in ("file_path", "notebook_path", "path"):
            if isinstance(path := arguments.get(name), str):
                return [path]
    paths: list[str] = []
    for name in ("patch", "input", "command", "cmd"):
        value = arguments.get(name)
        text = "\n".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, str) and "*** " in text:
            paths += _PATCHED.findall(text)
    return paths


def read_path(call: ToolCall) -> str | None:
    """The file a call read."""
    if call.name in READ_TOOLS:
        for name in ("file_path", "path"):
            if isinstance(path := call.arguments.get(name), str):
                return path
    return None


class Todo(NamedTuple):
    """One step of a plan the agent wrote down. `state` is ``pending``, ``in_progress`` or ``completed``."""

    text: str
    state: str


def todos(call: ToolCall) -> list[Todo]:
    """The plan a call wrote down, whole, as agents always write it."""
    if call.name not in _PLANNING:
        return []
    name, field = _PLANNING[call.name]
    if not isinstance(items := call.arguments.get(name), list):
        return []
    known = (item for item in items if isinstance(item, dict) and isinstance(item.get(field), str))
    return [Todo(item[field], str(item.get("status") or "pending")) for item in known]


def todo_items(call: ToolCall) -> list[str]:
    """Its steps' texts."""
    return [todo.text for todo in todos(call)]


def verification_of(call: ToolCall) -> Verification | None:
    """The check a call ran and what it showed; None when it ran none, or one that shows nothing."""
    command, result = command_of(call), call.result
    if not command or result is None or kind_of_check(command) is None:
        return None
    output = result.text
    verdict = judge(command, output, is_error=result.is_error, exit_code=result.exit_code)
    if verdict is None:
        return None
    return Verification(command, verdict.passed, output[-OUTPUT_CHARS:], call.line, verdict.kind)
