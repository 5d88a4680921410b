"""``oacompile replay``: a whole compile again, from its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.cli.runs import RUNS, find_run, leave_at_once, open_lanes, shown
from oa_compile.errors import ExitCode, Interrupted

if TYPE_CHECKING:
    from oa_compile.replay.player import Replayed


def replay(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle.zip, a run's folder or name, or latest.")
    ],
    until_divergence: Annotated[
        bool, typer.Option("--until-divergence", help="Go on live after the first call that is not recorded.")
    ] = False,
    program: Annotated[
        Path | None,
        typer.Option("--program", metavar="<folder>", help="Play with this program instead of the bundle's."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="<folder>", help="Folder of the new run with --until-divergence."),
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the Python that the bundle brings along.")
    ] = False,
    json: Json = False,
) -> int:
    """Run a whole compile again from its journal, with no model and no network.

    The artifact's digest must come out identical (exit 0). A call that is not recorded is shown as a
    diff (exit 1); a bundle that was changed or cut short is refused (exit 5).
    """
    from oa_compile.replay.player import replay as play
    from oa_compile.replay.player import replay_live

    screen = output.current()
    path = Path(bundle) if Path(bundle).is_file() else find_run(bundle)
    with shown(screen) as display:
        if until_divergence:
            made_from = path.resolve().parent if path.is_file() else path
            target = run or RUNS / f"{made_from.name}-replayed"
            with _live_lanes(screen, run=target) as lanes:
                result = replay_live(
                    path,
                    target,
                    lanes=lanes,
                    program=program,
                    trust_code=trust_code,
                    listener=display.update,
                    on_saved=display.count_saved,
                )
        else:
            result = play(
                path,
                program=program,
                trust_code=trust_code,
                listener=display.update,
                on_saved=display.count_saved,
            )
    if json:
        screen.emit(_as_json(result))
    else:
        _show(result, screen)
    if result.live is not None and result.live.error is not None:
        if isinstance(result.live.error, Interrupted):
            leave_at_once(ExitCode.INTERRUPTED)
        return result.live.error.exit_code
    return ExitCode.OK if result.identical or result.live is not None else ExitCode.GATE_MISSED


def _live_lanes(screen: Any, *, run: Path) -> Any:
    """Lanes for a plan that is only known once the bundle is open; closed when the replay ends."""
    import contextlib

    @contextlib.contextmanager
    def opening() -> Any:
        with contextlib.ExitStack() as stack:
            yield lambda plan: stack.enter_context(
                open_lanes(plan.inputs.config, plan.lanes, screen=screen, run=run)
            )

    return opening()


def _as_json(result: Replayed) -> dict[str, Any]:
    return {
        "identical": result.identical,
        "recorded": result.recorded,
        "replayed": result.replayed,
        "calls_from_journal": result.calls,
        "calls_made": result.live.made if result.live else 0,
        "differences": list(result.differences),
        "diverged": result.diverged,
        "run": str(result.live.folder.path) if result.live else None,
    }


def _show(result: Replayed, screen: Any) -> None:
    made = result.live.made if result.live else 0
    screen.show(f"calls      {result.calls:,} answered from the journal, {made:,} made")
    screen.show(f"recorded   {result.recorded}", f"replayed   {result.replayed}")
    if result.diverged:
        screen.show("diverged   at a call that was not recorded:", result.diverged)
    if result.identical:
        screen.show("identical  the same artifact came out")
    else:
        screen.show(f"different  in {', '.join(result.differences) or 'its digest'}")
    if result.live is not None:
        screen.show(f"next       oacompile validate {result.live.folder.path}")
