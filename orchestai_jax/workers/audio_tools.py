"""Tools on recordings: information, cutting, levels, sample rates, mixing, noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.signal
import soundfile

from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.worker import WorkerError

MAX_SAMPLES = 200_000_000
"""Most samples of all channels that are read or made."""

MIN_RATE, MAX_RATE = 1000, 384_000


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    """Samples in -1 to 1 as float64 [frames, channels], and the rate in samples a second.

    Raises:
        WorkerError: not a readable recording, empty, too long, or with samples that are not finite.
    """
    try:
        info = soundfile.info(str(path))
        if info.frames * info.channels > MAX_SAMPLES:
            raise WorkerError(
                f"{path.name!r} has {info.frames * info.channels} samples; at most {MAX_SAMPLES} are read"
            )
        samples, rate = soundfile.read(str(path), dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise WorkerError(f"{path.name!r} is not a readable recording: {' '.join(str(error).split())}") from error
    if len(samples) == 0:
        raise WorkerError(f"{path.name!r} holds no samples")
    if not np.isfinite(samples).all():
        raise WorkerError(f"{path.name!r} holds samples that are not finite numbers")
    return samples, rate


def write_audio(call: ToolCall, samples: np.ndarray, rate: int) -> str:
    """Write samples [frames, channels] as 16-bit WAV, clipped to full scale; returns the relative path."""

    def write(path: Path) -> None:
        soundfile.write(str(path), np.clip(samples, -1, 32767 / 32768), rate, format="WAV", subtype="PCM_16")

    return call.write(".wav", write)


def audio_info_soundfile(call: ToolCall) -> dict[str, Any]:
    """Duration, rate, channels, peak and RMS level in dB below full scale."""
    path = call.file("audio")
    samples, rate = read_audio(path)
    return {
        "info": {
            "seconds": round(len(samples) / rate, 3),
            "rate": rate,
            "channels": samples.shape[1],
            "format": soundfile.info(str(path)).format,
            "peak_db": _decibel(float(np.abs(samples).max())),
            "rms_db": _decibel(math.sqrt(float(np.mean(samples**2)))),
        }
    }


def trim_audio_soundfile(call: ToolCall) -> dict[str, Any]:
    """The part from `start` to `end`; an end past the recording's is the recording's."""
    samples, rate = read_audio(call.file("audio"))
    seconds = len(samples) / rate
    start = call.number("start", 0, 1e6)
    end = call.number("end", 0, 1e6) if call.given("end") else seconds
    if start >= seconds:
        raise WorkerError(f"start {start:g} s is past the end of the recording ({seconds:.2f} s)")
    if end <= start:
        raise WorkerError(f"end {end:g} s is not after start {start:g} s")
    part = samples[round(start * rate) : max(round(end * rate), round(start * rate) + 1)].copy()
    fade = min(round(call.number("fade", 0, 3600) * rate), len(part) // 2)
    if fade:
        ramp = np.linspace(0, 1, fade, endpoint=False)[:, None]
        part[:fade] *= ramp
        part[-fade:] *= ramp[::-1]
    return {"audio": write_audio(call, part, rate)}


def normalize_audio_peak(call: ToolCall) -> dict[str, Any]:
    """The recording scaled so that its loudest sample reaches the peak level; silence stays silence."""
    samples, rate = read_audio(call.file("audio"))
    peak = np.abs(samples).max()
    level = 10 ** (call.number("peak_db", -60, 0) / 20)
    return {"audio": write_audio(call, samples * (level / peak if peak > 0 else 1.0), rate)}


def resample_audio_linear(call: ToolCall) -> dict[str, Any]:
    """Straight lines between the samples; nothing is filtered, so frequencies above half the new rate alias."""
    samples, rate, wanted = _to_resample(call)
    at = np.arange(_new_length(len(samples), rate, wanted)) * (rate / wanted)
    old = np.arange(len(samples))
    new = np.stack([np.interp(at, old, channel) for channel in samples.T], axis=1)
    return {"audio": write_audio(call, new, wanted)}


def resample_audio_polyphase(call: ToolCall) -> dict[str, Any]:
    """Polyphase filter bank with a Kaiser-windowed FIR filter (SciPy's resample_poly)."""
    samples, rate, wanted = _to_resample(call)
    return {"audio": write_audio(call, polyphase(samples, rate, wanted), wanted)}


def resample_audio_fourier(call: ToolCall) -> dict[str, Any]:
    """The spectrum of the whole recording is cut or padded; the recording is mirrored first, so that its ends do not
    run into each other.
    """
    samples, rate, wanted = _to_resample(call)
    length = _new_length(len(samples), rate, wanted)
    divisor = math.gcd(rate, wanted)
    period = rate // divisor
    padded_length = -(-2 * len(samples) // period) * period  # so that the new length is whole and the time scale exact
    mirrored = np.concatenate([samples, samples[::-1]])
    mirrored = np.pad(mirrored, ((0, padded_length - len(mirrored)), (0, 0)), mode="wrap")
    new = scipy.signal.resample(mirrored, padded_length // period * (wanted // divisor), axis=0)
    return {"audio": write_audio(call, np.asarray(new)[:length], wanted)}


def mix_audio_sum(call: ToolCall) -> dict[str, Any]:
    """Weighted sum, as long as the longer recording; scaled down where it would clip."""
    first, second, rate = _two(call)
    balance = call.number("balance", 0, 1)
    mix = np.zeros((max(len(first), len(second)), first.shape[1]))
    mix[: len(first)] += balance * first
    mix[: len(second)] += (1 - balance) * second
    mix *= 2 * max(balance, 1 - balance) if balance not in (0, 1) else 1.0
    peak = np.abs(mix).max()
    return {"audio": write_audio(call, mix / peak if peak > 1 else mix, rate)}


def concatenate_audio_append(call: ToolCall) -> dict[str, Any]:
    """The second recording after the first, with silence between them."""
    first, second, rate = _two(call)
    pause = np.zeros((round(call.number("pause", 0, 3600) * rate), first.shape[1]))
    return {"audio": write_audio(call, np.concatenate([first, pause, second]), rate)}


def denoise_audio_lowpass(call: ToolCall) -> dict[str, Any]:
    """Butterworth low-pass filter forth and back; the stronger, the lower its edge (4 kHz at strength 1)."""
    samples, rate = read_audio(call.file("audio"))
    strength = call.number("strength", 0, 10)
    edge = min(4000 / max(strength, 0.1), 0.45 * rate)
    sections = np.asarray(scipy.signal.butter(4, edge, fs=rate, output="sos"))
    pad = min(27, len(samples) - 1)  # what the filter would take by itself, less on shorter recordings
    return {"audio": write_audio(call, scipy.signal.sosfiltfilt(sections, samples, axis=0, padlen=pad), rate)}


def denoise_audio_spectral(call: ToolCall) -> dict[str, Any]:
    """Wiener gain on the short-time spectrum; each frequency's noise is the 20 % quantile of its power over time."""
    samples, rate = read_audio(call.file("audio"))
    strength = call.number("strength", 0, 10)
    size = min(1024, len(samples))
    if size < 16:
        raise WorkerError(f"the recording has {len(samples)} samples; at least 16 are needed")
    _, _, spectrum = scipy.signal.stft(samples.T, rate, nperseg=size, noverlap=size * 3 // 4)
    power = scipy.ndimage.uniform_filter1d(np.abs(spectrum) ** 2, 5, axis=2)
    # power of noise is exponentially distributed; smoothed over 5 frames its 20 % quantile is about half its mean
    noise = np.quantile(power, 0.2, axis=2, keepdims=True) * 2.0 * strength
    gain = np.maximum(1 - noise / np.maximum(power, 1e-20), 0.05)
    _, cleaned = scipy.signal.istft(spectrum * gain, rate, nperseg=size, noverlap=size * 3 // 4)
    new = np.zeros_like(samples)
    n = min(len(samples), cleaned.shape[1])
    new[:n] = cleaned.T[:n]
    return {"audio": write_audio(call, new, rate)}


def polyphase(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples [frames, channels] at another rate."""
    if rate == wanted:
        return samples
    divisor = math.gcd(rate, wanted)
    new = np.asarray(scipy.signal.resample_poly(samples, wanted // divisor, rate // divisor, axis=0))
    return new[: _new_length(len(samples), rate, wanted)]


def _to_resample(call: ToolCall) -> tuple[np.ndarray, int, int]:
    samples, rate = read_audio(call.file("audio"))
    wanted = call.integer("rate", MIN_RATE, MAX_RATE)
    if _new_length(len(samples), rate, wanted) * samples.shape[1] > MAX_SAMPLES:
        raise WorkerError(f"at {wanted} samples a second the recording has more than {MAX_SAMPLES} samples")
    return samples, rate, wanted


def _new_length(frames: int, rate: int, wanted: int) -> int:
    return max(1, -(-frames * wanted // rate))


def _two(call: ToolCall) -> tuple[np.ndarray, np.ndarray, int]:
    """Both recordings with the rate of the first and the larger number of channels."""
    (first, rate), (second, other) = read_audio(call.file("first")), read_audio(call.file("second"))
    second = polyphase(second, other, rate)
    channels = max(first.shape[1], second.shape[1])
    for samples in (first, second):
        if samples.shape[1] not in (1, channels):
            raise WorkerError(f"cannot mix {first.shape[1]} with {second.shape[1]} channels")
    first, second = (np.repeat(s, channels, axis=1) if s.shape[1] == 1 else s for s in (first, second))
    return first, second, rate


def _decibel(level: float) -> float:
    return round(20 * math.log10(max(level, 1e-6)), 2)
