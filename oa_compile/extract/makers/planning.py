"""Maker of planning examples: the text of an issue, and the files that solving it took.

Only episodes that succeeded, edited something, and whose task was handed to the agent teach.
"""

from __future__ import annotations

from collections.abc import Iterator

from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.spec.program import ExtractSpec


class Planning:
    """One draft for each episode that teaches."""

    def __init__(self, spec: ExtractSpec, tally: Tally) -> None:
        del spec
        self._tally = tally

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A plan is known to have been good when its episode closes."""
        if not isinstance(moment, Episode):
            return
        issue = moment.issue
        if (reason := _why_not(moment)) is not None or issue is None:
            self._tally.leave_out(reason or "episode without issue text", moment.opened)
            return
        title, description = issue.title.strip(), issue.description.strip()
        yield Draft(
            inputs={
                "issue_description": f"{title}\n\n{description}".strip(),
                "issue_title": title,
            },
            outputs={"files_to_modify": list(moment.files)},
            line=moment.closed or moment.opened,
            evidence={
                "issue": moment.key,
                "claimed_at": str(scene.session.place(moment.opened)),
                "issue_at": str(scene.session.place(issue.line)),
                "commits": list(moment.commits),
            },
        )


def _why_not(episode: Episode) -> str | None:
    if not episode.succeeded:
        return "episode not completed"
    if episode.issue is None:
        return "episode without issue text"
    if not episode.issue.given:
        return "episode of an issue the agent wrote itself"
    if not episode.files:
        return "episode without an edited file"
    return None
