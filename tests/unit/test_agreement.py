"""When two answers are the same: by type, by text, by likeness, by the program's own word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.redundancy_sim import Case, figures
from oa_compile.errors import SpecError, UsageError
from oa_compile.lanes.engine import RunLM
from oa_compile.signatures.build import program_files, python_files
from oa_compile.spec.config import Config
from oa_compile.spec.program import ProgramSpec
from oa_compile.validate.agreement import Equality, compared_fields, equality, likeness


def spec_of(agreement: dict[str, Any] | None = None, *outputs: dict[str, Any], **more: Any) -> ProgramSpec:
    body = {
        "name": "demo",
        "signature": {
            "instructions": "Answer.",
            "inputs": [{"name": "question"}],
            "outputs": list(outputs) or [{"name": "answer"}],
        },
        "metrics": [{"kind": "exact_match", "field": "answer"}],
        "agreement": agreement or {},
    }
    return ProgramSpec.model_validate(body | more)


def none() -> RunLM:
    raise AssertionError("nobody is to be asked")


def same_by(agreement: dict[str, Any], *outputs: dict[str, Any], folder: Path = Path()) -> Equality:
    return equality(spec_of(agreement, *outputs), folder, verifier=none)


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("str", "Yes, it is.", "yes it is", True),
        ("str", "yes", "no", False),
        ("int", 4, 4, True),
        ("int", 4, 5, False),
        ("bool", True, True, True),
        ("bool", True, False, False),
        ("list[str]", ["A.", "b"], ["a", "B"], True),
        ("list[str]", ["a"], ["a", "b"], False),
        ("list[int]", [1, 2], [2, 1], False),
    ],
)
def test_fields_are_compared_by_their_type(kind: str, one: Any, other: Any, same: bool) -> None:
    equal = same_by({}, {"name": "answer", "type": kind})
    assert equal({"answer": one}, {"answer": other}) is same
    assert equal({"answer": other}, {"answer": one}) is same


def test_only_the_named_fields_count() -> None:
    outputs = ({"name": "answer"}, {"name": "why"})
    one, other = {"answer": "a", "why": "x"}, {"answer": "a", "why": "y"}
    assert not same_by({}, *outputs)(one, other)
    assert same_by({"fields": ["answer"]}, *outputs)(one, other)


def test_reasoning_that_is_no_output_does_not_count() -> None:
    assert same_by({})({"answer": "a", "reasoning": "x"}, {"answer": "a", "reasoning": "y"})


def test_likeness_has_a_threshold() -> None:
    one, other = (
        {"answer": "run the unit tests and then commit"},
        {"answer": "Run the tests, and then commit."},
    )
    assert same_by({"kind": "similarity", "threshold": 0.8})(one, other)
    assert not same_by({"kind": "similarity", "threshold": 0.97})(one, other)


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_symmetric_bounded_and_reflexive(one: str, other: str) -> None:
    assert likeness(one, other) == likeness(other, one)
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, one) == 1


def test_the_programs_own_equality(tmp_path: Path) -> None:
    (tmp_path / "agree.py").write_text(
        "def same(one, other):\n    return set(one['answer']) == set(other['answer'])\n"
        "def odd(one, other):\n    return 1\ndef bad(one, other):\n    return one['gone']\n"
    )
    equal = same_by({"kind": "python", "target": "agree.py:same"}, folder=tmp_path)
    assert equal({"answer": "ab"}, {"answer": "ba"})
    for name in ("odd", "bad"):
        broken = same_by({"kind": "python", "target": f"agree.py:{name}"}, folder=tmp_path)
        with pytest.raises(SpecError, match=rf"agree\.py: agree\.py:{name} r"):
            broken({"answer": "a"}, {"answer": "b"})


def test_what_a_spec_names_travels_with_it() -> None:
    """Into the run's snapshot and its bundle."""
    spec = spec_of(
        {"kind": "python", "target": "agree.py:same"}, refine={"rollouts": 2, "reward": "r.py:good"}
    )
    assert python_files(spec) == program_files(spec) == ("agree.py", "r.py")


def test_a_program_in_python_agrees_on_what_its_metrics_read() -> None:
    module = {"kind": "python", "target": "program.py:P"}
    spec = spec_of(signature=None, module=module)
    assert compared_fields(spec) == ("answer",)
    metrics = [{"kind": "python", "target": "m.py:f"}]
    with pytest.raises(UsageError, match="which outputs must agree"):
        compared_fields(spec_of(signature=None, module=module, metrics=metrics))


@pytest.mark.parametrize(
    ("agreement", "message"),
    [
        ({"fields": ["nothing"]}, "agreement is over `nothing`"),
        ({"kind": "python"}, "goes with kind"),
        ({"target": "a.py:b"}, "goes with kind"),
    ],
)
def test_what_makes_no_sense_is_refused(agreement: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(agreement)


def test_in_simulation_one_or_two_independent_liars_get_nothing_through() -> None:
    for liars in (1, 2):
        found = figures(Case(liars, together=False, skill=1.0), examples=300, seed=liars)
        assert found["alone"] > 0.1
        assert found["taken"] == found["escalated"] == 0
    together = figures(Case(3, together=True, skill=1.0), examples=300, seed=3)
    assert together["taken"] == 1


@pytest.mark.parametrize(
    ("redundancy", "verify", "message"),
    [
        ({"of": 5, "agree": 2}, True, "more than half"),
        ({"of": 3, "agree": 4}, True, "no more than it"),
        ({"of": 5, "agree": 3}, False, r"needs a \[stages\.verify\]"),
    ],
)
def test_a_panel_needs_a_majority_and_somebody_behind_it(
    redundancy: dict[str, Any], verify: bool, message: str
) -> None:
    stages: dict[str, Any] = {"compile": {"task": "a"}, "validate": {"task": "a", "redundancy": redundancy}}
    if verify:
        stages["verify"] = {"task": "a"}
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"lanes": {"a": {"kind": "embedded"}}, "stages": stages})
