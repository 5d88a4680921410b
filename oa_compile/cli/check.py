"""One row of `doctor`: what was looked at, what was found, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oa_compile.errors import OacompileError, SpecError

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row. `fix` is a command or an edit; only rows that are not ok have one."""

    name: str
    status: Status
    found: str
    fix: str = ""


def failed(name: str, error: OacompileError) -> Check:
    """A row from an error: its first diagnostic says more than its message."""
    if isinstance(error, SpecError) and error.diagnostics:
        first, more = error.diagnostics[0], len(error.diagnostics) - 1
        found = f"{first.filename}:{first.row}:{first.column}: {first.message}"
        return Check(name, "fail", found + (f" (and {more} more)" if more else ""), first.hint)
    return Check(name, "fail", error.message, error.hint)
