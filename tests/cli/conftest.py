"""What the command line's tests share: a run in this process, with the stub commands there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from oa_compile.cli import app, main
from tests.support import stub_commands


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: ``run(*args) -> (exit code, stdout, stderr)``."""
    monkeypatch.setattr(app, "ENTRIES", dict(app.ENTRIES))
    stub_commands.register()
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))

    def run(*args: str) -> tuple[int, str, str]:
        code = main.main(args)
        out, err = capfd.readouterr()
        return code, out, err

    return run
