"""Links of a catalog's task types: counted as a loop over pairs of names would."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import PlanningSample
from orchestai_jax.planner import task_type_links
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.task_type_links import count_links
from orchestai_jax.workflow import Catalog, Link, TaskType

NAMES = "abcdef"


def catalog_of(names, links=()):
    links = tuple(Link(source=s, target=t) for s, t in dict.fromkeys(links))
    return Catalog(name="letters", task_types=tuple(TaskType(id=n) for n in names), links=links)


def links_of(catalog, statistics):
    """Weights by pairs of names."""
    found = count_links(catalog, statistics.task_types, statistics.transitions)
    names = [catalog.task_types[int(i)].id for i in found.types]
    assert names == [t.id for t in catalog.task_types if t.id in names]  # in catalog order
    weights = np.asarray(found.weights)
    assert weights.shape == (len(names), len(names))
    assert (weights.max(axis=1, initial=0) > 0).all()
    return {(names[i], names[j]): float(weights[i, j]) for i, j in zip(*np.nonzero(weights), strict=True)}


PAIR = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(NAMES),
    st.lists(PAIR, max_size=6),
    st.lists(st.lists(st.sampled_from(NAMES[1:]), min_size=1, max_size=4), max_size=4),
    st.sets(st.sampled_from(NAMES), max_size=2),
)
def test_links_are_those_of_a_loop_over_names(order, links, plans, gone):
    """Training knew b to f, in that order; the catalog is in any order, lacks some, and has a, which is new."""
    training = catalog_of(NAMES[1:])
    samples = [PlanningSample(str(i), "text", tuple(plan)) for i, plan in enumerate(plans)]
    statistics = PlanStatistics.of(samples, training)
    names = [n for n in order if n not in gone]
    kept = [(s, t) for s, t in links if s in names and t in names]
    counts: dict[tuple[str, str], int] = {}
    for s, t in [*dict.fromkeys(kept), *(pair for plan in plans for pair in itertools.pairwise(plan))]:
        if s != t and s in names and t in names:
            for pair in ((s, t), (t, s)):
                counts[pair] = counts.get(pair, 0) + 1
    assert links_of(catalog_of(names, kept), statistics) == pytest.approx(
        {pair: np.log(1 + count) for pair, count in counts.items()}
    )


def test_start_and_stop_are_no_task_types():
    training = catalog_of("ab")
    alone = PlanStatistics.of([PlanningSample("1", "text", ("a",)), PlanningSample("2", "text", ("b",))], training)
    assert links_of(training, alone) == {}


def test_too_many_linked_types_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(task_type_links, "MAX_LINKED_TYPES", 3)
    statistics = PlanStatistics.of([], catalog_of(NAMES))
    assert len(links_of(catalog_of(NAMES, ["ab", "bc"]), statistics)) == 4
    with pytest.raises(
        ValueError, match=r"^catalog letters: 4 task types have links.* holds 3; leave links out.*none$"
    ):
        links_of(catalog_of(NAMES, ["ab", "cd"]), statistics)
