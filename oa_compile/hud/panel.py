"""The panel of a running run: where it is, how the score climbs, what is tried, what is spent.

A pure drawing of one moment of a `RunView`; when to draw is `terminal`'s matter.
"""

from __future__ import annotations

from itertools import islice

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from oa_compile.hud.record import CandidateView, Evaluation
from oa_compile.hud.text import (
    ByWidth,
    Printable,
    bar,
    counted,
    duration,
    level,
    percent,
    plain,
    points,
    shorten,
    stair,
)
from oa_compile.hud.view import RunView
from oa_compile.ledger import RUN
from oa_compile.money import format_msat, format_usd

NARROW = 78
"""Cells below which the columns that can be missed go."""

_BORDER, _PADDING = 2, 4
_LEAST_HEIGHT = 10
_FIRST_EVALUATIONS, _MOST_EVALUATIONS, _MOST_NOTES = 3, 10, 3
_STYLE_OF = {True: "green", False: "dim", None: "cyan"}


def panel(
    view: RunView, *, now: int | None = None, height: int = 24, saved: int | None = None
) -> RenderableType:
    """The run as a panel of at most `height` lines. `now` is Unix ms; `saved` counts the calls that
    the journal answered, where the running process knows better than the journal's evaluations.
    """
    return Printable(ByWidth(lambda width: _panel(view, now, width, height, saved)))


def _panel(view: RunView, now: int | None, width: int, height: int, saved: int | None) -> RenderableType:
    inner = max(width - _PADDING, 20)
    saved = view.saved if saved is None else saved
    head: list[RenderableType] = [_header(view, now, inner), _progress(view, inner, saved)]
    climb = _climb(view, inner)
    spend, scopes = _spend(view, now, inner, max(height - _LEAST_HEIGHT, 1))
    room = height - _BORDER - len(head) - (1 + scopes) - (2 if climb is not None else 0)
    scored = min(len(view.evaluations), _MOST_EVALUATIONS)
    evaluations = min(scored, _FIRST_EVALUATIONS, max(room, 0))
    notes = _notes(view, inner)
    notes = notes[len(notes) - min(len(notes), max(room - evaluations - 1, 0)) :]
    evaluations = min(scored, max(room - (len(notes) + 1 if notes else 0), 0))
    parts: list[RenderableType] = [*head]
    if climb is not None:
        parts += [Text(), climb]
        parts += [_evaluations(view, inner, evaluations)] if evaluations else []
    parts += [Text(), spend]
    parts += [Text(), *notes] if notes else []
    title = plain(" · ".join(filter(None, (view.program or "a run", view.optimizer))), "bold not dim")
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=plain(view.run, "dim"),
        subtitle_align="right",
        border_style="dim",
        width=width,
    )


def _sides(left: Text, right: Text, width: int) -> Text:
    """Two texts on one line, the right one kept whole."""
    room = width - right.cell_len - 1
    if left.cell_len > room:
        left = Text(shorten(left.plain, max(room, 0)), left.style)
    gap = max(width - left.cell_len - right.cell_len, 1)
    return Text.assemble(left, " " * gap, right, no_wrap=True)


def _header(view: RunView, now: int | None, width: int) -> Text:
    times = duration(view.elapsed(now))
    left = view.time_left(now)
    if left is not None:
        times += f" · {duration(left)} left"
    if len(view.segments) > 1:
        times = f"resumed · {times}"
    what = view.status if view.status != "running" else view.phase or "starting"
    return _sides(plain(what, "bold"), Text(times), width)


def _progress(view: RunView, width: int, saved: int) -> Text:
    expected = view.expected
    done = f"{view.done:,} of {expected:,} calls" if expected else counted(view.done, "call")
    spend = view.spend()
    troubles = [f"{n:,} {what}" for n, what in ((spend.failed, "failed"), (spend.lost, "lost")) if n]
    figures = [done, *([f"{view.in_flight} in flight"] if view.in_flight else []), *troubles]
    if saved:
        figures.append(f"{saved:,} saved")
    text = Text(" · ".join(figures), "yellow" if troubles else "")
    room = width - text.cell_len - 2
    if not expected or room < 8:
        return Text(shorten(text.plain, width), text.style, no_wrap=True)
    return _sides(Text(bar(view.done / expected, room), "cyan"), text, width)


