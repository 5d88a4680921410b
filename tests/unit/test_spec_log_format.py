"""``[extract.log]``: what is no expression is told with its place, before any log is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from oa_compile.errors import SpecError
from oa_compile.spec.jmes_path import JmesPath
from oa_compile.spec.load import load_program

PATH: TypeAdapter[str] = TypeAdapter(JmesPath)


@pytest.mark.parametrize(
    "expression",
    [
        "kind == 'say'",
        "a.b[0] || c",
        "contains(a.b, 'x') && !c",
        "a[?b=='c'].d | [0]",
        "merge(a, b, c)",
        "sort_by(a, &b)",
        "{a: b, c: [d, `1`]}",
        "@",
    ],
)
def test_an_expression_stays_as_it_was_written(expression: str) -> None:
    assert PATH.validate_python(expression) == expression


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("a ==", "it ends too early"),
        ("a[", "it ends too early"),
        ("a b", "it breaks at column 3"),
        ("a = b", "at column 3"),
        ("'x", "Unclosed ' delimiter at column 1"),
        ("foo(a)", "there is no function `foo`"),
        ("a.b[?foo(@)]", "there is no function `foo`"),
        ("length(a, b)", "`length` takes 1 values, not 2"),
        ("join(',')", "`join` takes 2 values, not 1"),
        ("(" * 5_000 + "a", "it is nested too deeply"),
    ],
)
def test_what_is_no_expression_says_why(expression: str, problem: str) -> None:
    with pytest.raises(ValidationError, match="no JMESPath expression") as caught:
        PATH.validate_python(expression)
    assert problem in caught.value.errors()[0]["msg"]


PROGRAM = """\
name = "triage"
[signature]
instructions = "Say what it is."
inputs = [{ name = "title" }]
outputs = [{ name = "label" }]
[[metrics]]
kind = "exact_match"
field = "label"
"""


def told(folder: Path, log: str) -> list[tuple[int, str]]:
    """Row and message of each thing wrong with a program with this log format."""
    path = folder / "program.toml"
    path.write_text(PROGRAM + log, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_program(path)
    assert all(d.filename == str(path) for d in caught.value.diagnostics)
    return [(d.row, d.message) for d in caught.value.diagnostics]


def test_a_bad_expression_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    log = """\
[extract.log]
session = "run.id"
[[extract.log.message]]
when = "kind == 'say'"
role = "who"
text = "body."
[[extract.log.message]]
when = "knd(a)"
role = "who"
text = "body"
"""
    assert told(tmp_path, log) == [
        (14, "`text` is no JMESPath expression: it ends too early"),
        (16, "`when` is no JMESPath expression: there is no function `knd`"),
    ]


def test_a_format_without_a_rule_or_with_an_unknown_one_is_refused(tmp_path: Path) -> None:
    [(row, message)] = told(tmp_path, '[extract.log]\nsession = "id"\n')
    assert row == 9
    assert message.startswith("a log format needs a rule")
    [(row, message)] = told(tmp_path, '[[extract.log.said]]\nwhen = "a"\n')
    assert "`said` is not a key of [extract.log]" in message


def test_a_good_one_is_part_of_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text(PROGRAM + '[[extract.log.finished]]\nwhen = "end"\n', encoding="utf-8")
    log = load_program(path).spec.extract.log
    assert log is not None
    assert [rule.when for rule in log.finished] == ["end"]
