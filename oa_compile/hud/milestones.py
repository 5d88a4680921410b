"""The lines a run writes where there is no terminal to draw on: a log that a person can follow.

Pure: a journal line and the state after it in, one line of text or nothing out.
"""

from __future__ import annotations

from oa_compile.events import (
    Attempt,
    Decided,
    Evaluated,
    ForecastMade,
    GaveUp,
    Line,
    Noted,
    PhaseStarted,
    RunFinished,
    RunStarted,
    SegmentStarted,
)
from oa_compile.hud.text import counted, duration, percent, shorten
from oa_compile.hud.view import RunView
from oa_compile.money import format_msat, format_usd

LONGEST = 300
"""Characters of a line; what is longer is in the journal."""


def milestone(view: RunView, line: Line) -> str | None:
    """What `line` is worth telling, or None. `view` has it applied already."""
    told = _told(view, line)
    return None if told is None else shorten(f"[{duration(view.elapsed())}] {told}", LONGEST)


def _told(view: RunView, line: Line) -> str | None:
    match line.event:
        case Attempt():
            return _tenth(view) if line.event.outcome in {"ok", "refused"} else None
        case Evaluated():
            return None if _heard(view, line.event) else _evaluated(view, line.event)
        case Decided(candidate=candidate, kept=kept, reason=reason):
            return f"{'kept' if kept else 'dropped'} {view.name(candidate)}: {reason}"
        case PhaseStarted(phase=phase):
            return f"phase: {phase}"
        case Noted(message=message):
            return f"{'warning' if view.notes[-1].warning else 'note'}: {message}"
        case GaveUp(fault=fault, message=message):
            number = view.gave_up
            if set(str(number)[1:]) - {"0"} or str(number)[0] != "1":
                return None  # the first, the tenth, the hundredth: a log is no place for each
            return f"warning: {counted(number, 'call')} given up, the last on {fault}: {message}"
        case ForecastMade():
            return _forecast(view)
        case SegmentStarted(resumed=resumed):
            return f"resumed with {counted(view.done, 'call')} in the journal" if resumed else None
        case RunStarted(program=program, optimizer=optimizer, run=run):
            return " · ".join(filter(None, (program, optimizer, f"run {run} started")))
        case RunFinished():
            return _finished(view)
    return None


def _tenth(view: RunView) -> str | None:
    expected, done = view.expected, view.done
    if not expected or done > expected or done * 10 // expected == (done - 1) * 10 // expected:
        return None
    left = view.time_left()
    parts = [f"{done * 100 // expected}%: {done:,} of {counted(expected, 'call')}"]
    parts.append(format_msat(view.spend().msat))
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def _heard(view: RunView, event: Evaluated) -> bool:
    """Whether this tells nothing new: searches try the same candidate again, and the journal answers."""
    tried = view.candidates[event.candidate].evaluations
    return event.calls == 0 and any(
        (before.event.split, before.event.scope, before.event.rows) == (event.split, event.scope, event.rows)
        for before in tried[:-1]
    )


def _evaluated(view: RunView, event: Evaluated) -> str:
    answered = sum(row.score is not None for row in event.rows)
    where = event.split if event.scope == "full" else f"a minibatch of {event.split}"
    if not event.valid:
        faults = counted(len(event.rows) - answered, "fault")
        return f"{view.name(event.candidate)} invalid on {where}: {faults} in {len(event.rows)} examples"
    said = f"{view.name(event.candidate)} scored {percent(event.score)} on {where} (n={answered})"
    curve = view.curves.get(event.split, [])
    best = event.scope == "full" and curve and curve[-1] == (view.done, event.score)
    return f"{said}, best so far" if best else said


def _forecast(view: RunView) -> str:
    calls, msat, seconds = (
        sum(getattr(line, what) for line in view.forecast) for what in ("calls", "msat", "seconds")
    )
    usd = format_usd(view.rate.to_usd(msat))
    stop = next((line.cap for line in view.forecast if line.cap), "")
    said = f"forecast: {counted(calls, 'call')}, {format_msat(msat)} ({usd})"
    said += f", about {duration(seconds)}" if seconds else ""
    return f"{said}; the cap {stop} would stop it" if stop else said


def _finished(view: RunView) -> str:
    spend = view.spend()
    parts = [view.status + (f" ({view.reason})" if view.reason else "")]
    if view.best_score is not None:
        parts.append(f"best {percent(view.best_score)} on {view.split}")
    parts += [counted(spend.calls, "call"), format_msat(spend.msat)]
    return ", ".join(parts)
