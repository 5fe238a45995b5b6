"""What `orchestai doctor` finds out about one thing."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "missing", "broken"]
    """`missing` takes an option away; `broken` means that what was asked for does not work."""
    found: str
    remedy: str | None = None
    """What to do; None where there is nothing to do."""
