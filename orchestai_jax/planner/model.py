"""The planner's network: encoder, task type vectors, label head, decomposer, graph generator, worker selector."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int
from orchestai_kernels.arrays import Int8Array, dequantize_int8

from orchestai_jax.config import PlannerConfig
from orchestai_jax.planner.arguments.scorer import ArgumentScorer
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.decomposer import Decomposer
from orchestai_jax.planner.description_matcher import DescriptionMatcher, Evidence, segment_vectors
from orchestai_jax.planner.encoders import ENCODERS, Encoder, EncoderSizes, make_encoder
from orchestai_jax.planner.evidence_reader import SegmentArrays
from orchestai_jax.planner.graph_generator import GraphGenerator, pair_features
from orchestai_jax.planner.label_head import Attended, LabelHead
from orchestai_jax.planner.scaled_cosine import unit
from orchestai_jax.planner.task_type_embedding import DescribedEmbedding
from orchestai_jax.planner.task_type_graph import TaskTypeGraph
from orchestai_jax.planner.ternary_encoder import TernaryEncoderConfig, pack_encoder
from orchestai_jax.planner.text_encoder import mean_pool
from orchestai_jax.planner.worker_selector import WorkerSelector

Parameters = dict[str, Any]
"""Parameters by dotted path: arrays, or what a ternary encoder's are packed into (`serving_parameters`)."""


ARGUMENTS = "arguments."
"""What the names of the argument scorer's parameters begin with; it is fitted before the rest is trained."""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build the network: sizes, and how many task types and workers training knew."""

    encoder: EncoderSizes
    planner: PlannerConfig
    num_known_task_types: int
    num_known_workers: int
    pretrained: bool
    encoder_is_frozen: bool = False
    """Whether a training leaves the encoder as it finds it. Changes no part of the network."""

    @property
    def shared_layers(self) -> int:
        """How many layers, from the first, the encoders of instructions and of descriptions have in common."""
        trainable = self.planner.encoder.trainable_layers
        if not self.pretrained or trainable is None:
            return 0
        return max(self.encoder.num_layers - trainable, 0)

    @property
    def embedding_is_shared(self) -> bool:
        """Whether they have the token embedding in common (not from scratch, nor with trainable_layers = null)."""
        return self.pretrained and self.planner.encoder.trainable_layers is not None

    @property
    def first_trained_layer(self) -> int:
        """Layers before this one are frozen, and so is the token embedding unless `embedding_is_trained`."""
        return self.encoder.num_layers if self.encoder_is_frozen else self.shared_layers

    def check_heads(self) -> None:
        """Raises ValueError where attention heads do not divide the encoder's width, which the weights decide."""
        width, heads = self.encoder.hidden_size, self.planner.decomposer.num_heads
        if width % heads:
            fits = ", ".join(str(n) for n in range(1, 17) if width % n == 0)
            raise ValueError(
                f"planner.decomposer.num_heads {heads} does not divide the encoder's width {width}; these do: {fits}"
            )
        links = self.planner.task_type_graph
        try:
            links.check_heads(links.layer, width)
        except ValueError as error:
            raise ValueError(f"planner.task_type_graph: {error}") from error

    @property
    def embedding_is_trained(self) -> bool:
        """Whether the token embedding is trained."""
        return not (self.encoder_is_frozen or self.embedding_is_shared)


