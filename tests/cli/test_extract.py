"""``extract`` as people and scripts use it: a log explained, a check, bad input, standard input, workers."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import check_golden, oacompile
from tests.support.sessions import INIT, back, claim, complete, done, edit, encode, issue, say, text, use

Run = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "datasets" / "tool-selection" / "sessions"
PROGRAM = str(ROOT / "programs" / "tool-selection")
LOG = (
    encode(
        [
            INIT,
            *issue("c1"),
            *claim("c2"),
            say(
                "m3",
                text("Let me look at \x1b[31mthe cart of jo@shop.example."),
                use("c3", "Read", file_path="/repo/cart.py"),
            ),
            back("c3", "total = 0"),
            say("m4", text("Now I fix the sum."), use("c4", "Edit", file_path="/repo/cart.py")),
            back("c4", "no match", is_error=True),
            *edit("c5", "/repo/cart.py"),
            *done("c6", "Bash", "3 passed", command="pytest -q"),
            *complete("c7"),
        ]
    )
    + b'{"type":"assistant","mess'
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_bytes(LOG)
    return path


def test_one_log_is_explained_as_a_person_reads_it(log: Path) -> None:
    seen = oacompile("extract", "--program", PROGRAM, "--explain", str(log), cwd=log.parent)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "\x1b" not in seen.stdout
    check_golden("extract_explain.txt", seen.stdout)


def test_and_as_a_machine_does(log: Path, run: Run) -> None:
    code, out, _ = run("extract", "--program", PROGRAM, "--explain", str(log), "--json")
    told = json.loads(out)
    assert (code, told["format"], told["examples"]) == (0, "autopilot", 1)
    assert told["bad"] == [{"line": len(LOG.splitlines()), "reason": "truncated line"}]
    (session,) = told["sessions"]
    assert [chapter["episode"] and chapter["episode"]["files"] for chapter in session["chapters"]] == [
        None,
        ["cart.py"],
    ]


def test_explaining_what_is_no_log_says_so(tmp_path: Path, run: Run) -> None:
    (tmp_path / "x").write_text("hello")
    code, _, err = run("extract", "--program", PROGRAM, "--explain", str(tmp_path / "x"))
    assert code == 2
    assert "no known log format" in err


def test_a_check_writes_nothing(tmp_path: Path, run: Run) -> None:
    code, out, _ = run(
        "extract", str(SHIPPED), "--program", PROGRAM, "--check", "--out", str(tmp_path / "out"), "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert (report["folder"], report["paths"], report["refused"]) == (None, [], [])
    assert sum(report["sizes"].values()) == report["card"]["counts"]["examples_kept"]
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_told_and_with_strict_refused(tmp_path: Path, run: Run) -> None:
    logs = tmp_path / "logs"
    shutil.copytree(SHIPPED, logs)
    (logs / "cut.jsonl").write_bytes(LOG)
    code, out, _ = run("extract", str(logs), "--program", PROGRAM, "--out", str(tmp_path / "out"), "--json")
    line = len(LOG.splitlines())
    assert code == 0
    assert json.loads(out)["refused"] == [
        {"reason": "truncated line", "count": 1, "first": f"cut.jsonl:{line}"}
    ]
    code, _, err = run(
        "extract", str(logs), "--program", PROGRAM, "--out", str(tmp_path / "strict"), "--strict"
    )
    assert code == 2
    assert f"cut.jsonl:{line}: truncated line" in err
    assert not (tmp_path / "strict").exists()


def test_logs_come_packed_through_standard_input_and_from_workers(tmp_path: Path) -> None:
    whole = b"".join(path.read_bytes() for path in sorted(SHIPPED.glob("*.jsonl")))
    (tmp_path / "piped").write_bytes(gzip.compress(whole))
    piped = oacompile(
        "extract", "-", "--program", PROGRAM, "--check", "--json", cwd=tmp_path, stdin=tmp_path / "piped"
    )
    assert (piped.returncode, piped.stderr) == (0, "")
    ways = [
        oacompile(
            "extract",
            str(SHIPPED),
            "--program",
            PROGRAM,
            "--out",
            str(tmp_path / way),
            "--executor",
            way,
            cwd=tmp_path,
        )
        for way in ("serial", "local:2")
    ]
    assert [way.returncode for way in ways] == [0, 0]
    for name in ("train.jsonl", "val.jsonl", "test.jsonl", "dataset.json"):
        assert (tmp_path / "serial" / name).read_bytes() == (tmp_path / "local:2" / name).read_bytes()
    card = json.loads((tmp_path / "serial" / "dataset.json").read_text())
    assert json.loads(piped.stdout)["card"]["counts"]["tool_calls"] == card["counts"]["tool_calls"]


def test_a_program_goes_by_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run("extract", str(SHIPPED), "--program", "tool-selection", "--check")[0] == 0
    code, _, err = run("extract", str(SHIPPED), "--program", "tool-selektion", "--check")
    assert code == 2
    assert "tool-selection" in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no session logs given"),
        ((str(SHIPPED),), "no --out"),
        ((str(SHIPPED), "--out", "x", "--executor", "mars"), "names no executor"),
    ],
    ids=["no logs", "no out", "no executor"],
)
def test_what_is_missing_is_said(given: tuple[str, ...], said: str, run: Run) -> None:
    code, _, err = run("extract", *given, "--program", PROGRAM)
    assert code == 2
    assert said in err
