"""What must stay as it is when a prompt is sealed: the words of the response format, and fields' names.

A provider gets the response format untouched, so whatever it says must be said the same way in the prompt:
a tool that is renamed in one of the two is a tool nobody can choose. Fields' names are the program's, and
what its answers are read by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from oa_compile.redaction import patterns_for

_MARKER = re.compile(r"\[\[ ## (\w+) ## \]\]")
# Possessive throughout: a text that is no such layout is found out in one pass.
_COMPACT_LAYOUT = re.compile(r"(?:(?:\w++:(?![^ \n])|  )[^\n]*+(?:\n|\Z)|\n)++")
_COMPACT_FIELD = re.compile(r"^(\w++):(?![^ \n])", re.MULTILINE)
# How DSPy's adapters and the compact one tell a model its fields and the values it may choose from.
_LISTED_FIELD = re.compile(r"^[0-9]+\. `(\w++)`", re.MULTILINE)
_LITERAL = re.compile(r"\bLiteral\[([^\[\]\n]*+)\]")
_QUOTED = re.compile(r"'([^'\n]*+)'|\"([^\"\n]*+)\"")
_CHOICES = re.compile(r"^\w++(?: \([^\n]*\))? is one of: ([^\n]++)", re.MULTILINE)
_TOKEN = re.compile(r"[\w.~/\\:@%+$-]++")
_WORD = re.compile(r"\w++")


def field_names(texts: Iterable[str]) -> frozenset[str]:
    """Names in DSPy's markers, ``[[ ## name ## ]]``, and in messages that are ``name: value`` lines and
    nothing else (the compact layout, whose values have no line that begins like one).
    """
    names: set[str] = set()
    for text in texts:
        if "[[ ## " in text:
            names.update(_MARKER.findall(text))
        elif _COMPACT_LAYOUT.fullmatch(text):
            names.update(_COMPACT_FIELD.findall(text))
    return frozenset(names)


def told_names(system: Iterable[str]) -> frozenset[str]:
    """Names that system messages tell a model to use, where no schema holds it to them: the fields DSPy
    lists, the values of ``Literal['read', 'edit']`` and of ``tool is one of: read, edit``.
    """
    names: set[str] = set()
    for text in system:
        names.update(_LISTED_FIELD.findall(text))
        for values in _LITERAL.findall(text):
            names.update(single or double for single, double in _QUOTED.findall(values))
        for values in _CHOICES.findall(text):
            names.update(values.split(", "))
    return frozenset(names - {""})


class Format(NamedTuple):
    """What a response format says: its strings, every word in them, the names an answer may have to use
    (properties and enums' values), and the kinds of what in it may never leave.
    """

    texts: tuple[str, ...]
    words: frozenset[str]
    names: frozenset[str]
    private: tuple[str, ...]


def format_of(response_format: dict[str, Any] | None) -> Format:
    """What `response_format` says; the same few come back thousands of times in a run."""
    return _format_of(msgspec.json.encode(response_format))


@lru_cache(maxsize=256)
def _format_of(encoded: bytes) -> Format:
    said = list(_strings(msgspec.json.decode(encoded)))
    texts = tuple(dict.fromkeys(text for _, text in said))
    words = set(texts)
    for text in texts:
        words.update(_TOKEN.findall(text), _WORD.findall(text))
    private = {
        pattern.kind
        for text in texts
        for pattern in patterns_for(text, what=("secret", "home"))
        if pattern.find(text)
    }
    names = frozenset(text for key, text in said if key in {"properties", "enum", "const", "required"})
    return Format(texts, frozenset(words), names, tuple(sorted(private)))


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string a JSON value says, with the key it stands under; a property's name stands under
    ``properties``. JSON Schema's own words say nothing.
    """
    if isinstance(value, str):
        if key != "type":
            yield key, value
    elif isinstance(value, int | float):
        if key in {"enum", "const"}:
            yield key, msgspec.json.encode(value).decode()
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        named = key in {"properties", "$defs", "definitions"}
        for name, item in value.items():
            if named:
                yield "properties", name
            yield from _strings(item, "" if named else name)
