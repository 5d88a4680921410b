"""The renderings of a validation: golden files, and what each format must never let through."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oa_compile.spec.config import GateSpec
from oa_compile.validate import formats, github, junit
from oa_compile.validate.evidence import Evidence, Row
from oa_compile.validate.verdict import Validation, judge
from tests.golden.validate import cases

# Of Jenkins' junit-10.xsd: element -> (required attributes, optional attributes, children).
JUNIT = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package", "group", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"},
        {"classname", "time", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}


def with_names(name: str, fault: str) -> Validation:
    rows = (
        Row(f"{name}x", 1.0, 0.0),
        *(Row(f"#{i}", 1.0, 1.0) for i in range(20)),
        Row("lost", None, None, fault),
    )
    return judge(Evidence(rows, cases.RATE), subject=cases.subject(), gates=GateSpec(min_gain=0.0))


@pytest.mark.parametrize("name", list(cases.CASES))
def test_golden(name):
    rendered = cases.render(cases.CASES[name]())
    kept = {
        path.name.removeprefix(f"{name}."): path.read_text(encoding="utf-8")
        for path in cases.FOLDER.glob(f"{name}.*")
    }
    assert rendered == kept, "if the change is meant: python -m tests.golden.validate.cases"


def check_junit(element: ET.Element) -> None:
    required, optional, children = JUNIT[element.tag]
    assert required <= set(element.attrib) <= required | optional
    for child in element:
        assert child.tag in children
        check_junit(child)


@pytest.mark.parametrize("name", list(cases.CASES))
def test_junit_holds_to_the_common_schema_and_counts_right(name):
    validation = cases.CASES[name]()
    root = ET.fromstring(junit.document(validation))
    check_junit(root)
    suite = root.find("testsuite")
    assert suite is not None
    for where in (root, suite):
        assert where.get("tests") == str(len(suite.findall("testcase")))
        assert where.get("failures") == str(len(suite.findall("testcase/failure")))
        assert where.get("errors") == str(len(suite.findall("testcase/error")))
    red = where.get("failures") != "0" or where.get("errors") != "0"
    assert red is not validation.passed
    assert next(child.tag for child in suite) == "properties"


@example("\uffff", "\ufffe")
@given(st.text(), st.text(min_size=1))
def test_junit_parses_whatever_the_names_hold(name, fault):
    check_junit(ET.fromstring(junit.document(with_names(name, fault)).encode()))


@given(st.text(), st.text(min_size=1))
def test_json_carries_names_unchanged(name, fault):
    value = json.loads(json.dumps(formats.as_json(with_names(name, fault))))
    assert value["examples"][0]["id"] == f"{name}x"
    assert value["excluded"] == [{"id": "lost", "fault": fault}]


@given(st.text(), st.text(min_size=1))
def test_no_control_character_reaches_a_terminal(name, fault):
    for line in formats.text(with_names(name, fault)):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", line)
        line.encode()


@given(st.text(), st.text(), st.text())
def test_no_text_starts_a_workflow_command_or_a_property(title, filename, message):
    line = github.annotation("error", {"title": title, "file": filename}, message)
    assert not re.search(r"[\r\n]", line)
    head, _, body = line.removeprefix("::error ").partition("::")
    named = dict(pair.split("=", 1) for pair in head.split(","))
    assert list(named) == ["title", "file"]

    def decoded(text: str) -> str:
        for escaped, plain in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            text = text.replace(escaped, plain)
        return text

    assert decoded(named["title"]) == title
    assert decoded(named["file"]) == filename
    assert body == message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


@given(st.text(), st.text(min_size=1))
def test_no_markup_reaches_the_summary(name, fault):
    summary = github.summary(with_names(name, fault))
    markup = re.sub(r"</?(details|summary)>", "", summary)
    assert "<" not in markup
    assert len(summary.splitlines()) == len(github.summary(with_names("a", "b")).splitlines())


def test_annotations_point_into_the_config():
    lines = github.commands(cases.missed(), where=cases.WHERE)
    assert lines[0].startswith("::error title=oacompile (OAC202),file=configs/ci.toml,line=32,col=1::")
    assert [line.split(" ")[0] for line in lines] == [
        "::error",
        "::error",
        "::warning",
        "::warning",
        "::notice",
    ]


def test_what_could_not_be_judged_is_an_error_and_no_verdict():
    (line,) = github.commands(cases.not_judged())
    assert line.startswith("::error title=oacompile (OAC205)::could not be judged")


def test_diagnostics_have_ruffs_keys():
    found = formats.as_json(cases.missed(), where=cases.WHERE)["diagnostics"][0]
    assert list(found) == [
        "code",
        "name",
        "severity",
        "message",
        "filename",
        "location",
        "end_location",
        "url",
        "hint",
    ]
    assert found["location"] == {"row": 32, "column": 1}


def test_long_lists_are_cut_for_people_and_whole_in_json():
    rows = tuple(Row(f"e{i}", 1.0, 0.0) for i in range(50))
    found = judge(Evidence(rows, cases.RATE), subject=cases.subject(), gates=GateSpec())
    assert any("e19 and 30 more" in line for line in formats.text(found))
    assert "- and 30 more" in github.summary(found)
    assert len(formats.as_json(found)["examples"]) == 50


def test_tables_say_what_a_gate_demands():
    def demanded(gates: GateSpec) -> list[str]:
        rows = tuple(Row(f"e{i}", 0.0, 1.0) for i in range(9))
        found = judge(Evidence(rows, cases.RATE), subject=cases.subject(), gates=gates)
        return [row[3] for row in formats.gate_table(found).rows]

    assert demanded(GateSpec(min_score=0.5, min_gain=0.02, max_cost_per_call=7)) == [
        "at least 50.0 %",
        "at least +2.0 points, p < 0.05",
        "at most 7 msat",
    ]
    assert demanded(GateSpec(min_gain=-0.05)) == ["above -5.0 points at level 0.05"]
