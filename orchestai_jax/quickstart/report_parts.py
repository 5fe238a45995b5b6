"""The pieces of the report: cards, bars, tables, timelines, charts and figures, each as a bit of HTML."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT = 720, 260
_LEFT, _BOTTOM, _TOP, _RIGHT = 46, 34, 14, 14


def percent(share: float) -> str:
    """0.873 → `87 %`; never rounded up to 100 % where it is less."""
    whole = round(100 * share)
    return f"{99 if whole == 100 and share < 1 else whole}\u202f%"


def seconds(value: float) -> str:
    """A time with the unit that suits it."""
    if value < 0.0995:
        return f"{value * 1000:.{1 if value < 0.00995 else 0}f}\u202fms"
    if value < 90:
        return f"{value:.{1 if value < 10 else 0}f}\u202fs"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}\u202fmin {rest}\u202fs"


def card(value: str, label: str, met: bool | None) -> str:
    """A figure with its name; `met` says whether the goal was reached (None: it has none)."""
    mark = "" if met is None else chips([("goal met", "good") if met else ("below the goal", "bad")])
    name = f"<div class='label'>{html.escape(label)}</div>"
    return f"<div class='card'><div class='value'>{html.escape(value)}</div>{name}{mark}</div>"


def chips(labels: Sequence[tuple[str, str]]) -> str:
    """Small labels, each with a colour class (`good`, `bad`, `accent` or none)."""
    return (
        "<div class='chips'>" + "".join(f"<span class='chip {c}'>{html.escape(t)}</span>" for t, c in labels) + "</div>"
    )


def bars(rows: Sequence[tuple[str, float, str, bool]]) -> str:
    """Horizontal bars: (name, share in [0, 1], figure, whether it stands out)."""
    parts = []
    for name, share, figure, strong in rows:
        emphasis = " strong" if strong else ""
        width = 100 * min(max(share, 0.0), 1.0)
        parts.append(
            f"<span class='name{emphasis}'>{html.escape(name)}</span>"
            f"<span class='track'><i class='fill{' accent' if strong else ''}' style='width:{width:.1f}%'></i></span>"
            f"<span class='figure{emphasis}'>{html.escape(figure)}</span>"
        )
    return f"<div class='bars'>{''.join(parts)}</div>"


def data_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Collection[int] = (),
    first: Collection[int] = (),
) -> str:
    """A table. Cells are HTML already; `numbers` are the columns set right, `first` the rows that begin a group."""
    kind = [" class='number'" if i in numbers else "" for i in range(len(head))]
    top = "".join(f"<th{kind[i]}>{html.escape(cell)}</th>" for i, cell in enumerate(head))
    lines = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td{kind[i]}>{cell}</td>" for i, cell in enumerate(row))
        lines.append(f"<tr{' class=' + chr(39) + 'first' + chr(39) if place in first and place else ''}>{cells}</tr>")
    heading = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f"<div class='scroll'><table>{heading}<tbody>{''.join(lines)}</tbody></table></div>"


def timeline(tasks: Sequence[Mapping[str, Any]], total: float) -> str:
    """When each task of a run ran, as a lane a task."""
    end = max([total, *(task["started_s"] + task["duration_s"] for task in tasks)]) or 1.0
    parts = []
    for task in tasks:
        left, width = 100 * task["started_s"] / end, 100 * task["duration_s"] / end
        bad = "" if task["status"] == "succeeded" else " class='bad'"
        figure = seconds(task["duration_s"]) if task["status"] in ("succeeded", "failed") else task["status"]
        parts.append(
            f"<span>{html.escape(task['worker'] or task['task_type'])}</span>"
            f"<span class='lane'><i{bad} style='left:{min(left, 99):.2f}%;"
            f"width:{min(width, 100 - left):.2f}%'></i></span>"
            f"<span class='figure'>{html.escape(figure)}</span>"
        )
    return f"<div class='lanes'>{''.join(parts)}</div>"


def exhibit_figure(entry: Mapping[str, Any]) -> str:
    """An input or output to look at or listen to."""
    kind, content, title = entry["kind"], entry["content"], html.escape(entry["title"])
    size = f", {_bytes(entry['bytes'])}" if "bytes" in entry else ""
    if kind == "picture":
        shown = f"<img src='{content}' alt='{title}'>"
    elif kind == "sound":
        shown = f"<audio controls preload='none' src='{content}'></audio>"
    elif kind == "table":
        head, *rows = content or [[]]
        shown = data_table(head, [[html.escape(cell) for cell in row[: len(head)]] for row in rows])
    elif kind == "text":
        shown = f"<pre>{html.escape(content)}</pre>"
    else:
        shown = f"<pre>{html.escape(title.rpartition('.')[2].rstrip(')').upper())} file</pre>"
    return f"<figure>{shown}<figcaption>{title}{size}</figcaption></figure>"


def line_chart(series: Sequence[tuple[str, Sequence[Sequence[float]], str]], x_label: str) -> str:
    """Curves of (x, y) points from zero up, as an inline SVG with its key: (name, points, colour)."""
    points = [point for _, given, _ in series for point in given]
    if not points:
        return "<p class='small'>Nothing was logged.</p>"
    right = max(x for x, _ in points) or 1.0
    top = _nice(max(y for _, y in points))

    def place(x: float, y: float) -> str:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / right
        return f"{across:.1f},{_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * y / top:.1f}"

    parts = []
    for i in range(5):
        y = top * i / 4
        height = place(0, y).split(",")[1]
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{height}' y2='{height}'/>")
        parts.append(f"<text x='{_LEFT - 8}' y='{float(height) + 4:.1f}' text-anchor='end'>{y:.3g}</text>")
    for i in range(5):
        x = right * i / 4
        across = place(x, 0).split(",")[0]
        parts.append(f"<text x='{across}' y='{_HEIGHT - 12}' text-anchor='middle'>{x:.0f}</text>")
    for _, given, colour in series:
        if given:
            path = " ".join(place(x, y) for x, y in given)
            parts.append(f"<polyline class='curve' points='{path}' style='stroke:{colour}'/>")
    key = "".join(
        f"<span class='key'><i style='background:{colour}'></i>{html.escape(name)}</span>" for name, _, colour in series
    )
    label = html.escape(", ".join(name for name, _, _ in series))
    return (
        f"<svg class='chart' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' "
        f"aria-label='{label} over {html.escape(x_label)}'>{''.join(parts)}</svg>"
        f"<div>{key}<span class='key'>over {html.escape(x_label)}</span></div>"
    )


def _nice(value: float) -> float:
    """The next round number above, for the top of an axis."""
    unit = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    return max(unit, -(-value // unit) * unit)


def _bytes(count: int) -> str:
    return (
        f"{count / 1e6:.1f}\u202fMB"
        if count >= 1e6
        else f"{count / 1000:.0f}\u202fkB"
        if count >= 1000
        else f"{count}\u202fbytes"
    )
