"""Program specs: how they are found, and what is said where when they do not hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.digest import digest_file
from oa_compile.errors import Diagnostic, SpecError
from oa_compile.spec.diagnose import Code
from oa_compile.spec.load import load_program
from oa_compile.spec.source import MAX_BYTES
from tests.support.diagnostics import Said, problems

PROGRAM = """\
name = "triage"
[signature]
instructions = "Say what the issue is."
inputs = [{ name = "title" }]
outputs = [{ name = "label", type = "enum", values = ["bug", "feature"] }]
[[metrics]]
kind = "exact_match"
field = "label"
"""


def program_problems(tmp_path: Path, text: str | bytes) -> tuple[Diagnostic, ...]:
    path = tmp_path / "program.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return problems(lambda: load_program(path))


def test_a_program_loads_by_its_folder_and_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "program.toml"
    file.write_text(PROGRAM, encoding="utf-8")
    loaded = load_program(tmp_path)
    assert loaded == load_program(file)
    assert (loaded.spec.name, loaded.path, loaded.folder) == ("triage", file, tmp_path)
    assert loaded.text == PROGRAM
    assert loaded.digest == digest_file(file)


def test_windows_line_ends_do_not_move_positions(tmp_path: Path) -> None:
    (found,) = program_problems(tmp_path, PROGRAM.replace("exact_match", "exact").replace("\n", "\r\n"))
    assert (found.row, found.column) == (7, 8)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "[[metrics]]",
            "[[metric]]",
            Said(Code.UNKNOWN_KEY, 6, 3, "`metric` is not a key of the file", "`metrics`"),
        ),
        (
            'field = "label"',
            'feild = "label"',
            Said(Code.UNKNOWN_KEY, 8, 1, "`feild` is not a key of `metrics[0]`", "did you mean `field`?"),
        ),
        (
            '"label", type',
            '"label", typ',
            Said(
                Code.UNKNOWN_KEY,
                5,
                30,
                "`typ` is not a key of `signature.outputs[0]`",
                "did you mean `type`?",
            ),
        ),
        (
            '"exact_match"',
            '"exactmatch"',
            Said(Code.UNKNOWN_VALUE, 7, 8, '`kind` cannot be "exactmatch"', "did you mean `exact_match`?"),
        ),
        ('"triage"', "3", Said(Code.WRONG_TYPE, 1, 8, "`name` must be a string, not an integer", "")),
        (
            '"triage"',
            '"My Triage"',
            Said(Code.BAD_FORM, 1, 8, "`name` must be lower-case letters and digits", ""),
        ),
        (
            '"Say what the issue is."',
            '""',
            Said(Code.BAD_FORM, 3, 16, "`instructions` must not be empty", ""),
        ),
        (
            'field = "label"',
            'field = "lable"',
            Said(Code.INCONSISTENT, 8, 9, "reads `lable`, which is not an output", "did you mean `label`?"),
        ),
        (
            'field = "label"',
            "",
            Said(Code.MISSING_KEY, 6, 3, "`metrics[0]` needs `field`", "add `field = …`"),
        ),
        (
            '["bug", "feature"]',
            '["bug", "bug"]',
            Said(Code.INCONSISTENT, 5, 54, "`values` must be distinct", ""),
        ),
        (
            'field = "label"',
            'field = "label"\nweight = -1',
            Said(Code.OUT_OF_RANGE, 9, 10, "`weight` must be at least 0, got -1", ""),
        ),
        (
            'field = "label"',
            'field = "label"\nweight = 0',
            Said(Code.INCONSISTENT, 9, 10, "some metric needs a `weight` above 0", ""),
        ),
        (
            'field = "label"',
            'field = "label"\nweight = nan',
            Said(Code.OUT_OF_RANGE, 9, 10, "`weight` must be a finite number", ""),
        ),
        (
            'name = "triage"',
            'name = "triage"\nschema_version = 9',
            Said(
                Code.UNKNOWN_VALUE,
                2,
                18,
                "`schema_version` 9 is not known here",
                "version the file was written for",
            ),
        ),
        (
            'name = "triage"',
            'name = "triage"\n[splits]\nseed = "7"',
            Said(Code.WRONG_TYPE, 3, 8, "`seed` must be an integer, not a string", ""),
        ),
        (
            'name = "triage"',
            'name = "triage"\n[optimize]\ndemos = 1',
            Said(Code.WRONG_TYPE, 3, 9, "`demos` must be true or false, not an integer", ""),
        ),
        (
            'name = "triage"\n',
            "",
            Said(Code.MISSING_KEY, 1, 1, "the file needs `name`", "add `name = …`, a string"),
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(tmp_path: Path, before: str, after: str, said: Said) -> None:
    assert PROGRAM.count(before) == 1
    found = program_problems(tmp_path, PROGRAM.replace(before, after))
    first = next(d for d in found if d.code == said.code)
    assert (first.row, first.column) == (said.row, said.column)
    assert said.message in first.message
    assert said.hint in first.hint
    assert first.name == said.code.short_name
    assert first.filename == str(tmp_path / "program.toml")


def test_all_problems_are_reported_in_order(tmp_path: Path) -> None:
    text = PROGRAM.replace('"triage"', "3").replace('field = "label"', 'x = "label"')
    found = program_problems(tmp_path, text + "weight = -1\n")
    assert [(d.row, d.code) for d in found] == [
        (1, Code.WRONG_TYPE),
        (6, Code.MISSING_KEY),
        (8, Code.UNKNOWN_KEY),
        (9, Code.OUT_OF_RANGE),
    ]


def test_a_misspelt_key_is_not_missing_as_well(tmp_path: Path) -> None:
    found = program_problems(tmp_path, PROGRAM.replace("instructions =", "instruction ="))
    assert [d.code for d in found] == [Code.UNKNOWN_KEY]


def test_no_raw_phrase_of_pydantic_is_left(tmp_path: Path) -> None:
    text = 'name = 1\nsignature = 2\nmodule = 3\noptimize = 4\nmetrics = 5\nextract = [6]\nsplits = "7"\n'
    for found in program_problems(tmp_path, text):
        assert found.code == Code.WRONG_TYPE
        for phrase in ("Input", "Value error", "valid", "instance"):
            assert phrase not in found.message


@pytest.mark.parametrize(
    ("content", "code", "row", "message"),
    [
        (b"", Code.UNREADABLE_FILE, 1, "the file is empty"),
        (b" \n\n", Code.UNREADABLE_FILE, 1, "the file is empty"),
        (b"#" * (MAX_BYTES + 1), Code.UNREADABLE_FILE, 1, "larger than"),
        (b"\xef\xbb\xbfname = 1", Code.BAD_ENCODING, 1, "byte order mark"),
        ("name = 1".encode("utf-16"), Code.BAD_ENCODING, 1, "byte order mark"),
        (b"name = 1\nx = '\xff'", Code.BAD_ENCODING, 2, "byte 0xff is not UTF-8"),
        (b"a = 1\nb = = 2\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"a = 1\na = 2\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"a = 1\nb = [1,\n", Code.TOML_SYNTAX, 2, "not TOML"),
        (b"{}", Code.TOML_SYNTAX, 1, "not TOML"),
        (b"a = " + b"[" * 100_000, Code.TOML_SYNTAX, 1, "nested too deeply"),
        (bytes(range(256)) * 100, Code.BAD_ENCODING, 2, "is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_says_so(
    tmp_path: Path, content: bytes, code: Code, row: int, message: str
) -> None:
    (found,) = program_problems(tmp_path, content)
    assert (found.code, found.row) == (code, row)
    assert message in found.message


@given(st.integers(0, len(PROGRAM)), st.integers(0, 12), st.text(max_size=8))
def test_no_damage_ends_in_anything_but_diagnostics(
    tmp_path_factory: pytest.TempPathFactory, at: int, gone: int, put: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes((PROGRAM[:at] + put + PROGRAM[at + gone :]).encode("utf-8", "surrogatepass"))
    diagnostics: tuple[Diagnostic, ...] | None = None
    try:
        load_program(path)
    except SpecError as error:
        diagnostics = error.diagnostics
    assert diagnostics != ()
    rows = path.read_bytes().count(b"\n") + 1
    for found in diagnostics or ():
        assert 1 <= found.row <= rows
        assert found.column >= 1
        assert found.message


def test_a_missing_program_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "program.toml").write_text(PROGRAM, encoding="utf-8")
    (found,) = problems(lambda: load_program(tmp_path / "triagge"))
    assert (found.code, found.hint) == (Code.UNREADABLE_FILE, "did you mean `triage`?")


def test_a_folder_without_a_program_says_what_to_do(tmp_path: Path) -> None:
    (found,) = problems(lambda: load_program(tmp_path))
    assert "no program.toml" in found.message
    assert "oacompile init" in found.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "program.toml"
    path.write_text(PROGRAM, encoding="utf-8")
    path.chmod(0)
    (found,) = problems(lambda: load_program(path))
    assert "Permission denied" in found.message
