"""The replay bundle: one zip with a run's inputs, journal and artifact, and a manifest of digests.

Deterministic bytes: entries in name order, with a fixed date. Opening checks every entry's name,
size and digest before anything is written, and writes only into a new folder.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import json_bytes, load_manifest
from oa_compile.digest import digest_bytes
from oa_compile.errors import DigestMismatch, OacompileError, UsageError

INDEX = "bundle.json"
FORMAT = "application/vnd.oacompile.bundle.v1+json"
MAX_ENTRY = 4 << 30
MAX_ENTRIES = 1_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HINT = "get the bundle again from where it was made; nothing was run"


def write_bundle(folder: RunFolder) -> str:
    """Seal a run's folder into ``bundle.zip``. Returns the bundle's digest (of its index)."""
    names = sorted(
        path.relative_to(folder.path).as_posix()
        for top in (folder.inputs, folder.artifact)
        for path in top.rglob("*")
        if path.is_file()
    )
    names = sorted([*names, folder.journal.name])
    entries: dict[str, bytes] = {name: (folder.path / name).read_bytes() for name in names}
    index = json_bytes(
        {
            "mediaType": FORMAT,
            "run": folder.name,
            "artifact": load_manifest(folder.artifact).digest,
            "entries": [
                {"name": name, "digest": digest_bytes(data), "size": len(data)}
                for name, data in entries.items()
            ],
        }
    )
    part = folder.bundle.with_name(f".{folder.bundle.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [(INDEX, index), *entries.items()]:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    part.replace(folder.bundle)
    return digest_bytes(index)


def open_bundle(path: Path, target: Path) -> RunFolder:
    """Unpack a bundle into the new folder `target`, every byte checked.

    Raises UsageError when there is no such file, DigestMismatch when it is no whole, untouched bundle.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such bundle", hint="`oacompile optimize` writes runs/<run>/bundle.zip")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive, path)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise DigestMismatch(f"{path}: not a whole bundle: {error}", hint=_HINT) from error
    for name, data in entries.items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    folder = RunFolder(target)
    if not folder.journal.is_file() or not folder.inputs.is_dir():
        raise DigestMismatch(f"{path}: the bundle lacks its journal or its inputs", hint=_HINT)
    return folder


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if INDEX not in names or len(names) > MAX_ENTRIES or len(set(names)) != len(names):
        raise DigestMismatch(f"{path}: not a bundle: no {INDEX}, or entries twice", hint=_HINT)
    index = _index(archive.read(INDEX), path)
    listed = {entry["name"]: entry for entry in index["entries"]}
    if set(listed) != set(names) - {INDEX}:
        raise DigestMismatch(f"{path}: its entries are not those its index lists", hint=_HINT)
    found = {}
    for info in infos:
        if info.filename == INDEX:
            continue
        entry = listed[info.filename]
        pure = PurePosixPath(info.filename)
        if pure.is_absolute() or ".." in pure.parts or "\\" in info.filename:
            raise DigestMismatch(f"{path}: entry {info.filename!r} leads out of the bundle", hint=_HINT)
        if info.file_size != entry["size"] or info.file_size > MAX_ENTRY:
            raise DigestMismatch(f"{path}: entry {info.filename} has another size than listed", hint=_HINT)
        data = archive.read(info)
        if digest_bytes(data) != entry["digest"]:
            raise DigestMismatch(f"{path}: entry {info.filename} was changed", hint=_HINT)
        found[info.filename] = data
    return found


def _index(data: bytes, path: Path) -> dict[str, Any]:
    try:
        index = json.loads(data)
        if index["mediaType"] != FORMAT:
            raise DigestMismatch(
                f"{path}: bundle format {index['mediaType']!r} is not known here", hint=_HINT
            )
        for entry in index["entries"]:
            if not isinstance(entry["name"], str) or not isinstance(entry["size"], int):
                raise TypeError(entry)
    except OacompileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise DigestMismatch(f"{path}: its index does not hold: {error!r}", hint=_HINT) from error
    assert isinstance(index, dict)
    return index
