"""Every way a command can end: its exit code, what is said, and the JSON form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("none", 0, ""),
        ("code", 1, ""),
        ("exit", 3, ""),
        ("usage", 2, "error: no such run\n hint: look in runs/\n"),
        (
            "spec",
            2,
            "a.toml:3:1: error[OAC101] `nam` is no key\n  hint: try name\n"
            "<--seed>: error[OAC105] too small\nerror: a.toml: 2 problems\n",
        ),
        ("budget", 3, "error: the cap is reached\n"),
        ("lane", 4, "error: the lane is gone\n"),
        ("digest", 5, "error: not the bytes\n"),
        ("divergence", 1, "-asked\n+recorded [x]\nerror: another call\n"),
        ("stop", 3, "error: the cap is reached\n"),
        ("interrupt", 130, "error: interrupted\n"),
        ("signal", 130, "error: interrupted\n"),
        ("abort", 130, "error: interrupted\n"),
    ],
)
def test_every_ending_has_its_code(run: Run, how: str, code: int, said: str) -> None:
    assert run("end", how) == (code, "", said)


@pytest.mark.parametrize(
    ("how", "code", "kind"),
    [
        ("usage", 2, "UsageError"),
        ("spec", 2, "SpecError"),
        ("stop", 3, "BudgetExhausted"),
        ("divergence", 1, "Divergence"),
        ("interrupt", 130, "Interrupted"),
        ("bug", 70, "OacompileError"),
    ],
)
def test_errors_are_json_too(run: Run, how: str, code: int, kind: str) -> None:
    ended, out, err = run("end", how, "--json")
    error = json.loads(out)["error"]
    assert (ended, error["exit_code"], error["kind"]) == (code, code, kind)
    assert error["message"] in err


def test_diagnostics_have_ruffs_keys(run: Run) -> None:
    _code, out, _err = run("end", "spec", "--json")
    assert json.loads(out)["error"]["diagnostics"][0] == {
        "code": "OAC101",
        "name": "unknown-key",
        "severity": "error",
        "message": "`nam` is no key",
        "filename": "a.toml",
        "location": {"row": 3, "column": 1},
        "end_location": {"row": 3, "column": 4},
        "url": None,
        "hint": "try name",
    }


@pytest.mark.parametrize(
    ("how", "named"), [("bug", "ZeroDivisionError: division by zero"), ("oserror", "Permission denied")]
)
def test_a_bug_of_ours_says_so_and_keeps_the_traceback(
    run: Run, tmp_path: Path, how: str, named: str
) -> None:
    code, out, err = run("end", how)
    assert (code, out) == (70, "")
    assert "this is a bug of ours" in err
    assert named in err
    assert "Traceback" not in err
    (kept,) = tmp_path.rglob("crash-*.txt")
    assert str(kept) in err
    assert "Traceback" in kept.read_text(encoding="utf-8")
    assert f"oacompile end {how}" in kept.read_text(encoding="utf-8")


def test_a_bug_is_told_where_nothing_can_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refuse)
    code, _out, err = run("end", "bug")
    assert code == 70
    assert "Traceback" in err
