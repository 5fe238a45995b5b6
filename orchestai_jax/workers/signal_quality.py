"""Quality measures of pictures and recordings; `quality.py` lists the formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal

from orchestai_jax.workers.audio_tools import read_audio
from orchestai_jax.workers.image_files import on_white, read_image, to_array
from orchestai_jax.workers.image_filters import nearest_colors
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.paths import resolve_inside

FILTER_ZEROS = 256
"""Zero crossings on each side of the reference resampling filter (the workers' have about 10)."""


def resize_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """PSNR to the picture whose cosine spectrum is cut or padded: band-limited with mirrored borders."""
    source, result = _colors(call.file("image")), _colors(resolve_inside(root, values["image"]))
    height, width = result.shape[:2]
    spectrum = np.asarray(scipy.fft.dctn(source, axes=(0, 1), norm="ortho"))
    ideal_spectrum = np.zeros(result.shape)
    h, w = min(height, source.shape[0]), min(width, source.shape[1])
    ideal_spectrum[:h, :w] = spectrum[:h, :w]
    scale = math.sqrt(height * width / (source.shape[0] * source.shape[1]))
    ideal = np.clip(np.asarray(scipy.fft.idctn(ideal_spectrum, axes=(0, 1), norm="ortho")) * scale, 0, 255)
    return _scaled(_psnr(ideal, result), 15, 45)


def compression_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """Geometric mean of fidelity and share of bytes saved."""
    source, result = call.file("image"), resolve_inside(root, values["image"])
    fidelity = min(1.0, max(0.0, _scaled(_psnr(_colors(source), _colors(result)), 20, 45)))
    saved = max(0.0, 1 - result.stat().st_size / source.stat().st_size)
    return math.sqrt(fidelity * saved)


def blur_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """PSNR to an exact Gaussian."""
    sigma = call.number("radius", 0, 500)
    exact = scipy.ndimage.gaussian_filter(_colors(call.file("image")), (sigma, sigma, 0), mode="nearest", truncate=6)
    return _scaled(_psnr(exact, _colors(resolve_inside(root, values["image"]))), 30, 60)


def image_denoising_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float | None:
    """Share of the noise power removed."""
    noisy = call.file("image")
    clean = clean_original(noisy)
    if clean is None:
        return None
    return _noise_removed(_colors(clean), _colors(noisy), _colors(resolve_inside(root, values["image"])))


def audio_denoising_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float | None:
    """Share of the noise power removed."""
    noisy = call.file("audio")
    clean = clean_original(noisy)
    if clean is None:
        return None
    paths = (clean, noisy, resolve_inside(root, values["audio"]))
    return _noise_removed(*(read_audio(path)[0] for path in paths))


def palette_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """1 - mean squared distance to the nearest palette colour / variance of the colours."""
    pixels = _colors(call.file("image")).reshape(-1, 3)
    colors = np.array([[int(entry["color"][i : i + 2], 16) for i in (1, 3, 5)] for entry in values["palette"]], float)
    error = ((pixels - colors[nearest_colors(pixels, colors)]) ** 2).sum(axis=1).mean()
    variance = ((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).mean()
    return 1 - error / variance if variance else 1.0


def resampling_quality(call: ToolCall, values: Mapping[str, Any], root: Path) -> float:
    """Signal-to-noise ratio to a long windowed-sinc filter's result."""
    samples, rate = read_audio(call.file("audio"))
    result, wanted = read_audio(resolve_inside(root, values["audio"]))
    divisor = math.gcd(rate, wanted)
    up, down = wanted // divisor, rate // divisor
    zeros = max(16, min(FILTER_ZEROS, 4_000_000 // max(up, down)))
    length = 2 * zeros * max(up, down) + 1
    at = np.arange(length) - zeros * max(up, down)
    taps = np.sinc(at / max(up, down)) * np.kaiser(length, 12.0)
    taps /= taps.sum()
    ideal = samples if up == down else scipy.signal.resample_poly(samples, up, down, axis=0, window=taps)
    frames = min(len(ideal), len(result))
    noise = float(((ideal[:frames] - result[:frames]) ** 2).sum()) + float((ideal[frames:] ** 2).sum())
    signal = float((ideal**2).sum())
    if noise == 0 or signal == 0:
        return float(noise == 0)
    return _scaled(10 * math.log10(signal / noise), 0, 80)


def clean_original(noisy: Path) -> Path | None:
    """The file `X.ext` beside `X_noisy.ext`, None where there is none."""
    clean = noisy.with_name(noisy.stem.removesuffix("_noisy") + noisy.suffix)
    return clean if clean != noisy and clean.is_file() else None


def _colors(path: Path) -> np.ndarray:
    """Pixels as float64 [height, width, 3] on white ground."""
    return to_array(on_white(read_image(path)).convert("RGB"))


def _noise_removed(clean: np.ndarray, noisy: np.ndarray, result: np.ndarray) -> float:
    if clean.shape != noisy.shape or clean.shape != result.shape:
        return 0.0
    before = float(((noisy - clean) ** 2).sum())
    return 1 - float(((result - clean) ** 2).sum()) / before if before else 0.0


def _psnr(ideal: np.ndarray, result: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB; pictures of different sizes have none (0)."""
    if ideal.shape != result.shape:
        return 0.0
    error = float(((ideal - result) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _scaled(value: float, low: float, high: float) -> float:
    return min(1.0, (value - low) / (high - low))
