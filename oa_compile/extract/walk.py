"""The walk: a log's records as moments, each with what was known when it came.

Owns `Moment`, which is all an example maker is given: the session, the episode under way, and the last steps
before. What comes later is not in it, so no maker can let it into an input by mistake; a maker that must
wait for the future (did the test pass in the end?) keeps what it needs and yields its draft then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oa_compile.extract.assemble import Assembly, Begun, Closed
from oa_compile.extract.episodes import Episode, Episodes
from oa_compile.extract.records import Compacted, Finished, Record, Tasked
from oa_compile.extract.session import Session, Step

TRAIL = 24
"""Steps before a moment that makers may look back on."""


class Trail:
    """The last steps of a thread, oldest first, as far as they were known when a later step was taken."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque(maxlen=TRAIL)
        self.taken = 0

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)


@dataclass(slots=True)
class Scene:
    """One thread as it is now: before the step that comes with it."""

    session: Session
    trail: Trail
    episodes: Episodes

    @property
    def episode(self) -> Episode | None:
        """The one under way."""
        return self.episodes.current


Moment = Step | Episode | Closed
"""A step just taken, an episode just closed, or the thread's end."""


def walk(records: Iterable[Record], assembly: Assembly) -> Iterator[tuple[Scene, Moment]]:
    """All moments of one log, in order: a step comes with the scene before it, an episode when its last
    step is part of the scene.
    """
    scenes: dict[str, Scene] = {}
    for session, happening in assembly.take(records):
        if isinstance(happening, Begun):
            scenes[session.thread] = Scene(session, Trail(), Episodes(session))
            continue
        scene = scenes[session.thread]
        if isinstance(happening, Closed):
            for episode in scene.episodes.close():
                yield scene, episode
            del scenes[session.thread]
            yield scene, happening
        elif isinstance(happening, Compacted):
            # What came before is no longer known to the agent, so it is no context of what comes now.
            scene.trail.steps.clear()
        elif isinstance(happening, Tasked | Finished):
            for episode in scene.episodes.take(happening):
                yield scene, episode
        else:
            yield scene, happening
            ended = scene.episodes.take(happening)
            scene.trail.steps.append(happening)
            scene.trail.taken += 1
            for episode in ended:
                yield scene, episode
