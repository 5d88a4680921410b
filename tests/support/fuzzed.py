"""Any bytes as a log: what must hold of every one, for the fuzzer and for the corpus it left."""

from __future__ import annotations

from oa_compile.extract.session import Message, ToolCall
from tests.support.mapped_format import MAPPED
from tests.support.sessions import Told, tell


def take(raw: bytes) -> None:
    """Read `raw` in every way there is. Raises when something does not hold."""
    for thorough in (True, False):
        _check(tell(raw, thorough=thorough), raw)
    _check(tell(raw, reader=MAPPED), raw)


def _check(told: Told, raw: bytes) -> None:
    packed = raw[:2] == b"\x1f\x8b" or raw[:4] == b"\x28\xb5\x2f\xfd"
    # Of a document that is one object or array, a place is a position: there are no more than objects.
    lines = told.tally.counts["lines_read"] if packed else raw.count(b"\n") + raw.count(b"{") + 1
    for session in told.sessions:
        session.id.encode()
        assert session.calls >= session.errors >= 0
    for step in (step for steps in told.steps.values() for step in steps):
        assert 1 <= step.line <= lines, "a place that is there"
        if isinstance(step, Message):
            step.text.encode()
        elif isinstance(step, ToolCall):
            assert isinstance(step.arguments, dict)
            if step.result is not None:
                step.result.text.encode()
                assert 1 <= step.result.line <= lines
    for episode in told.episodes:
        assert episode.state != "open"
        assert 0 <= episode.opened <= (episode.closed or lines) <= lines
