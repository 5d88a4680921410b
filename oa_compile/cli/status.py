"""``oacompile status``: which artifact of a program is in use, and how each came to its state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json, StoreFolder

if TYPE_CHECKING:
    from oa_compile.promote.store import ProgramStates


def status(
    program: Annotated[
        str | None, typer.Argument(metavar="PROGRAM", help="A program's name; all when left out.")
    ] = None,
    budget: Budget = None,
    store: StoreFolder = None,
    json: Json = False,
) -> None:
    """Show each program's artifacts, their states, the one in use, and every decision."""
    from oa_compile.errors import UsageError
    from oa_compile.promote.store import read_store
    from oa_compile.spec.load import load_config

    screen = output.current()
    path = store or Path(load_config(budget).config.promotion.store)
    programs = read_store(path)
    if program is not None:
        if program not in programs:
            known = ", ".join(sorted(programs)) or "none"
            raise UsageError(f"{path} knows no program `{program}`", hint=f"it knows: {known}")
        programs = {program: programs[program]}
    if json:
        screen.emit({name: _as_json(states) for name, states in programs.items()})
        return
    screen.show(*_lines(programs, path))


def _lines(programs: Mapping[str, ProgramStates], path: Path) -> list[str]:
    from oa_compile.digest import short

    if not programs:
        return [f"{path} is empty", "next  oacompile promote latest"]
    lines = []
    for name, states in sorted(programs.items()):
        lines.append(f"{name}  in use: {short(states.current) if states.current else 'none'}")
        for digest, state in states.states.items():
            shown = "superseded" if state == "promoted" and digest != states.current else state
            lines.append(f"  {short(digest)}  {shown}")
        lines.append("  decisions")
        for at, event in states.history:
            when = datetime.fromtimestamp(at / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
            why = f"  ({event.reason})" if event.reason else ""
            lines.append(f"    {when}Z  {short(event.artifact)}  {event.before} -> {event.after}{why}")
    return lines


def _as_json(states: ProgramStates) -> dict[str, Any]:
    return {
        "current": states.current or None,
        "artifacts": [{"artifact": digest, "state": state} for digest, state in states.states.items()],
        "decisions": [
            {
                "at": at,
                "artifact": event.artifact,
                "from": event.before,
                "to": event.after,
                "gates": event.gates,
                "reason": event.reason or None,
            }
            for at, event in states.history
        ],
    }
