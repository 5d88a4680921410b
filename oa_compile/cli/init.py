"""``oacompile init``: a small project that compiles as it is."""

from __future__ import annotations

import re
import shlex
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from oa_compile.cli import output
from oa_compile.cli.options import Json
from oa_compile.errors import UsageError

PLACEHOLDER = "NAME"
"""Stands for the program's name in the templates, in their texts and in their folders."""

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the project.")] = Path(),
    name: Annotated[str, typer.Option("--name", metavar="<name>", help="The program's name.")] = "triage",
    json: Json = False,
) -> None:
    """Write a small project that compiles as it is.

    A program that sorts issue titles, sixty events to make its dataset from, and a config for the
    embedded model. Existing files are never overwritten.
    """
    if not _SLUG.fullmatch(name) or len(name) > 64:
        raise UsageError(
            f"`{name}` cannot be a program's name",
            hint="use lower-case letters and digits, with single hyphens between",
        )
    files = {directory / path: text for path, text in _templates(name).items()}
    taken = [path for path, text in files.items() if path.exists() and not _holds(path, text)]
    if taken:
        raise UsageError(
            f"{', '.join(map(str, taken))}: already there, nothing was written",
            hint="choose another folder, or another --name",
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{directory}: cannot write the project: {error.strerror}") from error
    commands = _next_commands(directory, name)
    out = output.current()
    if json:
        out.emit({"folder": str(directory), "files": [str(path) for path in files], "next": commands})
        return
    for path in files:
        out.show(f"wrote  {path}")
    for word, command in zip(("next", *[""] * len(commands)), commands, strict=False):
        out.show(f"{word:<5}  {command}")


def _holds(path: Path, text: str) -> bool:
    """Whether `path` already is what would be written, as a config shared by two programs is."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _next_commands(directory: Path, name: str) -> list[str]:
    extract = f"oacompile extract datasets/{name}/sessions --program programs/{name} --out datasets/{name}"
    optimize = f"oacompile optimize programs/{name} --budget configs/embedded.toml"
    enter = [] if directory == Path() else [f"cd {shlex.quote(str(directory))}"]
    return [*enter, extract, optimize]


def _templates(name: str) -> dict[str, str]:
    """The project's files for a program called `name`: path within the project -> text."""
    root = resources.files("oa_compile.cli") / "templates"

    def walk(folder: Traversable, within: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
            path = f"{within}{item.name}".replace(PLACEHOLDER, name)
            if item.is_dir():
                found |= walk(item, f"{path}/")
            else:
                found[path] = item.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
        return found

    return walk(root, "")
