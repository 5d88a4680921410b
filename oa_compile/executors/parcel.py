"""What travels between this process and its workers: a task, an item, and what came of it, as bytes.

Owns the only use of pickle: between processes that run the same code for one command, whoever's engine they
are on. Nothing of it is kept, and nothing that was stored or sent by others is opened.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from oa_compile.errors import OacompileError
from oa_compile.executors.executor import failed


def pack(value: object) -> bytes:
    """`value` as bytes. Raises PicklingError, TypeError or AttributeError for what cannot travel."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Any:
    """The value `pack` was given; raises whatever opening it does."""
    return pickle.loads(data)


class Task:
    """A packed task, opened when the first item needs it: failing to is that item's failure."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._task: Callable[[Any], Any] | None = None

    def __call__(self, item: Any) -> Any:
        """The task of one item."""
        if self._task is None:
            self._task = unpack(self._packed)
            self._packed = b""
        return self._task(item)


def perform(task: Task, item: bytes) -> bytes:
    """What came of the item, packed: a value or a failure. Raises nothing, also when item or value cannot
    travel: that is the item's failure, not the worker's.
    """
    try:
        return pack((True, task(unpack(item)), ""))
    except BaseException as error:  # noqa: BLE001 - StopRun and SystemExit are the caller's too
        return failure(error)


def failure(error: BaseException) -> bytes:
    """`error` as what came of an item. One that cannot travel goes as an OacompileError of the same words."""
    trace = "".join(traceback.format_exception(error))
    try:
        data = pack((False, error, trace))
        unpack(data)  # an exception with arguments of its own often packs and then does not open
    except Exception:  # noqa: BLE001 - whatever its class does when it is copied
        words = "".join(traceback.format_exception_only(error)).strip()
        data = pack((False, OacompileError(words), trace))
    return data


def opened(data: bytes, index: int) -> Any:
    """The value in what `perform` gave for the item. Raises what the task raised."""
    try:
        well, value, trace = unpack(data)
    except Exception as error:
        raise error from failed(error, index)
    if well:
        return value
    raise value from failed(value, index, trace)
