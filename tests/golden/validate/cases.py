"""Validations whose every rendering is kept beside this file, and the writer of those files.

After a change that is meant: ``python -m tests.golden.validate.cases``, then read the difference.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from oa_compile.digest import digest_bytes
from oa_compile.errors import LaneError
from oa_compile.money import Rate
from oa_compile.spec.config import GateSpec
from oa_compile.validate import attestation, formats, github, junit
from oa_compile.validate.evidence import Cost, Evidence, Row
from oa_compile.validate.verdict import Subject, Validation, judge

FOLDER = Path(__file__).parent
RATE = Rate(Decimal(100_000))
WHERE = {
    "min_score": formats.Location("configs/ci.toml", 31, 1),
    "min_gain": formats.Location("configs/ci.toml", 32, 1),
}
HOSTILE = "a|b<script>\x1b[31m\u202e\n::error::%0A`*x*`, ]]>&\x00"


def subject(*, parent: bool = True) -> Subject:
    return Subject(
        program="tool-selection",
        artifact=digest_bytes(b"artifact"),
        testset=digest_bytes(b"testset"),
        config=digest_bytes(b"config"),
        metric=digest_bytes(b"metric"),
        parent=digest_bytes(b"parent") if parent else "",
    )


def binary_rows(*, fixed: int, broken: int, right: int, wrong: int) -> tuple[Row, ...]:
    kinds = [(0.0, 1.0)] * fixed + [(1.0, 0.0)] * broken + [(1.0, 1.0)] * right + [(0.0, 0.0)] * wrong
    return tuple(Row(f"ex-{i:03d}", before, after) for i, (before, after) in enumerate(kinds))


def better() -> Validation:
    evidence = Evidence(
        binary_rows(fixed=41, broken=12, right=80, wrong=27),
        RATE,
        artifact_cost=Cost(160, 40_000),
        spent=Cost(300, 72_000, saved=20),
    )
    gates = GateSpec(min_score=0.5, min_gain=0.0, max_cost_per_call="250msat")
    return judge(evidence, subject=subject(), gates=gates)


def missed() -> Validation:
    graded = [
        (0.5, 0.75),
        (0.25, 0.25),
        (1.0, 0.5),
        (0.75, 1.0),
        (0.5, 0.5),
        (0.25, 0.5),
        (1.0, 1.0),
        (0.5, 0.0),
    ]
    rows = [Row(f"g-{i}", before, after) for i, (before, after) in enumerate(graded)]
    rows.append(Row(HOSTILE, 0.75, 0.25))
    rows.append(Row("lost-1", None, None, "timeout: no answer\nwithin 60 s"))
    evidence = Evidence(tuple(rows), RATE, artifact_cost=Cost(9, 100), spent=Cost(20, 123_456_789))
    gates = GateSpec(min_score=0.5, min_gain=0.1, max_cost_per_call="11msat")
    return judge(evidence, subject=subject(), gates=gates)


def no_parent() -> Validation:
    rows = tuple(Row(f"n-{i}", None, float(i % 4 > 0)) for i in range(40))
    return judge(Evidence(rows, RATE), subject=subject(parent=False), gates=GateSpec())


def not_judged() -> Validation:
    rows = (*binary_rows(fixed=3, broken=0, right=3, wrong=0), Row("down-1", None, None, "rate_limited"))
    return judge(
        Evidence((*rows, Row("down-2", 1.0, None, "auth: no key")), RATE),
        subject=subject(),
        gates=GateSpec(min_gain=0.0),
    )


CASES = {"better": better, "missed": missed, "no_parent": no_parent, "not_judged": not_judged}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def render(validation: Validation) -> dict[str, str]:
    """File suffix -> text, of every format."""
    rendered = {
        "txt": "\n".join(formats.text(validation)) + "\n",
        "json": _json(formats.as_json(validation, where=WHERE)),
        "github": "\n".join(github.commands(validation, where=WHERE)) + "\n",
        "md": github.summary(validation),
        "xml": junit.document(validation),
    }
    try:
        rendered["intoto.json"] = _json(attestation.statement(validation, url="https://ci.example/runs/7"))
    except LaneError as error:
        rendered["intoto.refused"] = f"{error.message}\n"
    return rendered


def write() -> None:
    for name, build in CASES.items():
        for suffix, text in render(build()).items():
            (FOLDER / f"{name}.{suffix}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
