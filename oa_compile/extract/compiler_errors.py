"""Compilers' errors in a build's output, and which kind each is.

Owns what compilers' codes and phrases mean: rustc, TypeScript, gcc, clang and linkers, Python and mypy, Go,
Java. An error that belongs to none of the four kinds, like the use of a moved value, has none; nor has a name
nobody knows, unless the compiler says that an import is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Category = Literal["TYPE_ERROR", "IMPORT_ERROR", "SYNTAX_ERROR", "LINK_ERROR"]
Kinds = tuple[tuple[Category, re.Pattern[str]], ...]

MAX_ERRORS = 50
_MESSAGE_CHARS = 200


class CompilerError(NamedTuple):
    """One error. `category` is None for a kind of its own; `where` is ``file:line``, empty when it is not
    told.
    """

    category: Category | None
    code: str
    message: str
    where: str

    def __str__(self) -> str:
        said = f"{self.code}: {self.message}" if self.code else self.message
        return f"{said} ({self.where})" if self.where else said


def errors_in(output: str) -> list[CompilerError]:
    """The distinct errors of a build's output, in order, at most `MAX_ERRORS`."""
    found: dict[int, CompilerError] = {}
    for read in (_rust, _typescript, _mypy, _java, _go, _python, _c, _linker):
        for at, error in read(output):
            # What two readings see in one line, the stricter one has seen first.
            found.setdefault(at, error)
    return list(dict.fromkeys(error for _, error in sorted(found.items())))[:MAX_ERRORS]


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RUST_CODES: dict[Category, frozenset[str]] = {
    "TYPE_ERROR": _codes(
        "E0004 E0005 E0023 E0026 E0027 E0029 E0046 E0050 E0053 E0054 E0057 E0060 E0061 E0062 E0063 E0069"
        " E0107 E0164 E0186 E0191 E0220 E0223 E0229 E0271 E0275 E0276 E0277 E0282 E0283 E0308 E0317 E0326"
        " E0369 E0407 E0437 E0559 E0560 E0599 E0600 E0604 E0605 E0606 E0607 E0608 E0609 E0610 E0614 E0615"
        " E0618 E0620"
    ),
    "IMPORT_ERROR": _codes("E0252 E0254 E0255 E0364 E0365 E0429 E0430 E0431 E0432 E0433 E0463 E0583"),
    "SYNTAX_ERROR": _codes("E0585 E0586 E0748 E0758 E0762 E0763 E0765 E0766 E0768"),
}
_RUST_NAMES = _codes("E0405 E0408 E0412 E0422 E0423 E0425 E0531 E0574")
_RUST = re.compile(r"^error(?:\[(E\d{4})\])?: (.+)(?:\n\s*--> (\S+?):(\d+))?", re.M)
_RUST_SUMMARY = re.compile(
    r"could not compile|aborting due|(?:doc)?test failed|build failed|failed to|\d+ target|no |package ID"
)
_RUST_SYNTAX = re.compile(
    r"expected |unexpected |unknown start of token|this file contains an un|mismatched closing|unterminated"
    r"|missing `|invalid suffix|prefix `"
)


def _rust(output: str) -> Iterator[tuple[int, CompilerError]]:
    matches = list(_RUST.finditer(output))
    for index, match in enumerate(matches):
        code, message = match[1] or "", match[2]
        category: Category | None
        if code in _RUST_NAMES:
            end = matches[index + 1].start() if index + 1 < len(matches) else len(output)
            category = "IMPORT_ERROR" if "consider importing" in output[match.start() : end] else None
        elif code:
            category = next((kind for kind, codes in _RUST_CODES.items() if code in codes), None)
        elif message.startswith("linking with "):
            category = "LINK_ERROR"
        elif _RUST_SUMMARY.match(message) or not match[3]:
            continue  # cargo's own words, or another program's
        else:
            category = "SYNTAX_ERROR" if _RUST_SYNTAX.match(message) else None
        yield match.start(), _error(category, code, message, match[3], match[4])


_TS = re.compile(r"^(\S.{0,300}?)(?:\((\d+),\d+\)|:(\d+):\d+)(?:: | - )error TS(\d+): (.+)$", re.M)
_TS_IMPORTS = _codes("1149 1192 1259 1261 2305 2306 2307 2613 2614 2688 2724 2792 7016")
_TS_NAMES = _codes("2304 2318 2503 2552 2580 2582 2583 2584")


