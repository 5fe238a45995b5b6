"""Phase 1: supervised training of the whole planner on samples with gold plans."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from orchestai_jax.checkpoint import CHECKPOINTS, CheckpointStore
from orchestai_jax.config import Phase1Config, Preference, RunConfig
from orchestai_jax.data import (
    PlanningSample,
    Tokenizer,
    bucket_length,
    epoch_batches,
    learnable_runs,
    load_samples,
    split_by_hash,
    train_tokenizer,
)
from orchestai_jax.evaluation import PredictedPlan, score_plans
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.planner.calibration import Calibration, PlattScaling, fit_platt
from orchestai_jax.planner.catalog_arrays import CatalogArrays, PlanStatistics, build_catalog_arrays
from orchestai_jax.planner.decoding import DecodedPlans, decode
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.loss import PlanningBatch, planning_loss
from orchestai_jax.planner.model import (
    ModelSpec,
    Parameters,
    build_model,
    merge_parameters,
    partition,
    split_parameters,
)
from orchestai_jax.planner.plan_to_workflow import drawn_edges, pick_worker
from orchestai_jax.planner.pretrained import (
    KNOWN_ENCODERS,
    EncoderNotFoundError,
    PretrainedEncoder,
    import_bert,
    load_pretrained,
)
from orchestai_jax.planner.saved import planner_assets, planner_metadata
from orchestai_jax.planner.text_encoder import TextEncoderConfig
from orchestai_jax.training.loop import LoopResult, run_loop
from orchestai_jax.training.monitoring import Monitor, make_monitor
from orchestai_jax.training.optimizer import ENCODER_GROUP, PLANNER_GROUP, build_optimizer, learning_rates
from orchestai_jax.training.planning_data import PlanningData, check_samples
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.workdir import locked_workdir, prepare_workdir
from orchestai_jax.workflow import Catalog, TaskType, load_catalog

logger = logging.getLogger(__name__)

_BUCKET = 32
"""Training pads to buckets of 32 tokens: half as many lengths to compile as planning's 16, for more padding."""


@dataclasses.dataclass(frozen=True)
class TrainingSamples:
    """What a planner is trained on."""

    catalog: Catalog
    train: Sequence[PlanningSample]
    validation: Sequence[PlanningSample]

    @functools.cached_property
    def occurring(self) -> Catalog:
        """The part of the catalog whose task types occur in the training samples.

        Only these are trained on. As the others are never wanted there, training on them would teach just that: their
        learned vectors, and with them all descriptions like theirs, would be pushed away from every instruction.
        """
        return self.catalog.restricted_to({t for s in self.train for t in s.task_types})


def load_training_samples(config: RunConfig) -> TrainingSamples:
    """Read catalog and samples as the configuration says.

    Raises CatalogError or DataError naming file and line, and ValueError when the split leaves a part empty.
    """
    data = config.data
    catalog = load_catalog(data.catalog, graph=data.graph) if data.catalog else None
    samples = _read_samples(data.train, data.format, catalog)
    if catalog is None:
        names = dict.fromkeys(t for s in samples for t in s.task_types)
        catalog = Catalog(name=config.name, task_types=tuple(TaskType(id=name) for name in names))
    if config.worker.catalog:
        catalog = catalog.model_copy(update={"workers": load_catalog(config.worker.catalog).workers})
    if data.validation:
        train, validation = list(samples), list(_read_samples(data.validation, data.format, catalog))
    else:
        train, validation = split_by_hash(samples, data.validation_fraction)
    for name, part in (("training", train), ("validation", validation)):
        if not part:
            raise ValueError(
                f"{data.train}: no {name} samples are left of {len(samples)}; change data.validation_fraction"
            )
    return TrainingSamples(catalog, train, validation)


def _read_samples(path: str, data_format: str, catalog: Catalog | None) -> Sequence[PlanningSample]:
    """The samples of a file; of run records those that are worth learning from."""
    samples = load_samples(path, data_format, catalog)
    if data_format != "records":
        return samples
    kept = learnable_runs(samples)
    if not kept:
        raise ValueError(f"{path}: no run in it succeeded; there is nothing to learn from")
    return kept


