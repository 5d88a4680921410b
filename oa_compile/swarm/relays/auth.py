"""Who we are, told to one relay that asks: NIP-42.

Owns which challenge is answered, and what an authentication may still help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oa_compile.swarm.protocol.event import Draft, Keys
from oa_compile.swarm.relays.pending import Patience
from oa_compile.swarm.relays.wire import auth_frame

AUTH_KIND = 22242
MOST_ANSWERS = 100
"""Challenges answered on one connection: a relay may not make us sign for ever."""
MOST_CHARACTERS = 1024
"""Of a challenge: those seen have 32."""


class Authentication:
    """The authentication on one relay's connections.

    A challenge may come at any time, and some relays send one with each refusal. One is answered at a
    time, and a newer one only if that fails, or is not answered.
    """

    def __init__(
        self, url: str, keys: Keys | None, patience: Patience, *, write: Callable[[bytes], None]
    ) -> None:
        self._url, self._keys, self._patience, self._write = url, keys, patience, write
        self.opened()

    def opened(self) -> None:
        """There is a new connection: nothing is known on it."""
        self._challenge = self._event_id = ""
        self._sent_at = self._done_at = 0.0
        self._answers = 0

    def challenged(self, challenge: str) -> bool:
        """Answer, or remember it for later; False for what is no challenge."""
        if len(challenge) > MOST_CHARACTERS:
            return False
        self._challenge = challenge
        waited = asyncio.get_running_loop().time() - self._sent_at
        if not self._event_id or waited > self._patience.resend_seconds:
            self._answer()
        return True

    def owns(self, event_id: str) -> bool:
        """Whether an OK for this event speaks of our authentication."""
        return bool(event_id) and event_id == self._event_id

    def accepted(self) -> None:
        """The relay knows us now."""
        self._event_id, self._done_at = "", asyncio.get_running_loop().time()

    def refused(self) -> bool:
        """The relay will not have us; True if a newer challenge came meanwhile and was answered."""
        self._event_id = ""
        return bool(self._challenge) and self._answer()

    def may_help(self, reason: str, sent_at: float) -> bool:
        """Whether what was sent then and refused so only wants an authentication that may still come."""
        early = not self._done_at or sent_at < self._done_at
        return self._keys is not None and early and reason.startswith("auth-required:")

    def _answer(self) -> bool:
        challenge, self._challenge = self._challenge, ""
        if self._keys is None or self._answers >= MOST_ANSWERS:
            return False
        self._answers += 1
        event = self._keys.sign(Draft(AUTH_KIND, [["relay", self._url], ["challenge", challenge]], ""))
        self._event_id, self._sent_at = event.id, asyncio.get_running_loop().time()
        self._write(auth_frame(event))
        return True
