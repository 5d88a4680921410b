"""``oacompile optimize``: a program, a dataset and a budget in; an artifact and a bundle out."""

from __future__ import annotations

import os
import secrets as tokens
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json, Seed
from oa_compile.cli.runs import RUNS, find_run, leave_at_once, open_lanes, shown
from oa_compile.errors import ExitCode, Interrupted, UsageError

if TYPE_CHECKING:
    from oa_compile.artifact.folder import RunFolder
    from oa_compile.cli.output import Output
    from oa_compile.optimize.driver import Outcome
    from oa_compile.optimize.forecast import ForecastLine
    from oa_compile.optimize.plan import Plan
    from oa_compile.spec.config import Config

_ANY_KEY = "1".rjust(64, "0")
"""Stands in for every secret where nothing is sent; Nostr's must look like one."""


def optimize(
    program: Annotated[
        Path | None, typer.Argument(metavar="PROGRAM", help="Folder of the program; not with --resume.")
    ] = None,
    budget: Budget = None,
    optimizer: Annotated[
        Literal["miprov2", "copro", "gepa"] | None,
        typer.Option("--optimizer", help="Optimizer instead of the config's."),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", metavar="<folder>", help="Dataset instead of the program's.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="<name>", help="Name of the new run.")] = None,
    runs: Annotated[Path, typer.Option("--runs", metavar="<folder>", help="Where runs are kept.")] = RUNS,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="<run>", help="Go on with a run: its folder, its name, or latest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take; no model, no network.")
    ] = False,
    seed: Seed = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="<int>", min=1, help="Calls at once.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Spend above run.confirm_above without asking.")] = False,
    json: Json = False,
) -> int:
    """Search for better instructions and demos under a budget.

    Writes a run folder with the journal, the artifact and the replay bundle. Whatever stops it, the
    journal keeps every answer: --resume goes on without paying for any of them again.
    """
    screen = output.current()
    if resume is not None:
        if program is not None or run is not None or dataset is not None or optimizer is not None:
            raise UsageError(
                "--resume goes on with a run as it is: name no program, dataset, optimizer or --run"
            )
        folder = _taken_up(find_run(resume, runs=runs), budget=budget, seed=seed, threads=threads)
        return _run(folder, screen=screen, yes=yes, json=json, dry_run=dry_run)
    if program is None:
        raise UsageError(
            "which program?",
            hint="for example `oacompile optimize programs/triage --budget configs/embedded.toml`, "
            "or --resume to go on with a run",
        )
    return _new(
        program,
        config=_config(budget, optimizer=optimizer, seed=seed, threads=threads),
        dataset=dataset,
        command=f"oacompile optimize {program}" + (f" --budget {budget}" if budget else ""),
        path=runs / run if run else None,
        runs=runs,
        screen=screen,
        yes=yes,
        json=json,
        dry_run=dry_run,
    )


def _config(budget: Path | None, *, optimizer: str | None, seed: int | None, threads: int | None) -> Config:
    from oa_compile.spec.load import Flag, load_config

    flags = {
        "optimizer.name": Flag("--optimizer", optimizer),
        "run.seed": Flag("--seed", seed),
        "run.threads": Flag("--threads", threads),
    }
    return load_config(budget, overrides=flags).config


def _new(
    program: Path,
    *,
    config: Config,
    dataset: Path | None,
    command: str,
    path: Path | None,
    runs: Path,
    screen: Output,
    yes: bool,
    json: bool,
    dry_run: bool,
) -> int:
    """A new run; a dry run is made in a folder that is thrown away."""
    import tempfile

    from oa_compile.artifact.folder import create
    from oa_compile.spec.load import load_program

    loaded = load_program(program)
    source = dataset or (loaded.folder / loaded.spec.dataset if loaded.spec.dataset else None)
    if source is None or not source.is_dir():
        place = Path(os.path.relpath(source or Path("datasets", loaded.spec.name)))
        raise UsageError(
            f"{loaded.path}: its dataset {place if source else ''} is not there",
            hint=f"make it with `oacompile extract SESSIONS --program {program} --out {place}`",
        )
    if dry_run:
        with tempfile.TemporaryDirectory() as root:
            folder = create(Path(root) / "dry", program=loaded, config=config, dataset=source)
            return _run(folder, screen=screen, yes=yes, json=json, dry_run=True, command=command)
    if path is None:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        path = runs / f"{loaded.spec.name}-{config.optimizer.name}-{stamp}-{tokens.token_hex(2)}"
    folder = create(path, program=loaded, config=config, dataset=source)
    return _run(folder, screen=screen, yes=yes, json=json, dry_run=False)


def _taken_up(path: Path, *, budget: Path | None, seed: int | None, threads: int | None) -> RunFolder:
    """A run to go on with; budgets and threads may be new, nothing that decides the result may."""
    from oa_compile.artifact.folder import open_run, read_inputs, write_config
    from oa_compile.optimize.resume import with_budgets

    folder = open_run(path)
    config = read_inputs(folder).config
    if seed is not None and seed != config.run.seed:
        raise UsageError(f"run `{folder.name}` has seed {config.run.seed}: another seed is another run")
    if budget is not None:
        config = with_budgets(config, _config(budget, optimizer=None, seed=None, threads=None))
    if threads is not None:
        config = config.model_copy(update={"run": config.run.model_copy(update={"threads": threads})})
    write_config(folder, config)
    return folder


