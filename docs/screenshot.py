"""A terminal's text as an SVG, for the README.

    COLUMNS=84 .venv/bin/oacompile --color always demo \\
      | .venv/bin/python docs/screenshot.py "make demo" > docs/demo.svg

Reads text with ANSI colours; the picture says what the command printed and nothing else.
"""

from __future__ import annotations

import io
import re
import sys

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def picture(printed: str, *, title: str) -> str:
    """An SVG of `printed`, as wide as its longest line."""
    lines = [Text.from_ansi(line.rstrip()) for line in printed.strip("\n").splitlines()]
    width = max(cell_len(line.plain) for line in lines)
    console = Console(
        width=width, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title=title, unique_id=title.replace(" ", "-"))
    # Its fonts would be fetched from a server whenever somebody opens the file; the reader's own will do.
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "monospace")


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read(), title=sys.argv[1]))
