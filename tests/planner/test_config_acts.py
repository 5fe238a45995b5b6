"""Fields of the planner's configuration: changing one changes what is built, decoded or drawn."""

import dataclasses
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import DecodingConfig, PlannerConfig, Preference
from orchestai_jax.planner import Planner, compiled, decoding
from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.planner.calibration import Calibration
from orchestai_jax.planner.decoding import DecodedPlans, decode, pick_plan
from orchestai_jax.planner.model import (
    build_model,
    build_structure,
    is_frozen,
    merge_parameters,
    partition,
    split_parameters,
)
from orchestai_jax.planner.plan_to_workflow import to_workflow

SUMMARISE, TRANSLATE, BLUR, CROP, CAPTION = range(5)


def changed(spec, **sections):
    """The spec with keys of some sections of its planner's configuration changed."""
    updates = {name: getattr(spec.planner, name).model_copy(update=keys) for name, keys in sections.items()}
    return dataclasses.replace(spec, planner=spec.planner.model_copy(update=updates))


@pytest.fixture(scope="module")
def make_planner(tiny, catalog, tokenizer):
    """Makes the tiny planner with other parameters and sections of its configuration changed."""
    spec, _, _, _, vectors, statistics = tiny

    def make(parameters, **sections):
        return Planner(
            changed(spec, **sections), parameters, tokenizer, catalog, statistics, np.asarray(vectors), Preference()
        )

    return make


@pytest.fixture(scope="module")
def parameters_shaken(tiny):
    """Parameters moved at random, so that choices are neither uniform nor certain."""
    random = np.random.default_rng(1)
    moved = {k: jnp.float32(v + 0.3 * random.normal(size=v.shape)) for k, v in tiny[2].items()}
    return {**moved, "decomposer.stop_bias": jnp.float32(-2)}  # plans of some length


# Decoding


def test_the_decoding_method_decides_which_plans_are_given(make_planner, parameters_shaken):
    words = ["translate", "blur", "the text", "crop", "an image", "summarise", "then", "caption"]
    texts = [f"{a} {b}" for a in words for b in words if a != b][:32]
    plans = {}
    for method in ("greedy", "beam", "mbr"):
        planner = make_planner(parameters_shaken, decoding={"method": method, "beam_size": 8})
        plans[method] = [tuple(task.task_type for task in workflow.tasks) for workflow in planner.plan_many(texts)]
    for first, second in (("greedy", "beam"), ("greedy", "mbr"), ("beam", "mbr")):
        assert plans[first] != plans[second], (first, second)


@pytest.mark.parametrize(("method", "beam_size", "kept"), [("greedy", 7, 1), ("beam", 7, 7), ("mbr", 5, 5)])
def test_beam_size_is_the_number_of_plans_kept(tiny, monkeypatch, method, beam_size, kept):
    _, graphdef, parameters, arrays, *_ = tiny
    seen = []

    def spy(chosen, *arguments):
        seen.append(chosen.shape[1])
        return pick_plan(chosen, *arguments)

    monkeypatch.setattr(decoding, "pick_plan", spy)
    ids, mask, weights = jnp.zeros((2, 4), jnp.int32), jnp.ones((2, 4), bool), jnp.ones((2, 3))

    def traced(parameters):
        model = merge_parameters(graphdef, parameters)
        config = DecodingConfig(method=method, beam_size=beam_size)
        decode(model, arrays, model.lower(ids, mask), mask, weights, config)

    jax.eval_shape(traced, parameters)
    assert seen == [kept]


def test_a_length_penalty_favours_long_plans_from_where_the_formula_says():
    # log P / length^penalty, where the stop counts: equal at penalty = log(log P_long / log P_short) / log(4 / 2).
    plans, probabilities = jnp.array([[[0, 9, 9], [1, 2, 3]]]), np.array([0.3, 0.2])
    equal = math.log(math.log(0.2) / math.log(0.3)) / math.log(4 / 2)

    def picked(penalty, method="beam"):
        config = DecodingConfig(method=method, length_penalty=penalty)
        return int(pick_plan(plans, jnp.log(probabilities)[None], 9, config)[0])

    assert [picked(p) for p in (0.0, equal - 0.01, equal + 0.01, 1.0)] == [0, 0, 1, 1]
    assert picked(0.0, "mbr") == picked(1.0, "mbr")  # beam only


# The decomposer


