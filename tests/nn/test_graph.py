"""The contract of the graph layers, and each one's equality with torch-geometric and with its formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestai_jax.nn.graph import GRAPH_LAYERS, GATLayer, GCNLayer, SAGELayer

IN, OUT, NODES = 3, 8, 6
MAKERS = {**GRAPH_LAYERS, "gat averaged": functools.partial(GATLayer, num_heads=2, concatenate=False)}


def graphs(seed, *, weighted=False, self_loops=True):
    """Two random graphs as [2, n, n]: node 5 of the first is isolated, the second has four nodes."""
    random = np.random.default_rng(seed)
    adjacency = (random.uniform(size=(2, NODES, NODES)) < 0.4).astype(np.float64)
    adjacency[0, 5], adjacency[0, :, 5] = 0, 0
    loops = random.uniform(size=(2, NODES)) < 0.5 if self_loops else np.zeros((2, NODES))
    adjacency[:, np.arange(NODES), np.arange(NODES)] = loops
    if weighted:
        adjacency *= random.uniform(0.2, 1.5, adjacency.shape)
    mask = np.ones((2, NODES), bool)
    mask[1, 4:] = False
    return random.normal(size=(2, NODES, IN)), adjacency, mask


def apply(layer, nodes, adjacency, mask):
    return np.asarray(layer(jnp.asarray(nodes, jnp.float32), jnp.asarray(adjacency, jnp.float32), jnp.asarray(mask)))


@pytest.fixture(params=sorted(MAKERS))
def layer(request):
    made = MAKERS[request.param](IN, OUT, rngs=nnx.Rngs(0))
    state = nnx.state(made, nnx.Param)
    keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(state))))
    nnx.update(made, jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), state))  # biases are not zero
    return made


def test_masked_nodes_send_nothing_and_come_out_as_zero(layer):
    nodes, adjacency, mask = graphs(0, weighted=True)
    alone = apply(layer, nodes[1:, :4], adjacency[1:, :4, :4], mask[1:, :4])
    nodes[1, 4:], adjacency[1, 4:], adjacency[1, :, 4:] = 1e3, 7, 7
    both = apply(layer, nodes, adjacency, mask)
    np.testing.assert_allclose(both[1:, :4], alone, atol=1e-5)
    np.testing.assert_array_equal(both[1, 4:], 0)


def test_order_of_nodes_does_not_matter(layer):
    nodes, adjacency, mask = graphs(1, weighted=True)
    order = np.random.default_rng(0).permutation(NODES)
    moved = apply(layer, nodes[:, order], adjacency[:, order][:, :, order], mask[:, order])
    np.testing.assert_allclose(moved, apply(layer, nodes, adjacency, mask)[:, order], atol=1e-5)


def test_messages_go_from_source_to_target_alone(layer):
    nodes, _, mask = graphs(2)
    adjacency = np.zeros((2, NODES, NODES))
    adjacency[:, 0, 1] = 1
    changed = nodes.copy()
    changed[:, 0] += 1
    differs = np.abs(apply(layer, changed, adjacency, mask) - apply(layer, nodes, adjacency, mask)).max(axis=(0, 2))
    np.testing.assert_array_equal(differs > 1e-6, [True, True, *[False] * (NODES - 2)])


def test_gradients_are_finite_with_isolated_and_masked_nodes(layer):
    nodes, adjacency, mask = graphs(3, weighted=True)
    graphdef, state = nnx.split(layer, nnx.Param)

    def loss(state, nodes, adjacency):
        return jnp.sum(jnp.square(nnx.merge(graphdef, state)(nodes, adjacency, jnp.asarray(mask))))

    inputs = jnp.asarray(nodes, jnp.float32), jnp.asarray(adjacency, jnp.float32)
    for gradient in jax.tree.leaves(jax.grad(loss, argnums=(0, 1, 2))(state, *inputs)):
        assert np.isfinite(gradient).all()


def test_a_second_call_compiles_nothing(layer):
    graphdef, state = nnx.split(layer, nnx.Param)
    run = jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))
    for seed in (0, 1):
        nodes, adjacency, mask = graphs(seed)
        run(state, jnp.asarray(nodes, jnp.float32), jnp.asarray(adjacency, jnp.float32), jnp.asarray(mask))
    assert run._cache_size() == 1


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="4 does not divide 6"):
        GATLayer(IN, 6, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("self_loops", [False, True])
def test_gat_with_weights_equals_the_formula_in_float64(self_loops):
    """torch-geometric has no such weights: A times exp(score), normalised over the sources of each target."""
    layer = GATLayer(IN, OUT, num_heads=2, rngs=nnx.Rngs(5))
    nodes, adjacency, mask = graphs(4, weighted=True, self_loops=self_loops)
    kernel, source, target = (np.asarray(x[...], np.float64) for x in (layer.linear.kernel, layer.source, layer.target))
    wanted = np.zeros((2, NODES, OUT))
    for b in range(2):
        n = mask[b].sum()
        weights = adjacency[b, :n, :n] + np.diag(np.diag(adjacency[b, :n, :n]) == 0)
        hidden = (nodes[b, :n] @ kernel).reshape(n, 2, -1)
        for h in range(2):
            scores = (hidden[:, h] @ source[h])[:, None] + (hidden[:, h] @ target[h])[None, :]
            alpha = weights * np.exp(np.where(scores > 0, scores, 0.2 * scores))
            wanted[b, :n, 4 * h : 4 * h + 4] = (alpha / alpha.sum(axis=0)).T @ hidden[:, h]
    np.testing.assert_allclose(apply(layer, nodes, adjacency, mask), wanted, atol=1e-5)


def _to_torch(parameter, transpose=False):
    torch = pytest.importorskip("torch")
    value = np.asarray(parameter[...])
    return torch.from_numpy((value.T if transpose else value).copy())


def _gcn(torch_geometric, layer):
    conv = torch_geometric.nn.GCNConv(IN, OUT)
    conv.lin.weight.data, conv.bias.data = _to_torch(layer.linear.kernel, True), _to_torch(layer.bias)
    return conv


def _gat(torch_geometric, layer):
    out = OUT // layer.num_heads if layer.concatenate else OUT
    conv = torch_geometric.nn.GATConv(IN, out, heads=layer.num_heads, concat=layer.concatenate)
    conv.lin.weight.data, conv.bias.data = _to_torch(layer.linear.kernel, True), _to_torch(layer.bias)
    conv.att_src.data, conv.att_dst.data = _to_torch(layer.source)[None], _to_torch(layer.target)[None]
    return conv


def _sage(torch_geometric, layer):
    conv = torch_geometric.nn.SAGEConv(IN, OUT)
    conv.lin_l.weight.data = _to_torch(layer.neighbours.kernel, True)
    conv.lin_l.bias.data = _to_torch(layer.neighbours.bias)
    conv.lin_r.weight.data = _to_torch(layer.own.kernel, True)
    return conv


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(4))
def test_layers_equal_those_of_torch_geometric(layer, seed):
    torch, torch_geometric = pytest.importorskip("torch"), pytest.importorskip("torch_geometric")
    weighted = isinstance(layer, GCNLayer) and seed % 2 == 1  # GATConv and SAGEConv take no edge weights
    twins = {GCNLayer: _gcn, GATLayer: _gat, SAGELayer: _sage}
    conv = twins[type(layer)](torch_geometric, layer)
    nodes, adjacency, mask = graphs(seed, weighted=weighted)
    got = apply(layer, nodes, adjacency, mask)
    # One batch as torch-geometric has it: the graphs' nodes one after the other, edges as a list.
    kept = [np.flatnonzero(m) for m in mask]
    starts = np.cumsum([0, *map(len, kept)])
    edges, weights = [], []
    for b, rows in enumerate(kept):
        source, target = np.nonzero(adjacency[b][np.ix_(rows, rows)])
        edges.append(np.stack([source, target]) + starts[b])
        weights.append(adjacency[b][source, target])
    x = torch.from_numpy(np.concatenate([nodes[b, rows] for b, rows in enumerate(kept)]).astype(np.float32))
    extra = (torch.from_numpy(np.concatenate(weights).astype(np.float32)),) if weighted else ()
    with torch.no_grad():
        wanted = conv(x, torch.from_numpy(np.concatenate(edges, axis=1)), *extra).numpy()
    for b, rows in enumerate(kept):
        np.testing.assert_allclose(got[b, rows], wanted[starts[b] : starts[b + 1]], atol=1e-5)
