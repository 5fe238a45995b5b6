"""Adam with encoded moments beside optax's Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from orchestai_jax.optimization.encoded_moments import (
    Held,
    decoded_state,
    encoded_moments,
    encoded_part,
    moment_bytes,
    with_encoding,
)

BLOCK = 64


def chain():
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.scale_by_learning_rate(3e-3))


def problem():
    """A two-layer regression with inputs of very different sizes, so that moments are too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 32)) * 10.0 ** rng.uniform(-2, 1, 32)
    y = np.tanh(x @ rng.normal(size=(32, 8)) / 10)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(32, 64)) / 8, jnp.float32),
        "bias": jnp.zeros(64),
        "out": jnp.asarray(rng.normal(size=(64, 8)) / 8, jnp.float32),
    }

    def loss(params, step):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(0), step), (32,), 0, 256)
        hidden = jnp.tanh(jnp.asarray(x, jnp.float32)[rows] @ params["kernel"] + params["bias"])
        return jnp.mean((hidden @ params["out"] - jnp.asarray(y, jnp.float32)[rows]) ** 2)

    return params, loss


def train(optimizer, steps=600):
    params, loss = problem()

    @jax.jit
    def run(params, state):
        def step(carry, i):
            params, state = carry
            value, gradients = jax.value_and_grad(loss)(params, i)
            updates, state = optimizer.update(gradients, state, params)
            part = encoded_part(state)
            error = part.compression_error if part is not None else jnp.zeros(())
            return (optax.apply_updates(params, updates), state), (value, error)

        return jax.lax.scan(step, (params, state), jnp.arange(steps))

    (params, state), (losses, errors) = run(params, optimizer.init(params))
    return params, state, np.asarray(losses), np.asarray(errors)


def test_it_learns_as_float32_moments_do_in_a_third_of_the_bytes():
    _, plain_state, plain, _ = train(chain())
    params, state, encoded, errors = train(encoded_moments(chain(), BLOCK))
    assert errors.min() > 0
    assert errors.max() < 0.05
    assert abs(encoded[-100:].mean() / plain[-100:].mean() - 1) < 0.1
    assert plain[-100:].mean() < 0.3 * plain[:20].mean()
    taken, as_float = moment_bytes(state)
    assert as_float == moment_bytes(plain_state)[0] == 2 * 4 * sum(p.size for p in params.values())
    assert taken == 2 * ((32 * 64 + 64 * 8) * (1 + 4 / BLOCK) + 4 * 64)  # the bias stays float32
    assert isinstance(state.inner[1].mu["kernel"], Held)
    assert isinstance(state.inner[1].mu["bias"], jax.Array)
    assert (state.first.codes.dtype, state.second.codes.dtype) == (jnp.int8, jnp.uint8)


def test_one_update_is_adams_within_the_codecs_error():
    params, loss = problem()
    gradients = jax.grad(loss)(params, 0)
    plain, wrapped = chain(), encoded_moments(chain(), BLOCK)
    first, state = plain.update(gradients, plain.init(params), params)
    of_wrapped, encoded = wrapped.update(gradients, wrapped.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, of_wrapped, first)  # encoding acts on what is kept, not on this update
    kept = decoded_state(encoded)[1]
    for moment in ("mu", "nu"):
        wanted, got = getattr(state[1], moment)["kernel"], getattr(kept, moment)["kernel"]
        error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        assert 0 < error < 0.03
        np.testing.assert_array_less(error, float(encoded.compression_error) + 0.01)
    assert (np.asarray(kept.nu["kernel"])[np.asarray(state[1].nu["kernel"]) > 0] > 0).all()
    assert int(encoded.updates) == 1


def test_the_same_updates_give_the_same_bits_and_other_blocks_the_same_moments():
    first, second = (train(encoded_moments(chain(), BLOCK), 20)[1] for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    smaller = with_encoding(first, 16)
    assert smaller.first.block == 16
    assert with_encoding(first, BLOCK) is first
    plain = with_encoding(first, None)
    assert jax.tree.structure(plain) == jax.tree.structure(chain().init(problem()[0]))
    assert jax.tree.structure(with_encoding(plain, BLOCK)) == jax.tree.structure(first)
    one, other = decoded_state(first)[1], decoded_state(smaller)[1]
    for moment in ("mu", "nu"):
        a, b = np.asarray(getattr(one, moment)["kernel"]), np.asarray(getattr(other, moment)["kernel"])
        assert np.linalg.norm(a - b) < 0.03 * np.linalg.norm(a)


def test_a_gradient_that_is_not_finite_shows_in_the_error():
    params, _ = problem()
    wrapped = encoded_moments(optax.scale_by_adam(), BLOCK)
    bad = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
    _, state = wrapped.update(bad, wrapped.init(params), params)
    assert not float(state.compression_error) < 0.05
    assert encoded_part(chain().init(params)) is None
