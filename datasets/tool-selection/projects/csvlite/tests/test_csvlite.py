from csvlite.columns import column, numbers
from csvlite.reader import read_rows, split_line

TEXT = 'name,size\n"a,b",3\nc,\n'


def test_split_line_keeps_quoted_separator():
    assert split_line('"a,b",3') == ["a,b", "3"]


def test_split_line_last_field():
    assert split_line("x;y;z", ";") == ["x", "y", "z"]


def test_read_rows():
    assert read_rows(TEXT) == [{"name": "a,b", "size": "3"}, {"name": "c", "size": ""}]


def test_read_rows_other_separator():
    assert read_rows("a;b\n1;2", ";") == [{"a": "1", "b": "2"}]


def test_column():
    assert column(TEXT, "name") == ["a,b", "c"]


def test_numbers_empty_cell():
    assert numbers(TEXT, "size") == [3.0, None]
