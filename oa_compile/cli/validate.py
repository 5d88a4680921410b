"""``oacompile validate``: an artifact in, a verdict and an exit code out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Budget, Json
from oa_compile.cli.runs import find_run, open_lanes, shown
from oa_compile.errors import UsageError

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.spec.config import Config
    from oa_compile.spec.load import LoadedProgram
    from oa_compile.validate.verdict import Validation

Format = Literal["text", "json", "github", "junit"]


def validate(
    artifact: Annotated[
        str,
        typer.Argument(metavar="ARTIFACT", help="An artifact's folder, a run's folder or name, or latest."),
    ],
    budget: Budget = None,
    program: Annotated[
        Path | None, typer.Option("--program", metavar="<folder>", help="Program instead of the run's copy.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", metavar="<folder>", help="Where the sealed testset lies.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--output-format", help="How to tell it.")] = "text",
    json: Json = False,
) -> int:
    """Score an artifact on the sealed testset and apply the gates.

    The artifact and its parent are scored once; asked again, the recorded answers are judged. Exit 0
    when all gates are passed, 1 when one is missed, 4 when it could not be judged.
    """
    from oa_compile.artifact.folder import RunFolder
    from oa_compile.validate.question import ask
    from oa_compile.validate.runner import validate as judge

    screen = output.current()
    chosen: Format = "json" if json else output_format
    path = find_run(artifact)
    loaded, config = _inputs(path, program=program, budget=budget)
    question = ask(path, program=loaded, config=config, dataset=dataset)
    run = question.artifact.parent
    # Where all answers agree, the verify stage is not asked: it need not be there.
    wanted = [name for name in question.lanes if name != question.court]
    court = [question.court] if question.court else []
    with (
        open_lanes(config, wanted, screen=screen, run=run, optional=court) as lanes,
        shown(screen) as display,
    ):
        validation = judge(question, lanes=lanes, listener=display.update, on_saved=display.count_saved)
    _tell(validation, chosen, screen=screen)
    if chosen == "text" and (bundle := RunFolder(question.artifact.parent).bundle).is_file():
        screen.show(f"\nnext  oacompile replay {bundle}")
    return validation.exit_code


def _inputs(artifact: Path, *, program: Path | None, budget: Path | None) -> tuple[LoadedProgram, Config]:
    """Program and config: as told, else as the run that made the artifact had them."""
    from oa_compile.artifact.folder import RunFolder, read_inputs
    from oa_compile.spec.load import load_config, load_program
    from oa_compile.validate.question import find_artifact

    found = find_artifact(artifact)
    run = RunFolder(found.parent)
    whole = run.inputs.is_dir()
    if program is None and not whole:
        raise UsageError(f"{found} lies outside its run", hint="name its program with --program")
    loaded = load_program(program if program is not None else run.inputs / "program")
    if budget is None and whole:
        return loaded, read_inputs(run).config
    return loaded, load_config(budget).config


def _tell(validation: Validation, chosen: Format, *, screen: Output) -> None:
    from oa_compile.validate import formats, github, junit

    if chosen == "json":
        screen.emit(formats.as_json(validation))
    elif chosen == "junit":
        screen.write(junit.document(validation))
    elif chosen == "github":
        for command in github.commands(validation):
            screen.write(command + "\n")
    else:
        screen.show(*formats.text(validation))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(github.summary(validation) + "\n")
