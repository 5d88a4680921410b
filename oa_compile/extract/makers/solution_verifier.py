"""Maker of solution-verifier examples: the state of some work, and whether it was done.

The verdict is what came of it:

- PASS, when the work was declared done and that held: the episode closed as completed, and no check after
  the last edit had failed;
- RETRY, when a check failed after an edit, something else was edited then, and the same episode was completed
  later: the last such failure of an episode;
- FAIL, when the log says that the task failed, or it was given up while its last check was failing.

Work that was given up without such a check, or completed although one failed, proves nothing and is left
out. Inputs are from before the declaration, or as of the failed check: the task as `requirements`, the
agent's own list as `requirement_results`, the last build and test as ``PASSED``, ``FAILED`` or ``NOT_RUN``,
and what the last failed check said as `blocking_issues`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from oa_compile.extract.commands import edited_paths, todos
from oa_compile.extract.compiler_errors import errors_in
from oa_compile.extract.context import cut, decision_of, line_of, on_one_line, plain, task_text
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode, relative_path
from oa_compile.extract.repairs import check_of
from oa_compile.extract.session import Message, ToolCall, Verification
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

Verdict = Literal["PASS", "FAIL", "RETRY"]

_TASK_CHARS, _WORDS_CHARS, _ISSUE_CHARS = 3_000, 1_500, 300
_MAX_ISSUES, _KEPT = 10, 32
_UNSEEN = 0.6
"""How sure a pass is that no check after the last edit has shown."""

_MARKS = {"completed": "x", "in_progress": "~"}


@dataclass(slots=True)
class _Work:
    """What is known of the episode under way, each piece with the line from which it was known."""

    checks: deque[tuple[int, Verification]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    plans: deque[tuple[int, list[str]]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    words: deque[Message] = field(default_factory=lambda: deque(maxlen=_KEPT))
    edited: bool = False
    last: int = 0
    failing: _Failure | None = None
    failure: _Failure | None = None
    """The last failure, and the last that an edit answered."""
    done_at: int = 0
    """Where the decision began that declared the work done."""


@dataclass(slots=True)
class _Failure:
    """A failed check after an edit, what was said of it, and what was edited next."""

    line: int
    inputs: dict[str, Any]
    next_action: str = ""
    words: str = ""


class SolutionVerifier:
    """A draft for the end of each episode that shows how it stood, and one for the last failure before."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        del spec, wanted
        self._tally = tally
        self._work = _Work()

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """What is known grows with each step; the verdict comes with the episode's end."""
        if isinstance(moment, Episode):
            yield from self._end(scene, moment)
            self._work = _Work()
        elif scene.episode is not None and isinstance(moment, Message | ToolCall | Verification):
            self._step(scene, scene.episode, moment)

    def _step(self, scene: Scene, episode: Episode, step: Message | ToolCall | Verification) -> None:
        work = self._work
        work.last = max(work.last, line_of(step))
        if isinstance(step, Message):
            if step.role == "assistant":
                work.words.append(step)
                if work.failing is not None:
                    work.failing.words = f"{work.failing.words}\n\n{step.text.strip()}".strip()
            return
        check = check_of(step)
        if check is not None:
            work.checks.append((line_of(step), check))
            if not check.passed and work.edited:
                line = line_of(step)
                work.failing = _Failure(line, self._known(episode, line + 1))
        if isinstance(step, ToolCall):
            self._call(scene, step, checked=check is not None)

    def _call(self, scene: Scene, call: ToolCall, *, checked: bool) -> None:
        work = self._work
        if plan := todos(call):
            work.plans.append((call.line, [f"[{_MARKS.get(todo.state, ' ')}] {todo.text}" for todo in plan]))
        if call.plain_name == "issue_complete" and call.worked:
            work.done_at = decision_of(call, scene.trail).line
        if not call.worked or checked:
            return
        for raw in edited_paths(call):
            work.edited = True
            if work.failing is not None:
                # Only an edit shows that the failure was this work's matter.
                work.failing.next_action = f"edit {relative_path(raw, scene.session.root) or raw}"
                work.failure, work.failing = work.failing, None

    def _known(self, episode: Episode, line: int) -> dict[str, Any]:
        """How the work stood before `line`."""
        checks = [check for known, check in self._work.checks if known < line]
        inputs: dict[str, Any] = {
            "requirement_results": next((plan for at, plan in reversed(self._work.plans) if at < line), []),
            "build_status": _status(checks, "build"),
            "test_status": _status(checks, "test"),
            "blocking_issues": _blocking(checks[-1]) if checks and not checks[-1].passed else [],
        }
        if episode.issue is not None and episode.issue.line < line:
            inputs["requirements"] = cut(task_text(episode.issue), _TASK_CHARS)
        return inputs

    def _end(self, scene: Scene, episode: Episode) -> Iterator[Draft]:
        work, place = self._work, scene.session.place
        evidence = {"episode": episode.key, "opened_at": str(place(episode.opened)), "state": episode.state}
        proof = episode.closed or work.last or episode.opened
        if not episode.files:
            self._tally.leave_out("episode without an edited file", episode.opened)
            return
        failure = work.failure
        if episode.succeeded and failure is not None:
            confidence = 0.85 if episode.verified else 0.6
            outputs = _outputs("RETRY", confidence, failure.next_action, failure.words)
            decided = {"decided_at": str(place(failure.line))}
            yield Draft(failure.inputs, outputs, proof, evidence | decided, confidence)
        verdict, confidence, reason = _verdict(episode)
        if verdict is None:
            self._tally.leave_out(reason, episode.opened)
            return
        line = work.done_at or episode.closed or work.last + 1
        said = [message.text.strip() for message in work.words if message.line < (episode.closed or line)]
        outputs = _outputs(
            verdict, confidence, "complete" if verdict == "PASS" else "give up", said[-1] if said else ""
        )
        decided = {"decided_at": str(place(line - 1))}
        yield Draft(self._known(episode, line), outputs, proof, evidence | decided, confidence)


def _verdict(episode: Episode) -> tuple[Verdict | None, float, str]:
    """What an episode's end proves; without a verdict, why it proves none."""
    if episode.succeeded:
        if episode.verified is False:
            return None, 0, "episode completed although its last check failed"
        sure = 0.95 if episode.verified else _UNSEEN
        return "PASS", sure if episode.kind != "prompt" else round(sure * 0.8, 2), ""
    if episode.state == "failed":
        return "FAIL", 0.9, ""
    if episode.verified is False:
        return "FAIL", 0.6, ""
    return None, 0, "episode given up without a failed check"


def _outputs(verdict: Verdict, confidence: float, next_action: str, words: str) -> dict[str, Any]:
    outputs: dict[str, Any] = {"verdict": verdict, "next_action": next_action, "confidence": confidence}
    return outputs | ({"explanation": cut(words, _WORDS_CHARS)} if words else {})


def _status(checks: list[Verification], kind: str) -> str:
    last = next((check for check in reversed(checks) if check.kind == kind), None)
    return "NOT_RUN" if last is None else "PASSED" if last.passed else "FAILED"


def _blocking(check: Verification) -> list[str]:
    """What a failed check complains of: the compiler's errors, else the lines that say FAILED or error."""
    if errors := errors_in(check.output):
        return [str(error) for error in errors][:_MAX_ISSUES]
    lines = (line.strip() for line in plain(check.output).split("\n"))
    named = [
        line[:_ISSUE_CHARS] for line in lines if "FAILED" in line or "rror" in line or "panicked" in line
    ]
    return list(dict.fromkeys(named))[:_MAX_ISSUES] or [on_one_line(check.command, _ISSUE_CHARS)]
