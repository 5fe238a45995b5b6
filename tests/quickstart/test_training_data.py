import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from orchestai_jax.config import Preference
from orchestai_jax.data import SynthesisConfig, load_samples, save_samples, synthesize
from orchestai_jax.quickstart import best_worker, load_wording, make_training_data
from orchestai_jax.quickstart.training_data import generic_templates, label


@pytest.fixture(scope="module")
def data(catalog, outcomes):
    return make_training_data(catalog, outcomes, seed=3, train=300, validation=40, held_out=60)


def test_numbers_are_as_asked_and_no_instruction_comes_twice(data):
    assert [len(part) for part in (data.train, data.validation, data.held_out_templates)] == [300, 40, 60]
    every = [*data.train, *data.validation, *data.held_out_templates]
    assert len({" ".join(s.instruction.casefold().split()) for s in every}) == 400
    assert len({s.id for s in every}) == 400


def test_equal_seeds_give_equal_samples_and_others_others(catalog, outcomes):
    one, again, other = (
        make_training_data(catalog, outcomes, seed=seed, train=30, validation=5, held_out=5) for seed in (3, 3, 4)
    )
    assert again == one
    assert not {s.instruction for s in other.train} & {s.instruction for s in one.train}


def test_every_task_type_is_trained_on(catalog, data):
    assert {t for s in data.train for t in s.task_types} == set(catalog.index)


@pytest.mark.parametrize(("part", "count"), [("train", 400), ("held_out", 200)])
def test_every_task_type_is_among_the_generic_instructions(catalog, part, count):
    templates = generic_templates(load_wording(catalog).part(part), catalog, np.random.default_rng(0))
    samples = synthesize(catalog, SynthesisConfig(n=count, max_tasks=4), templates)
    assert {t for s in samples for t in s.task_types} == set(catalog.index)


def test_the_generic_values_are_the_same_in_every_process():
    script = (
        "import numpy as np\n"
        "from orchestai_jax.quickstart import load_embedded_catalog, load_wording\n"
        "from orchestai_jax.quickstart.training_data import generic_templates\n"
        "catalog = load_embedded_catalog()\n"
        "templates = generic_templates(load_wording(catalog), catalog, np.random.default_rng(0))\n"
        "print([(name, [value.say for value in pool]) for name, pool in templates.values.items()])\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert "filter_table.condition" in printed.pop()


def test_plans_are_dags_in_order_whose_types_fit(catalog, data):
    shapes = set()
    for sample in data.train:
        for source, target in sample.dependencies:
            assert source < target
            assert catalog.fits(sample.task_types[source], sample.task_types[target])
        shapes.add((len(sample.task_types), len(sample.dependencies)))
        assert len(sample.step_texts) == len(sample.task_types)
    assert {(1, 0), (2, 0), (2, 1), (3, 2)} <= shapes


def test_workers_are_the_best_under_the_stated_preference(outcomes, data):
    presets = {preference.weights: name for name, preference in Preference.PRESETS.items()}
    seen = set()
    for sample in data.train:
        preference = Preference.PRESETS[presets[sample.preference]]
        seen.add(presets[sample.preference])
        assert sample.workers == tuple(best_worker(outcomes, t, preference) for t in sample.task_types)
        assert all(0 <= c <= 1 for c in sample.complexities)
    assert seen == {"balanced", "fast", "quality", "cheap"}


def test_an_unstated_preference_leaves_no_phrase(catalog, data):
    phrases = load_wording(catalog).preferences
    telling = {"as fast as possible", "in top quality", "as cheaply as possible"}
    assert set(phrases) == {"fast", "quality", "cheap"}
    for sample in data.train:
        if sample.preference == Preference().weights:
            assert not any(phrase in sample.instruction for phrase in telling)


def test_samples_survive_a_file(tmp_path, catalog, data):
    save_samples(tmp_path / "train.jsonl", data.train[:20])
    assert load_samples(tmp_path / "train.jsonl", "planning", catalog) == list(data.train[:20])


def test_progress_is_told(catalog, outcomes):
    told = []
    make_training_data(
        catalog, outcomes, train=90, validation=10, held_out=10, progress=lambda *what: told.append(what)
    )
    assert told == [(100, 110)]


def test_a_part_of_no_samples_is_refused(catalog, outcomes):
    with pytest.raises(ValueError, match="held_out is 0"):
        make_training_data(catalog, outcomes, train=5, validation=5, held_out=0)


def test_label_changes_with_the_preference(outcomes, data):
    sample = dataclasses.replace(data.train[0], task_types=("resize_image",), dependencies=(), workers=None,
                                 step_texts=None, complexities=None, arguments=None)  # fmt: skip
    fast = label(sample, outcomes, Preference.PRESETS["fast"])
    good = label(sample, outcomes, Preference.PRESETS["quality"])
    assert (fast.workers, good.workers) == (("resize_image_nearest",), ("resize_image_lanczos",))
