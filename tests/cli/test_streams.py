"""The streams: stdout is the result whoever prints, and who decides on colours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import SCRIPT, environment, oacompile, on_terminal, python

Run = Callable[..., tuple[int, str, str]]


NOISY = """
from tests.support import stub_commands
from oa_compile.cli.main import main
stub_commands.register()
raise SystemExit(main(["noisy", "--json"]))
"""


def test_stdout_is_the_result_whoever_prints(tmp_path: Path) -> None:
    done = python(NOISY, cwd=tmp_path)
    assert json.loads(done.stdout) == {"result": 1, "text": "ü"}
    for line in (
        "python print",
        "python write",
        "os write",
        "buffered C print",
        "child process",
        "python print after",
        "buffered C print after",
    ):
        assert f"{line}\n" in done.stderr


def test_stdout_is_back_after_the_command(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("noisy")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


def test_json_is_utf_8_or_ascii_never_broken(tmp_path: Path) -> None:
    done = python(NOISY, cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"})
    assert done.stdout.isascii()
    assert json.loads(done.stdout)["text"] == "ü"


@pytest.mark.parametrize("args", [["schema", "config"], ["--help"], ["config", "show", "--json"]])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, args: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [str(SCRIPT), *args],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
            cwd=tmp_path,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec '{SCRIPT}' schema config {closed}"],
        capture_output=True,
        env=environment(tmp_path),
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "env", "colored"),
    [
        ([], {"NO_COLOR": ""}, False),
        ([], {"NO_COLOR": "", "FORCE_COLOR": "1"}, True),
        ([], {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ([], {"NO_COLOR": "", "GITHUB_ACTIONS": "true"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"NO_COLOR": "", "FORCE_COLOR": "1"}, False),
    ],
)
def test_who_decides_on_colours(tmp_path: Path, args: list[str], env: dict[str, str], colored: bool) -> None:
    result = oacompile("config", "show", *args, cwd=tmp_path, env={**env, "TERM": "xterm-256color"})
    assert ("\x1b[" in result.stdout) is colored
    error = oacompile("config", "show", "--budget", "none.toml", *args, cwd=tmp_path, env=env)
    assert ("\x1b[" in error.stderr) is colored


def test_a_terminal_gets_colours(tmp_path: Path) -> None:
    args = ("config", "show", "--budget", "none.toml")
    code, out, seen = on_terminal(*args, cwd=tmp_path, env={"NO_COLOR": ""})
    assert (code, out) == (2, "")
    assert "\x1b[1;31m" in seen
    assert "\x1b[" not in on_terminal(*args, cwd=tmp_path)[2]
