"""The commands, by name: what each is, and where it is found when it is asked for.

Owns the list of commands and the frame they share. A command's module is imported when it runs or is
asked for its own help, never for ``oacompile --help``.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import typer
import typer.core
import typer.main

from oa_compile import __version__
from oa_compile.cli import output


class Entry(NamedTuple):
    """One command. `target` is ``module:attribute``, a function or a typer.Typer of subcommands."""

    name: str
    target: str
    help: str
    example: str


PATH = (
    Entry(
        "extract",
        "oa_compile.cli.extract:extract",
        "Make a dataset from agent session logs.",
        "oacompile extract sessions/ --program programs/triage --out datasets/triage",
    ),
    Entry(
        "optimize",
        "oa_compile.cli.optimize:optimize",
        "Search for better instructions and demos under a budget.",
        "oacompile optimize programs/triage --budget configs/embedded.toml",
    ),
    Entry(
        "validate",
        "oa_compile.cli.validate:validate",
        "Score an artifact on the sealed testset and apply the gates.",
        "oacompile validate runs/<run>",
    ),
    Entry(
        "replay",
        "oa_compile.cli.replay:replay",
        "Run a whole compile again from its journal, with no model and no network.",
        "oacompile replay runs/<run>/bundle.zip",
    ),
)
AROUND = (
    Entry(
        "promote",
        "oa_compile.cli.promote:promote",
        "Take a validated artifact up: candidate, staged, shadow, promoted.",
        "oacompile promote latest",
    ),
    Entry(
        "rollback",
        "oa_compile.cli.rollback:rollback",
        "Put the artifact that was in use before back into use; the decision is journaled.",
        "oacompile rollback tool-selection",
    ),
    Entry(
        "status",
        "oa_compile.cli.status:status",
        "Show each program's artifacts, their states, the one in use, and every decision.",
        "oacompile status",
    ),
    Entry(
        "diff",
        "oa_compile.cli.diff:diff",
        "Show what changed between two candidates of a run: instructions, demos, and flipped examples.",
        "oacompile diff latest baseline best",
    ),
    Entry(
        "doctor",
        "oa_compile.cli.doctor:doctor",
        "Say what is missing here, and the command that fixes it.",
        "oacompile doctor --budget configs/embedded.toml",
    ),
    Entry(
        "init",
        "oa_compile.cli.init:init",
        "Write a small project that compiles as it is.",
        "oacompile init my-project",
    ),
    Entry(
        "config",
        "oa_compile.cli.config:app",
        "Show the settings in effect and where each comes from.",
        "oacompile config show --budget configs/embedded.toml",
    ),
    Entry(
        "schema",
        "oa_compile.cli.schema:schema",
        "Print the JSON Schema of programs or configs.",
        "oacompile schema program",
    ),
    Entry(
        "swarm",
        "oa_compile.cli.swarm:app",
        "Serve, see and ask service providers on Nostr relays, or run a swarm on this machine.",
        "oacompile swarm up",
    ),
    Entry(
        "demo",
        "oa_compile.cli.demo:demo",
        "Run the whole path on the shipped sessions: extract, optimize, validate, replay.",
        "oacompile demo",
    ),
)
SECTIONS = {"The path": PATH, "Around it": AROUND}
ENTRIES = {entry.name: entry for section in SECTIONS.values() for entry in section}

PICTURE = """\
 sessions ──> extract ──> optimize ──> validate ──> replay
              dataset     artifact     verdict      the same artifact, offline
"""


class Command(typer.core.TyperCommand):
    """A command whose stdout is its result and nothing else's."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command with stdout claimed."""
        with output.claimed():
            return super().invoke(ctx)


class Root(typer.core.TyperGroup):
    """The group of all commands, each loaded when it is needed."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now; None when there is none."""
        if cmd_name not in self.commands and (entry := ENTRIES.get(cmd_name)) is not None:
            module, _, attribute = entry.target.partition(":")
            found = getattr(importlib.import_module(module), attribute)
            self.add_command(_build(cmd_name, found), cmd_name)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the base's signature
        """All names, in the order of the help."""
        return list(ENTRIES)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does, with a suggestion over all commands, also those not loaded."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], ENTRIES, n=1)
            suggestion = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{suggestion}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; ``--color`` may also stand behind the command."""
        return super().parse_args(ctx, hoist(args, option="--color"))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # the base's signature
        """The commands by section, from the list above: nothing is imported."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.help) for entry in entries])


def hoist(args: list[str], *, option: str) -> list[str]:
    """`args` with every ``option VALUE`` before a lone ``--`` moved to the front."""
    front: list[str] = []
    rest = list(args)
    end = rest.index("--") if "--" in rest else len(rest)
    position = 0
    while position < end:
        taken = 2 if rest[position] == option else 1 if rest[position].startswith(f"{option}=") else 0
        front += rest[position : position + taken]
        del rest[position : position + taken]
        position += not taken
        end -= taken
    return front + rest


def _build(name: str, found: Any) -> Any:
    """A typer command from a plain function, or a group from a typer.Typer."""
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, cls=Command)(found)
    return typer.main.get_command(single)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"oacompile {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Root,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 done, gate passed; 1 gate missed or replay diverged; 2 usage, config or spec; "
        "3 budget exhausted; 4 lane or payment, retry; 5 digest mismatch; 70 our bug; 130 interrupted."
    ),
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    color: output.Color = typer.Option("auto", "--color", help="Colours: auto, always or never."),
    version: bool = typer.Option(  # noqa: ARG001  # acts in its callback
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Compile agent behaviour: DSPy's optimizers with a money budget, exact resume and strict replay."""
    output.set_color(color)
    if ctx.invoked_subcommand is None:
        typer.echo(PICTURE)
        width = max(len(entry.name) for entry in PATH)
        for entry in PATH:
            typer.echo(f" {entry.name:<{width}}  {entry.help}\n {'':<{width}}  $ {entry.example}\n")
        typer.echo(" New here? `oacompile init` writes a project, `oacompile doctor` checks the machine.")


def group() -> Any:
    """The root command, ready to run."""
    return typer.main.get_group(app)
