import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orchestai_jax.config import Phase1Config
from orchestai_jax.training import build_optimizer

# Float32 forms 1 - 0.999**t with a relative error of 6e-5 in the first step.
TOLERANCE = 2e-4


def full(*shape):
    return jnp.full(shape, 0.5, jnp.float32)


PARAMS = {
    "encoder": {"layer": {"kernel": full(2, 3), "bias": full(3)}},
    "decomposer": {"kernel": full(2, 2), "norm": {"weight": full(2)}},
    "task_embedding": full(4, 2),
}


def step(config, params=PARAMS, gradients=None, total_steps=10, **options):
    optimizer = build_optimizer(config, total_steps, **options)
    gradients = jax.tree.map(jnp.zeros_like, params) if gradients is None else gradients
    return jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])(gradients, params)


def test_decay_spares_norms_biases_and_embeddings():
    updates = step(Phase1Config(schedule="constant", warmup_fraction=0, learning_rate=0.1, weight_decay=0.2))
    np.testing.assert_allclose(updates["decomposer"]["kernel"], -0.1 * 0.2 * 0.5, rtol=1e-6)
    for spared in (
        updates["encoder"]["layer"]["bias"],
        updates["decomposer"]["norm"]["weight"],
        updates["task_embedding"],
    ):
        assert not np.any(spared)


def test_groups_have_their_own_rates():
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    config = Phase1Config(
        schedule="constant", warmup_fraction=0, learning_rate=0.1, encoder_learning_rate=0.01, weight_decay=0
    )
    updates = step(config, gradients=gradients)
    np.testing.assert_allclose(updates["decomposer"]["kernel"], -0.1, rtol=TOLERANCE)  # Adam's first step: the sign
    np.testing.assert_allclose(updates["encoder"]["layer"]["kernel"], -0.01, rtol=TOLERANCE)
    swapped = step(config, gradients=gradients, label_fn=lambda path: "planner" if path[0] == "encoder" else "encoder")
    np.testing.assert_allclose(swapped["encoder"]["layer"]["kernel"], -0.1, rtol=TOLERANCE)
    with pytest.raises(ValueError, match=r"decomposer/kernel is in the group 'x'; allowed: planner, encoder"):
        step(config, label_fn=lambda path: "x")


def adamw(params, gradients, rates, decays, clip, decay, steps):
    """Loshchilov & Hutter 2019, algorithm 2, in float64, one flat list of arrays."""
    params = [np.asarray(p, np.float64) for p in params]
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    for t in range(1, steps + 1):
        gs = [np.asarray(g, np.float64) * t for g in gradients]
        norm = np.sqrt(sum((g**2).sum() for g in gs))
        gs = [g * min(1.0, clip / norm) for g in gs]
        for i, g in enumerate(gs):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            update = (m[i] / (1 - 0.9**t)) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            params[i] = params[i] - rates[i](t - 1) * (update + decay * decays[i] * params[i])
    return params


def test_equals_adamw_in_float64():
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS)
    gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS)
    config = Phase1Config(
        learning_rate=0.1, encoder_learning_rate=0.03, weight_decay=0.1, gradient_clip=2.5, warmup_fraction=0.2
    )
    optimizer = build_optimizer(config, 10)

    @jax.jit
    def update(t, state, moved):
        updates, state = optimizer.update(jax.tree.map(lambda g: g * t, gradients), state, moved)
        return state, optax.apply_updates(moved, updates)

    state, moved = jax.jit(optimizer.init)(params), params
    for t in range(1, 7):
        state, moved = update(jnp.float32(t), state, moved)

    def rate(peak):
        return lambda step: peak * (step / 2 if step < 2 else 1 - (step - 2) / 7)

    order = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    rates = [rate(0.03 if "encoder" in name else 0.1) for name in order]
    decays = [1.0 if "kernel" in name else 0.0 for name in order]
    expected = adamw(jax.tree.leaves(params), jax.tree.leaves(gradients), rates, decays, 2.5, 0.1, 6)
    for ours, theirs in zip(jax.tree.leaves(moved), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=1e-5)


def test_second_step_compiles_nothing():
    optimizer = build_optimizer(Phase1Config(), 10)
    update = jax.jit(lambda g, s, p: optimizer.update(g, s, p))
    state = optimizer.init(PARAMS)
    for _ in range(3):
        _, state = update(PARAMS, state, PARAMS)
    assert update._cache_size() == 1