class DescriptionEncoder(nnx.Module):
    """The frozen encoder of descriptions.

    With a pretrained encoder: its layers as they were before training, sharing what stays frozen with the instruction's
    encoder. From scratch: a bag of words under a random projection, which needs no training.
    """

    def __init__(self, spec: ModelSpec, *, rngs: nnx.Rngs):
        config = dataclasses.replace(spec.encoder, dropout=0.0)
        self.shared_layers = spec.shared_layers
        own_embedding = spec.pretrained and not spec.embedding_is_shared
        self.encoder = make_encoder(config, rngs=rngs) if own_embedding else None
        self.words = None if spec.pretrained else nnx.Embed(config.vocab_size, config.hidden_size, rngs=rngs)
        own = range(self.shared_layers, config.num_layers) if spec.pretrained and self.encoder is None else ()
        self.layers = nnx.List([ENCODERS[type(config)].block(config, i, rngs=rngs) for i in own])

    def __call__(
        self, shared: Encoder, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]
    ) -> Float[Array, "batch hidden"]:
        """Unit vectors of texts."""
        return unit(mean_pool(self.tokens(shared, token_ids, mask), mask))

    def tokens(
        self, shared: Encoder, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]
    ) -> Float[Array, "batch n hidden"]:
        """The tokens' vectors, of which a text's is the mean."""
        if self.words is not None:
            return self.words(token_ids)
        if self.encoder is not None:
            return self.encoder(token_ids, mask)
        return shared.run([*shared.layers[: self.shared_layers], *self.layers], shared.embedding(token_ids), mask)


@struct.dataclass
class Encoded:
    """An encoded batch of instructions against a catalog."""

    hidden: Float[Array, "batch n hidden"]
    mask: Bool[Array, "batch n"]
    task_types: Float[Array, "T hidden"]
    labels: Float[Array, "batch T"]
    attended: Attended
    mentions: Float[Array, "batch T"]
    """Where in the instruction each type is spoken of: a token's position, or a mean of some."""
    matched: Float[Array, "batch T"] | None = None
    """The part of `labels` that is the description matcher's, where there is one."""

    @property
    def directions(self) -> Float[Array, "T hidden"]:
        """The task types' unit vectors."""
        return unit(self.task_types)


