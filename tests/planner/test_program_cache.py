"""Planning programs on disk: another process plans the same without tracing, and whatever lies there does no harm."""

import functools
import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.cpu import library
from orchestai_kernels.encoder_block import BlockWeights, Dense, Norm, encoder_block

from orchestai_jax.config import DecodingConfig
from orchestai_jax.planner import program_cache
from orchestai_jax.planner.planning_programs import PlanningPrograms, parameters_key
from orchestai_jax.planner.program_cache import ProgramCache, exported, network_key

DECODING = DecodingConfig(method="beam", beam_size=2)


@pytest.fixture(scope="module")
def asked(planner):
    """A catalog, instructions and a preference, as a program takes them."""
    (view,), inputs = planner._read(
        planner._bound_to(planner.catalog), ["translate it"], planner._reader.tokens(["translate it"]), rows=1
    )
    return view.arrays, inputs, planner._weights(planner.preference, 1)


def programs(tiny, folder, graphdef=None):
    own, parameters = tiny[1:3]
    return PlanningPrograms(graphdef or (lambda: own), parameters, ProgramCache("tiny", folder))


def never():
    raise AssertionError("traced")


def test_another_process_plans_the_same_without_tracing(tiny, asked, tmp_path):
    graphdef, parameters = tiny[1:3]
    first = programs(tiny, tmp_path)
    wanted = PlanningPrograms(lambda: graphdef, parameters, None).plan(DECODING, *asked)
    made = first.plan(DECODING, *asked)
    again = programs(tiny, tmp_path, never).plan(DECODING, *asked)
    for one, two, three in zip(*map(jax.tree.leaves, (wanted, made, again)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(two, three)


def test_one_shape_and_decoding_make_one_program(tiny, asked, tmp_path):
    given = programs(tiny, tmp_path)
    for _ in range(2):
        given.plan(DECODING, *asked)
    assert len(given) == 1
    given.plan(DecodingConfig(method="labels"), *asked)
    assert len(given) == 2
    with pytest.raises(AssertionError, match="traced"):
        programs(tiny, tmp_path, never).plan(DecodingConfig(method="beam", beam_size=1), *asked)


def test_a_damaged_program_is_made_again(tiny, asked, tmp_path, caplog):
    wanted = programs(tiny, tmp_path).plan(DECODING, *asked)
    (path,) = (tmp_path / "tiny").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-10] + bytes(10))
    with caplog.at_level(logging.WARNING):
        found = programs(tiny, tmp_path).plan(DECODING, *asked)
    assert "is damaged: its program is made again" in caplog.text
    np.testing.assert_array_equal(found.plan_logp, wanted.plan_logp)
    assert path.read_bytes() != content[:-10] + bytes(10)
    programs(tiny, tmp_path, never).plan(DECODING, *asked)


def test_a_folder_that_cannot_be_written_is_done_without(tiny, asked, tmp_path, caplog):
    (tmp_path / "tiny").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        given = programs(tiny, tmp_path)
        given.plan(DECODING, *asked)
        given.plan(DecodingConfig(method="labels"), *asked)
    assert caplog.text.count("programs are traced anew each time") == 1


def test_what_programs_depend_on_is_in_the_key(tiny, monkeypatch, tmp_path):
    spec, _, parameters = tiny[:3]
    key = parameters_key(spec, parameters)
    assert key == parameters_key(spec, dict(reversed(parameters.items())))
    name = next(iter(parameters))
    assert key != parameters_key(spec, {**parameters, name: jnp.zeros(7)})
    assert network_key("a", "b") != network_key("ab")
    source = tmp_path / "code.py"
    source.write_text("x = 1")
    monkeypatch.setattr(program_cache, "_SOURCES", (tmp_path,))
    before = network_key("a")
    source.write_text("x = 2")
    assert network_key("a") != before


def test_few_networks_are_kept(tiny, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(program_cache, "_MOST_NETWORKS", 2)
    program = exported(jax.jit(lambda x: x + 1), [jnp.zeros(2)])
    for name in "abc":
        cache = ProgramCache(name, tmp_path)
        assert not cache.has_any
        cache.keep("add", program)
        assert cache.has_any
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}
    found = ProgramCache("c", tmp_path).load("add")
    assert found is not None
    np.testing.assert_array_equal(found.call(jnp.zeros(2)), 1)
    assert ProgramCache("c", tmp_path).load("subtract") is None


def test_calls_of_the_library_survive(tmp_path):
    if library.problem() is not None:
        pytest.skip(library.problem())
    draw = np.random.default_rng(0)
    square = Dense(jnp.asarray(draw.normal(size=(32, 32)), jnp.float32), jnp.zeros(32))
    norm = Norm(jnp.ones(32), jnp.zeros(32))
    weights = BlockWeights(square, square, square, square, norm, square, square, norm)
    x, mask = jnp.asarray(draw.normal(size=(1, 4, 32)), jnp.float32), jnp.ones((1, 4), bool)
    leaves, structure = jax.tree.flatten(weights)
    run = functools.partial(encoder_block, heads=1, implementation="cpu")
    call = jax.jit(lambda x, mask, leaves: run(x, mask, jax.tree.unflatten(structure, leaves)))
    ProgramCache("block", tmp_path).keep("one", exported(call, (x, mask, leaves)))
    found = ProgramCache("block", tmp_path).load("one")
    assert found is not None
    np.testing.assert_array_equal(found.call(x, mask, leaves), call(x, mask, leaves))


def test_the_code_that_is_hashed_is_there():
    names = {path.name for folder in program_cache._SOURCES for path in pathlib.Path(folder).rglob("*.py")}
    assert {"transformer.py", "decoding.py", "dispatch.py"} <= names
