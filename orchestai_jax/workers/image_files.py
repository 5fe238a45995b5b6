"""Reading and writing pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestai_jax.workers.worker import WorkerError

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded or made: 50 megapixels (a small file may unpack to gigabytes)."""

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are read; those that start other programs or run code (EPS, PDF) are not among them."""

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tiff"}

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 1},  # an intermediate file: level 6 takes 5 times as long for a tenth of the size
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 2},
    "TIFF": {"compression": "tiff_lzw"},
}


def open_image(path: Path) -> Image.Image:
    """Open a picture without decoding it.

    Raises:
        WorkerError: not a picture of a known format, or too many pixels.
    """
    try:
        image = Image.open(path, formats=READABLE)
    except UnidentifiedImageError as error:
        raise WorkerError(f"{path.name!r} is not a readable picture ({', '.join(READABLE)} are read)") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkerError(f"{path.name!r} is not readable as a picture: {error}") from error
    check_size(*image.size, what=repr(path.name))
    return image


def read_image(path: Path) -> Image.Image:
    """Read a picture (the first frame) as L, RGB or RGBA, turned upright as its EXIF orientation says.

    Raises:
        WorkerError: not a whole, readable picture, or too many pixels.
    """
    image = open_image(path)
    try:
        with image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise WorkerError(f"{path.name!r} is damaged: {error}") from error
    if upright.mode in ("L", "RGB", "RGBA"):
        return upright
    if upright.mode.startswith("I") or upright.mode == "F":  # 16 and 32 bits a pixel: clipping would make it white
        pixels = np.asarray(upright, dtype=np.float64)
        top = 65535.0 if pixels.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(pixels * (255.0 / top), 0, 255).astype(np.uint8))
    transparent = "transparency" in upright.info or upright.mode in ("LA", "PA", "La", "RGBa")
    return upright.convert("RGBA" if transparent else "L" if upright.mode == "1" else "RGB")


def format_of(path: Path) -> str:
    """The format to save a changed picture in: the source's, PNG where that cannot hold full colour."""
    with open_image(path) as image:
        form = image.format or "PNG"
    return form if form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF") else "PNG"


def save_image(image: Image.Image, path: Path, form: str, **options: Any) -> None:
    """Save a picture; transparency is laid on white where the format has none. No metadata is carried over."""
    if form in ("JPEG", "BMP") and image.mode == "RGBA":
        image = on_white(image)
    image.info = {}
    image.save(path, form, **{**SAVE_OPTIONS.get(form, {}), **options})


def on_white(image: Image.Image) -> Image.Image:
    """A picture without transparency, on white ground."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def to_array(image: Image.Image) -> np.ndarray:
    """Pixels as float64 in 0 to 255, [height, width, channels]."""
    pixels = np.asarray(image, dtype=np.float64)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def from_array(pixels: np.ndarray) -> Image.Image:
    """A picture of pixels [height, width, channels] in 0 to 255, rounded and clipped."""
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(rounded[:, :, 0] if rounded.shape[2] == 1 else rounded)


def check_size(width: int, height: int, what: str = "the result") -> None:
    """Refuse pictures that are too large.

    Raises:
        WorkerError: more than 50 megapixels.
    """
    if width * height > MAX_PIXELS:
        raise WorkerError(
            f"{what} has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} megapixels are handled"
        )
