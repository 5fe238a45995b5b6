"""The supervised loss of the whole planner."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Bool, Float, Int

from orchestai_jax.config import Phase1Config
from orchestai_jax.planner.catalog_arrays import CatalogArrays
from orchestai_jax.planner.description_matcher import Evidence
from orchestai_jax.planner.graph_generator import acyclicity_penalty
from orchestai_jax.planner.model import Encoded, PlannerModel, sigmoid_cross_entropy


@struct.dataclass
class PlanningBatch:
    """Instructions and gold plans, padded: T (the number of task types) stands for no task, -1 for no label.

    `tokens` (of instructions) and `step_tokens` (of the texts of single steps, each of one task type) hold token ids
    [rows, n], or the output of the frozen layers [rows, n, hidden] where that is cached.
    """

    tokens: Array
    mask: Bool[Array, "batch n"]
    chosen: Int[Array, "batch J"]
    edges: Float[Array, "batch J J"]
    workers: Int[Array, "batch J"]
    complexity: Float[Array, "batch J"]
    preference: Float[Array, "batch 3"]
    stated_preference: Float[Array, "batch 3"]
    """The weights under which `workers` are the best; where `preference` differs, the instruction says so."""
    is_silent: Bool[Array, "batch"]
    """Whether `preference` is only the default, so that the instruction is all there is to go by."""
    weights: Float[Array, "batch"]
    step_tokens: Array
    step_mask: Bool[Array, "steps m"]
    step_task_types: Int[Array, "steps"]
    evidence: Evidence | None = None
    """Of the instructions, and below that of the step texts; for a planner with a description matcher."""
    step_evidence: Evidence | None = None


def planning_loss(
    model: PlannerModel,
    catalog: CatalogArrays,
    batch: PlanningBatch,
    config: Phase1Config,
    rngs: nnx.Rngs | None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted sum of the parts' losses (nats), and each part's mean.

    `decision_loss` is the cross-entropy of one choice of the decomposer (next task type or stop), `label_loss` the
    binary cross-entropy summed over the catalog, `match_loss` the same of the description matcher alone, `edge_loss`
    that of one ordered pair of tasks, `worker_loss` that of one choice of a worker, `preference_loss` the squared error
    of the log weights heard, `cycle_penalty` DAG-GNN's on the edge probabilities. Dropout acts only when `rngs` is
    given.
    """
    mask = batch.mask
    if rngs is not None and model.spec.planner.encoder.token_dropout > 0:
        mask = drop_tokens(mask, model.spec.planner.encoder.token_dropout, rngs.dropout())
    encoded = _encode(model, catalog, batch.tokens, mask, batch.evidence, rngs)
    size, (batch_size, max_tasks) = catalog.known.shape[0], batch.chosen.shape
    tasks = batch.chosen < size  # [batch, J]
    weights = batch.weights
    total_weight = jnp.maximum(jnp.sum(weights), 1.0)

    wanted = jnp.zeros((batch_size, size + 1)).at[jnp.arange(batch_size)[:, None], batch.chosen].set(1.0)

    def binary(logits: Array) -> Array:
        """The cross-entropy of a row's log-odds, summed over the catalog, mean of the rows."""
        summed = jnp.sum(sigmoid_cross_entropy(logits, wanted[:, :size]), axis=-1)
        return jnp.sum(summed * weights) / total_weight

    label_loss = binary(encoded.labels)
    match_loss = jnp.zeros(()) if encoded.matched is None else binary(encoded.matched)

    start = jnp.full((batch_size, 1), size, batch.chosen.dtype)
    previous = jnp.concatenate([start, batch.chosen], axis=1)  # [batch, J + 1]
    states = model.decomposer.states(encoded.task_types, previous, encoded.hidden, encoded.mask, rngs=rngs)
    decision_loss, decisions = _decision_losses(model, catalog, encoded, states, previous, batch)
    decision_loss = jnp.sum(decision_loss) / jnp.maximum(decisions, 1.0)

    task_states = model.task_states(encoded, states[:, :max_tasks], batch.chosen)
    edge_logits = model.edge_logits(catalog, task_states, batch.chosen, tasks)
    pairs = (tasks[:, :, None] & tasks[:, None, :] & ~jnp.eye(max_tasks, dtype=bool)) * weights[:, None, None]
    edge_loss = _mean(sigmoid_cross_entropy(edge_logits, batch.edges), pairs)
    penalty = acyclicity_penalty(jax.nn.sigmoid(edge_logits), tasks)
    cycle_penalty = jnp.sum(penalty * weights) / total_weight

    worker_logp, complexity = model.choose_workers(catalog, encoded, task_states, batch.chosen, batch.preference)
    has_worker = (batch.workers >= 0) * weights[:, None]
    is_label = catalog.able[jnp.minimum(batch.chosen, size - 1)] == batch.workers[..., None]  # [batch, J, M]
    worker_loss = _mean(-jnp.sum(jnp.where(is_label, worker_logp, 0.0), axis=-1), has_worker)
    # log(w) of what is meant, less log(w) of what is given: what the instruction has to be heard saying. The weights
    # start at 0.02, so that a preset's zero is small and not without end.
    meant, told = (jnp.log(jnp.maximum(w, 0.02)) for w in (batch.stated_preference, batch.preference))
    unheard = jnp.mean(jnp.square(model.hear_preference(encoded) - (meant - told)), axis=-1)
    preference_loss = _mean(unheard, batch.is_silent * weights)
    has_complexity = ((batch.complexity >= 0) & tasks) * weights[:, None]
    complexity_loss = _mean(jnp.square(jax.nn.sigmoid(complexity) - batch.complexity), has_complexity)

    step_loss = jnp.zeros(())
    if batch.step_task_types.shape[0]:
        steps = _encode(model, catalog, batch.step_tokens, batch.step_mask, batch.step_evidence, rngs)
        step_loss = _step_text_loss(steps.labels, batch.step_task_types)
    parts = {
        "decision_loss": decision_loss,
        "label_loss": label_loss,
        "match_loss": match_loss,
        "edge_loss": edge_loss,
        "cycle_penalty": cycle_penalty,
        "worker_loss": worker_loss,
        "preference_loss": preference_loss,
        "complexity_loss": complexity_loss,
        "step_text_loss": step_loss,
    }
    loss = (
        config.label_loss_weight * label_loss
        + config.match_loss_weight * match_loss
        + config.decomposer_loss_weight * decision_loss
        + config.edge_loss_weight * edge_loss
        + config.lambda_dag * cycle_penalty
        + config.worker_loss_weight * worker_loss
        + config.preference_loss_weight * preference_loss
        + config.complexity_loss_weight * complexity_loss
        + config.step_text_loss_weight * step_loss
    )
    return loss, {"loss": loss, **parts}