class PlannerModel(nnx.Module):
    """Every learned part of the planner; methods are pure given parameters."""

    def __init__(self, spec: ModelSpec, *, rngs: nnx.Rngs):
        hidden = spec.encoder.hidden_size
        config = spec.planner
        self.spec = spec
        self.encoder = make_encoder(dataclasses.replace(spec.encoder, dropout=config.decomposer.dropout), rngs=rngs)
        self.describer = DescriptionEncoder(spec, rngs=rngs)
        self.task_types = DescribedEmbedding(hidden, hidden, spec.num_known_task_types, rngs=rngs)
        self.label_head = LabelHead(
            hidden,
            initial_scale=config.decomposer.initial_scale,
            # With a matcher, whose log-odds have a bias of their own, the head starts as a correction of them.
            initial_bias=0.0 if config.decomposer.match_descriptions else config.decomposer.label_bias,
            start=config.decomposer.projection_start,
            rngs=rngs,
        )
        self.decomposer = Decomposer(
            hidden,
            config.decomposer.num_heads,
            config.decomposer.max_tasks,
            kind=config.decomposer.kind,
            dropout=config.decomposer.dropout,
            initial_scale=config.decomposer.initial_scale,
            glimpse=config.decomposer.glimpse,
            rngs=rngs,
        )
        self.matcher = DescriptionMatcher() if config.decomposer.match_descriptions else None
        self.graph_generator = GraphGenerator(3 * hidden, config.graph_generator, rngs=rngs)
        self.worker_selector = WorkerSelector(
            3 * hidden, hidden, hidden, spec.num_known_workers, config.worker_selector.hidden_size, rngs=rngs
        )
        learned = config.arguments.method == "learned"
        self.arguments = ArgumentScorer(config.arguments.hidden_size, rngs=rngs) if learned else None
        links = config.task_type_graph  # last, so that all else starts as it does without
        self.task_type_graph = TaskTypeGraph(links, hidden, rngs=rngs) if links.is_used else None

    def lower(self, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch n hidden"]:
        """Token embedding and frozen layers: what can be computed once and kept."""
        frozen = self.encoder.layers[: self.spec.first_trained_layer]
        return self.encoder.run(frozen, self.encoder.embedding(token_ids), mask)

    def upper(
        self, lower: Float[Array, "batch n hidden"], mask: Bool[Array, "batch n"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch n hidden"]:
        """The trained layers of the encoder."""
        return self.encoder.run(self.encoder.layers[self.spec.first_trained_layer :], lower, mask, rngs=rngs)

    def describe(self, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"]) -> Float[Array, "batch hidden"]:
        """Unit vectors of descriptions, by the frozen encoder."""
        return self.describer(self.encoder, token_ids, mask)

    def evidence(
        self, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"], segments: SegmentArrays | None
    ) -> Evidence | None:
        """What the description matcher is told of instructions: their segments, by the frozen encoder of descriptions.
        Tokens that `mask` hides do not count. None for None."""
        if segments is None:
            return None
        return segments.evidence(self.segment_vectors(token_ids, mask, jnp.asarray(segments.inside)))

    def segment_vectors(
        self, token_ids: Int[Array, "batch n"], mask: Bool[Array, "batch n"], inside: Bool[Array, "batch S n"]
    ) -> Float[Array, "batch S hidden"]:
        """Unit vectors of segments, by the frozen encoder of descriptions."""
        return segment_vectors(self.describer.tokens(self.encoder, token_ids, mask), inside & mask[:, None, :])

    def encode(
        self,
        catalog: CatalogArrays,
        lower: Float[Array, "batch n hidden"],
        mask: Bool[Array, "batch n"],
        *,
        evidence: Evidence | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Encoded:
        """Instructions against a catalog; `lower` comes from `lower()`. Dropout acts only when `rngs` is given.

        `evidence` is for the description matcher; where there is one and no evidence, raises ValueError, and so where
        there is a task-type graph and the catalog's links are not.
        """
        hidden = self.upper(lower, mask, rngs=rngs)
        dropped = (
            {"dropout": self.spec.planner.decomposer.free_embedding_dropout, "key": rngs.dropout()} if rngs else {}
        )
        task_types = catalog.embedded
        if task_types is None or rngs is not None:
            task_types = self.task_types(catalog.descriptions, catalog.known, **dropped)
            if self.task_type_graph is not None:
                if catalog.links is None:
                    raise ValueError("this planner has a task-type graph: it wants a catalog that is laid out `linked`")
                task_types = self.task_type_graph(task_types, catalog.links)
        labels, attended = self.label_head(hidden, mask, task_types)
        if self.matcher is None:
            positions = jnp.arange(mask.shape[1], dtype=hidden.dtype)
            return Encoded(hidden, mask, task_types, labels, attended, attended.weights @ positions)
        if evidence is None:
            raise ValueError("this planner matches descriptions: it wants the evidence of the instructions' segments")
        matched, best = self.matcher(evidence, catalog.descriptions)
        # Of a type that training never saw the label head knows nothing: there the matcher stands alone.
        labels = matched + jnp.where(catalog.known < self.spec.num_known_task_types, labels, 0.0)
        mentions = jnp.take_along_axis(evidence.starts, best, axis=1).astype(hidden.dtype)
        return Encoded(hidden, mask, task_types, labels, attended, mentions, matched)

    def task_states(
        self, encoded: Encoded, decoder_states: Float[Array, "batch n hidden"], chosen: Int[Array, "batch n"]
    ) -> Float[Array, "batch n state"]:
        """Of each chosen task: the decoder's state, its type's vector, the tokens the type attended to."""
        safe = jnp.minimum(chosen, encoded.task_types.shape[0] - 1)
        return jnp.concatenate([decoder_states, encoded.task_types[safe], encoded.attended.of(safe)], axis=-1)

    def choose_workers(
        self,
        catalog: CatalogArrays,
        encoded: Encoded,
        states: Float[Array, "batch n state"],
        chosen: Int[Array, "batch n"],
        preference: Float[Array, "batch 3"],
    ) -> tuple[Float[Array, "batch n M"], Float[Array, "batch n"]]:
        """Log-probabilities of the workers that can do each chosen task, and log-odds of its complexity."""
        return self.worker_selector(catalog, states, self.hear_preference(encoded), chosen, preference)

    def hear_preference(self, encoded: Encoded) -> Float[Array, "batch 3"]:
        """How far the instructions move the logarithms of the preference's weights."""
        return self.worker_selector.listener(encoded.hidden, encoded.mask)

    def edge_logits(
        self,
        catalog: CatalogArrays,
        states: Float[Array, "batch n state"],
        chosen: Int[Array, "batch n"],
        mask: Bool[Array, "batch n"],
    ) -> Float[Array, "batch n n"]:
        """Log-odds of an edge from each chosen task (rows) to each other (columns)."""
        return self.graph_generator(states, pair_features(catalog, chosen), mask)


def build_model(spec: ModelSpec, seed: int) -> PlannerModel:
    """A freshly initialised network."""
    return PlannerModel(spec, rngs=nnx.Rngs(seed))


@functools.lru_cache(maxsize=8)
def build_structure(spec: ModelSpec) -> tuple[nnx.GraphDef, dict[str, jax.ShapeDtypeStruct]]:
    """The network's structure, and shape and dtype of each parameter by dotted path, without making any array."""
    rngs: Any = nnx.Rngs(0)
    rngs.default = _UncountedStream(0, tag="default")
    graphdef, arrays = split_parameters(nnx.eval_shape(lambda: PlannerModel(spec, rngs=rngs)))
    return graphdef, {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()}


class _UncountedStream(nnx.RngStream):
    """Gives the same key each time, which is enough for shapes: counting under a trace is most of its time."""

    def __call__(self) -> jax.Array:
        return self.key[...]


def split_parameters(model: PlannerModel) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """The network's structure, and its parameters by dotted path (shapes where the network has no arrays)."""
    graphdef, state = nnx.split(model, nnx.Param)
    flat = {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(state)}
    return graphdef, flat


def merge_parameters(graphdef: nnx.GraphDef, parameters: Mapping[str, Any]) -> PlannerModel:
    """The network with the given parameters; inside jit this is free."""
    flat = [(_path(name), nnx.Param(value)) for name, value in parameters.items()]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


def _path(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))


def is_frozen(name: str, spec: ModelSpec) -> bool:
    """Whether training leaves the parameter of this dotted path alone."""
    if name.startswith(("describer.", ARGUMENTS)):
        return True
    if name.startswith("encoder.embedding."):
        return not spec.embedding_is_trained
    if name.startswith("encoder.layers."):
        return int(name.split(".")[2]) < spec.first_trained_layer
    return False


def partition(parameters: Parameters, spec: ModelSpec) -> dict[str, Parameters]:
    """`{"trainable": …, "frozen": …}` by `is_frozen`."""
    return {
        "trainable": {k: v for k, v in parameters.items() if not is_frozen(k, spec)},
        "frozen": {k: v for k, v in parameters.items() if is_frozen(k, spec)},
    }


def token_table(parameters: Parameters) -> Array:
    """The embedding of tokens [vocabulary, hidden] that no training changes; from scratch a random one."""
    names = ("describer.words.embedding", "describer.encoder.embedding.word.embedding")
    table: Any = next((parameters[n] for n in names if n in parameters), parameters["encoder.embedding.word.embedding"])
    return dequantize_int8(table) if isinstance(table, Int8Array) else table


def serving_parameters(spec: ModelSpec, parameters: Parameters) -> Parameters:
    """The parameters as they are planned with: a ternary encoder's packed, all others as they are."""
    return pack_encoder(parameters) if isinstance(spec.encoder, TernaryEncoderConfig) else parameters


def sigmoid_cross_entropy(logits: Array, targets: Array) -> Array:
    """Binary cross-entropy, elementwise, nats."""
    return jax.nn.softplus(logits) - targets * logits
