"""Projects about text: parsers, formats, search."""

from __future__ import annotations

from tools.sessions.project import Bug, Project

CSVLITE = Project(
    "csvlite",
    "CSV reading",
    {
        "csvlite/reader.py": '''def split_line(line, separator=","):
    """Fields of a line; a separator inside double quotes does not count."""
    fields, current, quoted = [], "", False
    for char in line:
        if char == '"':
            quoted = not quoted
        elif char == separator and not quoted:
            fields.append(current)
            current = ""
        else:
            current += char
    fields.append(current)
    return fields


def read_rows(text, separator=","):
    """Rows as dicts, named by the first line."""
    lines = [line for line in text.splitlines() if line]
    header = split_line(lines[0], separator)
    return [dict(zip(header, split_line(line, separator))) for line in lines[1:]]
''',
        "csvlite/columns.py": '''from csvlite.reader import read_rows


def column(text, name):
    """All values of one column."""
    return [row[name] for row in read_rows(text)]


def numbers(text, name):
    """A column as floats; empty cells are None."""
    return [float(value) if value else None for value in column(text, name)]
''',
        "tests/test_csvlite.py": '''from csvlite.columns import column, numbers
from csvlite.reader import read_rows, split_line

TEXT = 'name,size\\n"a,b",3\\nc,\\n'


def test_split_line_keeps_quoted_separator():
    assert split_line('"a,b",3') == ["a,b", "3"]


def test_split_line_last_field():
    assert split_line("x;y;z", ";") == ["x", "y", "z"]


def test_read_rows():
    assert read_rows(TEXT) == [{"name": "a,b", "size": "3"}, {"name": "c", "size": ""}]


def test_read_rows_other_separator():
    assert read_rows("a;b\\n1;2", ";") == [{"a": "1", "b": "2"}]


def test_column():
    assert column(TEXT, "name") == ["a,b", "c"]


def test_numbers_empty_cell():
    assert numbers(TEXT, "size") == [3.0, None]
''',
    },
    (
        Bug("return", "csvlite/reader.py", "split_line", "    fields.append(current)\n    return fields", "    return fields", "drops the last field"),
        Bug("off_by_one", "csvlite/reader.py", "read_rows", "for line in lines[1:]]", "for line in lines]", "treats the header as a row"),
        Bug("arguments", "csvlite/reader.py", "read_rows", "dict(zip(header, split_line(line, separator)))", "dict(zip(header, split_line(line)))", "does not pass the separator on"),
        Bug("edge_case", "csvlite/columns.py", "numbers", "float(value) if value else None", "float(value)", "cannot convert an empty cell"),
    ),
)

SLUGS = Project(
    "slugs",
    "slug building",
    {
        "slugs/clean.py": '''import re


def strip_accents(text):
    """Replace the accented letters we know."""
    table = str.maketrans("äöüéèàç", "aoueeac")
    return text.translate(table)


def words(text):
    """Lower-case words of letters and digits."""
    return re.findall(r"[a-z0-9]+", strip_accents(text.lower()))
''',
        "slugs/build.py": '''from slugs.clean import words


def slugify(title, limit=40):
    """Words joined by hyphens, cut at a word's end so that it fits the limit."""
    slug = ""
    for word in words(title):
        longer = f"{slug}-{word}" if slug else word
        if len(longer) > limit:
            break
        slug = longer
    return slug


def unique(slug, taken):
    """The slug, with -2, -3 ... when it is taken."""
    if slug not in taken:
        return slug
    number = 2
    while f"{slug}-{number}" in taken:
        number += 1
    return f"{slug}-{number}"
''',
        "tests/test_slugs.py": '''from slugs.build import slugify, unique
from slugs.clean import words


def test_words_without_accents():
    assert words("Über den Wölfen") == ["uber", "den", "wolfen"]


def test_slugify():
    assert slugify("Hello, big World!") == "hello-big-world"


def test_slugify_cuts_at_words():
    assert slugify("alpha beta gamma", limit=10) == "alpha-beta"


def test_unique_is_unchanged_when_free():
    assert unique("news", {"old"}) == "news"


def test_unique_counts_up():
    assert unique("news", {"news", "news-2"}) == "news-3"
''',
    },
    (
        Bug("off_by_one", "slugs/build.py", "slugify", "if len(longer) > limit:", "if len(longer) >= limit:", "cuts one character too early"),
        Bug("constant", "slugs/build.py", "unique", "    number = 2\n", "    number = 1\n", "starts counting at 1"),
        Bug("order", "slugs/clean.py", "words", "strip_accents(text.lower())", "strip_accents(text)", "never lowers the text"),
        Bug("typo", "slugs/build.py", "slugify", 'f"{slug}-{word}" if slug', 'f"{slug}_{word}" if slug', "joins words with an underscore"),
    ),
)