def _run(
    folder: RunFolder, *, screen: Output, yes: bool, json: bool, dry_run: bool, command: str = ""
) -> int:
    from oa_compile.artifact.folder import read_inputs
    from oa_compile.optimize.driver import run_compile
    from oa_compile.optimize.plan import make_plan

    plan = make_plan(read_inputs(folder))
    if dry_run:
        _forecast(
            plan, screen=screen, json=json, command=command or f"oacompile optimize --resume {folder.path}"
        )
        return ExitCode.OK
    with open_lanes(plan.inputs.config, plan.lanes, screen=screen, run=folder.path) as lanes:
        _confirm(plan, lanes=lanes, screen=screen, yes=yes)
        with shown(screen) as run:
            outcome = run_compile(folder, plan, lanes=lanes, listener=run.update, on_saved=run.count_saved)
    code = outcome.error.exit_code if outcome.error else ExitCode.OK
    _show(outcome, run.view, saved=run.saved, screen=screen, json=json)
    if isinstance(outcome.error, Interrupted):
        leave_at_once(code)
    return code


def _lines(plan: Plan, lanes: dict[str, Any]) -> list[ForecastLine]:
    from oa_compile.optimize.forecast import forecast

    return forecast(plan, lanes=lanes)


def _forecast(plan: Plan, *, screen: Output, json: bool, command: str) -> None:
    """The forecast. Lanes are asked for their quotes only; a key is not needed to know a price."""
    from oa_compile.hud.record import ForecastLine as Shown
    from oa_compile.hud.screens import dry_run_screen
    from oa_compile.hud.summary import Forecast
    from oa_compile.lanes.build import build_lanes

    config = plan.inputs.config
    lanes = build_lanes(config, plan.lanes, secrets=lambda _name: _ANY_KEY)
    lines = _lines(plan, lanes)
    if json:
        rate = config.money.rate
        screen.emit(
            {
                "program": plan.inputs.program.spec.name,
                "optimizer": plan.optimizer.name,
                "lines": [{**line.as_dict(), "usd": str(rate.to_usd(line.msat))} for line in lines],
                "calls": sum(line.calls for line in lines),
                "msat": sum(line.msat for line in lines),
                "seconds": sum(line.seconds for line in lines),
                "cap": next((line.cap for line in lines if line.cap), ""),
                "notes": [text for _code, text in plan.notes],
            }
        )
        return
    forecast = Forecast(
        program=plan.inputs.program.spec.name,
        optimizer=plan.optimizer.name,
        lines=tuple(Shown.read(line.as_dict()) for line in lines),
        rate=config.money.rate,
        notes=tuple(text for _code, text in plan.notes),
        next_command=command,
    )
    screen.show(dry_run_screen(forecast))


def _confirm(plan: Plan, *, lanes: dict[str, Any], screen: Output, yes: bool) -> None:
    from oa_compile.money import format_msat, format_usd, parse_amount

    config = plan.inputs.config
    limit = parse_amount(config.run.confirm_above, config.money.rate)
    expected = sum(line.msat for line in _lines(plan, lanes))
    if yes or expected <= limit:
        return
    amount = f"{format_msat(expected)} ({format_usd(config.money.rate.to_usd(expected))})"
    if not screen.interactive:
        raise UsageError(
            f"the forecast is {amount}, above run.confirm_above",
            hint="look at it with --dry-run, then say --yes",
        )
    screen.note(f"the forecast is {amount}.")
    if not typer.confirm("Spend it?", err=True):
        raise UsageError("nothing was spent")


def _show(outcome: Outcome, view: Any, *, saved: int, screen: Output, json: bool) -> None:
    from oa_compile.cli.errors import render
    from oa_compile.hud.screens import run_screen
    from oa_compile.hud.summary import RunEnd

    folder, manifest = outcome.folder, outcome.manifest
    resumable = outcome.status != "complete" and not isinstance(outcome.error, UsageError)
    next_command = (
        f"oacompile optimize --resume {folder.path}" if resumable else f"oacompile validate {folder.path}"
    )
    if json:
        screen.emit(_as_json(outcome, next_command))
        if outcome.error is not None:
            render(outcome.error, output=screen, json=False)
        return
    end = RunEnd(
        artifact=str(folder.artifact) if manifest else "",
        artifact_digest=manifest.digest if manifest else "",
        bundle=str(folder.bundle) if manifest else "",
        saved=saved,
        next_command=next_command,
    )
    screen.show(run_screen(view, end))
    if outcome.error is not None:
        render(outcome.error, output=screen, json=False)


def _as_json(outcome: Outcome, next_command: str) -> dict[str, Any]:
    manifest, folder = outcome.manifest, outcome.folder
    return {
        "run": folder.name,
        "status": outcome.status,
        "reason": outcome.error.message if outcome.error else "",
        "artifact": str(folder.artifact) if manifest else None,
        "digest": manifest.digest if manifest else None,
        "bundle": str(folder.bundle) if manifest else None,
        "journal": str(folder.journal),
        "baseline": manifest.baseline[0].mean if manifest and manifest.baseline else None,
        "score": manifest.scores[0].mean if manifest else None,
        "n": manifest.scores[0].n if manifest else 0,
        "calls": {"made": outcome.made, "saved": outcome.saved},
        "next": next_command,
    }
