"""Features of spans and of earlier outputs: sizes, and what some of them mean in cases worked out by hand."""

import math

import numpy as np
import pytest

from orchestai_jax.planner.arguments.clauses import align
from orchestai_jax.planner.arguments.pair_features import PAIR_FEATURES
from orchestai_jax.planner.arguments.queries import (
    MAX_SOURCES,
    QUERY_FEATURES,
    SPAN_FEATURES,
    lay_out,
    read_instruction,
)
from orchestai_jax.planner.arguments.reading import read
from orchestai_jax.planner.arguments.reference_features import (
    POINTING_FEATURES,
    REFERENCE_FEATURES,
    Source,
    SourceReader,
    sources_of,
)
from orchestai_jax.planner.arguments.slots import SLOT_FEATURES, slot_features, slot_words, slots_of
from orchestai_jax.planner.arguments.span_features import SHAPE_FEATURES
from orchestai_jax.planner.arguments.spans import MAX_SPANS
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.planner.arguments.words import stem
from orchestai_jax.workflow import Parameter, Port, TaskType

ANY = (Port(name="input", required=False),)
REGISTER = TaskType(
    id="registerEvent",
    description="Register for an event",
    inputs=ANY,
    outputs=(Port(name="event_id", description="The number of the event"), Port(name="price")),
    parameters=(Parameter(name="event_name", type="string", required=True, description="The name (e.g., Jazz Night)"),),
)
JOIN = TaskType(
    id="joinEvent",
    description="Join an event",
    inputs=ANY,
    parameters=(
        Parameter(name="event_id", type="string", required=True, description="The event's ID"),
        Parameter(name="seats", type="integer"),
    ),
)
TEXT = "Register me for 'Jazz Night'. Then join this event with 2 seats."


@pytest.fixture(scope="module")
def vectors(tokenizer):
    table = np.random.default_rng(0).normal(size=(tokenizer.vocab_size, 16)).astype(np.float32)
    return WordVectors(table, tokenizer)


@pytest.fixture(scope="module")
def instruction(vectors):
    types = [REGISTER, JOIN]
    return read_instruction(TEXT, types, align(read(TEXT), types), [{}, {"seats": 2}], vectors)


def test_every_size_is_the_one_declared(instruction):
    spans = len(instruction.spanned.spans)
    assert instruction.shapes.shape == (spans, SHAPE_FEATURES)
    assert instruction.pairs.shape == (3, spans, PAIR_FEATURES)
    assert instruction.queries.shape == (3, QUERY_FEATURES)
    assert [r.shape for r in instruction.references] == [(n, REFERENCE_FEATURES) for n in (0, 2, 2)]
    for array in (instruction.shapes, instruction.pairs, instruction.queries, *instruction.references):
        assert np.isfinite(array).all()
    assert QUERY_FEATURES == SLOT_FEATURES + POINTING_FEATURES + 1


def test_a_batch_is_padded_and_masked(instruction):
    batch = lay_out([(instruction, 2), (instruction, 0)], 4)
    spans = len(instruction.spanned.spans)
    assert batch.spans.shape == (4, MAX_SPANS, SPAN_FEATURES)
    assert batch.sources.shape == (4, MAX_SOURCES, REFERENCE_FEATURES)
    np.testing.assert_array_equal(batch.source_mask.sum(axis=1), [2, 0, 0, 0])
    assert batch.span_mask[0].sum() == 1  # the only number
    assert batch.span_mask[1, :spans].all()
    assert not batch.span_mask[2:].any()
    np.testing.assert_array_equal(batch.spans[1, :spans, SHAPE_FEATURES:], instruction.pairs[0])


def test_the_name_next_to_a_value_is_near_and_in_another_sentence_it_is_not(instruction):
    def left(slot, value):
        place = next(i for i, s in enumerate(instruction.spanned.spans) if s.value == value)
        return instruction.pairs[slot, place, 0]

    # `event with 2`: one word lies between, and every word further costs a factor of exp(-1/2)
    assert left(1, 2) == pytest.approx(math.exp(-0.5))
    assert left(0, "Jazz Night") == 0.0


def test_rules_and_examples_are_seen(instruction):
    spans = instruction.spanned.spans
    number = next(i for i, s in enumerate(spans) if s.kind == "number")
    quoted = next(i for i, s in enumerate(spans) if s.kind == "quoted")
    exact, same, other = 16, 46, 47
    assert instruction.pairs[0, quoted, exact] == 1
    assert instruction.pairs[2, number, same] == 1
    assert instruction.pairs[2, quoted, same] == 0
    assert instruction.pairs[2, quoted, other] == 1


def test_a_declaration_is_read():
    words = slot_words(REGISTER.parameters[0], REGISTER)
    assert words.name == (stem("event"), stem("name"))
    assert words.examples == ("Jazz Night",)
    assert words.example_forms == {"jazznight"}
    assert words.text == "event name: The name (e.g., Jazz Night) (string)"
    wanted = slot_words(Parameter(name="start", description="The start (e.g., yyyy-mm-dd)"), JOIN)
    assert wanted.wants_iso
    assert len(slot_features(slots_of([REGISTER])[0], 1)) == SLOT_FEATURES


def test_outputs_of_earlier_tasks_may_fill_a_slot_and_words_point_at_them():
    types = [REGISTER, JOIN]
    register, event, seats = slots_of(types)
    assert sources_of(register, types) == []
    assert sources_of(event, types) == [Source(0, 0), Source(0, 1)]
    reader = SourceReader(TEXT, types, align(read(TEXT), types))
    given, made, earlier, pronoun, identifier, required = reader.of_slot(event)
    assert (given, made, earlier, pronoun, identifier, required) == (1, 1, 0, 1, 1, 1)  # `this event`
    assert reader.of_slot(seats)[:2] == (0, 0)
    rows = reader.features(event, sources_of(event, types), np.array([0.5, 0.25], np.float32))
    np.testing.assert_array_equal(rows[:, -1], [0.5, 0.25])
    equal, first = 7, 1
    np.testing.assert_array_equal(rows[:, equal], [1, 0])  # `event_id` is `event_id`, `price` is not
    np.testing.assert_array_equal(rows[:, first], [1, 0])


def test_vectors_are_means_of_token_rows(vectors, tokenizer):
    table = np.random.default_rng(0).normal(size=(tokenizer.vocab_size, 16))
    centred = table - table.mean(axis=0)
    text = "translate the text of an image"
    ids = tokenizer.encode_batch([text], 64)[0][1:-1]
    offsets = tokenizer.offsets(text, 64)[1:-1]
    start, end = text.index("text"), text.index("image")
    inside = [i for i, (a, b) in zip(ids, offsets, strict=True) if a >= start and b <= end]
    wanted = centred[inside].mean(axis=0)
    got = vectors.stretches(text, [(start, end), (400, 410)])
    np.testing.assert_allclose(got[0], wanted / np.linalg.norm(wanted), atol=1e-5)
    np.testing.assert_array_equal(got[1], np.zeros(16))
    whole = centred[ids].mean(axis=0)
    np.testing.assert_allclose(vectors.of(text), whole / np.linalg.norm(whole), atol=1e-5)
    np.testing.assert_array_equal(vectors.of(""), np.zeros(16))