def test_a_type_comes_twice_only_where_repeats_are_allowed(tiny, make_planner):
    """All that decides is the instruction's score of each type, the same at every step; stopping is dear."""
    still = {"decomposer.scale": 0.0, "decomposer.transition_weight": 0.0, "decomposer.link_weight": 0.0}
    still |= {"decomposer.label_weight": 1.0, "decomposer.stop_bias": -1e3}
    parameters = {**tiny[2], **{name: jnp.float32(value) for name, value in still.items()}}
    for allowed in (False, True):
        planner = make_planner(parameters, decomposer={"allow_repeats": allowed})
        chosen = [task.task_type for task in planner.plan("translate the text").tasks]
        assert len(chosen) == 3
        assert len(set(chosen)) == (1 if allowed else 3)


def test_initial_scale_and_label_bias_are_where_training_starts(tiny):
    spec = changed(tiny[0], decomposer={"initial_scale": 3.0, "label_bias": -2.0})
    parameters = split_parameters(build_model(spec, 0))[1]
    scales = {"decomposer.scale", "label_head.attention_scale", "label_head.token_scale", "label_head.pooled_scale"}
    assert {name for name, value in parameters.items() if value.shape == () and value == 3.0} == scales
    assert {name for name in scales if tiny[2][name] == 10.0} == scales  # the default
    assert (parameters["label_head.bias"], tiny[2]["label_head.bias"]) == (-2.0, -9.0)


def test_a_start_from_the_identity_scores_types_by_their_descriptions_before_any_training(tiny):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(2, 6, 16)), jnp.float32)
    mask = jnp.ones((2, 6), bool).at[1, 4:].set(False)
    types = rng.normal(size=(3, 16))
    found = {}
    for start in ("random", "identity"):
        head = build_model(changed(tiny[0], decomposer={"projection_start": start}), 0).label_head
        found[start] = np.asarray(head(hidden, mask, jnp.asarray(types, jnp.float32))[0])

    def cosines(a, b):
        return a @ b / np.sqrt((a @ a) * (b @ b))

    for row, n in enumerate((6, 4)):  # the definition, in float64 and one by one
        tokens = np.asarray(hidden[row, :n], np.float64)
        for t, vector in enumerate(types):
            weights = np.exp([10 * cosines(token, vector) for token in tokens])
            attended = weights / weights.sum() @ tokens
            wanted = 10 * cosines(attended, vector) + 10 * cosines(tokens.mean(0), vector) - 9
            np.testing.assert_allclose(found["identity"][row, t], wanted, atol=1e-4)
    assert np.abs(found["identity"] - found["random"]).max() > 0.1


# The graph generator


@pytest.mark.parametrize("num_layers", [0, 2])
def test_layer_and_number_of_layers_decide_the_graph_generators_parameters(tiny, num_layers):
    found = {}
    for layer in ("none", "gcn", "gat", "sage"):
        shapes = build_structure(changed(tiny[0], graph_generator={"layer": layer, "num_layers": num_layers}))[1]
        prefix = "graph_generator.layers."
        found[layer] = {name.removeprefix(prefix): x.shape for name, x in shapes.items() if name.startswith(prefix)}
        made = {name.split(".")[0] for name in found[layer]}
        assert made == (set() if layer == "none" else {str(i) for i in range(num_layers)})
    distinct = {tuple(sorted(parameters.items())) for parameters in found.values()}
    assert len(distinct) == (4 if num_layers else 1)


