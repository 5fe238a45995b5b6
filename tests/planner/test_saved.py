"""What a planner's checkpoint must hold, and what is said of one that does not."""

import jax
import pytest

from orchestai_jax.checkpoint import CheckpointError
from orchestai_jax.config import Preference
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.model import build_structure
from orchestai_jax.planner.saved import check_parameters, planner_assets, planner_metadata, read_assets, read_spec


def test_spec_and_assets_come_back(tiny, catalog, tokenizer):
    spec, *_, statistics = tiny
    preference = Preference.PRESETS["fast"]
    assert read_spec(planner_metadata(spec, preference, "nowhere", {}), "here") == (spec, preference)
    text, again, counted = read_assets(planner_assets(tokenizer, catalog, statistics), "here")
    assert (text, again) == (tokenizer.json, catalog)
    assert (counted.task_types, counted.workers) == (statistics.task_types, statistics.workers)


def test_another_thing_than_a_planner_is_refused(tiny):
    metadata = planner_metadata(tiny[0], Preference(), "nowhere", {})
    with pytest.raises(CheckpointError, match="here: a checkpoint of language_model, not of a planner"):
        read_spec({**metadata, "kind": "language_model"}, "here")
    with pytest.raises(CheckpointError, match="a checkpoint of something unnamed"):
        read_spec({}, "here")
    del metadata["encoder"]
    with pytest.raises(CheckpointError, match=r"not that of this version's planner .*encoder"):
        read_spec(metadata, "here")


def test_assets_that_are_missing_or_broken_are_named(tiny, catalog, tokenizer):
    assets = planner_assets(tokenizer, catalog, PlanStatistics.of([], catalog))
    with pytest.raises(CheckpointError, match=r"here: lacks catalog\.json$"):
        read_assets({k: v for k, v in assets.items() if k != "catalog.json"}, "here")
    with pytest.raises(CheckpointError, match="cannot read catalog or statistics"):
        read_assets({**assets, "statistics.json": "{"}, "here")


def test_parameters_of_another_network_are_named(tiny):
    spec, _, parameters, *_ = tiny
    shapes = build_structure(spec)[1]
    check_parameters(parameters, shapes, "here")
    name = "worker_selector.listener.bias"
    with pytest.raises(CheckpointError, match=f"here: lacks the parameter {name}; it is of another version"):
        check_parameters({k: v for k, v in parameters.items() if k != name}, shapes, "here")
    with pytest.raises(CheckpointError, match=r"here: holds the unknown parameter a\.b"):
        check_parameters({**parameters, "a.b": parameters[name]}, shapes, "here")
    with pytest.raises(CheckpointError, match=rf"parameter {name} has shape \(7,\), the planner wants \(3,\)"):
        check_parameters({**parameters, name: jax.numpy.zeros(7)}, shapes, "here")


def test_the_structure_is_that_of_the_network_that_is_built(tiny):
    spec, graphdef, parameters = tiny[:3]
    found, shapes = build_structure(spec)
    assert found == graphdef
    assert {name: (s.shape, s.dtype) for name, s in shapes.items()} == {
        name: (p.shape, p.dtype) for name, p in parameters.items()
    }
