"""The decoder-only transformer: BitNet b1.58 (Ma et al. 2024, 2025), or its float twin, by configuration."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int
from orchestai_kernels.attention import attention

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model.layer import DecoderLayer
from orchestai_jax.nn.norms import RMSNorm
from orchestai_jax.nn.rotary import rotary_angles
from orchestai_jax.nn.straight_through import Strength

Parameters = dict[str, Any]
"""Arrays (or packed arrays) by dotted name; those of the layers have a leading axis over the layers."""


class LanguageModel(nnx.Module):
    """Embedding, layers, norm, head. Raises ValueError for a configuration without vocab_size, or with unused rules."""

    def __init__(self, config: LanguageModelConfig, *, rngs: nnx.Rngs):
        vocab_size = known_vocab_size(config)
        self.config = config
        initial = jax.random.normal(rngs.params(), (vocab_size, config.hidden_size), jnp.float32)
        self.embedding = nnx.Param(initial * config.initializer_range)
        self.layers = _stacked_layers(config, rngs)
        self.norm = RMSNorm(config.hidden_size, epsilon=config.rms_epsilon, rngs=rngs)
        if config.tied_embeddings:
            self.head = None
        else:
            initial = jax.random.normal(rngs.params(), (vocab_size, config.hidden_size), jnp.float32)
            self.head = nnx.Param(initial * config.initializer_range)

    def __call__(
        self, tokens: Int[Array, "batch time"], *, strength: Strength = None
    ) -> Float[Array, "batch time vocab"]:
        """Logits of the next token at every position, float32.

        Raises ValueError for sequences longer than `max_positions`, and for empty ones.
        """
        time = tokens.shape[1]
        if not 1 <= time <= self.config.max_positions:
            raise ValueError(f"tokens must be 1 to max_positions {self.config.max_positions} long, got {time}")
        x = self.embedding[...][tokens].astype(compute_dtype(self.config))
        angles = rotary_angles(jnp.arange(time), self.config.head_dim, self.config.rope_theta)
        graphdef, layers = nnx.split(self.layers)

        def layer(x: Array, parameters: Any) -> tuple[Array, None]:
            applied, _ = nnx.merge(graphdef, parameters)(x, angles, _attend_causally, strength=strength)
            return applied, None

        if self.config.remat:
            layer = jax.checkpoint(layer)
        if self.config.scan_layers:
            x, _ = jax.lax.scan(layer, x, layers)
        else:
            for index in range(self.config.num_layers):
                x, _ = layer(x, jax.tree.map(lambda leaf, index=index: leaf[index], layers))
        head = self.embedding[...] if self.head is None else self.head[...]
        # b: row, t: time, h: hidden, v: token of the vocabulary
        return jnp.einsum("bth,vh->btv", self.norm(x), head.astype(x.dtype), preferred_element_type=jnp.float32)


def _attend_causally(queries: Array, keys: Array, values: Array) -> tuple[Array, None]:
    return attention(queries, keys, values, causal=True), None


def _stacked_layers(config: LanguageModelConfig, rngs: nnx.Rngs) -> DecoderLayer:
    @nnx.split_rngs(splits=config.num_layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def create(rngs: nnx.Rngs) -> DecoderLayer:
        return DecoderLayer(config, rngs=rngs)

    return create(rngs)


def known_vocab_size(config: LanguageModelConfig) -> int:
    """The vocabulary's size. Raises ValueError where the configuration leaves it open."""
    if config.vocab_size is None:
        raise ValueError("vocab_size must be given to build a model, got null (it is the tokenizer's in training)")
    return config.vocab_size


def compute_dtype(config: LanguageModelConfig) -> jnp.dtype:
    """What the layers compute in on this machine."""
    if config.compute_dtype == "auto":
        return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
    return jnp.dtype(config.compute_dtype)


def split_parameters(model: nnx.Module) -> tuple[nnx.GraphDef, Parameters]:
    """The network's structure, and its parameters by dotted name."""
    graphdef, state = nnx.split(model, nnx.Param)
    return graphdef, {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def merge_parameters(graphdef: nnx.GraphDef, parameters: Mapping[str, Any]) -> Any:
    """The network with the given parameters, packed ones among them; inside jit this is free."""
    flat = [(tuple(name.split(".")), nnx.Param(value)) for name, value in parameters.items()]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


@functools.lru_cache(maxsize=16)
def model_structure(config: LanguageModelConfig) -> tuple[nnx.GraphDef, Mapping[str, jax.ShapeDtypeStruct]]:
    """The structure and the parameters' shapes, without computing any."""
    model = nnx.eval_shape(lambda: LanguageModel(config, rngs=nnx.Rngs(0)))
    return split_parameters(model)


@functools.lru_cache(maxsize=16)
def layer_structure(config: LanguageModelConfig) -> nnx.GraphDef:
    """The structure of one layer by itself."""
    return split_parameters(nnx.eval_shape(lambda: DecoderLayer(config, rngs=nnx.Rngs(0))))[0]


def initial_parameters(config: LanguageModelConfig, seed: int) -> Parameters:
    """Random parameters, the same for the same seed.

    Projections back into the residual stream start smaller by √(2 · num_layers) (Radford et al. 2019).
    """
    _, parameters = split_parameters(LanguageModel(config, rngs=nnx.Rngs(seed)))
    for name in ("layers.attention.out.weight", "layers.feed_forward.down.weight"):
        parameters[name] = parameters[name] / (2 * config.num_layers) ** 0.5
    # Own buffers, fit for donation; none weakly typed, for which a second step would be compiled anew.
    return {name: jnp.array(value, dtype=value.dtype) for name, value in parameters.items()}


def apply_model(
    config: LanguageModelConfig,
    parameters: Mapping[str, Any],
    tokens: Int[Array, "batch time"],
    *,
    strength: Strength = None,
) -> Float[Array, "batch time vocab"]:
    """Logits, as a pure function of the parameters (float, or packed by `orchestai_jax.quantization.pack`)."""
    return merge_parameters(model_structure(config)[0], parameters)(tokens, strength=strength)
