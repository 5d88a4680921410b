"""Loads a callable a program spec names as ``metric.py:name``, from the program's own folder only.

Owns the path check and the link between the bytes that run and the digest that names them: the file is
read once, digested and executed from memory, so no stale byte code and no change in between can slip in.
Only that file is covered; a metric that imports files beside it would change behind its digest, so
the folder is not put on the import path.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from oa_compile.digest import digest_bytes, short
from oa_compile.errors import SpecError

_HINT = 'write "metric.py:name", with the file in the program\'s folder'


class Target(NamedTuple):
    """A callable and the digest of the file it came from."""

    call: Callable[..., Any]
    digest: str
    path: Path


def load_target(target: str, folder: Path) -> Target:
    """The callable that `target` names inside `folder`. Raises SpecError naming the file and the reason."""
    file_name, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier() or not file_name.endswith(".py"):
        raise SpecError(f"{folder}: `{target}` does not name a callable in a Python file", hint=_HINT)
    path = (folder / file_name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SpecError(f"{folder}: `{target}` leads out of the program's folder", hint=_HINT)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot read it: {error.strerror}", hint=_HINT) from error
    digest = digest_bytes(source)
    found = getattr(_execute(source, path, digest), name, None)
    if not callable(found):
        raise SpecError(f"{path}: there is no callable `{name}` in it", hint=f"define `def {name}(…)` there")
    return Target(found, digest, path)


def _execute(source: bytes, path: Path, digest: str) -> ModuleType:
    module = ModuleType(f"oa_compile_target_{path.stem}_{short(digest)}")
    module.__file__ = str(path)
    # Dataclasses and postponed annotations look their module up by name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        raise SpecError(f"{path}:{error.lineno or 1}: {error.msg}") from error
    except Exception as error:
        # A user's code may raise anything; it is told as a fault of that file, never swallowed.
        raise SpecError(f"{path}: {type(error).__name__} while loading it: {error}") from error
    return module
