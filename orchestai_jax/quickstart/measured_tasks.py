"""The tasks on sample files that workers are measured on: every capable worker gets the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Arguments = Mapping[str, Any]

CHOICES: Mapping[str, tuple[Arguments, ...]] = {
    "summarize_text": (
        {"text": "article.txt", "sentences": 3},
        {"text": "science.txt", "sentences": 3},
        {"text": "recipe.txt", "sentences": 2},
    ),
    "extract_keywords": ({"text": "article.txt"}, {"text": "science.txt"}, {"text": "recipe.txt"}),
    "detect_language": (
        {"text": "letter.de.txt"},
        {"text": "letter.fr.txt"},
        {"text": "ticket.es.txt"},
        {"text": "postcard.pl.txt"},
    ),
    "aggregate_table": (
        {"table": "sales.csv", "group_by": "region", "column": "total"},
        {"table": "orders_large.csv", "group_by": "product", "column": "total", "function": "mean"},
    ),
    "join_tables": (
        {"left": "sales.csv", "right": "customers.csv"},
        {"left": "orders_large.csv", "right": "customers.csv"},
    ),
    "describe_table": ({"table": "weather.tsv"}, {"table": "orders_large.csv"}),
    "resize_image": (
        {"image": "landscape.jpg", "width": 400},
        {"image": "photo.png", "width": 320},
        {"image": "logo.png", "width": 150},
    ),
    "compress_image": ({"image": "photo.png"}, {"image": "flowers.png"}, {"image": "logo.png"}),
    "blur_image": ({"image": "photo.png", "radius": 4}, {"image": "flowers.png", "radius": 8}),
    "denoise_image": ({"image": "photo_noisy.png"}, {"image": "flowers_noisy.png"}),
    "extract_palette": ({"image": "photo.png"}, {"image": "flowers.png"}),
    "resample_audio": (
        {"audio": "bells.wav", "rate": 16000},
        {"audio": "music.wav", "rate": 22050},
        {"audio": "voice.wav", "rate": 16000},
    ),
    "denoise_audio": ({"audio": "voice_noisy.wav"},),
}
"""Task types that several workers can do."""

SINGLES: Mapping[str, tuple[Arguments, ...]] = {
    "text_statistics": ({"text": "article.txt"},),
    "word_frequencies": ({"text": "article.txt"},),
    "extract_contacts": ({"text": "contacts.txt"},),
    "redact_text": ({"text": "contacts.txt"},),
    "replace_text": ({"text": "article.txt", "find": "train", "replacement": "coach"},),
    "markdown_to_html": ({"text": "notes.md"},),
    "compare_texts": ({"first": "notes.md", "second": "notes_v2.md"},),
    "build_report": ({"text": "article.txt", "table": "customers.csv", "image": "logo.png"},),
    "filter_table": ({"table": "sales.csv", "column": "region", "operator": "==", "value": "North"},),
    "sort_table": ({"table": "sales.csv", "column": "total", "descending": True},),
    "select_columns": ({"table": "sales.csv", "columns": "date, total"},),
    "plot_table": ({"table": "weather.tsv", "x": "date", "y": "temperature", "kind": "line"},),
    "convert_table": ({"table": "sales.csv", "format": "parquet"},),
    "deduplicate_table": ({"table": "sales.csv"},),
    "convert_image": ({"image": "photo.png", "format": "webp"},),
    "grayscale_image": ({"image": "photo.png"},),
    "sharpen_image": ({"image": "photo.png"},),
    "crop_image": ({"image": "photo.png"},),
    "rotate_image": ({"image": "photo.png", "degrees": 90},),
    "watermark_image": ({"image": "photo.png", "label": "Draft"},),
    "combine_images": ({"first": "photo.png", "second": "flowers.png"},),
    "image_metadata": ({"image": "landscape.jpg"},),
    "image_histogram": ({"image": "photo.png"},),
    "audio_info": ({"audio": "music.wav"},),
    "trim_audio": ({"audio": "music.wav", "start": 1, "end": 3},),
    "normalize_audio": ({"audio": "voice.wav"},),
    "mix_audio": ({"first": "voice.wav", "second": "music.wav"},),
    "concatenate_audio": ({"first": "bells.wav", "second": "music.wav"},),
    "spectrogram": ({"audio": "bells.wav"},),
    "plot_waveform": ({"audio": "voice.wav"},),
    "zip_files": ({"first": "article.txt", "second": "sales.csv"},),
    "checksum_file": ({"file": "landscape.jpg"},),
}
"""Task types that one worker does: measured for their time alone."""

MEASURED_TASKS: Mapping[str, tuple[Arguments, ...]] = {**CHOICES, **SINGLES}
