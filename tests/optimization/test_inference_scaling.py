"""Selection among candidates by what can be checked, and the cache made smaller."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import InferenceScalingConfig, LanguageModelConfig
from orchestai_jax.language_model import Sampling, initial_parameters
from orchestai_jax.language_model.cache import KeyValueCache
from orchestai_jax.language_model.generation import Generator
from orchestai_jax.language_model.serving_model import serving_model
from orchestai_jax.language_model.text_generation import TextGenerator
from orchestai_jax.language_model.tokenizers import train_characters
from orchestai_jax.optimization import (
    answer_verifier,
    json_verifier,
    optimize_kv_cache,
    pattern_verifier,
    plan_verifier,
    select_path,
)
from orchestai_jax.optimization.candidates import select_answer, select_plan
from orchestai_jax.workflow import Catalog, Port, Task, TaskType, Value, WorkerSpec, Workflow


@hypothesis.given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_another_is_taken_exactly_where_its_margin_passes(rewards, threshold):
    found = select_path(range(len(rewards)), lambda i: rewards[i], threshold)
    best = max(rewards)
    assert found.margin == best - rewards[0]
    wanted = rewards.index(best) if found.margin > 0 and found.margin >= threshold else 0
    assert (found.chosen, found.index, found.replaced) == (wanted, wanted, wanted > 0)
    assert found.rewards == tuple(rewards)


def test_what_a_selection_refuses():
    with pytest.raises(ValueError, match="at least one, got none"):
        select_path([], float, 0.5)
    with pytest.raises(ValueError, match="threshold must be from 0 to 1, got 2"):
        select_path([0.0], float, 2)
    with pytest.raises(ValueError, match="reward must be from 0 to 1, got nan"):
        select_path([0.0], lambda x: float("nan"), 0.5)
    with pytest.raises(ValueError, match="not a regular expression"):
        pattern_verifier("(")


def test_verifiers_of_texts():
    assert [pattern_verifier(r"lo+ve")(text) for text in ("my loove", "lve")] == [1, 0]
    assert [answer_verifier("42 ")(text) for text in (" 42\n", "421")] == [1, 0]
    assert [json_verifier()(text) for text in ('{"a": [1]}', "{a}")] == [1, 0]


FILE = Port(name="file", type="image")
CATALOG = Catalog(
    name="toy",
    task_types=(
        TaskType(id="blur", inputs=(FILE,), outputs=(FILE,)),
        TaskType(id="crop", inputs=(FILE,), outputs=(FILE,)),
        TaskType(id="read", inputs=(Port(name="text", type="text"),), outputs=()),
    ),
    workers=(WorkerSpec(id="one", task_types=("blur", "crop", "read")),),
)


def plan(*tasks):
    filled = {"file": Value(value="a.png")}
    return Workflow(
        instruction="blur a.png",
        tasks=tuple(
            Task(id=f"t{i}", task_type=name, worker="one", arguments=filled if is_filled else {})
            for i, (name, is_filled) in enumerate(tasks)
        ),
    )


def test_plans_are_rewarded_for_being_valid_filled_and_the_known_answer():
    verifier = plan_verifier(CATALOG)
    assert verifier(plan(("blur", True))) == 1
    assert verifier(plan(("blur", True), ("read", False))) == 0.5
    assert verifier(plan()) == 0
    assert verifier(plan(("paint", True))) == 0  # no such task type
    cyclic = Workflow(
        tasks=tuple(
            Task(id=i, task_type="blur", worker="one", arguments={"file": Value(value="a.png")}, depends_on=(j,))
            for i, j in (("a", "b"), ("b", "a"))
        )
    )
    assert verifier(cyclic) == 0
    known = plan_verifier(CATALOG, answer={"blur", "crop"})
    assert known(plan(("blur", True), ("crop", True))) == 1
    assert known(plan(("blur", True))) == pytest.approx(2 / 3)


class ThreePlans:
    """A planner whose first choice lacks an argument."""

    catalog = CATALOG

    def plan(self, text, catalog, preference):
        return plan(("read", False))

    def candidates(self, text, n, catalog, preference):
        return [plan(("read", False)), plan(("blur", True)), plan(("crop", True))][:n]


def test_a_plan_is_selected_where_the_first_cannot_be_run():
    chosen = select_plan(ThreePlans(), "", candidates=3, threshold=0.7)
    assert (chosen.chosen.tasks[0].task_type, chosen.rewards) == ("blur", (0.0, 1.0, 1.0))
    assert (
        select_plan(ThreePlans(), "", candidates=3, threshold=0.7, answer={"crop"}).chosen.tasks[0].task_type == "crop"
    )
    assert not select_plan(ThreePlans(), "", candidates=1, threshold=0).replaced
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        select_plan(ThreePlans(), "", candidates=0, threshold=0.7)


def test_a_continuation_is_selected():
    config = LanguageModelConfig(
        vocab_size=5, hidden_size=16, intermediate_size=24, num_layers=1, num_heads=2, num_kv_heads=1, max_positions=32
    )
    generator = TextGenerator(
        Generator(serving_model(config, initial_parameters(config, 0))), train_characters("abcd\n")
    )
    sampling = Sampling(temperature=1.0, seed=3)
    alone = [
        generator.answer("ab", max_new_tokens=6, sampling=dataclasses.replace(sampling, seed=3 + i)) for i in range(5)
    ]
    wanted = next(i for i, answer in enumerate(alone) if i and answer.text != alone[0].text)
    options = {"candidates": 5, "sampling": sampling, "max_new_tokens": 6}
    verifier = lambda text: float(text == alone[wanted].text)  # noqa: E731
    found = select_answer(generator, "ab", verifier, threshold=0.7, **options)
    assert found.index == wanted
    assert found.chosen == alone[wanted]
    assert select_answer(generator, "ab", lambda text: 0.5, threshold=0, **options).index == 0
    with pytest.raises(ValueError, match="want a temperature above 0"):
        select_answer(generator, "ab", verifier, threshold=0.7, candidates=2, sampling=Sampling())


def test_the_cache_is_packed_and_dropped_as_configured():
    rng = np.random.default_rng(0)
    array = jnp.asarray(rng.normal(size=(2, 1, 2, 192, 8)), jnp.float32)
    cache = KeyValueCache(array, array, jnp.zeros(1, jnp.int32), jnp.int32(160))
    mass = np.full((2, 1, 160), 1e-4, np.float32)
    mass[:, :, :32] = 1 / 32
    small, report = optimize_kv_cache(cache, mass, InferenceScalingConfig())
    assert report.slots_dropped == 160 - 48  # two heavy blocks of 16 and the last one
    assert (report.bytes_before, report.bytes_after) == (cache.nbytes, small.nbytes)
    assert report.reduction == 1 - 128 / 192 * (8 + 4) / 32
    _, only_packed = optimize_kv_cache(cache, mass, InferenceScalingConfig(sparsity_threshold=0))
    assert only_packed.reduction == 1 - (8 + 4) / 32
    same, none = optimize_kv_cache(cache, mass, InferenceScalingConfig(sparsity_threshold=0, kv_cache="float"))
    assert (none.reduction, none.slots_dropped) == (0, 0)
    assert same.keys is cache.keys
