"""Fetching an address of the web: listed hosts only, bounded in size and time, no redirect that leads elsewhere."""

from __future__ import annotations

import http.client
import ipaddress
import mimetypes
import re
import socket
import ssl
import time
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.retry_after import retry_after
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
        connection = _connect(parts, allowed, deadline)
        try:
            response = _ask(connection, parts)
            if response.status in _REDIRECTS and response.headers["Location"]:
                target = urljoin(address, response.headers["Location"])
                if parts.scheme == "https" and not target.startswith("https:"):
                    raise WorkerError(f"{_short(address)} redirects from https to {_short(target)}, which is refused")
                address = target
                continue
            _check_status(response, address)
            return {"file": _save(call, response, connection, address, allowed, deadline)}
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            raise _broken(address, allowed, error) from error
        finally:
            connection.close()
    raise WorkerError(f"{_short(call.string('url'))} redirects more than {allowed.max_redirects} times")


def check_address(address: str, allowed: WebConnection) -> SplitResult:
    """The parts of an address that may be fetched.

    Raises:
        WorkerError: it is no http(s) address, holds a password, or its host is not listed.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise WorkerError(f"{_short(address)} is not a web address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f]", address):
        raise WorkerError(f"{_short(address)} is not an http or https address")
    if parts.username or parts.password:
        raise WorkerError(f"the address of {parts.hostname} holds a user or password; give it without")
    if not any(_fits(parts.hostname, port, pattern) for pattern in allowed.allow):
        listed = ", ".join(allowed.allow) or "none"
        raise WorkerError(
            f"{parts.hostname} is not among the hosts that may be fetched ({listed}); list it in the catalog, "
            "under connection.allow of the worker"
        )
    return parts


def _fits(host: str, port: int | None, pattern: str) -> bool:
    listed, _, listed_port = pattern.lower().partition(":") if pattern.count(":") == 1 else (pattern.lower(), "", "")
    if listed_port and str(port) != listed_port:
        return False
    host = host.lower().rstrip(".")
    return host.endswith(listed[1:]) if listed.startswith("*.") else host == listed.strip("[]")


def _connect(parts: SplitResult, allowed: WebConnection, deadline: float) -> http.client.HTTPConnection:
    """A connection to the very address that was looked at: the name is not looked up a second time."""
    host, secure = str(parts.hostname), parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        ip = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise WorkerError(f"{host} has no address: {error.strerror or error}", retryable=True) from error
    if not ipaddress.ip_address(str(ip).partition("%")[0]).is_global and not _is_literal(host):
        raise WorkerError(f"{host} leads to the address {ip} of this network; list that address itself to allow it")
    connection: http.client.HTTPConnection
    connection = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
    try:
        plain = socket.create_connection((str(ip), port), timeout=_left(deadline))
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
    except OSError as error:
        raise _broken(urlunsplit(parts), allowed, error) from error
    return connection


def _is_literal(host: str) -> bool:
    """Whether a host that was listed is an address (or this machine) by its own name."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ask(connection: http.client.HTTPConnection, parts: SplitResult) -> http.client.HTTPResponse:
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        path.encode("ascii")
    except UnicodeEncodeError as error:
        raise WorkerError("the address holds letters that are not ASCII; write them as %XX") from error
    connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "orchestai-jax"})
    return connection.getresponse()


def _check_status(response: http.client.HTTPResponse, address: str) -> None:
    if response.status == 200:
        return
    busy = response.status == 429 or response.status >= 500
    headers = {name.lower(): value for name, value in response.headers.items()}
    raise WorkerError(
        f"{_short(address)} answered {response.status} {response.reason}",
        retryable=busy,
        retry_after_s=retry_after(headers) if busy else None,
    )


def _save(
    call: ToolCall,
    response: http.client.HTTPResponse,
    connection: http.client.HTTPConnection,
    address: str,
    allowed: WebConnection,
    deadline: float,
) -> str:
    if (response.headers["Content-Encoding"] or "identity") != "identity":
        raise WorkerError(f"{_short(address)} came compressed without being asked to")
    told = response.headers["Content-Length"]
    if told and told.isdigit() and int(told) > allowed.max_bytes:
        raise WorkerError(f"{_short(address)} has {told} bytes; at most {allowed.max_bytes} are fetched")

    def write(path: Path) -> None:
        received = 0
        with path.open("wb") as file:
            while True:
                if call.cancelled.is_set():
                    return  # what calls this drops the file then
                try:
                    if connection.sock is not None:
                        connection.sock.settimeout(_left(deadline))
                    block = response.read1(_BLOCK)
                except (OSError, http.client.HTTPException) as error:  # the network's, not those of writing
                    raise _broken(address, allowed, error) from error
                if not block:
                    break
                received += len(block)
                if received > allowed.max_bytes:
                    raise WorkerError(f"{_short(address)} is larger than {allowed.max_bytes} bytes")
                file.write(block)
        if told and told.isdigit() and received != int(told):
            message = f"{_short(address)} broke off after {received} of {told} bytes"
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


def _broken(address: str, allowed: WebConnection, error: Exception) -> WorkerError:
    if isinstance(error, TimeoutError):
        return WorkerError(f"{_short(address)} took longer than {allowed.timeout_s:g} s", retryable=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return WorkerError(f"{_short(address)}: its certificate is not valid: {error.verify_message}")
    line = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return WorkerError(f"{_short(address)} cannot be fetched: {line[:200]}", retryable=True)


def _short(address: str) -> str:
    """An address without its query, which may hold keys."""
    shown = re.sub(r"[\s\x00-\x1f]+", " ", address.partition("?")[0].partition("#")[0])
    return shown if len(shown) <= 100 else shown[:97] + "..."
