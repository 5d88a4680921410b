"""The compact layout: what is written reads back, and the grammar allows exactly what reads."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.errors import UsageError
from oa_compile.lanes.grammar import Layout, compact_grammar, layout_of, literal, read, write

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENUM = {"enum": ["read", 'say "hi"', "back\\slash", "a]b^c-d", "läuft ✓", "{x}|y"]}


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def as_regex(gbnf: str) -> str:
    """A grammar without recursion as a Python regular expression: an independent reading of GBNF."""
    rules = dict(line.split(" ::= ", 1) for line in gbnf.strip().split("\n"))
    token = re.compile(
        r"""(?P<literal>"(?:[^"\\]|\\.)*")|(?P<chars>\[(?:[^\]\\]|\\.)*\])|(?P<repeat>\{\d+,?\d*\})"""
        r"""|(?P<rule>[a-z]\w*)|(?P<mark>[()|?*+])|(?P<space>\s+)""",
        re.VERBOSE,
    )

    def expand(body: str) -> str:
        out, position = "", 0
        while position < len(body):
            match = token.match(body, position)
            assert match, body[position:]
            position = match.end()
            if match["literal"]:
                text = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[0][1:-1])
                out += f"(?:{re.escape(text)})"
            elif match["rule"]:
                out += f"(?:{expand(rules[match[0]])})"
            elif match["mark"] == "(":
                out += "(?:"
            elif not match["space"]:
                out += match[0]
        return out

    return expand(rules["root"])


@given(WORDS)
def test_text_is_written_as_it_is(text: str) -> None:
    assert read(Layout("text"), write(Layout("text"), text)) == text


@given(st.lists(WORDS, max_size=6))
def test_list_of_texts_round_trips(values: list[str]) -> None:
    written = write(Layout("list"), values)
    assert "\n" not in written
    assert read(Layout("list"), written) == values


@pytest.mark.parametrize(
    "values",
    [[], [""], ["[]"], ["", ""], ["a;b", "\\", "c\\"], ["\\n"], ["\n"], [" a", "b "], ["[1"], [" ["], [";"]],
)
def test_awkward_lists_round_trip(values: list[str]) -> None:
    assert read(Layout("list"), write(Layout("list"), values)) == values


@given(st.lists(st.integers()), st.lists(st.floats(allow_nan=False)))
def test_lists_of_numbers_round_trip(integers: list[int], numbers: list[float]) -> None:
    assert read(Layout("list", item="integer"), write(Layout("list", item="integer"), integers)) == integers
    assert read(Layout("list", item="number"), write(Layout("list", item="number"), numbers)) == numbers


@given(st.integers(), st.floats(allow_nan=False), st.booleans())
def test_scalars_round_trip(integer: int, number: float, flag: bool) -> None:
    assert read(Layout("integer"), write(Layout("integer"), integer)) == integer
    assert read(Layout("number"), write(Layout("number"), number)) == number
    assert read(Layout("boolean"), write(Layout("boolean"), flag)) is flag


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | WORDS, lambda v: st.lists(v) | st.dictionaries(WORDS, v)
    )
)
def test_anything_else_is_json_on_one_line(value: Any) -> None:
    written = write(Layout("json"), value)
    assert "\n" not in written
    assert read(Layout("json"), written) == value


def test_list_reads_what_other_models_write() -> None:
    assert read(Layout("list"), '["a", "b; c"]') == ["a", "b; c"]
    assert read(Layout("list"), "a;b") == ["a", "b"]
    assert read(Layout("list", item="integer"), "1;  2") == [1, 2]


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (Layout("integer"), "three"),
        (Layout("number"), ""),
        (Layout("boolean"), "yes"),
        (Layout("choice", choices=("read", "run")), "walk"),
        (Layout("json"), "{"),
        (Layout("list", item="integer"), "1; x"),
        (Layout("list"), "[a"),
    ],
)
def test_wrong_text_is_refused(layout: Layout, text: str) -> None:
    with pytest.raises(ValueError):
        read(layout, text)


@pytest.mark.parametrize(
    ("layout", "value"),
    [
        (Layout("text"), 3),
        (Layout("integer"), True),
        (Layout("number"), "1"),
        (Layout("boolean"), 1),
        (Layout("choice", choices=("read",)), "run"),
        (Layout("list"), "a; b"),
        (Layout("list"), [1]),
    ],
)
def test_wrong_value_is_not_written(layout: Layout, value: Any) -> None:
    with pytest.raises(ValueError):
        write(layout, value)


