"""Checks: which shell commands see whether work holds, and what one of them showed.

Owns the names of test runners, compilers and linters, and how a verdict is read. The exit status decides
where it is the check's own: behind a pipe (``cargo test | tail``), before ``;`` or with ``|| true`` it is
not, and then only what the runner printed counts, as far as the pipe let it through. What proves nothing
either way is no check.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import re2

from oa_compile.extract.shell import Command, commands_in

Kind = Literal["test", "build", "lint"]


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.M)


def _said(*patterns: str) -> Callable[[bytes], bool]:
    """Whether an output says one of these. RE2 looks for all of them in one pass, at any length."""
    found = re2.compile("(?m)" + "|".join(patterns))
    return lambda output: found.search(output) is not None


_SCRIPTS = (
    r"(?:npm|pnpm|yarn|bun)(?: -\S+| (?:--filter|-F|-C|--prefix|workspace) [^-\s]\S*)*(?: run)?(?: -\S+)*"
)
_CARGO = r"cargo(?: [+-]\S+)*"
_MAVEN, _GRADLE = r"mvnw?(?: \S+)*", r"gradlew?(?: \S+)*"
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "test",
        _any(
            rf"{_CARGO} (?:nextest|test|t)\b",
            r"(?:pytest|py\.test|unittest|tox|nox)\b",
            rf"{_SCRIPTS} (?:test|t)\b",
            r"(?:vitest|jest|mocha|ava|ctest|rspec|phpunit)\b",
            r"(?:go|bun|deno|mix|dotnet|swift|bazel|just|stack|cabal|playwright) test",
            r"node (?:\S+ )*--test\b",
            r"(?:turbo|nx)(?: run)? (?:\S+:)?test\b",
            rf"{_MAVEN} (?:test|verify)\b",
            rf"{_GRADLE} \S*test\b",
            r"make(?: \S+)* \S*test",
            r"xcodebuild(?: \S+)* test\b",
            r"zig(?: build)? test",
        ),
    ),
    (
        "build",
        _any(
            rf"{_CARGO} (?:build|check|b|c)\b",
            r"go (?:build|vet|install)\b",
            rf"{_SCRIPTS} (?:build|typecheck|type-check|compile)\b",
            r"(?:rustc|tsc|vue-tsc|ninja|gcc|clang|cc|javac|xcodebuild|mypy|pyright|py_compile|compileall)\b",
            r"(?:g\+\+|clang\+\+) ",
            r"(?:turbo|nx)(?: run)? (?:\S+:)?build\b",
            r"make(?: -\S+)*(?: (?:all|build))?$",
            rf"{_MAVEN} (?:compile|package|install)\b",
            rf"{_GRADLE} \S*(?:build|assemble)\b",
            r"(?:dotnet|swift|zig|bazel) build|deno check|mix compile|cmake --build",
        ),
    ),
    (
        "lint",
        _any(
            rf"{_CARGO} (?:clippy|fmt)\b",
            rf"{_SCRIPTS} lint\b",
            r"(?:ruff|eslint|biome|flake8|pylint|golangci-lint|shellcheck|rubocop)\b",
            r"(?:black|prettier) --check",
        ),
    ),
)
# Looked for before anything is taken apart: most commands check nothing.
_MAYBE = _said(
    r"cargo|rustc|py|unittest|tox|nox|test|build|check|lint|tsc|vet|jest|mocha|\bava\b|make|ninja|gcc|g\+\+|clang"
    r"|\bcc\b|javac|mvn|gradle|spec|compile|xcode|ruff|flake8|black|biome|prettier|rubocop|go install|npm t\b"
)
_FAILED = _said(
    r"^error(?:\[E\d+\])?:",
    r": (?:fatal )?error: ",
    r"could not compile",
    r"\berror TS\d+:",
    r"^test result: FAILED|^test .* \.\.\. FAILED$",
    r"^FAILED\b|^--- FAIL:|^FAIL\b|^E {3}\S",
    r"^=+ .*\b[1-9]\d* (?:failed|errors?)\b",
    r"\b[1-9]\d* (?:failing|failed)\b",
    r"\bBUILD (?:FAILURE|FAILED)\b",
    r"^g?make(?:\[\d+\])?: \*\*\*",
    r"npm ERR!|\bELIFECYCLE\b",
    r"^(?:Syntax|Indentation|Tab|Import|ModuleNotFound)Error:",
    r"✖ [1-9]\d* problem|^Found [1-9]\d* errors?\b",
)
# Said also by runs that pass; it counts where nothing says that they did.
_MAYBE_FAILED = _said(r"panicked at ", r"^Traceback \(most recent call last\)", r"^failures:$")
_TESTED = _said(
    r"^test result: ok",
    r"\b[1-9]\d* pass(?:ed|ing)?\b",
    r"^ok[ \t]+\S+",
    r"^OK(?: \(|$)",
    r"^Tests:.*\bpassed",
)
# The last word of a run that went well: whatever a pipe left out, nothing failed before it.
_DONE = _said(
    r"\bBUILD SUCCESS",
    r"^=+ .*\bpassed\b",
    r"^Build (?:complete!|succeeded)",
    r"^Success: no issues",
)
# Cargo says it of tests before it runs them.
_BUILT = _said(r"^ *Finished `?\w", r"^All checks passed", r"no issues found")
_NO_TESTS = _said(
    r"^test result: ok\. 0 passed",
    r"^=* ?no tests ran",
    r"^collected 0 items",
    r"^Ran 0 tests",
    r"\[no test files\]",
    r"^No tests found",
)
_SOME_TESTS = _said(r"\b[1-9]\d* pass(?:ed|ing)?\b", r"^ok[ \t]+\S+[ \t]+[\d.(]", r"^Ran [1-9]")
_NOT_RUN = _said(
    r"^(?:Command running in background|The user doesn't want|\[Request interrupted|User rejected)"
    r"|^Command timed out|\bcd:(?: ?\d+:)? .{0,200}(?i:no such file)|(?i:no such file or directory): cd\b"
    r"|requires approval|\bMissing script: "
)
_SHOWS_FAILURES = re.compile(r"(?i)fail|error|test result(?!: ok)|passed|summary|panicked|-v\b")
_HEAD = re.compile(r"^head(?: -n ?| --lines=| -)?(\d+)?")
_COMPILES = re.compile(r"cargo|go ")
_HEAD_LINES = 10


class Verdict(NamedTuple):
    """What a check was and whether it passed."""

    kind: Kind
    passed: bool


def kind_of_check(command: str) -> Kind | None:
    """What a command checks, if it does; of several checks the one that proves most."""
    return _strongest(_checks_in(command)[1]) if _MAYBE(command.encode("utf-8", "replace")) else None


def check_name(command: str) -> str:
    """The same for commands that run the same checks, whatever is round them (`cd`, filters, settings)."""
    commands, checks = _checks_in(command)
    return " && ".join(commands[index].text for index in checks)


def judge(command: str, output: str, *, is_error: bool, exit_code: int | None) -> Verdict | None:
    """What a command that ran showed; None when it checked nothing, or nothing can be told from it."""
    kind = kind_of_check(command)
    if kind is None:
        return None
    commands, checks = _checks_in(command)
    said = output.encode("utf-8", "replace")
    if _NOT_RUN(said):
        return None
    passed = _passed(commands, checks, said, is_error=is_error, exit_code=exit_code)
    if passed is None:
        return None
    if passed and kind == "test" and _NO_TESTS(said) and not _SOME_TESTS(said):
        # A run of no tests shows that the code compiles, where it had to be compiled for that.
        return Verdict("build", passed=True) if _COMPILES.match(check_name(command)) else None
    return Verdict(kind, passed)


@functools.lru_cache(maxsize=256)
def _checks_in(command: str) -> tuple[list[Command], dict[int, Kind]]:
    commands = commands_in(command)
    checks: dict[int, Kind] = {}
    for index, one in enumerate(commands):
        for kind, pattern in _KINDS:
            if pattern.match(one.text) and not {"--help", "--version", "-V"} & set(one.words):
                checks[index] = kind
                break
    return commands, checks


def _strongest(checks: dict[int, Kind]) -> Kind | None:
    return next((kind for kind, _ in _KINDS if kind in checks.values()), None)


def _passed(
    commands: list[Command], checks: dict[int, Kind], said: bytes, *, is_error: bool, exit_code: int | None
) -> bool | None:
    failed = bool(_FAILED(said))
    bad = is_error or exit_code not in {None, 0}
    if all(_status_is_its_own(commands, index) for index in checks):
        if not bad:
            # Without a number, "no error" may be no more than nobody's having looked.
            return exit_code == 0 or not failed
        return False if failed or _alone(commands, checks) else None
    if failed:
        return False
    if bad and _alone(commands, checks):
        return False
    if _DONE(said) or ("test" not in checks.values() and _BUILT(said)):
        return True
    if _TESTED(said):
        return True if _let_through(commands, max(checks), said) else None
    return False if _MAYBE_FAILED(said) else None


def _status_is_its_own(commands: list[Command], index: int) -> bool:
    """Whether the line fails whenever this command does."""
    settings = {word for one in commands[:index] if one.words[0] == "set" for word in one.words[1:]}
    strict = any(re.fullmatch(r"-\w*e\w*", word) for word in settings)
    then = commands[index].then
    if then in {"|", "|&"}:
        return "pipefail" in settings
    if then == "&&":
        then = next((one.then for one in commands[index + 1 :] if one.then != "&&"), "")
        if then in {"|", "|&"}:
            return True  # what runs into that pipe is another command
    return then == "" or (then == ";" and strict)


def _alone(commands: list[Command], checks: dict[int, Kind]) -> bool:
    """Whether nothing else on the line can have failed; of `cd` it would have been said."""
    harmless = {"cd", "set", "export", "source"}
    return all(index in checks or one.words[0] in harmless for index, one in enumerate(commands))


def _let_through(commands: list[Command], check: int, said: bytes) -> bool:
    """Whether a failure would be seen behind the pipe the check runs into."""
    for one, then in zip(commands[check + 1 :], (c.then for c in commands[check:]), strict=False):
        if then not in {"|", "|&"}:
            break
        program = one.words[0].rsplit("/", 1)[-1]
        if program == "head":
            found = _HEAD.match(one.text)
            if said.count(b"\n") + 1 >= int(found[1] or _HEAD_LINES if found else _HEAD_LINES):
                return False
        elif program in {"grep", "egrep", "rg", "awk", "sed"} and not _SHOWS_FAILURES.search(one.text):
            return False
    return True
