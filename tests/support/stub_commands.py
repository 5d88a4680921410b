"""Commands that end in every way a command can end, for the tests of the frame."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import typer

from oa_compile import errors
from oa_compile.cli import app, output
from oa_compile.cli.options import Json


def _raise(error: BaseException) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


DIAGNOSTIC = errors.Diagnostic(
    "OAC101", "unknown-key", "`nam` is no key", "a.toml", 3, 1, 3, 4, hint="try name"
)
FROM_FLAG = errors.Diagnostic("OAC105", "out-of-range", "too small", "<--seed>")

ENDINGS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "code": lambda: errors.ExitCode.GATE_MISSED,
    "exit": _raise(typer.Exit(3)),
    "usage": _raise(errors.UsageError("no such run", hint="look in runs/")),
    "spec": _raise(errors.SpecError("a.toml: 2 problems", diagnostics=(DIAGNOSTIC, FROM_FLAG))),
    "budget": _raise(errors.BudgetExhausted("the cap is reached", cap="run.msat")),
    "lane": _raise(errors.LaneError("the lane is gone")),
    "digest": _raise(errors.DigestMismatch("not the bytes")),
    "divergence": _raise(errors.Divergence("another call", diff="-asked\n+recorded [x]")),
    "stop": _raise(errors.StopRun(errors.BudgetExhausted("the cap is reached", cap="run.msat"))),
    "interrupt": _raise(KeyboardInterrupt()),
    "signal": lambda: signal.raise_signal(signal.SIGINT),
    "abort": _raise(typer.Abort()),
    "bug": _raise(ZeroDivisionError("division by zero")),
    "oserror": _raise(PermissionError(13, "Permission denied")),
}


def end(how: str, json: Json = False) -> object:
    """End in the way that is named."""
    return ENDINGS[how]()


def noisy(json: Json = False) -> None:
    """Print from everywhere, and one result."""
    print("python print")  # noqa: T201  # what libraries do
    sys.stdout.write("python write\n")
    os.write(1, b"os write\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"buffered C print")
    subprocess.run(["echo", "child process"], check=True)
    output.current().emit({"result": 1, "text": "ü"})
    print("python print after")  # noqa: T201
    libc.puts(b"buffered C print after")


def register() -> None:
    """Put the stubs among the commands."""
    for name in ("end", "noisy"):
        app.ENTRIES[name] = app.Entry(name, f"{__name__}:{name}", "A stub.", f"oacompile {name}")
