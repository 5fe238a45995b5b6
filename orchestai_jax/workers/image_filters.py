"""Three blurs, three denoisers and three palette finders, each by an algorithm of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.ndimage
from PIL import Image, ImageFilter

from orchestai_jax.workers.image_files import (
    SUFFIXES,
    format_of,
    from_array,
    on_white,
    read_image,
    save_image,
    to_array,
)
from orchestai_jax.workers.local_tool import ToolCall

PALETTE_PIXELS = 20_000
"""K-means looks at so many pixels of a picture, taken at even distances."""


def blur_image_box(call: ToolCall) -> dict[str, Any]:
    """One box filter of the variance of the wanted Gaussian: (w^2 - 1) / 12 = sigma^2 for the width w."""
    sigma = call.number("radius", 0, 500)
    radius = (math.sqrt(12 * sigma**2 + 1) - 1) / 2
    return _picture(call, lambda image: image.filter(ImageFilter.BoxBlur(radius)))


def blur_image_stacked(call: ToolCall) -> dict[str, Any]:
    """Gaussian approximated by three extended box filters (Gwosdek et al. 2011; Pillow's GaussianBlur)."""
    sigma = call.number("radius", 0, 500)
    return _picture(call, lambda image: image.filter(ImageFilter.GaussianBlur(sigma)))


def blur_image_gaussian(call: ToolCall) -> dict[str, Any]:
    """Sampled Gaussian, cut off at 4 standard deviations, convolved in single precision."""
    sigma = call.number("radius", 0, 500)
    return _array(call, lambda channel: scipy.ndimage.gaussian_filter(channel, sigma, mode="nearest", truncate=4))


def denoise_image_gaussian(call: ToolCall) -> dict[str, Any]:
    """Smoothing by a small Gaussian."""
    strength = call.number("strength", 0, 20)
    return _picture(call, lambda image: image.filter(ImageFilter.GaussianBlur(0.9 * strength)))


def denoise_image_median(call: ToolCall) -> dict[str, Any]:
    """Median of a square neighbourhood: 3 pixels wide up to strength 1.5, then 5, 7, ..."""
    size = 2 * max(1, round(call.number("strength", 0, 20))) + 1
    return _array(call, lambda channel: scipy.ndimage.median_filter(channel, size, mode="nearest"))


def denoise_image_tv(call: ToolCall) -> dict[str, Any]:
    """Total-variation denoising by the dual projection of Chambolle (2004); the noise level is estimated first."""
    strength = call.number("strength", 0, 20)
    return _array(call, lambda channel: _total_variation(channel, strength * 0.9 * noise_level(channel)))


def extract_palette_octree(call: ToolCall) -> dict[str, Any]:
    """Colours of Pillow's fast octree."""
    return _quantized(call, Image.Quantize.FASTOCTREE)


def extract_palette_median_cut(call: ToolCall) -> dict[str, Any]:
    """Colours by median cut (Heckbert 1982)."""
    return _quantized(call, Image.Quantize.MEDIANCUT)


def extract_palette_kmeans(call: ToolCall) -> dict[str, Any]:
    """Lloyd's k-means on pixels taken at even distances, started by farthest points, 25 rounds at most."""
    pixels = to_array(on_white(read_image(call.file("image"))).convert("RGB")).reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // PALETTE_PIXELS)]
    count = call.integer("colors", 1, 64)
    centres = [pixels.mean(axis=0)]
    distance = ((pixels - centres[0]) ** 2).sum(axis=1)
    centres = []
    for _ in range(count):
        farthest = int(distance.argmax())
        if centres and distance[farthest] == 0:  # fewer distinct colours than were asked for
            break
        centres.append(pixels[farthest])
        new = ((pixels - pixels[farthest]) ** 2).sum(axis=1)
        distance = new if len(centres) == 1 else np.minimum(distance, new)
    means = np.array(centres, dtype=np.float64)
    labels = np.full(len(pixels), -1)
    for _ in range(25):
        nearest = nearest_colors(pixels, means)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        counts = np.bincount(labels, minlength=len(means))
        sums = np.stack([np.bincount(labels, pixels[:, c], minlength=len(means)) for c in range(3)], axis=1)
        means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], means)
    counts = np.bincount(nearest_colors(pixels, means), minlength=len(means))
    return _palette(np.rint(means).astype(int), counts)


def nearest_colors(pixels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """For each pixel [n, 3] the position of the nearest colour [k, 3]: the one of the largest x.c - c.c / 2."""
    offsets = 0.5 * (colors**2).sum(axis=1)
    blocks = [pixels[i : i + 65_536] for i in range(0, len(pixels), 65_536)]
    return np.concatenate([(block @ colors.T - offsets).argmax(axis=1) for block in blocks])


def noise_level(channel: np.ndarray) -> float:
    """Standard deviation of the noise of a channel [height, width], by its Laplacian's median (Immerkaer 1996)."""
    if min(channel.shape) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=channel.dtype)
    response = np.abs(scipy.ndimage.convolve(channel, kernel))[1:-1, 1:-1]
    return float(np.median(response)) / (6 * 0.6745)  # the kernel's norm; a normal deviate's median magnitude


def _total_variation(image: np.ndarray, weight: float, rounds: int = 40) -> np.ndarray:
    """Minimiser u of weight * TV(u) + |u - image|^2 / 2 over pictures [height, width]."""
    if weight <= 0:
        return image
    px, py = np.zeros_like(image), np.zeros_like(image)
    u = image
    for _ in range(rounds):
        divergence = px + py
        divergence[:, 1:] -= px[:, :-1]
        divergence[1:, :] -= py[:-1, :]
        u = image + weight * divergence
        gx, gy = np.zeros_like(image), np.zeros_like(image)
        gx[:, :-1] = u[:, 1:] - u[:, :-1]
        gy[:-1, :] = u[1:, :] - u[:-1, :]
        step = 0.25 / weight
        norm = 1 + step * np.sqrt(gx * gx + gy * gy)
        px = (px + step * gx) / norm
        py = (py + step * gy) / norm
    return u


def _picture(call: ToolCall, change: Any) -> dict[str, Any]:
    path = call.file("image")
    image, form = change(read_image(path)), format_of(path)
    return {"image": call.write(SUFFIXES[form], lambda target: save_image(image, target, form))}


def _array(call: ToolCall, change: Any) -> dict[str, Any]:
    """Apply a function on float32 channels [height, width]."""

    def channels(image: Image.Image) -> Image.Image:
        pixels = to_array(image).astype(np.float32)
        return from_array(np.stack([change(pixels[:, :, c]) for c in range(pixels.shape[2])], axis=2))

    return _picture(call, channels)


def _quantized(call: ToolCall, method: Image.Quantize) -> dict[str, Any]:
    image = on_white(read_image(call.file("image"))).convert("RGB")
    count = call.integer("colors", 1, 64)
    quantized = image.quantize(count, method, dither=Image.Dither.NONE)
    flat = quantized.getpalette() or []
    counts = np.bincount(np.asarray(quantized).ravel(), minlength=count)
    used = np.array(flat, dtype=int).reshape(-1, 3)[: len(counts)]
    return _palette(used, counts[: len(used)])


def _palette(colors: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    total = int(counts.sum())
    order = sorted((i for i in range(len(colors)) if counts[i]), key=lambda i: (-int(counts[i]), tuple(colors[i])))
    palette = [
        {"color": "#{:02x}{:02x}{:02x}".format(*(int(c) for c in colors[i])), "share": round(int(counts[i]) / total, 4)}
        for i in order
    ]
    return {"palette": palette}
