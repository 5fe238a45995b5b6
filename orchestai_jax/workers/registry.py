"""Which local tools there are: one worker for each function of the tool modules."""

from __future__ import annotations

from orchestai_jax.workers.local_tool import LocalTool
from orchestai_jax.workers.worker import Worker
from orchestai_jax.workflow.catalog import Catalog, WorkerSpec

TOOLS: dict[str, dict[str, tuple[str, ...]]] = {
    "summarization": {"summarize_text": ("lead", "centroid", "textrank")},
    "keywords": {"extract_keywords": ("frequency", "cvalue", "textrank")},
    "language_detection": {"detect_language": ("stopwords", "trigrams")},
    "text_tools": {
        "text_statistics": ("counter",),
        "word_frequencies": ("counter",),
        "extract_contacts": ("patterns",),
        "redact_text": ("patterns",),
        "replace_text": ("literal",),
        "compare_texts": ("difflib",),
    },
    "documents": {"markdown_to_html": ("blocks",), "build_report": ("html",)},
    "table_tools": {
        "filter_table": ("polars",),
        "sort_table": ("polars",),
        "select_columns": ("polars",),
        "convert_table": ("polars",),
        "deduplicate_table": ("polars",),
    },
    "table_polars": {"aggregate_table": ("polars",), "join_tables": ("polars",), "describe_table": ("polars",)},
    "table_sqlite": {"aggregate_table": ("sqlite",), "join_tables": ("sqlite",), "describe_table": ("sqlite",)},
    "table_python": {"aggregate_table": ("python",), "join_tables": ("python",), "describe_table": ("python",)},
    "charts": {
        "plot_table": ("matplotlib",),
        "image_histogram": ("matplotlib",),
        "spectrogram": ("matplotlib",),
        "plot_waveform": ("matplotlib",),
    },
    "image_tools": {
        "resize_image": ("nearest", "bilinear", "lanczos"),
        "compress_image": ("jpeg", "webp", "palette"),
        "convert_image": ("pillow",),
        "grayscale_image": ("pillow",),
        "sharpen_image": ("unsharp",),
        "crop_image": ("pillow",),
        "rotate_image": ("pillow",),
        "watermark_image": ("pillow",),
        "combine_images": ("pillow",),
        "image_metadata": ("pillow",),
    },
    "image_filters": {
        "blur_image": ("box", "stacked", "gaussian"),
        "denoise_image": ("gaussian", "median", "tv"),
        "extract_palette": ("octree", "median_cut", "kmeans"),
    },
    "audio_tools": {
        "audio_info": ("soundfile",),
        "trim_audio": ("soundfile",),
        "normalize_audio": ("peak",),
        "resample_audio": ("linear", "polyphase", "fourier"),
        "mix_audio": ("sum",),
        "concatenate_audio": ("append",),
        "denoise_audio": ("lowpass", "spectral"),
    },
    "file_tools": {"zip_files": ("deflate",), "checksum_file": ("hashlib",)},
}
"""Module → task type → variants. The function and the worker are called `<task type>_<variant>`.

These are the tools of the quickstart's catalog, whose figures are measured."""

EXTENDED_TOOLS: dict[str, dict[str, tuple[str, ...]]] = {
    "text_patterns": {"extract_matches": ("regex",), "html_to_text": ("parser",)},
    "table_tools": {"table_to_markdown": ("pipes",)},
    "file_tools": {
        "read_file": ("text",),
        "write_file": ("text",),
        "list_archive": ("zip",),
        "unpack_file": ("zip",),
    },
    "web_tools": {"fetch_url": ("http",)},
}
"""The same for the tools of the extended catalog (`extended_catalog.yaml`)."""


def local_workers(catalog: Catalog | None = None) -> dict[str, Worker]:
    """Every local tool by its worker id.

    With a catalog the specs (declared cost, latency, quality) are the catalog's and only the tools it lists are given;
    without one the specs say only what a tool can do.
    """
    listed = None if catalog is None else {worker.id: worker for worker in catalog.workers}
    workers: dict[str, Worker] = {}
    for module, task_types in (*TOOLS.items(), *EXTENDED_TOOLS.items()):
        for task_type, variants in task_types.items():
            for variant in variants:
                name = f"{task_type}_{variant}"
                if listed is not None and name not in listed:
                    continue
                spec = WorkerSpec(id=name, task_types=(task_type,)) if listed is None else listed[name]
                workers[name] = LocalTool(spec, module, name, reserves_pool=variant == "polars")
    return workers