def _climb(view: RunView, width: int) -> Text | None:
    if view.best_score is None:
        return None
    text = Text.assemble("best ", (percent(view.best_score), "bold green"))
    if view.baseline_score is not None:
        gain = view.best_score - view.baseline_score
        text.append(f" · baseline {percent(view.baseline_score)}")
        text.append(f" · {points(gain)}")
    text.append(f" on {view.split}", "dim")
    room = min(width - text.cell_len - 3, 40)
    return _sides(text, Text(stair(view.curve, view.done, room), "green"), width) if room >= 8 else text


def _evaluations(view: RunView, width: int, rows: int) -> Table:
    narrow = width < NARROW - _PADDING
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True)
    if not narrow:
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    baseline = view.baseline
    # A candidate tried again without a call tells nothing new: its first row stands.
    told: dict[tuple[object, ...], Evaluation] = {}
    for evaluation in view.evaluations.values():
        event = evaluation.event
        told.setdefault((event.candidate, event.split, event.scope, event.score), evaluation)
    latest = list(islice(reversed(told.values()), rows))
    for evaluation in reversed(latest):
        candidate = view.candidates[evaluation.event.candidate]
        decision = candidate.decision
        kept = None if decision is None else decision.kept
        cells = [
            plain(view.name(candidate.candidate), _STYLE_OF[kept]),
            plain(_lineage(view, candidate, baseline), "dim"),
            scope_text(evaluation),
            score_text(evaluation),
            Text() if decision is None else Text.assemble(mark(decision.kept), " ", plain(decision.reason)),
        ]
        if narrow:
            del cells[1]
        table.add_row(*cells)
    return table


def _lineage(view: RunView, candidate: CandidateView, baseline: CandidateView | None) -> str:
    if candidate is baseline:
        return "baseline"
    return f"from {view.name(candidate.parent)}" if candidate.parent else candidate.origin


def mark(kept: bool) -> Text:  # noqa: FBT001 - a mark has nothing else to be told
    """``✓`` for kept, ``✗`` for dropped."""
    return Text("✓", "green") if kept else Text("✗", "red")


def scope_text(evaluation: Evaluation) -> Text:
    """What was scored: ``val n=80``, or ``batch n=35``."""
    scope = evaluation.event.split if evaluation.event.scope == "full" else "batch"
    return Text(f"{scope} n={evaluation.n}", "dim")


def score_text(evaluation: Evaluation) -> Text:
    """The score; an evaluation that the infrastructure spoiled has none, and says so."""
    if not evaluation.event.valid:
        return Text("invalid", "yellow")
    return Text(percent(evaluation.event.score))


def _spend(view: RunView, now: int | None, width: int, rows: int) -> tuple[Table, int]:
    """Spend by scope beside the fullest cap of each; and the number of rows."""
    narrow = width < NARROW - _PADDING
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    stages = [scope for scope in view.caps if scope.startswith("stage ")]
    cells = 16 if width >= 100 else 6 if narrow else 9
    scopes = [RUN, *(f"lane {lane}" for lane in view.lanes), *stages][:rows]
    for scope in scopes:
        kind, _, name = scope.partition(" ")
        spend = view.spend(**{kind: name} if name else {})
        money = format_msat(spend.msat)
        if scope == RUN and not narrow:
            money += f" ({format_usd(view.rate.to_usd(spend.msat))})"
        gauges = view.gauges(scope, now)
        meter, words = Text(), Text("no cap", "dim")
        if gauges:
            fullest = max(gauges, key=lambda gauge: gauge.share)
            style = level(fullest.share)
            meter = Text(bar(fullest.share, cells), style)
            words = Text(f"{fullest.share:.0%} of {fullest.limit_text}", style)
        calls = f"{spend.calls:,}" if narrow else counted(spend.calls, "call")
        table.add_row(plain(scope), Text(calls), Text(money), meter, words)
    return table, len(scopes)


def _notes(view: RunView, width: int) -> list[RenderableType]:
    notes: list[RenderableType] = [
        Text(
            shorten(f"{'!' if note.warning else '·'} {note.message}", width),
            "yellow" if note.warning else "dim",
            no_wrap=True,
        )
        for note in view.notes[-_MOST_NOTES:]
    ]
    if view.faults:
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in view.faults.most_common(3))
        line = f"! faults: {kinds}" + (f": {view.last_fault}" if view.last_fault else "")
        notes.append(Text(shorten(line, width), "yellow", no_wrap=True))
    return notes