def train_planner(
    config: RunConfig, workdir: str | pathlib.Path, resume: bool = False, monitor: Monitor | None = None
) -> LoopResult:
    """Train a planner into `workdir` (config.yaml, metrics.jsonl, checkpoints); `Planner.from_checkpoint` reads it.

    With `resume` the run goes on from its newest checkpoint, to the same parameters and metrics, bit for bit on one
    machine. Raises ValueError subclasses that name the field, file or line at fault.
    """
    enable_compilation_cache(config.system)
    samples = load_training_samples(config)
    for part in (samples.train, samples.validation):
        check_samples(part, samples.catalog, config.planner.decomposer.max_tasks)
    encoder = _choose_encoder(config, samples)
    prepare_workdir(workdir, config, resume=resume)  # only now, so that a slip in the input leaves no folder begun
    with locked_workdir(workdir):
        return _train(config, samples, encoder, workdir, resume, monitor or make_monitor(config.system.progress))


def _train(
    config: RunConfig,
    samples: TrainingSamples,
    chosen: _ChosenEncoder,
    workdir: str | pathlib.Path,
    resume: bool,
    monitor: Monitor,
) -> LoopResult:
    encoder, tokenizer, source = chosen.encoder, chosen.tokenizer, chosen.source
    monitor.note(f"encoder: {source}; {len(samples.train)} training and {len(samples.validation)} validation samples")
    spec = ModelSpec(
        encoder=encoder.config if isinstance(encoder, PretrainedEncoder) else encoder,
        planner=config.planner,
        num_known_task_types=len(samples.occurring.task_types),
        num_known_workers=max(len(samples.catalog.workers), 1),
        pretrained=isinstance(encoder, PretrainedEncoder),
    )
    graphdef, parameters = initial_parameters(spec, config.seed, encoder)
    statistics = PlanStatistics.of(samples.train, samples.occurring)
    told = functools.partial(monitor.progress, "encoding descriptions")
    vectors = catalog_vectors(graphdef, parameters, tokenizer, samples.catalog, told)
    catalog = build_catalog_arrays(samples.catalog, vectors, statistics)
    occurring = catalog
    if samples.occurring is not samples.catalog:
        never = len(samples.catalog.task_types) - len(samples.occurring.task_types)
        monitor.note(f"{never} task types of the catalog never occur in training: they count as new ones")
        rows = [samples.catalog.index[t.id] for t in samples.occurring.task_types]
        rows += range(len(samples.catalog.task_types), len(vectors))  # the workers'
        occurring = build_catalog_arrays(samples.occurring, vectors[np.array(rows)], statistics)
    train, validation = _lay_out(config, spec, samples, graphdef, parameters, tokenizer, monitor)

    phase = config.training.phase1_supervised
    batches = epoch_batches(
        train.lengths, train.collate, batch_size=phase.batch_size, bucket_size=_BUCKET, seed=config.seed
    )
    optimizer = build_optimizer(phase, phase.num_epochs * batches.steps_per_epoch, _group)
    parts = partition(parameters, spec)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params={**parts, "catalog": {"vectors": jnp.asarray(vectors)}},
        opt_state=jax.jit(optimizer.init)(parts["trainable"]),
        key=jax.random.key(config.seed, impl="rbg"),  # threefry masks are slow on a CPU
    )
    state = jax.device_put(state, jax.devices()[0])
    store = CheckpointStore(
        pathlib.Path(workdir) / CHECKPOINTS, keep_last=phase.keep_checkpoints, best_metric=phase.best_metric
    )
    with store, contextlib.closing(batches):
        return run_loop(
            state=state,
            train_step=make_train_step(graphdef, occurring, optimizer, phase),
            batches=batches,
            evaluate=make_evaluation(graphdef, catalog, validation, spec, phase, samples.catalog),
            store=store,
            num_epochs=phase.num_epochs,
            config=phase,
            learning_rate=learning_rates(phase, phase.num_epochs * batches.steps_per_epoch)[PLANNER_GROUP],
            workdir=workdir,
            resume=resume,
            metadata=planner_metadata(spec, config.worker.preference, source, config.model_dump(mode="json")),
            assets=planner_assets(tokenizer, samples.catalog, statistics),
            monitor=monitor,
        )


def initial_parameters(
    spec: ModelSpec, seed: int, encoder: PretrainedEncoder | TextEncoderConfig
) -> tuple[nnx.GraphDef, Parameters]:
    """Fresh parameters, with the encoder's (and the description encoder's) imported where there are any."""
    model = build_model(spec, seed)
    if isinstance(encoder, PretrainedEncoder):
        import_bert(model.encoder, encoder.tensors)
        if model.describer.encoder is not None:
            import_bert(model.describer.encoder, encoder.tensors)
        first = spec.first_trained_layer
        for own, imported in zip(model.describer.layers, model.encoder.layers[first:], strict=False):
            nnx.update(own, nnx.state(imported, nnx.Param))
    graphdef, parameters = split_parameters(model)
    # Own buffers, fit for donation; and none weakly typed, for which the second step would be compiled anew.
    return graphdef, {name: jnp.array(value, dtype=value.dtype) for name, value in parameters.items()}


