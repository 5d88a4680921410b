"""Maker of execution-strategy examples: a step of the plan and what was known, and the next action taken.

Only calls that worked teach, and only those that are an action: EDIT_FILE, RUN_COMMAND, READ_FILE, or
COMPLETE, which is the tracker's word that the issue is done.

- `plan_step` is the step of the agent's own list that was in progress, else the task; `current_file_state`
  the file it had read or edited last, whichever it acts on next; `execution_history` the steps of the
  episode before. All end before the message that holds the call.
- `action_params` are the call's arguments as JSON text; `reasoning` what the agent said with the call;
  `progress_estimate` the share of its list that was done by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

from oa_compile.extract.commands import Todo, command_of, edited_paths, read_path, todos
from oa_compile.extract.context import Decision, History, as_json, cut, decision_of, task_text
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.failures import FailedTries
from oa_compile.extract.files_seen import FilesSeen
from oa_compile.extract.session import ToolCall
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.extract import ExtractSpec

Action = Literal["EDIT_FILE", "RUN_COMMAND", "READ_FILE", "COMPLETE"]

_STATE_CHARS, _TASK_CHARS, _REASON_CHARS = 1_500, 1_000, 1_000
_PLANS = 4


class ExecutionStrategy:
    """One draft for each action that worked."""

    def __init__(self, spec: ExtractSpec, tally: Tally, wanted: Wanted) -> None:
        self._tally, self._wanted = tally, wanted
        self._tries = FailedTries(spec.failures)
        self._history, self._files = History(), FilesSeen()
        self._plans: deque[tuple[int, list[Todo]]] = deque(maxlen=_PLANS)

    def take(self, scene: Scene, moment: Moment) -> Iterator[Draft]:
        """A call is judged by itself, and is then part of what the next one knows."""
        if isinstance(moment, Episode):
            self._tries.forget()
            self._plans.clear()
        if not isinstance(moment, ToolCall):
            return
        attempt, action = self._tries.take(moment), action_of(moment, scene.episode)
        if (reason := "call that is no action" if action is None else attempt.reason) is not None:
            self._tally.leave_out(reason, moment.line)
        else:
            decision = decision_of(moment, scene.trail)
            yield Draft(
                dict(self._known(scene, decision.line)),
                {"next_action": action, **dict(self._chosen(moment, decision))},
                moment.line,
                {
                    "call": moment.id,
                    "tool_name": moment.name,
                    "decided_at": str(scene.session.place(decision.line)),
                },
                feedback=attempt.feedback,
                negative=attempt.negative,
            )
        if plan := todos(moment):
            self._plans.append((moment.line, plan))
        if "current_file_state" in self._wanted:
            self._files.take(moment, scene.session.root)

    def _plan(self, line: int) -> list[Todo]:
        """The agent's list as it was before `line`."""
        return next((plan for at, plan in reversed(self._plans) if at < line), [])

    def _known(self, scene: Scene, line: int) -> Iterator[tuple[str, Any]]:
        episode, wanted = scene.episode, self._wanted
        step = next((todo.text for todo in self._plan(line) if todo.state == "in_progress"), None)
        if step is not None:
            yield "plan_step", step
        elif episode is not None and episode.issue is not None and episode.issue.line < line:
            yield "plan_step", cut(task_text(episode.issue), _TASK_CHARS)
        if "current_file_state" in wanted:
            sight = next(self._files.before(line), None)
            verb = "" if sight is None else "as edited" if sight.edited else "as read"
            yield (
                "current_file_state",
                f"{sight.path} ({verb}):\n{cut(sight.text, _STATE_CHARS)}" if sight is not None else "",
            )
        if "execution_history" in wanted:
            since = episode.opened if episode is not None else 0
            yield "execution_history", self._history.before(line, scene.trail, since=since)

    def _chosen(self, call: ToolCall, decision: Decision) -> Iterator[tuple[str, Any]]:
        if "action_params" in self._wanted:
            yield "action_params", as_json(dict(call.arguments))
        if decision.words:
            yield "reasoning", cut(decision.words, _REASON_CHARS)
        if plan := self._plan(decision.line):
            done = sum(todo.state == "completed" for todo in plan)
            yield "progress_estimate", round(done / len(plan), 2)


def action_of(call: ToolCall, episode: Episode | None) -> Action | None:
    """The action a call is; completing another issue than that of `episode` completes nothing."""
    if edited_paths(call):
        return "EDIT_FILE"
    if command_of(call):
        return "RUN_COMMAND"
    if read_path(call) is not None:
        return "READ_FILE"
    if call.plain_name != "issue_complete" or call.result is None or episode is None:
        return None
    own = episode.kind == "issue" and str(call.arguments.get("number")) == episode.key
    return "COMPLETE" if own and call.result.text.startswith("Completed") else None
