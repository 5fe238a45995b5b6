"""Several processes that train one model together, started from the environment."""

from __future__ import annotations

import os

import jax
import numpy as np
from jax.experimental import multihost_utils

from orchestai_jax.training.errors import TrainingError

COORDINATOR, COUNT, INDEX = "ORCHESTAI_COORDINATOR", "ORCHESTAI_NUM_PROCESSES", "ORCHESTAI_PROCESS_ID"
"""`host:port` of process 0, how many processes there are, and which one this is. Under Slurm, Open MPI or Kubernetes
ORCHESTAI_COORDINATOR=auto lets JAX find all three."""


def join_processes() -> None:
    """Join the other processes, where the environment names them; before anything else of JAX.

    Raises TrainingError for variables that do not fit together.
    """
    address = os.environ.get(COORDINATOR)
    if not address:
        return
    if address == "auto":
        jax.distributed.initialize()
        return
    try:
        count, index = int(os.environ[COUNT]), int(os.environ[INDEX])
    except (KeyError, ValueError):
        raise TrainingError(f"{COORDINATOR} is set; {COUNT} and {INDEX} must be whole numbers beside it") from None
    if not 0 <= index < count:
        raise TrainingError(f"{INDEX} is {index}; it must be from 0 to {COUNT} - 1 = {count - 1}")
    jax.distributed.initialize(coordinator_address=address, num_processes=count, process_id=index)


def is_lead() -> bool:
    """Whether this is the process that writes files and talks."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def any_of_all(flag: bool) -> bool:
    """Whether a flag is set in any process; every process must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))
