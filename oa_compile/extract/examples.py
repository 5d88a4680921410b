"""Examples: drafts fitted to a program's fields, redacted, and checked against their types.

Owns the mapping from a maker's names to the program's (`spec.extract.fields`). An input can only come
from a draft's inputs: what an agent did is never shown to the program that must predict it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oa_compile.dataset import ExampleRecord
from oa_compile.extract.drafts import Draft
from oa_compile.extract.makers import MAKERS
from oa_compile.extract.redact import redact_value
from oa_compile.extract.session import Session
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import FieldSpec, ProgramSpec

_SCALARS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}


def make_examples(session: Session, *, spec: ProgramSpec, tally: Tally) -> Iterator[ExampleRecord]:
    """The examples one session gives for the program, in its order."""
    made = 0
    for draft in MAKERS[spec.extract.example](session, spec=spec.extract, tally=tally):
        if spec.extract.limit_per_session is not None and made >= spec.extract.limit_per_session:
            tally.leave_out("over the limit per session", draft.place)
            continue
        record = _fit(draft, session=session, spec=spec, tally=tally)
        if record is not None:
            made += 1
            yield record


def _fit(draft: Draft, *, session: Session, spec: ProgramSpec, tally: Tally) -> ExampleRecord | None:
    names, signature = spec.extract.fields, spec.signature
    try:
        if signature is None:
            inputs, outputs = dict(draft.inputs), dict(draft.outputs)
        else:
            inputs = _pick(signature.inputs, draft.inputs, names)
            outputs = _pick(signature.outputs, draft.outputs, names)
    except ValueError as error:
        tally.leave_out(str(error), draft.place)
        return None
    meta = {"source": str(draft.place), "session": session.id, **draft.evidence}
    clean_inputs = redact_value(inputs, counts=tally.redacted)
    clean_outputs = redact_value(outputs, counts=tally.redacted)
    try:
        return ExampleRecord.of(clean_inputs, outputs=clean_outputs, meta=meta)
    except (ValueError, UnicodeError):  # a lone surrogate has no UTF-8 form
        tally.leave_out("text that is no valid Unicode", draft.place)
        return None


def _pick(
    fields: tuple[FieldSpec, ...], values: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for field in fields:
        name = names.get(field.name, field.name)
        if name not in values:
            raise ValueError(f"no value for `{field.name}`")
        if not _fits(values[name], field):
            raise ValueError(f"`{field.name}` is no {field.type}")
        picked[field.name] = values[name]
    return picked


def _fits(value: object, field: FieldSpec) -> bool:
    if field.type == "enum":
        return isinstance(value, str) and value in field.values
    if field.type.startswith("list["):
        inner = field.type.removeprefix("list[").removesuffix("]")
        return isinstance(value, list) and all(_is_scalar(item, inner) for item in value)
    return _is_scalar(value, field.type)


def _is_scalar(value: object, kind: str) -> bool:
    if isinstance(value, bool) and kind != "bool":
        return False
    return isinstance(value, _SCALARS[kind])
