"""Whether a key that is sent to an address would cross a network unencrypted."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def leaks_key(url: str) -> bool:
    """Whether `url` is http to another machine than this one.

    This machine is `localhost` and the addresses that are its own by standard (127.0.0.0/8, ::1). A name that only
    begins like one of them, as 127.0.0.1.example.org, is whatever its owner makes of it.
    """
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
