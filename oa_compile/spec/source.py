"""A TOML file a person wrote: its data, and where each entry stands.

Owns reading the bytes and everything that can be wrong before a model looks at the data.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from oa_compile.errors import Diagnostic, SpecError
from oa_compile.spec.diagnose import Code, Located, make
from oa_compile.spec.positions import Path, Place, Span, index_positions

MAX_BYTES = 1 << 20
"""A spec a person wrote is far smaller; what is larger is some other file."""

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TOP = Span(1, 1, 1, 1)


@dataclass(frozen=True)
class TomlFile:
    """A parsed file. `root` is the path of the table that is meant: ``("tool", "oacompile")``."""

    path: FilePath
    text: str
    data: dict[str, Any]
    root: Path = ()

    @cached_property
    def places(self) -> dict[Path, Place]:
        """Where every entry stands, by its path from the top of the file."""
        return index_positions(self.text)

    def locate(self, path: Path) -> Located:
        """The place of `path` below `root`, or of the nearest table around it."""
        whole = (*self.root, *path)
        for end in range(len(whole), 0, -1):
            if (place := self.places.get(whole[:end])) is not None:
                return Located(str(self.path), place, found=end == len(whole))
        return Located(str(self.path), Place(_TOP, _TOP), found=False)


def read_toml(path: FilePath) -> TomlFile:
    """The file at `path`. Raises SpecError with one diagnostic when it cannot be read as TOML."""
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise _refused(path, Code.UNREADABLE_FILE, f"cannot read the file: {reason}") from error
    except ValueError as error:  # a null byte in the name
        raise _refused(path, Code.UNREADABLE_FILE, f"cannot read the file: {error}") from error
    if len(raw) > MAX_BYTES:
        raise _refused(path, Code.UNREADABLE_FILE, f"the file is larger than {MAX_BYTES:,} bytes")
    text = _decode(path, raw)
    if not text.strip():
        raise _refused(path, Code.UNREADABLE_FILE, "the file is empty")
    try:
        return TomlFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _refused(path, Code.TOML_SYNTAX, *_syntax(str(error), text)) from error
    except RecursionError as error:
        raise _refused(path, Code.TOML_SYNTAX, "arrays or tables are nested too deeply") from error


def _decode(path: FilePath, raw: bytes) -> str:
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        message = "the file starts with a byte order mark; TOML is plain UTF-8"
        raise _refused(path, Code.BAD_ENCODING, message, hint="save it as UTF-8 without BOM")
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        column = len(raw[raw.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8")) + 1
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        span = Span(row, column, row, column)
        raise _refused(path, Code.BAD_ENCODING, message, span, hint="save it as UTF-8") from error


def _syntax(message: str, text: str) -> tuple[str, Span]:
    match = _POSITION.search(message)
    words = _POSITION.sub("", message)
    if match and match[1]:
        row, column = int(match[1]), int(match[2])
    else:
        lines = text.rstrip("\n").split("\n")
        row, column = len(lines), len(lines[-1]) + 1
    return f"not TOML: {words[:1].lower()}{words[1:]}", Span(row, column, row, column)


def _refused(path: FilePath, code: Code, message: str, span: Span | None = None, hint: str = "") -> SpecError:
    return spec_error((make(code, message, filename=str(path), span=span, hint=hint),))


def spec_error(diagnostics: tuple[Diagnostic, ...]) -> SpecError:
    """The error that carries `diagnostics`, at least one; its message names their files."""
    files = dict.fromkeys(diagnostic.filename for diagnostic in diagnostics)
    count = f"{len(diagnostics)} problem{'s' if len(diagnostics) > 1 else ''}"
    return SpecError(f"{', '.join(files)}: {count}", diagnostics=diagnostics)
