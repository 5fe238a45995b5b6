"""Where the boxes of a layered drawing go.

Sugiyama's method: tasks stand in columns by level; an edge over several columns gets an invisible point in each column
that it crosses, so that it runs between the boxes; barycentre sweeps order every column to cross few edges; then every
column is moved towards its neighbours as far as its order and spacing allow (an isotonic regression, least squares).
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

MOST_POINTS = 5_000
"""A drawing that would need more invisible points than this has none: its long edges run straight."""

_SWEEPS = 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """Columns and vertical centres. A box or point is an int: boxes are 0 .. n - 1, points follow."""

    columns: tuple[tuple[int, ...], ...]
    """The boxes and points of each column, from top to bottom."""
    centres: tuple[float, ...]
    """Vertical centre of each box and point; the topmost box's upper edge is at 0."""
    routes: dict[tuple[int, int], tuple[int, ...]]
    """For each edge, what it runs through: its source, points, its target."""
    height: float

    def edge_ends(self, heights: Sequence[float], spacing: float = 12.0) -> dict[tuple[int, int], tuple[float, float]]:
        """Vertical places at which each edge leaves its source and meets its target.

        Edges that share a side of a box are spread about its centre, in the order of where they come from or go to.
        """
        leaving: dict[int, list[tuple[int, int]]] = {}
        arriving: dict[int, list[tuple[int, int]]] = {}
        for edge in self.routes:
            leaving.setdefault(edge[0], []).append(edge)
            arriving.setdefault(edge[1], []).append(edge)
        starts: dict[tuple[int, int], float] = {}
        stops: dict[tuple[int, int], float] = {}
        for sides, places, next_on_route in ((leaving, starts, 1), (arriving, stops, -2)):
            for box, edges in sides.items():
                edges.sort(key=lambda edge, at=next_on_route: self.centres[self.routes[edge][at]])
                step = min(spacing, (heights[box] - 20.0) / max(1, len(edges) - 1))
                for i, edge in enumerate(edges):
                    places[edge] = self.centres[box] + (i - (len(edges) - 1) / 2) * step
        return {edge: (starts[edge], stops[edge]) for edge in self.routes}


def lay_out(
    levels: Sequence[Sequence[int]],
    edges: Sequence[tuple[int, int]],
    heights: Sequence[float],
    *,
    gap: float = 18.0,
    point_height: float = 6.0,
) -> Layout:
    """Lay boxes out in columns.

    Args:
        levels: The boxes of each column; each of 0 .. n - 1 once.
        edges: (source, target) box, from a lower level to a higher one, each once.
        heights: Height of each box.
        gap: Least space between two boxes of a column.
        point_height: Height that an edge passing between boxes is given.
    """
    column_of = {box: i for i, level in enumerate(levels) for box in level}
    columns = [list(level) for level in levels]
    sizes = list(heights)
    routes: dict[tuple[int, int], tuple[int, ...]] = {}
    pointed = sum(column_of[target] - column_of[source] - 1 for source, target in edges) <= MOST_POINTS
    for source, target in edges:
        route = [source]
        for column in range(column_of[source] + 1, column_of[target]) if pointed else ():
            route.append(len(sizes))
            columns[column].append(len(sizes))
            sizes.append(point_height)
        routes[source, target] = (*route, target)
    before: list[list[int]] = [[] for _ in sizes]
    after: list[list[int]] = [[] for _ in sizes]
    for route in routes.values():
        for source, target in itertools.pairwise(route):
            before[target].append(source)
            after[source].append(target)
    columns = _ordered(columns, before, after)
    centres = _centred(columns, before, after, sizes, gap)
    top = min((centres[box] - sizes[box] / 2 for box in range(len(heights))), default=0.0)
    bottom = max((centres[box] + sizes[box] / 2 for box in range(len(sizes))), default=0.0)
    top = min([top, *(centres[p] - sizes[p] / 2 for p in range(len(heights), len(sizes)))])
    return Layout(
        columns=tuple(map(tuple, columns)),
        centres=tuple(centre - top for centre in centres),
        routes=routes,
        height=bottom - top,
    )


def _ordered(columns: list[list[int]], before: list[list[int]], after: list[list[int]]) -> list[list[int]]:
    """The columns' orders with the fewest crossings that the sweeps come by."""
    best, fewest = [list(column) for column in columns], _crossings(columns, after)
    current = [list(column) for column in columns]
    for sweep in range(_SWEEPS):
        if fewest == 0:
            break
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        for i in range(1, len(current)) if forward else range(len(current) - 2, -1, -1):
            beside = {box: place for place, box in enumerate(current[i - 1 if forward else i + 1])}
            _sort_by_barycentre(current[i], neighbours, beside)
        crossings = _crossings(current, after)
        if crossings < fewest:
            best, fewest = [list(column) for column in current], crossings
    return best


def _sort_by_barycentre(column: list[int], neighbours: list[list[int]], place: dict[int, int]) -> None:
    """Sort in place by the mean place of the neighbours; a box without neighbours keeps about its own place."""
    keys: dict[int, float] = {}
    for i, box in enumerate(column):
        places = [place[n] for n in neighbours[box] if n in place]
        keys[box] = sum(places) / len(places) if places else i * max(1, len(place)) / max(1, len(column))
    column.sort(key=keys.__getitem__)


def _crossings(columns: list[list[int]], after: list[list[int]]) -> int:
    """How many pairs of edges between neighbouring columns cross."""
    total = 0
    for column, following in itertools.pairwise(columns):
        place = {box: i for i, box in enumerate(following)}
        ends: list[int] = []  # sorted: where the edges of the boxes above end
        for box in column:
            targets = sorted(place[t] for t in after[box] if t in place)
            total += sum(len(ends) - bisect.bisect_right(ends, target) for target in targets)
            for target in targets:
                bisect.insort(ends, target)
    return total


def _centred(
    columns: list[list[int]], before: list[list[int]], after: list[list[int]], sizes: list[float], gap: float
) -> list[float]:
    centres = [0.0] * len(sizes)
    for column in columns:
        offsets = _offsets(column, sizes, gap)
        for box, offset in zip(column, offsets, strict=True):
            centres[box] = offset - (offsets[-1] + offsets[0]) / 2
    both = [b + a for b, a in zip(before, after, strict=True)]
    for neighbours, order in ((before, columns), (after, columns[::-1])) * 4 + ((both, columns), (both, columns[::-1])):
        for column in order:
            wanted = [_mean([centres[n] for n in neighbours[box]], centres[box]) for box in column]
            for box, centre in zip(column, _spaced(wanted, _offsets(column, sizes, gap)), strict=True):
                centres[box] = centre
    return centres


def _offsets(column: list[int], sizes: list[float], gap: float) -> list[float]:
    """How far each of a column is below the first where they stand as close as they may."""
    offsets = [0.0] if column else []
    for above, below in itertools.pairwise(column):
        offsets.append(offsets[-1] + (sizes[above] + sizes[below]) / 2 + gap)
    return offsets


def _spaced(wanted: list[float], offsets: list[float]) -> list[float]:
    """The places nearest to `wanted` (least squares) that keep order and distances: pooling of adjacent violators."""
    pools: list[tuple[float, int]] = []  # (mean, how many)
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, many = pools.pop()
            mean, count = (mean * count + other * many) / (count + many), count + many
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
