"""``oacompile schema``: print the JSON Schema of a file people write."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from oa_compile.cli import output


def schema(
    name: Annotated[Literal["program", "config"], typer.Argument(help="Which file the schema is of.")],
) -> None:
    """Print the JSON Schema of programs or configs.

    Editors check a TOML file whose first line is `#:schema <path or URL of the schema>`.
    """
    from oa_compile.spec.schema import schema_text

    output.current().write(schema_text(name))
