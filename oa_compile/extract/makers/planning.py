"""Maker of planning examples: a task's text and what was known of the code, and the plan that solved it.

Only episodes that succeeded, edited something, and whose task was handed to the agent teach. The decision is
the first edit: inputs are from before it, and so are the words that count as analysis. Files, checks and
steps are what was really done:

- `files_to_modify` the files edited; `implementation_steps` the agent's own list; `test_strategy` the checks
  that passed; `analysis` what it said before the first edit; `risk_factors` its sentences there that name
  one.
- `estimated_complexity` weighs files + edits / 4 + calls / 20: LOW below 3, HIGH from 8 on, MEDIUM between.
- `confidence` is the label's own: how surely the log shows that the work was right.

Signatures of code (`code_patterns`) and the rest of what is there fill DeepPlanning too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from oa_compile.extract.checks import check_name
from oa_compile.extract.commands import edited_paths
from oa_compile.extract.context import Decision, cut, decision_of, task_text
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.files_seen import FilesSeen, Sight
from oa_compile.extract.repository_seen import RepositorySeen
from oa_compile.extract.session import Message, ToolCall, Verification
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

Complexity = Literal["LOW", "MEDIUM", "HIGH"]
MEDIUM_FROM, HIGH_FROM = 3.0, 8.0
MAX_PATTERNS = 40
_ANALYSIS_CHARS, _MAX_WORDS = 2_000, 64
_NEGATIVE = 0.4
"""How surely a plan was wrong whose work failed: other work on the same files might have done it."""
_NEAR = 0.2
"""A weight this close to a threshold, as a share of it, could as well lie on the other side."""

_NUMBER = r"^\s*(?:\d+\s*[→:|\t]\s?)?\s*"  # as tools that show files put it before each line
_MODIFIERS = r"(?:export |default |pub(?:\([^)]{0,40}\))? |public |private |static |async |abstract )*"
_KEYWORDS = r"(?:fn|def|class|struct|enum|trait|impl|interface|type|func|function|mod|module)"
_SIGNATURE = re.compile(rf"{_NUMBER}({_MODIFIERS}{_KEYWORDS}\b[^\n{{;]{{1,160}})", re.M)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_RISK = re.compile(
    r"\b(?:risk\w*|(?:might|could) break|breaking change|breaks existing|careful|caveat|regression)\b", re.I
)


class Planning:
    """One draft for each episode that teaches."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        self._treated = spec.failures
        self._tries: dict[str, list[str]] = {}
        self._tally, self._wanted = tally, wanted
        self._files, self._repository = FilesSeen(), RepositorySeen()
        self._begin(None)

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A plan is known to have been good when its episode closes; what it was made from is kept when
        the first edit comes.
        """
        if isinstance(moment, Episode):
            yield from self._end(scene, moment)
            self._begin(None)
            return
        if scene.episode is not self._episode:
            self._begin(scene.episode)
        if isinstance(moment, Message):
            told = moment.role == "assistant" and self._decision is None
            if told and len(self._words) < _MAX_WORDS:
                self._words.append(moment)
        elif isinstance(moment, ToolCall):
            self._take_call(scene, moment)

    def _begin(self, episode: Episode | None) -> None:
        self._episode = episode
        self._words: list[Message] = []
        self._decision: Decision | None = None
        self._inputs: dict[str, Any] = {}
        self._edits = 0

    def _take_call(self, scene: Scene, call: ToolCall) -> None:
        episode = scene.episode
        if call.worked and edited_paths(call):
            self._edits += 1
            if self._decision is None and episode is not None:
                self._decision = decision_of(call, scene.trail)
                self._inputs = dict(self._known(scene, episode, self._decision.line))
        if "relevant_files" in self._wanted or "code_patterns" in self._wanted:
            self._files.take(call, scene.session.root)
        if "repository_summary" in self._wanted:
            self._repository.take(call, scene.session)

    def _known(self, scene: Scene, episode: Episode, line: int) -> Iterator[tuple[str, Any]]:
        """What was known before the first edit."""
        sights = [sight for sight in self._files.before(line, since=episode.opened) if not sight.edited]
        if "relevant_files" in self._wanted:
            yield "relevant_files", [sight.path for sight in reversed(sights)]
        if "code_patterns" in self._wanted:
            found = (pattern for sight in reversed(sights) for pattern in _patterns(sight))
            yield "code_patterns", list(dict.fromkeys(found))[:MAX_PATTERNS]
        if "repository_summary" in self._wanted and (summary := self._repository.before(line, scene.session)):
            yield "repository_summary", summary

    def _end(self, scene: Scene, episode: Episode) -> Iterator[Draft]:
        issue = episode.issue
        reason, wrong = _why_not(episode), _was_wrong(episode)
        if wrong:
            self._tries.setdefault(episode.key, []).append(_told(episode))
        negative = wrong and self._treated == "negatives" and issue is not None and issue.given
        if issue is None or (reason is not None and not negative):
            self._tally.leave_out(reason or "episode without issue text", episode.opened)
            return
        decided = self._decision.line if self._decision is not None else episode.opened
        if issue.line >= decided:
            self._tally.leave_out("episode whose task was told after its first edit", episode.opened)
            return
        confidence = sureness(episode) if not negative else _NEGATIVE
        tries = self._tries.get(episode.key, []) if negative or self._treated == "feedback" else []
        complexity, clear = complexity_of(episode, edits=self._edits)
        if self._wanted.named("estimated_complexity") and not clear:
            confidence = min(confidence, 0.6)
        place = scene.session.place
        yield Draft(
            inputs={
                "issue_description": task_text(issue),
                "issue_title": issue.title.strip(),
                **self._inputs,
            },
            outputs={
                "files_to_modify": list(episode.files),
                "estimated_complexity": complexity,
                "confidence": confidence,
                **dict(self._said(episode)),
            },
            line=episode.closed or episode.last_edit or episode.opened,
            evidence={
                "issue": episode.key,
                "issue_at": str(place(issue.line)),
                "claimed_at": str(place(episode.opened)),
                "decided_at": str(place(decided)),
                "commits": list(episode.commits),
                "checks": [f"{check.line}: {check.command}" for check in _passed(episode)],
            },
            confidence=confidence,
            feedback="\n".join(tries[-1:] if negative else tries),
            negative=negative,
        )

    def _said(self, episode: Episode) -> Iterator[tuple[str, Any]]:
        """What the log says of the plan in the agent's own words and deeds; what it does not say is left
        away.
        """
        words = [said.text.strip() for said in self._words]
        if analysis := "\n\n".join(text for text in words if text):
            yield "analysis", cut(analysis, _ANALYSIS_CHARS)
        if risks := [found for text in words for found in _risks(text)]:
            yield "risk_factors", risks
        if episode.plan:
            yield "implementation_steps", list(episode.plan)
        names = dict.fromkeys(check_name(check.command) or check.command for check in _passed(episode))
        if names:
            yield "test_strategy", "\n".join(names)


def complexity_of(episode: Episode, *, edits: int) -> tuple[Complexity, bool]:
    """How much work the episode was, and whether that is clear of the thresholds."""
    work = len(episode.files) + edits / 4 + episode.calls / 20
    complexity: Complexity = "LOW" if work < MEDIUM_FROM else "MEDIUM" if work < HIGH_FROM else "HIGH"
    return complexity, all(abs(work - at) > _NEAR * at for at in (MEDIUM_FROM, HIGH_FROM))


def sureness(episode: Episode) -> float:
    """How surely an episode that succeeded was right, by the last check after its last edit."""
    if episode.verified is None:
        return 0.7
    if not episode.verified:
        return 0.4  # completed all the same: perhaps what failed was not its matter
    return 0.95 if episode.commits else 0.9


def _was_wrong(episode: Episode) -> bool:
    """Whether an episode that did not succeed shows a plan that did not work, and not just one given up."""
    if episode.succeeded or not episode.files:
        return False
    return episode.state == "failed" or episode.verified is False


def _told(episode: Episode) -> str:
    """A try that did not work, for feedback."""
    check = next((check for check in reversed(episode.verifications) if not check.passed), None)
    how = f": `{check.command}` failed" if check is not None else ""
    return f"Changing {', '.join(episode.files)} was tried and did not work{how}."


def _passed(episode: Episode) -> list[Verification]:
    return [check for check in episode.verifications if check.passed]


def _patterns(sight: Sight) -> Iterator[str]:
    for match in _SIGNATURE.finditer(sight.text):
        yield f"{sight.path}: {' '.join(match[1].split())}"


def _risks(text: str) -> list[str]:
    return [sentence.strip() for sentence in _SENTENCE.findall(text) if _RISK.search(sentence)]


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
