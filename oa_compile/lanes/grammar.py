"""The compact layout of a field's value: which kind a JSON schema asks for, how a value of it is written
on a line and read back, and the GBNF grammar that lets a model write nothing else.

Owns the rule, so that the adapter (which reads) and the lane (which constrains) cannot disagree. Pure:
knows neither DSPy nor an engine.

| kind    | schema                              | written                                            |
|---------|-------------------------------------|----------------------------------------------------|
| choice  | ``enum`` or ``const``               | the label                                          |
| integer | ``{"type": "integer"}``             | ``-12``                                            |
| number  | ``{"type": "number"}``              | ``0.5``                                            |
| boolean | ``{"type": "boolean"}``             | ``true`` or ``false``                              |
| text    | ``{"type": "string"}``              | as it is                                           |
| list    | array of string, integer or number  | ``a; b; c``; ``[]`` when empty; ``\\`` escapes ``;`` |
| json    | anything else                       | JSON on one line                                   |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from oa_compile.errors import UsageError

SCHEMA_NAME = "oacompile_compact"
"""Name under which a response format asks for this layout."""

Kind = Literal["choice", "integer", "number", "boolean", "text", "list", "json"]

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What some reader takes for the end of a line: no constrained value holds one."""

_SCALARS: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}
_BREAK_CLASS = r"\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_MOST_ITEMS = 32
_SHARED_RULES: Mapping[str, tuple[str, ...]] = {
    "text": (rf"text ::= [^ \t{_BREAK_CLASS}] [^{_BREAK_CLASS}]*",),
    "integer": ('integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',),
    "number": ('number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})?',),
    "boolean": ('boolean ::= "true" | "false"',),
    "item": (rf"item ::= [^ \t;\[\\{_BREAK_CLASS}] [^;\\{_BREAK_CLASS}]*",),
    "json": (
        'json ::= object | array | string | jnumber | "true" | "false" | "null"',
        'object ::= "{" (string ": " json (", " string ": " json)*)? "}"',
        'array ::= "[" (json (", " json)*)? "]"',
        rf'string ::= "\"" ([^"\\\x00-\x1f{_BREAK_CLASS}] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{{4}}))* "\""',
        'jnumber ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?',
    ),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one field's value is written: its kind, a choice's labels, and the kind of a list's items."""

    kind: Kind
    choices: tuple[str, ...] = ()
    item: Kind = "text"


class Grammar(NamedTuple):
    """`opening` is how every answer begins: given to the model instead of asked of it. `gbnf` is the rest."""

    opening: str
    gbnf: str


def layout_of(schema: Mapping[str, Any]) -> Layout:
    """The layout for one property's JSON schema. Raises UsageError for labels that no line can hold."""
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None:
        return Layout("choice", choices=_checked_labels(choices))
    kind = _scalar(schema)
    if kind is not None:
        return Layout(kind)
    item = _scalar(schema.get("items") or {}) if schema.get("type") == "array" else None
    if item is not None and item != "boolean":
        return Layout("list", item=item)
    return Layout("json")


def _scalar(schema: Mapping[str, Any]) -> Kind | None:
    # A string with a format or a pattern is not free text: it goes as JSON, quotes and all.
    narrowed = schema.keys() - {"type", "title", "description", "default"}
    return None if narrowed else _SCALARS.get(str(schema.get("type")))


def _checked_labels(values: Iterable[Any]) -> tuple[str, ...]:
    labels = tuple(label_of(value) for value in values)
    for label in labels:
        if not label or label != label.strip() or any(mark in label for mark in LINE_BREAKS):
            raise UsageError(
                f"{label!r} cannot be a label: it is empty, spans lines, or begins or ends with white space",
                hint="give the value a plain word under `labels`",
            )
    if len(set(labels)) != len(labels):
        raise UsageError(
            f"two values are written alike: {', '.join(labels)}", hint="tell them apart under `labels`"
        )
    return labels


def label_of(value: Any) -> str:
    """The word for an enum value that has no label: itself, or its JSON form when it is not a string."""
    return value if isinstance(value, str) else json.dumps(value)


def write(layout: Layout, value: Any) -> str:
    """`value` (plain JSON data) in its layout. Raises ValueError when it is not of the layout's kind."""
    match layout.kind:
        case "text" if isinstance(value, str):
            return value
        case "choice" if value in layout.choices:
            return str(value)
        case "boolean" if isinstance(value, bool):
            return "true" if value else "false"
        case "integer" | "number" if _is_number(value, layout.kind):
            return repr(value)
        case "list" if isinstance(value, list):
            return _write_list(layout.item, value)
        case "json":
            return json.dumps(value, ensure_ascii=False)
    raise ValueError(f"{value!r} is not of kind {layout.kind}")


def read(layout: Layout, text: str) -> Any:
    """The plain JSON data that `text` stands for: the inverse of `write`. Raises ValueError."""
    match layout.kind:
        case "text":
            return text
        case "choice":
            label = text.strip()
            if label not in layout.choices:
                raise ValueError(f"{label!r} is not one of: {', '.join(layout.choices)}")
            return label
        case "boolean":
            word = text.strip().lower()
            if word not in {"true", "false"}:
                raise ValueError(f"{word!r} is neither true nor false")
            return word == "true"
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "list":
            return _read_list(layout.item, text)
        case "json":
            return json.loads(text)


def _is_number(value: Any, kind: Kind) -> bool:
    return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)


