"""The folder of a checkpoint while it is written."""

from __future__ import annotations

import asyncio
import os
import pathlib

import orbax.checkpoint as ocp

from orchestai_jax.checkpoint.manifest import NOTE, seal


class SealedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder, sealed just before the rename that makes the checkpoint visible."""

    async def finalize(self) -> None:
        """Write the manifest (of the step's folder; its items are renamed as they are), then rename."""
        final = pathlib.Path(self.get_final())
        if not final.name.isdigit():
            await super().finalize()
            return
        if self._checkpoint_metadata_store is not None:
            await asyncio.to_thread(self._checkpoint_metadata_store.wait_until_finished)
            self._checkpoint_metadata_store = None  # orbax would add the time of the commit, and so break the seal
        await asyncio.to_thread(seal, pathlib.Path(self.get()), int(final.name))
        await super().finalize()
        await asyncio.to_thread((final / NOTE).unlink, missing_ok=True)
        await asyncio.to_thread(_flush_folder, final.parent)


def _flush_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
