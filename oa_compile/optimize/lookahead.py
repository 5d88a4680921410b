"""Asks early what a search is going to ask, so that calls which wait for nobody are under way together.

Owns when work runs that is only done for the answers it files; which work that is, each optimizer knows. What
the search then asks is in the journal or under way, so a search with it and one without it end alike, and
what goes wrong here is nobody's: the search meets it itself.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any

import dspy

from oa_compile.errors import StopRun
from oa_compile.lanes.calls import Look, looking_ahead
from oa_compile.lanes.rollout import current

Work = Callable[[], object]

NOW, SOON, LATER = range(3)
"""How pressing work is: what the search waits for, what it waits for next, and what fills the seats."""


class Piece:
    """Work handed out. `result` is None until `done`, and stays None when it came to nothing."""

    __slots__ = ("cancelled", "done", "result", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = threading.Event()
        self.cancelled = False
        self.result: object = None


class LookAhead:
    """`threads` workers that take the most pressing work first. A context manager: its end drops the rest."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._queue: queue.PriorityQueue[tuple[int, int, Piece, Context]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._told: tuple[dspy.Module | None, dict[Any, Any]] = (None, {})
        self._lock = threading.Lock()
        self._closed = False
        self._started = False

    def __enter__(self) -> LookAhead:
        return self

    def __exit__(self, *_exc: object) -> None:
        with self._lock:
            self._closed = True
            with contextlib.suppress(queue.Empty):
                while True:  # nobody waits for what will not be begun
                    self._queue.get_nowait()[2].done.set()
            for _ in range(self.threads if self._started else 0):
                self._queue.put((-1, next(self._numbers), Piece(lambda: None), Context()))

    def submit(self, work: Iterable[Work], *, pressing: int = NOW) -> list[Piece]:
        """Begin `work` in its order, in this thread's context; returns at once."""
        pieces = [Piece(one) for one in work]
        with self._lock:
            self._start()
            for piece in pieces:
                if self._closed:
                    piece.done.set()
                else:
                    self._queue.put((pressing, next(self._numbers), piece, copy_context()))
        return pieces

    def run(self, work: Iterable[Work], *, pressing: int = NOW) -> list[object]:
        """Do all of `work`; what each came to, None where it failed."""
        pieces = self.submit(work, pressing=pressing)
        wait(pieces)
        return [piece.result for piece in pieces]

    def attend(self, program: dspy.Module) -> None:
        """From now on, `program` and its copies give what they are `told` instead of running again."""
        ahead, base = self, type(program)

        class Attended(base):  # type: ignore[misc, valid-type]
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                known, told = ahead._told
                # A further rollout of an example is run, whatever the first one came to.
                is_told = known is self and not args and current() is None
                prediction = told.get(_inputs(kwargs)) if is_told else None
                if prediction is None:
                    return super().__call__(*args, **kwargs)
                for callback in dspy.settings.callbacks:  # whoever follows its examples still does
                    callback.on_module_start("", self, {"args": (), "kwargs": kwargs})
                return prediction

        Attended.__name__, Attended.__qualname__ = base.__name__, base.__qualname__
        Attended.__module__ = base.__module__
        program.__class__ = Attended

    def tell(self, program: dspy.Module, examples: Iterable[dspy.Example], pieces: Iterable[Piece]) -> None:
        """What `program` comes to on `examples`, once it is known; only the last one told is kept."""
        wait(pieces := list(pieces))
        told = {_inputs(e.inputs()): piece.result for e, piece in zip(examples, pieces, strict=True)}
        self._told = (program, told)

    def forget(self) -> None:
        """The program told last runs itself again: it may be changed now."""
        self._told = (None, {})

    def _start(self) -> None:
        if not self._started and not self._closed:
            self._started = True
            for number in range(self.threads):
                threading.Thread(target=self._serve, name=f"ahead-{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            _, _, piece, context = self._queue.get()
            try:
                if not self._closed and not piece.cancelled:
                    piece.result = context.run(_quietly, piece.work)
            finally:
                piece.done.set()
            if self._closed:
                return


def _inputs(fields: Any) -> tuple[tuple[str, int], ...]:
    """Which fields these are: the very values of an example, which lives as long as its search."""
    return tuple((name, id(value)) for name, value in fields.items())


def wait(pieces: Iterable[Piece]) -> None:
    """Until all of them are done."""
    for piece in pieces:
        piece.done.wait()


def program_runs(
    program: dspy.Module, examples: Iterable[dspy.Example], *, stand: bool = False
) -> list[Work]:
    """`program`, as it is now, on each example; with `stand`, what comes of it is going to be `told`."""
    frozen = program.deepcopy()

    def one(example: dspy.Example) -> object:
        with early(stands=stand) as look:
            prediction = frozen(**example.inputs())
        return None if look.failed else prediction

    return [partial(one, example) for example in examples]


def _quietly(work: Work) -> Any:
    """The work's result; None if it failed, which is told when the search comes to the same."""
    with early():
        try:
            return work()
        except (StopRun, Exception):  # noqa: BLE001 - whatever a program raises, the search meets it again
            return None


@contextlib.contextmanager
def early(*, stands: bool = False) -> Iterator[Look]:
    """Whatever asks here, asks early; nobody watches it."""
    look = Look(stands=stands)
    token = looking_ahead.set(look)
    try:
        with dspy.context(callbacks=[], trace=[]):
            yield look
    finally:
        looking_ahead.reset(token)
