"""What became of one log, told in its own order: episodes, decisions, and the example made of each.

Owns the story, not its looks. It is read by the same reader, assembly and makers as an extraction, with a
tally that remembers every line instead of the first of each reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oa_compile.dataset import ExampleRecord
from oa_compile.errors import UsageError
from oa_compile.extract.assemble import Closed
from oa_compile.extract.commands import command_of
from oa_compile.extract.episodes import Episode
from oa_compile.extract.examples import Examples
from oa_compile.extract.reading import open_log
from oa_compile.extract.session import Message, RuntimeEvent, Session, ToolCall, Verification
from oa_compile.extract.sources import LogFile
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.spec.program import ProgramSpec

WORDS = 160
"""Characters shown of what somebody said or did."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One step: what it was, whether it worked (None where that has no meaning or is not in the log), the
    examples made of it, and why none was.
    """

    line: int
    kind: str
    words: str
    worked: bool | None
    examples: tuple[ExampleRecord, ...]
    left_out: tuple[str, ...]


@dataclass(slots=True)
class Chapter:
    """An episode with its decisions; `episode` is None for what happened outside of any."""

    episode: Episode | None
    decisions: list[Decision] = field(default_factory=list)
    examples: tuple[ExampleRecord, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class Story:
    """One thread of a session."""

    session: Session
    chapters: list[Chapter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One log. `bad` is the input that could not be read: ``(line, reason)``."""

    file: str
    format: str
    stories: tuple[Story, ...]
    bad: tuple[tuple[int, str], ...]
    redacted: Mapping[str, int]

    @property
    def examples(self) -> int:
        """How many were made."""
        chapters = [chapter for story in self.stories for chapter in story.chapters]
        return sum(len(c.examples) + sum(len(d.examples) for d in c.decisions) for c in chapters)


@dataclass(slots=True)
class _Notes(Tally):
    """A tally that keeps every reason with its line."""

    said: list[tuple[int, str]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def leave_out(self, reason: str, line: int) -> None:
        """Note it too."""
        self.said.append((line, reason))
        Tally.leave_out(self, reason, line)

    def refuse(self, reason: str, line: int) -> None:
        """Note it too."""
        self.bad.append((line, reason))
        Tally.refuse(self, reason, line)

    def taken(self) -> tuple[str, ...]:
        """The reasons since this was last asked."""
        reasons = tuple(dict.fromkeys(reason for _, reason in self.said))
        self.said.clear()
        return reasons


def explain(path: Path, *, spec: ProgramSpec) -> Explanation:
    """What the program would make of the log at `path`.

    Raises UsageError when the file cannot be read or is of no known format.
    """
    tally = _Notes(path.name, thorough=True)
    stories: dict[str, Story] = {}
    ended: list[Story] = []
    makers: dict[str, Examples] = {}
    try:
        with open_log(LogFile(str(path), path.name), spec=spec, tally=tally) as (log, _):
            if log.reader is None:
                raise UsageError(
                    f"{path}: no known log format",
                    hint="describe it in [extract.log] of the program, or see README's list of formats",
                )
            for scene, moment in log.moments():
                thread = scene.session.thread
                story = stories.setdefault(thread, Story(scene.session))
                maker = makers.setdefault(thread, Examples(spec, tally))
                _tell(story, scene, moment, tuple(maker.take(scene, moment)), tally.taken())
                if isinstance(moment, Closed):
                    ended.append(stories.pop(thread))
                    del makers[thread]
            return Explanation(path.name, log.reader.FORMAT, tuple(ended), tuple(tally.bad), tally.redacted)
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from error


def _tell(
    story: Story, scene: Scene, moment: Moment, examples: tuple[ExampleRecord, ...], reasons: tuple[str, ...]
) -> None:
    if isinstance(moment, Episode):
        chapter = _chapter(story, moment)
        chapter.examples, chapter.left_out = examples, reasons
    elif not isinstance(moment, Closed):
        kind, words, worked = _words(moment)
        _chapter(story, scene.episode).decisions.append(
            Decision(moment.line, kind, words[:WORDS], worked, examples, reasons)
        )
    elif examples:
        _chapter(story, None).examples = examples


def _chapter(story: Story, episode: Episode | None) -> Chapter:
    """The one that is under way, or a new one."""
    if not story.chapters or story.chapters[-1].episode is not episode:
        story.chapters.append(Chapter(episode))
    return story.chapters[-1]


def _words(moment: Moment) -> tuple[str, str, bool | None]:
    if isinstance(moment, Message):
        return moment.role, moment.text.strip(), None
    if isinstance(moment, ToolCall):
        return moment.name, command_of(moment) or _first_text(moment.arguments), moment.worked
    if isinstance(moment, Verification):
        return moment.kind, moment.command, moment.passed
    if isinstance(moment, RuntimeEvent):
        return moment.event_type, _first_text(moment.context), moment.success
    return "", "", None


def _first_text(values: Mapping[str, Any]) -> str:
    return next((value for value in values.values() if isinstance(value, str)), "")
