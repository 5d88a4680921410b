"""``oacompile config``: the settings in effect, and where each comes from."""

from __future__ import annotations

import json as json_module
from typing import Any

import typer

from oa_compile.cli import output
from oa_compile.cli.app import Command
from oa_compile.cli.options import Budget, Json

app = typer.Typer(
    rich_markup_mode=None,
    help="Show the settings in effect and where each comes from.",
    no_args_is_help=False,
)


@app.callback()
def _config() -> None:
    """Show the settings in effect and where each comes from."""


@app.command(cls=Command)
def show(budget: Budget = None, json: Json = False) -> None:
    """Print every setting with its value and its source.

    A flag wins over OACOMPILE_* variables (OACOMPILE_RUN__SEED sets run.seed), these over the
    --budget file, this over [tool.oacompile] of the nearest pyproject.toml, this over the user's
    config, this over the defaults.
    """
    from oa_compile.spec.load import load_config

    loaded = load_config(budget)
    values = _flat(loaded.config.model_dump(mode="json"))
    rows = [(key, values[key], source) for key, source in loaded.sources.items()]
    out = output.current()
    if json:
        settings = {
            key: {"value": value, "layer": source.layer, "source": str(source)} for key, value, source in rows
        }
        out.emit({"digest": loaded.digest, "settings": settings})
        return
    from rich.text import Text

    key_width = max(len(key) for key, _value, _source in rows)
    texts = {key: _toml(value) for key, value, _source in rows}
    value_width = min(32, max(map(len, texts.values())))
    for key, _value, source in rows:
        line = Text(f"{key:<{key_width}}  {texts[key]:<{value_width}}  ")
        out.show(line.append(str(source), "dim" if source.layer == "default" else "cyan"))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and (value or not name):
        return {
            k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}".lstrip(".")).items()
        }
    return {name: value}


def _toml(value: Any) -> str:
    """A value as it would be written in a file; what is not set has no form there."""
    return "not set" if value is None else json_module.dumps(value, ensure_ascii=False)
