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
    from oa_compile.validate.question import Question
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
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="<artifact>", help="Another artifact to compare with, pair by pair."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Score on the testset once more, otherwise; it is recorded.")
    ] = False,
    output_format: Annotated[Format, typer.Option("--output-format", help="How to tell it.")] = "text",
    json: Json = False,
) -> int:
    """Score an artifact on the sealed testset and apply the gates.

    The artifact and its parent are scored once; asked again, the recorded answers are judged. Exit 0
    when all gates are passed, 1 when one is missed, 4 when it could not be judged. With --against both
    artifacts are scored, each once, and compared; then the exit code is 0 when there is a comparison.
    """
    from oa_compile.artifact.folder import RunFolder

    screen = output.current()
    chosen: Format = "json" if json else output_format
    if against is not None and chosen not in ("text", "json"):
        raise UsageError(f"--against is told as text or JSON, not as {chosen}", hint="leave one of them out")
    asked = _ask(artifact, budget=budget, program=program, dataset=dataset)
    if against is not None:
        other = _ask(against, budget=budget, program=program, dataset=dataset)
        return _compare(asked, other, again=again, json=chosen == "json", screen=screen)
    validation = _judge(asked, again=again, screen=screen)
    _tell(validation, chosen, screen=screen)
    if chosen == "text" and (bundle := RunFolder(asked.artifact.parent).bundle).is_file():
        screen.show(f"\nnext  oacompile replay {bundle}")
    return validation.exit_code


def _ask(name: str, *, budget: Path | None, program: Path | None, dataset: Path | None) -> Question:
    """The question about an artifact, by its folder, its run, or its run's name."""
    from oa_compile.validate.question import ask

    path = find_run(name)
    loaded, config = _inputs(path, program=program, budget=budget)
    return ask(path, program=loaded, config=config, dataset=dataset)


def _judge(question: Question, *, again: bool, screen: Output, borrow: Path | None = None) -> Validation:
    """Score it, or find it scored. `borrow` is the journal of another validation: its answers are taken."""
    from oa_compile.journal import read
    from oa_compile.lanes.runtime import recorded_answers
    from oa_compile.validate.runner import validate as judge

    # Where all answers agree, the verify stage is not asked: it need not be there.
    wanted = [name for name in question.lanes if name != question.court]
    court = [question.court] if question.court else []
    run = question.artifact.parent
    with (
        open_lanes(question.config, wanted, screen=screen, run=run, optional=court) as lanes,
        shown(screen) as display,
    ):
        return judge(
            question,
            lanes=lanes,
            listener=display.update,
            on_saved=display.count_saved,
            again=again,
            borrowed=recorded_answers(read(borrow)) if borrow is not None and borrow.is_file() else None,
        )


def _compare(this: Question, other: Question, *, again: bool, json: bool, screen: Output) -> int:
    """Both scored, each once, and held against each other."""
    from oa_compile.journal import FILE_NAME, read
    from oa_compile.validate import against

    theirs = _judge(other, again=again, screen=screen)
    assert theirs.folder is not None
    ours = _judge(this, again=again, screen=screen, borrow=theirs.folder / FILE_NAME)
    assert ours.folder is not None
    times = [against.latency(read(one.folder / FILE_NAME)) for one in (theirs, ours) if one.folder]
    found = against.compare(ours, theirs, latency=(times[0], times[1]))
    if json:
        screen.emit(against.as_json(found))
    else:
        screen.show(*against.lines(found))
    return 0


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
