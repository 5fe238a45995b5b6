"""Models of the Hugging Face Hub, by task, likes, licence and size."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import huggingface_hub

from orchestai_jax.config import redact
from orchestai_jax.workers.discovery.found import UNMEASURED_QUALITY, Found, worker_id
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.catalog import WorkerLimits, WorkerSpec
from orchestai_jax.workflow.connections import HuggingFaceConnection, HuggingFaceTask

TAGS: dict[HuggingFaceTask, tuple[str, ...]] = {
    "image-classification": ("image-classification",),
    "object-detection": ("object-detection",),
    "image-text-to-text": ("image-text-to-text", "image-to-text"),
    "automatic-speech-recognition": ("automatic-speech-recognition",),
    "text-to-audio": ("text-to-speech", "text-to-audio"),
}
"""Pipeline → what the Hub calls its models."""

TASK_TYPES: dict[HuggingFaceTask, tuple[str, ...]] = {
    "image-classification": ("classify_image",),
    "object-detection": ("detect_objects",),
    "image-text-to-text": ("describe_image", "caption_image"),
    "automatic-speech-recognition": ("transcribe_audio",),
    "text-to-audio": ("speak_text",),
}
"""Pipeline → task types of the bundled catalog `model_tasks` that its models do."""

MOST_LOOKED_AT = 1000
"""Models of a tag that are looked at before the search ends."""

_EXPAND: Any = ["likes", "safetensors", "tags", "pipeline_tag", "sha", "gated", "library_name"]


@dataclasses.dataclass(frozen=True)
class HubQuery:
    """What to look for.

    Attributes:
        task: the pipeline.
        search: words in the model's name, empty for any.
        min_likes: fewest likes.
        licences: allowed licences as the Hub writes them (`apache-2.0`), empty for any.
        max_parameters: most parameters; with it, models that do not say their size are passed over.
        limit: most models, those with the most likes first.
    """

    task: HuggingFaceTask
    search: str = ""
    min_likes: int = 0
    licences: tuple[str, ...] = ()
    max_parameters: int | None = None
    limit: int = 5

    def __post_init__(self) -> None:
        if self.task not in TAGS:
            raise ValueError(f"task is {self.task!r}; it must be one of {', '.join(TAGS)}")
        if self.limit < 1 or self.min_likes < 0 or (self.max_parameters is not None and self.max_parameters < 1):
            raise ValueError("limit and max_parameters must be at least 1, min_likes at least 0")


def find_on_hub(query: HubQuery, endpoint: str | None = None) -> Found:
    """The models that fit, as workers that are pinned to the commit that was found.

    Args:
        query: what to look for. Gated models, and those that transformers does not load from safetensors, are left out.
        endpoint: the Hub, or one that speaks like it; `HF_ENDPOINT` or the public one where not given. The token is
            that of `HF_TOKEN`.

    Raises:
        WorkerError: the Hub cannot be reached or refuses.
    """
    api = huggingface_hub.HfApi(endpoint=endpoint, library_name="orchestai-jax")
    models: dict[str, Any] = {}
    passed_over: list[tuple[str, str]] = []
    try:
        for tag in TAGS[query.task]:
            for model in itertools.islice(_sorted_by_likes(api, query, tag), MOST_LOOKED_AT):
                if (model.likes or 0) < query.min_likes:
                    break
                reason = _against(model, query)
                if reason is None:
                    models.setdefault(model.id, model)
                else:
                    passed_over.append((model.id, reason))
                if sum(tag == m.pipeline_tag for m in models.values()) >= query.limit:
                    break
    except Exception as error:  # the library's transport, and with it the class of its errors, differs by version
        line = redact(" ".join(str(error).split()))[:250]
        raise WorkerError(f"the Hub at {api.endpoint} cannot be searched: {line}", retryable=True) from error
    best = sorted(models.values(), key=lambda m: (-(m.likes or 0), m.id))[: query.limit]
    return Found(tuple(_worker(model, query) for model in best), passed_over=tuple(passed_over))


def _sorted_by_likes(api: huggingface_hub.HfApi, query: HubQuery, tag: str) -> Iterator[Any]:
    """Pages are fetched as they are needed."""
    filters = ["transformers", "safetensors"]
    if len(query.licences) == 1:
        filters.append(f"license:{query.licences[0]}")
    size = None if query.max_parameters is None else f"max:{query.max_parameters}"
    return iter(
        api.list_models(
            pipeline_tag=tag,
            search=query.search or None,
            filter=filters,
            gated=False,
            num_parameters=size,
            sort="likes",
            expand=_EXPAND,
        )
    )


def _against(model: Any, query: HubQuery) -> str | None:
    """Why a model does not fit; looked at here too, for not every Hub knows every filter."""
    tags = model.tags or []
    licence = _licence(model)
    if model.gated:
        return "gated"
    if (model.library_name or "transformers") != "transformers":
        return f"made for {model.library_name}"
    if "safetensors" not in tags and model.safetensors is None:
        return "has no safetensors"
    if "custom_code" in tags:
        return "runs code of its own"
    if query.licences and licence not in query.licences:
        return f"licence {licence}"
    if query.max_parameters is not None:
        size = _parameters(model)
        if size is None:
            return "does not say its size"
        if size > query.max_parameters:
            return f"{size} parameters"
    return None


def _worker(model: Any, query: HubQuery) -> WorkerSpec:
    size = _parameters(model)
    said = "size unknown" if size is None else f"{size / 1e6:.0f} million parameters"
    return WorkerSpec(
        id=worker_id("hf", model.id),
        model_type="huggingface",
        task_types=TASK_TYPES[query.task],
        description=f"{model.id}: {query.task}, {said}, licence {_licence(model)}, {model.likes or 0} likes.",
        quality=UNMEASURED_QUALITY,
        limits=WorkerLimits(max_concurrency=1),
        connection=HuggingFaceConnection(model=model.id, task=query.task, revision=model.sha),
    )


def _licence(model: Any) -> str:
    return next((tag.removeprefix("license:") for tag in model.tags or [] if tag.startswith("license:")), "unknown")


def _parameters(model: Any) -> int | None:
    return None if model.safetensors is None else model.safetensors.total
