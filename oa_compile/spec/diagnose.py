"""From what a model refuses to what a person can act on: code, place, plain sentence, hint.

Owns the codes and the wording. Where the bytes stand is `source`'s matter, what the models know is
`shape`'s.

======  =================  ==============================================================
code    name               meaning
======  =================  ==============================================================
OAC001  unreadable-file    missing, a folder, not permitted, empty or too large
OAC002  bad-encoding       not UTF-8, or with a byte order mark
OAC003  toml-syntax        not TOML
OAC101  unknown-key        a key this table does not have
OAC102  missing-key        a key this table needs
OAC103  wrong-type         a string where an integer belongs, and the like
OAC104  unknown-value      not one of the listed words
OAC105  out-of-range       a number too small or too large, or not finite
OAC106  bad-form           a text or array of the wrong form or length
OAC107  inconsistent       each value holds, together they do not
======  =================  ==============================================================

Codes are stable: a meaning may get a new code, a code never a new meaning. 2xx belong to gates.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from oa_compile.errors import Diagnostic
from oa_compile.spec import shape
from oa_compile.spec.base import MisfitError
from oa_compile.spec.positions import Path, Place, Span


class Code(StrEnum):
    """Every code; its short name is the member's name."""

    UNREADABLE_FILE = "OAC001"
    BAD_ENCODING = "OAC002"
    TOML_SYNTAX = "OAC003"
    UNKNOWN_KEY = "OAC101"
    MISSING_KEY = "OAC102"
    WRONG_TYPE = "OAC103"
    UNKNOWN_VALUE = "OAC104"
    OUT_OF_RANGE = "OAC105"
    BAD_FORM = "OAC106"
    INCONSISTENT = "OAC107"

    @property
    def short_name(self) -> str:
        """``unknown-key``."""
        return self.name.lower().replace("_", "-")


class Located(NamedTuple):
    """A file and a place in it; `found` is False when only what surrounds the path is there."""

    filename: str
    place: Place
    found: bool = True


Locate = Callable[[Path], Located]


class _Finding(NamedTuple):
    code: Code
    path: Path
    message: str
    hint: str = ""
    on_key: bool = False
    meant: str = ""
    """The key that an unknown one is probably a misspelling of."""


_FORMS = {
    r"^[a-z_][a-z0-9_]*$": "lower-case letters, digits and underscores",
    r"^[a-z0-9]+(-[a-z0-9]+)*$": "lower-case letters and digits, with single hyphens between",
    r"^[\w.\[\]]+$": "a predictor's name, or its name with .instruction or .demos",
}

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}

_TOML_WORDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "a boolean"),
    (str, "a string"),
    (int, "an integer"),
    (float, "a float"),
    ((list, tuple), "an array"),
    (dict, "a table"),
    ((datetime.date, datetime.time), "a date or time"),
)


def make(code: Code, message: str, *, filename: str, span: Span | None = None, hint: str = "") -> Diagnostic:
    """A diagnostic of `code` at `span`, or at the top of the file."""
    where = span or Span(1, 1, 1, 1)
    return Diagnostic(code, code.short_name, message, filename, *where, hint=hint)


def diagnose(error: ValidationError, model: type[BaseModel], locate: Locate) -> tuple[Diagnostic, ...]:
    """Every problem pydantic found, once each, in the order of files, rows and columns."""
    findings: dict[tuple[Code, Path], _Finding] = {}
    for problem in error.errors(include_url=False):
        finding = _read(dict(problem), model)
        if not _follows_from_others(dict(problem)):
            findings.setdefault((finding.code, finding.path), finding)
    misspelt = {(*f.path[:-1], f.meant) for f in findings.values() if f.meant}
    diagnostics = []
    for finding in findings.values():
        if finding.code is Code.MISSING_KEY and finding.path in misspelt:
            continue
        located = locate(finding.path)
        span = located.place.key if finding.on_key or not located.found else located.place.value
        diagnostics.append(
            make(finding.code, finding.message, filename=located.filename, span=span, hint=finding.hint)
        )
    return tuple(sorted(diagnostics, key=lambda d: (d.filename, d.row, d.column, d.code)))


