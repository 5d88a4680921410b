"""``oacompile demo``: the whole loop on the sessions the project ships, with the embedded model in this
process or behind a swarm on this machine.
"""

from __future__ import annotations

import json as json_module
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.errors import ExitCode, OacompileError, UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.hud.summary import LoopSummary

NAME = "tool-selection"


@dataclass(frozen=True, slots=True)
class _Step:
    """One verb of the path, as a person would type it."""

    title: str
    arguments: tuple[str, ...]


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="<folder>", help="Where the demo's dataset and run go.")
    ] = Path("runs"),
    swarm: Annotated[
        bool,
        typer.Option("--swarm", help="Over service providers on this machine, paid over Lightning."),
    ] = False,
    json: Json = False,
) -> int:
    """Run the whole path on the shipped sessions: extract, optimize, validate, replay.

    Every step is the very command a user types, in a process of its own.
    """
    screen = output.current()
    home = _project()
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = out / f"demo-{stamp}"
    run, dataset = folder / "run", folder / "dataset"
    program = home / "programs" / NAME
    config = str(home / "configs" / ("swarm.toml" if swarm else "embedded.toml"))
    begun = time.monotonic()
    steps = (
        _Step(
            "extract",
            (
                "extract",
                str(home / "datasets" / NAME / "sessions"),
                "--program",
                str(program),
                "--out",
                str(dataset),
            ),
        ),
        _Step(
            "optimize",
            (
                "optimize",
                str(program),
                "--budget",
                config,
                "--dataset",
                str(dataset),
                "--runs",
                str(folder),
                "--run",
                "run",
            ),
        ),
        _Step("validate", ("validate", str(run), "--budget", config)),
        _Step("replay", ("replay", str(run / "bundle.zip"))),
    )
    results: dict[str, Any] = {}
    for number, step in enumerate(steps, start=1):
        screen.note(f"\n[{number}/{len(steps)}] $ oacompile {' '.join(step.arguments)}")
        results[step.title] = _run(step, screen=screen)
        screen.note(f"      {_made(step.title, results[step.title])}")
    summary = _summary(results, run=run, seconds=time.monotonic() - begun)
    if json:
        screen.emit({**results, "seconds": round(time.monotonic() - begun, 1)})
    else:
        from oa_compile.hud.screens import loop_screen

        screen.show("", loop_screen(summary))
    return ExitCode.OK if results["replay"]["identical"] else ExitCode.GATE_MISSED


def _project() -> Path:
    """The checkout the demo's data lies in: the current folder, or the one this package stands in."""
    for place in (Path(), Path(__file__).resolve().parents[2]):
        if (place / "programs" / NAME).is_dir() and (place / "datasets" / NAME).is_dir():
            return place
    raise UsageError(
        f"the demo's data (programs/{NAME}, datasets/{NAME}) is not here",
        hint="run it in a checkout of the project; elsewhere, `oacompile init` makes a small project",
    )


def _run(step: _Step, *, screen: Output) -> Any:
    """Run one command with its progress on our stderr; its JSON result is what it made."""
    command = [sys.executable, "-m", "oa_compile", *step.arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=screen.stderr, check=False)
    try:
        result = json_module.loads(done.stdout)
    except ValueError as error:
        raise OacompileError(f"`oacompile {step.title}` printed no JSON (exit {done.returncode})") from error
    # A missed gate is a result, and the demo shows it; anything else ended the loop.
    if done.returncode not in (ExitCode.OK, ExitCode.GATE_MISSED) or "error" in result:
        raise UsageError(f"`oacompile {step.title}` ended with exit code {done.returncode}")
    return result


def _made(title: str, result: Any) -> str:
    """What a step made, in one line."""
    if title == "extract":
        sizes = ", ".join(f"{n} {name}" for name, n in result["sizes"].items())
        return f"made {result['folder']}: {sizes}"
    if title == "optimize":
        return (
            f"made {result['artifact']}: val {result['baseline']:.1%} -> {result['score']:.1%} "
            f"(n = {result['n']}), {result['calls']['made']:,} calls, {result['calls']['saved']:,} saved"
        )
    if title == "validate":
        return str(result["sentence"])
    return f"{result['calls_from_journal']:,} calls from the journal, identical: {result['identical']}"


def _summary(results: dict[str, Any], *, run: Path, seconds: float) -> LoopSummary:
    """The last screen's figures, all of them read back from what the steps wrote."""
    from oa_compile.artifact.folder import open_run, read_inputs
    from oa_compile.hud.summary import Bounds, LaneCost, LoopSummary, SealedScore
    from oa_compile.hud.swarm import SwarmSpend
    from oa_compile.hud.view import RunView
    from oa_compile.journal import read

    judged = results["validate"]
    journals = [run / "journal.jsonl", *run.glob("validate-*/journal.jsonl")]
    views = [RunView.of(read(path)) for path in journals]
    costs: dict[str, LaneCost] = {}
    swarm = SwarmSpend()
    for view in views:
        swarm.add(view.swarm)
        for lane in view.lanes:
            spend, before = view.spend(lane=lane), costs.get(lane, LaneCost(lane, 0, 0))
            costs[lane] = LaneCost(
                lane, before.calls + spend.calls, before.msat + spend.msat, before.tokens + spend.tokens
            )

    def score(part: dict[str, Any]) -> SealedScore:
        interval = part["interval"]
        return SealedScore(part["mean"], judged["n"], Bounds(interval["low"], interval["high"]))

    gain = judged["paired"]
    return LoopSummary(
        program=NAME,
        optimizer=views[0].optimizer,
        before=score(judged["scores"]["before"]),
        after=score(judged["scores"]["after"]),
        gain=gain["gain"],
        gain_interval=Bounds(gain["interval"]["low"], gain["interval"]["high"]),
        verdict=judged["sentence"],
        costs=tuple(costs.values()),
        rate=read_inputs(open_run(run)).config.money.rate,
        saved=results["optimize"]["calls"]["saved"],
        seconds=seconds,
        replay_identical=results["replay"]["identical"],
        artifact_digest=results["optimize"]["digest"],
        artifact=results["optimize"]["artifact"],
        bundle=results["optimize"]["bundle"],
        next_command=f"oacompile diff {run} baseline best",
        swarm=swarm,
        premium=views[0].premium,
    )
