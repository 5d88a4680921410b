"""``oacompile doctor``: what is missing here, and the command that fixes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json
from oa_compile.errors import ExitCode

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def doctor(
    budget: Budget = None,
    program: Annotated[
        Path | None, typer.Option("--program", metavar="<folder>", help="Check this program only.")
    ] = None,
    json: Json = False,
) -> int:
    """Say what is missing here, and the command that fixes it.

    Checks Python, packages, the machine, programs and datasets, the config and its lanes. Loads no
    model and asks nobody anything, but connects to the relays and the wallet that a swarm's lane names.
    Exit code 2 when something has to be fixed before a run.
    """
    from oa_compile.cli.checks import run_checks

    checks = list(run_checks(budget, program=program))
    failed = [check for check in checks if check.status == "fail"]
    out = output.current()
    if json:
        out.emit({"ok": not failed, "checks": [asdict(check) for check in checks]})
        return ExitCode.USAGE if failed else ExitCode.OK
    from rich.text import Text

    width = max(len(check.name) for check in checks)
    for check in checks:
        out.show(Text.assemble(_MARKS[check.status], f"  {check.name:<{width}}  {check.found}"))
        if check.status != "ok" and check.fix:
            out.show(Text.assemble(f"      {'':<{width}}  ", ("fix: ", "cyan"), check.fix))
    out.show(f"\n{len(failed)} to fix" if failed else "\nready")
    return ExitCode.USAGE if failed else ExitCode.OK
