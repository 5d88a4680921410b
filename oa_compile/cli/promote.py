"""``oacompile promote``: an artifact one step up, or as far as asked, when its gates hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json, StoreFolder
from oa_compile.cli.runs import find_run

if TYPE_CHECKING:
    from oa_compile.promote.promote import Promotion

To = Literal["staged", "shadow", "promoted"]


def promote(
    artifact: Annotated[
        str,
        typer.Argument(metavar="ARTIFACT", help="An artifact's folder, a run's folder or name, or latest."),
    ],
    to: Annotated[To | None, typer.Option("--to", help="How far; one step when left out.")] = None,
    budget: Budget = None,
    store: StoreFolder = None,
    json: Json = False,
) -> int:
    """Take a validated artifact up: candidate, staged, shadow, promoted.

    The gates of [promotion] are held against its validation, never against the compile's own scores; every
    decision is journaled with its evidence. Exit 0 when the steps were taken, 1 when a gate is missed, 4 when
    its worth could not be judged, 5 when the artifact is not whole.
    """
    from oa_compile.promote.promote import promote as take_up
    from oa_compile.promote.store import Store
    from oa_compile.spec.load import load_config
    from oa_compile.validate.question import find_artifact

    screen = output.current()
    config = load_config(budget).config
    found = find_artifact(find_run(artifact))
    with Store(store or Path(config.promotion.store)) as opened:
        promotion = take_up(found, opened, config.promotion, to=to, seed=config.run.seed)
    if json:
        screen.emit(_as_json(promotion))
    else:
        screen.show(*_lines(promotion))
    return promotion.exit_code


def _lines(promotion: Promotion) -> list[str]:
    from oa_compile.digest import short

    lines = [f"{promotion.program} {short(promotion.artifact)}: {promotion.state}"]
    for step in promotion.steps:
        lines.append(f"  {step.before} -> {step.after}: {'taken' if step.taken else 'not taken'}")
        for gate in step.gates:
            state = {True: "passed", False: "missed", None: "-"}[gate.passed]
            lines.append(f"    {gate.name:<13} {state:<7} {gate.reason}")
    evidence = promotion.evidence
    times = f", scored {evidence.scorings} times" if evidence.scorings > 1 else ""
    lines.append(f"  evidence  {evidence.journal} ({len(evidence.after)} examples{times})")
    lines.append(f"  kept in   {promotion.folder}")
    if promotion.state == "promoted":
        lines.append(f"  in use    {promotion.folder.parent / 'current'}")
        if promotion.replaced:
            lines.append(f"  before    {short(promotion.replaced)} (oacompile rollback {promotion.program})")
    return lines


def _as_json(promotion: Promotion) -> dict[str, Any]:
    return {
        "program": promotion.program,
        "artifact": promotion.artifact,
        "state": promotion.state,
        "steps": [
            {
                "from": step.before,
                "to": step.after,
                "taken": step.taken,
                "gates": [gate.as_dict() for gate in step.gates],
            }
            for step in promotion.steps
        ],
        "evidence": {
            "journal": promotion.evidence.journal,
            "testset": promotion.evidence.testset,
            "n": len(promotion.evidence.after),
            "scorings": promotion.evidence.scorings,
        },
        "folder": str(promotion.folder),
        "replaced": promotion.replaced or None,
        "exit_code": int(promotion.exit_code),
    }
