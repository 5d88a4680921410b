"""Pairing: calls and results in logs whose names for a call may repeat.

Owns which call a result belongs to where the log names it by a cut id or by its tool. A result is believed
to be of a call only when no other call of that name waits: a guess would put another call's output, or its
error, into an example.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_WAITING = 512
"""Names that may wait for a result; a log that never answers does not fill the memory."""


class Pairing:
    """The calls of one session that wait for their result, by the log's name for them."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._unclear: OrderedDict[str, int] = OrderedDict()

    def called(self, name: str, call_id: str) -> None:
        """A call under the log's `name`, by the id that is unique."""
        if name in self._unclear:
            self._unclear[name] += 1
        elif self._waiting.pop(name, None) is not None:
            self._unclear[name] = 2
        else:
            self._waiting[name] = call_id
        for names in (self._waiting, self._unclear):
            while len(names) > MAX_WAITING:
                names.popitem(last=False)

    def returned(self, name: str) -> str | None:
        """The call that a result under `name` belongs to; None when no call waits or several do."""
        if name in self._unclear:
            self._unclear[name] -= 1
            if not self._unclear[name]:
                del self._unclear[name]
            return None
        return self._waiting.pop(name, None)
