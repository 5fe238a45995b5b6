"""float32 stays float32 where a GPU or a TPU would round it before multiplying, in every implementation."""

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels.arrays import pack_ternary
from orchestai_kernels.attention import attention
from orchestai_kernels.dispatch import overridden
from orchestai_kernels.feed_forward import feed_forward
from orchestai_kernels.graph_attention import graph_attention
from orchestai_kernels.ternary_matmul import ternary_matmul

Q = jnp.ones((1, 16, 1, 16))
EDGES, SCORES = jnp.ones((1, 16, 16)), jnp.ones((1, 16, 1))
X = jnp.ones((16, 16))

CALLS = {
    "attention": (lambda q, **how: attention(q, q, q, causal=True, **how), Q),
    "feed_forward": (lambda x, **how: feed_forward(x, X, X, X, **how), X),
    "softmax": (lambda x, **how: graph_attention(x, EDGES, source_scores=SCORES, target_scores=SCORES, **how), Q),
    "mean": (lambda x, **how: graph_attention(x, EDGES, aggregation="mean", **how), Q),
}
IMPLEMENTATIONS = {
    "attention": ("reference", "xla", "pallas_gpu", "pallas_tpu"),
    "feed_forward": ("reference", "xla", "pallas_gpu", "pallas_tpu"),
    "softmax": ("reference", "pallas_gpu", "pallas_tpu"),
    "mean": ("reference", "pallas_gpu", "pallas_tpu"),
}


def precisions(jaxpr):
    """Of every product of floats, those within kernels included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general" and jnp.issubdtype(equation.invars[0].aval.dtype, jnp.floating):
            yield equation.invars[0].aval.dtype, equation.params["precision"]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from precisions(getattr(inner, "jaxpr", inner))


def is_jaxpr(x):
    return hasattr(x, "eqns")


def traced(call, x):
    def both(x):
        out, backward = jax.vjp(call, x)
        return backward(out)

    return list(precisions(jax.make_jaxpr(both)(x).jaxpr))


@pytest.mark.parametrize("op, implementation", [(op, name) for op, names in IMPLEMENTATIONS.items() for name in names])
def test_float32_is_not_rounded_before_it_is_multiplied(op, implementation):
    call, x = CALLS[op]
    with overridden(interpret=True):
        found = traced(lambda x: call(x, implementation=implementation), x)
    assert len(found) >= 2
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert {precision for dtype, precision in found if dtype == jnp.float32} == {highest}


def test_nor_is_the_gradient_of_packed_weights():
    weight = pack_ternary(jnp.ones((16, 16), jnp.int8), 1.0)
    found = traced(lambda x: ternary_matmul(x, weight, implementation="reference"), X)
    assert found == [(jnp.float32, (jax.lax.Precision.HIGHEST,) * 2)]


def test_half_widths_may_use_the_units_made_for_them():
    call, x = CALLS["mean"]
    found = traced(lambda x: call(x, implementation="reference"), x.astype(jnp.bfloat16))
    assert {precision for _, precision in found} == {None}
