"""Vision and audio models that transformers runs in this process. Used workers need the extra `huggingface`."""

from orchestai_jax.workers.huggingface.worker import HuggingFaceWorker

__all__ = [
    "HuggingFaceWorker",
]
