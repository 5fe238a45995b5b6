"""Sample files that the embedded tools work on: pictures, recordings, tables and texts, all made from a seed."""

from __future__ import annotations

import csv
import datetime
import json
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestai_jax.quickstart.sample_texts import TEXT_FILES

SAMPLE_TYPES: dict[str, str] = {
    "photo.png": "image",
    "photo_noisy.png": "image",
    "flowers.png": "image",
    "flowers_noisy.png": "image",
    "landscape.jpg": "image",
    "logo.png": "image",
    "voice.wav": "audio",
    "voice_noisy.wav": "audio",
    "music.wav": "audio",
    "bells.wav": "audio",
    "sales.csv": "table",
    "customers.csv": "table",
    "orders_large.csv": "table",
    "weather.tsv": "table",
    "inventory.jsonl": "table",
    **{name: "text" for name in TEXT_FILES if ".keywords." not in name},
}
"""Sample file name → data type of the catalog. `X_noisy` is `X` with noise added: the measure of denoising."""


def write_sample_files(folder: Path, seed: int = 0) -> dict[str, str]:
    """Write every sample file into a folder (made where it is missing); returns file name → data type.

    Equal seeds give equal files; together they have about 6 MB.

    Raises:
        ModuleNotFoundError: Pillow is missing (extra `tools`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_images(folder, seed)
    _write_recordings(folder, seed)
    _write_tables(folder, seed)
    for name, text in TEXT_FILES.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return dict(SAMPLE_TYPES)


def _write_images(folder: Path, seed: int) -> None:
    from PIL import Image

    def save(name: str, pixels: np.ndarray, **options: Any) -> None:
        Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(folder / name, **options)

    photo = _landscape(640, 480, np.random.default_rng([seed, 1]))
    save("photo.png", photo)
    save("photo_noisy.png", photo + 18 * np.random.default_rng([seed, 2]).standard_normal(photo.shape))
    flowers = _flowers(480, 640, np.random.default_rng([seed, 3]))
    save("flowers.png", flowers)
    save("flowers_noisy.png", _specks(flowers, 0.06, np.random.default_rng([seed, 4])))
    save("landscape.jpg", _landscape(1600, 1200, np.random.default_rng([seed, 5])), quality=93)
    save("logo.png", _logo(400, 400))


def _landscape(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Sky with clouds and a sun, three ranges of hills, a meadow with grain, a house: pixels [height, width, 3]."""
    y = (np.arange(height, dtype=np.float32) / height)[:, None]
    x = (np.arange(width, dtype=np.float32) / height)[None, :]
    pixels = _color(96, 150, 214) + _color(120, 80, 22) * np.clip(y / 0.6, 0, 1)[..., None]
    clouds = np.clip(_fractal(width, height, rng) - 0.52, 0, 1) * 3.2 * np.clip(1 - y / 0.55, 0, 1)
    pixels = pixels + (250 - pixels) * np.clip(clouds, 0, 0.9)[..., None]
    pixels += _color(255, 240, 190) * (0.8 * np.exp(-((np.hypot(x - 1.0, y - 0.2) / 0.09) ** 2)))[..., None]
    shade = _fractal(width, height, rng)
    for level, color in ((0.45, (120, 140, 170)), (0.53, (84, 112, 110)), (0.62, (58, 92, 62))):
        hill = y >= level + 0.22 * (_fractal(width, 4, rng)[0] - 0.5)
        pixels[hill] = _color(*color) * (0.75 + 0.5 * shade[hill])[:, None]
        shade = np.roll(shade, (height // 3, width // 4), (0, 1))
    meadow = y > 0.74 + 0.02 * np.sin(9 * x)
    grain = rng.standard_normal((height, width), dtype=np.float32) * 9 * (0.4 + y)
    pixels[meadow] = _color(92, 138, 54) * (0.65 + 0.6 * shade[meadow])[:, None] + grain[meadow][:, None]
    wall = (x > 0.22) & (x < 0.42) & (y > 0.62) & (y < 0.79)
    roof = (y > 0.62 - 0.9 * (0.12 - np.abs(x - 0.32))) & (y < 0.62) & (np.abs(x - 0.32) < 0.12)
    boards, tiles = np.floor(y * 90) % 2 + 0 * x, np.floor(x * 140) % 2 + 0 * y
    pixels[wall] = _color(224, 208, 178) - 14 * boards[wall][:, None]
    pixels[roof] = _color(150, 62, 44) + 12 * tiles[roof][:, None]
    for left in (0.25, 0.35):
        pixels[(x > left) & (x < left + 0.04) & (y > 0.66) & (y < 0.71)] = _color(44, 58, 80)
    return pixels + 1.2 * rng.standard_normal(pixels.shape, dtype=np.float32)


def _flowers(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Round flowers of many colours over leaves: pixels [height, width, 3]."""
    pixels = _color(30, 84, 40) * (0.5 + 1.1 * _fractal(width, height, rng))[..., None]
    colors = ((214, 40, 70), (240, 190, 40), (150, 70, 190), (250, 240, 235), (240, 120, 50))
    for _ in range(26):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(22, 70)
        top, left = max(0, int(cy - radius)), max(0, int(cx - radius))
        part = pixels[top : int(cy + radius) + 2, left : int(cx + radius) + 2]
        y = np.arange(top, top + part.shape[0])[:, None] - cy
        x = np.arange(left, left + part.shape[1])[None, :] - cx
        distance, angle = np.hypot(x, y), np.arctan2(y, x)
        petals = distance < radius * (0.72 + 0.28 * np.abs(np.cos(2.5 * angle + rng.uniform(0, 3))))
        part[petals] = _color(*colors[rng.integers(5)]) * (1.08 - 0.45 * distance[petals] / radius)[:, None]
        part[distance < radius * 0.2] = _color(96, 66, 20)
    return pixels + rng.standard_normal(pixels.shape, dtype=np.float32)


def _color(red: int, green: int, blue: int) -> np.ndarray:
    return np.array([red, green, blue], dtype=np.float32)


def _logo(width: int, height: int) -> np.ndarray:
    """Flat shapes with hard edges: pixels [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), 255.0)
    ring = np.abs(np.hypot(x - width / 2, y - height / 2) - width * 0.38) < width * 0.05
    pixels[ring] = (20, 60, 140)
    pixels[(np.abs(x - width / 2) < 24) & (np.abs(y - height / 2) < 110)] = (230, 80, 30)
    pixels[(np.abs(y - height / 2) < 24) & (np.abs(x - width / 2) < 110)] = (250, 180, 20)
    pixels[(x + y) % 40 < 4] *= 0.85
    return pixels


def _fractal(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in 0 to 1, [height, width]: octaves of random grids, each enlarged by bicubic interpolation."""
    from PIL import Image

    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(5):
        grid = rng.random((min(height, 3 * 2**octave + 1), min(width, 4 * 2**octave + 1))).astype(np.float32)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * 0.5**octave
    total -= total.min()
    return total / total.max()


def _specks(pixels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    chance = rng.random(pixels.shape[:2])
    noisy = pixels.copy()
    noisy[chance < share / 2] = 0
    noisy[chance > 1 - share / 2] = 255
    return noisy


def _write_recordings(folder: Path, seed: int) -> None:
    voice = _voice(22_050, 4.0, np.random.default_rng([seed, 11]))
    _write_wav(folder / "voice.wav", voice, 22_050)
    noise = np.random.default_rng([seed, 12]).normal(0, 0.03, len(voice))
    _write_wav(folder / "voice_noisy.wav", voice + noise, 22_050)
    _write_wav(folder / "music.wav", _music(44_100), 44_100)
    _write_wav(folder / "bells.wav", _bells(48_000, np.random.default_rng([seed, 13])), 48_000)


def _voice(rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Speech-like: a gliding voice filtered by changing formants, in syllables with pauses."""
    samples = np.zeros(int(rate * seconds))
    start = 0.1
    while start < seconds - 0.4:
        length = rng.uniform(0.12, 0.3)
        t = np.arange(int(length * rate)) / rate
        pitch = rng.uniform(105, 150) * (1 - 0.15 * t / length)
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        first, second = [(730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840)][rng.integers(5)]
        syllable = np.zeros_like(t)
        for harmonic in range(1, 32):
            frequency = harmonic * pitch.mean()
            weight = sum(a / (1 + ((frequency - f) / 120) ** 2) for a, f in ((1.0, first), (0.5, second), (0.2, 2900)))
            syllable += weight * np.sin(harmonic * phase)
        breath = np.diff(rng.normal(0, 0.4, len(t) + 1)) * (t < 0.05)
        piece = (syllable + breath) * np.sin(np.pi * t / length) ** 0.6
        at = int(start * rate)
        samples[at : at + len(piece)] += piece[: len(samples) - at]
        start += length + (rng.uniform(0.25, 0.4) if rng.random() < 0.25 else rng.uniform(0.01, 0.05))
    return 0.5 * samples / np.abs(samples).max()


def _music(rate: int) -> np.ndarray:
    """Six seconds of plucked chords with a melody, in stereo: [frames, 2]."""
    samples = np.zeros((6 * rate, 2))
    chords = ([220.0, 261.63, 329.63], [174.61, 220.0, 261.63], [196.0, 246.94, 293.66], [220.0, 261.63, 329.63])
    for bar, chord in enumerate(chords):
        for step in range(6):
            frequency = [*chord, chord[1] * 2, chord[2] * 2, chord[0] * 4][step]
            at = int((bar * 1.4 + step * 0.22) * rate)
            t = np.arange(min(len(samples) - at, int(1.6 * rate))) / rate
            tone = sum(np.sin(2 * np.pi * frequency * k * t) * np.exp(-t * (2.2 + 1.3 * k)) / k for k in range(1, 9))
            attack = np.minimum(t / 0.004, 1.0)
            pan = 0.3 + 0.4 * step / 5
            samples[at : at + len(t)] += (tone * attack)[:, None] * np.array([1 - pan, pan])
    return 0.8 * samples / np.abs(samples).max()


def _bells(rate: int, rng: np.random.Generator) -> np.ndarray:
    """Three seconds of bells, rich in high partials: what bad resampling folds back into the audible band."""
    samples = np.zeros(3 * rate)
    for at_second in (0.05, 0.7, 1.3, 1.9):
        t = np.arange(int((3 - at_second) * rate)) / rate
        base = rng.uniform(500, 900)
        partials = (0.56, 0.92, 1.19, 1.71, 2.0, 2.74, 3.76, 5.07, 7.2, 9.6, 12.9, 17.1)
        bell = sum(np.sin(2 * np.pi * base * p * t) * np.exp(-t * (1.5 + 0.6 * p)) / p**0.5 for p in partials)
        samples[-len(t) :] += bell
    return 0.7 * samples / np.abs(samples).max()


def _write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    frames = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if frames.ndim == 1 else frames.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(frames.tobytes())


def _write_tables(folder: Path, seed: int) -> None:
    rng = np.random.default_rng([seed, 21])
    regions, products = ("North", "South", "East", "West"), ("Lamp", "Chair", "Desk", "Shelf", "Clock", "Rug")
    prices = dict(zip(products, (39.9, 89.0, 249.5, 119.0, 24.95, 149.0), strict=True))
    first_day = datetime.date(2024, 1, 1)

    dates = [(first_day + datetime.timedelta(days=day)).isoformat() for day in range(365)]

    def orders(count: int) -> Iterable[Sequence[Any]]:
        days, customers = rng.integers(365, size=count).tolist(), rng.integers(1, 81, size=count).tolist()
        places = rng.choice(4, size=count, p=(0.4, 0.3, 0.2, 0.1)).tolist()
        goods, quantities = rng.integers(6, size=count).tolist(), rng.integers(1, 9, size=count).tolist()
        for i, factor in enumerate(rng.uniform(0.9, 1.1, size=count).tolist()):
            product, quantity = products[goods[i]], quantities[i]
            price = round(prices[product] * factor, 2)
            total = round(quantity * price, 2)
            yield i + 1, dates[days[i]], f"C{customers[i]:04d}", regions[places[i]], product, quantity, price, total

    header = ("order_id", "date", "customer_id", "region", "product", "quantity", "price", "total")
    sales = list(orders(500))
    for row in (17, 120, 333):  # the same order entered twice, as happens
        sales.insert(row + 40, sales[row])
    sales[60] = (*sales[60][:3], "", *sales[60][4:])
    _write_csv(folder / "sales.csv", header, sales)
    _write_csv(folder / "orders_large.csv", header, orders(50_000))

    given = ("Ada", "Bela", "Chidi", "Dora", "Emil", "Fatima", "Goran", "Hana", "Iris", "João")
    family = ("Abel", "Brandt", "Costa", "Dvořák", "Eze", "Fischer", "Greco", "Haddad")
    cities, segments = ("Lisbon", "Prague", "Hamburg", "Lagos", "Turin"), ("retail", "business", "school")
    rows = [
        (f"C{n + 1:04d}", f"{given[n % 10]} {family[n // 10]}", cities[rng.integers(5)], segments[rng.integers(3)],
         2010 + int(rng.integers(14)))
        for n in range(80)
    ]  # fmt: skip
    _write_csv(folder / "customers.csv", ("customer_id", "name", "city", "segment", "since"), rows)

    days = np.arange(365)
    warmth = 10 - 9 * np.cos(2 * np.pi * (days - 20) / 365) + rng.normal(0, 2.5, 365)
    rain = np.where(rng.random(365) < 0.4, rng.gamma(1.2, 5.0, 365), 0.0)
    wind = rng.gamma(4, 3.2, 365)
    weather = [
        (
            (first_day + datetime.timedelta(days=int(d))).isoformat(),
            f"{warmth[d]:.1f}",
            f"{rain[d]:.1f}",
            f"{wind[d]:.1f}",
        )
        for d in days
    ]
    _write_csv(folder / "weather.tsv", ("date", "temperature", "rain", "wind"), weather, delimiter="\t")

    with (folder / "inventory.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for number in range(60):
            item = {
                "sku": f"{number + 1:05d}",
                "product": products[number % 6],
                "warehouse": ("A", "B", "C")[number % 3],
                "stock": int(rng.integers(0, 400)),
                "price": round(prices[products[number % 6]] * (1 + number // 6 * 0.05), 2),
            }
            file.write(json.dumps(item) + "\n")


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
