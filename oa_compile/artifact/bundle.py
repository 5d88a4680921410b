"""The replay bundle: one zip with a run's inputs, journal and artifact, an index of digests, and a seal.

Deterministic bytes: entries in name order, with a fixed date. The zip's comment is the digest of all
bytes before it, so that a flipped or missing byte is noticed wherever it is, also where a zip reader
would not look; the index is a function of the entries, so that it cannot be edited alone. Opening
checks all of it, and leaves either a whole new folder or nothing.

Owns the format. Whether what the bundle holds is true is what a replay finds out.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from oa_compile.artifact.folder import RunFolder
from oa_compile.artifact.manifest import MANIFEST, PROGRAM, json_bytes, load_manifest, write_whole
from oa_compile.digest import PREFIX, digest_bytes
from oa_compile.errors import DigestMismatch, UsageError
from oa_compile.events import RunStarted
from oa_compile.journal import FILE_NAME, read

INDEX = "bundle.json"
FORMAT = "application/vnd.oacompile.bundle.v1+json"
MAX_ENTRIES = 1_000
MAX_INDEX = 4 << 20
MAX_TOTAL = 4 << 30
"""Most bytes all entries may unpack to: a small zip can hold a very large nothing."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SEAL = len(PREFIX) + 64
_BLOCK = 1 << 20
_TOPS = ("inputs", "artifact")
_NEEDED = (FILE_NAME, f"artifact/{MANIFEST}", f"artifact/{PROGRAM}")
_PART = re.compile(r"(?!\.{1,2}\Z)[^\x00-\x1f\x7f\\]+")
_UTF8_NAME = 0x800
_HINT = "get the bundle again from where it was made; nothing was run"


class _Entry(NamedTuple):
    """Digest and size of an entry's bytes."""

    digest: str
    size: int