def _typescript(output: str) -> Iterator[tuple[int, CompilerError]]:
    for match in _TS.finditer(output):
        code, number = match[4], int(match[4][:6])
        category: Category | None = None
        if code in _TS_IMPORTS:
            category = "IMPORT_ERROR"
        elif 1001 <= number < 1200:
            category = "SYNTAX_ERROR"
        elif code not in _TS_NAMES and (number // 1000 in {2, 7} or 18046 <= number <= 18049):
            category = "TYPE_ERROR"
        yield match.start(), _error(category, f"TS{code}", match[5], match[1], match[2] or match[3])


_MYPY = re.compile(r"^(\S[^:\n]{0,300}):(\d+):(?:\d+:)? error: ([^\n]{1,500}?)  \[([a-z-]+)\]$", re.M)
_MYPY_CODES: dict[str, Category | None] = {
    "import": "IMPORT_ERROR",
    "import-not-found": "IMPORT_ERROR",
    "import-untyped": "IMPORT_ERROR",
    "syntax": "SYNTAX_ERROR",
    "name-defined": None,
    "misc": None,
}


def _mypy(output: str) -> Iterator[tuple[int, CompilerError]]:
    for match in _MYPY.finditer(output):
        category = _MYPY_CODES.get(match[4], "TYPE_ERROR")
        yield match.start(), _error(category, match[4], match[3], match[1], match[2])


_PYTHON = re.compile(
    r"^(?:E +)?(SyntaxError|IndentationError|TabError|ModuleNotFoundError|ImportError): (.+)$", re.M
)


def _python(output: str) -> Iterator[tuple[int, CompilerError]]:
    for match in _PYTHON.finditer(output):
        category: Category = (
            "IMPORT_ERROR" if match[1].endswith(("FoundError", "ImportError")) else "SYNTAX_ERROR"
        )
        yield match.start(), _error(category, match[1], match[2])


_JAVA = re.compile(r"^(\S[^:\n]{0,300}\.java):(\d+): error: (.+)$", re.M)
_GO = re.compile(r"^(?:vet: )?(\S[^:\n]{0,300}\.go):(\d+):(?:\d+:)? (.+)$", re.M)
_C = re.compile(r"^(\S[^:\n]{0,300}):(\d+):(?:\d+:)? (?:fatal )?error: (.+)$", re.M)
_C_KINDS: Kinds = (
    (
        "IMPORT_ERROR",
        re.compile(r".*(?:No such file or directory|file not found|package \S+ does not exist)"),
    ),
    (
        "SYNTAX_ERROR",
        re.compile(r"expected |'.{1,3}' expected|unterminated|missing terminating|stray |extraneous"),
    ),
    (
        "TYPE_ERROR",
        re.compile(
            r".*(?:incompatible|cannot (?:convert|be converted|be applied|initialize)|invalid conversion"
            r"|no matching function|no member named|has no member|no viable|too (?:few|many) arguments"
            r"|invalid operands|incomplete type|conflicting types)"
        ),
    ),
)
_GO_KINDS: Kinds = (
    ("SYNTAX_ERROR", re.compile(r"syntax error|expected ")),
    (
        "IMPORT_ERROR",
        re.compile(
            r".*(?:cannot find package|no required module|could not import|imported and not used"
            r"|is not in std)"
        ),
    ),
    (
        "TYPE_ERROR",
        re.compile(
            r".*(?:cannot use |mismatched types|has no field or method|undefined \(type|does not implement"
            r"|(?:not enough|too many) (?:arguments|return values)|cannot convert|assignment mismatch)"
        ),
    ),
)


def _java(output: str) -> Iterator[tuple[int, CompilerError]]:
    return _by_phrase(_JAVA, _C_KINDS, output)


def _c(output: str) -> Iterator[tuple[int, CompilerError]]:
    return _by_phrase(_C, _C_KINDS, output)


def _go(output: str) -> Iterator[tuple[int, CompilerError]]:
    return _by_phrase(_GO, _GO_KINDS, output)


def _by_phrase(pattern: re.Pattern[str], kinds: Kinds, output: str) -> Iterator[tuple[int, CompilerError]]:
    for match in pattern.finditer(output):
        message = match[3][:_MESSAGE_CHARS]
        category = next((kind for kind, phrase in kinds if phrase.match(message)), None)
        yield match.start(), _error(category, "", message, match[1], match[2])


_LINKER = re.compile(
    r"^[^\n]{0,300}?(?:undefined reference to|[Uu]ndefined symbols? for|unable to find library|cannot find -l"
    r"|LNK\d{4}|multiple definition of|duplicate symbol)[^\n]{0,200}",
    re.M,
)


def _linker(output: str) -> Iterator[tuple[int, CompilerError]]:
    for match in _LINKER.finditer(output):
        yield match.start(), _error("LINK_ERROR", "", match[0].strip())


def _error(
    category: Category | None, code: str, message: str, file: str | None = None, line: str | None = None
) -> CompilerError:
    where = f"{file}:{line}" if file and line else ""
    return CompilerError(category, code, message.strip()[:_MESSAGE_CHARS], where)
