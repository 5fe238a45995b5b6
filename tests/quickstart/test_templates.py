import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import SynthesisConfig, synthesize
from orchestai_jax.data.clause_grammar import parse_clause
from orchestai_jax.quickstart import WordingError, check_wording, load_embedded_catalog, load_wording
from orchestai_jax.quickstart.composition import attach, compose, listed, shared_tail
from orchestai_jax.quickstart.plan_sampling import MAX_TASKS, SHAPES, FileInput, PlannedTask, PlanSampler, TaskInput
from orchestai_jax.quickstart.training_data import generic_templates
from orchestai_jax.quickstart.wording import PREFERENCES, expand
from orchestai_jax.workflow import types_fit

CATALOG = load_embedded_catalog()
WORDING = load_wording(CATALOG)
SAMPLER = PlanSampler(CATALOG)


def test_every_task_type_has_clauses_of_many_kinds():
    for task_type in CATALOG.task_types:
        forms = WORDING.clauses[task_type.id]
        lines = [line for form, found in forms.items() if form != "names" for line in found]
        assert len(lines) >= 12, task_type.id
        assert len({line.source for line in lines}) == len(lines), task_type.id
        assert {"do", "thing", "ask", "need", "names"} <= set(forms), task_type.id


def test_parts_share_no_clause_and_leave_none_out():
    train, held_out = WORDING.part("train"), WORDING.part("held_out")
    for task_type, forms in WORDING.clauses.items():
        for form, lines in forms.items():
            one = {line.source for line in train.clauses[task_type][form]}
            other = {line.source for line in held_out.clauses[task_type][form]}
            if form == "names":
                assert one == other
                continue
            assert not one & other
            assert one | other == {line.source for line in lines}
            assert one, (task_type, form)
        assert held_out.has(task_type, "do")
        assert held_out.has(task_type, "thing") == (len(WORDING.clauses[task_type]["thing"]) > 2)


def test_every_file_kind_and_preference_has_phrases():
    assert {"image", "audio", "table", "text", "file"} <= set(WORDING.files)
    for name in PREFERENCES:
        assert len(WORDING.preferences[name]["inline"]) >= 10
        assert len(WORDING.preferences[name]["sentence"]) >= 10


def _with(task_type: str, form: str, line: str):
    clauses = {t: dict(forms) for t, forms in WORDING.clauses.items()}
    clauses.setdefault(task_type, {})[form] = (parse_clause(line),)
    return dataclasses.replace(WORDING, clauses=clauses)


@pytest.mark.parametrize(
    ("task_type", "form", "line", "message"),
    [
        ("bake_cake", "do", "bake {cake}", "'bake_cake' is not in the catalog"),
        ("crop_image", "shout", "crop {image}", "has a form 'shout'; allowed: do, short"),
        ("crop_image", "do", "crop {image} to {flavour}", "{flavour} is neither an input nor a value"),
        ("crop_image", "do", "crop to a square", "does not say {image}"),
        ("crop_image", "short", "crop {image}", "leaves the input out"),
    ],
)
def test_wording_that_does_not_fit_is_refused(task_type, form, line, message):
    with pytest.raises(WordingError, match=re.escape(message)):
        check_wording(_with(task_type, form, line), CATALOG)


def test_a_task_type_without_clauses_is_refused():
    clauses = {t: forms for t, forms in WORDING.clauses.items() if t != "crop_image"}
    with pytest.raises(WordingError, match="'crop_image' has no clauses"):
        check_wording(dataclasses.replace(WORDING, clauses=clauses), CATALOG)


def test_alternatives_are_chosen_and_slots_kept():
    clause = parse_clause("(crop|cut) {image} (to a square|)")
    found = {expand(clause, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {"crop {image} to a square", "cut {image} to a square", "crop {image}", "cut {image}"}


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), preference=st.sampled_from([None, *PREFERENCES]))
def test_any_plan_is_sound_and_can_be_worded(seed, preference):
    plan = SAMPLER.sample(np.random.default_rng(seed))
    types = [task.task_type for task in plan]
    assert 1 <= len(plan) <= MAX_TASKS
    assert len(set(types)) == len(types)
    for place, task in enumerate(plan):
        ports = {port.name: port.type for port in CATALOG.task_type(task.task_type).inputs}
        required = {port.name for port in CATALOG.task_type(task.task_type).inputs if port.required}
        assert required <= {name for name, _ in task.inputs}
        for name, source in task.inputs:
            if isinstance(source, TaskInput):
                assert source.task < place
                assert plan[source.task].task_type == source.task_type
                outputs = CATALOG.task_type(source.task_type).outputs
                assert any(types_fit(output.type, ports[name]) for output in outputs)
            else:
                assert isinstance(source, FileInput)
                assert types_fit(source.kind, ports[name]) or source.kind == "text"
    request = compose(plan, WORDING.part("train"), np.random.default_rng(seed), preference)
    assert request == compose(plan, WORDING.part("train"), np.random.default_rng(seed), preference)
    assert len(request.step_texts) == len(plan)
    for text in (request.text, *request.step_texts):
        assert text.strip()
        assert not re.search(r"[{}|]", text), text
        assert "\\1" not in text
    if preference is not None:
        assert request.text != compose(plan, WORDING.part("train"), np.random.default_rng(seed)).text


def test_every_shape_is_drawn_and_joins_have_two_producers():
    rng = np.random.default_rng(0)
    plans = [SAMPLER.sample(rng) for _ in range(400)]
    assert {len(plan) for plan in plans} >= {1, 2, 3, 4}
    assert any(len(task.producers) == 2 for plan in plans for task in plan)
    assert any(len(plan) > 1 and not any(task.producers for task in plan) for plan in plans)
    assert set(SHAPES) >= {"single", "fan_out", "join"}


def test_plans_need_a_tool_graph():
    with pytest.raises(ValueError, match="has no links"):
        PlanSampler(CATALOG.model_copy(update={"links": ()}))


def test_the_file_is_named_and_the_result_is_not_named_like_it():
    """The second of two siblings must not say `it`: that would be the result of the first."""
    file = FileInput(0, "image")
    plan = tuple(PlannedTask(t, (("image", file),)) for t in ("grayscale_image", "blur_image"))
    for seed in range(150):
        text = compose(plan, WORDING, np.random.default_rng(seed)).text
        assert not re.search(r"(then|and|also,?|next,?) (please |)(blur|soften|defocus) it\b", text), text


def test_small_pieces():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b"], both=True) == "both a and b"
    assert attach("crop it", ", then", "blur it") == "crop it, then blur it"
    assert attach("crop it", "and", "blur it") == "crop it and blur it"
    assert shared_tail(["a grey copy of x.png", "a palette of x.png"]) == ["a grey copy", "a palette of x.png"]
    assert shared_tail(["a grey copy of x.png", "a palette of y.png"]) == ["a grey copy of x.png", "a palette of y.png"]


def test_the_generic_synthesis_takes_the_same_clauses():
    templates = generic_templates(WORDING.part("held_out"), CATALOG, np.random.default_rng(0))
    samples = synthesize(CATALOG, SynthesisConfig(n=20), templates)
    assert len(samples) == 20
    assert not any("{" in sample.instruction for sample in samples)
