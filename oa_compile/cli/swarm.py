"""``oacompile swarm``: service providers and customers over Nostr relays, by name."""

from __future__ import annotations

import typer

from oa_compile.cli.app import Command
from oa_compile.cli.swarm_ask import ask
from oa_compile.cli.swarm_provide import provide
from oa_compile.cli.swarm_providers import providers
from oa_compile.cli.swarm_up import up

app = typer.Typer(
    rich_markup_mode=None,
    help="Serve, see and ask service providers on Nostr relays, or run a swarm on this machine.",
    no_args_is_help=False,
)


@app.callback()
def _swarm() -> None:
    """Serve, see and ask service providers on Nostr relays, or run a swarm on this machine."""


app.command(cls=Command)(up)
app.command(cls=Command)(provide)
app.command(cls=Command)(providers)
app.command(cls=Command)(ask)
