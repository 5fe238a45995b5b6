"""Something small for each pipeline to work on, for checks."""

from __future__ import annotations

import numpy as np
from PIL import Image

from orchestai_jax.workers.huggingface import pipelines


def try_out(pipeline: pipelines.Pipeline, task: str) -> None:
    """Run a pipeline on a grey picture, half a second of silence, or a word."""
    picture = Image.new("RGB", (64, 64), "grey")
    match task:
        case "image-classification":
            pipelines.classify(pipeline, picture, 1)
        case "object-detection":
            pipelines.detect(pipeline, picture, 0.9)
        case "image-text-to-text":
            pipelines.tell(pipeline, picture, "", 4)
        case "automatic-speech-recognition":
            rate = pipelines.rate_of(pipeline)
            pipelines.transcribe(pipeline, np.zeros(rate // 2, np.float32), rate, 4)
        case "text-to-audio":
            pipelines.speak(pipeline, "ok")
