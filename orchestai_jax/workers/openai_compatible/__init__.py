"""Workers behind HTTP endpoints that speak OpenAI's protocol. Needs the extra `openai` once a worker is used."""

from orchestai_jax.workers.openai_compatible.chat import Reply
from orchestai_jax.workers.openai_compatible.worker import OpenAIWorker

__all__ = [
    "OpenAIWorker",
    "Reply",
]