def drop_tokens(mask: Bool[Array, "batch n"], rate: float, key: Array) -> Bool[Array, "batch n"]:
    """The mask with a share of the tokens hidden; the first of each row (BERT's [CLS]) always stays."""
    keep = jax.random.bernoulli(key, 1 - rate, mask.shape).at[:, 0].set(True)
    return mask & keep


def _encode(
    model: PlannerModel,
    catalog: CatalogArrays,
    tokens: Array,
    mask: Array,
    evidence: Evidence | None,
    rngs: nnx.Rngs | None,
) -> Encoded:
    lower = model.lower(tokens, mask) if tokens.ndim == 2 else tokens
    return model.encode(catalog, lower, mask, evidence=evidence, rngs=rngs)


def _decision_losses(model, catalog, encoded: Encoded, states, previous, batch: PlanningBatch):
    """Cross-entropy of each decision, zero where there is none, and the number of decisions."""
    size = catalog.known.shape[0]
    batch_size, steps = previous.shape
    flat_labels = jnp.repeat(encoded.labels, steps, axis=0)
    logits = model.decomposer.logits(
        catalog, encoded.directions, states.reshape(batch_size * steps, -1), previous.reshape(-1), flat_labels
    ).reshape(batch_size, steps, size + 1)
    targets = jnp.concatenate([batch.chosen, jnp.full((batch_size, 1), size)], axis=1)  # padding is stop
    num_tasks = jnp.sum(batch.chosen < size, axis=1, keepdims=True)
    decided = jnp.arange(steps)[None] <= num_tasks
    if not model.spec.planner.decomposer.allow_repeats:
        used = jnp.cumsum(jax.nn.one_hot(previous, size + 1)[..., :size], axis=1) > 0
        used = jnp.concatenate([used, jnp.zeros((batch_size, steps, 1), bool)], axis=-1)
        logits = jnp.where(used, jnp.finfo(logits.dtype).min, logits)
        # A gold plan that repeats a type asks for what the decoder cannot say: that decision is left out.
        decided &= ~jnp.take_along_axis(used, targets[..., None], axis=-1)[..., 0]
    decided = decided * batch.weights[:, None]
    logp = jax.nn.log_softmax(logits, axis=-1)
    losses = -jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
    return jnp.where(decided > 0, losses, 0.0) * decided, jnp.sum(decided)


def _step_text_loss(labels: Float[Array, "steps T"], task_types: Int[Array, "steps"]) -> Array:
    """Mean cross-entropy of a step's text with its task type among all, by the label head."""
    logp = jax.nn.log_softmax(labels, axis=-1)
    return -jnp.mean(jnp.take_along_axis(logp, task_types[:, None], axis=-1))


def _mean(values: Array, weights: Array) -> Array:
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)
