"""Builds the dspy.Signature and dspy.Module that a program spec describes.

The module of an inline signature is plain ``dspy.Predict`` or ``dspy.ChainOfThought``, so that its
saved state opens in an interpreter that has never heard of this project.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Literal

import dspy

from oa_compile.errors import SpecError, UsageError
from oa_compile.spec.metrics import PythonMetric, SandboxedMetric
from oa_compile.spec.program import FieldSpec, ProgramSpec, SignatureSpec
from oa_compile.spec.target import Target, load_target

_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list[str]": list[str],
    "list[int]": list[int],
    "list[float]": list[float],
}


def build_signature(spec: SignatureSpec, *, name: str = "Signature") -> type[dspy.Signature]:
    """A dspy.Signature with typed fields; an enum's prompt words ride in ``json_schema_extra["labels"]``."""
    fields: dict[str, tuple[Any, Any]] = {}
    for group, make in ((spec.inputs, dspy.InputField), (spec.outputs, dspy.OutputField)):
        for field in group:
            info = make(desc=field.description) if field.description else make()
            if field.labels:
                info.json_schema_extra["labels"] = {v: field.labels.get(v, v) for v in field.values}
            fields[field.name] = (_annotation(field), info)
    signature: type[dspy.Signature] = dspy.Signature(
        fields, instructions=spec.instructions, signature_name=name
    )
    return signature


def _annotation(field: FieldSpec) -> Any:
    return Literal[field.values] if field.type == "enum" else _TYPES[field.type]


def build_program(spec: ProgramSpec, folder: Path) -> dspy.Module:
    """A fresh, uncompiled program. Raises UsageError when its Python cannot be loaded or run."""
    if spec.module.kind == "python":
        program = _made(load_target(spec.module.target, folder))
        if not isinstance(program, dspy.Module):
            raise UsageError(
                f"{folder / 'program.toml'}: {spec.module.target} made a {type(program).__name__}, "
                "not a dspy.Module"
            )
        return program
    assert spec.signature is not None
    signature = build_signature(spec.signature, name="".join(part.title() for part in spec.name.split("-")))
    if spec.module.kind == "chain_of_thought":
        return dspy.ChainOfThought(signature)
    return dspy.Predict(signature)


def _made(target: Target) -> Any:
    try:
        return target.call()
    except Exception as error:
        # A user's code may raise anything; it is told as a fault of that file, never swallowed.
        frames = traceback.extract_tb(error.__traceback__)
        line = next(
            (f":{frame.lineno}" for frame in reversed(frames) if frame.filename == str(target.path)), ""
        )
        raise SpecError(
            f"{target.path}{line}: {type(error).__name__} while making the program: {error}",
            hint="the target is called without arguments and returns a dspy.Module",
        ) from error


def program_files(spec: ProgramSpec) -> tuple[str, ...]:
    """Names of all files beside ``program.toml`` that a spec uses, relative to its folder."""
    sandboxed = (metric.with_files for metric in spec.metrics if isinstance(metric, SandboxedMetric))
    return tuple(sorted({*python_files(spec), *(name for names in sandboxed for name in names)}))


def python_files(spec: ProgramSpec) -> tuple[str, ...]:
    """Names of the Python files a spec runs outside of a sandbox, relative to its folder."""
    targets = [
        spec.module.target,
        spec.agreement.target,
        spec.refine.reward,
        *(metric.target for metric in spec.metrics if isinstance(metric, PythonMetric)),
    ]
    return tuple(sorted({target.partition(":")[0] for target in targets if target}))
