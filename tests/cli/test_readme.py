"""What the README shows is there: commands parse, its program and config load, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from oa_compile.cli import app
from oa_compile.errors import ExitCode
from oa_compile.spec.load import load_config, load_program

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every command line shown, in a block or within a sentence."""
    shown = [line.removeprefix("$ ") for _, text in BLOCKS for line in text.splitlines()]
    shown += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", PROSE)]
    return sorted({line for line in shown if line.startswith("oacompile ")})


def test_the_readme_shows_the_path() -> None:
    shown = {line.split()[1] for line in commands()}
    assert {entry.name for entry in app.PATH} <= shown


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one(line: str) -> None:
    words = shlex.split(line)[1:]
    command, ctx = app.group(), None
    while hasattr(command, "get_command"):
        name = words.pop(0)
        command = command.get_command(ctx, name)
        assert command is not None, f"no command `{name}`"
    command.make_context(words[0] if words else "", list(words))  # refuses what it does not know


def test_make_knows_every_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {
        word
        for _, text in BLOCKS
        for line in text.splitlines()
        if line.startswith("make ")
        for word in line.split("#")[0].split()[1:]
    }
    assert {"demo", "test"} <= shown <= targets


def test_its_program_and_its_config_load(tmp_path: Path) -> None:
    program, config = (text for language, text in BLOCKS if language == "toml")
    (tmp_path / "program.toml").write_text(program, encoding="utf-8")
    (tmp_path / "config.toml").write_text(config, encoding="utf-8")
    assert load_program(tmp_path).spec.name == "triage"
    assert load_config(tmp_path / "config.toml", environment={}).config.optimizer.name == "gepa"


def test_the_exit_codes_are_those_there_are() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)] == sorted(ExitCode)


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []
