"""Which addresses of the web may be fetched: hosts that are listed, and none of this network behind a public name."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import WebConnection

_PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.IPv6Network("2000::/3")
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
"""6to4 and Teredo: the IPv4 address in them is anybody's choice, and nothing public is reached by them today."""
_CARRIES_IPV4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv4-mapped addresses and the well-known prefix of NAT64 (RFC 6052): the last 32 bits say where they lead."""


def check_address(address: str, allowed: WebConnection) -> SplitResult:
    """The parts of an address that may be fetched.

    Raises:
        WorkerError: it is no http(s) address, holds a password, or its host is not listed.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise WorkerError(f"{shown_address(address)} is not a web address: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or re.search(r"[\s\x00-\x1f]", address):
        raise WorkerError(f"{shown_address(address)} is not an http or https address")
    if parts.username or parts.password:
        raise WorkerError(f"the address of {parts.hostname} holds a user or password; give it without")
    if not any(_fits(parts.hostname, port or _PORTS[parts.scheme], pattern) for pattern in allowed.allow):
        listed = ", ".join(allowed.allow) or "none"
        raise WorkerError(
            f"{parts.hostname} is not among the hosts that may be fetched ({listed}); list it in the catalog, "
            "under connection.allow of the worker"
        )
    return parts


def is_literal(host: str) -> bool:
    """Whether a host is an address (or this machine) by its own name."""
    return host == "localhost" or _ip(host) is not None


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: global, unicast, and not a way to one that is not."""
    ip = _ip(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _CARRIES_IPV4):
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            return ip.is_global and ip in _UNICAST and not any(ip in network for network in _TUNNELS)
    return ip is not None and ip.is_global and not ip.is_multicast


def shown_address(address: str) -> str:
    """An address without its query, which may hold keys."""
    shown = re.sub(r"[\s\x00-\x1f]+", " ", address.partition("?")[0].partition("#")[0])
    return shown if len(shown) <= 100 else shown[:97] + "..."


def _fits(host: str, port: int, pattern: str) -> bool:
    listed, listed_port = _host_and_port(pattern.lower())
    if listed_port and str(port) != listed_port:
        return False
    host = host.lower().rstrip(".")
    if listed.startswith("*."):
        return host.endswith(listed[1:]) and not is_literal(host)
    return host == listed or (_ip(host) is not None and _ip(host) == _ip(listed))


def _host_and_port(pattern: str) -> tuple[str, str]:
    """`host`, `host:80`, `::1`, `[::1]`, `[::1]:80`; the port is empty where none is given."""
    if pattern.startswith("["):
        host, _, rest = pattern[1:].partition("]")
        return host, rest.removeprefix(":")
    if pattern.count(":") == 1:
        host, _, port = pattern.partition(":")
        return host, port
    return pattern, ""


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
