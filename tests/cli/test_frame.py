"""The frame: help, what it imports, and how a wrong command line is answered."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oa_compile import __version__
from oa_compile.cli import app, main
from tests.support.cli import check_golden, oacompile, python

Run = Callable[..., tuple[int, str, str]]

HEAVY = (
    "dspy",
    "litellm",
    "nostr_sdk",
    "pyln",
    "optuna",
    "xllamacpp",
    "scipy",
    "numpy",
    "pydantic",
    "msgspec",
    "httpx",
    "rich.console",
)


@pytest.mark.parametrize("args", [["--help"], ["-h"]])
def test_help(tmp_path: Path, args: list[str]) -> None:
    done = oacompile(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_golden("help.txt", done.stdout)


def test_no_arguments_show_the_path(tmp_path: Path) -> None:
    done = oacompile(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_golden("no_arguments.txt", done.stdout)


def test_version(tmp_path: Path) -> None:
    done = oacompile("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"oacompile {__version__}\n", "")


def test_the_module_runs_too(tmp_path: Path) -> None:
    code = "import runpy, sys; sys.argv[1:] = ['--version']"
    code += "; runpy.run_module('oa_compile', run_name='__main__')"
    assert python(code, cwd=tmp_path).stdout == f"oacompile {__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["--version"], []])
def test_what_everyone_runs_first_imports_nothing_heavy(tmp_path: Path, args: list[str]) -> None:
    code = f"""
import json, sys
from oa_compile.cli.main import main
main({args!r})
loaded = list(sys.modules)
print(json.dumps([name for name in {HEAVY!r} if name in loaded]), file=sys.stderr)
print(json.dumps([name for name in loaded if name.startswith("oa_compile.cli.")]), file=sys.stderr)
"""
    loaded, ours = (json.loads(line) for line in python(code, cwd=tmp_path).stderr.splitlines())
    # Reading an option's value takes pydantic, typer's own way of doing it.
    assert set(loaded) <= (set() if args else {"pydantic"})
    assert set(ours) <= {"oa_compile.cli.main", "oa_compile.cli.app", "oa_compile.cli.output"}


COMMANDS = [entry for section in app.SECTIONS.values() for entry in section]


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_a_command_is_what_the_list_says(entry: app.Entry, run: Run) -> None:
    module, _, attribute = entry.target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    text = found.info.help if attribute == "app" else inspect.getdoc(found)
    assert text.splitlines()[0] == entry.help
    code, out, _err = run(entry.name, "--help")
    assert code == 0
    assert entry.help in " ".join(out.split())
    assert entry.example.startswith(f"oacompile {entry.name}")


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["optimise"], "Did you mean 'optimize'?", "oacompile --help"),
        (["xyzzy"], "no such command 'xyzzy'", "oacompile --help"),
        (["--bogus"], "no such option: --bogus", "oacompile --help"),
        (["extract"], "missing option '--program'", "for example `oacompile extract sessions/"),
        (["extract", "x"], "missing option '--program'", "`oacompile extract --help` says more"),
        (["schema"], "missing argument 'name'", "for example `oacompile schema program`"),
        (["schema", "porgram"], "'porgram' is not one of 'program', 'config'", "oacompile schema --help"),
        (["config"], "missing command", "for example `oacompile config show"),
        (["config", "shwo"], "Did you mean 'show'?", "oacompile config --help"),
        (["config", "show", "--bugdet", "x"], "--budget", "oacompile config show --help"),
        (["--color", "pink"], "'pink' is not one of", "oacompile --help"),
    ],
)
def test_usage_errors_help(run: Run, args: list[str], message: str, hint: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert hint in err
    assert "Value error" not in err


def test_usage_errors_are_json_when_it_was_asked_for(run: Run) -> None:
    code, out, _err = run("config", "show", "--bogus", "--json")
    assert code == json.loads(out)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (["validate", "a", "--json"], True),
        (["validate", "a", "--output-format", "json"], True),
        (["validate", "a", "--output-format=json"], True),
        (["validate", "a", "--output-format", "text"], False),
        (["extract", "--", "--json"], False),
        (["json"], False),
    ],
)
def test_when_errors_are_json(args: list[str], wanted: bool) -> None:
    assert main.wants_json(args) is wanted


@pytest.mark.parametrize(
    ("args", "moved"),
    [
        (["a", "--color", "never", "b"], ["--color", "never", "a", "b"]),
        (["a", "--color=never"], ["--color=never", "a"]),
        (["a", "--", "--color", "never"], ["a", "--", "--color", "never"]),
        (["a", "--color"], ["--color", "a"]),
        ([], []),
    ],
)
def test_an_option_of_all_commands_stands_anywhere(args: list[str], moved: list[str]) -> None:
    assert app.hoist(args, option="--color") == moved
