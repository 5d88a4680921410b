"""The options several commands share, declared once: same name, same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]

Budget = Annotated[
    Path | None,
    typer.Option(
        "--budget",
        metavar="<file>",
        help="Config with lanes, stages and caps, such as configs/embedded.toml.",
    ),
]

StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", metavar="<folder>", help="Artifact store instead of the config's."),
]

Seed = Annotated[int | None, typer.Option("--seed", metavar="<int>", help="Seed instead of the file's.")]
