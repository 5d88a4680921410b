import pytest

from inifile.lookup import flag, get
from inifile.parser import ParseError, parse

TEXT = """
# comment
debug = On
[server]
host = example.org
query = a=b
"""


def test_parse_sections():
    assert parse(TEXT)["server"]["host"] == "example.org"


def test_parse_keeps_equal_signs_in_values():
    assert parse(TEXT)["server"]["query"] == "a=b"


def test_parse_error_names_the_line():
    with pytest.raises(ParseError, match="line 2"):
        parse("a = 1\nnonsense")


def test_get_falls_back_to_the_top():
    assert get(parse(TEXT), "server", "debug") == "On"


def test_get_default():
    assert get(parse(TEXT), "server", "port", "80") == "80"


def test_flag():
    assert flag(TEXT, "server", "debug") is True
    assert flag(TEXT, "server", "trace") is False
