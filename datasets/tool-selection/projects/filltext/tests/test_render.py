import pytest

from filltext.render import MissingValue, render, render_all
from filltext.tokens import places


def test_places():
    assert places("{{ a }} {{b|upper}}") == [("a", None), ("b", "upper")]


def test_render():
    assert render("Hi {{ name }}!", {"name": "Ada"}) == "Hi Ada!"


def test_render_filter():
    assert render("{{name|upper}}", {"name": "Ada"}) == "ADA"


def test_render_numbers():
    assert render("{{n}} left", {"n": 3}) == "3 left"


def test_render_missing_value():
    with pytest.raises(MissingValue):
        render("{{ x }}", {})


def test_render_all():
    assert render_all("{{a}}", [{"a": 1}, {"a": 2}]) == ["1", "2"]
