"""A real HTTP server on loopback whose answers a test writes, byte by byte where it wants to."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass
class Request:
    """What came in, and the way to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    handler: http.server.BaseHTTPRequestHandler

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def answer(self, body: bytes | str = b"", status: int = 200, **headers: str) -> None:
        """A whole answer; `content_type="..."` writes Content-Type."""
        data = body.encode() if isinstance(body, str) else body
        self.start(status, **{"content_length": str(len(data)), **headers})
        self.send(data)

    def answer_json(self, content: Any, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(content), status, content_type="application/json", **headers)

    def start(self, status: int = 200, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def send(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def send_chunk(self, data: bytes) -> None:
        """A chunk of an answer that was started with transfer_encoding="chunked"; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def hang_up(self) -> None:
        """Close the connection with whatever was sent so far."""
        self.handler.close_connection = True
        with contextlib.suppress(OSError):
            self.handler.connection.shutdown(socket.SHUT_RDWR)


class Loopback:
    """The server: `url`, and every request so far in `requests`."""

    def __init__(self, answer: Callable[[Request], None]) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        self.closing = threading.Event()
        """Set when the server is closed: an answer that stalls waits for it."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, self.rfile.read(length), self)
                outer.requests.append(request)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    outer.answer(request)

            do_GET = do_POST = do_HEAD = _any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that hang up are a part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def serving(answer: Callable[[Request], None]) -> Iterator[Loopback]:
    """A server that answers by `answer`, for the time of the `with`."""
    server = Loopback(answer)
    try:
        yield server
    finally:
        server.close()


def unused_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
