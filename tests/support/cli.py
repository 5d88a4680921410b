"""Running the command line in tests: the real script, and golden files for what it prints."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SCRIPT = Path(sys.executable).parent / "oacompile"
GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
ROOT = Path(__file__).parents[2]


def environment(home: Path, **more: str) -> dict[str, str]:
    """A small fixed environment: no colours, 80 columns, no one's own settings."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "NO_COLOR": "1",
        "COLUMNS": "80",
        "PYTHONPATH": str(ROOT),
        **more,
    }


def oacompile(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the console script in `cwd`, with no terminal anywhere. `env` is added to `environment(cwd)`;
    `stdin` is a file for its standard input.
    """
    with (stdin or Path(os.devnull)).open("rb") as given:
        return subprocess.run(
            [str(SCRIPT), *args],
            cwd=cwd,
            env=environment(cwd, **(env or {})),
            stdin=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )


def python(code: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment(cwd, **(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def check_golden(name: str, text: str) -> None:
    """`text` is what ``tests/golden/cli/<name>`` holds; UPDATE_GOLDEN=1 writes it anew."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"UPDATE_GOLDEN=1 writes {path.name} anew"


def on_terminal(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run the script with stderr on a pseudo-terminal: exit code, stdout, what the terminal was sent."""
    parent, child = pty.openpty()
    variables = environment(cwd, TERM="xterm-256color", **(env or {}))
    process = subprocess.Popen(
        [str(SCRIPT), *args], cwd=cwd, env=variables, stdin=child, stdout=subprocess.PIPE, stderr=child
    )
    os.close(child)
    seen = b""
    while True:
        try:
            data = os.read(parent, 4096)
        except OSError:  # how Linux says that the other side of a terminal is closed
            break
        if not data:
            break
        seen += data
    os.close(parent)
    out, _none = process.communicate()
    return process.returncode, out.decode(), seen.decode()