@pytest.mark.parametrize(
    ("property_schema", "layout"),
    [
        ({"type": "string"}, Layout("text")),
        ({"type": "string", "title": "Answer"}, Layout("text")),
        ({"type": "string", "format": "date"}, Layout("json")),
        ({"type": "integer"}, Layout("integer")),
        ({"type": "number"}, Layout("number")),
        ({"type": "boolean"}, Layout("boolean")),
        ({"enum": ["a", "b"], "type": "string"}, Layout("choice", choices=("a", "b"))),
        ({"const": "a"}, Layout("choice", choices=("a",))),
        ({"enum": [1, True, None]}, Layout("choice", choices=("1", "true", "null"))),
        ({"type": "array", "items": {"type": "integer"}}, Layout("list", item="integer")),
        ({"type": "array", "items": {"type": "boolean"}}, Layout("json")),
        ({"type": "array"}, Layout("json")),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, Layout("json")),
        ({}, Layout("json")),
    ],
)
def test_layout_follows_the_schema(property_schema: dict[str, Any], layout: Layout) -> None:
    assert layout_of(property_schema) == layout


@pytest.mark.parametrize("label", ["two\nlines", "", " padded", "line\u2028separator"])
def test_labels_that_no_line_holds_are_refused(label: str) -> None:
    with pytest.raises(UsageError, match="cannot be a label"):
        layout_of({"enum": ["fine", label]})


def test_values_written_alike_are_refused() -> None:
    with pytest.raises(UsageError, match="written alike"):
        layout_of({"enum": ["1", 1]})


def test_grammar_of_one_choice() -> None:
    grammar = compact_grammar(schema(tool={"enum": ["read", "run"]}))
    assert grammar.opening == "tool:"
    assert grammar.gbnf == 'root ::= " " ("read" | "run")\n'


def test_fields_follow_required_not_the_order_of_keys() -> None:
    shuffled = {
        "properties": {"b": {"type": "boolean"}, "a": {"type": "integer"}},
        "required": ["a", "b"],
    }
    grammar = compact_grammar(shuffled)
    assert grammar.opening == "a:"
    assert grammar.gbnf.startswith('root ::= " " integer "\\nb:" " " boolean\n')


@pytest.mark.parametrize("bad", [{}, {"properties": {}}, {"properties": {}, "required": ["a"]}])
def test_schema_without_properties_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="object schema"):
        compact_grammar(bad)


def test_literal_escapes() -> None:
    assert literal('a"b\\c\nd') == r'"a\"b\\c\nd"'


@pytest.mark.parametrize(
    "property_schema",
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "number"},
        {"type": "boolean"},
        ENUM,
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "number"}},
    ],
)
@given(data=st.data())
def test_everything_the_grammar_allows_reads(data: st.DataObject, property_schema: dict[str, Any]) -> None:
    grammar = compact_grammar(schema(first=property_schema, second={"type": "boolean"}))
    answer = grammar.opening + data.draw(st.from_regex(as_regex(grammar.gbnf), fullmatch=True))
    first, second = answer.split("\n")
    layout = layout_of(property_schema)
    value = read(layout, first.removeprefix("first: "))
    assert value not in ("", [""])
    assert read(layout, write(layout, value)) == value
    assert read(Layout("boolean"), second.removeprefix("second: ")) in (True, False)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
        lambda t: not t[0].isspace()
    ),
    st.integers(-(10**15), 10**15),
    st.sampled_from(ENUM["enum"]),
)
def test_everything_written_is_allowed_by_the_grammar(text: str, integer: int, label: str) -> None:
    grammar = compact_grammar(schema(text={"type": "string"}, count={"type": "integer"}, label=ENUM))
    answer = f"text: {text}\ncount: {integer}\nlabel: {label}"
    assert re.fullmatch(re.escape(grammar.opening) + as_regex(grammar.gbnf), answer)


@pytest.mark.parametrize("ending", ["", "\n"])
def test_free_text_may_end_with_its_line(ending: str) -> None:
    grammar = compact_grammar(schema(text={"type": "string"}))
    assert re.fullmatch(as_regex(grammar.gbnf), f" some words{ending}")
    assert not re.fullmatch(as_regex(grammar.gbnf), " some\nwords")
    assert not re.fullmatch(as_regex(grammar.gbnf), " ")
