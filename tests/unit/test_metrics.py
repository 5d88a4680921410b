"""Metrics: what each kind calls equal, whose fault a zero is, and what a Python metric may do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.dataset import ExampleRecord
from oa_compile.errors import ExitCode, SpecError
from oa_compile.evaluate import compare
from oa_compile.evaluate.feedback import MAX_VALUE, fill
from oa_compile.evaluate.metrics import MetricError, build_metric
from oa_compile.spec.program import ProgramSpec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def metric(folder, *entries, outputs=("answer",)):
    spec = ProgramSpec.model_validate(
        {
            "name": "demo",
            "signature": {
                "instructions": "Answer.",
                "inputs": [{"name": "question"}],
                "outputs": [{"name": name} for name in outputs],
            },
            "metrics": list(entries),
        }
    )
    return build_metric(spec, folder)


def python_metric(folder, source, *, name="score", **more):
    (folder / "metric.py").write_text(source)
    return metric(folder, {"kind": "python", "target": f"metric.py:{name}", **more})


def score(built, gold, pred, **inputs):
    return built.score(inputs=inputs, gold={"answer": gold}, pred={"answer": pred})


@pytest.mark.parametrize(
    ("gold", "pred", "same"),
    [
        ("edit", "edit", True),
        ("edit", "Edit", False),
        ("edit", "edit ", False),
        (1, 1.0, True),
        (1, True, False),
        (False, 0, False),
        (4, "4", False),
        ([1, "a"], (1, "a"), True),
        ([1, "a"], ["a", 1], False),
        ([True], [1], False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ({"a": 1}, {"b": 1}, False),
        ("", "", True),
    ],
)
def test_exact_match_is_typed(gold, pred, same):
    assert compare.exact_match(gold, pred) == float(same)


@given(VALUES, VALUES)
def test_exact_match_is_reflexive_and_symmetric(one, other):
    assert compare.exact_match(one, other) == compare.exact_match(other, one)
    assert compare.exact_match(one, one) == 1


@pytest.mark.parametrize(
    ("gold", "pred", "same"),
    [
        ("Hello, World!", "hello   world", True),
        ("ﬁle", "FILE", True),
        ("Straße", "STRASSE", True),
        ("“yes”", "yes.", True),
        ("zero\u200bwidth", "zerowidth", True),
        ("1.5", "15", False),
        ("-5", "5", False),
        (".env", "env", False),
        ("?", "!", False),
        ("?", " ? ", True),
        (4, "4.", True),
        (["A.", "b"], ["a", "B!"], True),
        (["a"], ["a", "b"], False),
    ],
)
def test_normalized_match_forgives_only_form(gold, pred, same):
    assert compare.normalized_match(gold, pred) == float(same)


@given(st.text())
def test_normalizing_twice_changes_nothing(text):
    once = compare.normalize(text)
    assert compare.normalize(once) == once
    assert compare.normalized_match(text, f"  {text}\n") == 1


@pytest.mark.parametrize(
    ("gold", "pred", "expected"),
    [
        (["a", "b"], ["B", "A"], 1.0),
        (["a", "b"], "a, b", 1.0),
        (["a", "b", "c"], "- a\n- b\n- x", 4 / 6),
        ("a; b", ["a"], 2 / 3),
        ([], [], 1.0),
        ([], ["a"], 0.0),
        (["a"], "", 0.0),
        (["a", "a"], ["a"], 1.0),
        ([1, 2], "1, 2", 1.0),
    ],
)
def test_set_f1(gold, pred, expected):
    assert compare.set_f1(gold, pred) == pytest.approx(expected)


@given(st.lists(st.text(), max_size=6), st.lists(st.text(), max_size=6))
def test_set_f1_is_symmetric_and_bounded(one, other):
    found = compare.set_f1(one, other)
    assert found == compare.set_f1(other, one)
    assert 0 <= found <= 1
    assert compare.set_f1(one, one) == 1


@pytest.mark.parametrize(
    ("gold", "pred", "tolerance", "same"),
    [
        (1.0, 1.1, 0.1, True),
        (1.0, 1.11, 0.1, False),
        (1000, "1,000", 0, True),
        (1000, " 1e3 ", 0, True),
        (0.3, 0.1 + 0.2, 0, False),
        (0.3, 0.1 + 0.2, 1e-9, True),
        (3, "three", 0, False),
        (3, "nan", 10, False),
        (3, "1e999999999", 10, False),
        (1, True, 0, False),
        (10**30, 10**30 + 1, 0, False),
        (3, [3], 0, False),
    ],
)
def test_numeric_is_absolute_and_decimal(gold, pred, tolerance, same):
    assert compare.numeric(gold, pred, tolerance=tolerance) == float(same)


@given(VALUES, st.floats(allow_nan=False, allow_infinity=False))
def test_any_prediction_gets_a_number(pred, gold):
    assert compare.numeric(gold, pred) in (0.0, 1.0)
    assert 0 <= compare.contains("word", pred) <= 1


@pytest.mark.parametrize(
    ("gold", "pred", "expected"),
    [
        ("cat", "The Cat, sat.", 1.0),
        ("cat", "category", 0.0),
        (["cat", "dog"], "a cat", 0.5),
        ("a b", ["a", "b"], 0.0),
        ("a b", ["x", "a b"], 1.0),
    ],
)
def test_contains_finds_whole_words(gold, pred, expected):
    assert compare.contains(gold, pred) == expected


def test_the_score_is_the_weighted_mean(tmp_path):
    built = metric(
        tmp_path,
        {"kind": "exact_match", "field": "answer", "weight": 3},
        {"kind": "exact_match", "field": "why", "weight": 1},
        outputs=("answer", "why"),
    )
    found = built.score(inputs={}, gold={"answer": "a", "why": "b"}, pred={"answer": "a", "why": "x"})
    assert found.score == 0.75
    assert [(part.name, part.score, part.weight) for part in found.parts] == [
        ("exact_match(answer)", 1.0, 3.0),
        ("exact_match(why)", 0.0, 1.0),
    ]
    assert found.feedback == "`answer` is right.\n`why` should be b, but is x."


def test_all_right_is_exactly_one(tmp_path):
    entries = [{"kind": "exact_match", "field": "answer", "weight": weight} for weight in (0.1, 0.2, 0.7)]
    assert score(metric(tmp_path, *entries), "a", "a").score == 1.0


@pytest.mark.parametrize("pred", [{}, {"answer": None}])
def test_a_missing_field_is_the_candidates_fault(tmp_path, pred):
    built = metric(tmp_path, {"kind": "exact_match", "field": "answer"})
    found = built.score(inputs={}, gold={"answer": "a"}, pred=pred)
    assert found.score == 0
    assert found.feedback == "`answer` is missing from the answer."


def test_a_missing_gold_value_is_not(tmp_path):
    built = metric(tmp_path, {"kind": "exact_match", "field": "answer"})
    with pytest.raises(MetricError, match=r"exact_match\(answer\).*no gold `answer`") as caught:
        built.score(inputs={}, gold={}, pred={"answer": "a"})
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(("kind", "gold"), [("numeric", "many"), ("contains", "?!"), ("contains", [])])
def test_a_gold_value_that_makes_no_sense_stops(tmp_path, kind, gold):
    with pytest.raises(MetricError, match="gold value"):
        score(metric(tmp_path, {"kind": kind, "field": "answer"}), gold, "a")


def test_feedback_templates_are_filled_once(tmp_path):
    built = metric(
        tmp_path,
        {
            "kind": "exact_match",
            "field": "answer",
            "feedback": "{{{field}}}: want {gold}, got {pred} on\n{inputs}",
        },
    )
    found = score(built, "{pred}", "b", question="{gold}")
    assert found.feedback == "{answer}: want {pred}, got b on\nquestion: {gold}"
    assert score(built, "b", "b").feedback == "`answer` is right."


@pytest.mark.parametrize(
    "template",
    [
        "{gold.__class__}",
        "{gold[0]}",
        "{gold!r}",
        "{gold:>10}",
        "{0}",
        "{}",
        "{other}",
        "{gold",
        "{gold:{pred}}",
    ],
)
def test_templates_that_reach_further_are_refused(tmp_path, template):
    entry = {"kind": "exact_match", "field": "answer", "feedback": template}
    with pytest.raises(SpecError, match=r"program\.toml: metric exact_match\(answer\): feedback"):
        metric(tmp_path, entry)


@given(st.text(), st.text())
def test_values_are_never_read_as_templates(gold, pred):
    assert fill("{gold}|{pred}", {"gold": gold, "pred": pred}) == f"{gold}|{pred}"


NOTED = {"kind": "exact_match", "field": "answer", "feedback": "Not {pred}. {note}"}


def noted(folder, **meta):
    record = ExampleRecord.of({"question": "q"}, outputs={"answer": "a"}, meta=meta)
    return metric(folder, NOTED).with_notes([record])


def test_feedback_tells_what_the_records_meta_notes(tmp_path):
    built = noted(tmp_path, feedback="Edit was tried and failed.")
    assert score(built, "a", "b", question="q").feedback == "Not b. Edit was tried and failed."
    assert score(built, "a", "b", question="another").feedback == "Not b. "


def test_without_a_note_nothing_is_told(tmp_path):
    assert score(noted(tmp_path), "a", "b", question="q").feedback == "Not b. "
    assert score(noted(tmp_path, feedback=7), "a", "b", question="q").feedback == "Not b. "


def test_notes_are_no_part_of_a_metrics_identity(tmp_path):
    assert noted(tmp_path, feedback="x").digest == metric(tmp_path, NOTED).digest


def test_long_values_are_cut_in_feedback(tmp_path):
    found = score(metric(tmp_path, {"kind": "exact_match", "field": "answer"}), "a", "b" * 1_000_000)
    assert len(found.feedback) < MAX_VALUE + 100


def test_partial_scores_are_told(tmp_path):
    found = score(metric(tmp_path, {"kind": "set_f1", "field": "answer"}), ["a", "b"], ["a"])
    assert found.feedback == '`answer` should be ["a", "b"], but is ["a"]. Score 0.67 of 1.'


def test_python_metric_scores_and_feedback(tmp_path):
    source = "def score(inputs, gold, pred):\n    return len(pred['answer']) / 4, inputs['question']\n"
    found = score(python_metric(tmp_path, source), "a", "ab", question="why?")
    assert (found.score, found.feedback) == (0.5, "why?")
    assert found.parts[0].name == "metric.py:score"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [("True", 1.0), ("0", 0.0), ("0.1 * 3 + 0.7", 1.0), ("__import__('numpy').float32(0.5)", 0.5)],
)
def test_python_metric_may_return_any_real_number(tmp_path, returned, expected):
    found = score(
        python_metric(tmp_path, f"def score(inputs, gold, pred):\n    return {returned}\n"), "a", "b"
    )
    assert found.score == expected


@pytest.mark.parametrize(
    "returned",
    [
        "1.5",
        "-0.1",
        "float('nan')",
        "float('inf')",
        "None",
        "'1'",
        "[1]",
        "(1,)",
        "(1, 2)",
        "(1, 'a', 'b')",
        "1j",
    ],
)
def test_a_bad_score_is_an_error_and_not_a_zero(tmp_path, returned):
    built = python_metric(tmp_path, f"def score(inputs, gold, pred):\n    return {returned}\n")
    with pytest.raises(MetricError, match=r"metric\.py:score"):
        score(built, "a", "b")


def test_an_exception_in_a_metric_is_an_error_and_not_a_zero(tmp_path):
    built = python_metric(tmp_path, "def score(inputs, gold, pred):\n    return 1 / 0\n")
    with pytest.raises(MetricError, match=r"metric\.py:score raised ZeroDivisionError"):
        score(built, "a", "b")


def test_a_metric_cannot_change_what_it_is_given(tmp_path):
    source = "def score(inputs, gold, pred):\n    gold['answer'].clear(); pred.clear(); return 1\n"
    gold, pred = {"answer": ["a"]}, {"answer": "b"}
    python_metric(tmp_path, source).score(inputs={}, gold=gold, pred=pred)
    assert (gold, pred) == ({"answer": ["a"]}, {"answer": "b"})


def test_a_python_metric_with_a_field_needs_it_answered(tmp_path):
    source = "def score(inputs, gold, pred):\n    raise AssertionError('called')\n"
    built = python_metric(tmp_path, source, field="answer")
    assert built.score(inputs={}, gold={"answer": "a"}, pred={}).score == 0


def test_dataclasses_work_in_a_metric_file(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Grade:\n    value: float\n"
        "def score(inputs, gold, pred):\n    return Grade(1.0).value\n"
    )
    assert score(python_metric(tmp_path, source), "a", "a").score == 1


@pytest.mark.parametrize(
    "target",
    [
        "../metric.py:score",
        "sub/../../metric.py:score",
        "{outside}/metric.py:score",
        "link.py:score",
        "metric.py",
        "metric.txt:score",
        "metric.py:a.b",
        "metric.py:",
        "none.py:score",
        "metric.py:missing",
        "metric.py:NUMBER",
    ],
)
def test_targets_stay_in_the_programs_folder(tmp_path, target):
    folder = tmp_path / "program"
    folder.mkdir()
    source = "NUMBER = 1\ndef score(inputs, gold, pred):\n    return 1\n"
    (tmp_path / "metric.py").write_text(source)
    (folder / "metric.py").write_text(source)
    (folder / "link.py").symlink_to(tmp_path / "metric.py")
    with pytest.raises(SpecError):
        metric(folder, {"kind": "python", "target": target.format(outside=tmp_path)})
    assert metric(folder, {"kind": "python", "target": "metric.py:score"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def score(:\n", r"metric\.py:1: invalid syntax"),
        ("import no_such_module_anywhere\n", "ModuleNotFoundError while loading"),
        ("def score(gold, pred):\n    return 1\n", "cannot be called"),
        ("async def score(inputs, gold, pred):\n    return 1\n", "is async"),
    ],
)
def test_a_file_that_does_not_hold_is_told_before_a_run(tmp_path, source, message):
    with pytest.raises(SpecError, match=message):
        python_metric(tmp_path, source)


def test_files_beside_a_metric_are_out_of_reach(tmp_path):
    """They would change the score behind the digest."""
    (tmp_path / "helper_beside.py").write_text("VALUE = 1\n")
    with pytest.raises(SpecError, match="ModuleNotFoundError"):
        python_metric(tmp_path, "from helper_beside import VALUE\n")


def test_the_digest_covers_spec_and_file(tmp_path):
    plain = {"kind": "exact_match", "field": "answer"}
    digests = {
        metric(tmp_path, plain).digest,
        metric(tmp_path, plain | {"weight": 2}).digest,
        metric(tmp_path, plain | {"feedback": "no"}).digest,
        python_metric(tmp_path, "def score(inputs, gold, pred):\n    return 1\n").digest,
        python_metric(tmp_path, "def score(inputs, gold, pred):\n    return 0\n").digest,
    }
    assert len(digests) == 5
    assert metric(tmp_path, plain).digest in digests
    assert all(digest.startswith("sha256:") for digest in digests)


def test_a_changed_file_runs_changed(tmp_path):
    """No byte code of the older file, also when both were written within one clock tick."""
    assert (
        score(python_metric(tmp_path, "def score(inputs, gold, pred):\n    return 1\n"), "a", "b").score == 1
    )
    assert (
        score(python_metric(tmp_path, "def score(inputs, gold, pred):\n    return 0\n"), "a", "b").score == 0
    )
    assert not (tmp_path / "__pycache__").exists()


def test_nothing_heavy_is_imported():
    code = (
        "import sys, oa_compile.evaluate.metrics, oa_compile.evaluate.stats, oa_compile.validate.formats,"
        " oa_compile.validate.github, oa_compile.validate.junit, oa_compile.validate.attestation;"
        " print(sorted({'dspy', 'numpy', 'scipy', 'litellm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
