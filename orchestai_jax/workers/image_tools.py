"""Tools on pictures: size, format, colour, orientation, watermark, metadata."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageDraw, ImageFilter, ImageFont

from orchestai_jax.workers.image_files import (
    SUFFIXES,
    check_size,
    format_of,
    on_white,
    open_image,
    read_image,
    save_image,
)
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.worker import WorkerError

MAX_SIDE = 20_000
"""Longest side in pixels of a resized picture."""


def resize_image_nearest(call: ToolCall) -> dict[str, Any]:
    """Each pixel is the source pixel nearest to it."""
    return _resize(call, Image.Resampling.NEAREST)


def resize_image_bilinear(call: ToolCall) -> dict[str, Any]:
    """Triangle filter, widened when the picture gets smaller."""
    return _resize(call, Image.Resampling.BILINEAR)


def resize_image_lanczos(call: ToolCall) -> dict[str, Any]:
    """Lanczos filter over three lobes, widened when the picture gets smaller."""
    return _resize(call, Image.Resampling.LANCZOS)


def compress_image_jpeg(call: ToolCall) -> dict[str, Any]:
    """JPEG with optimised Huffman tables."""
    image = on_white(read_image(call.file("image")))
    return _compress(call, ".jpg", lambda quality: _encode(image, "JPEG", quality=quality, optimize=True))


def compress_image_webp(call: ToolCall) -> dict[str, Any]:
    """Lossy WebP, slow search."""
    image = read_image(call.file("image"))
    return _compress(call, ".webp", lambda quality: _encode(image, "WEBP", quality=quality, method=5))


def compress_image_palette(call: ToolCall) -> dict[str, Any]:
    """PNG with a palette of 8 (quality 1) to 256 colours (quality 95)."""
    image = on_white(read_image(call.file("image"))).convert("RGB")

    def encode(quality: int) -> bytes:
        colors = round(8 + 248 * (quality - 1) / 94)
        palette = image.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        return _encode(palette, "PNG", compress_level=6)

    return _compress(call, ".png", encode)


def convert_image_pillow(call: ToolCall) -> dict[str, Any]:
    """The same picture in another format."""
    form = call.string("format").upper()
    image = read_image(call.file("image"))
    if form == "GIF":
        image = on_white(image).convert("RGB").quantize(256)
    return {"image": call.write(SUFFIXES[form], lambda path: save_image(image, path, form))}


def grayscale_image_pillow(call: ToolCall) -> dict[str, Any]:
    """Luma of ITU-R 601; transparency is laid on white."""
    path = call.file("image")
    return _save(call, path, on_white(read_image(path)).convert("L"))


def sharpen_image_unsharp(call: ToolCall) -> dict[str, Any]:
    """Unsharp mask of radius 2."""
    path = call.file("image")
    percent = round(120 * call.number("amount", 0, 10))
    return _save(call, path, read_image(path).filter(ImageFilter.UnsharpMask(radius=2, percent=percent, threshold=2)))


def crop_image_pillow(call: ToolCall) -> dict[str, Any]:
    """A rectangle of the picture."""
    path = call.file("image")
    image = read_image(path)
    width = call.arguments["width"] or call.arguments["height"] or min(image.size)
    height = call.arguments["height"] or width
    if width < 1 or height < 1 or width > image.width or height > image.height:
        raise WorkerError(
            f"width x height must be within 1 x 1 and {image.width} x {image.height}, not {width} x {height}"
        )
    left = call.arguments["left"] if call.given("left") else (image.width - width) // 2
    top = call.arguments["top"] if call.given("top") else (image.height - height) // 2
    if left < 0 or top < 0 or left + width > image.width or top + height > image.height:
        raise WorkerError(
            f"{width} x {height} at ({left}, {top}) leaves the picture of {image.width} x {image.height} pixels"
        )
    return _save(call, path, image.crop((left, top, left + width, top + height)))


def rotate_image_pillow(call: ToolCall) -> dict[str, Any]:
    """The picture turned clockwise; right angles are exact, others are interpolated on a larger canvas."""
    path = call.file("image")
    image = read_image(path)
    degrees = float(call.number("degrees", -36_000, 36_000)) % 360
    right = {90.0: Image.Transpose.ROTATE_270, 180.0: Image.Transpose.ROTATE_180, 270.0: Image.Transpose.ROTATE_90}
    if degrees in right:
        turned = image.transpose(right[degrees])
    else:
        ground = (255, 255, 255, 0) if image.mode == "RGBA" else "white"
        turned = image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=ground)
    return _save(call, path, turned)


def watermark_image_pillow(call: ToolCall) -> dict[str, Any]:
    """A half-transparent text, white on a dark shadow, in the lower right corner."""
    path, label = call.file("image"), call.string("label").strip()
    if not label:
        raise WorkerError("label is empty; give the text to write")
    image = read_image(path)
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    size = max(10.0, min(image.size) / 12)
    font = ImageFont.load_default(size)
    left, _, right, bottom = draw.textbbox((0, 0), label, font=font)
    if right - left > 0.9 * image.width:
        font = ImageFont.load_default(max(6.0, size * 0.9 * image.width / (right - left)))
        left, _, right, bottom = draw.textbbox((0, 0), label, font=font)
    x = image.width - right - image.width * 0.03
    y = image.height - bottom - image.height * 0.03
    draw.text((x + size / 20, y + size / 20), label, font=font, fill=(0, 0, 0, 140))
    draw.text((x, y), label, font=font, fill=(255, 255, 255, 170))
    return _save(call, path, Image.alpha_composite(image.convert("RGBA"), layer).convert(mode))


def combine_images_pillow(call: ToolCall) -> dict[str, Any]:
    """Both pictures side by side, the second scaled to the height of the first."""
    path = call.file("first")
    first, second = on_white(read_image(path)), on_white(read_image(call.file("second")))
    width = max(1, round(second.width * first.height / second.height))
    check_size(first.width + width, first.height)
    if second.size != (width, first.height):
        second = second.resize((width, first.height), Image.Resampling.LANCZOS)
    joined = Image.new("RGB", (first.width + width, first.height))
    joined.paste(first.convert("RGB"), (0, 0))
    joined.paste(second.convert("RGB"), (first.width, 0))
    return _save(call, path, joined)


def image_metadata_pillow(call: ToolCall) -> dict[str, Any]:
    """Size, format, mode, frames and the EXIF entries that are text or numbers."""
    path = call.file("image")
    with open_image(path) as image:
        exif = {}
        for tag, value in image.getexif().items():
            if isinstance(value, (str, int)) or (isinstance(value, float) and value == value):
                exif[ExifTags.TAGS.get(tag, str(tag))] = str(value)[:200] if isinstance(value, str) else value
        metadata = {
            "width": image.width,
            "height": image.height,
            "format": image.format,
            "mode": image.mode,
            "frames": getattr(image, "n_frames", 1),
            "bytes": path.stat().st_size,
            "exif": exif,
        }
    return {"metadata": metadata}


def _resize(call: ToolCall, resampling: Image.Resampling) -> dict[str, Any]:
    path = call.file("image")
    image = read_image(path)
    width, height = call.arguments["width"], call.arguments["height"]
    if width is None and height is None:
        scale = call.number("scale", 0.001, 100)
        width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    elif height is None:
        width = call.integer("width", 1, MAX_SIDE)
        height = max(1, round(image.height * width / image.width))
    elif width is None:
        height = call.integer("height", 1, MAX_SIDE)
        width = max(1, round(image.width * height / image.height))
    else:
        width, height = call.integer("width", 1, MAX_SIDE), call.integer("height", 1, MAX_SIDE)
    check_size(width, height)
    return _save(call, path, image.resize((width, height), resampling))


def _compress(call: ToolCall, suffix: str, encode: Any) -> dict[str, Any]:
    """Encode at the wanted quality; with a size limit, at the best quality below it that keeps the limit."""
    best = call.integer("quality", 1, 95)
    data = encode(best)
    if call.given("max_kilobytes"):
        limit = call.number("max_kilobytes", 0.1, 1_000_000) * 1000
        low, high = 1, best
        if len(data) > limit:
            smallest = encode(1)
            if len(smallest) > limit:
                raise WorkerError(
                    f"at the lowest quality it still has {len(smallest) / 1000:.1f} kB, over {limit / 1000:g} kB"
                )
            data = smallest
            while high - low > 1:  # data is always the best known that keeps the limit
                middle = (low + high) // 2
                tried = encode(middle)
                if len(tried) <= limit:
                    low, data = middle, tried
                else:
                    high = middle
    return {"image": call.write(suffix, lambda path: path.write_bytes(data))}


def _encode(image: Image.Image, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.info = {}
    image.save(data, form, **options)
    return data.getvalue()


def _save(call: ToolCall, source: Path, image: Image.Image) -> dict[str, Any]:
    form = format_of(source)
    return {"image": call.write(SUFFIXES[form], lambda path: save_image(image, path, form))}
