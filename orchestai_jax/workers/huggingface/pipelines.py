"""The only file of the package that touches torch and transformers: a folder with a model becomes a function.

Both are imported inside the functions, and only when a model is used. Weights are read from safetensors alone, and code
that comes with a model is never run.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.connections import HuggingFaceConnection

Pipeline = Callable[..., Any]

WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.spm")
"""What is downloaded of a repository: neither pickled weights nor Python."""

LONG_SECONDS = 30.0
"""Recordings longer than this are transcribed piece by piece."""


def missing_library() -> str | None:
    """The first library that is wanted and not installed; None where all are."""
    return next((name for name in ("transformers", "torch", "PIL") if importlib.util.find_spec(name) is None), None)


def model_folder(connection: HuggingFaceConnection) -> pathlib.Path:
    """The folder with the model's files; those of a repository are downloaded where they are not in the cache.

    Raises:
        WorkerError: there is no such folder or repository, or it may not be downloaded.
    """
    folder = pathlib.Path(connection.model)
    if folder.is_dir():
        return folder
    if connection.model.startswith((".", "/", "~")) or connection.model.count("/") > 1:
        raise WorkerError(f"there is no folder {connection.model!r} with a model")
    import huggingface_hub

    try:
        path = huggingface_hub.snapshot_download(
            connection.model,
            revision=connection.revision,
            local_files_only=not connection.download,
            allow_patterns=list(WANTED_FILES),
        )
    except Exception as error:  # the library's transport, and with it the class of its errors, differs by version
        where = "the local cache" if not connection.download else "the Hugging Face Hub"
        line = " ".join(str(error).split())[:200]
        raise WorkerError(f"the model {connection.model} is not to be had from {where}: {line}") from error
    return pathlib.Path(path)


def load_pipeline(connection: HuggingFaceConnection) -> Pipeline:
    """The model, ready to be called.

    Raises:
        WorkerError: a library or the model is missing, or the model is none for this pipeline.
    """
    missing = missing_library()
    if missing is not None:
        remedy = 'pip install "orchestai-jax[huggingface]"'
        raise WorkerError(f"{connection.model} needs the library {missing!r}; install it with {remedy}")
    folder = model_folder(connection)
    if not list(folder.glob("*.safetensors")):
        raise WorkerError(f"{connection.model} has no safetensors; weights in other formats are not read")
    import transformers

    try:
        return transformers.pipeline(
            connection.task,
            model=str(folder),
            device=connection.device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # what a torn file or a foreign config may raise has no common class
        line = " ".join(str(error).split())[:250]
        raise WorkerError(f"{connection.model} cannot be loaded as {connection.task}: {line}") from error


def cores_in_use() -> int:
    """Threads that torch computes with."""
    import torch

    return torch.get_num_threads()


def classify(pipeline: Pipeline, image: Any, top_k: int) -> list[dict[str, Any]]:
    """Label and score of the likeliest classes, the likeliest first."""
    found = pipeline(image, top_k=top_k)
    return [{"label": str(entry["label"]), "score": round(float(entry["score"]), 6)} for entry in found]


def detect(pipeline: Pipeline, image: Any, threshold: float) -> list[dict[str, Any]]:
    """Label, score and box of each object, the surest first."""
    objects = [
        {
            "label": str(entry["label"]),
            "score": round(float(entry["score"]), 6),
            "box": {side: int(value) for side, value in entry["box"].items()},
        }
        for entry in pipeline(image, threshold=threshold)
    ]
    return sorted(objects, key=lambda entry: -entry["score"])


def tell(pipeline: Pipeline, image: Any, question: str, max_new_tokens: int) -> str:
    """What a model says about a picture, asked or by itself."""
    if getattr(getattr(pipeline, "processor", None), "chat_template", None):
        parts = [{"type": "image", "image": image}, {"type": "text", "text": question or "Describe the picture."}]
        prompt: dict[str, Any] = {"text": [{"role": "user", "content": parts}]}
    else:
        prompt = {"images": image, "text": question}
    found = pipeline(**prompt, max_new_tokens=max_new_tokens, return_full_text=False)
    return str(found[0]["generated_text"]).strip()


def transcribe(pipeline: Pipeline, samples: Any, rate: int, max_new_tokens: int, language: str = "") -> str:
    """The words in samples [frames] in -1 to 1.

    The language is told to models that know several (Whisper); a model of one language writes down what it hears.
    """
    options: dict[str, Any] = {}
    kind = getattr(pipeline, "type", "")
    long = len(samples) > LONG_SECONDS * rate
    if kind in ("seq2seq", "seq2seq_whisper"):
        # a limit for the whole would cut a long recording off, which Whisper hears in windows of its own
        generating: dict[str, Any] = {} if long else {"max_new_tokens": max_new_tokens}
        if language and kind == "seq2seq_whisper":
            generating["language"] = language
        options["generate_kwargs"] = generating
        options |= {"return_timestamps": True} if long else {}
    elif long:
        options["chunk_length_s"] = LONG_SECONDS
    found = pipeline({"raw": samples, "sampling_rate": rate}, **options)
    return str(found["text"]).strip()


def rate_of(pipeline: Pipeline) -> int:
    """Samples a second that a speech recognition wants."""
    return int(pipeline.feature_extractor.sampling_rate)  # pyright: ignore[reportFunctionMemberAccess]


def speak(pipeline: Pipeline, text: str) -> tuple[Any, int]:
    """Samples [frames] of a spoken text, and their rate."""
    import numpy as np

    found = pipeline(text)
    return np.asarray(found["audio"], dtype=np.float64).reshape(-1), int(found["sampling_rate"])
