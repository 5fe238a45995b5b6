"""Vectors of texts kept on disk, so that a description is encoded once and not anew in every process."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pathlib
import sqlite3
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import ArrayLike, Float

from orchestai_jax.planner.encoded_vectors import encode_vectors, saved_vectors

logger = logging.getLogger(__name__)

_FILE = "descriptions.sqlite"
_LOOKED_UP_AT_ONCE = 500
"""SQLite takes no more than 999 parameters a statement in its older versions."""
_MOST_BYTES = 2**31
"""A file larger than this is begun anew."""


def fingerprint(parameters: Mapping[str, ArrayLike], *texts: str) -> str:
    """A key for what an encoder computes: SHA-256 over its parameters' names, shapes and bytes, and over `texts`."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        array = np.ascontiguousarray(np.asarray(parameters[name]))
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
        self._encoder, self._block = (encoder if block is None else f"{encoder}/blocks{block}"), block
        self._path = (folder or default_cache_folder()) / _FILE
        self._usable = True

    def get(self, texts: Sequence[str]) -> dict[str, Float[np.ndarray, "d"]]:
        """The vectors that are kept, by text."""
        found: dict[str, np.ndarray] = {}
        keys = {_key(text): text for text in texts}
        with self._connection() as connection:
            if connection is None:
                return found
            wanted = list(keys)
            for start in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
                part = wanted[start : start + _LOOKED_UP_AT_ONCE]
                rows = connection.execute(
                    f"select text, vector from vectors where encoder = ? and text in ({','.join('?' * len(part))})",
                    [self._encoder, *part],
                )
                found |= {keys[key]: self._read(vector) for key, vector in rows}
        return found

    def put(self, vectors: Mapping[str, Float[np.ndarray, "d"]]) -> None:
        """Keep vectors, by text."""
        rows = [(self._encoder, _key(text), self._written(v)) for text, v in vectors.items()]
        with self._connection() as connection:
            if connection is not None:
                connection.executemany("insert or replace into vectors values (?, ?, ?)", rows)

    def rounded(self, vector: Float[np.ndarray, "d"]) -> Float[np.ndarray, "d"]:
        """A vector as it will be read, so that it is the same in the process that computed it."""
        return self._read(self._written(vector))

    def _written(self, vector: Float[np.ndarray, "d"]) -> bytes:
        """float32, or the length, codes and scales of its blocks."""
        if self._block is None:
            return np.asarray(vector, "<f4").tobytes()
        encoded = encode_vectors(vector[None], self._block)
        codes, scale = np.asarray(encoded.codes), np.asarray(encoded.scale, "<f4")
        return np.uint32(vector.size).astype("<u4").tobytes() + codes.tobytes() + scale.tobytes()

    def _read(self, blob: bytes) -> Float[np.ndarray, "d"]:
        if self._block is None:
            return np.frombuffer(blob, "<f4")
        (size,) = np.frombuffer(blob[:4], "<u4").tolist()
        blocks = -(-size // self._block)
        codes = np.frombuffer(blob[4 : 4 + blocks * self._block], np.int8).reshape(blocks, self._block)
        scale = np.frombuffer(blob[4 + blocks * self._block :], "<f4")
        return saved_vectors({"codes": codes, "scale": scale}, 1, size)[0][0]

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
