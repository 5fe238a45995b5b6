"""What a figure was measured on and with: processor, memory, versions, commit. No host name, no path, no user."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

PACKAGES = ("orchestai-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def describe_machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores that this process may use, memory, operating system, versions, commit and date."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def command_line(script: str, arguments: Sequence[str] | None) -> str:
    """The command that a result came from, paths below the project written relative to it."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", f"experiments/{script}", *given]).replace(f"{ROOT}/", "")


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no /proc: macOS, Windows
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # the system does not say
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Short hash, with `+` where tracked files of the code differ from it; None outside a git checkout."""
    code = ("orchestai_jax", "kernels", "configs", "experiments/*.py")
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
