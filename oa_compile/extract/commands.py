"""What a tool call did: files edited or read, steps planned, the work checked.

Owns the names that tools have in the agents whose logs are read, and which commands check work. What a check
showed is told by its exit status where the log has it, otherwise by what test runners and compilers print:
behind a pipe (``cargo test | tail``) the status is the pipe's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from oa_compile.extract.session import ToolCall, Verification

EDIT_TOOLS = frozenset({"Edit", "Write", "MultiEdit", "NotebookEdit", "apply_patch"})
RUN_TOOLS = frozenset({"Bash", "shell", "exec_command", "local_shell", "run_command"})
READ_TOOLS = frozenset({"Read", "read_file", "view"})

_PATCHED = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$", re.M)
_CHECKS: tuple[tuple[Literal["test", "build", "lint"], re.Pattern[str]], ...] = (
    (
        "test",
        re.compile(
            r"\b(?:cargo\s+(?:nextest|test)|pytest|python3? -m unittest|tox|go test|(?:npm|pnpm|yarn|bun)(?: run)? test"
            r"|vitest|jest|mvn(?: \S+)* (?:test|verify)|gradlew? (?:\S+ )*test|make (?:\S+ )*test|ctest|rspec|mix test"
            r"|dotnet test|swift test|deno test)\b"
        ),
    ),
    (
        "build",
        re.compile(
            r"\b(?:cargo\s+(?:build|check)|go (?:build|vet)|(?:npm|pnpm|yarn|bun)(?: run)? (?:build|typecheck)|tsc\b"
            r"|make(?: all| build)?(?=\s*(?:$|[|&;2]))|cmake --build|mvn (?:\S+ )*(?:compile|package)|gradlew? (?:\S+ )*build"
            r"|dotnet build|swift build|mypy|pyright)\b"
        ),
    ),
    (
        "lint",
        re.compile(r"\b(?:cargo\s+(?:clippy|fmt)|ruff|eslint|flake8|pylint|golangci-lint|(?:npm|bun)(?: run)? lint)\b"),
    ),
)
_FAILED = re.compile(
    r"^error(?:\[E\d+\])?:|^test result: FAILED|\bFAILED\b.*\d|^FAIL\b|^E  +\w|=+ .*\b[1-9]\d* (?:failed|errors?)\b"
    r"|\b[1-9]\d* (?:failed|failing)\b|error TS\d+|BUILD FAILURE|could not compile|^make: \*\*\*|npm ERR!"
    r"|^(?:Exit code|Process exited with code) [1-9]",
    re.M,
)
_PASSED = re.compile(
    r"^test result: ok|\b[1-9]\d* pass(?:ed|ing)?\b|^ok\s+\S+|^OK\b|Finished `?\w|BUILD SUCCESS|All checks passed"
    r"|no issues found|^Process exited with code 0",
    re.M,
)
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
            return " ".join(value)
    return ""


def edited_paths(call: ToolCall) -> Iterator[str]:
    """The files a call edited, as it names them."""
    if call.name in EDIT_TOOLS:
        for name in ("file_path", "notebook_path", "path"):
            if isinstance(path := call.arguments.get(name), str):
                yield path
                return
    for name in ("patch", "input", "command", "cmd") if call.name in EDIT_TOOLS | RUN_TOOLS else ():
        value = call.arguments.get(name)
        text = "\n".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(text, str) and "*** " in text:
            yield from _PATCHED.findall(text)


def read_path(call: ToolCall) -> str | None:
    """The file a call read."""
    if call.name in READ_TOOLS:
        for name in ("file_path", "path"):
            if isinstance(path := call.arguments.get(name), str):
                return path
    return None


def todo_items(call: ToolCall) -> list[str]:
    """The steps of a plan the agent wrote down."""
    for tool, name, field in (("TodoWrite", "todos", "content"), ("update_plan", "plan", "step")):
        if call.name == tool and isinstance(items := call.arguments.get(name), list):
            return [item[field] for item in items if isinstance(item, dict) and isinstance(item.get(field), str)]
    return []


def kind_of_check(command: str) -> Literal["test", "build", "lint"] | None:
    """What a command checks, if it does."""
    for kind, pattern in _CHECKS:
        if pattern.search(command):
            return kind
    return None


def verification_of(call: ToolCall) -> Verification | None:
    """The check a call ran and what it showed; None when it ran none, or one that shows nothing."""
    command = command_of(call)
    if not command or call.result is None or (kind := kind_of_check(command)) is None:
        return None
    output, result = call.result.text, call.result
    if result.is_error or result.exit_code not in {None, 0} or _FAILED.search(output):
        passed = False
    elif result.exit_code == 0 or _PASSED.search(output) or "|" not in command:
        passed = True
    else:
        return None
    return Verification(command, passed, output[-OUTPUT_CHARS:], call.line, kind)
