"""Of a resumption: finished tasks whose files have gone meanwhile, which are done again."""

from __future__ import annotations

import logging
import pathlib
from typing import Any

from orchestai_jax.execution.journal import JournalState
from orchestai_jax.execution.preflight import FILE_TYPES, inside, looks_like_text_file
from orchestai_jax.workflow import Attempt, TaskRun, TaskType

_log = logging.getLogger(__name__)


def forget_lost(state: JournalState) -> list[dict[str, Any]]:
    """Take the tasks whose files are gone out of what is finished; their last calls count as failed, for that reason.

    Returns:
        The entries that say so in the journal: a file that a later attempt leaves half written must not be taken for
        what was there.
    """
    header = state.header
    root, output_folder = pathlib.Path(header.root), pathlib.Path(header.output_folder)
    entries = []
    for task_id, run in state.finished.items():
        gone = lost_files(run, header.catalog.task_type(run.task_type), root, output_folder)
        if not gone:
            continue
        names = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
        _log.warning("run %s: task %s is done again, for what it made is gone: %s", header.run_id, task_id, names)
        attempt: Attempt = run.calls[-1].model_copy(update={"error": f"what it made is gone: {names}"})
        state.call_failed(task_id, attempt)
        entries.append({"called": {"task": task_id, "attempt": attempt.__dict__}})
    return entries


def lost_files(run: TaskRun, task_type: TaskType, root: pathlib.Path, output_folder: pathlib.Path) -> list[str]:
    """The outputs of a task that name files which are not there: paths, and texts that are files of this run."""
    types = {port.name: port.type for port in task_type.outputs}
    gone = []
    for name, value in run.outputs.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(text, str):
                continue
            path = inside(root, text)
            own = looks_like_text_file(text) and path is not None and path.is_relative_to(output_folder)
            if (own or types.get(name) in FILE_TYPES) and (path is None or not path.exists()):
                gone.append(text)
    return gone
