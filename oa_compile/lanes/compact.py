"""The compact adapter: a DSPy signature as few words as it takes, laid out for small models.

    system     the instruction, then one line for each field that needs it (``tool is one of: read, edit``)
    user       ``name: value`` lines
    assistant  ``name: value`` lines

A value's further lines are indented by two spaces, so no value can pass for a field. Owns prompts and
parsing; how one value is written is `grammar`'s, and holding a model to it is the lane's, which finds the
answer's schema in the request under the name ``oacompile_compact``.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import dspy
from dspy.adapters.utils import apply_output_field_defaults, format_field_value
from dspy.utils.exceptions import AdapterParseError
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from oa_compile.errors import UsageError
from oa_compile.lanes.grammar import SCHEMA_NAME, Layout, label_of, layout_of, read, write

INDENT = "  "

_HEADER = re.compile(r"(\w+):")
_TEXT = {"type": "string"}
_ITEMS = {"text": "texts", "integer": "whole numbers", "number": "numbers"}
_MEANINGS = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True)
class FieldCodec:
    """How values of one field are written, read and described. `labels` maps an enum's words to values."""

    layout: Layout
    schema: Mapping[str, Any]
    adapter: TypeAdapter[Any]
    labels: Mapping[str, Any]

    @property
    def meaning(self) -> str:
        """What follows ``name is``: the value's form in words."""
        match self.layout.kind:
            case "choice":
                return f"one of: {', '.join(self.layout.choices)}"
            case "list":
                return f'a list of {_ITEMS[self.layout.item]}, separated by ";"'
            case "json":
                return f"JSON of this schema: {json.dumps(self.schema, ensure_ascii=False)}"
            case kind:
                return _MEANINGS[kind]

    def write(self, value: Any) -> str:
        """`value` as text. Raises ValueError when it is not of the field's type (demos may hold anything)."""
        if self.layout.kind == "text":
            return write(self.layout, value.content if isinstance(value, dspy.Reasoning) else value)
        data = self.adapter.dump_python(value, mode="json", warnings=False)
        if self.layout.kind == "choice":
            words = [
                word for word, known in self.labels.items() if known == data and type(known) is type(data)
            ]
            data = words[0] if words else data
        return write(self.layout, data)

    def read(self, text: str) -> Any:
        """The value that `text` stands for. Raises ValueError (pydantic's included)."""
        return self.validate(read(self.layout, text))

    def validate(self, data: Any) -> Any:
        """The value for plain JSON data, labels mapped back. Raises ValueError."""
        if self.layout.kind == "choice":
            data = self.labels.get(data, data) if isinstance(data, str) else data
        return self.adapter.validate_python(data)


def codec_of(info: FieldInfo) -> FieldCodec:
    """The codec of a signature's field. Raises UsageError for labels that cannot be used."""
    annotation: Any = info.annotation
    labels = tuple((_extra(info).get("labels") or {}).items())
    try:
        return _cached_codec(annotation, labels)
    except TypeError:  # an annotation that cannot be hashed
        return _codec(annotation, labels)


def _extra(info: FieldInfo) -> dict[str, Any]:
    # DSPy keeps what it knows of a field here, always as a dictionary.
    return cast("dict[str, Any]", info.json_schema_extra or {})


def _codec(annotation: Any, labels: tuple[tuple[str, str], ...]) -> FieldCodec:
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    if annotation in (str, dspy.Reasoning):
        schema: dict[str, Any] = _TEXT
    else:
        schema = adapter.json_schema()
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if labels and values is None:
        raise UsageError(f"labels go with a Literal, not with {annotation}")
    if values is None:
        return FieldCodec(layout_of(schema), schema, adapter, {})
    words = dict(labels)
    unknown = sorted(words.keys() - {label_of(value) for value in values})
    if unknown:
        raise UsageError(f"labels for values that do not exist: {', '.join(unknown)}")
    mapping = {words.get(label_of(value), label_of(value)): value for value in values}
    spelled = [words.get(label_of(value), label_of(value)) for value in values]
    schema = {"type": "string", "enum": spelled}
    return FieldCodec(layout_of(schema), schema, adapter, mapping)


_cached_codec = lru_cache(maxsize=1024)(_codec)


