"""A run's folder: a self-contained record that resume, replay and validate all read.

    <run>/inputs/program/      program.toml and the Python it names
    <run>/inputs/dataset/      dataset.json, train.jsonl, val.jsonl (never test.jsonl: it stays sealed)
    <run>/inputs/config.json   the effective config
    <run>/journal.jsonl        the run
    <run>/artifact/            manifest.json, program.json, provenance.intoto.json
    <run>/bundle.zip           all of the above, sealed
    <run>/origin.json          where the dataset came from: validate finds the testset there
    <run>/optimizer.log        what the optimizer printed; nothing reads it

Owns the layout and the snapshot of the inputs.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from oa_compile.dataset import CARD_NAME, Split, load_card, load_split
from oa_compile.digest import digest_file
from oa_compile.errors import UsageError
from oa_compile.journal import FILE_NAME
from oa_compile.signatures.build import program_files
from oa_compile.spec.config import Config
from oa_compile.spec.load import LoadedProgram, load_program

_NAME = re.compile(r"^[A-Za-z0-9][\w.-]{0,127}$")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run lives. The folder's name is the run's name."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The run's journal."""
        return self.path / FILE_NAME

    @property
    def artifact(self) -> Path:
        """Folder of the compiled artifact."""
        return self.path / "artifact"

    @property
    def bundle(self) -> Path:
        """The replay bundle."""
        return self.path / "bundle.zip"

    @property
    def inputs(self) -> Path:
        """Folder of everything the run reads."""
        return self.path / "inputs"

    @property
    def origin(self) -> Path:
        """Names the dataset's folder. Not part of a bundle: it is a path of this machine."""
        return self.path / "origin.json"

    @property
    def log(self) -> Path:
        """What the optimizer printed."""
        return self.path / "optimizer.log"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run works on, read back from its snapshot. `dataset` is where the snapshot came from."""

    program: LoadedProgram
    config: Config
    train: Split
    val: Split
    digests: dict[str, str]


def create(path: Path, *, program: LoadedProgram, config: Config, dataset: Path) -> RunFolder:
    """A new run folder with a snapshot of its inputs. Raises UsageError when it exists already."""
    folder = RunFolder(path)
    if not _NAME.match(path.name):
        raise UsageError(f"`{path.name}` is not a run name", hint="use letters, digits, dots, - and _")
    if path.exists():
        raise UsageError(
            f"{path} exists already", hint=f"go on with --resume {path}, or choose another --run"
        )
    staging = path.with_name(f".{path.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        copy_program(program, staging / "inputs" / "program")
        card = load_card(dataset)
        splits = [info.file for name, info in card.splits.items() if name != "test"]
        _copy(dataset, [CARD_NAME, *splits], staging / "inputs" / "dataset")
        write_config(RunFolder(staging), config)
        RunFolder(staging).origin.write_text(json.dumps({"dataset": str(dataset.resolve())}) + "\n")
        staging.rename(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot make the run folder: {error}") from error
    return folder


def copy_program(program: LoadedProgram, target: Path) -> None:
    """A program's spec and the Python it names, into the new folder `target`."""
    _copy(program.folder, [program.path.name, *program_files(program.spec)], target)


def dataset_of(folder: RunFolder) -> Path | None:
    """Where the run's dataset came from, if this machine made the run and it is still there."""
    try:
        path = Path(json.loads(folder.origin.read_text())["dataset"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_dir() else None


def write_config(folder: RunFolder, config: Config) -> None:
    """Write the effective config into the snapshot, whole or not at all."""
    target = folder.inputs / "config.json"
    part = target.with_suffix(".part")
    part.write_text(json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    part.replace(target)


def open_run(path: Path) -> RunFolder:
    """An existing run folder. Raises UsageError when it is none."""
    folder = RunFolder(path)
    if not folder.inputs.is_dir():
        raise UsageError(
            f"{path} is not a run folder", hint="runs are made by `oacompile optimize`, under runs/"
        )
    return folder


def read_inputs(folder: RunFolder) -> Inputs:
    """The snapshot, checked. Raises SpecError, UsageError or DigestMismatch."""
    program = load_program(folder.inputs / "program")
    config_path = folder.inputs / "config.json"
    try:
        config = Config.model_validate_json(config_path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{config_path}: cannot read the run's config: {error}") from error
    train = load_split(folder.inputs / "dataset", "train")
    val = load_split(folder.inputs / "dataset", "val")
    if not train.records or not val.records:
        empty = train if not train.records else val
        raise UsageError(
            f"{empty.path}: the {empty.name} split is empty", hint="extract more sessions, or change [splits]"
        )
    digests = {"program": program.digest, "train": train.digest, "val": val.digest}
    # The testset's digest is on the card: which one it is is known, what is in it is not.
    if (test := load_card(folder.inputs / "dataset").splits.get("test")) is not None:
        digests["test"] = test.digest
    digests |= {name: digest_file(program.folder / name) for name in program_files(program.spec)}
    return Inputs(program, config, train, val, digests)


def _copy(source: Path, names: list[str], target: Path) -> None:
    target.mkdir(parents=True)
    for name in names:
        if not (source / name).is_file():
            raise UsageError(f"{source / name}: no such file")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
