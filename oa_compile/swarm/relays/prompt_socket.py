"""A websocket for many small messages, each of which somebody waits for.

Owns when what is written leaves, and what becomes of it when the relay does not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

MAX_UNSENT_BYTES = 16 * 2**20
"""A relay that lets this much wait unread is told nothing more until it reads."""
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class PromptSocket(ClientConnection):
    """A client's connection that is prompt in both directions.

    It acknowledges at once what it receives: a relay without TCP_NODELAY holds its next message back until
    the kernel's delayed acknowledgement, 40 ms later. And what is written during one turn of the loop
    leaves in one piece, except that the first message does not wait for the others.
    """

    _corked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._outbox: list[bytes] = []
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if _QUICKACK is not None:  # the kernel forgets it again, so it is set after every read
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def write(self, text: bytes) -> None:
        """Send one text message. A connection that is going, or full, drops it: see `pending`."""
        if self._corked:
            self._outbox.append(text)
            return
        self._corked = True
        self.loop.call_soon(self._uncork)
        self._flush([text])

    def _uncork(self) -> None:
        self._corked = False
        if self._outbox:
            texts, self._outbox = self._outbox, []
            self._flush(texts)

    def _flush(self, texts: list[bytes]) -> None:
        if self.protocol.state is not State.OPEN or self.transport.is_closing():
            return
        room = MAX_UNSENT_BYTES - self.transport.get_write_buffer_size()
        for text in texts:
            if room < 0:
                break
            room -= len(text)
            self.protocol.send_text(text)
        self.transport.write(b"".join(self.protocol.data_to_send()))
