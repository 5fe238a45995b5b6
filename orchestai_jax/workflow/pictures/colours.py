"""Colours of data types: a light fill and a strong stroke that is visible on white and on dark."""

from __future__ import annotations

_OTHER = ("#eef1f5", "#76859a")

_COLOURS: dict[str, tuple[str, str]] = {
    "text": ("#e6effb", "#3f7fd0"),
    "image": ("#f2e9fb", "#9a5bd0"),
    "audio": ("#fdeedd", "#dd8222"),
    "table": ("#e4f5e9", "#2f9e5b"),
    "document": ("#e0f4f4", "#1f9a9a"),
    "video": ("#fde8ee", "#d84a78"),
    "file": ("#f3eee8", "#a07c58"),
    "json": ("#e9ebfa", "#5f6ad0"),
    "number": ("#fbf3d6", "#b8920f"),
}


def colours_of(data_type: str) -> tuple[str, str]:
    """(fill, stroke) of a data type, `#rrggbb`; grey for `any` and for types of the user's own."""
    return _COLOURS.get(data_type, _OTHER)
