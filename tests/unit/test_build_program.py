"""From a program spec to a DSPy program: field types, labels, module kinds, Python modules and resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest

from oa_compile.errors import SpecError, UsageError
from oa_compile.signatures.build import build_program, build_signature, python_files
from oa_compile.spec.program import FieldSpec, ProgramSpec, SignatureSpec

METRIC = {"kind": "exact_match", "field": "answer"}
ANNOTATIONS: list[tuple[str, Any]] = [
    ("str", str),
    ("int", int),
    ("float", float),
    ("bool", bool),
    ("list[str]", list[str]),
    ("list[int]", list[int]),
    ("list[float]", list[float]),
]


def signature_of(*outputs: dict[str, Any], **changes: Any) -> SignatureSpec:
    return SignatureSpec.model_validate(
        {
            "instructions": "Answer the question.",
            "inputs": [{"name": "question"}],
            "outputs": list(outputs) or [{"name": "answer"}],
            **changes,
        }
    )


def program_of(**changes: Any) -> ProgramSpec:
    return ProgramSpec.model_validate(
        {
            "name": "answer-it",
            "signature": signature_of().model_dump(),
            "metrics": [METRIC],
            **changes,
        }
    )


@pytest.mark.parametrize(("name", "annotation"), ANNOTATIONS)
def test_a_type_becomes_its_annotation(name: str, annotation: Any) -> None:
    spec = signature_of({"name": "answer", "type": name}, inputs=[{"name": "question", "type": name}])
    signature = build_signature(spec)
    assert signature.output_fields["answer"].annotation == annotation
    assert signature.input_fields["question"].annotation == annotation


def test_every_type_of_the_spec_is_covered() -> None:
    schema = FieldSpec.model_json_schema()["properties"]["type"]["enum"]
    assert sorted(schema) == sorted([name for name, _ in ANNOTATIONS] + ["enum"])


def test_an_enum_becomes_a_literal_of_its_values_in_order() -> None:
    field = {"name": "answer", "type": "enum", "values": ["yes", "no", "do not know"]}
    info = build_signature(signature_of(field)).output_fields["answer"]
    assert info.annotation == Literal["yes", "no", "do not know"]
    assert "labels" not in info.json_schema_extra


def test_labels_ride_along_and_a_value_without_one_is_its_own() -> None:
    field = {"name": "answer", "type": "enum", "values": ["y", "n"], "labels": {"y": "yes, surely"}}
    info = build_signature(signature_of(field)).output_fields["answer"]
    assert info.json_schema_extra["labels"] == {"y": "yes, surely", "n": "n"}
    assert info.annotation == Literal["y", "n"]


def test_labels_survive_what_optimizers_do_to_a_signature() -> None:
    field = {"name": "answer", "type": "enum", "values": ["y", "n"], "labels": {"y": "yes"}}
    signature = build_signature(signature_of(field))
    changed = signature.with_instructions("Another one.").with_updated_fields("answer", prefix="So:")
    assert changed.output_fields["answer"].json_schema_extra["labels"] == {"y": "yes", "n": "n"}


def test_names_descriptions_order_and_instructions_are_the_specs() -> None:
    spec = signature_of(
        {"name": "reason", "description": "why it is so"},
        {"name": "answer"},
        inputs=[{"name": "question", "description": "what is asked"}, {"name": "context"}],
    )
    signature = build_signature(spec, name="Asked")
    assert signature.__name__ == "Asked"
    assert signature.instructions == "Answer the question."
    assert list(signature.fields) == ["question", "context", "reason", "answer"]
    assert signature.input_fields["question"].json_schema_extra["desc"] == "what is asked"
    assert signature.output_fields["reason"].json_schema_extra["desc"] == "why it is so"
    # A field without one keeps what DSPy writes for it.
    plain = dspy.Signature("question, context -> reason, answer")
    assert (
        signature.output_fields["answer"].json_schema_extra["desc"]
        == plain.output_fields["answer"].json_schema_extra["desc"]
    )


def test_predict_is_plain_dspy_named_after_the_program(tmp_path: Path) -> None:
    program = build_program(program_of(), tmp_path)
    assert type(program) is dspy.Predict
    assert program.signature.__name__ == "AnswerIt"


def test_chain_of_thought_is_plain_dspy_and_reasons_first(tmp_path: Path) -> None:
    program = build_program(program_of(module={"kind": "chain_of_thought"}), tmp_path)
    assert type(program) is dspy.ChainOfThought
    ((name, predictor),) = program.named_predictors()
    assert name == "predict"
    assert list(predictor.signature.output_fields) == ["reasoning", "answer"]


def test_two_builds_share_nothing(tmp_path: Path) -> None:
    first, second = (build_program(program_of(), tmp_path) for _ in range(2))
    first.demos.append({"question": "q", "answer": "a"})
    first.signature = first.signature.with_instructions("Changed.")
    assert second.demos == []
    assert second.signature.instructions == "Answer the question."


def test_what_is_saved_opens_without_this_project(tmp_path: Path) -> None:
    build_program(program_of(), tmp_path).save(tmp_path / "program.json")
    code = (
        "import sys, dspy; p = dspy.Predict('question -> answer'); p.load(sys.argv[1]);"
        "assert not [m for m in sys.modules if m.startswith('oa_compile')]; print(p.signature.instructions)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "program.json")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.strip() == "Answer the question."
    assert "oa_compile" not in json.dumps(json.loads((tmp_path / "program.json").read_text()))


def python_program(folder: Path, source: str, *, target: str = "program.py:Answer") -> dspy.Module:
    (folder / "program.py").write_text(source)
    spec = program_of(signature=None, module={"kind": "python", "target": target})
    return build_program(spec, folder)


MODULE = """\
import dspy


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.find = dspy.Predict("question -> facts")
        self.steps = [dspy.ChainOfThought("facts -> answer")]

    def forward(self, question):
        return self.steps[0](facts=self.find(question=question).facts)


