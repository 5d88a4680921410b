"""Tests against independent software, each in an environment of its own that `make interop` installs.

Where that is not there, a test is skipped with the reason; with OACOMPILE_INTEROP=required it fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interop.programs import HOME


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interop: speaks with independent software, see make interop")


def _installed(name: str) -> Path:
    """The environment of that name. Skips the test, or fails it where it is required."""
    folder, missing = HOME / name, HOME / f"{name}.missing"
    if (folder / ".fresh").exists():
        return folder
    why = f"{name}: not installed; `make interop` installs it and runs these tests"
    if missing.exists():
        why = f"{name}: {missing.read_text(encoding='utf-8').strip()}"
    if os.environ.get("OACOMPILE_INTEROP") == "required":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def dvm() -> Path:
    """The environment with nostr-dvm."""
    return _installed("dvm")


@pytest.fixture
def nostr_relay() -> Path:
    """The environment with nostr-relay."""
    return _installed("relay")


@pytest.fixture
def node() -> Path:
    """The folder whose node_modules has nostr-tools, @nostr-relay/core and ws."""
    return _installed("node")
