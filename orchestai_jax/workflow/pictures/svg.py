"""A workflow as SVG, for reports, the README and the dashboard."""

from __future__ import annotations

import dataclasses
import html
import unicodedata
from collections.abc import Mapping

from orchestai_jax.workflow.catalog import ANY, Catalog
from orchestai_jax.workflow.ordering import levels, predecessors
from orchestai_jax.workflow.pictures.colours import colours_of
from orchestai_jax.workflow.pictures.labels import argument_text, data_type, edge_types, percent, printable, title
from orchestai_jax.workflow.pictures.layout import Layout, lay_out
from orchestai_jax.workflow.workflow import Reference, Task, Workflow

# Pixels.
_MARGIN, _COLUMN_GAP, _STRIP, _PADDING = 16.0, 56.0, 6.0, 14.0
_NARROWEST, _WIDEST = 132.0, 250.0
_TITLE, _SMALL, _CAPTION = 14.0, 12.0, 14.0
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"
# Text inside the boxes is dark on light; what stands outside them is a grey that white and black backgrounds show.
_INK, _FAINT_INK, _OUTSIDE = "#1c2430", "#4a5566", "#7b8899"


@dataclasses.dataclass(frozen=True)
class _Box:
    lines: tuple[tuple[str, float, str, str], ...]
    """(text, font size, weight, colour) from top to bottom."""
    tooltip: str
    data_type: str
    width: float
    height: float


def to_svg(
    workflow: Workflow,
    catalog: Catalog | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
    caption: bool = True,
) -> str:
    """The workflow as an SVG document: levels as columns, rounded boxes, arrows from producers to consumers.

    A box shows task type, worker, confidence and literal arguments. With a catalog its colour says which data the task
    is about, and an arrow's which data it carries (a legend names them); a dashed arrow carries none. `annotations`
    (by task id) are added as last lines; `caption` writes the instruction above. Text that is too long is cut; the
    tooltip has more of it. Raises WorkflowError for a workflow that is not a DAG.
    """
    ranks = levels(workflow)
    number = {task.id: i for i, task in enumerate(workflow.tasks)}
    boxes = [_box(task, catalog, (annotations or {}).get(task.id)) for task in workflow.tasks]
    edges = [(number[p], number[task.id]) for task in workflow.tasks for p in predecessors(task)]
    heights = [box.height for box in boxes]
    layout = lay_out([[number[t] for t in rank] for rank in ranks], edges, heights)
    ends = layout.edge_ends(heights)

    widths = [max(boxes[i].width for i in column if i < len(boxes)) for column in layout.columns]
    lefts = [_MARGIN + sum(widths[:i]) + i * _COLUMN_GAP for i in range(len(widths))]
    width = lefts[-1] + widths[-1] + _MARGIN if widths else 260.0
    legend = sorted({box.data_type for box in boxes} - {ANY})
    width = max(width, _legend_width(legend) + 2 * _MARGIN)
    caption_lines = _caption(workflow, width - 2 * _MARGIN) if caption else []
    top = _MARGIN + len(caption_lines) * 1.4 * _CAPTION + (10.0 if caption_lines else 0.0)
    height = top + layout.height + _MARGIN + (26.0 if legend else 0.0)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" role="img" font-family="{_FONT}">',
        f"<title>{_escape(workflow.instruction, 300) or 'Workflow'}</title>",
    ]
    for i, line in enumerate(caption_lines):
        y = _MARGIN + _CAPTION + i * 1.4 * _CAPTION
        parts.append(_text(_MARGIN, y, line, _CAPTION, "600", _OUTSIDE))
    column_of = {box: i for i, column in enumerate(layout.columns) for box in column}
    drawn = [_edge(workflow, catalog, layout, edge, ends[edge], column_of, lefts, widths, top) for edge in edges]
    strokes = dict.fromkeys(stroke for stroke, _ in drawn)
    if strokes:
        parts.append(f"<defs>{''.join(map(_marker, strokes))}</defs>")
    parts += [edge for _, edge in drawn]
    for i, box in enumerate(boxes):
        column = column_of[i]
        parts.append(_box_svg(box, lefts[column], top + layout.centres[i] - box.height / 2, widths[column]))
    if not boxes:
        parts.append(_text(_MARGIN, top + _SMALL, "no tasks", _SMALL, "400", _OUTSIDE))
    parts += _legend(legend, height - _MARGIN)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(task: Task, catalog: Catalog | None, annotation: str | None) -> _Box:
    below = [task.worker] if task.worker is not None else []
    if task.confidence is not None:
        below.append(percent(task.confidence))
    literals = [f"{k} {argument_text(a)}" for k, a in task.arguments.items() if not isinstance(a, Reference)]
    wanted = [(title(task.task_type), _TITLE, "600", _INK)]
    if below:
        wanted.append((" · ".join(below), _SMALL, "400", _FAINT_INK))
    if literals:
        wanted.append((", ".join(literals), _SMALL, "400", _FAINT_INK))
    if annotation:
        wanted.append((annotation, _SMALL, "600", _FAINT_INK))
    room = _WIDEST - 2 * _PADDING - _STRIP
    lines = tuple((_fitted(text, size, weight, room), size, weight, ink) for text, size, weight, ink in wanted)
    widest = max(_width(text, size, weight) for text, size, weight, _ in lines)
    tooltip = [task.id, task.task_type, *below, *(f"{k} {argument_text(a)}" for k, a in task.arguments.items())]
    return _Box(
        lines=lines,
        tooltip="\n".join(printable(line, 200) for line in tooltip),
        data_type=data_type(task, catalog),
        width=max(_NARROWEST, widest + 2 * _PADDING + _STRIP),
        height=sum(1.42 * size for _, size, _, _ in lines) + 16.0,
    )


