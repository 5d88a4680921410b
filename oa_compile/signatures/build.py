"""Builds the dspy.Signature and dspy.Module that a program spec describes.

The module of an inline signature is plain ``dspy.Predict`` or ``dspy.ChainOfThought``, so that its
saved state opens in an interpreter that has never heard of this project.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import dspy

from oa_compile.digest import digest_bytes
from oa_compile.errors import UsageError
from oa_compile.spec.program import FieldSpec, ProgramSpec, SignatureSpec

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
    return dspy.Signature(fields, instructions=spec.instructions, signature_name=name)


def _annotation(field: FieldSpec) -> Any:
    return Literal[field.values] if field.type == "enum" else _TYPES[field.type]


def build_program(spec: ProgramSpec, folder: Path) -> dspy.Module:
    """A fresh, uncompiled program. Raises UsageError when its Python cannot be loaded."""
    if spec.module.kind == "python":
        factory = load_callable(spec.module.target, folder)
        program = factory()
        if not isinstance(program, dspy.Module):
            raise UsageError(
                f"{folder / 'program.toml'}: {spec.module.target} made a {type(program).__name__}, not a dspy.Module"
            )
        return program
    assert spec.signature is not None
    signature = build_signature(spec.signature, name="".join(part.title() for part in spec.name.split("-")))
    if spec.module.kind == "chain_of_thought":
        return dspy.ChainOfThought(signature)
    return dspy.Predict(signature)


def python_files(spec: ProgramSpec) -> tuple[str, ...]:
    """Names of the Python files a spec runs, relative to its folder."""
    targets = [spec.module.target, *(metric.target for metric in spec.metrics)]
    return tuple(sorted({target.partition(":")[0] for target in targets if target}))


def load_callable(target: str, folder: Path) -> Callable[..., Any]:
    """The callable ``file.py:name`` inside `folder`. Raises UsageError with the file and the reason."""
    file_name, _, name = target.partition(":")
    path = (folder / file_name).resolve()
    if not path.is_relative_to(folder.resolve()) or path.suffix != ".py" or not name:
        raise UsageError(
            f"{folder}: `{target}` is not a Python file of this program",
            hint='write "program.py:ClassName", with the file beside program.toml',
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from error
    module_name = f"oa_compile_program_{digest_bytes(source)[7:19]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UsageError(f"{path}: {type(error).__name__} while loading it: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"{path}: has no callable `{name}`")
    return found  # type: ignore[no-any-return]