@pytest.mark.parametrize("part", ["graph_generator", "task_type_graph"])
def test_heads_and_what_becomes_of_them_decide_the_shape_of_graph_attention(tiny, part):
    width = {"graph_generator": 8, "task_type_graph": 16}[part]

    def kernel(**keys):
        return build_structure(changed(tiny[0], **{part: {"layer": "gat", **keys}}))[1], f"{part}.layers.0"

    for num_heads in (2, 4):
        shapes, name = kernel(num_heads=num_heads, heads="concatenated")
        assert shapes[f"{name}.source"].shape == (num_heads, width // num_heads)
        shapes, name = kernel(num_heads=num_heads, heads="averaged")
        assert shapes[f"{name}.source"].shape == (num_heads, width)


EDGES = np.zeros((3, 3), np.float32)
EDGES[0, 1], EDGES[1, 2] = 0.3, 0.8
"""Of blur, caption, translate: an image fits a caption and a caption a translation; an image fits no translation."""


@pytest.mark.parametrize(("threshold", "drawn"), [(0.0, {(0, 1), (1, 2)}), (0.5, {(1, 2)}), (1.0, set())])
def test_threshold_is_the_least_probability_of_an_edge(tiny, catalog, threshold, drawn):
    """At 0 every pair that fits is drawn and no other, at 1 none is."""
    handed_on = []

    def fill(text, task_types, edges, *arguments, **more):
        handed_on.append(set(edges))
        return fill_arguments(text, task_types, edges, *arguments, **more)

    config = changed(tiny[0], graph_generator={"threshold": threshold}).planner
    plan = decoded(catalog, [BLUR, CAPTION, TRANSLATE], edge_probabilities=EDGES)
    to_workflow("blur, caption, translate", plan, catalog, config, Preference(), Calibration(), fill=fill)
    assert handed_on == [drawn]


@pytest.mark.parametrize(("threshold", "drawn"), [(0.0, {(0, 1), (1, 2)}), (0.5, {(1, 2)}), (1.0, set())])
def test_threshold_counts_for_given_tasks(planner, catalog, monkeypatch, threshold, drawn):
    def plan_given(*arguments):
        tasks = arguments[-1] < len(catalog.task_types)
        return types.SimpleNamespace(edge_probabilities=EDGES * tasks[:, :, None] * tasks[:, None, :])

    monkeypatch.setattr(compiled, "plan_given", plan_given)
    monkeypatch.setattr(planner, "spec", changed(planner.spec, graph_generator={"threshold": threshold}))
    assert set(planner.graph("x", ["blur", "caption", "translate"])) == drawn
    assert set(planner.graph("x", ["blur", "caption"])) == drawn & {(0, 1)}


# Workers


@pytest.mark.parametrize(("enabled", "worker"), [(True, "fast"), (False, "good")])
def test_the_learned_choice_of_worker_can_be_switched_off(tiny, catalog, enabled, worker):
    """What was learned says "fast"; by the figures the preference for quality says "good"."""
    config = changed(tiny[0], worker_selector={"enabled": enabled}).planner
    plan = decoded(catalog, [SUMMARISE], worker_logp=np.log([[0.9, 0.1]] * 3))
    workflow = to_workflow('summarise "it"', plan, catalog, config, Preference.PRESETS["quality"], Calibration())
    assert [task.worker for task in workflow.tasks] == [worker]


# The encoder


@pytest.mark.parametrize(
    ("trainable_layers", "pretrained", "frozen_layers", "embedding_is_frozen"),
    [
        (None, True, set(), False),
        (0, True, {0, 1, 2}, True),
        (1, True, {0, 1}, True),
        (9, True, set(), True),
        (0, False, set(), False),  # from scratch there is nothing to keep
    ],
)
def test_trainable_layers_are_the_last_and_all_before_them_is_frozen(
    tiny, trainable_layers, pretrained, frozen_layers, embedding_is_frozen
):
    spec = changed(tiny[0], encoder={"trainable_layers": trainable_layers})
    spec = dataclasses.replace(spec, encoder=dataclasses.replace(spec.encoder, num_layers=3), pretrained=pretrained)
    shapes = build_structure(spec)[1]
    parts = partition({name: jnp.zeros(x.shape) for name, x in shapes.items()}, spec)
    assert parts["trainable"].keys() | parts["frozen"].keys() == shapes.keys()
    assert not parts["trainable"].keys() & parts["frozen"].keys()
    for name in shapes:
        room, *path = name.split(".")
        wanted = room == "describer"
        if room == "encoder":
            wanted = embedding_is_frozen if path[0] == "embedding" else int(path[1]) in frozen_layers
        assert is_frozen(name, spec) == (name in parts["frozen"]) == wanted, name
    # Descriptions go through the imported layers: copies of those that training moves, the others shared.
    own = {name.split(".")[2] for name in shapes if name.startswith("describer.layers.")}
    assert len(own) == (3 - len(frozen_layers) if pretrained and trainable_layers is not None else 0)
    assert any(name.startswith("describer.encoder.") for name in shapes) == (pretrained and trainable_layers is None)


def decoded(catalog, chosen, **arrays):
    """A plan of three places as decoding gives it, all certain where nothing is said."""
    size = len(catalog.task_types)
    places = np.array(chosen + [size] * (3 - len(chosen)), np.int32)
    zeros = np.zeros(3, np.float32)
    plan = DecodedPlans(
        chosen=places,
        task_logp=zeros,
        plan_logp=np.float32(0),
        task_support=np.ones(3, np.float32),
        plan_support=np.float32(1),
        edge_probabilities=np.zeros((3, 3), np.float32),
        worker_logp=np.zeros((3, 2), np.float32),
        complexity=zeros,
    )
    return plan.replace(**arrays)


@pytest.mark.parametrize(("support", "said"), [(0.19, True), (0.21, False), (0.9, False)])
def test_a_plan_of_low_confidence_says_so(catalog, support, said):
    config, certain = PlannerConfig(), decoded(catalog, [CAPTION], plan_support=np.float32(support))
    workflow = to_workflow("caption a.png", certain, catalog, config, Preference(), Calibration())
    assert workflow.confidence == pytest.approx(support)
    assert any(note.startswith(f"low confidence ({support:.2f})") for note in workflow.notes) == said