def write_bundle(folder: RunFolder) -> str:
    """Seal a run's folder into ``bundle.zip``. Returns the bundle's digest (of its index)."""
    names = {
        path.relative_to(folder.path).as_posix()
        for top in (folder.inputs, folder.artifact)
        for path in top.rglob("*")
        if path.is_file() and path.suffix != ".part"  # a write that a killed process did not end
    }
    entries = {name: (folder.path / name).read_bytes() for name in sorted({*names, FILE_NAME})}
    index = _index(folder, {name: _Entry(digest_bytes(data), len(data)) for name, data in entries.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [(INDEX, index), *entries.items()]:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
        archive.comment = bytes(_SEAL)
    body = buffer.getvalue()[:-_SEAL]
    write_whole(folder.bundle, body + digest_bytes(body).encode())
    return digest_bytes(index)


def _index(folder: RunFolder, entries: Mapping[str, _Entry]) -> bytes:
    """The index of the run in `folder`, whose files are `entries`."""
    first = next(read(folder.journal), None)
    if first is None or not isinstance(first.event, RunStarted):
        raise DigestMismatch(f"{folder.journal}: the journal does not begin with run_started", hint=_HINT)
    return json_bytes(
        {
            "mediaType": FORMAT,
            "run": first.event.run,
            "artifact": load_manifest(folder.artifact).digest,
            "entries": [
                {"name": name, "digest": entry.digest, "size": entry.size} for name, entry in entries.items()
            ],
        }
    )


def open_bundle(path: Path, target: Path) -> RunFolder:
    """Unpack a bundle into the new folder `target`, every byte checked.

    Raises UsageError when there is no such file, `target` is there already or cannot be written, and
    DigestMismatch when it is no whole, untouched bundle; then nothing is left of it.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such bundle", hint="`oacompile optimize` writes runs/<run>/bundle.zip")
    if target.exists():
        raise UsageError(f"{target} exists already", hint="unpack into a new folder")
    staging = RunFolder(target.with_name(f".{target.name}.part"))
    shutil.rmtree(staging.path, ignore_errors=True)
    try:
        with path.open("rb") as handle:
            _check_seal(handle, path)
            with zipfile.ZipFile(handle) as archive:
                _unpack(archive, staging, path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        ValueError,
        RuntimeError,  # what zipfile raises for encryption and unknown methods
    ) as error:
        raise DigestMismatch(f"{path}: not a whole bundle: {error}", hint=_HINT) from error
    else:
        staging.path.rename(target)
    finally:
        shutil.rmtree(staging.path, ignore_errors=True)
    return RunFolder(target)


def _check_seal(handle: IO[bytes], path: Path) -> None:
    size = handle.seek(0, io.SEEK_END)
    handle.seek(0)
    found = _drain(handle, None, max(size - _SEAL, 0))
    if handle.read() != found.digest.encode():
        raise DigestMismatch(
            f"{path}: not a whole bundle: its bytes were changed or cut short after it was sealed", hint=_HINT
        )


def _unpack(archive: zipfile.ZipFile, staging: RunFolder, path: Path) -> None:
    infos = archive.infolist()
    _check_names([info.filename for info in infos], path)
    _check_sizes(infos, path)
    index = archive.read(INDEX)
    entries: dict[str, _Entry] = {}
    for info in infos[1:]:
        with archive.open(info) as source, _create(staging.path / info.filename) as into:
            entries[info.filename] = _drain(source, into, info.file_size)
    complaint = _complaint(index, entries)
    if not complaint and index != _index(staging, entries):
        complaint = "its index was changed"
    if complaint:
        raise DigestMismatch(f"{path}: {complaint}", hint=_HINT)


def _check_names(names: list[str], path: Path) -> None:
    inside = names[1:]
    if names[:1] != [INDEX] or len(names) > MAX_ENTRIES or inside != sorted(set(inside)):
        raise DigestMismatch(
            f"{path}: not a bundle: {INDEX} must come first, then at most {MAX_ENTRIES} entries by name",
            hint=_HINT,
        )
    folders = {name[:place] for name in inside for place, letter in enumerate(name) if letter == "/"}
    for name in inside:
        parts = name.split("/")
        plain = all(_PART.fullmatch(part) and len(part.encode()) < 256 for part in parts)
        if (name != FILE_NAME and not (plain and parts[0] in _TOPS and len(parts) > 1)) or name in folders:
            raise DigestMismatch(f"{path}: entry {name!r} has no place in a bundle", hint=_HINT)
    missing = set(_NEEDED) - set(inside)
    if missing:
        raise DigestMismatch(f"{path}: the bundle lacks {', '.join(sorted(missing))}", hint=_HINT)


def _check_sizes(infos: list[zipfile.ZipInfo], path: Path) -> None:
    if infos[0].file_size > MAX_INDEX or sum(info.file_size for info in infos) > MAX_TOTAL:
        raise DigestMismatch(
            f"{path}: it would unpack to more than {MAX_TOTAL:,} bytes, or {MAX_INDEX:,} of index", hint=_HINT
        )
    for info in infos:
        if info.compress_type != zipfile.ZIP_DEFLATED or info.flag_bits & ~_UTF8_NAME:
            raise DigestMismatch(
                f"{path}: entry {info.filename!r} is not packed as a bundle's are", hint=_HINT
            )


def _complaint(index: bytes, entries: Mapping[str, _Entry]) -> str:
    """What the index and the entries that were unpacked disagree about, empty if nothing."""
    try:
        told = json.loads(index)
        kind = told["mediaType"]
        listed = {entry["name"]: (entry["digest"], entry["size"]) for entry in told["entries"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"its index does not hold: {type(error).__name__}: {error}"
    if kind != FORMAT:
        return f"bundle format {kind!r} is not known here"
    if set(listed) != set(entries):
        return "its entries are not those its index lists"
    changed = next((name for name, entry in entries.items() if listed[name] != entry), None)
    return f"entry {changed} was changed" if changed else ""


def _create(place: Path) -> IO[bytes]:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("xb")
    except OSError as error:
        raise _cannot_write(place, error) from error


def _drain(source: IO[bytes], into: IO[bytes] | None, limit: int) -> _Entry:
    """Read at most `limit` bytes, in blocks, writing them `into` a file if there is one."""
    found, left = hashlib.sha256(), limit
    while left and (block := source.read(min(left, _BLOCK))):
        found.update(block)
        left -= len(block)
        if into is not None:
            try:
                into.write(block)
                into.flush()
            except OSError as error:
                raise _cannot_write(Path(into.name), error) from error
    return _Entry(PREFIX + found.hexdigest(), limit - left)


def _cannot_write(place: Path, error: OSError) -> UsageError:
    return UsageError(f"{place}: cannot unpack the bundle: {error.strerror}", hint="free some space there")
