"""``oacompile extract --explain``: one log as a person reads it."""

from __future__ import annotations

import json as json_module
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from oa_compile.dataset import ExampleRecord
from oa_compile.extract.explain import Chapter, Decision, Explanation, Story, explain
from oa_compile.extract.redact import redact, redact_value
from oa_compile.hud.text import counted, shorten

if TYPE_CHECKING:
    from oa_compile.cli.output import Output
    from oa_compile.spec.load import LoadedProgram

_MARKS = {True: ("ok", "green"), False: ("failed", "red"), None: ("", "")}
_SHOWN_FILES = 6


def show_explanation(file: Path, program: LoadedProgram, *, screen: Output, json: bool) -> None:
    """Print what the program makes of a log."""
    found = explain(file, spec=program.spec)
    if json:
        screen.emit(redact_value(_as_json(found), counts=Counter()))
        return
    for story in found.stories:
        screen.show(*_story(story, width=screen.console.width))
    for line, reason in found.bad:
        screen.show(Text(f"bad input at line {line}: {reason}", "red"))
    replaced = ", ".join(f"{kind} {n:,}" for kind, n in found.redacted.items())
    screen.show(
        f"{counted(found.examples, 'example')} for {program.spec.name} from {shorten(found.file, 60)} "
        f"({found.format})" + (f"; replaced {replaced}" if replaced else "")
    )


def _story(story: Story, *, width: int) -> Iterator[Text]:
    session = story.session
    about = [f"session {session.id}", session.format, session.agent, session.repository]
    if session.thread:
        about.insert(1, f"sidechain {session.thread}")
    yield _line(0, " · ".join(part for part in about if part), width, "bold")
    yield Text(
        f"  {counted(session.calls, 'call')}, {session.errors:,} failed; "
        f"{session.usage.input_tokens:,} tokens in, {session.usage.output_tokens:,} out"
        + (f"; {counted(session.compactions, 'compaction')}" if session.compactions else "")
        + (f"; resumed {counted(session.resumptions, 'time')}" if session.resumptions else "")
    )
    for chapter in story.chapters:
        yield from _chapter(chapter, width)
    yield Text("")


def _chapter(chapter: Chapter, width: int) -> Iterator[Text]:
    episode = chapter.episode
    if episode is None:
        yield Text("  outside of any episode", "bold")
    else:
        title = episode.issue.title if episode.issue is not None else "no text of it in the log"
        state = "succeeded" if episode.succeeded else episode.state
        lines = f"lines {episode.opened}–{episode.closed or 'end'}"
        yield _line(2, f"{episode.kind} {episode.key}: {title}", width, "bold")
        yield Text(f"    {state}, {lines}", "green" if episode.succeeded else "yellow")
        if episode.files:
            more = len(episode.files) - _SHOWN_FILES
            named = ", ".join(episode.files[:_SHOWN_FILES]) + (f" and {more} more" if more > 0 else "")
            yield _line(4, f"edited   {named}", width)
        for check in episode.verifications[-3:]:
            words = (
                f"    checked  {check.command} ({'passed' if check.passed else 'failed'}, line {check.line})"
            )
            yield _line(4, words, width)
        if episode.commits:
            yield _line(4, f"commit   {', '.join(episode.commits)}", width)
    for decision in chapter.decisions:
        yield from _decision(decision, width)
    yield from _made(chapter.examples, chapter.left_out, width)


def _decision(decision: Decision, width: int) -> Iterator[Text]:
    mark, style = _MARKS[decision.worked]
    line = Text(f"  {decision.line:>6}  ", "dim")
    line.append_text(_line(0, f"{decision.kind}  {decision.words}", width - 18))
    if mark:
        line.append(f"  {mark}", style)
    yield line
    yield from _made(decision.examples, decision.left_out, width)


def _made(examples: tuple[ExampleRecord, ...], reasons: tuple[str, ...], width: int) -> Iterator[Text]:
    for record in examples:
        yield _line(10, f"example  {_fields(record.inputs)}", width, "cyan")
        sure = record.meta.get("confidence", 1)
        doubt = f"  (confidence {sure:g})" if sure != 1 else ""
        yield _line(10, f"  gives  {_fields(record.outputs)}{doubt}", width, "cyan")
    for reason in reasons:
        yield _line(10, f"no example: {reason}", width, "dim")


def _line(indent: int, words: str, width: int, style: str = "") -> Text:
    """One line of the log's words. A screen is shared more easily than a log: nothing private is on it."""
    shown = redact(words, counts=Counter())
    return Text(" " * indent + shorten(shown, max(20, width - indent)), style)


def _fields(values: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name}={json_module.dumps(value, ensure_ascii=False)}" for name, value in values.items()
    )


def _as_json(found: Explanation) -> dict[str, Any]:
    return {
        "file": found.file,
        "format": found.format,
        "examples": found.examples,
        "bad": [{"line": line, "reason": reason} for line, reason in found.bad],
        "redacted": dict(found.redacted),
        "sessions": [_story_json(story) for story in found.stories],
    }


def _story_json(story: Story) -> dict[str, Any]:
    import msgspec

    return {
        "session": msgspec.to_builtins(story.session),
        "chapters": [
            {
                "episode": None if chapter.episode is None else msgspec.to_builtins(chapter.episode),
                "decisions": [
                    {
                        "line": decision.line,
                        "kind": decision.kind,
                        "words": decision.words,
                        "worked": decision.worked,
                        "examples": [_record(record) for record in decision.examples],
                        "left_out": list(decision.left_out),
                    }
                    for decision in chapter.decisions
                ],
                "examples": [_record(record) for record in chapter.examples],
                "left_out": list(chapter.left_out),
            }
            for chapter in story.chapters
        ],
    }


def _record(record: ExampleRecord) -> dict[str, Any]:
    return {"inputs": dict(record.inputs), "outputs": dict(record.outputs), "meta": dict(record.meta)}
