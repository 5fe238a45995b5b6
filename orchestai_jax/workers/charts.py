"""Charts as PNG, drawn by matplotlib without a window: of tables, pictures and recordings."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import polars as pl
import scipy.signal
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestai_jax.workers.audio_tools import read_audio
from orchestai_jax.workers.image_files import on_white, read_image
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.table_files import is_number_column, numbers_of, read_table
from orchestai_jax.workers.table_rows import default_columns, find_column
from orchestai_jax.workers.worker import WorkerError

MAX_BARS = 40
MAX_POINTS = 20_000

_DRAWING = threading.Lock()
"""Figures are separate, but matplotlib's font and text caches are not made for threads."""


def plot_table_matplotlib(call: ToolCall) -> dict[str, Any]:
    """Bar, line, scatter or histogram.

    Bars show one value of x each, with the sum of its rows, and at most 40 of them; points are thinned to 20,000.
    """
    frame = read_table(call.file("table"))
    kind = call.string("kind")
    if frame.height == 0:
        raise WorkerError("the table has no rows to draw")
    text, number = default_columns(frame.columns, frame.head(1000).rows())
    x = find_column(frame.columns, call.string("x")) if call.given("x") else None
    y = find_column(frame.columns, call.string("y")) if call.given("y") else None
    if kind == "histogram":
        y = y or x or number
    else:
        x = x or (text if text != y else None) or frame.columns[0]
        y = y or next((c for c in (number, *frame.columns) if c and c != x and is_number_column(frame[c])), None)
    if y is None:
        raise WorkerError(f"no number column to draw; the table has {', '.join(frame.columns[:30])}")

    def draw(axes: Axes) -> None:
        values = numbers_of(frame, y)
        if kind == "histogram":
            axes.hist(values.drop_nulls().to_numpy(), bins=min(50, max(5, round(values.len() ** 0.5))))
            axes.set_xlabel(_plain(y))
            axes.set_ylabel("count")
        else:
            assert x is not None
            _draw_pairs(axes, frame[x], values, kind)
            axes.set_xlabel(_plain(x))
            axes.set_ylabel(_plain(y))
        axes.set_title(_plain(call.string("title") or (y if kind == "histogram" else f"{y} by {x}")))

    return _chart(call, draw)


def image_histogram_matplotlib(call: ToolCall) -> dict[str, Any]:
    """How many pixels have each brightness, for grey and each colour."""
    image = on_white(read_image(call.file("image")))
    channels = {"brightness": (image.convert("L"), "0.5")}
    if image.mode == "RGB":
        channels |= dict(
            zip(
                ("red", "green", "blue"),
                zip(image.split(), ("tab:red", "tab:green", "tab:blue"), strict=True),
                strict=True,
            )
        )

    def draw(axes: Axes) -> None:
        for label, (channel, color) in channels.items():
            counts = np.bincount(np.asarray(channel).ravel(), minlength=256)
            axes.plot(counts, color=color, label=label)
        axes.set_xlim(0, 255)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("value")
        axes.set_ylabel("pixels")
        axes.legend()

    return _chart(call, draw)


def spectrogram_matplotlib(call: ToolCall) -> dict[str, Any]:
    """Power over time and frequency in decibels, of the mean of the channels."""
    samples, rate = read_audio(call.file("audio"))
    mono = samples.mean(axis=1)
    size = min(1024, len(mono))
    step = max(size // 4, len(mono) // 4000, 1)  # long recordings get no more than about 4000 columns
    _, _, power = scipy.signal.spectrogram(mono, rate, nperseg=size, noverlap=max(0, size - step))
    columns = max(1, -(-power.shape[1] // 4000))
    level = 10 * np.log10(np.maximum(power[:, ::columns], 1e-14))

    def draw(axes: Axes) -> None:
        extent = (0.0, len(mono) / rate, 0.0, rate / 2)
        top = float(level.max())
        mesh = axes.imshow(level, origin="lower", aspect="auto", extent=extent, vmin=top - 90, vmax=top, cmap="magma")
        axes.set_xlabel("time (s)")
        axes.set_ylabel("frequency (Hz)")
        figure = axes.get_figure()
        assert figure is not None
        figure.colorbar(mesh, ax=axes, label="dB")

    return _chart(call, draw)


def plot_waveform_matplotlib(call: ToolCall) -> dict[str, Any]:
    """Lowest and highest sample of each of up to 2000 stretches, for each channel."""
    samples, rate = read_audio(call.file("audio"))
    stretches = min(2000, len(samples))
    edges = np.linspace(0, len(samples), stretches, endpoint=False).astype(int)
    times = edges / rate

    def draw(axes: Axes) -> None:
        for number, channel in enumerate(samples.T[:8]):
            low, high = np.minimum.reduceat(channel, edges), np.maximum.reduceat(channel, edges)
            axes.fill_between(times, low, high, alpha=0.7, label=f"channel {number + 1}", linewidth=0.5)
        axes.set_ylim(-1, 1)
        axes.set_xlabel("time (s)")
        axes.set_ylabel("amplitude")
        if samples.shape[1] > 1:
            axes.legend()

    return _chart(call, draw)


def _draw_pairs(axes: Axes, x: pl.Series, values: pl.Series, kind: str) -> None:
    numeric = is_number_column(x) and kind != "bar"
    if kind == "bar":
        sums = pl.DataFrame({"x": x, "y": values}).group_by("x", maintain_order=True).agg(pl.col("y").sum())
        x, values = sums["x"].head(MAX_BARS), sums["y"].head(MAX_BARS)
    elif values.len() > MAX_POINTS:
        step = -(-values.len() // MAX_POINTS)
        x, values = x.gather_every(step), values.gather_every(step)
    places = numbers_of(x.to_frame(), x.name).to_numpy() if numeric else np.arange(values.len())
    heights = values.to_numpy()
    if kind == "bar":
        axes.bar(places, np.nan_to_num(heights))
    elif kind == "line":
        axes.plot(places, heights)
    else:
        axes.scatter(places, heights, s=12)
    if not numeric:
        shown = range(0, values.len(), max(1, -(-values.len() // MAX_BARS)))
        labels = ["" if x[i] is None else _plain(str(x[i])) for i in shown]
        long = len(labels) > 8 or max(map(len, labels)) > 10
        axes.set_xticks(list(shown), labels, rotation=60 if long else 0, ha="right" if long else "center")


def _chart(call: ToolCall, draw: Any) -> dict[str, Any]:
    with _DRAWING:
        figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        name = call.write(".png", lambda path: figure.savefig(path, format="png", metadata={"Software": ""}))
    return {"image": name}


def _plain(text: str) -> str:
    """A label that matplotlib does not read as mathematics."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return short.replace("$", r"\$")