INIFILE = Project(
    "inifile",
    "settings files",
    {
        "inifile/parser.py": '''class ParseError(ValueError):
    """A line is neither a section, a setting nor a comment."""


def parse(text):
    """Settings by section; settings before any section are under ""."""
    result, section = {"": {}}, ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            result.setdefault(section, {})
        elif "=" in line:
            key, value = line.split("=", 1)
            result[section][key.strip()] = value.strip()
        else:
            raise ParseError(f"line {number}: {line}")
    return result
''',
        "inifile/lookup.py": '''from inifile.parser import parse

TRUE = ("yes", "true", "on", "1")


def get(settings, section, key, default=None):
    """A setting, looked up in its section and then at the top."""
    if key in settings.get(section, {}):
        return settings[section][key]
    return settings[""].get(key, default)


def flag(text, section, key):
    """A setting as a boolean."""
    return get(parse(text), section, key, "no").lower() in TRUE
''',
        "tests/test_inifile.py": '''import pytest

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
        parse("a = 1\\nnonsense")


def test_get_falls_back_to_the_top():
    assert get(parse(TEXT), "server", "debug") == "On"


def test_get_default():
    assert get(parse(TEXT), "server", "port", "80") == "80"


def test_flag():
    assert flag(TEXT, "server", "debug") is True
    assert flag(TEXT, "server", "trace") is False
''',
    },
    (
        Bug("off_by_one", "inifile/parser.py", "parse", "start=1)", "start=0)", "counts lines from zero"),
        Bug("constant", "inifile/parser.py", "parse", 'line.split("=", 1)', 'line.split("=")', "splits at every equals sign"),
        Bug("key", "inifile/lookup.py", "get", 'settings[""].get(key, default)', 'settings["top"].get(key, default)', "looks for a section called `top`"),
        Bug("order", "inifile/lookup.py", "flag", '"no").lower() in TRUE', '"no") in TRUE', "compares without lowering the case"),
    ),
)

WRAP = Project(
    "wrapper",
    "text wrapping",
    {
        "wrapper/measure.py": '''def width(text, tab=4):
    """Columns a text takes, tabs counted as `tab`."""
    return len(text.replace("\\t", " " * tab))
''',
        "wrapper/wrap.py": '''from wrapper.measure import width


def wrap(text, columns):
    """Lines no wider than `columns`; a longer word stands alone."""
    lines, current = [], ""
    for word in text.split():
        candidate = f"{current} {word}".strip()
        if width(candidate) <= columns or not current:
            current = candidate
        else:
            lines.append(current)
            current = word
    if current:
        lines.append(current)
    return lines


def center(text, columns, fill=" "):
    """Text in the middle, extra fill on the right."""
    left = (columns - width(text)) // 2
    right = columns - width(text) - left
    return fill * left + text + fill * right


def indent(text, prefix):
    """Every line that is not empty gets the prefix."""
    return "\\n".join(prefix + line if line else line for line in text.split("\\n"))
''',
        "tests/test_wrap.py": '''from wrapper.measure import width
from wrapper.wrap import center, indent, wrap


def test_width_of_tabs():
    assert width("\\ta") == 5


def test_wrap_exact_fit():
    assert wrap("one two three", 7) == ["one two", "three"]


def test_wrap_long_word():
    assert wrap("a extraordinary b", 5) == ["a", "extraordinary", "b"]


def test_wrap_nothing():
    assert wrap("", 5) == []


def test_center():
    assert center("ab", 5, ".") == ".ab.."


def test_indent_skips_empty_lines():
    assert indent("a\\n\\nb", "> ") == "> a\\n\\n> b"
''',
    },
    (
        Bug("off_by_one", "wrapper/wrap.py", "wrap", "width(candidate) <= columns", "width(candidate) < columns", "breaks a line that would just fit"),
        Bug("edge_case", "wrapper/wrap.py", "wrap", "    if current:\n        lines.append(current)\n", "    lines.append(current)\n", "adds an empty line for an empty text"),
        Bug("operator", "wrapper/wrap.py", "center", "right = columns - width(text) - left", "right = columns - width(text) + left", "adds the left margin where it should subtract"),
        Bug("edge_case", "wrapper/wrap.py", "indent", "prefix + line if line else line for", "prefix + line for", "prefixes empty lines as well"),
    ),
)

TEMPLATE = Project(
    "filltext",
    "template filling",
    {
        "filltext/tokens.py": '''import re

PLACE = re.compile(r"\\{\\{\\s*(\\w+)(?:\\|(\\w+))?\\s*\\}\\}")


def places(template):
    """Names and filters of all places, in order."""
    return [(m.group(1), m.group(2)) for m in PLACE.finditer(template)]
''',
        "filltext/render.py": '''from filltext.tokens import PLACE

FILTERS = {"upper": str.upper, "lower": str.lower, "title": str.title}


class MissingValue(KeyError):
    """The template names a value that was not given."""


def render(template, values):
    """The template with every place filled in."""

    def fill(match):
        name, wanted = match.group(1), match.group(2)
        if name not in values:
            raise MissingValue(name)
        text = str(values[name])
        return FILTERS[wanted](text) if wanted else text

    return PLACE.sub(fill, template)


def render_all(template, rows):
    """One text for each row."""
    return [render(template, row) for row in rows]
''',
        "tests/test_render.py": '''import pytest

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
''',
    },
    (
        Bug("edge_case", "filltext/render.py", "render", "text = str(values[name])", "text = values[name]", "does not turn numbers into text"),
        Bug("return", "filltext/render.py", "render", "return PLACE.sub(fill, template)", "PLACE.sub(fill, template)", "forgets to return the result"),
        Bug("import", "filltext/render.py", "render", "from filltext.tokens import PLACE", "from filltext.tokens import PLACES", "imports a name that does not exist"),
        Bug("operator", "filltext/render.py", "render", "if name not in values:", "if name in values:", "has the membership test inverted"),
    ),
)

PROJECTS = (CSVLITE, SLUGS, INIFILE, WRAP, TEMPLATE)
