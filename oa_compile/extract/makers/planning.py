"""Maker of planning examples: the text of an issue, and the files that solving it took.

Only episodes that were completed, edited something, and whose issue was handed to the agent teach.
"""

from __future__ import annotations

from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import find_episodes
from oa_compile.extract.session import Episode, Session
from oa_compile.extract.tally import Tally
from oa_compile.spec.program import ExtractSpec


def make(session: Session, *, spec: ExtractSpec, tally: Tally) -> Iterator[Draft]:
    """One draft for each episode that teaches."""
    del spec
    for episode in find_episodes(session):
        tally.count("episodes")
        if (reason := _why_not(episode)) is not None or episode.issue is None:
            tally.leave_out(reason or "episode without issue text", episode.claimed)
            continue
        title, description = episode.issue.title.strip(), episode.issue.description.strip()
        yield Draft(
            inputs={
                "issue_description": f"{title}\n\n{description}".strip(),
                "issue_title": title,
            },
            outputs={"files_to_modify": list(episode.files)},
            place=episode.completed or episode.claimed,
            evidence={
                "issue": episode.number,
                "claimed_at": str(episode.claimed),
                "issue_at": str(episode.issue.place),
                "commits": list(episode.commits),
            },
        )


def _why_not(episode: Episode) -> str | None:
    if episode.completed is None:
        return "episode not completed"
    if episode.issue is None:
        return "episode without issue text"
    if not episode.issue.given:
        return "episode of an issue the agent wrote itself"
    if not episode.files:
        return "episode without an edited file"
    return None