class CompactAdapter(dspy.Adapter):  # type: ignore[misc]
    """Prompts of ``name: value`` lines, and answers of the same, constrained where the lane can.

    An answer that is one JSON object (from a server that follows the schema its own way) is read too.
    """

    def _call_preprocess(
        self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, inputs: dict[str, Any]
    ) -> Any:
        signature = super()._call_preprocess(lm, lm_kwargs, signature, inputs)
        asks = signature.output_fields and lm.supports_response_schema
        if asks and "response_format" in lm.supported_params:
            lm_kwargs["response_format"] = response_format(signature)
        return signature

    def format_system_message(self, signature: Any) -> str:
        """The instruction, and what the fields mean."""
        parts = (self.format_task_description(signature), self.format_field_description(signature))
        return "\n".join(part for part in parts if part)

    def format_task_description(self, signature: Any) -> str:
        """The instruction."""
        return inspect.cleandoc(signature.instructions)

    def format_field_description(self, signature: Any) -> str:
        """A line for each described input and for every output."""
        lines = [
            f"{name}: {text}"
            for name, info in signature.input_fields.items()
            if (text := _described(name, info))
        ]
        for name, info in signature.output_fields.items():
            text = _described(name, info)
            lines.append(f"{name}{f' ({text})' if text else ''} is {codec_of(info).meaning}")
        return "\n".join(lines)

    def format_field_structure(self, signature: Any) -> str:  # noqa: ARG002 - the base class's signature
        """Nothing: the demos and the grammar show the structure."""
        return ""

    def format_user_message_content(
        self,
        signature: Any,
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,  # noqa: FBT001, FBT002, ARG002 - the base class's signature
    ) -> str:
        """The given inputs, a line each."""
        lines = [
            _line(name, info, inputs[name]) for name, info in signature.input_fields.items() if name in inputs
        ]
        return "\n".join(part for part in (prefix, *lines, suffix) if part)

    def format_assistant_message_content(
        self, signature: Any, outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        """The outputs, a line each; `missing_field_message` stands in for those that are not there."""
        return "\n".join(
            _line(name, info, outputs[name])
            if outputs.get(name) is not None
            else _join(name, str(missing_field_message).strip())
            for name, info in signature.output_fields.items()
        )

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Field values of an answer. Raises AdapterParseError naming the field that is missing or wrong."""
        given = _json_fields(completion)
        lines = _line_fields(completion, signature.fields) if given is None else {}
        fields: dict[str, Any] = {}
        for name, info in signature.output_fields.items():
            try:
                if given is not None and name in given:
                    fields[name] = codec_of(info).validate(given[name])
                elif name in lines:
                    fields[name] = codec_of(info).read(lines[name])
            except (ValueError, RecursionError) as error:
                raise _parse_error(signature, completion, f"`{name}`: {error}", fields) from error
        fields = apply_output_field_defaults(signature, fields)
        missing = [name for name in signature.output_fields if name not in fields]
        if missing:
            raise _parse_error(signature, completion, f"no line for: {', '.join(missing)}", fields)
        return fields


def response_format(signature: Any) -> dict[str, Any]:
    """The answer's schema in OpenAI's shape, properties and ``required`` in field order.

    It is strict unless a field has a type of its own, whose schema a strict server might refuse.
    """
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    strict = True
    for name, info in signature.output_fields.items():
        codec = codec_of(info)
        schema = dict(codec.schema)
        definitions |= schema.pop("$defs", {})
        properties[name] = schema
        strict = strict and codec.layout.kind != "json"
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }
    return {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "schema": schema, "strict": strict}}


def _described(name: str, info: FieldInfo) -> str:
    extra = _extra(info)
    texts = (extra.get("desc") or "", extra.get("constraints") or "")
    return "; ".join(" ".join(text.split()) for text in texts if text and text != f"${{{name}}}")


def _line(name: str, info: FieldInfo, value: Any) -> str:
    try:
        text = codec_of(info).write(value)
    except (ValueError, TypeError, AttributeError):
        text = str(format_field_value(info, value))
    return _join(name, text)


def _join(name: str, text: str) -> str:
    return f"{name}: {text}".replace("\n", f"\n{INDENT}") if text else f"{name}:"


def _json_fields(completion: str) -> dict[str, Any] | None:
    if not completion.lstrip().startswith("{"):
        return None
    try:
        fields = json.loads(completion)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _line_fields(completion: str, names: Mapping[str, Any]) -> dict[str, str]:
    """Texts by field name; the first line of a name wins. Lines before the first field are passed over."""
    fields: dict[str, list[str]] = {}
    current: list[str] = []
    blank: list[str] = []
    for line in completion.split("\n"):
        header = _HEADER.match(line)
        if header and header[1] in names:
            current, blank = [line[header.end() :].removeprefix(" ")], []
            fields.setdefault(header[1], current)
        elif line.startswith(INDENT) or line.strip():
            current += [*blank, line.removeprefix(INDENT)]
            blank = []
        else:
            blank.append(line)  # kept only when the value goes on after it
    return {name: "\n".join(lines) for name, lines in fields.items()}


def _parse_error(signature: Any, completion: str, message: str, fields: dict[str, Any]) -> AdapterParseError:
    return AdapterParseError(
        adapter_name="CompactAdapter",
        signature=signature,
        lm_response=completion,
        message=message,
        parsed_result=fields,
    )
