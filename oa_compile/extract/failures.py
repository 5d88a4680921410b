"""Failed tries: what an agent tried in vain, waiting for what then worked.

Owns which later call a try belongs to: one of the same tool, or on the same file or command, a few calls on.
A call the user refused is no failed try: it says nothing of the call.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from oa_compile.extract.checks import check_name
from oa_compile.extract.commands import command_of, edited_paths, read_path
from oa_compile.extract.context import brief_arguments, on_one_line, plain
from oa_compile.extract.session import ToolCall

Failures = Literal["leave_out", "feedback", "negatives"]

REACH = 6
"""Calls after which a try is no longer waited for."""

_ERROR_CHARS = 300
_REFUSED = ("The user doesn't want", "[Request interrupted", "User rejected", "The user rejected")


class Attempt(NamedTuple):
    """What a call is worth as an example: `reason` says why it is none. `answered` are the failed tries
    that it answers, `feedback` tells of them, or of the call itself where it is a negative.
    """

    reason: str | None
    answered: list[ToolCall]
    feedback: str = ""
    negative: bool = False


class FailedTries:
    """The tries of one thread nobody has answered yet; told of its calls in order."""

    def __init__(self, treated: Failures) -> None:
        self._treated = treated
        self._tries: list[tuple[int, ToolCall]] = []
        self._taken = 0

    def take(self, call: ToolCall) -> Attempt:
        """One call. One that failed begins to wait for what answers it."""
        self._taken += 1
        if self._tries:
            self._tries = [(at, one) for at, one in self._tries if self._taken - at <= REACH]
        if call.result is None:
            return Attempt("call without a result", [])
        if call.worked:
            answered = self._answered(call) if self._tries else []
            return Attempt(None, answered, why(answered) if self._treated == "feedback" else "")
        if not failed(call):
            return Attempt("call failed", [])
        self._tries.append((self._taken, call))
        if self._treated == "negatives":
            return Attempt(None, [], why([call]), negative=True)
        return Attempt("call failed", [])

    def forget(self) -> None:
        """Another task begins."""
        self._tries.clear()

    def _answered(self, call: ToolCall) -> list[ToolCall]:
        target = _target(call)
        answered = [one for _, one in self._tries if one.name == call.name or _target(one) == target]
        self._tries = [(at, one) for at, one in self._tries if one not in answered]
        return answered


def failed(call: ToolCall) -> bool:
    """Whether a call was made and went wrong."""
    return call.result is not None and call.result.is_error and not call.result.text.startswith(_REFUSED)


def why(tries: list[ToolCall]) -> str:
    """What was tried and how it failed, one line a try."""
    return "\n".join(
        f"{one.plain_name} {brief_arguments(one.arguments.items())} was tried and failed: "
        f"{on_one_line(plain(one.result.text), _ERROR_CHARS)}"
        for one in tries
        if one.result is not None
    )


def _target(call: ToolCall) -> str:
    """What a call is about: a file, a check, a program."""
    if command := command_of(call):
        return check_name(command) or command.split(maxsplit=1)[0]
    path = read_path(call) or next(iter(edited_paths(call)), None) or call.arguments.get("path")
    return path if isinstance(path, str) else call.id
