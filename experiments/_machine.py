"""What a figure was measured on and with: processor, memory, versions, commit. No host name, no path, no user."""

from __future__ import annotations

import datetime
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from orchestai_jax.quickstart import machine

PACKAGES = ("orchestai-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, operating system, versions, commit and date."""
    return {
        **machine.describe_machine(PACKAGES),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def command_line(script: str, arguments: Sequence[str] | None) -> str:
    """The command that a result came from, paths below the project written relative to it."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", f"experiments/{script}", *given]).replace(f"{ROOT}/", "")


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
