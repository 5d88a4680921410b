"""A program's tunable state as plain JSON: instruction, demos and field texts of each predictor.

Owns dumping, digests and setting a state back; what a state scored is the journal's.
"""

from __future__ import annotations

from typing import Any

import dspy

from oa_compile.digest import digest_json
from oa_compile.errors import DigestMismatch

_PART = frozenset({"traces", "train", "demos", "signature", "lm"})
_SIGNATURE = frozenset({"instructions", "fields"})
_FIELD = frozenset({"prefix", "description"})

State = dict[str, Any]
"""Predictor name -> {"instruction": str, "demos": [dict, …], "fields": [{"prefix", "description"}, …]}."""


def dump_state(program: dspy.Module) -> State:
    """The state of every predictor, by DSPy's name for it."""
    state: State = {}
    for name, predictor in program.named_predictors():
        dumped = predictor.dump_state()
        state[name] = {
            "instruction": dumped["signature"]["instructions"],
            "fields": dumped["signature"]["fields"],
            "demos": dumped["demos"],
        }
    return state


def state_digest(state: State) -> str:
    """What a candidate is called: the digest of its state."""
    return digest_json(state)


def apply_state(program: dspy.Module, state: State) -> None:
    """Set `program`'s predictors to `state`. Raises KeyError for a predictor it does not have."""
    predictors = dict(program.named_predictors())
    for name, part in state.items():
        predictor = predictors[name]
        predictor.signature = predictor.signature.load_state(
            {"instructions": part["instruction"], "fields": part["fields"]}
        )
        predictor.demos = [dict(demo) for demo in part["demos"]]


def field_types(program: dspy.Module) -> dict[str, list[dict[str, str]]]:
    """Predictor name -> its fields as {name, role, type}: what a saved state lacks, and an artifact names."""
    described: dict[str, list[dict[str, str]]] = {}
    for name, predictor in program.named_predictors():
        signature = predictor.signature
        described[name] = [
            {"name": field, "role": role, "type": _type_name(info.annotation)}
            for role, fields in (("input", signature.input_fields), ("output", signature.output_fields))
            for field, info in fields.items()
        ]
    return described


def _type_name(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else (str(annotation).replace("typing.", ""))
    )


def read_state(saved: Any, *, predictors: list[str]) -> State:
    """The state in a ``program.json``, taken apart and checked before anything loads it: DSPy itself
    sets any key as an attribute and drops fields silently. Raises DigestMismatch for any other shape.
    """
    if not isinstance(saved, dict):
        raise DigestMismatch("program.json: not an object")
    bare = {key: value for key, value in saved.items() if key != "metadata"}
    parts = {"self": bare} if predictors == ["self"] else bare
    if set(parts) != set(predictors):
        raise DigestMismatch(f"program.json: its predictors are {sorted(parts)}, the program's {predictors}")
    return {name: _read_part(name, parts[name]) for name in predictors}


def _read_part(name: str, part: Any) -> dict[str, Any]:
    whole = (
        _has(part, _PART)
        and _has(part["signature"], _SIGNATURE)
        and isinstance(part["signature"]["instructions"], str)
        and isinstance(part["signature"]["fields"], list)
        and all(
            _has(field, _FIELD) and all(isinstance(text, str) for text in field.values())
            for field in part["signature"]["fields"]
        )
        and isinstance(part["demos"], list)
        and all(isinstance(demo, dict) for demo in part["demos"])
        and part["lm"] is None  # where a program runs is not what it is
    )
    if not whole:
        raise DigestMismatch(
            f"program.json: predictor `{name}` is not as DSPy saves one",
            hint="restore it from the bundle; this version reads what DSPy 3.4 writes",
        )
    signature = part["signature"]
    return {
        "instruction": signature["instructions"],
        "fields": signature["fields"],
        "demos": part["demos"],
    }


def _has(value: Any, keys: frozenset[str]) -> bool:
    """Whether `value` is an object with these keys and no other."""
    return isinstance(value, dict) and value.keys() == keys
