"""Vectors of texts kept on disk, so that a description is encoded once and not anew in every process."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from orchestai_jax.planner.encoded_vectors import rows_from_bytes, rows_to_bytes

logger = logging.getLogger(__name__)

_FILE = "descriptions.sqlite"
_LOOKED_UP_AT_ONCE = 500
"""SQLite takes no more than 999 parameters a statement in its older versions."""
_MOST_BYTES = 2**31
"""A file larger than this is begun anew."""


def fingerprint(parameters: Mapping[str, Any], *texts: str) -> str:
    """A key for what an encoder computes: SHA-256 over its parameters' names, shapes and bytes, and over `texts`.

    A packed parameter counts as the arrays that it is made of.
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        for leaf in jax.tree.leaves(parameters[name]):
            array = np.ascontiguousarray(np.asarray(leaf))
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(array.data if array.ndim else array.tobytes())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


def default_cache_folder() -> pathlib.Path:
    """`orchestai` under XDG_CACHE_HOME or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(home) if home else pathlib.Path.home() / ".cache") / "orchestai"


class VectorCache:
    """Text to vector for one encoder, in an SQLite file that processes share.

    A cache that cannot be read or written is said so once, at warning level, and does without: it holds nothing that
    cannot be computed again.
    """

    def __init__(self, encoder: str, folder: pathlib.Path | None = None, block: int | None = None):
        """`block`: numbers that share a scale, to keep vectors in 8 bits a number; None keeps float32."""
        self._fingerprint, self._block = encoder, block
        self._encoder = encoder if block is None else f"{encoder}/blocks{block}"
        self._path = (folder or default_cache_folder()) / _FILE
        self._usable = True

    def in_blocks(self, block: int) -> VectorCache:
        """The cache in the same folder that keeps the same encoder's vectors in blocks of another size."""
        return VectorCache(self._fingerprint, self._path.parent, block)

    def get(self, texts: Sequence[str]) -> dict[str, Float[np.ndarray, "d"]]:
        """The vectors that are kept, by text."""
        found: dict[str, bytes] = {}
        keys = {_key(text): text for text in texts}
        with self._connection() as connection:
            if connection is None:
                return {}
            wanted = list(keys)
            for start in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
                part = wanted[start : start + _LOOKED_UP_AT_ONCE]
                rows = connection.execute(
                    f"select text, vector from vectors where encoder = ? and text in ({','.join('?' * len(part))})",
                    [self._encoder, *part],
                )
                found |= {keys[key]: vector for key, vector in rows}
        return dict(zip(found, self._read(list(found.values())), strict=True)) if found else {}

    def put(self, vectors: Mapping[str, Float[np.ndarray, "d"]]) -> None:
        """Keep vectors of one length, by text."""
        if not vectors:
            return
        written = self._written(np.stack(list(vectors.values())))
        rows = [(self._encoder, _key(text), row) for text, row in zip(vectors, written, strict=True)]
        with self._connection() as connection:
            if connection is not None:
                connection.executemany("insert or replace into vectors values (?, ?, ?)", rows)

    def rounded(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Vectors as they will be read, so that they are the same in the process that computed them."""
        return self._read(self._written(vectors))

    def _written(self, vectors: Float[np.ndarray, "n d"]) -> list[bytes]:
        if self._block is None:
            return [row.tobytes() for row in np.asarray(vectors, "<f4")]
        return rows_to_bytes(vectors, self._block)

    def _read(self, rows: list[bytes]) -> Float[np.ndarray, "n d"]:
        if self._block is None:
            return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)
        return rows_from_bytes(rows, self._block)

    @contextlib.contextmanager
    def _connection(self):
        """A transaction, or None where the cache cannot be used."""
        connection = None
        if self._usable:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if self._path.exists() and self._path.stat().st_size > _MOST_BYTES:
                    self._path.unlink()
                connection = sqlite3.connect(self._path, timeout=10)
                connection.execute(
                    "create table if not exists vectors "
                    "(encoder text, text blob, vector blob, primary key (encoder, text)) without rowid"
                )
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
                connection = None
        try:
            yield connection
            if connection is not None:
                connection.commit()
        except sqlite3.Error as error:
            self._give_up(error)
        finally:
            if connection is not None:
                connection.close()

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        logger.warning("descriptions are encoded anew each time: the cache %s cannot be used (%s)", self._path, error)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
