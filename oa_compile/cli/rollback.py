"""``oacompile rollback``: the artifact in use out of use, the one before it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json, StoreFolder


def rollback(
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="The program's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    budget: Budget = None,
    store: StoreFolder = None,
    json: Json = False,
) -> None:
    """Put the artifact that was in use before back into use; the decision is journaled."""
    from oa_compile.digest import short
    from oa_compile.promote.store import Store
    from oa_compile.spec.load import load_config

    screen = output.current()
    with Store(store or Path(load_config(budget).config.promotion.store)) as opened:
        event = opened.rollback(program, reason=reason)
        current = opened.program(program).current
    if json:
        screen.emit({"program": program, "rolled_back": event.artifact, "current": current or None})
        return
    now = short(current) if current else "none: the program as written"
    screen.show(f"{program} {short(event.artifact)}: rolled back", f"  in use  {now}")