def _box_svg(box: _Box, x: float, y: float, width: float) -> str:
    fill, stroke = colours_of(box.data_type)
    r = 9.0
    strip = (
        f"M{x + r:.1f},{y:.1f} h{_STRIP - r + 3:.1f} v{box.height:.1f} h{r - _STRIP - 3:.1f} a{r},{r} 0 0 1 {-r},{-r} "
        f"v{2 * r - box.height:.1f} a{r},{r} 0 0 1 {r},{-r} z"
    )
    parts = [
        "<g>",
        f"<title>{_escape_lines(box.tooltip)}</title>",
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{box.height:.1f}" rx="{r}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.4"/>',
        f'<path d="{strip}" fill="{stroke}"/>',
    ]
    baseline = y + 8.0
    for text, size, weight, ink in box.lines:
        baseline += 1.42 * size
        parts.append(_text(x + _STRIP + _PADDING, baseline - 0.37 * size, text, size, weight, ink))
    return "".join([*parts, "</g>"])


def _edge(
    workflow: Workflow,
    catalog: Catalog | None,
    layout: Layout,
    edge: tuple[int, int],
    ends: tuple[float, float],
    column_of: Mapping[int, int],
    lefts: list[float],
    widths: list[float],
    top: float,
) -> tuple[str, str]:
    """(Colour, SVG) of an arrow: smooth between columns, level through the columns that it passes."""
    carried = edge_types(workflow.tasks[edge[1]], workflow.tasks[edge[0]], catalog)
    types = {kind for _, _, kind in carried}
    stroke = colours_of(types.pop() if len(types) == 1 else ANY)[1]
    route = layout.routes[edge]
    source, target = edge
    x, y = lefts[column_of[source]] + widths[column_of[source]], top + ends[0]
    path = [f"M{x:.1f},{y:.1f}"]
    for place in route[1:]:
        last = place == target
        left, centre = lefts[column_of[place]], top + (ends[1] if last else layout.centres[place])
        end = left - 7.0 if last else left  # room for the arrowhead
        half = (end - x) / 2
        path.append(f"C{x + half:.1f},{y:.1f} {end - half:.1f},{centre:.1f} {end:.1f},{centre:.1f}")
        x, y = end, centre
        if not last:
            x = left + widths[column_of[place]]
            path.append(f"H{x:.1f}")
    dashes = "" if carried else ' stroke-dasharray="5 4"'
    tooltip = ", ".join(f"{output} as {argument}" for output, argument, _ in carried) or "only after it"
    return stroke, (
        f'<path d="{" ".join(path)}" fill="none" stroke="{stroke}" stroke-width="1.8"{dashes} '
        f'marker-end="url(#{_marker_id(stroke)})"><title>{_escape(tooltip, 200)}</title></path>'
    )


def _marker_id(stroke: str) -> str:
    return f"arrow-{stroke.removeprefix('#')}"  # by colour: the same in every picture of a page


def _marker(stroke: str) -> str:
    return (
        f'<marker id="{_marker_id(stroke)}" viewBox="0 0 10 10" refX="2" refY="5" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.5 L10,5 L0,9.5 L2.4,5 z" fill="{stroke}"/></marker>'
    )


def _caption(workflow: Workflow, width: float) -> list[str]:
    """The instruction in at most two lines."""
    words = printable(workflow.instruction, 400).split()
    lines: list[str] = []
    while words and len(lines) < 2:
        many = 1
        while many < len(words) and _width(" ".join(words[: many + 1]), _CAPTION, "600") <= width:
            many += 1
        many = len(words) if len(lines) == 1 else many
        lines.append(_fitted(" ".join(words[:many]), _CAPTION, "600", width))
        words = words[many:]
    return lines


def _legend(data_types: list[str], y: float) -> list[str]:
    parts, x = [], _MARGIN
    for name in data_types:
        shown = printable(name, 20)
        parts.append(f'<circle cx="{x + 5:.1f}" cy="{y - 4:.1f}" r="5" fill="{colours_of(name)[1]}"/>')
        parts.append(_text(x + 15, y, shown, _SMALL, "400", _OUTSIDE))
        x += 15 + _width(shown, _SMALL, "400") + 18
    return parts


def _legend_width(data_types: list[str]) -> float:
    return sum(33 + _width(printable(name, 20), _SMALL, "400") for name in data_types)


def _text(x: float, y: float, text: str, size: float, weight: str, ink: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{ink}">'
        f"{html.escape(text)}</text>"
    )


def _width(text: str, size: float, weight: str) -> float:
    """About how wide a text is: no font is at hand, so by classes of characters, rather too wide than too narrow."""
    em = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            em += 1.05
        elif c in "ijl.,:;'|!()[] ":
            em += 0.34
        elif c.isupper() or c in "mwMW@%":
            em += 0.76
        else:
            em += 0.58
    return em * size * (1.12 if weight == "600" else 1.0)


def _fitted(text: str, size: float, weight: str, room: float) -> str:
    """The text, cut with an ellipsis to fit into `room` pixels."""
    text = printable(text, 200)
    if _width(text, size, weight) <= room:
        return text
    while text and _width(text + "…", size, weight) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def _escape(text: str, at_most: int) -> str:
    return html.escape(printable(text, at_most))


def _escape_lines(text: str) -> str:
    return html.escape(text)  # its lines are printable already
