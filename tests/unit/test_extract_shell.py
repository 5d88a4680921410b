"""Shell lines: what is a command in them, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.shell import commands_in


def words(line: str) -> list[str]:
    return [" ".join(command.words) for command in commands_in(line)]


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("cargo test", ["cargo test"]),
        ("cd x && cargo test -p a 2>&1 | tail -30", ["cd x", "cargo test -p a", "tail -30"]),
        ("a;b\nc &", ["a", "b", "c"]),
        ("a &&\n b", ["a", "b"]),
        ("(cd a; npm test) || true", ["cd a", "npm test", "true"]),
        ("if cargo test; then echo ok; fi", ["cargo test", "echo ok", "fi"]),
        ("cmd >out.txt 2>err.txt <in", ["cmd"]),
        ("cargo build \\\n  --release", ["cargo build --release"]),
        ("FOO=1 BAR='a b' timeout -k 5 60 pytest -q", ["pytest -q"]),
        ("FOO=1 timeout 60 pytest -q", ["pytest -q"]),
        ("uv run --frozen pytest", ["pytest"]),
        ("python3 -m pytest -x", ["pytest -x"]),
        ("npx tsc --noEmit", ["tsc --noEmit"]),
        ("npm run build", ["npm run build"]),
        ("bash -lc 'cd a && make test'", ["cd a", "make test"]),
        ("echo 'cargo test'", ["echo cargo test"]),
        ("cargo test # it's slow", ["cargo test"]),
        ("# cargo test", []),
        ("A=1", []),
        ("echo 'never closed", []),
        ("", []),
    ],
)
def test_the_commands_of_a_line(line: str, commands: list[str]) -> None:
    assert words(line) == commands


def test_a_here_document_is_text() -> None:
    assert words("cat > f <<'EOF' && make\ncargo test\nit's\nEOF\nls") == ["cat", "make", "ls"]
    assert words("git commit -m \"$(cat <<'EOF'\nRan cargo test; it's fine\nEOF\n)\"")[0].startswith(
        "git commit"
    )


def test_what_stands_behind_a_command() -> None:
    assert [command.then for command in commands_in("a && b | c || d; e &")] == ["&&", "|", "||", ";", "&"]
    assert [command.then for command in commands_in("bash -c 'a; b' && c")] == [";", "&&", ""]


def test_a_programs_folder_is_not_its_name() -> None:
    assert commands_in(".venv/bin/pytest -q")[0].text == "pytest -q"


@given(st.text(alphabet="ab'\"\\ \n\t;|&<>()#$=-0E", max_size=60))
def test_no_line_is_too_odd(line: str) -> None:
    assert all(command.words for command in commands_in(line))