def _write_list(item: Kind, values: list[Any]) -> str:
    if not values:
        return "[]"
    items = [write(Layout(item), value) for value in values]
    if item == "text":
        items = [re.sub(r"[\\;]", r"\\\g<0>", text).replace("\n", r"\n") for text in items]
        if items[0].lstrip().startswith("["):
            items[0] = "\\" + items[0]  # what starts with a bracket reads as a JSON array
    return "; ".join(items)


def _read_list(item: Kind, text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        values = json.loads(text)
        if not isinstance(values, list):
            raise ValueError(f"{text!r} is not a list")
        return values
    pieces = [""]
    for token in re.findall(r"\\.?|;|[^\\;]+", text, re.DOTALL):
        if token == ";":
            pieces.append("")
        else:
            pieces[-1] += token
    items = [pieces[0], *(piece.removeprefix(" ") for piece in pieces[1:])]
    if item != "text":
        return [read(Layout(item), piece) for piece in items]
    return [
        re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], piece, flags=re.DOTALL) for piece in items
    ]


def compact_grammar(schema: Mapping[str, Any]) -> Grammar:
    """The grammar of an answer with the object `schema`'s properties, one ``name: value`` line each.

    Fields come in the order of ``required`` (which, unlike an object's keys, no JSON tool reorders).
    Raises UsageError when the schema has no required property or a label cannot be written.
    """
    properties = schema.get("properties") or {}
    names = list(schema.get("required") or properties)
    if not names or any(name not in properties for name in names):
        raise UsageError("a compact answer needs an object schema whose required properties are described")
    layouts = [layout_of(properties[name]) for name in names]
    shared: dict[str, None] = {}
    parts: list[str] = []
    for number, (name, layout) in enumerate(zip(names, layouts, strict=True)):
        if number:
            parts.append(literal(f"\n{name}:"))
        parts += ['" "', _expression(layout, shared)]
    if layouts[-1].kind not in {"choice", "boolean"}:
        # Where a model could go on for ever, the end of the line is the end it knows best.
        parts.append('"\\n"?')
    rules = [f"root ::= {' '.join(parts)}"]
    for rule in shared:
        rules += _SHARED_RULES[rule]
    return Grammar(opening=f"{names[0]}:", gbnf="\n".join(rules) + "\n")


def _expression(layout: Layout, shared: dict[str, None]) -> str:
    match layout.kind:
        case "choice":
            return f"({' | '.join(literal(label) for label in layout.choices)})"
        case "list":
            item = "item" if layout.item == "text" else layout.item
            shared[item] = None
            return f'("[]" | {item} ("; " {item}){{0,{_MOST_ITEMS - 1}}})'
        case kind:
            shared[kind] = None
            return kind


def literal(text: str) -> str:
    """`text` as a GBNF string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'
