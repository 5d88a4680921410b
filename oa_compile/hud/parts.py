"""What the final screens are put together from: tables of figures, lists of facts, title and next command."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oa_compile.digest import short
from oa_compile.hud.text import Printable, plain
from oa_compile.money import Rate, format_usd


def figures_table(*columns: str) -> Table:
    """A table without outer lines. A heading that ends in ``>`` is one of figures: aligned right, whole
    at any width; the names beside them are cut first. Amounts are in one unit, so that they compare.
    """
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0)
    )
    for column in columns:
        name = column.removesuffix(">")
        if name != column:
            table.add_column(Text(name), justify="right", no_wrap=True)
        else:
            table.add_column(Text(name), overflow="ellipsis")
    return table


def facts(pairs: Sequence[tuple[str, str | Text]]) -> Table:
    """Names and values, one a line; what is empty is left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            table.add_row(name, plain(value) if isinstance(value, str) else value)
    return table


def money(msat: int, rate: Rate) -> tuple[Text, Text]:
    """An amount in msat and in dollars, each for its own column."""
    return Text(f"{msat:,}"), Text(format_usd(rate.to_usd(msat)))


def with_digest(path: str, digest: str) -> str:
    """A path and the digest of what lies there, as people read it."""
    return " · ".join(filter(None, (path, short(digest))))


def title(program: str, optimizer: str, what: str) -> Text:
    """The first line of a screen."""
    name = " · ".join(filter(None, (program, optimizer)))
    return Text.assemble(plain(name, "bold"), "  ", plain(what, "dim"))


def screen(parts: list[RenderableType], next_command: str) -> RenderableType:
    """The parts one under another, and the next command last."""
    if next_command:
        parts += [Text(), Text.assemble(("next  ", "dim"), plain(next_command, "bold cyan"))]
    return Printable(Group(*parts))
