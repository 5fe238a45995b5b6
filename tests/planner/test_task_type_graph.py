"""The task-type graph: what its layers say, nothing at the start, and the same where a catalog is bound."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
import pytest
from flax import nnx

from orchestai_jax.config import PlannerConfig, Preference, RetrievalConfig, TaskTypeGraphConfig
from orchestai_jax.data import PlanningSample
from orchestai_jax.nn.graph import GRAPH_LAYERS
from orchestai_jax.planner import Planner, task_type_graph
from orchestai_jax.planner.catalog_arrays import PlanStatistics, build_catalog_arrays
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.encoded_vectors import float_rows
from orchestai_jax.planner.model import (
    build_model,
    build_structure,
    merge_parameters,
    sigmoid_cross_entropy,
    split_parameters,
)
from orchestai_jax.planner.planning_programs import parameters_key
from orchestai_jax.planner.task_type_graph import TaskTypeGraph
from orchestai_jax.planner.task_type_links import TaskTypeLinks
from orchestai_jax.workflow import Catalog, Link, TaskType

LAYERS = sorted(GRAPH_LAYERS)


def spec_with(tiny, layer, num_layers=1, **retrieval):
    graph = {"task_type_graph": TaskTypeGraphConfig(layer=layer, num_layers=num_layers)}
    if retrieval:
        graph["retrieval"] = RetrievalConfig(**retrieval)
    return dataclasses.replace(tiny[0], planner=tiny[0].planner.model_copy(update=graph))


def shaken(parameters, seed=0):
    """Parameters moved at random: the graph says something, and types have free vectors."""
    random = np.random.default_rng(seed)
    return {k: jnp.float32(v + 0.3 * random.normal(size=v.shape)) for k, v in parameters.items()}


@pytest.fixture(scope="module")
def statistics(catalog):
    """Training knew all but `caption`: blur, then crop; translate twice after summarise."""
    known = catalog.restricted_to({t.id for t in catalog.task_types} - {"caption"})
    plans = [("blur", "crop"), ("summarise", "translate"), ("summarise", "translate", "blur")]
    return PlanStatistics.of([PlanningSample(str(i), "text", plan) for i, plan in enumerate(plans)], known)


@pytest.fixture(scope="module")
def make(tiny, catalog, tokenizer, statistics):
    """Makes planners with a graph, whose parameters say something."""

    def made(layer="sage", num_layers=1, **retrieval):
        spec = dataclasses.replace(spec_with(tiny, layer, num_layers, **retrieval), num_known_task_types=4)
        parameters = shaken(split_parameters(build_model(spec, 0))[1])
        vectors = catalog_vectors(build_structure(spec)[0], parameters, tokenizer, catalog)
        found = Planner(spec, parameters, tokenizer, catalog, statistics, vectors, Preference())
        found.vector_cache = None
        return found

    return made


def bound_rows(planner, catalog):
    return np.asarray(planner._bound_to(catalog).whole.arrays.embedded)


def network_rows(planner, catalog):
    """The task types' vectors as a training's validation has them: made in the network, over a dense graph."""
    vectors = catalog_vectors(planner._graphdef, planner._parameters, planner._tokenizer, catalog)
    arrays = build_catalog_arrays(catalog, vectors, planner._statistics, linked=True)

    @jax.jit
    def rows(parameters, arrays):
        model = merge_parameters(planner._graphdef, parameters)
        ids, mask = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4), bool)
        return model.encode(arrays, model.lower(ids, mask), mask).task_types

    return np.asarray(rows(planner._parameters, arrays))


# The module


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("layer", LAYERS)
def test_rows_are_those_of_the_layers_over_all_types(layer, num_layers):
    """Types without links (1 and 4 here) need no adjacency, and get what it would give them."""
    graph = TaskTypeGraph(TaskTypeGraphConfig(layer=layer, num_layers=num_layers), 8, rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    state = nnx.state(graph, nnx.Param)
    nnx.update(graph, jax.tree.map(lambda x: jnp.float32(random.normal(size=x.shape)), state))
    rows, linked = np.float32(random.normal(size=(6, 8))), np.array([0, 2, 3, 5])
    weights = np.float32(random.uniform(0.2, 2, (4, 4)) * (1 - np.eye(4)))
    weights += weights.T
    dense = np.zeros((6, 6), np.float32)
    dense[np.ix_(linked, linked)] = weights
    links = TaskTypeLinks(jnp.asarray(linked, jnp.int32), jnp.asarray(weights))
    got = nnx.jit(lambda graph: graph(jnp.asarray(rows), links))(graph)

    @nnx.jit
    def by_layers(graph):
        nodes = jnp.asarray(rows)[None]
        for each in graph.layers:
            nodes = nodes + jax.nn.gelu(each(nodes, jnp.asarray(dense)[None], jnp.ones((1, 6), bool)))
        return nodes[0]

    wanted = rows + (np.asarray(by_layers(graph)) - rows) @ np.asarray(graph.out.kernel)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    without = TaskTypeLinks(jnp.zeros(0, jnp.int32), jnp.zeros((0, 0)))
    nothing = np.asarray(nnx.jit(lambda graph: graph(jnp.asarray(rows), without))(graph))
    np.testing.assert_allclose(nothing[[1, 4]], wanted[[1, 4]], rtol=1e-4, atol=1e-4)
    assert np.abs(nothing - wanted)[linked].max() > 0.1


def test_a_planner_starts_as_one_without_a_graph(tiny):
    spec, _, parameters = tiny[:3]
    assert not [name for name in build_structure(spec)[1] if name.startswith("task_type_graph")]
    found = split_parameters(build_model(spec_with(tiny, "sage"), 0))[1]
    assert {name for name in found if name not in parameters} == {
        f"task_type_graph.{name}"
        for name in ("layers.0.own.kernel", "layers.0.neighbours.kernel", "layers.0.neighbours.bias", "out.kernel")
    }
    for name, value in parameters.items():
        np.testing.assert_array_equal(found[name], value)
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16)), jnp.float32)
    links = TaskTypeLinks(jnp.array([0, 2]), jnp.array([[0.0, 1.0], [1.0, 0.0]]))
    for layer in LAYERS:
        graph = TaskTypeGraph(TaskTypeGraphConfig(layer=layer), 16, rngs=nnx.Rngs(0))
        np.testing.assert_array_equal(nnx.jit(lambda graph: graph(rows, links))(graph), rows)


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_alone_lowers_a_loss(tiny, catalog, statistics, layer):
    """Of all parameters those of the graph alone are trained, from their start, through the whole encoding."""
    graphdef, parameters = split_parameters(build_model(spec_with(tiny, layer), 0))
    learned = {k: v for k, v in parameters.items() if k.startswith("task_type_graph.")}
    arrays = build_catalog_arrays(catalog, tiny[4], statistics, linked=True)
    ids, mask = jnp.arange(24, dtype=jnp.int32).reshape(4, 6), jnp.ones((4, 6), bool)
    wanted = jnp.asarray(np.random.default_rng(0).uniform(size=(4, 5)) < 0.5, jnp.float32)
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(learned, state):
        def loss(learned):
            model = merge_parameters(graphdef, {**parameters, **learned})
            labels = model.encode(arrays, model.lower(ids, mask), mask).labels
            return jnp.mean(sigmoid_cross_entropy(labels + 9, wanted))  # without the bias that few types are wanted

        value, gradients = jax.value_and_grad(loss)(learned)
        updates, state = optimizer.update(gradients, state)
        return value, optax.apply_updates(learned, updates), state

    state, losses = optimizer.init(learned), []
    for _ in range(40):
        value, learned, state = step(learned, state)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
    start = {k: v for k, v in parameters.items() if k in learned}
    assert all(np.any(learned[name] != start[name]) for name in start)


# Bound catalogs


@pytest.mark.parametrize(("layer", "num_layers"), [*((layer, 1) for layer in LAYERS), ("gcn", 2)])
def test_rows_of_a_bound_catalog_are_those_of_the_network(make, catalog, layer, num_layers):
    planner = make(layer, num_layers)
    rows = bound_rows(planner, catalog)
    np.testing.assert_allclose(rows, network_rows(planner, catalog), rtol=1e-4, atol=1e-4)
    without = {**planner._parameters, "task_type_graph.out.kernel": jnp.zeros((16, 16))}
    planner._parameters, planner._bound = without, {}
    assert np.abs(bound_rows(planner, catalog) - rows).max(axis=1).min() > 0.01


def test_a_new_types_vector_goes_by_its_neighbours(make, catalog):
    planner = make()
    before = bound_rows(planner, catalog)
    place = catalog.index["caption"]
    for links in ((), (Link(source="crop", target="caption"),)):
        after = bound_rows(planner, catalog.model_copy(update={"links": links}))
        assert np.abs(after - before)[place].max() > 0.01
        untouched = [catalog.index[name] for name in ("summarise", "blur")]
        np.testing.assert_allclose(after[untouched], before[untouched], atol=1e-6)  # further than one link away
    turned = catalog.model_copy(update={"links": (Link(source="translate", target="caption"),)})
    np.testing.assert_allclose(bound_rows(planner, turned), before, atol=1e-6)  # a link speaks both ways


@pytest.mark.parametrize("layer", LAYERS)
def test_the_catalogs_order_does_not_matter(make, catalog, layer):
    planner = make(layer)
    order = [3, 0, 4, 1, 2]
    moved = catalog.model_copy(update={"task_types": tuple(catalog.task_types[i] for i in order)})
    np.testing.assert_allclose(bound_rows(planner, moved), bound_rows(planner, catalog)[order], rtol=1e-4, atol=1e-4)


def test_a_network_without_links_says_so(tiny, make):
    planner = make()
    model = merge_parameters(planner._graphdef, planner._parameters)
    mask = jnp.ones((1, 4), bool)
    with pytest.raises(ValueError, match="wants a catalog that is laid out `linked`"):
        jax.eval_shape(lambda lower: model.encode(tiny[3], lower, mask), jnp.zeros((1, 4, 16)))


# Large catalogs


def many(size, num_links):
    words = ["translate", "text", "image", "blur", "crop", "caption", "summarise"]
    types = tuple(TaskType(id=f"t{i}", description=f"{words[i % 7]} {words[i // 7 % 7]}") for i in range(size))
    links = tuple(Link(source=f"t{i}", target=f"t{i + 3}") for i in range(0, 3 * num_links, 3))
    return Catalog(name="many", task_types=types, links=links)


@pytest.mark.parametrize("num_links", [0, 3])
def test_candidates_have_the_rows_of_the_whole_catalog(make, monkeypatch, num_links):
    """Rows by chunks, and of linked types by the graph among them; candidates take theirs."""
    monkeypatch.setattr(task_type_graph, "_CHUNK", 8)
    catalog = many(30, num_links)
    planner = make(above=20, candidates=12)
    (view,), _ = planner._read(
        planner._bound_to(catalog), ["translate"], planner._reader.tokens(["translate"]), also=range(0, 12, 3)
    )
    assert {0, 3, 6, 9} <= set(view.types.tolist())
    planner._own = catalog, float_rows(planner._vectors_of(catalog), np.arange(30))  # both from 8 bits a number
    monkeypatch.setattr(task_type_graph, "_CHUNK", 30)
    whole = make(above=30, candidates=12)
    whole._own = planner._own
    np.testing.assert_allclose(view.arrays.embedded, bound_rows(whole, catalog)[view.types], rtol=1e-4, atol=1e-4)
    if num_links:
        assert all(workflow.tasks for workflow in planner.plan_many(["translate text 3", "text"], catalog))


# Settings


def test_settings_are_known_to_programs_and_refused_where_unknown(tiny):
    keys = {
        parameters_key(spec, {})
        for spec in (
            spec_with(tiny, "none"),
            spec_with(tiny, "sage"),
            spec_with(tiny, "gcn"),
            spec_with(tiny, "gcn", 2),
        )
    }
    assert len(keys) == 4
    with pytest.raises(pydantic.ValidationError, match=r"task_type_graph\.layer"):
        PlannerConfig.model_validate({"task_type_graph": {"layer": "rgcn"}})
    with pytest.raises(pydantic.ValidationError, match=r"task_type_graph\.depth"):
        PlannerConfig.model_validate({"task_type_graph": {"depth": 2}})


def test_settings_of_before_there_was_a_graph_have_none(tiny):
    old = tiny[0].planner.model_dump(mode="json")
    del old["task_type_graph"]
    assert PlannerConfig.model_validate(old) == tiny[0].planner
    assert not PlannerConfig.model_validate(old).task_type_graph.is_used


def test_number_of_layers_is_that_of_the_graph(tiny):
    names = build_structure(spec_with(tiny, "gat", 3))[1]
    assert {name.split(".")[2] for name in names if name.startswith("task_type_graph.layers.")} == {"0", "1", "2"}
