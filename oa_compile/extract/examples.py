"""Examples: drafts fitted to a program's fields, redacted, and checked against their types.

Owns the mapping from a maker's names to the program's (`spec.extract.fields`), and what an example is related
to. An input can only come from a draft's inputs: what an agent did is never shown to the program that must
predict it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from oa_compile.dataset import ExampleRecord, group_key
from oa_compile.extract.drafts import Draft
from oa_compile.extract.episodes import Episode
from oa_compile.extract.makers import MAKERS
from oa_compile.extract.redact import redact_value
from oa_compile.extract.tally import Tally
from oa_compile.extract.walk import Moment, Scene
from oa_compile.extract.wanted import Wanted
from oa_compile.spec.program import FieldSpec, ProgramSpec

_key = functools.lru_cache(maxsize=16)(group_key)  # one example after the other is of the same episode
_SCALARS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "bool": bool}


class Examples:
    """The examples of one thread of a session for a program."""

    def __init__(self, spec: ProgramSpec, tally: Tally) -> None:
        self._spec = spec
        self._tally = tally
        self._maker = MAKERS[spec.extract.example](spec.extract, tally, Wanted.by(spec))
        self._limit = spec.extract.limit_per_session
        self.made = 0

    def take(self, scene: Scene, moment: Moment) -> Iterator[ExampleRecord]:
        """The examples that a moment completes."""
        for draft in self._maker.take(scene, moment):
            if self._limit is not None and self.made >= self._limit:
                self._tally.leave_out("over the limit per session", draft.line)
            elif (record := self._fit(draft, scene, moment)) is not None:
                self.made += 1
                yield record

    def _fit(self, draft: Draft, scene: Scene, moment: Moment) -> ExampleRecord | None:
        spec, tally, signature = self._spec, self._tally, self._spec.signature
        if draft.confidence < spec.extract.min_confidence:
            tally.leave_out("label less sure than the program asks for", draft.line)
            return None
        try:
            if signature is None:
                inputs, outputs = dict(draft.inputs), dict(draft.outputs)
            else:
                inputs = _pick(signature.inputs, draft.inputs, spec.extract.fields)
                outputs = _pick(signature.outputs, draft.outputs, spec.extract.fields)
        except ValueError as error:
            tally.leave_out(str(error), draft.line)
            return None
        clean_inputs = redact_value(inputs, counts=tally.redacted)
        clean_outputs = redact_value(outputs, counts=tally.redacted)
        meta = redact_value(_meta(draft, scene), counts=tally.redacted)
        group = _group(spec.splits.group, scene, moment, draft)
        try:
            return ExampleRecord.of(clean_inputs, outputs=clean_outputs, meta=meta, group=group)
        except (ValueError, UnicodeError):  # a lone surrogate has no UTF-8 form
            tally.leave_out("text that is no valid Unicode", draft.line)
            return None


def _meta(draft: Draft, scene: Scene) -> dict[str, Any]:
    session = scene.session
    meta = {"source": str(session.place(draft.line)), "session": session.id, **draft.evidence}
    if session.thread:
        meta["thread"] = session.thread
    if draft.confidence < 1:
        meta["confidence"] = draft.confidence
    if draft.feedback:
        meta["feedback"] = draft.feedback
    if draft.negative:
        meta["negative"] = True
    return meta


def _group(kind: str, scene: Scene, moment: Moment, draft: Draft) -> str | None:
    """What the example goes to a split with: the narrowest of what is asked for that the log tells."""
    session = scene.session
    if kind == "none":
        return None
    if draft.group:
        return _key("mapped", draft.group)
    if kind == "repository" and session.repository:
        return _key("repository", session.repository)
    episode = moment if isinstance(moment, Episode) else scene.episode
    if kind == "episode" and episode is not None:
        return _key("episode", session.repository, episode.key)
    return _key("session", session.repository, session.id)


def _pick(
    fields: tuple[FieldSpec, ...], values: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for field in fields:
        name = names.get(field.name, field.name)
        if name not in values:
            raise ValueError(f"no value for `{field.name}`")
        if not _fits(values[name], field):
            raise ValueError(f"`{field.name}` is no {field.type}")
        picked[field.name] = values[name]
    return picked


def _fits(value: object, field: FieldSpec) -> bool:
    if field.type == "enum":
        return isinstance(value, str) and value in field.values
    if field.type.startswith("list["):
        inner = field.type.removeprefix("list[").removesuffix("]")
        return isinstance(value, list) and all(_is_scalar(item, inner) for item in value)
    return _is_scalar(value, field.type)


def _is_scalar(value: object, kind: str) -> bool:
    if isinstance(value, bool) and kind != "bool":
        return False
    return isinstance(value, _SCALARS[kind])
