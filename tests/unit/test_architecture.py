"""ARCHITECTURE.md says what is there, and the rules no import shows hold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRACTS = (ROOT / ".importlinter").read_text(encoding="utf-8")
PACKAGE = ROOT / "oa_compile"

TEMPLATES = PACKAGE / "cli" / "templates"
"""Named as a whole: they are a project's files, not the package's."""

ENVIRONMENT = {("os", "environ"), ("os", "getenv")}
PROCESS = {("sys", "exit"), ("sys", "argv"), ("os", "_exit")}


def block(start: str) -> str:
    """The page's code block that begins with `start`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return next(text for text in blocks if text.startswith(start))


def named() -> list[str]:
    """The paths of the page's layout, folders with a slash at the end."""
    folders: list[str] = []
    paths = []
    for line in block("oa_compile/\n").splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth - 1 :] = [name] if name.endswith("/") else []
        paths.append("".join(folders) if name.endswith("/") else "".join(folders) + name)
    return paths


def there() -> set[str]:
    """The package's files and folders as they are, without what Python and a package's folder imply."""
    found = {"cli/templates/"}
    for path in PACKAGE.rglob("*"):
        if "__pycache__" in path.parts or path.is_relative_to(TEMPLATES) or path.is_dir():
            continue
        within = path.relative_to(PACKAGE)
        found.add(str(within) if path.name != "__init__.py" else f"{within.parent}/")
    return found - {"./"}


def layers(text: str) -> list[set[str]]:
    """Layers written one a line, siblings between bars."""
    return [{name.strip() for name in line.split("|")} for line in text.split("\n") if line.strip()]


def test_the_layout_names_every_module_once_and_nothing_else() -> None:
    paths = named()
    assert sorted(paths) == sorted(set(paths))
    assert set(paths) - there() == set(), "named, but not there"
    assert there() - set(paths) == set(), "there, but not named"


def test_every_path_the_page_names_is_there() -> None:
    paths = re.findall(r"`((?:oa_compile|tests|tools|programs|configs|schemas|benchmarks)/[^`<]*)`", PAGE)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_page_draws_the_layers_that_are_checked() -> None:
    checked = CONTRACTS.split("layers =\n", 1)[1].split("\n\n", 1)[0]
    assert layers(block("cli\n")) == [layer for layer in layers(checked) if layer != {"__main__"}]


def uses(tree: ast.AST) -> set[tuple[str, str]]:
    """Names taken from `os` and `sys`, as an attribute or by a from-import."""
    found = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "sys"}:
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def parsed() -> dict[Path, ast.Module]:
    """Every module of the package by its path within it."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def test_the_library_prints_nothing_ends_no_process_and_reads_no_environment() -> None:
    found = {}
    for path, tree in parsed().items():
        if path.parts[0] in {"cli", "__main__.py"}:
            continue
        forbidden = PROCESS if path == Path("spec/load.py") else PROCESS | ENVIRONMENT
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        if broken := (uses(tree) & forbidden) | {("builtins", name) for name in calls & {"print", "input"}}:
            found[str(path)] = broken
    assert found == {}


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path, tree in parsed().items() if not ast.get_docstring(tree)] == []
