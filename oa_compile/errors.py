"""Every error a user can meet, with the exit code it ends in.

Owns the error tree and the exit codes; does not format anything for a terminal.

    OacompileError            70  a bug of ours, when nothing narrower fits
    ├── UsageError             2  wrong options, files that are not there
    │   └── SpecError          2  a spec or config that does not hold (carries diagnostics)
    ├── BudgetExhausted        3  a cap was reached
    ├── LaneError              4  a lane or a payment failed; resumable
    ├── ExecutorError          4  workers kept dying, or their cluster is gone; doing it again may work
    ├── SandboxError           4  a sandbox broke: nothing was learnt about the code in it
    ├── StorageError           4  the disk would not take what must be kept; resumable
    ├── DigestMismatch         5  an artifact, bundle or journal is not what it claims
    ├── Divergence             1  a replay asked for a call that was not recorded
    └── Interrupted          130  Ctrl-C; settled and resumable

``StopRun`` is a BaseException on purpose: DSPy's optimizers swallow every Exception as a wrong
answer, and a stop must pass straight through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Stable exit codes; CI jobs branch on them."""

    OK = 0
    GATE_MISSED = 1
    USAGE = 2
    BUDGET = 3
    LANE = 4
    MISMATCH = 5
    BUG = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding in a file a person wrote. Rows and columns count from 1."""

    code: str
    name: str
    message: str
    filename: str
    row: int = 1
    column: int = 1
    end_row: int | None = None
    end_column: int | None = None
    severity: str = "error"
    hint: str = ""


class OacompileError(Exception):
    """Base of everything raised on purpose.

    ``message`` says what is wrong and where; ``hint`` says the next step.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, without its constructor: a worker's error reaches whoever gave it the work."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class UsageError(OacompileError):
    """The command cannot run as asked."""

    exit_code = ExitCode.USAGE


class SpecError(UsageError):
    """A program spec or config does not hold; ``diagnostics`` name file and line."""

    def __init__(self, message: str, *, diagnostics: tuple[Diagnostic, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = diagnostics


class BudgetExhausted(OacompileError):
    """A cap refused a reservation. ``cap`` names it, e.g. ``run.msat`` or ``lane swarm.calls``."""

    exit_code = ExitCode.BUDGET

    def __init__(self, message: str, *, cap: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cap = cap


class LaneError(OacompileError):
    """A lane could not do its work, and retrying inside the run did not help."""

    exit_code = ExitCode.LANE


class ExecutorError(OacompileError):
    """Work could not be finished where it was sent: its workers kept dying, or could not be reached."""

    exit_code = ExitCode.LANE


class SandboxError(OacompileError):
    """A sandbox broke while it was to run a job. Says nothing about the code."""

    exit_code = ExitCode.LANE


class StorageError(OacompileError):
    """The disk would not take what must be kept (full, gone, read-only). Nothing settled is lost."""

    exit_code = ExitCode.LANE


class DigestMismatch(OacompileError):
    """Bytes are not the bytes that were promised."""

    exit_code = ExitCode.MISMATCH


class Divergence(OacompileError):
    """A replay asked for a call that the journal does not hold. ``diff`` shows the two requests."""

    exit_code = ExitCode.GATE_MISSED

    def __init__(self, message: str, *, diff: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.diff = diff


class Interrupted(OacompileError):
    """The user stopped the run."""

    exit_code = ExitCode.INTERRUPTED


class StopRun(BaseException):
    """Carries the error that ends a run straight through an optimizer's ``except Exception``."""

    def __init__(self, error: OacompileError) -> None:
        super().__init__(str(error))
        self.error = error
