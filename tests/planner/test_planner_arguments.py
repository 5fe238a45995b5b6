"""A planner whose arguments are learned: plans, given tasks and explanations go through its scorer."""

import dataclasses

import numpy as np
import pytest

from orchestai_jax.config import ArgumentsConfig, Preference
from orchestai_jax.planner import Planner
from orchestai_jax.planner.arguments import fill_arguments
from orchestai_jax.planner.arguments.learned import LearnedFiller
from orchestai_jax.planner.model import ARGUMENTS, build_model, is_frozen, split_parameters
from orchestai_jax.planner.vector_cache import VectorCache
from orchestai_jax.workflow import Catalog, Parameter, Value, validate_workflow


@pytest.fixture(scope="module")
def described(catalog):
    """The tiny catalog, `translate` with a parameter."""
    language = Parameter(name="language", type="string", required=True)
    types = [t.model_copy(update={"parameters": (language,)}) if t.id == "translate" else t for t in catalog.task_types]
    return Catalog(name="tiny", task_types=tuple(types), workers=catalog.workers)


@pytest.fixture(scope="module")
def learned(tiny, described, tokenizer):
    spec, _, parameters, _, vectors, statistics = tiny
    config = spec.planner.model_copy(update={"arguments": ArgumentsConfig(method="learned", hidden_size=4)})
    spec = dataclasses.replace(spec, planner=config)
    fresh = split_parameters(build_model(spec, 0))[1]
    scorer = {name: value for name, value in fresh.items() if name.startswith(ARGUMENTS)}
    assert fresh.keys() - scorer.keys() == parameters.keys()
    assert all(is_frozen(name, spec) for name in scorer)
    # whatever may fill a parameter is sure to: `nothing` is dear
    scorer["arguments.bias"] = np.array([-30.0, -30.0], np.float32)
    merged = {**parameters, **scorer}
    return Planner(spec, merged, tokenizer, described, statistics, np.asarray(vectors), Preference())


def test_given_tasks_are_filled_by_the_scorer(learned, described):
    (arguments,) = learned.arguments("Dutch", ["translate"], described)
    assert arguments["language"] == Value(value="Dutch")
    ruled = fill_arguments("Dutch", ("translate",), (), described)
    assert "language" not in ruled.arguments[0]


def test_plans_and_explanations_are_filled_by_it_too(learned, described, monkeypatch):
    seen = []

    def spy(self, instruction, *arguments, **options):
        seen.append(instruction)
        return fill(self, instruction, *arguments, **options)

    fill = LearnedFiller.__call__
    monkeypatch.setattr(LearnedFiller, "__call__", spy)
    text = "translate the text"
    workflow = learned.plan(text)
    assert not validate_workflow(workflow, described, require_arguments=False)
    assert seen == [text]
    learned.candidates(text, n=2)
    assert len(seen) > 1
    seen.clear()
    assert learned.explain(text).workflow == workflow
    assert {"          the text", "translate     text"} <= set(seen)  # filled again without each word


def test_descriptions_are_cached_whatever_fills_the_arguments(learned, planner):
    assert isinstance(learned.vector_cache, VectorCache)
    assert learned.vector_cache._fingerprint == planner.vector_cache._fingerprint