def made():
    return Answer()


def wrong():
    return "a string"


def broken():
    raise ValueError("no such thing")
"""


def test_a_python_class_is_made_without_arguments(tmp_path: Path) -> None:
    program = python_program(tmp_path, MODULE)
    assert [name for name, _ in program.named_predictors()] == ["find", "steps[0].predict"]


def test_a_python_function_may_make_the_module(tmp_path: Path) -> None:
    assert type(python_program(tmp_path, MODULE, target="program.py:made")).__name__ == "Answer"


def test_what_is_no_module_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"program\.py:wrong made a str, not a dspy\.Module"):
        python_program(tmp_path, MODULE, target="program.py:wrong")


def test_a_class_instead_of_a_module_of_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"made a \w+, not a dspy\.Module"):
        python_program(tmp_path, MODULE + "\n\ndef late():\n    return Answer\n", target="program.py:late")


def test_an_error_in_making_it_names_the_file_the_line_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"program\.py:23: ValueError while making the program: no such thing"
    ):
        python_program(tmp_path, MODULE, target="program.py:broken")


def test_a_class_that_wants_arguments_is_told(tmp_path: Path) -> None:
    source = "import dspy\n\n\nclass Answer(dspy.Module):\n    def __init__(self, lm):\n        pass\n"
    with pytest.raises(SpecError, match=r"program\.py.*missing 1 required positional argument: 'lm'"):
        python_program(tmp_path, source)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    spec = program_of(signature=None, module={"kind": "python", "target": "other.py:Answer"})
    with pytest.raises(SpecError, match=r"other\.py"):
        build_program(spec, tmp_path)


def test_the_python_files_of_a_spec_each_once_and_sorted() -> None:
    spec = program_of(
        module={"kind": "python", "target": "program.py:Answer"},
        metrics=[
            METRIC,
            {"kind": "python", "target": "metric.py:one"},
            {"kind": "python", "target": "metric.py:two"},
            {"kind": "python", "target": "program.py:three"},
        ],
    )
    assert python_files(spec) == ("metric.py", "program.py")
    assert python_files(program_of()) == ()
