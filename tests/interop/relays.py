"""Relays that are not ours, on loopback, each on a port the system chose."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.interop.programs import HERE, program

_CONFIG = """
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{folder}/events.sqlite3
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
    - nostr_relay.validators.is_recent
gunicorn:
  bind: 127.0.0.1:0
  workers: 1
  loglevel: info
"""


@contextlib.asynccontextmanager
async def python_relay(environment: Path, folder: Path) -> AsyncIterator[str]:
    """PyPI's nostr-relay, its events in `folder`; its URL."""
    config = folder / "config.yaml"
    config.write_text(_CONFIG.format(folder=folder), encoding="utf-8")
    command = [environment / "bin" / "nostr-relay", "-c", config, "serve"]
    async with program(command, cwd=folder) as relay:
        port = (await relay.line(r"Listening at: http://127\.0\.0\.1:(\d+)"))[1]
        await relay.line("Connected to sqlite")
        yield f"ws://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def node_relay(environment: Path) -> AsyncIterator[str]:
    """npm's @nostr-relay/core over ws, its events in memory; its URL."""
    async with program(["node", HERE / "relay.mjs"], cwd=environment) as relay:
        yield (await relay.line(r"^ws://\S+$"))[0]