def make_train_step(
    graphdef: nnx.GraphDef, catalog: CatalogArrays, optimizer: optax.GradientTransformation, config: Phase1Config
) -> Callable[[TrainState, PlanningBatch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, batch) → (state, measurements), the state donated; compiled once a bucket."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: PlanningBatch, catalog: CatalogArrays):
        key, dropout = jax.random.split(state.key)

        def loss_of(trainable: Parameters):
            model = merge_parameters(graphdef, {**trainable, **state.params["frozen"]})
            return planning_loss(model, catalog, batch, config, nnx.Rngs(dropout=dropout))

        trainable = state.params["trainable"]
        gradients, measurements = jax.grad(loss_of, has_aux=True)(trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
        measurements["gradient_norm"] = optax.tree.norm(gradients)
        params = {**state.params, "trainable": optax.apply_updates(trainable, updates)}
        return TrainState(state.step + 1, params, opt_state, key), measurements

    return lambda state, batch: step(state, batch, catalog)


def make_evaluation(
    graphdef: nnx.GraphDef,
    arrays: CatalogArrays,
    data: PlanningData,
    spec: ModelSpec,
    config: Phase1Config,
    catalog: Catalog,
) -> Callable[[TrainState], Mapping[str, float]]:
    """Validation of a state: the loss's parts, node F1, link F1, accuracy and worker choice of plans decoded as they
    will be, `score`, and what their confidences must be scaled by.

    `score` is the mean of node F1 and link F1, and of the accuracy of worker choice where samples name workers of task
    types that have several.
    """

    @jax.jit
    def measure(params, batch: PlanningBatch, arrays: CatalogArrays) -> tuple[dict[str, jax.Array], DecodedPlans]:
        model = merge_parameters(graphdef, {**params["trainable"], **params["frozen"]})
        _, measurements = planning_loss(model, arrays, batch, config, None)
        tokens, mask = batch.tokens, batch.mask
        lower = model.lower(tokens, mask) if tokens.ndim == 2 else tokens
        return measurements, decode(model, arrays, lower, mask, batch.preference, spec.planner.decoding)

    rows = config.batch_size
    order = sorted(range(len(data.samples)), key=lambda i: data.lengths[i])
    batches = []
    for start in range(0, len(order), rows):
        indices = order[start : start + rows]
        filled = np.array(indices + indices[-1:] * (rows - len(indices)))
        weights = (np.arange(rows) < len(indices)).astype(np.float32)
        padded = bucket_length(max(data.lengths[i] for i in indices), _BUCKET)
        batches.append((indices, data.collate(filled, weights, padded)))

    def evaluate(state: TrainState) -> dict[str, float]:
        sums: dict[str, float] = {}
        samples: list[PlanningSample] = []
        plans: list[PredictedPlan] = []
        confidences = _Confidences()
        for indices, batch in batches:
            measurements, decoded = jax.device_get(measure(state.params, batch, arrays))
            for name, value in measurements.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
            for row, i in enumerate(indices):
                samples.append(data.samples[i])
                success, cost, latency = data.preference_of(i)
                preference = Preference(success=success, cost=cost, latency=latency)
                plan = jax.tree.map(lambda x, row=row: x[row], decoded)
                plans.append(_predicted(plan, catalog, spec, preference))
                confidences.add(plan, plans[-1].task_types, data.samples[i].nodes)
        scores = score_plans(samples, plans, catalog.choices)
        metrics = {name: total / len(samples) for name, total in sums.items()}
        means = {name: float(np.mean(getattr(scores, name))) for name in ("node_f1", "link_f1", "accuracy")}
        metrics |= means
        judged = [means["node_f1"], means["link_f1"]]
        if scores.selection_accuracy is not None:
            metrics["selection_accuracy"] = scores.selection_accuracy
            judged.append(scores.selection_accuracy)
        return metrics | confidences.calibration().to_metrics() | {"score": float(np.mean(judged))}

    return evaluate


@dataclasses.dataclass
class _Confidences:
    """What the decoder gave its tasks and plans, and whether they were right."""

    of_tasks: list[tuple[float, bool]] = dataclasses.field(default_factory=list)
    of_plans: list[tuple[float, bool]] = dataclasses.field(default_factory=list)

    def add(self, plan: DecodedPlans, task_types: Sequence[str], gold: AbstractSet[str]) -> None:
        """Take one plan (a row of DecodedPlans) in."""
        self.of_tasks += [(float(plan.task_support[j]), t in gold) for j, t in enumerate(task_types)]
        self.of_plans.append((float(plan.plan_support), frozenset(task_types) == gold))

    def calibration(self) -> Calibration:
        """The scaling of least cross-entropy."""
        task, plan = (
            fit_platt(*zip(*pairs, strict=True)) if pairs else None for pairs in (self.of_tasks, self.of_plans)
        )
        return Calibration(task or PlattScaling(), plan or PlattScaling())


def _predicted(plan: DecodedPlans, catalog: Catalog, spec: ModelSpec, preference: Preference) -> PredictedPlan:
    chosen = [int(t) for t in plan.chosen if t < len(catalog.task_types)]
    n = len(chosen)
    edges = drawn_edges(np.asarray(plan.edge_probabilities)[:n, :n], spec.planner.graph_generator.threshold)
    task_types = tuple(catalog.task_types[t].id for t in chosen)
    return PredictedPlan(
        task_types=task_types,
        dependencies=edges,
        workers=tuple(
            pick_worker(np.asarray(plan.worker_logp[j]), task_type, catalog, spec.planner, preference)
            for j, task_type in enumerate(task_types)
        ),
        valid=True,
    )


@dataclasses.dataclass(frozen=True)
class _ChosenEncoder:
    """The pretrained encoder, or the sizes of one to train, with its tokenizer and a word on where it is from."""

    encoder: PretrainedEncoder | TextEncoderConfig
    tokenizer: Tokenizer
    source: str


def _choose_encoder(config: RunConfig, samples: TrainingSamples) -> _ChosenEncoder:
    """What the configuration names, where it is found; else an encoder to train from scratch, with a warning."""
    settings = config.planner.encoder
    why = "trained from scratch"
    if settings.weights != "none":
        try:
            pretrained = load_pretrained(settings.weights)
        except EncoderNotFoundError as error:
            if settings.weights not in KNOWN_ENCODERS:  # somebody's own folder or repository: a slip, most likely
                raise
            logger.warning("%s; an encoder is trained from scratch in its place", error)
            why = f"trained from scratch, as {settings.weights} was not found"
        else:
            return _ChosenEncoder(pretrained, pretrained.tokenizer, f"{settings.weights} ({pretrained.source})")
    texts = [s.instruction for s in samples.train] + [t.text for t in samples.catalog.task_types]
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    sizes = TextEncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=settings.hidden_size,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        max_positions=bucket_length(settings.max_tokens, _BUCKET),  # padding has positions too
    )
    return _ChosenEncoder(sizes, tokenizer, why)


def _lay_out(
    config: RunConfig,
    spec: ModelSpec,
    samples: TrainingSamples,
    graphdef: nnx.GraphDef,
    parameters: Parameters,
    tokenizer: Tokenizer,
    monitor: Monitor,
) -> tuple[PlanningData, PlanningData]:
    """Training and validation samples as arrays; frozen layers' outputs are computed here, once."""

    @jax.jit
    def lower(parameters: Parameters, ids: jax.Array, mask: jax.Array) -> jax.Array:
        return merge_parameters(graphdef, parameters).lower(ids, mask)

    def cached(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(lower(parameters, ids, mask))

    def lay_out(part: Sequence[PlanningSample], catalog: Catalog, name: str, step_texts: int) -> PlanningData:
        preference: Preference = config.worker.preference
        return PlanningData(
            part,
            catalog,
            tokenizer,
            max_tokens=min(config.planner.encoder.max_tokens, spec.encoder.max_positions),
            max_tasks=config.planner.decomposer.max_tasks,
            default_preference=(preference.success, preference.cost, preference.latency),
            lower=None if spec.embedding_is_trained else cached,
            seed=config.seed,
            step_texts_per_batch=step_texts,
            progress=functools.partial(monitor.progress, f"encoding {name} texts"),
        )

    phase = config.training.phase1_supervised
    steps = phase.step_texts_per_batch if phase.step_text_loss_weight else 0
    train = lay_out(samples.train, samples.occurring, "training", steps)
    return train, lay_out(samples.validation, samples.catalog, "validation", 0)


def _group(path: tuple[str, ...]) -> str:
    return ENCODER_GROUP if path[-1].startswith("encoder.") else PLANNER_GROUP
