"""How polls are told: lines for a terminal, and JSON values. Money in integer msat."""

from __future__ import annotations

from typing import Any

from oa_compile.events import Polled
from oa_compile.money import format_msat
from oa_compile.validate.polls import Polls

LISTED = 10
"""Providers that are named."""


def poll_lines(polls: Polls | None) -> list[str]:
    """How several answers to each example became one, and what that cost; nothing where there was one."""
    if polls is None:
        return []
    settings, total = polls.settings, len(polls.all)
    who = "service providers" if polls.providers else "samples of one model"
    lines = [
        f"redundancy: {settings.agree} of {settings.of} {who}: {polls.count('agreed')} of {total} answers "
        f"agreed ({polls.ballots / total:.1f} asked for each), {polls.count('verified')} decided by "
        f"{polls.court}, {polls.count('unresolved')} left out"
    ]
    if polls.alone_msat is not None:
        alone = f"; all of it on the verify lane alone {format_msat(polls.alone_msat)} by its price"
        lines.append(f"answers: {format_msat(polls.msat)}{alone}")
    told = [f"{one.by[:8]} {one.dissents} of {one.answers}" for one in polls.dissent if one.dissents]
    if told:
        lines.append(f"disagreed with what was accepted: {', '.join(told[:LISTED])}")
    return lines


def polls_json(polls: Polls) -> dict[str, Any]:
    """The polls as JSON values: the settings, what they came to, who disagreed, and every ballot."""
    return {
        "of": polls.settings.of,
        "agree": polls.settings.agree,
        "ballots_of": "providers" if polls.providers else "samples",
        "court": polls.court,
        "agreed": polls.count("agreed"),
        "verified": polls.count("verified"),
        "unresolved": polls.count("unresolved"),
        "ballots": polls.ballots,
        "msat": polls.msat,
        "verify_lane_alone_msat": polls.alone_msat,
        "dissent": [
            {"by": one.by, "answers": one.answers, "dissents": one.dissents} for one in polls.dissent
        ],
        "examples": [
            {"side": side, **_poll(poll)}
            for side, polled in (("before", polls.before), ("after", polls.after))
            for poll in polled
        ],
    }


def _poll(poll: Polled) -> dict[str, Any]:
    return {
        "id": poll.example,
        "way": poll.way,
        "note": poll.note,
        "votes_msat": poll.votes_msat,
        "verify_msat": poll.verify_msat,
        "ballots": [
            {
                "by": one.by,
                "agrees": one.agrees,
                "answer": one.answer,
                "preview": one.preview,
                "fault": one.fault or None,
                "msat": one.msat,
            }
            for one in poll.ballots
        ],
    }
