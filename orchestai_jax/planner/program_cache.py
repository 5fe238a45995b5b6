"""Programs kept on disk as StableHLO, so that a network is traced and lowered once a machine and not once a process."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import orchestai_kernels
from jax import export
from orchestai_kernels.cpu import library
from orchestai_kernels.dispatch import current_settings

import orchestai_jax
from orchestai_jax.planner.vector_cache import default_cache_folder

logger = logging.getLogger(__name__)

_SOURCES = (
    pathlib.Path(orchestai_jax.__path__[0]) / "nn",
    pathlib.Path(orchestai_jax.__path__[0]) / "planner",
    pathlib.Path(orchestai_kernels.__path__[0]),
)
"""Where the code of programs lies."""
_LIBRARIES = ("jax", "jaxlib", "flax")
_MOST_NETWORKS = 32
"""Networks whose programs are kept; the one unused longest goes first."""
_DIGEST = 32


def network_key(*parts: str) -> str:
    """What the programs of a network depend on beside their arguments' shapes: `parts` (its sizes), this package's
    code, the libraries, how kernels are chosen, and whether the C++ library is there."""
    digest = hashlib.sha256()
    for text in (*parts, *_surroundings()):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _surroundings() -> Iterable[str]:
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".json") and "__pycache__" not in path.parts:
                yield path.name + path.read_text(encoding="utf-8")
    yield from (importlib.metadata.version(name) for name in _LIBRARIES)
    yield repr((current_settings(), jax.default_backend(), str(library.problem()), jax.config.read("jax_enable_x64")))
    if library.problem() is None:  # tuned choices stand in programs
        yield " ".join(library.instruction_sets())


class ProgramCache:
    """The programs of one network, in a folder that processes share; on a CPU only.

    A cache that cannot be read or written is said so once, at warning level, and does without: it holds nothing that
    cannot be made again.
    """

    def __init__(self, network: str, folder: pathlib.Path | None = None):
        """`network`: see `network_key`."""
        self._folder = (folder or default_cache_folder() / "programs") / network
        self._usable = jax.default_backend() == "cpu"

    @property
    def has_any(self) -> bool:
        """Whether a process made a program of this network before, which shows that its parameters fit it."""
        return self._usable and os.path.isdir(self._folder)  # False where it may not be looked into

    def load(self, signature: str) -> export.Exported | None:
        """The program of a signature, where it is kept whole."""
        path = self._path(signature)
        if not self._usable:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error)
            return None
        with contextlib.suppress(OSError):  # another's, or read-only
            os.utime(self._folder)
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            logger.warning("%s is damaged: its program is made again", path)
            return None
        if library.problem() is None:
            library.load()  # gives XLA the targets that the program may call
        return export.deserialize(bytearray(content[_DIGEST:]))

    def keep(self, signature: str, program: export.Exported) -> None:
        """Keep a program under a signature."""
        if not self._usable:
            return
        content = bytes(program.serialize(vjp_order=0))
        path = self._path(signature)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(path)
            self._make_room()
        except OSError as error:
            self._give_up(error)

    def _path(self, signature: str) -> pathlib.Path:
        return self._folder / f"{hashlib.sha256(signature.encode()).hexdigest()}.stablehlo"

    def _make_room(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # another process makes room at the same time
            networks = sorted(self._folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in networks[:-_MOST_NETWORKS]:
                shutil.rmtree(path, ignore_errors=True)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        logger.warning("programs are traced anew each time: the cache %s cannot be used (%s)", self._folder, error)


def exported(function: Any, arguments: Sequence[Any]) -> export.Exported:
    """A jitted function for arguments of these shapes. The C++ library's calls are let through: they are of this very
    installation, which `network_key` tells from others."""
    own = [export.DisabledSafetyCheck.custom_call(target) for target in library.TARGETS]
    return export.export(function, disabled_checks=own)(*arguments)
