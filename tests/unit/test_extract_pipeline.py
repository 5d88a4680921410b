"""The whole way from logs to a dataset: the same input gives the same files, and the card tells all."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from oa_compile.dataset import load_card, load_split
from oa_compile.digest import digest_file
from oa_compile.errors import UsageError
from oa_compile.extract import ExtractReport, Progress, extract
from oa_compile.spec.program import ProgramSpec

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "autopilot"
SHIPPED = ROOT / "datasets" / "tool-selection"
PROGRAM = ROOT / "programs" / "tool-selection" / "program.toml"
NAMES = {"read": "Read", "edit": "Edit", "run": "Bash", "search": "Grep"}


@dataclass(frozen=True)
class Program:
    spec: ProgramSpec


def tool_selection() -> Program:
    return Program(ProgramSpec.model_validate(tomllib.loads(PROGRAM.read_text())))


def planning() -> Program:
    return Program(
        ProgramSpec.model_validate(
            {
                "name": "planning",
                "signature": {
                    "instructions": "Which files?",
                    "inputs": [{"name": "issue_description"}],
                    "outputs": [{"name": "files_to_modify", "type": "list[str]"}],
                },
                "metrics": [{"kind": "set_f1", "field": "files_to_modify"}],
                "extract": {"example": "planning"},
            }
        )
    )


def log(thoughts: Sequence[tuple[str, str]]) -> bytes:
    """An autopilot log of thoughts and the tools that followed them."""
    lines = [{"type": "system", "message": {"subtype": "init", "session_id": "s", "model": "hand-made"}}]
    for number, (thought, tool) in enumerate(thoughts):
        use = {"type": "tool_use", "id": f"c{number}", "name": NAMES[tool], "input": {}}
        content = [{"type": "text", "text": thought}, use]
        result = {"type": "tool_result", "tool_use_id": f"c{number}", "content": "ok"}
        lines.append({"type": "assistant", "message": {"id": f"m{number}", "content": content}})
        lines.append({"type": "user", "message": {"content": [result]}})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def thoughts(words: str) -> list[tuple[str, str]]:
    tools = itertools.cycle(NAMES)
    return [(f"{a} {b} {c}", next(tools)) for a, b, c in itertools.permutations(words.split(), 3)]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(log(thoughts("cat dog owl fox")))
    (folder / "deep" / "b.jsonl").write_bytes(log([*thoughts("yak emu elk bat"), ("cat dog owl", "read")]))
    (folder / "notes.txt").write_text("no log")
    return folder


def alone() -> Program:
    """Each example by itself: the logs made here are of one session, and would be all on one side."""
    spec = tool_selection().spec
    return Program(spec.model_copy(update={"splits": spec.splits.model_copy(update={"group": "none"})}))


def run(
    sources: Sequence[Path], out: Path | None, *, program: Program | None = None, **more: object
) -> ExtractReport:
    return extract(sources, program=program or alone(), out=out, **more)  # type: ignore[arg-type]


def test_the_card_tells_what_was_made(logs: Path, tmp_path: Path) -> None:
    report = run([logs], tmp_path / "out")
    card = load_card(tmp_path / "out")
    assert card == report.card
    assert [(s.path, s.format, s.sessions, s.examples) for s in card.sources] == [
        ("a.jsonl", "autopilot", 1, 24),
        ("deep/b.jsonl", "autopilot", 1, 25),
    ]
    assert card.sources[0].digest == digest_file(logs / "a.jsonl")
    assert card.sources[0].bytes == (logs / "a.jsonl").stat().st_size
    assert card.sources[0].lines == 49
    assert card.counts["examples_made"] == 49
    assert card.counts["duplicates_removed"] == 1
    assert card.counts["examples_kept"] == sum(report.sizes.values()) == 48
    assert "hand-made (2 sessions)" in card.description
    assert report.paths == tuple(
        tmp_path / "out" / n for n in ("train.jsonl", "val.jsonl", "test.jsonl", "dataset.json")
    )
    assert sum(sum(values.values()) for values in report.balance["tool"].values()) == 48


def test_extracting_again_gives_the_same_bytes(logs: Path, tmp_path: Path) -> None:
    first = run([logs], tmp_path / "one")
    second = run([logs / "deep", logs / "a.jsonl", logs / "a.jsonl"], tmp_path / "two")
    for one, two in zip(first.paths, second.paths, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_the_seed_moves_examples(logs: Path, tmp_path: Path) -> None:
    one, two = run([logs], tmp_path / "one"), run([logs], tmp_path / "two", seed=5)
    assert two.card.split.seed == 5
    assert one.paths[0].read_bytes() != two.paths[0].read_bytes()


def test_the_optimizers_splits_never_share_an_example(logs: Path, tmp_path: Path) -> None:
    run([logs], tmp_path / "out")
    ids = [{r.id for r in load_split(tmp_path / "out", name).records} for name in ("train", "val", "test")]
    assert not any(a & b for a, b in itertools.combinations(ids, 2))


def test_a_resumed_session_that_repeats_anothers_lines_counts_them_once(logs: Path, tmp_path: Path) -> None:
    whole = (logs / "a.jsonl").read_bytes()
    (logs / "resumed.jsonl").write_bytes(
        whole + b'{"type":"assistant","message":{"id":"new","content":[]}}\n'
    )
    once, twice = run([logs / "a.jsonl"], None), run([logs / "a.jsonl", logs / "resumed.jsonl"], None)
    assert once.card.counts["tool_calls"] == twice.card.counts["tool_calls"] == 24
    assert once.card.counts["examples_kept"] == twice.card.counts["examples_kept"]


def test_globs_name_logs(logs: Path, tmp_path: Path) -> None:
    report = run([logs / "**" / "*.jsonl"], tmp_path / "out")
    assert [source.path for source in report.card.sources] == ["a.jsonl", "deep/b.jsonl"]


def test_progress_ends_with_everything_done(logs: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    run([logs], tmp_path / "out", on_progress=seen.append)
    assert [p.files for p in seen] == [0, 1, 2]
    assert seen[-1].bytes == seen[-1].bytes_total > 0
    assert seen[-1].examples == 49


def test_files_that_cannot_be_used_are_reported_and_the_rest_is(logs: Path, tmp_path: Path) -> None:
    (logs / "c.jsonl").write_text('{"hello": 1}\n')
    (logs / "d.jsonl").write_bytes(bytes(range(256)) * 20)
    (logs / "e.jsonl").write_bytes(b"")
    report = run([logs], tmp_path / "out")
    left = {item.reason: item for item in report.left_out}
    assert left["file of unknown format"].count == 3
    assert left["file of unknown format"].first == "c.jsonl:0"
    assert {left.reason for left in report.refused} == {"file of unknown format"}
    assert report.card.counts["files"] == 2


def test_an_unreadable_file_is_reported(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def refuse(self: Path, *args: object, **more: object) -> object:
        if self.name == "a.jsonl":
            raise PermissionError(13, "Permission denied")
        return whole(self, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    report = run([logs], tmp_path / "out")
    assert [(i.reason, i.first) for i in report.left_out][-1] == (
        "file that cannot be read: Permission denied",
        "a.jsonl:0",
    )
    assert report.card.counts["files"] == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("*.zip", "no file matches"),
        ("empty", "no logs in this folder"),
    ],
)
def test_sources_that_find_nothing(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        run([tmp_path / source], tmp_path / "out")


def test_logs_without_examples_are_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(log([])[:-1] + b"\nnonsense\n")
    with pytest.raises(UsageError, match=r"no `tool_selection` example could be made of 1 file .not JSON: 1"):
        run([tmp_path / "a.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_examples_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(log([("Let me see.", "read")]))
    with pytest.raises(UsageError, match="split would be empty"):
        run([tmp_path / "a.jsonl"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reading_imports_no_numerical_library() -> None:
    code = "import sys, oa_compile.extract, oa_compile.dataset; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "oa_compile.extract" in done.stdout.split()
    assert not {"numpy", "scipy", "datasketch", "dspy", "litellm"} & set(done.stdout.split())


def test_the_shipped_dataset_is_what_extract_makes_of_the_shipped_sessions(tmp_path: Path) -> None:
    report = run([SHIPPED / "sessions"], tmp_path / "out", program=tool_selection())
    shipped = load_card(SHIPPED)
    assert {n: s.digest for n, s in report.card.splits.items()} == {
        n: s.digest for n, s in shipped.splits.items()
    }
    assert shipped.counts == report.card.counts
    assert "scripted" in shipped.description
    assert "python -m tools.sessions" in shipped.description
    for name in ("train", "val", "test"):
        assert len(load_split(SHIPPED, name).records) >= 60


@pytest.mark.skipif(not REAL.is_dir(), reason="the real logs are not beside this checkout")
class TestRealLogs:
    def test_tool_selection(self, tmp_path: Path) -> None:
        report = run([REAL], tmp_path / "out", program=tool_selection())
        assert report.card.counts["examples_made"] == 308
        assert report.card.counts["tool_calls"] == 1241
        assert {left.reason for left in report.left_out} == {
            "call without a thought before it",
            "call of another tool",
            "call failed",
            "near-duplicate of a holdout example",
            "near-duplicate of a val example",
        }

    def test_planning(self, tmp_path: Path) -> None:
        report = extract([REAL], program=planning(), out=tmp_path / "out")
        assert report.card.counts["examples_made"] == 34
        files = [
            f
            for n in ("train", "val", "test")
            for r in load_split(tmp_path / "out", n).records
            for f in r.outputs["files_to_modify"]
        ]
        assert files
        assert not any(file.startswith(("/", "~")) for file in files)
