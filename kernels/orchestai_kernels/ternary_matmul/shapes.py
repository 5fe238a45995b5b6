"""Named shapes that are measured, tuned and lowered: (tokens, rows, columns)."""

from __future__ import annotations

LAYERS: dict[str, tuple[int, int]] = {
    "large_up": (4096, 1536),
    "large_down": (1536, 4096),
    "2b_down": (2560, 6912),
    "2b_up": (6912, 2560),
}
"""(rows, columns) of BitNet-b1.58-large's (0.7 B) and BitNet-b1.58-2B-4T's feed-forward matrices."""

SHAPES: dict[str, tuple[int, int, int]] = {
    f"{name}_{tokens}": (tokens, *matrix) for name, matrix in LAYERS.items() for tokens in (1, 128)
}
"""Each matrix with one token (decoding) and with 128 (a prompt)."""
