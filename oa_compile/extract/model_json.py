"""The session model as JSON, which is what the paths of a mapping run over.

Owns the names; `docs/extract.md` tells them to people. A session's totals are known at its end only,
so they are apart from what a session is; a result that had not come by a line is null before it.
"""

from __future__ import annotations

from typing import Any

from oa_compile.extract.context import came_before
from oa_compile.extract.episodes import Episode
from oa_compile.extract.session import Issue, Message, Session, Step, ToolCall, Verification


def session_json(session: Session) -> dict[str, Any]:
    """What a session is, as far as it was told by now."""
    return {
        "id": session.id,
        "format": session.format,
        "thread": session.thread,
        "cwd": session.cwd,
        "agent": session.agent,
        "about": session.about,
        "repository": session.repository,
        "branch": session.branch,
        "tools": list(session.tools),
    }


def totals_json(session: Session) -> dict[str, Any]:
    """What it came to."""
    usage = session.usage
    return {
        "calls": session.calls,
        "errors": session.errors,
        "compactions": session.compactions,
        "resumptions": session.resumptions,
        "usage": {name: getattr(usage, name) for name in usage.__struct_fields__},
        "outcomes": [
            {"status": end.status, "is_error": end.is_error, "turns": end.turns, "cost_usd": end.cost_usd}
            for end in session.outcomes
        ],
    }


def task_json(episode: Episode) -> dict[str, Any]:
    """What an episode is from its beginning: the task."""
    return {
        "kind": episode.kind,
        "key": episode.key,
        "opened": episode.opened,
        "issue": _issue_json(episode.issue),
    }


def episode_json(episode: Episode) -> dict[str, Any]:
    """An episode with the work done so far; with its outcome once it is closed."""
    return task_json(episode) | {
        "state": episode.state,
        "closed": episode.closed,
        "files": list(episode.files),
        "read": list(episode.read),
        "plan": list(episode.plan),
        "commits": list(episode.commits),
        "verifications": [step_json(check) for check in episode.verifications],
        "verified": episode.verified,
        "succeeded": episode.succeeded,
        "calls": episode.calls,
        "errors": episode.errors,
    }


def step_json(step: Step, *, before: int | None = None) -> dict[str, Any]:
    """A step; with `before`, a call's result only if it had come by that line."""
    if isinstance(step, Message):
        return {"type": "message", "line": step.line, "role": step.role, "text": step.text}
    if isinstance(step, ToolCall):
        known = step.result if before is None or came_before(step, before) else None
        result = known and {
            "text": known.text,
            "is_error": known.is_error,
            "exit_code": known.exit_code,
            "line": known.line,
        }
        return {
            "type": "call",
            "line": step.line,
            "id": step.id,
            "name": step.name,
            "tool": step.plain_name,
            "arguments": dict(step.arguments),
            "result": result,
        }
    if isinstance(step, Verification):
        return check_json(step) | {"passed": step.passed}
    return {
        "type": "event",
        "line": step.line,
        "event_type": step.event_type,
        "success": step.success,
        "context": step.context,
        "output": step.output,
    }


def check_json(check: Verification) -> dict[str, Any]:
    """A check without what it showed to whoever read it."""
    return {
        "type": "verification",
        "line": check.line,
        "command": check.command,
        "kind": check.kind,
        "output": check.output,
    }


def _issue_json(issue: Issue | None) -> dict[str, Any] | None:
    if issue is None:
        return None
    return {"title": issue.title, "description": issue.description, "given": issue.given}
