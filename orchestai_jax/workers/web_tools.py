"""Fetching an address of the web: listed hosts only, bounded in size and time, no redirect that leads elsewhere."""

from __future__ import annotations

import contextlib
import http.client
import mimetypes
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.retry_after import retry_after
from orchestai_jax.workers.web_addresses import check_address, is_literal, is_public, shown_address
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import WebConnection

_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK = 1 << 16


def fetch_url_http(call: ToolCall) -> dict[str, Any]:
    """The content of an address as a file, named after what the server says that it is.

    Raises:
        WorkerError: the host is not listed, the address leads to this machine's network without being listed as such,
            or the server does not give it (worth another try where that is its own trouble).
    """
    allowed = call.connection if isinstance(call.connection, WebConnection) else WebConnection()
    deadline = time.monotonic() + allowed.timeout_s
    address = call.string("url").strip()
    for _ in range(allowed.max_redirects + 1):
        parts = check_address(address, allowed)
        try:
            with _connected(parts, deadline) as connection:
                response = _ask(connection, parts, deadline)
                if response.status in _REDIRECTS and response.headers["Location"]:
                    target = urljoin(address, response.headers["Location"])
                    if parts.scheme == "https" and not target.startswith("https:"):
                        both = f"{shown_address(address)} redirects from https to {shown_address(target)}"
                        raise WorkerError(f"{both}, which is refused")
                    address = target
                    continue
                _check_status(response, address)
                return {"file": _save(call, response, address, allowed, deadline)}
        except (OSError, http.client.HTTPException) as error:
            raise _broken(address, allowed, deadline, error) from error
    raise WorkerError(f"{shown_address(call.string('url'))} redirects more than {allowed.max_redirects} times")


@contextlib.contextmanager
def _connected(parts: SplitResult, deadline: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to the very address that was looked at: the name is not looked up a second time.

    It is cut at the deadline, wherever it is then: the timeout of a socket begins anew with each byte that comes.
    """
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        ip = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise WorkerError(f"{host} has no address: {error.strerror or error}", retryable=True) from error
    if not is_public(ip) and not is_literal(host):
        raise WorkerError(f"{host} leads to the address {ip} of this network; list that address itself to allow it")
    connection: http.client.HTTPConnection
    connection = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
    plain = socket.create_connection((ip, port), timeout=_left(deadline))
    with contextlib.closing(connection), plain, plain.dup() as handle:  # TLS takes `plain` over, but not its duplicate
        timer = threading.Timer(_left(deadline), _cut, [handle])
        timer.daemon = True
        timer.start()
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
            yield connection
        finally:
            timer.cancel()
            timer.join()  # the handle is closed after it


def _cut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side has gone already
        handle.shutdown(socket.SHUT_RDWR)


def _ask(connection: http.client.HTTPConnection, parts: SplitResult, deadline: float) -> http.client.HTTPResponse:
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        path.encode("ascii")
    except UnicodeEncodeError as error:
        raise WorkerError("the address holds letters that are not ASCII; write them as %XX") from error
    connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "orchestai-jax"})
    response = connection.getresponse()
    _left(deadline)  # headers that were cut short look like whole ones
    return response


def _check_status(response: http.client.HTTPResponse, address: str) -> None:
    if response.status == 200:
        return
    busy = response.status == 429 or response.status >= 500
    headers = {name.lower(): value for name, value in response.headers.items()}
    raise WorkerError(
        f"{shown_address(address)} answered {response.status} {response.reason}",
        retryable=busy,
        retry_after_s=retry_after(headers) if busy else None,
    )


def _save(
    call: ToolCall,
    response: http.client.HTTPResponse,
    address: str,
    allowed: WebConnection,
    deadline: float,
) -> str:
    if (response.headers["Content-Encoding"] or "identity") != "identity":
        raise WorkerError(f"{shown_address(address)} came compressed without being asked to")
    told = response.headers["Content-Length"]
    if told and told.isdigit() and int(told) > allowed.max_bytes:
        raise WorkerError(f"{shown_address(address)} has {told} bytes; at most {allowed.max_bytes} are fetched")

    def write(path: Path) -> None:
        received = 0
        with path.open("wb") as file:
            while True:
                if call.cancelled.is_set():
                    return  # what calls this drops the file then
                try:
                    block = response.read1(_BLOCK)
                    _left(deadline)  # an answer of no told length ends where it is cut
                except (OSError, http.client.HTTPException) as error:  # the network's, not those of writing
                    raise _broken(address, allowed, deadline, error) from error
                if not block:
                    break
                received += len(block)
                if received > allowed.max_bytes:
                    raise WorkerError(f"{shown_address(address)} is larger than {allowed.max_bytes} bytes")
                file.write(block)
        if told and told.isdigit() and received != int(told):
            message = f"{shown_address(address)} broke off after {received} of {told} bytes"
            raise WorkerError(message, retryable=True)

    return call.write(_suffix(response.headers.get_content_type(), address), write)


def _suffix(content_type: str, address: str) -> str:
    """The ending of the address where it is one of that content type, else the type's own."""
    suffix = PurePosixPath(urlsplit(address).path).suffix.lower()
    if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) and content_type in (
        mimetypes.guess_type("x" + suffix)[0],
        "application/octet-stream",
        "text/plain",
    ):
        return suffix
    return (
        {"text/plain": ".txt", "image/jpeg": ".jpg", "text/html": ".html"}.get(content_type)
        or mimetypes.guess_extension(content_type)
        or ".bin"
    )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _broken(address: str, allowed: WebConnection, deadline: float, error: Exception) -> WorkerError:
    if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
        return WorkerError(f"{shown_address(address)} took longer than {allowed.timeout_s:g} s", retryable=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return WorkerError(f"{shown_address(address)}: its certificate is not valid: {error.verify_message}")
    line = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return WorkerError(f"{shown_address(address)} cannot be fetched: {line[:200]}", retryable=True)