def nearest(word: str, options: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The option that `word` is most like, or nothing. Case and hyphens do not count."""
    plain = {option.lower().replace("-", "_"): option for option in options}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=cutoff)
    return plain[near[0]] if near else ""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """``did you mean `x`?``, or nothing when no option is near."""
    near = nearest(word, options)
    return f"did you mean `{near}`?" if near else ""


def dotted(path: Path) -> str:
    """``metrics[0].kind``; nothing for the top of a file."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.lstrip(".")


def toml_word(value: object) -> str:
    """The TOML type of a value, with its article."""
    return next((word for kinds, word in _TOML_WORDS if isinstance(value, kinds)), "something else")


def _read(problem: dict[str, Any], model: type[BaseModel]) -> _Finding:
    kind, value, context = str(problem["type"]), problem["input"], problem.get("ctx", {})
    at = shape.follow(model, tuple(problem["loc"]))
    path, name = at.path, f"`{dotted(at.path[-1:])}`" if at.path else "the file"
    if kind == "extra_forbidden" or (at.is_key and kind == "literal_error"):
        return _unknown_key(at, model)
    if kind in {"missing", "union_tag_not_found"}:
        path = path if kind == "missing" else (*path, "kind")
        options = shape.words(at.annotation)
        hint = f"one of: {', '.join(map(str, options))}" if options else _example(path, at.annotation)
        return _Finding(Code.MISSING_KEY, path, f"{_table(path[:-1])} needs `{path[-1]}`", hint)
    if kind in {"literal_error", "union_tag_invalid"}:
        if kind == "union_tag_invalid":
            path, value = (*path, "kind"), context["tag"]
        return _unknown_value(path, value, shape.words(at.annotation))
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return _Finding(Code.OUT_OF_RANGE, path, f"{name} must be {words} {context[bound]:g}, got {value}")
    if kind == "finite_number":
        return _Finding(Code.OUT_OF_RANGE, path, f"{name} must be a finite number, got {value}")
    if kind == "value_error":
        return _inconsistent(at, context["error"], name)
    if (form := _form(kind, context)) is not None:
        return _Finding(Code.BAD_FORM, path, f"{name} {form}", on_key=at.is_key)
    return _Finding(
        Code.WRONG_TYPE, path, f"{name} must be {shape.expectation(at.annotation)}, not {toml_word(value)}"
    )


def _follows_from_others(problem: dict[str, Any]) -> bool:
    """pydantic counts only the elements that hold, and so calls an array with bad ones too short."""
    if problem["type"] != "too_short":
        return False
    return len(problem["input"]) >= int(problem["ctx"]["min_length"])


def _unknown_key(at: shape.Shape, model: type[BaseModel]) -> _Finding:
    path, key = at.path, str(at.path[-1])
    holder = at.owner or shape.follow(model, path[:-1]).annotation
    known = shape.keys(holder)
    tables = shape.homes(model, key)
    meant = nearest(key, known, cutoff=0.6 if not tables else 0.75)
    if meant:
        hint = f"did you mean `{meant}`?"
    elif tables:
        hint = f"`{key}` belongs under " + " or ".join(f"[{table}]" for table in tables)
    else:
        hint = f"the keys there are: {', '.join(known)}"
    message = f"`{key}` is not a key of {_table(path[:-1])}"
    return _Finding(Code.UNKNOWN_KEY, path, message, hint, on_key=True, meant=meant)


def _unknown_value(path: Path, value: object, options: list[Any]) -> _Finding:
    allowed = ", ".join(map(str, options))
    if path[-1:] == ("schema_version",):
        return _Finding(
            Code.UNKNOWN_VALUE,
            path,
            f"`schema_version` {value} is not known here; this version of oacompile reads {allowed}",
            "use the oacompile version the file was written for",
        )
    near = did_you_mean(str(value), map(str, options))
    hint = f"{near} (one of: {allowed})" if near else f"one of: {allowed}"
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return _Finding(Code.UNKNOWN_VALUE, path, f"`{path[-1]}` cannot be {shown}", hint)


def _inconsistent(at: shape.Shape, error: ValueError, name: str) -> _Finding:
    if isinstance(error, MisfitError):
        path = (*at.path, *error.at)
        word = str(error).split("`")
        hint = did_you_mean(word[-2], error.options) if error.options and len(word) > 2 else ""
        if error.options and not hint:
            hint = f"one of: {', '.join(error.options)}"
        return _Finding(Code.INCONSISTENT, path, str(error), hint)
    if shape.is_table(at.annotation):
        return _Finding(Code.INCONSISTENT, at.path, str(error))
    return _Finding(Code.BAD_FORM, at.path, f"{name} is {error}")


def _form(kind: str, context: dict[str, Any]) -> str | None:
    match kind:
        case "string_pattern_mismatch":
            return f"must be {_FORMS.get(context['pattern'], 'of the form ' + context['pattern'])}"
        case "string_too_short" | "too_short" if context["min_length"] == 1:
            return "must not be empty"
        case "string_too_short":
            return f"must have at least {context['min_length']} characters"
        case "too_short":
            return f"needs at least {context['min_length']} entries, got {context['actual_length']}"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
    return None


def _table(path: Path) -> str:
    if not path:
        return "the file"
    return f"`{dotted(path)}`" if any(isinstance(step, int) for step in path) else f"[{dotted(path)}]"


def _example(path: Path, annotation: Any) -> str:
    """How the missing key could be written, so that the hint can be pasted."""
    if shape.is_array_of_tables(annotation):
        return f"add a table [[{dotted(path)}]]"
    if shape.expectation(annotation) == "a table":
        return f"add a table [{dotted(path)}]"
    return f"add `{path[-1]} = …`, {shape.expectation(annotation)}"
