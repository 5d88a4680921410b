"""Reader of the format that a program's ``[extract.log]`` describes.

Its rules say in JMESPath which lines are what. An expression that does not fit a line (a function given
null, say) gives nothing there, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError

from oa_compile.extract.fields import kept, listed, parts_of, result, text, truth, whole, written
from oa_compile.extract.lines import Line, objects
from oa_compile.extract.records import Finished, Opened, Record, Returned, Tasked
from oa_compile.extract.session import Issue, Message, RuntimeEvent, ToolCall
from oa_compile.extract.strict import BadJson, parse_object
from oa_compile.extract.tally import Tally
from oa_compile.spec.base import SpecModel
from oa_compile.spec.log_format import LogFormatSpec

FORMAT = "mapped"

_HEAD = ("session", "cwd", "agent", "repository", "branch")
_ROLES: Mapping[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "agent": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}

Ask = Callable[[str], Any]
"""The value of one of a rule's expressions, by its name; None where the rule has none."""


def reader_for(spec: LogFormatSpec | None) -> Mapped | None:
    """The reader of the format that is described; None when none is."""
    return None if spec is None else Mapped(spec)


class Mapped:
    """One described format: a `Reader` whose lines are known by their rules' ``when``."""

    FORMAT = FORMAT

    def __init__(self, spec: LogFormatSpec) -> None:
        self._head = {name: _search(getattr(spec, name)) for name in _HEAD}
        self._rules = [(_Rule(rule), take) for name, take in _TAKE.items() for rule in getattr(spec, name)]

    def sniff(self, body: Mapping[str, Any], _raw: bytes) -> bool:
        """Whether a rule is about this line."""
        return bool(body) and any(rule.holds(body) for rule, _ in self._rules)

    def read(self, lines: Iterable[Line], *, tally: Tally) -> Iterator[Record]:
        """What each line says."""
        told: dict[str, str] = {}
        for number, body in objects(lines, tally=tally):
            head = {name: words for name in _HEAD if (words := _word(self._head[name](body, tally)))}
            if head and head.items() - told.items():
                told |= head
                yield Opened(
                    number,
                    id=told.get("session", ""),
                    cwd=head.get("cwd", ""),
                    agent=head.get("agent", ""),
                    repository=head.get("repository", ""),
                    branch=head.get("branch", ""),
                )
            known = False
            for rule, take in self._rules:
                if rule.holds(body, tally):
                    known = True
                    for ask in rule.subjects(body, tally):
                        yield from take(number, ask, tally)
            if not known:
                tally.leave_out("line that no rule is about", number)


class _Rule:
    """One rule, with its expressions compiled."""

    def __init__(self, spec: SpecModel) -> None:
        expressions = {name: getattr(spec, name) for name in type(spec).model_fields}
        self._when = _search(expressions.pop("when"))
        self._each = _search(each) if (each := expressions.pop("each")) else None
        self._ask = {name: _search(expression) for name, expression in expressions.items()}

    def holds(self, body: Mapping[str, Any], tally: Tally | None = None) -> bool:
        """Whether it is about this line."""
        return _is_true(self._when(body, tally))

    def subjects(self, body: Mapping[str, Any], tally: Tally) -> Iterator[Ask]:
        """What its expressions are asked of: the line, or each element of a list in it."""
        for subject in [body] if self._each is None else listed(self._each(body, tally)):
            yield partial(self._of, subject, tally)

    def _of(self, subject: Any, tally: Tally, name: str) -> Any:
        return self._ask[name](subject, tally)


def _message(line: int, ask: Ask, tally: Tally) -> Iterator[Record]:
    role = _ROLES.get(text(ask("role")).lower())
    texts = parts_of(ask("text"), tally=tally)
    if role is None:
        tally.leave_out("message of an unknown role", line)
    elif not texts:
        tally.leave_out("message without content", line)
    else:
        for words in texts:
            yield Message(role, kept(words, tally=tally), f"line {line}", line)


def _call(line: int, ask: Ask, tally: Tally) -> Iterator[Record]:
    call_id, name, arguments = _word(ask("id")), _word(ask("name")), ask("arguments")
    if not call_id or not name:
        tally.leave_out("tool call without id, name or input", line)
    else:
        yield ToolCall(call_id, name, _arguments(arguments), f"line {line}", line)


def _result(line: int, ask: Ask, tally: Tally) -> Iterator[Record]:
    call_id, output, exit_code = _word(ask("call")), ask("text"), whole(ask("exit_code"))
    if not call_id:
        tally.leave_out("tool result without its call", line)
        return
    words = "\n".join(parts_of(output, tally=tally)) or written(output)
    failed = _is_true(ask("error")) or bool(exit_code)
    yield Returned(call_id, result(words, line, is_error=failed, tally=tally, exit_code=exit_code))


def _task(line: int, ask: Ask, tally: Tally) -> Iterator[Record]:
    title, description = _word(ask("title")), text(ask("description"))
    if not title:
        tally.leave_out("task without a title", line)
    else:
        yield Tasked(Issue(_word(ask("key")) or title, title, description, given=True, line=line))


def _finished(line: int, ask: Ask, _tally: Tally) -> Iterator[Record]:
    yield Finished(line, truth(ask("success")))


def _event(line: int, ask: Ask, tally: Tally) -> Iterator[Record]:
    kind, success = _word(ask("type")), truth(ask("success"))
    context, output = ask("context"), ask("output")
    if not kind or not isinstance(context, dict) or not isinstance(output, dict):
        tally.leave_out("event without a type, context or output", line)
    elif success is None:
        tally.leave_out("event without success or output", line)
    else:
        yield RuntimeEvent(kind, success, context, output, line)


_TAKE: Mapping[str, Callable[[int, Ask, Tally], Iterator[Record]]] = {
    "task": _task,
    "message": _message,
    "call": _call,
    "result": _result,
    "event": _event,
    "finished": _finished,
}
"""By rule; a line that several are about says these things in this order."""


def _search(expression: str | None) -> Callable[[Any, Tally | None], Any]:
    """What an expression gives for a value; None where it does not fit the value."""
    if expression is None:
        return lambda _value, _tally: None
    compiled = jmespath.compile(expression)

    def search(value: Any, tally: Tally | None) -> Any:
        try:
            return compiled.search(value)
        except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError):
            if tally is not None:
                tally.count("expressions_that_did_not_fit")
            return None

    return search


def _is_true(value: object) -> bool:
    """As a person means it: JMESPath itself holds 0 to be true."""
    return bool(value)


def _word(value: object) -> str:
    """A name or id: a string, or a whole number."""
    number = whole(value)
    return text(value) if number is None else str(number)


def _arguments(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or not value.strip():
        return {} if value is None or isinstance(value, str) else {"input": value}
    try:
        return parse_object(value.encode("utf-8", "surrogatepass"))
    except BadJson:
        return {"input": value}
