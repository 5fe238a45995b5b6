"""A worker that does what it is told call by call, and the policies that it is tried under."""

import asyncio
import inspect

from orchestai_jax.workers import Output, WorkerError

NO_JITTER = {"first_delay_s": 1.0, "jitter_s": 0.0}


def retry(**fields):
    return {"default": {"retry": {**NO_JITTER, **fields}}}


class Scripted:
    """A worker that does what its script says, call by call: an error is raised, all else returned."""

    def __init__(self, *script):
        self.script, self.times, self.contexts = list(script), [], []

    async def __call__(self, task_type, arguments, context):
        self.times.append(asyncio.get_running_loop().time())
        self.contexts.append(context)
        step = self.script.pop(0) if self.script else Output(values={"value": 1})
        if inspect.isawaitable(step):
            step = await step
        if isinstance(step, BaseException):
            raise step
        return step

    @property
    def delays(self):
        return [round(b - a, 3) for a, b in zip(self.times, self.times[1:], strict=False)]


def busy(after=None):
    return WorkerError("busy", retryable=True, retry_after_s=after)
