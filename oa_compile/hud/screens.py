"""The screens a command ends with: what it would take, what it took, what came out, what is next.

Pure functions from plain values to rich renderables. They say the same without colour, in 80 columns
and in ASCII; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oa_compile.hud.panel import mark, score_text
from oa_compile.hud.parts import facts, figures_table, money, screen, title, with_digest
from oa_compile.hud.record import CandidateView, ForecastLine
from oa_compile.hud.summary import Forecast, LaneCost, LoopSummary, RunEnd, SealedScore
from oa_compile.hud.swarm import swarm_parts
from oa_compile.hud.text import (
    DASH,
    ByWidth,
    Printable,
    bar,
    counted,
    duration,
    percent,
    plain,
    points,
    shorten,
)
from oa_compile.hud.view import RunView
from oa_compile.ledger import RUN
from oa_compile.money import Rate

WIDE = 110
"""Cells from which the reason for a candidate stands on its row."""

_BAR = 20
_LINEAGE = 32
_STATUS_STYLE = {"complete": "bold green", "failed": "bold red"}
_REPLAY = {
    None: Text("not run", "dim"),
    True: Text("digest identical", "green"),
    False: Text("digest differs", "bold red"),
}


def dry_run_screen(forecast: Forecast) -> RenderableType:
    """What a run would take, by stage, phase, role and lane; which cap would stop it; the next command.

    Figures are what is expected; ``at most`` is what the calls cannot exceed.
    """
    lines = forecast.lines
    stages = list(dict.fromkeys(line.stage for line in lines))
    names = ("phase", "role", "lane") if len(stages) < 2 else ("stage", "phase", "role", "lane")
    table = figures_table(*names, "calls>", "at most>", "tokens>", "msat>", "USD>", "time>")
    for line in lines:
        table.add_row(*(plain(getattr(line, name)) for name in names), *_figures(line, forecast.rate))
    if len(lines) != 1:
        table.add_section()
        total = ("total", *[""] * (len(names) - 1))
        table.add_row(*total, *_figures(_total(lines), forecast.rate), style="bold")
    where = f" of stage {stages[0]}" if len(stages) == 1 else ""
    stops = ", ".join(dict.fromkeys(line.cap for line in lines if line.cap))
    parts: list[RenderableType] = [
        title(forecast.program, forecast.optimizer, f"forecast{where}, nothing spent"),
        Text(),
        table,
        Text(),
        plain(f"! the cap {stops} would stop it before the end", "yellow")
        if stops
        else Text("no cap would stop it", "green"),
    ]
    parts += [plain(f"· {note}", "dim") for note in forecast.notes]
    return screen(parts, forecast.next_command)


def _figures(line: ForecastLine, rate: Rate) -> list[Text]:
    return [
        Text(f"{line.calls:,}"),
        Text(f"{line.at_most:,}" if line.at_most else DASH),
        Text(f"{line.tokens:,}"),
        *money(line.msat, rate),
        Text(duration(line.seconds)),
    ]


def _total(lines: Sequence[ForecastLine]) -> ForecastLine:
    return ForecastLine(
        "total",
        "",
        "",
        calls=sum(line.calls for line in lines),
        at_most=sum(line.at_most for line in lines) if all(line.at_most for line in lines) else 0,
        tokens=sum(line.tokens for line in lines),
        msat=sum(line.msat for line in lines),
        seconds=sum(line.seconds for line in lines),
    )


def run_screen(view: RunView, end: RunEnd) -> RenderableType:
    """The end of ``optimize``: status, gain on the valset, forecast beside what happened, paths, next."""
    status = plain(view.status, _STATUS_STYLE.get(view.status, "bold yellow"))
    if view.reason:
        status.append_text(plain(f": {view.reason}"))
    spend, saved = view.spend(), view.saved if end.saved is None else end.saved
    troubles = [f"{n:,} {what}" for n, what in ((spend.failed, "failed"), (spend.lost, "lost")) if n]
    decided = [tried.decision.kept for tried in view.candidates.values() if tried.decision is not None]
    caps = [f"{gauge.share:.0%} of {gauge.limit_text}" for gauge in view.gauges(RUN)]
    parts: list[RenderableType] = [
        title(view.program, view.optimizer, f"run {view.run}"),
        status,
        Text(),
        _val_scores(view),
        Text(),
        _happened(view),
        *swarm_parts(view.swarm, rate=view.rate, premium=view.premium),
        Text(),
        facts(
            [
                (
                    "calls",
                    " · ".join([f"{spend.calls:,} made", f"{saved:,} saved by the journal", *troubles]),
                ),
                ("tried", f"{counted(len(view.candidates), 'candidate')} · {sum(decided):,} kept"),
                ("took", _time_words(view)),
                ("caps", " · ".join(caps)),
                ("artifact", with_digest(end.artifact, end.artifact_digest)),
                ("bundle", end.bundle),
            ]
        ),
    ]
    parts += [plain(f"! {note.message}", "yellow") for note in view.notes if note.warning]
    return screen(parts, end.next_command)


def _val_scores(view: RunView) -> RenderableType:
    best, baseline, split = view.best, view.baseline, view.split
    if best is None:
        return Text(f"no candidate has a valid score on the whole {split}set", "yellow")
    table = Table.grid(padding=(0, 2, 0, 0))
    for word, tried in (("before", baseline), ("after", best)):
        scored = tried.last(split, "full") if tried is not None else None
        if tried is None or scored is None:
            continue
        score, style = scored.event.score or 0.0, "green" if tried is best else ""
        table.add_row(
            Text(word),
            Text(percent(tried.score(split)), style, justify="right"),
            Text(bar(score, _BAR), style),
            Text(f"{split} n={scored.n}"),
            Text(shorten(f"{view.name(tried.candidate)} {tried.origin}", _LINEAGE), "dim"),
        )
    if view.best_score is None or view.baseline_score is None:
        return table
    gain = Text.assemble("gain    ", (points(view.best_score - view.baseline_score), "bold"))
    gain.append(f" on the {split}set it was chosen on; validate tells what holds", "dim")
    return Group(table, gain)


def _happened(view: RunView) -> RenderableType:
    """What happened beside what was forecast, for every stage, role and lane that either names."""
    keys = dict.fromkeys((line.stage, line.role, line.lane) for line in view.forecast)
    forecast = {
        key: _total([line for line in view.forecast if (line.stage, line.role, line.lane) == key])
        for key in keys
    }
    table = figures_table("stage", "role", "lane", "calls>", "forecast>", "msat>", "forecast>", "USD>")
    total_calls = total_msat = 0
    for key in dict.fromkeys([*forecast, *view.spent_on]):
        stage, role, lane = key
        spend, line = view.spend(stage=stage, role=role, lane=lane), forecast.get(key)
        total_calls, total_msat = total_calls + spend.calls, total_msat + spend.msat
        cost, usd = money(spend.msat, view.rate)
        expected = (f"{line.calls:,}", f"{line.msat:,}") if line is not None else (DASH, DASH)
        table.add_row(*map(plain, key), Text(f"{spend.calls:,}"), expected[0], cost, expected[1], usd)
    total, (cost, usd) = _total(view.forecast), money(total_msat, view.rate)
    expected = (f"{total.calls:,}", f"{total.msat:,}") if view.forecast else (DASH, DASH)
    table.add_section()
    table.add_row("total", "", "", f"{total_calls:,}", expected[0], cost, expected[1], usd, style="bold")
    return table


def _time_words(view: RunView) -> str:
    words, forecast = duration(view.elapsed()), sum(line.seconds for line in view.forecast)
    if forecast:
        words += f", forecast {duration(forecast)}"
    resumes = len(view.segments) - 1
    return words + (f" · resumed {counted(resumes, 'time')}" if resumes > 0 else "")


def loop_screen(summary: LoopSummary) -> RenderableType:
    """The whole loop on one screen: before, after, verdict, cost by lane, calls, replay, paths, next."""
    scores = Table.grid(padding=(0, 2, 0, 0))
    scores.add_row(Text("before"), *_sealed_cells(summary.before, ""))
    scores.add_row(Text("after"), *_sealed_cells(summary.after, "green"))
    gain = Text.assemble("gain    ", (points(summary.gain), "bold"))
    if summary.gain_interval is not None:
        low, high = summary.gain_interval
        gain.append(f"  95% [{low * 100:+.1f}, {high * 100:+.1f}]")
    parts: list[RenderableType] = [
        title(summary.program, summary.optimizer, "on the sealed testset"),
        Text(),
        scores,
        gain,
        Text(),
        plain(summary.verdict, "bold"),
    ]
    if summary.excluded:
        parts.append(
            plain(f"! {counted(summary.excluded, 'example')} left out: a lane failed them", "yellow")
        )
    made = sum(cost.calls for cost in summary.costs)
    parts += [
        Text(),
        _lane_costs(summary.costs, summary.rate),
        *swarm_parts(summary.swarm, rate=summary.rate, premium=summary.premium),
        Text(),
        facts(
            [
                ("calls", f"{made:,} made · {summary.saved:,} saved by the journal"),
                ("took", duration(summary.seconds)),
                ("replay", _REPLAY[summary.replay_identical]),
                ("artifact", with_digest(summary.artifact, summary.artifact_digest)),
                ("bundle", summary.bundle),
            ]
        ),
    ]
    return screen(parts, summary.next_command)


def _sealed_cells(scored: SealedScore, style: str) -> list[Text]:
    interval = ""
    if scored.interval is not None:
        interval = f"95% [{percent(scored.interval.low)}, {percent(scored.interval.high)}]"
    return [
        Text(percent(scored.score), style, justify="right"),
        Text(bar(scored.score, _BAR), style),
        Text(f"n={scored.n}"),
        Text(interval),
    ]


def _lane_costs(costs: Sequence[LaneCost], rate: Rate) -> Table:
    table = figures_table("lane", "calls>", "tokens>", "msat>", "USD>")
    for cost in costs:
        table.add_row(plain(cost.lane), f"{cost.calls:,}", f"{cost.tokens:,}", *money(cost.msat, rate))
    if len(costs) != 1:
        calls, tokens, msat = (
            sum(getattr(cost, what) for cost in costs) for what in ("calls", "tokens", "msat")
        )
        table.add_section()
        table.add_row("total", f"{calls:,}", f"{tokens:,}", *money(msat, rate), style="bold")
    return table


def candidates_screen(view: RunView) -> RenderableType:
    """Every candidate: id, parent, origin, scores with n, cost, and why it was kept or dropped."""
    return Printable(ByWidth(lambda width: _candidates(view, wide=width >= WIDE)))


def _candidates(view: RunView, *, wide: bool) -> RenderableType:
    if not view.candidates:
        return Text("no candidate yet", "dim")
    columns = ["candidate", "parent", "origin", f"{view.split}>", "n>", "batch>", "n>", "msat>"]
    table = figures_table("", *columns, *(["because"] if wide else []))
    best = view.best
    for tried in view.candidates.values():
        decision = tried.decision
        cells = [
            Text(" ") if decision is None else mark(decision.kept),
            plain(view.name(tried.candidate), "bold green" if tried is best else ""),
            plain(view.name(tried.parent) if tried.parent else DASH),
            plain(tried.origin or DASH),
            *_score_cells(tried, view, "full"),
            *_score_cells(tried, view, "minibatch"),
            Text(f"{tried.msat:,}"),
        ]
        why = plain("" if decision is None else decision.reason, "dim")
        table.add_row(*cells, *([why] if wide else []))
    if wide:
        return table
    reasons = [
        Text.assemble(
            mark(tried.decision.kept),
            " ",
            plain(view.name(tried.candidate)),
            "  ",
            plain(tried.decision.reason),
        )
        for tried in view.candidates.values()
        if tried.decision is not None
    ]
    return Group(table, Text(), *reasons)


def _score_cells(
    tried: CandidateView, view: RunView, scope: Literal["full", "minibatch"]
) -> tuple[Text, Text]:
    scored = tried.last(view.split, scope)
    return (Text(DASH), Text("")) if scored is None else (score_text(scored), Text(f"{scored.n}"))
