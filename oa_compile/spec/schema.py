"""JSON Schemas of program.toml and of configs, for editors and for other tools.

Owns the step from the pydantic models to draft 2020-12, with the docstrings as descriptions. The files
under ``schemas/`` are written from here and tested for drift.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from oa_compile.spec.base import SCHEMA_VERSION
from oa_compile.spec.config import Config
from oa_compile.spec.program import ProgramSpec

MODELS: dict[str, type[BaseModel]] = {"program": ProgramSpec, "config": Config}
"""What has a schema, by the name it is asked for."""

_TITLES = {"program": "oacompile program.toml", "config": "oacompile config"}
_PARTIAL = {"config": ("StageSpec",)}
"""Tables that a file may leave incomplete, because another layer fills them in."""


def json_schema(name: str) -> dict[str, Any]:
    """The schema called `name`, one of `MODELS` (KeyError otherwise)."""
    model = MODELS[name]
    raw = model.model_json_schema(schema_generator=_Generator)
    definitions = raw.pop("$defs", {})
    if name in _PARTIAL:
        raw.pop("required", None)
        for partial in _PARTIAL[name]:
            definitions[partial].pop("required", None)
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"urn:oacompile:schema:{name}:{SCHEMA_VERSION}",
        "title": _TITLES[name],
    }
    # The models know themselves by their class names; people know the file.
    body = {key: value for key, value in raw.items() if key != "title"}
    schema: dict[str, Any] = _for_toml({**head, **body, "$defs": definitions})
    return schema


def schema_text(name: str) -> str:
    """The schema as its file holds it: indented JSON with a newline at the end."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Adds attribute docstrings, and leaves out what says nothing: titles made from field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # the base's signature
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        result = super().model_schema(schema)
        result["description"] = _plain(result.get("description", ""))
        for field, text in _attribute_docstrings(schema["cls"]).items():
            if field in result.get("properties", {}):
                result["properties"][field]["description"] = text
        return result


def _attribute_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string that stands under each annotated attribute, of `model` and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not (isinstance(cls, type) and issubclass(cls, BaseModel)) or cls is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for statement, after in pairwise(statements):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[statement.target.id] = _plain(after.value.value)
    return found


def _plain(text: str) -> str:
    return " ".join(inspect.cleandoc(text).replace("``", "`").split())


def _for_toml(value: Any) -> Any:
    """`value` without what TOML files do not have or need.

    There is no null: what is optional is left out. A table's default is its keys' defaults. And
    OpenAPI's ``discriminator`` is not JSON Schema.
    """
    if isinstance(value, list):
        return [_for_toml(item) for item in value]
    if not isinstance(value, dict):
        return value
    node = {key: _for_toml(item) for key, item in value.items() if key != "discriminator"}
    alternatives = node.get("anyOf")
    if isinstance(alternatives, list):
        kept = [item for item in alternatives if item != {"type": "null"}]
        node["anyOf"] = kept
        if len(kept) == 1:
            del node["anyOf"]
            node = {**kept[0], **node}
    if "default" in node and (node["default"] is None or "$ref" in node):
        del node["default"]
    if "patternProperties" in node:
        node["additionalProperties"] = False
    return node
