"""Workers that another process can import."""

import dataclasses
import os
import time

from orchestai_jax.workers import Output, WorkerError
from orchestai_jax.workflow import WorkerSpec


@dataclasses.dataclass(frozen=True)
class Busy:
    """Does in another process what its first argument says."""

    spec: WorkerSpec

    async def run(self, task_type, arguments, context):
        if context.on_chunk is not None:
            raise WorkerError("a listener does not come along")
        match arguments.get("label"):
            case "busy":
                raise WorkerError("busy", retryable=True, retry_after_s=3.0)
            case "crash":
                raise KeyError("x")
            case "die":
                os._exit(3)
            case "hang":
                time.sleep(1000)
            case "unsendable":
                return Output(values={"value": lambda: None})
        return Output(values={"value": os.getpid()}, cost=0.5, tokens=3)
