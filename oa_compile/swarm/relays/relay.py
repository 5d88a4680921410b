"""One relay over one websocket: what it says and is told, and coming back after a loss.

Owns the connection. What is under way over it is `pending`'s, who we are `auth`'s; which relays there are
is `relays`' matter. Verifies no event and holds none against the filter that asked for it: see `network`.

What a relay says never ends the reader: what is no message of NIP-01, or answers nothing, is counted and
passed over. What comes in is handed on at once, by a plain call on the loop: there is no queue of ours in
which a slow receiver could lose something; the socket's own flow control holds the relay back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode

from oa_compile.swarm.protocol.event import Keys
from oa_compile.swarm.relays.auth import Authentication
from oa_compile.swarm.relays.network import RelayState
from oa_compile.swarm.relays.pending import Outbox, Patience, Report, Request, Requests
from oa_compile.swarm.relays.prompt_socket import MAX_UNSENT_BYTES, PromptSocket
from oa_compile.swarm.relays.wire import (
    AuthMessage,
    ClosedMessage,
    EoseMessage,
    EventMessage,
    Message,
    NoticeMessage,
    OkMessage,
    decode_message,
)

MAX_MESSAGE_BYTES = 2**20
"""A longer message ends the connection: a websocket cannot pass over one without receiving it."""
QUEUE_MESSAGES = 1024
FIRST_DELAY, LAST_DELAY = 0.1, 30.0
"""Seconds until a lost connection is tried again, doubled each time."""
STEADY_SECONDS, STEADY_MESSAGES = 5.0, 100
"""A connection that lived so long, or brought so much, makes the next delay the first one again: some
relays hang up on whoever says a lot, and are there again at once.
"""
NOTE_CHARACTERS = 200

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # what websockets logs is for those who ask, not for stderr


@dataclass(slots=True)
class Counts:
    """What came from a relay so far. `garbage`: no message of NIP-01; `foreign`: answers to nothing asked;
    `oversize`: connections ended over `MAX_MESSAGE_BYTES`.
    """

    connections: int = 0
    messages: int = 0
    events: int = 0
    garbage: int = 0
    foreign: int = 0
    oversize: int = 0
    notices: int = 0


class Relay:
    """A connection that is kept: tried again after a loss, with all that is asked of it asked again.

    Its states: ``connecting`` (there is none, and it is being tried), ``open``, ``auth`` (open, and the
    relay has accepted who we are), ``closed`` (we let go). `trouble` is the last thing that went wrong, in
    words, and nothing once a connection stands.
    """

    def __init__(
        self,
        url: str,
        *,
        keys: Keys | None = None,
        patience: Patience | None = None,
        connect_seconds: float = 5.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """With `keys` it authenticates when asked to; `on_change` is called when `state` may have changed."""
        self.url, self.counts, self.trouble = url, Counts(), ""
        self.state: RelayState = "connecting"
        self._patience = patience or Patience()
        self._connect_seconds, self._on_change = connect_seconds, on_change
        self._connection: PromptSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._outbox = Outbox(url, self._patience, write=self._write)
        self._requests = Requests(url, self._patience, write=self._write)
        self._auth = Authentication(url, keys, self._patience, write=self._write)

    # what it is asked to do

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    def start(self) -> None:
        """Begin to connect, and go on until `close`."""
        if self._task is None and self.state != "closed":
            self._task = asyncio.create_task(self._run(), name=f"relay {self.url}")

    def send(self, event_id: str, frame: bytes, report: Report) -> None:
        """Send an event, and again if the relay says nothing or was away meanwhile."""
        if self.state == "closed":
            report(self.url, "silent", "")
        else:
            self._outbox.add(event_id, frame, report)

    def ask(self, request: Request) -> None:
        """Make a request, now and on every connection to come, until `drop`."""
        if self.state == "closed":
            request.on_end(self.url, "the connection was closed")
        else:
            self._requests.add(request, now=self.connected)

    def drop(self, request_id: str) -> None:
        """Take a request back. What is still under way for it will count as foreign."""
        self._requests.drop(request_id)

    async def close(self) -> None:
        """Let go, and say so to whoever waits for an answer. Safe to call twice."""
        task, self._task = self._task, None
        self._change("closed", self.trouble)
        self._outbox.close()
        self._requests.close()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # the connection

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            started, messages = loop.time(), self.counts.messages
            try:
                connection = await self._connect()
            except (OSError, WebSocketException, UnicodeError) as error:
                self._change("connecting", self._words(error))
            else:
                try:
                    await self._serve(connection)
                finally:
                    self._connection = None
                    self._requests.lost()
                    await connection.close()
                steady = loop.time() - started >= STEADY_SECONDS
                if steady or self.counts.messages - messages >= STEADY_MESSAGES:
                    delay = FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(LAST_DELAY, 2 * delay)

    async def _connect(self) -> PromptSocket:
        """No proxy: the way to a relay is not the environment's to say."""
        connection = await connect(
            self.url,
            create_connection=PromptSocket,
            compression=None,  # it costs more than small events save
            max_size=MAX_MESSAGE_BYTES,
            max_queue=QUEUE_MESSAGES,
            open_timeout=self._connect_seconds,
            close_timeout=1.0,
            # never reached: a relay that does not read would block pings and closing too, and for ever
            write_limit=2 * MAX_UNSENT_BYTES,
            proxy=None,
            user_agent_header="oacompile",
            logger=_log,
        )
        assert isinstance(connection, PromptSocket)
        return connection

    async def _serve(self, connection: PromptSocket) -> None:
        """Read until the connection is lost."""
        self._connection = connection
        self.counts.connections += 1
        self._auth.opened()
        self._requests.opened()
        self._outbox.resend()
        self._change("open", "")
        try:
            while True:
                raw = await connection.recv(decode=False)
                self._requests.heard = time.time()
                self.counts.messages += 1
                try:
                    message = decode_message(raw)
                except ValueError:
                    self.counts.garbage += 1
                else:
                    self._take(message)
        except ConnectionClosed as closed:
            self._change("connecting", self._words(closed))
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self.counts.oversize += 1
            if closed.rcvd is not None and closed.rcvd.code == CloseCode.MESSAGE_TOO_BIG:
                self._outbox.refuse_largest("invalid: the relay hung up over a message's size")

    def _change(self, state: RelayState, trouble: str) -> None:
        if self.state == "closed":
            return
        self.state, self.trouble = state, trouble
        self._on_change()

    def _words(self, error: Exception) -> str:
        match error:
            case ConnectionRefusedError():
                return "connection refused"
            case TimeoutError():
                return f"no answer in {self._connect_seconds:g} s"
            case socket.gaierror():
                return "no such host"
            case InvalidStatus():
                return f"HTTP {error.response.status_code}"
        return str(error)[:NOTE_CHARACTERS] or type(error).__name__

    def _write(self, frame: bytes) -> None:
        if self._connection is not None:
            self._connection.write(frame)

    # what the relay says

    def _take(self, message: Message) -> None:
        match message:
            case EventMessage(request, event):
                if self._requests.event(request, event):
                    self.counts.events += 1
                else:
                    self.counts.foreign += 1
            case OkMessage(event_id, accepted, reason):
                self._take_ok(event_id, accepted=accepted, reason=reason[:NOTE_CHARACTERS])
            case EoseMessage(request):
                self.counts.foreign += not self._requests.end(request)
            case ClosedMessage(request, reason):
                self._take_closed(request, reason[:NOTE_CHARACTERS])
            case AuthMessage(challenge):
                self.counts.garbage += not self._auth.challenged(challenge)
            case NoticeMessage(text):
                self.counts.notices += 1
                _log.debug("%s says %.200r", self.url, text)

    def _take_ok(self, event_id: str, *, accepted: bool, reason: str) -> None:
        if self._auth.owns(event_id):
            self._take_authenticated(accepted=accepted, reason=reason)
            return
        if not event_id and not accepted:  # some relays refuse a large event without naming it
            event_id = self._outbox.only()
        sent_at = self._outbox.sent_at(event_id)
        if sent_at is None:
            self.counts.foreign += 1
        elif accepted or reason.startswith("duplicate:"):
            self._outbox.answer(event_id, "accepted", reason)
        elif self._auth.may_help(reason, sent_at):
            self._outbox.hold(event_id, reason)
        else:
            self._outbox.answer(event_id, "refused", reason)

    def _take_closed(self, request: str, reason: str) -> None:
        sent_at = self._requests.sent_at(request)
        if sent_at is None:
            self.counts.foreign += 1
        elif self._auth.may_help(reason, sent_at):
            self._requests.hold(request, reason)
        else:
            self._change(self.state, reason)
            self._requests.closed(request, reason)

    def _take_authenticated(self, *, accepted: bool, reason: str) -> None:
        if accepted:
            self._auth.accepted()
            self._outbox.resend(held=True)
            self._requests.resend_held()
            self._change("auth", "")
        elif not self._auth.refused():
            reason = reason or "auth-required: the relay refused who we are"
            self._outbox.refuse_held(reason)
            self._requests.refuse_held(reason)
            self._change(self.state, reason)
