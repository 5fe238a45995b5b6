import gc
import importlib
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orchestai_kernels.dispatch import observed_calls
from orchestai_kernels.feed_forward import FEED_FORWARD

from orchestai_jax.language_model import apply_model, initial_parameters
from orchestai_jax.language_model.generation import Generator, NotFiniteError, decode, next_logits, prefill
from orchestai_jax.language_model.layer import parameter_names, projection_rules
from orchestai_jax.language_model.sampling import Draws, Sampling
from orchestai_jax.language_model.serving_model import random_packed_model, serving_model
from orchestai_jax.quantization import QuantizationRule

serving = importlib.import_module("orchestai_jax.language_model.serving_model")  # the name is its function too
PROMPT = [5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def small(small):
    """With a head of its own: a random tied one repeats its input."""
    config = small[0].model_copy(update={"tied_embeddings": False})
    return config, initial_parameters(config, 3)


@pytest.fixture(scope="module")
def generator(small):
    return Generator(serving_model(*small))


def greedy_without_cache(small, prompt, count):
    """The definition: the whole sequence anew for every token (padded behind, where nothing looks)."""
    config, parameters = small
    sequence = list(prompt)
    for _ in range(count):
        padded = jnp.asarray([sequence + [0] * (24 - len(sequence))], jnp.int32)
        sequence.append(int(apply_model(config, parameters, padded)[0, len(sequence) - 1].argmax()))
    return tuple(sequence[len(prompt) :])


def test_greedy_equals_the_model_without_a_cache(small, generator):
    (made,) = generator.generate([PROMPT], max_new_tokens=12)
    assert made.tokens == greedy_without_cache(small, PROMPT, 12)
    assert made.finish_reason == "length"
    assert len(set(made.tokens)) > 2


def test_a_row_is_what_it_would_be_alone(generator):
    prompts = [PROMPT, [1], list(range(16)), [3, 3, 3]]
    together = generator.generate(prompts, max_new_tokens=8)
    assert [made.tokens for made in together] == [
        generator.generate([prompt], max_new_tokens=8)[0].tokens for prompt in prompts
    ]


@pytest.mark.parametrize("options", [{"cache": "int8"}, {"head": "int8"}, {"packed": False}], ids=str)
def test_options_answer_as_the_float_model(small, generator, options):
    options = dict(options)
    kind = options.pop("cache", "float")
    model = serving_model(*small, **options)
    (answer,) = Generator(model, cache=kind).generate([PROMPT], max_new_tokens=12)
    (wanted,) = generator.generate([PROMPT], max_new_tokens=12)
    assert answer.tokens == wanted.tokens


@pytest.mark.parametrize(("options", "most"), [({"cache": "int8"}, 0.05), ({"head": "int8"}, 0.05)], ids=str)
def test_options_keep_close_to_the_float_logits(small, options, most):
    """Of the token after five decoded ones, which have read the cache."""
    options = dict(options)
    kind = options.pop("cache", "float")
    logits = decoded_logits(serving_model(*small, **options), kind)
    wanted = decoded_logits(serving_model(*small), "float")
    difference = np.abs(logits - wanted).max()
    assert 1e-6 < difference < most, "rounded, but little"
    assert np.abs(wanted).max() > 1


def decoded_logits(model, kind):
    draws = Draws.of([Sampling()], 17)
    prompt = jnp.asarray([[0] * 11 + PROMPT], jnp.int32)
    _, cache = prefill(model, prompt, jnp.asarray([11], jnp.int32), draws, capacity=64, kind=kind)
    assert cache.keys.shape == (model.config.num_layers, 1, 2, 64, 4)
    assert (type(cache.keys).__name__ == "Int8Array") == (kind == "int8")
    for token in (3, 1, 4, 1, 5):
        logits, cache = jax.jit(next_logits)(model, cache, jnp.asarray([token], jnp.int32))
    assert int(cache.length) == 21
    return np.asarray(logits)


RULES = {
    "ternary, plain activations": [{"pattern": r"layers\..*(qkv|down)\.weight", "activations": "none"}],
    "binary": [
        {"pattern": r"layers\.(attention\.(qkv|out)|feed_forward\.(gate_up|down))\.weight", "weights": "binary"}
    ],
    "int8": [{"pattern": r"layers\.feed_forward\.(gate_up|down)\.weight", "weights": "int8"}],
    "mixed": [
        {"pattern": r"layers\.attention\.qkv\.weight", "weights": "float", "activations": "none"},
        {"pattern": r"layers\.attention\.out\.weight", "weights": "binary", "activations": "none"},
        {"pattern": r"layers\..*(qkv|out|gate_up|down)\.weight"},
    ],
    "float rules over everything": [
        {"pattern": r"layers\..*(qkv|out|gate_up|down)\.weight"},
        {"pattern": ".*", "weights": "float", "activations": "none"},
    ],
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_what_trains_can_be_served(small, rules):
    config = small[0].model_copy(update={"quantization": tuple(QuantizationRule(**rule) for rule in rules)})
    model = serving_model(config, small[1])
    layers = model.layers[0] if isinstance(model.layers, tuple) else model.layers
    packed = {name for name, value in layers.items() if not isinstance(value, jax.Array)}
    assert packed == {f"{name}.weight" for name, rule in projection_rules(config).items() if rule.weights != "float"}
    (made,) = Generator(model).generate([PROMPT], max_new_tokens=6)
    assert made.tokens == greedy_without_cache((config, small[1]), PROMPT, 6)


GATE_UP_ALONE = [{"pattern": r"layers\.feed_forward\.gate_up\.weight"}]


@pytest.mark.parametrize(
    ("rules", "implementation"),
    [(None, "ternary"), ([], "xla"), (GATE_UP_ALONE, None), (RULES["binary"], None)],
    ids=["ternary", "float", "one kind each", "binary"],
)
def test_the_feed_forward_op_runs_where_it_can(small, rules, implementation):
    config = small[0]
    if rules is not None:
        config = config.model_copy(update={"quantization": tuple(QuantizationRule(**rule) for rule in rules)})
    model, draws = serving_model(config, small[1]), Draws.of([Sampling()], 17)
    tokens, start = jnp.zeros((1, 16), jnp.int32), jnp.zeros(1, jnp.int32)
    with observed_calls() as calls:
        jax.eval_shape(lambda m: prefill.__wrapped__(m, tokens, start, draws, capacity=64, kind="float"), model)
    chosen = {
        FEED_FORWARD.choose(*args, **options).implementation for op, args, options in calls if op == "feed_forward"
    }
    assert chosen == ({implementation} if implementation else set())


@pytest.mark.parametrize("pattern", [".*", r"layers\..*\.weight", "embedding", r".*norm\.weight"])
def test_rules_that_reach_beyond_the_projections_are_refused(small, pattern):
    config = small[0].model_copy(update={"quantization": (QuantizationRule(pattern=pattern),)})
    with pytest.raises(ValueError, match=r"rule .* matches .*, which stays float; .* the projections are layers\.att"):
        projection_rules(config)


def test_the_names_that_rules_may_match_are_the_models(small):
    assert sorted(parameter_names(small[0])) == sorted(small[1])
    plain = small[0].model_copy(update={"tied_embeddings": True, "sub_norms": False})
    assert sorted(parameter_names(plain)) == sorted(initial_parameters(plain, 0))


def test_released_masters_are_gone_as_the_packed_ones_come(small, monkeypatch):
    config, parameters = small
    kept = Generator(serving_model(config, parameters)).generate([PROMPT], max_new_tokens=6)
    given = {name: jnp.array(value) for name, value in parameters.items()}
    masters = {name: weakref.ref(value) for name, value in given.items()}
    alive, pack = [], serving.pack_weights

    def counted(weights, *rest, **options):
        gc.collect()
        alive.append(sum(master() is not None for name, master in masters.items() if name.startswith("layers.")))
        return pack(weights, *rest, **options)

    monkeypatch.setattr(serving, "pack_weights", counted)
    gc.freeze()  # the thousands of objects from before need not be gone through each time
    try:
        model = serving_model(config, given, release=True)
    finally:
        gc.unfreeze()
    assert given == {}
    assert alive == sorted(alive, reverse=True)
    assert len(set(alive)) == 4
    assert Generator(model).generate([PROMPT], max_new_tokens=6) == kept
    assert parameters.keys() == masters.keys(), "without release they are left alone"


def test_other_prompts_seeds_and_temperatures_compile_nothing(generator):
    list(generator.stream([PROMPT], max_new_tokens=3, sampling=Sampling(1.0, seed=0)))
    programs = (prefill, decode)
    counts = [program._cache_size() for program in programs]
    for seed, prompt in enumerate([[1, 2], list(range(16)), [0]]):
        sampling = Sampling(0.5 + seed, seed=seed)
        list(generator.stream([prompt], max_new_tokens=3 + seed, sampling=sampling))
    assert [program._cache_size() for program in programs] == counts


def test_seeds_decide_the_draws(generator):
    def draw(*seeds):
        samplings = [Sampling(2.0, seed=seed) for seed in seeds]
        return generator.generate([PROMPT] * len(seeds), max_new_tokens=12, sampling=samplings)

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert draw(0, 1) == [*draw(0), *draw(1)]


def test_a_drawn_row_does_not_depend_on_its_neighbours(generator):
    """Neither on their prompts, nor on their place, nor on how they are drawn."""
    sampling = Sampling(2.0, seed=4)
    (alone,) = generator.generate([PROMPT], max_new_tokens=8, sampling=sampling)
    prompts = [[1], list(range(16)), PROMPT]
    others = [Sampling(), Sampling(1.0, top_k=3, seed=9)]
    assert generator.generate(prompts, max_new_tokens=8, sampling=[*others, sampling])[2] == alone
    assert generator.generate(prompts[1:], max_new_tokens=8, sampling=sampling)[1] == alone
    greedy, *_ = generator.generate(prompts, max_new_tokens=8, sampling=[*others, sampling])
    assert greedy == generator.generate(prompts[:1], max_new_tokens=8)[0]


def test_a_sampling_a_prompt_is_wanted(generator):
    with pytest.raises(ValueError, match="sampling must be one, or one a prompt: got 1 for 2 prompts"):
        generator.stream([PROMPT, PROMPT], sampling=[Sampling()])


def test_stop_tokens_end_a_row(generator):
    (whole,) = generator.generate([PROMPT], max_new_tokens=12)
    stop = whole.tokens[4]
    place = whole.tokens.index(stop)
    stopped, other = generator.generate([PROMPT, [1]], max_new_tokens=12, stop_tokens=[stop])
    assert (stopped.tokens, stopped.finish_reason) == (whole.tokens[:place], "stop")
    steps = list(generator.stream([PROMPT], max_new_tokens=12, stop_tokens=[stop]))
    assert steps == [[token] for token in whole.tokens[: place + 1]]
    assert other.finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("prompts", "most", "message"),
    [
        ([], 1, "prompts must hold at least one prompt"),
        ([[1], []], 1, "prompt 1 is empty"),
        ([[1, 17]], 1, "prompt 0 holds token 17; the vocabulary's are 0 to 16"),
        ([[1, -1]], 1, "prompt 0 holds token -1"),
        ([[0] * 49], 1, "the prompt has 49 tokens, the model has 48 positions"),
        ([[0] * 40], 10, "max_new_tokens must be 1 to 9 .* got 10"),
        ([[0]], 0, "max_new_tokens must be 1 to 48 .* got 0"),
    ],
)
def test_prompts_that_are_refused(generator, prompts, most, message):
    with pytest.raises(ValueError, match=message):
        generator.stream(prompts, max_new_tokens=most)


def test_all_positions_are_used(small, generator):
    (made,) = generator.generate([[1] * 40])
    assert len(made.tokens) == 9, "8 that take the other positions, and one that is not read"
    config, parameters = small
    whole = jnp.asarray([[1] * 40 + list(made.tokens[:8])], jnp.int32)
    assert made.tokens[8] == int(apply_model(config, parameters, whole)[0, -1].argmax())


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0), Sampling(1.0, top_k=3)], ids=str)
def test_logits_that_are_not_finite_are_an_error(small, value, sampling):
    config, parameters = small
    broken = {**parameters, "head": parameters["head"].at[3].set(value)}
    with pytest.raises(NotFiniteError, match="logits for row 0 are not finite at token 1: its"):
        Generator(serving_model(config, broken)).generate([PROMPT], max_new_tokens=3, sampling=sampling)


def test_parameters_that_do_not_fit_are_listed(small):
    config, parameters = small
    broken = {name: value for name, value in parameters.items() if name != "norm.weight"} | {
        "extra": jnp.ones(3),
        "embedding": jnp.ones((17, 8)),
    }
    with pytest.raises(ValueError, match=r"lack norm.weight; hold extra.*; have embedding of shape \(17, 8\)"):
        serving_model(config, broken)


def test_random_packed_models_are_sound(small):
    config = small[0].model_copy(update={"hidden_size": 64, "intermediate_size": 64, "num_kv_heads": 4})
    model = random_packed_model(config, 0)
    for name in ("attention.qkv.weight", "feed_forward.down.weight"):
        assert model.layers[name].validate().batch_shape == (config.num_layers,)
    assert model.nbytes < 2 * (64 * 64 * 8 / 4) + 17 * 68 + 20_000
    with pytest.raises(ValueError, match="every projection is ternary"):
        random_packed_model(config.model_copy(update={"quantization": (QuantizationRule(pattern=".*qkv.*"),)}), 0)
