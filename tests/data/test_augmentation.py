"""Augmentation: the instruction changes, the gold plan does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import AugmentationConfig, DataError, PlanningSample, augment, augmented_samples, join_samples

NOTHING = AugmentationConfig(word_dropout=0, typo=0, lower_case=0, no_final_mark=0, join=0)
SAMPLE = PlanningSample(
    "s",
    'Please resize the picture My_Photo.PNG to Berlin and write "The Draft" on it.',
    ("resize", "mark"),
    ((0, 1),),
    workers=("w", "v"),
    step_texts=("resize", "write"),
    arguments=({"place": {"value": "Berlin"}}, {"image": {"task": 0, "output": "image"}}),
    complexities=(0.5, 0.25),
    preference=(1.0, 0.0, 0.0),
)
OTHER = PlanningSample(
    "o",
    "Zip notes.txt.",
    ("zip",),
    arguments=({"f": {"value": "notes.txt"}},),
    workers=("z",),
    preference=(1.0, 0.0, 0.0),
)


def variants(config, others=(), n=60, sample=SAMPLE):
    return [augment(sample, np.random.default_rng(i), config, others) for i in range(n)]


def gold(sample):
    return sample.task_types, sample.dependencies, sample.workers, sample.arguments, sample.complexities


def changed(**options):
    return variants(NOTHING.model_copy(update=options))


def test_all_zero_changes_nothing():
    assert all(v is SAMPLE for v in variants(NOTHING, [OTHER]))


def test_the_same_generator_state_gives_the_same_variant():
    config = AugmentationConfig(word_dropout=0.5, typo=0.5)
    assert variants(config) == variants(config)


@pytest.mark.parametrize("options", [{"word_dropout": 1.0}, {"typo": 1.0}, {"lower_case": 1.0}, {"no_final_mark": 1.0}])
def test_each_field_changes_the_instruction_but_neither_plan_nor_values(options):
    for variant in changed(**options):
        assert variant.instruction != SAMPLE.instruction
        assert variant.id != SAMPLE.id
        assert gold(variant) == gold(SAMPLE)
        for value in ("My_Photo.PNG", "Berlin", '"The Draft"'):
            assert value in variant.instruction


def test_what_each_field_does():
    assert {v.instruction for v in changed(word_dropout=1.0)} == {
        'Please resize picture My_Photo.PNG to Berlin and write "The Draft" on it.'
    }
    assert {v.instruction[:6] for v in changed(lower_case=1.0)} == {"please"}
    assert {v.instruction[-3:] for v in changed(no_final_mark=1.0)} == {" it"}
    slips = {v.instruction.split()[1] for v in changed(typo=1.0)}
    assert len(slips) > 5
    assert all(abs(len(word) - len("resize")) <= 1 for word in slips)


def test_joining_appends_tasks_with_shifted_positions():
    joined = {v.instruction for v in variants(NOTHING.model_copy(update={"join": 1.0}), [OTHER])}
    assert len(joined) > 3
    back = join_samples(OTHER, SAMPLE)
    assert back.instruction == "Zip notes.txt. Also, please" + SAMPLE.instruction[6:]
    assert back.task_types == ("zip", "resize", "mark")
    assert back.dependencies == ((1, 2),)
    assert back.arguments[2] == {"image": {"task": 1, "output": "image"}}
    assert back.workers == ("z", "w", "v")
    assert back.complexities is None
    assert back.step_texts is None


def test_workers_chosen_under_different_preferences_are_not_joined():
    import dataclasses

    fast = dataclasses.replace(OTHER, preference=(0.3, 0.0, 1.0))
    joined = join_samples(SAMPLE, fast)
    assert joined.workers is None
    assert joined.preference is None


def test_samples_that_share_a_task_type_or_are_too_long_are_not_joined():
    config = NOTHING.model_copy(update={"join": 1.0})
    twin = PlanningSample("t", "Resize it.", ("resize",))
    assert all(v is SAMPLE for v in variants(config, [twin]))
    assert all(v is SAMPLE for v in variants(config.model_copy(update={"max_tasks": 2}), [OTHER]))


def test_variants_of_a_set_are_new_different_and_shared_out_evenly():
    samples = [PlanningSample(f"s{i}", f"Please resize the picture {i} now.", ("resize",), ()) for i in range(6)]
    variants = augmented_samples(samples, 30, seed=2)
    instructions = {v.instruction for v in variants}
    assert len(instructions) == 30
    assert not instructions & {s.instruction for s in samples}
    assert len({v.id for v in variants}) == 30
    assert {v.id.split("~")[0] for v in variants} == {s.id for s in samples}
    assert variants == augmented_samples(samples, 30, seed=2) != augmented_samples(samples, 30, seed=3)
    assert augmented_samples([], 0) == []


def test_no_variant_has_more_tasks_than_the_longest_sample():
    assert max(len(v.task_types) for v in augmented_samples([SAMPLE, OTHER], 20)) == 2
    joining = AugmentationConfig(join=1.0)
    assert max(len(v.task_types) for v in augmented_samples([SAMPLE, OTHER], 20, config=joining)) == 3


@pytest.mark.parametrize(
    ("samples", "n", "message"),
    [([], 1, "of 0 samples"), ([PlanningSample("s", "17", ("a",))], 3, "only 0 different"), ([SAMPLE], -1, "got -1")],
)
def test_variants_that_there_are_not_are_not_made(samples, n, message):
    with pytest.raises(DataError, match=message):
        augmented_samples(samples, n)


@given(st.text(max_size=60), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_any_instruction_survives(text, seed):
    sample = PlanningSample("s", text, ("a",))
    config = AugmentationConfig(word_dropout=0.9, typo=0.9, lower_case=0.9, no_final_mark=0.9, join=1.0)
    variant = augment(sample, np.random.default_rng(seed), config, [OTHER])
    assert variant.task_types[0] == "a"
