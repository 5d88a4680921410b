"""A validation as JUnit XML, in the form Jenkins' schema (junit-10.xsd) and other CI servers read.

Pure text. Characters that XML 1.0 cannot hold are shown as escapes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from oa_compile.validate import formats
from oa_compile.validate.verdict import Score, Validation

_NOT_XML = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(validation: Validation) -> str:
    """JUnit XML: one testcase a gate, and one named ``judged`` that is an error when the run was not.

    Examples are no testcases: a wrong answer is not a failed test, the gate is, and a CI server would
    count the two alike. What the gates stand on is in the suite's properties and its output.
    """
    missed = sum(not gate.passed for gate in validation.gates)
    counts = {
        "tests": str(len(validation.gates) + 1),
        "failures": str(missed),
        "errors": str(int(bool(validation.unjudged))),
    }
    root = ET.Element("testsuites", {"name": "oacompile validate", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": validation.subject.program, **counts, "skipped": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(validation).items():
        ET.SubElement(properties, "property", {"name": name, "value": _xml(value)})
    classname = f"oacompile.{validation.subject.program}"
    judged = ET.SubElement(suite, "testcase", {"name": "judged", "classname": classname})
    if validation.unjudged:
        _outcome(judged, "error", formats.NOT_JUDGED, validation.sentence)
    for gate in validation.gates:
        case = ET.SubElement(suite, "testcase", {"name": gate.name, "classname": classname})
        if not gate.passed:
            _outcome(case, "failure", gate.code, gate.reason)
        ET.SubElement(case, "system-out").text = _xml(f"{formats.state(gate)}: {gate.reason}")
    ET.SubElement(suite, "system-out").text = _xml("\n".join(formats.text(validation)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _outcome(case: ET.Element, kind: str, code: str, message: str) -> None:
    ET.SubElement(case, kind, {"type": code, "message": _xml(message)}).text = _xml(message)


def _properties(validation: Validation) -> dict[str, str]:
    subject = validation.subject
    named = {
        "artifact": subject.artifact,
        "parent": subject.parent,
        "testset": subject.testset,
        "config": subject.config,
        "outcome": validation.outcome,
        "verdict": validation.verdict,
        "n": str(validation.n),
        "excluded": str(len(validation.evidence.excluded)),
        "score_before": _mean(validation.before),
        "score_after": _mean(validation.after),
        "cost_msat": str(validation.evidence.spent.msat),
    }
    return {name: value for name, value in named.items() if value}


def _mean(score: Score | None) -> str:
    return "" if score is None else f"{score.mean:.6g}"


def _xml(text: str) -> str:
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
