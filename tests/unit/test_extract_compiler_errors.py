"""Compilers' errors: the kind each code and phrase stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.compiler_errors import MAX_ERRORS, errors_in


@pytest.mark.parametrize(
    ("output", "category", "told"),
    [
        (
            "error[E0308]: mismatched types\n  --> src/a.rs:4:9\n",
            "TYPE_ERROR",
            "E0308: mismatched types (src/a.rs:4)",
        ),
        (
            "error[E0432]: unresolved import `a::B`\n --> src/a.rs:1:5",
            "IMPORT_ERROR",
            "E0432: unresolved import `a::B` (src/a.rs:1)",
        ),
        (
            "error: unexpected closing delimiter: `}`\n   --> src/a.rs:622:1",
            "SYNTAX_ERROR",
            "unexpected closing delimiter: `}` (src/a.rs:622)",
        ),
        (
            "error: linking with `cc` failed: exit status: 1",
            "LINK_ERROR",
            "linking with `cc` failed: exit status: 1",
        ),
        ("error[E0382]: borrow of moved value: `a`", None, "E0382: borrow of moved value: `a`"),
        (
            "error[E0425]: cannot find value `a` in this scope",
            None,
            "E0425: cannot find value `a` in this scope",
        ),
        (
            "error[E0412]: cannot find type `Map` in this scope\nhelp: consider importing this struct\n",
            "IMPORT_ERROR",
            "E0412: cannot find type `Map` in this scope",
        ),
        (
            "src/a.ts(4,7): error TS2375: Not assignable.",
            "TYPE_ERROR",
            "TS2375: Not assignable. (src/a.ts:4)",
        ),
        ("src/a.ts:4:7 - error TS1005: ';' expected.", "SYNTAX_ERROR", "TS1005: ';' expected. (src/a.ts:4)"),
        (
            "a.ts(1,1): error TS2307: Cannot find module 'x'.",
            "IMPORT_ERROR",
            "TS2307: Cannot find module 'x'. (a.ts:1)",
        ),
        ("a.ts(1,1): error TS2304: Cannot find name 'x'.", None, "TS2304: Cannot find name 'x'. (a.ts:1)"),
        (
            "a.py:3: error: Incompatible types in assignment  [assignment]",
            "TYPE_ERROR",
            "assignment: Incompatible types in assignment (a.py:3)",
        ),
        (
            "a.py:3: error: Cannot find x  [import-not-found]",
            "IMPORT_ERROR",
            "import-not-found: Cannot find x (a.py:3)",
        ),
        (
            "E   ModuleNotFoundError: No module named 'x'",
            "IMPORT_ERROR",
            "ModuleNotFoundError: No module named 'x'",
        ),
        ("SyntaxError: invalid syntax", "SYNTAX_ERROR", "SyntaxError: invalid syntax"),
        (
            "a.c:1:10: fatal error: x.h: No such file or directory",
            "IMPORT_ERROR",
            "x.h: No such file or directory (a.c:1)",
        ),
        (
            "a.c:5:2: error: expected ';' before '}' token",
            "SYNTAX_ERROR",
            "expected ';' before '}' token (a.c:5)",
        ),
        (
            "a.cc:5:2: error: no matching function for call",
            "TYPE_ERROR",
            "no matching function for call (a.cc:5)",
        ),
        (
            "a.o: in function `f': undefined reference to `g'",
            "LINK_ERROR",
            "a.o: in function `f': undefined reference to `g'",
        ),
        ("./a.go:3:2: syntax error: unexpected }", "SYNTAX_ERROR", "syntax error: unexpected } (./a.go:3)"),
        (
            "./a.go:3:2: cannot use x (type int) as string",
            "TYPE_ERROR",
            "cannot use x (type int) as string (./a.go:3)",
        ),
        (
            "a.go:3:2: no required module provides package x",
            "IMPORT_ERROR",
            "no required module provides package x (a.go:3)",
        ),
        (
            "A.java:3: error: package x.y does not exist",
            "IMPORT_ERROR",
            "package x.y does not exist (A.java:3)",
        ),
        ("A.java:3: error: ';' expected", "SYNTAX_ERROR", "';' expected (A.java:3)"),
    ],
)
def test_one_error(output: str, category: str | None, told: str) -> None:
    (error,) = errors_in(output)
    assert (error.category, str(error)) == (category, told)


@pytest.mark.parametrize(
    "output",
    [
        "error: could not compile `a` (lib) due to 1 previous error",
        "error: test failed, to rerun pass `--lib`",
        "error: failed to push some refs",
        "error: no test target named `x`",
        "all fine\n12:30:01 INFO done",
    ],
)
def test_what_is_no_compilers_error(output: str) -> None:
    assert errors_in(output) == []


def test_the_same_error_counts_once_and_many_are_cut() -> None:
    one = "error[E0308]: mismatched types\n --> src/a.rs:4:9\n"
    assert len(errors_in(one * 3)) == 1
    many = "".join(f"error[E0308]: mismatched types\n --> src/a.rs:{line}:9\n" for line in range(99))
    assert len(errors_in(many)) == MAX_ERRORS


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "a:" * 100_000, "(1,1)" * 40_000, "error: " * 30_000, "\n:" * 90_000]
)
def test_hostile_output_takes_no_longer_than_its_length(text: str) -> None:
    assert len(errors_in(text)) <= MAX_ERRORS


@given(st.text())
def test_no_output_is_too_odd(text: str) -> None:
    for error in errors_in(f"error[E0308]: {text}\n{text}"):
        assert error.message is not None
