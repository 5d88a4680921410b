"""A real HTTP server on loopback that speaks ``POST /v1/chat/completions``.

Owns the wire: statuses, headers, bodies that are whole, late, cut off or not JSON. What it answers is
a function of the request, so that a run against it is deterministic; nothing here knows oa_compile.

In a test::

    with OpenAIServer() as server:
        server.script(status(429, headers={"Retry-After": "1"}), ok())
        ... server.base_url ... server.seen

In its own process, for tests that kill things (``GET /requests`` tells what arrived)::

    python -m tests.support.openai_server --port-file F [--port N] [--latency S] [--answer MODULE:NAME]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Answer = Callable[[dict[str, Any]], str]
"""The assistant's text for a request body."""

HOLD_SECONDS = 60.0
"""The longest a held reply waits: a test that forgets to release fails instead of hanging."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request is served. `body` overrides the completion; `cut` sends only that many bytes
    of it; `hold` waits for `OpenAIServer.release` first; `finish` and `usage` shape the completion.
    """

    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    hold: bool = False
    finish: str = "stop"
    usage: Mapping[str, Any] | None = field(default_factory=dict)
    choices: bool = True
    content: bool = True


def ok(*, finish: str = "stop", usage: Mapping[str, Any] | None = None) -> Reply:
    """A completion; `usage` replaces keys of the usage block."""
    return Reply(finish=finish, usage=usage or {})


def status(code: int, /, *, headers: Mapping[str, str] | None = None, **error: Any) -> Reply:
    """An error in OpenAI's shape; `error` overrides keys of the error object."""
    body = {"message": f"scripted {code}", "type": "error", "param": None, "code": None} | error
    return Reply(code=code, headers=headers or {}, body=json.dumps({"error": body}).encode())


def held() -> Reply:
    """A completion that waits until `OpenAIServer.release` is set."""
    return Reply(hold=True)


def cut_off(after: int = 20) -> Reply:
    """A 200 whose Content-Length promises more than is sent."""
    return Reply(cut=after)


def not_json() -> Reply:
    """A 200 with a page of HTML."""
    return Reply(body=b"<html><body>upstream is having a moment</body></html>")


def no_choices() -> Reply:
    """A completion with an empty list of choices."""
    return Reply(choices=False)


def no_content() -> Reply:
    """A completion whose message has no content."""
    return Reply(content=False)


def no_usage() -> Reply:
    """A completion without a usage block."""
    return Reply(usage=None)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived; header names are lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


def from_schema(schema: Mapping[str, Any], seed: int) -> Any:
    """The simplest value that satisfies `schema` (the subset that signatures make), varied by `seed`."""
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "object":
            return {name: from_schema(part, seed) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [from_schema(schema.get("items", {}), seed)]
        case "integer":
            return seed % 10
        case "number":
            return seed % 10 / 2
        case "boolean":
            return seed % 2 == 0
    return f"text {seed % 1000}"


def deterministic_answer(body: dict[str, Any]) -> str:
    """Text that depends on the request alone; JSON that fits when a JSON schema is asked for."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    asked = body.get("response_format") or {}
    if asked.get("type") == "json_schema":
        return json.dumps(from_schema(asked["json_schema"]["schema"], int(digest[:8], 16)))
    if asked.get("type") == "json_object":
        return json.dumps({"answer": digest[:12]})
    return f"answer {digest[:12]}"


class OpenAIServer:
    """The server, as a context manager. Thread-safe; `latency` is in seconds for each request."""

    def __init__(self, *, answer: Answer = deterministic_answer, latency: float = 0.0, port: int = 0) -> None:
        self.answer = answer
        self.latency = latency
        self.release = threading.Event()
        self.arrived = threading.Semaphore(0)
        """Released once for each request: acquire it to wait until one is being served."""
        self._never = threading.Event()
        self._script: deque[Reply] = deque()
        self._seen: list[Seen] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        """What goes into `api_base`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def seen(self) -> list[Seen]:
        """All requests so far, in order of arrival."""
        with self._lock:
            return list(self._seen)

    def script(self, *replies: Reply) -> None:
        """Serve the next requests with `replies`, one each; afterwards completions again."""
        with self._lock:
            self._script.extend(replies)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()
        with self._lock:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def take(self, request: Seen) -> Reply:
        """Log `request` and say how it is served."""
        with self._lock:
            self._seen.append(request)
            reply = self._script.popleft() if self._script else ok()
        self.arrived.release()
        if self.latency:
            self._never.wait(self.latency)
        if reply.hold:
            self.release.wait(HOLD_SECONDS)
        return reply

    def completion(self, body: dict[str, Any], reply: Reply) -> bytes:
        """A chat completion for `body`, shaped by `reply`."""
        text = self.answer(body)
        prompt = sum(len(str(message.get("content") or "").split()) for message in body["messages"])
        used = len(text.split())
        message = {"role": "assistant", "content": text if reply.content else None}
        whole: dict[str, Any] = {
            "id": "chatcmpl-" + hashlib.sha256(text.encode()).hexdigest()[:12],
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}]
            if reply.choices
            else [],
        }
        if reply.usage is not None:
            usage = {"prompt_tokens": prompt, "completion_tokens": used, "total_tokens": prompt + used}
            whole["usage"] = usage | dict(reply.usage)
        return json.dumps(whole).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with server._lock:
                    server._open.add(self.connection)

            def finish(self) -> None:
                with server._lock:
                    server._open.discard(self.connection)
                super().finish()

            def log_message(self, *_: Any) -> None:
                """Nothing: the tests read `seen`."""

            def do_GET(self) -> None:
                bodies = [request.body for request in server.seen]
                self._send(200, {}, json.dumps({"count": len(bodies), "bodies": bodies}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server.take(Seen(self.path, headers, body))
                data = reply.body if reply.body is not None else server.completion(body, reply)
                try:
                    self._send(reply.code, reply.headers, data, cut=reply.cut)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up waiting, as scripted

            def _send(
                self, code: int, headers: Mapping[str, str], data: bytes, *, cut: int | None = None
            ) -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[:cut])
                if cut is not None:
                    self.close_connection = True

        return Handler


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The port file appears, whole, once requests are served."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--answer", default="", help="MODULE:NAME of a function from request body to text")
    options = parser.parse_args(argv)
    answer = deterministic_answer
    if options.answer:
        module, _, name = options.answer.partition(":")
        answer = getattr(importlib.import_module(module), name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with OpenAIServer(answer=answer, latency=options.latency, port=options.port) as server:
        draft = options.port_file.with_suffix(".draft")
        draft.write_text(f"{server.port}\n")
        draft.replace(options.port_file)
        stop.wait()


if __name__ == "__main__":
    main()
