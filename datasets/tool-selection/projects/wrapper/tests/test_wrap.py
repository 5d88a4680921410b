from wrapper.measure import width
from wrapper.wrap import center, indent, wrap


def test_width_of_tabs():
    assert width("\ta") == 5


def test_wrap_exact_fit():
    assert wrap("one two three", 7) == ["one two", "three"]


def test_wrap_long_word():
    assert wrap("a extraordinary b", 5) == ["a", "extraordinary", "b"]


def test_wrap_nothing():
    assert wrap("", 5) == []


def test_center():
    assert center("ab", 5, ".") == ".ab.."


def test_indent_skips_empty_lines():
    assert indent("a\n\nb", "> ") == "> a\n\n> b"
