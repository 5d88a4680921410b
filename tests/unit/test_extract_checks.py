"""Checks: what counts as one, and when a log proves what it showed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.checks import check_name, judge, kind_of_check
from oa_compile.extract.commands import command_of, verification_of
from oa_compile.extract.session import ToolCall, ToolResult

OK = "running 3 tests\n\ntest result: ok. 3 passed; 0 failed; 0 ignored"
FAILED = "test a ... FAILED\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored"
BROKEN = "error[E0308]: mismatched types\nerror: could not compile `a` (lib) due to 1 previous error"
BUILT = "   Compiling a v0.1.0\n    Finished `dev` profile [unoptimized] target(s) in 2.54s"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("cargo test -p a", "test"),
        ("cargo +nightly nextest run", "test"),
        ("RUST_LOG=debug cargo test 2>&1 | tail", "test"),
        ("cd web && pnpm --filter=@x/y test", "test"),
        ("pnpm --filter @x/y run test:unit", "test"),
        ("npm t", "test"),
        ("bun test src", "test"),
        ("npx vitest run", "test"),
        ("uv run pytest -q", "test"),
        ("python -m unittest", "test"),
        ("go test ./...", "test"),
        ("./gradlew :app:test", "test"),
        ("mvn -q verify", "test"),
        ("make -C core check-tests", "test"),
        ("cargo check", "build"),
        ("cargo fmt && cargo clippy && cargo build", "build"),
        ("pnpm typecheck", "build"),
        ("npx tsc --noEmit -p .", "build"),
        ("make", "build"),
        ("make -j8 all", "build"),
        ("g++ -O2 a.cc", "build"),
        ("mypy src", "build"),
        ("cargo fmt --check", "lint"),
        ("ruff check .", "lint"),
        ("pnpm -w run lint -- --fix", "lint"),
        ("git commit -m 'cargo test passes'", None),
        ("grep -rn 'cargo test' .", None),
        ("pip install pytest", None),
        ("cargo test --help", None),
        ("cat pytest.ini", None),
        ("make clean", None),
        ("ls tests", None),
        ("npm install --save-dev jest", None),
        ("cargo run --bin tests", None),
    ],
)
def test_what_a_command_checks(command: str, kind: str | None) -> None:
    assert kind_of_check(command) == kind


@pytest.mark.parametrize(
    ("command", "output", "shown"),
    [
        # A status of its own decides; without one that is known, what was printed may say more.
        ("cargo test", "Exit code 101", False),
        ("cargo test && git push", "Exit code 1\n! [rejected] main", None),
        ("cargo test && git push", f"Exit code 101\n{FAILED}", False),
        ("cd a && cargo test", "Exit code 101", False),
        ("cd a && cargo test", "(eval):cd:1: no such file or directory: a", None),
        ("npm run test", 'npm error Missing script: "test"', None),
        ("cargo test", "The user doesn't want to proceed with this tool use.", None),
    ],
)
def test_a_command_that_ended_badly(command: str, output: str, shown: bool | None) -> None:
    verdict = judge(command, output, is_error=True, exit_code=None)
    assert (verdict and verdict.passed) is shown


@pytest.mark.parametrize(
    ("command", "output", "shown"),
    [
        ("cargo test", OK, True),
        ("cargo test", "", True),
        ("cargo test", FAILED, False),
        ("cargo test && git push", "", True),
        ("cargo test && cargo build | tail -3", "", None),
        # Behind a pipe the status is the pipe's.
        ("cargo test 2>&1 | tail -5", OK, True),
        ("cargo test 2>&1 | tail -5", FAILED, False),
        ("cargo test 2>&1 | tail -5", "", None),
        ("cargo test | grep -c x", "3", None),
        ("cargo test 2>&1 | grep 'test result: ok'", OK, None),
        ("cargo test 2>&1 | grep 'test result'", OK, True),
        ("cargo test 2>&1 | head -2", OK, None),
        ("cargo test 2>&1 | head -50", OK, True),
        ("cargo test 2>&1 | grep 'panicked'", "thread 'a' panicked at src/a.rs:1:1", False),
        ("set -o pipefail; cargo test | tail", "", True),
        ("cargo test; git status", "clean", None),
        ("set -e; cargo test; git status", "clean", True),
        ("cargo test || true", "", None),
        ("cargo build 2>&1 | grep -E 'error|Finished'", BUILT, True),
        ("cargo build 2>&1 | tail", BROKEN, False),
        # Cargo has built the tests, and nobody saw them run.
        ("cargo test 2>&1 | grep Finished", BUILT, None),
        ("cargo test", "Command running in background with ID: b1", None),
        ("npx eslint . | tail", "✖ 3 problems (3 errors, 0 warnings)", False),
        ("pytest -q | tail -3", "=== 2 failed, 3 passed in 0.1s ===", False),
        ("pytest | tail -3", "=== 3 passed in 0.1s ===", True),
    ],
)
def test_a_command_that_ended_well(command: str, output: str, shown: bool | None) -> None:
    verdict = judge(command, output, is_error=False, exit_code=None)
    assert (verdict and verdict.passed) is shown


def test_a_known_status_is_believed_over_what_was_printed() -> None:
    passed = judge("cargo test", "the word error: is in a test's name: error: x", is_error=False, exit_code=0)
    failed = judge("cargo test", OK, is_error=False, exit_code=101)
    assert passed is not None
    assert passed.passed
    assert failed is not None
    assert not failed.passed


def test_a_run_of_no_tests_only_shows_that_the_code_compiles() -> None:
    none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 7 filtered out"
    assert judge("cargo test nothing", none, is_error=False, exit_code=0) == ("build", True)
    assert (
        judge("pytest -k x", "collected 0 items\n\n=== no tests ran ===", is_error=False, exit_code=0) is None
    )
    assert judge("cargo test", f"{none}\n{OK}", is_error=False, exit_code=0) == ("test", True)


def test_the_same_check_has_the_same_name() -> None:
    assert check_name("cd a && RUST_LOG=x cargo test -p b 2>&1 | tail -3") == "cargo test -p b"
    assert check_name("cargo test -p b 2>&1 | grep error") == "cargo test -p b"
    assert check_name("cargo fmt; cargo test") == "cargo fmt && cargo test"
    assert check_name("ls") == ""


def shell(result: ToolResult | None, **arguments: Any) -> ToolCall:
    return ToolCall("c", "shell", arguments, "m", 4, "", result)


def test_words_of_a_command_stay_words() -> None:
    call = shell(ToolResult(OK, False, 5), command=["bash", "-lc", "cd a && cargo test | tail"])
    found = verification_of(call)
    assert found is not None
    assert (found.kind, found.passed, found.line) == ("test", True, 4)
    assert command_of(call) == "bash -lc 'cd a && cargo test | tail'"


def test_a_call_without_a_result_shows_nothing() -> None:
    assert verification_of(shell(None, command="cargo test")) is None


@pytest.mark.parametrize(
    "text", ["=" * 200_000, "cd: " * 50_000, "1" * 200_000, "\n=" * 100_000, "ok " * 60_000]
)
def test_hostile_output_takes_no_longer_than_its_length(text: str) -> None:
    judge("cargo test | tail", text, is_error=False, exit_code=None)


@pytest.mark.parametrize(
    "text", ["npm " + "-F " * 6_000, "make " + "a " * 9_000, "cargo " + "+x " * 6_000, "mvn" + " a" * 9_000]
)
def test_hostile_commands_take_no_longer_than_their_length(text: str) -> None:
    assert kind_of_check(text) is None


@given(st.text(), st.text(), st.booleans(), st.one_of(st.none(), st.integers()))
def test_no_output_is_too_odd(command: str, output: str, is_error: bool, exit_code: int | None) -> None:
    judge(f"cargo test {command}", output, is_error=is_error, exit_code=exit_code)
