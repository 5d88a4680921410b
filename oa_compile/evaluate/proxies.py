"""Proxy metrics: what can be said of an answer for free, from the answer alone.

An answer is untrusted: it is looked at in linear time, parsed without being run or built, and gets a score
whatever it holds.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
import warnings
from collections.abc import Callable
from typing import Any

import re2
import yaml

from oa_compile.evaluate.compare import as_text, normalize
from oa_compile.evaluate.rules import Case, Judged, Scorer
from oa_compile.spec.metrics import FormatMetric, KeywordsMetric, Language, LengthMetric, SyntaxMetric

MAX_PARSED = 200_000
"""Characters that are parsed; more than that is nobody's answer, and parsers take their time over it."""

_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\n(?P<body>.*?)\n?```\s*", re.DOTALL)


def format_scorer(spec: FormatMetric) -> Scorer:
    """Whether all of the output matches. Raises ValueError when the pattern is none of RE2's."""
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(spec.pattern, options)
    except re2.error as error:
        raise ValueError(f"`pattern` is not a regular expression of RE2: {error}") from error

    def score(case: Case) -> Judged:
        text = as_text(case.pred[spec.field])
        if pattern.fullmatch(text):
            return Judged(1.0)
        return Judged(0.0, f"`{spec.field}` is not of the form {spec.pattern}." if not spec.feedback else "")

    return score


def keywords_scorer(spec: KeywordsMetric) -> Scorer:
    """The share of the demands that are met, each word a demand but for `some`, which is one."""

    def score(case: Case) -> Judged:
        text = f" {normalize(as_text(case.pred[spec.field]))} "

        def has(word: str) -> bool:
            return f" {normalize(word)} " in text

        lacking = [word for word in spec.every if not has(word)]
        unwanted = [word for word in spec.none if has(word)]
        chosen = not spec.some or any(map(has, spec.some))
        demands = len(spec.every) + len(spec.none) + bool(spec.some)
        met = demands - len(lacking) - len(unwanted) - (not chosen)
        said = [f"should hold “{word}”" for word in lacking]
        said += [f"should not hold “{word}”" for word in unwanted]
        said += [] if chosen else ["should hold one of " + ", ".join(f"“{word}”" for word in spec.some)]
        text_of = f"`{spec.field}` {' and '.join(said)}." if said and not spec.feedback else ""
        return Judged(met / demands, text_of)

    return score


def length_scorer(spec: LengthMetric) -> Scorer:
    """1 within the bounds, else the ratio to the nearer one."""
    count: dict[str, Callable[[str], int]] = {
        "characters": len,
        "words": lambda text: len(text.split()),
        "lines": lambda text: len(text.splitlines()),
    }

    def score(case: Case) -> Judged:
        found = count[spec.unit](as_text(case.pred[spec.field]))
        if found < spec.least:
            value, wanted = found / spec.least, f"at least {spec.least}"
        elif spec.most is not None and found > spec.most:
            value, wanted = spec.most / found, f"at most {spec.most}"
        else:
            return Judged(1.0)
        text = f"`{spec.field}` has {found:,} {spec.unit}, and should have {wanted}."
        return Judged(value, "" if spec.feedback else text)

    return score


def syntax_scorer(spec: SyntaxMetric) -> Scorer:
    """Whether the output parses: as it stands, or what its one code fence holds. A value that is no text
    is JSON already.
    """
    parse = _PARSERS[spec.language]

    def score(case: Case) -> Judged:
        value = case.pred[spec.field]
        text = value if isinstance(value, str) else as_text(value)
        fenced = _FENCED.fullmatch(text) if text.count("```") == 2 else None
        text = fenced["body"] if fenced else text
        problem = f"it is longer than {MAX_PARSED:,} characters" if len(text) > MAX_PARSED else parse(text)
        if not problem:
            return Judged(1.0)
        said = f"`{spec.field}` does not parse as {spec.language}: {problem}."
        return Judged(0.0, "" if spec.feedback else said)

    return score


def _problem(parse: Callable[[str], Any], *errors: type[Exception]) -> Callable[[str], str]:
    def find(text: str) -> str:
        try:
            parse(text)
        except errors as error:
            return " ".join(str(error).split())[:200] or type(error).__name__
        except (RecursionError, MemoryError):
            return "it is nested too deeply"
        return ""

    return find


def _python(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in an answer is not our caller's matter
        ast.parse(text)


def _yaml(text: str) -> None:
    for _event in yaml.parse(text, Loader=yaml.SafeLoader):  # events only: aliases are not expanded
        pass


_PARSERS: dict[Language, Callable[[str], str]] = {
    "json": _problem(json.loads, ValueError),
    "python": _problem(_python, SyntaxError, ValueError),
    "toml": _problem(tomllib.loads, tomllib.TOMLDecodeError),
    "yaml": _problem(_yaml, yaml.YAMLError),
}
