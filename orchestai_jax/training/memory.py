"""How much memory the process and its device have in use."""

from __future__ import annotations

import pathlib
import resource
import sys

import jax


def memory_in_use() -> dict[str, float]:
    """`host_mb` (resident now; at its peak where the system does not tell), and `device_mb` where the device tells."""
    found = {"host_mb": _resident_bytes() / 2**20}
    statistics = jax.local_devices()[0].memory_stats()  # None on a CPU
    if statistics and "bytes_in_use" in statistics:
        found["device_mb"] = statistics["bytes_in_use"] / 2**20
    return found


def _resident_bytes() -> float:
    try:
        pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:  # not Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return int(pages) * resource.getpagesize()
