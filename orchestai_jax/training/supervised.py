"""Phase 1: supervised training of the whole planner on samples with gold plans."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from orchestai_jax.config import Phase1Config, Preference, RunConfig
from orchestai_jax.data import PlanningSample, Tokenizer, epoch_batches
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.optimization import OptimizationOrchestrator
from orchestai_jax.planner.catalog_arrays import CatalogArrays, build_catalog_arrays
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.encoded_vectors import decode_vectors, encode_vectors
from orchestai_jax.planner.encoders import EncoderSizes
from orchestai_jax.planner.loss import PlanningBatch, planning_loss
from orchestai_jax.planner.model import (
    ModelSpec,
    Parameters,
    build_model,
    merge_parameters,
    partition,
    serving_parameters,
    split_parameters,
)
from orchestai_jax.planner.pretrained import PretrainedEncoder, import_weights
from orchestai_jax.planner.saved import planner_assets, planner_metadata
from orchestai_jax.training.encoder_choice import ChosenEncoder, choose_encoder
from orchestai_jax.training.hooks import Hook
from orchestai_jax.training.kept_samples import kept_samples
from orchestai_jax.training.layer_monitor import LayerMonitor
from orchestai_jax.training.layer_statistics import LayerStatistics
from orchestai_jax.training.loop import run_loop
from orchestai_jax.training.loop_types import LoopResult, Resume, TrainStep
from orchestai_jax.training.monitoring import Monitor, make_monitor
from orchestai_jax.training.optimization_hook import OptimizationHook
from orchestai_jax.training.optimizer import ENCODER_GROUP, PLANNER_GROUP, build_optimizer, learning_rates
from orchestai_jax.training.past_plan_vectors import KEPT_AS, PastPlanVectors, past_readings
from orchestai_jax.training.placement import Keep, Placement
from orchestai_jax.training.planner_arguments import argument_metrics, check_has_arguments, fit_planner_arguments
from orchestai_jax.training.planning_data import TRAINING_BUCKET, PlanningData, check_samples
from orchestai_jax.training.planning_evaluation import make_evaluation
from orchestai_jax.training.processes import is_lead
from orchestai_jax.training.starting_planner import StartingPlanner
from orchestai_jax.training.trackers import open_trackers
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.training_samples import TrainingSamples, load_training_samples
from orchestai_jax.training.update import Accept, apply_gradients
from orchestai_jax.training.workdir import locked_workdir, open_store, prepare_workdir
from orchestai_jax.workflow import Catalog


def train_planner(
    config: RunConfig,
    workdir: str | pathlib.Path,
    resume: Resume = False,
    monitor: Monitor | None = None,
    hooks: Sequence[Hook] = (),
) -> LoopResult:
    """Train a planner into `workdir` (config.yaml, metrics.jsonl, checkpoints); `Planner.from_checkpoint` reads it.

    With `resume` the run goes on from its newest checkpoint, to the same parameters and metrics, bit for bit on one
    machine. With `initialize_from` the weights, and what the `planner` section leaves open, are another planner's; it
    must stay where it is until the run ends. Raises ValueError subclasses that name the field, file or line at fault.
    """
    enable_compilation_cache(config.system)
    start = StartingPlanner.of(config)
    if start is not None:
        config = start.settled(config)
    samples = load_training_samples(config, start)
    for part in (samples.train, samples.validation):
        check_samples(part, samples.catalog, config.planner.decomposer.max_tasks)
    encoder = start.encoder(config.planner) if start is not None else choose_encoder(config, samples)
    spec = ModelSpec(
        encoder=encoder.sizes,
        planner=config.planner,
        num_known_task_types=len(samples.occurring.task_types),
        num_known_workers=max(len(samples.catalog.workers), 1),
        pretrained=encoder.pretrained,
        encoder_is_frozen=config.training.phase1_supervised.freeze_encoder,
    )
    spec.check_heads()
    if start is not None:
        start.check(spec)
    elif config.planner.arguments.method == "learned":
        check_has_arguments(samples.train)
    placement = Placement(config.mesh)
    prepare_workdir(
        workdir, config, resume=bool(resume)
    )  # only now, so that a slip in the input leaves no folder begun
    with locked_workdir(workdir):
        monitor = monitor or make_monitor(config.system.progress if is_lead() else "none")
        return _train(config, samples, spec, encoder, start, placement, workdir, resume, monitor, hooks)


def _train(
    config: RunConfig,
    samples: TrainingSamples,
    spec: ModelSpec,
    chosen: ChosenEncoder,
    start: StartingPlanner | None,
    placement: Placement,
    workdir: str | pathlib.Path,
    resume: Resume,
    monitor: Monitor,
    hooks: Sequence[Hook],
) -> LoopResult:
    encoder, tokenizer, source = chosen.encoder, chosen.tokenizer, chosen.source
    monitor.note(f"encoder: {source}; {len(samples.train)} training and {len(samples.validation)} validation samples")
    graphdef, parameters = initial_parameters(spec, config.seed, encoder)
    learned = config.planner.arguments.method == "learned"
    if learned and start is None:
        parameters |= fit_planner_arguments(config, samples, parameters, tokenizer, monitor)
    statistics = samples.statistics
    if start is not None:
        monitor.note(f"starting from the weights of {start.where}")
        parameters = start.weights(parameters, list(statistics.task_types), list(statistics.workers))
    known = argument_metrics(config, samples, parameters, tokenizer) if learned else {}
    told = functools.partial(monitor.progress, "encoding descriptions")
    served = serving_parameters(spec, parameters)
    vectors = catalog_vectors(graphdef, served, tokenizer, samples.catalog, told)
    orchestrator = None
    if config.optimization is not None and config.optimization.enabled:
        orchestrator = OptimizationOrchestrator(config.optimization, loss="decision_loss")
    kept_vectors: Any = jnp.asarray(vectors)
    block = orchestrator.embedding_block if orchestrator is not None else None
    if block is not None:
        kept_vectors = encode_vectors(vectors, block)
        vectors = decode_vectors(kept_vectors)  # trained on as they will be read
    linked = config.planner.task_type_graph.is_used
    catalog = build_catalog_arrays(samples.catalog, vectors, statistics, linked=linked)
    occurring = catalog
    if samples.occurring is not samples.catalog:
        never = len(samples.catalog.task_types) - len(samples.occurring.task_types)
        monitor.note(f"{never} task types of the catalog never occur in training: they count as new ones")
        rows = [samples.catalog.index[t.id] for t in samples.occurring.task_types]
        rows += range(len(samples.catalog.task_types), len(vectors))  # the workers'
        occurring = build_catalog_arrays(samples.occurring, vectors[np.array(rows)], statistics, linked=linked)
    catalog, occurring = placement.everywhere((catalog, occurring))
    train, validation = _lay_out(config, spec, samples, graphdef, served, tokenizer, monitor)

    phase = config.training.phase1_supervised
    batches = epoch_batches(
        train.lengths, train.collate, batch_size=phase.batch_size, bucket_size=TRAINING_BUCKET, seed=config.seed
    )
    optimizer = build_optimizer(phase, phase.num_epochs * batches.steps_per_epoch, _group)
    parts = partition(parameters, spec)
    monitoring = config.monitoring
    layers = LayerStatistics.of(
        parts["trainable"], monitoring.layer_norms_every_steps, monitoring.histograms_every_steps
    )

    def make_step(
        optimizer: optax.GradientTransformation, accept: Accept | None = None, *, keep: Keep | None = None
    ) -> TrainStep:
        return make_train_step(graphdef, occurring, optimizer, phase, accept, layers, keep)

    hook = None
    if orchestrator is not None:
        hook = OptimizationHook(orchestrator, optimizer, make_step, workdir, placement)
        optimizer, hooks = hook.optimizer, (*hooks, hook)
    params = {**parts, "catalog": {"vectors": kept_vectors}}
    key = jax.random.key(config.seed, impl="rbg")  # threefry masks are slow on a CPU
    past, own_vectors = None, None
    if config.planner.decoding.neighbours:
        earlier = start.past if start is not None else None
        network = spec, graphdef, parameters, tokenizer
        readings = past_readings(network, train, validation, phase.batch_size, earlier, placement)
        past = PastPlanVectors(readings, samples.catalog, config.planner.decomposer.max_tasks, placement)
        own_vectors = readings.of_validation
    if past is not None:
        params[KEPT_AS] = past.at_start(2 * spec.encoder.hidden_size)
        hooks = (past, *hooks)
    state = TrainState.at_start(params, optimizer, key, averaged=phase.ema_decay is not None)
    state = placement.place_state(state, optimizer)
    if placement.mesh is not None:
        monitor.note(placement.told(parts["trainable"]))
    train_step = hook.train_step if hook is not None else make_step(optimizer, keep=placement.keep(state, optimizer))
    evaluate = make_evaluation(
        graphdef, catalog, validation, spec, phase, samples.catalog, placement, past, own_vectors
    )
    with open_store(workdir, phase) as store, contextlib.closing(batches):
        return run_loop(
            state=state,
            train_step=placement.fed(train_step, phase.batch_size),
            batches=batches,
            evaluate=lambda state: {**evaluate(state), **known},
            store=store,
            num_epochs=phase.num_epochs,
            config=phase,
            learning_rate=learning_rates(phase, phase.num_epochs * batches.steps_per_epoch)[PLANNER_GROUP],
            workdir=workdir,
            resume=resume,
            metadata=planner_metadata(spec, config.worker.preference, source, config.model_dump(mode="json")),
            assets=planner_assets(tokenizer, samples.catalog, statistics)
            | kept_samples(samples.train, samples.validation, config.data.keep_samples)
            | (past.memory.to_assets() if past is not None else {}),
            monitor=monitor,
            hooks=(LayerMonitor(layers, monitoring), *hooks),
            trackers=functools.partial(open_trackers, config, workdir),
        )


def initial_parameters(
    spec: ModelSpec, seed: int, encoder: PretrainedEncoder | EncoderSizes
) -> tuple[nnx.GraphDef, Parameters]:
    """Fresh parameters, with the encoder's (and the description encoder's) imported where there are any."""
    model = build_model(spec, seed)
    if isinstance(encoder, PretrainedEncoder):
        import_weights(model.encoder, encoder.tensors)
        if model.describer.encoder is not None:
            import_weights(model.describer.encoder, encoder.tensors)
        first = spec.shared_layers
        for own, imported in zip(model.describer.layers, model.encoder.layers[first:], strict=False):
            nnx.update(own, nnx.state(imported, nnx.Param))
    graphdef, parameters = split_parameters(model)
    # Own buffers, fit for donation; and none weakly typed, for which the second step would be compiled anew.
    return graphdef, {name: jnp.array(value, dtype=value.dtype) for name, value in parameters.items()}


def make_train_step(
    graphdef: nnx.GraphDef,
    catalog: CatalogArrays,
    optimizer: optax.GradientTransformation,
    config: Phase1Config,
    accept: Accept | None = None,
    observe: LayerStatistics | None = None,
    keep: Keep | None = None,
) -> Callable[[TrainState, PlanningBatch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, batch) → (state, measurements), the state donated; compiled once a bucket.

    `accept` may refuse an update, `observe` may measure more: see `apply_gradients`. `keep` says where the next
    state lies, see `Placement`.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: PlanningBatch, catalog: CatalogArrays):
        key, dropout = jax.random.split(state.key)

        def loss_of(trainable: Parameters):
            model = merge_parameters(graphdef, {**trainable, **state.params["frozen"]})
            return planning_loss(model, catalog, batch, config, nnx.Rngs(dropout=dropout))

        trainable = state.params["trainable"]
        gradients, measurements = jax.grad(loss_of, has_aux=True)(trainable)
        result = apply_gradients(
            state,
            gradients,
            measurements,
            optimizer,
            key=key,
            ema_decay=config.ema_decay,
            accept=accept,
            observe=observe,
        )
        return keep(result) if keep is not None else result

    return functools.partial(step, catalog=catalog)


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

    @jax.jit
    def vectors_of(parameters: Parameters, ids: jax.Array, mask: jax.Array, inside: jax.Array) -> jax.Array:
        return merge_parameters(graphdef, parameters).segment_vectors(ids, mask, inside)

    def segment_vectors(ids: np.ndarray, mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
        return np.asarray(vectors_of(parameters, ids, mask, inside))

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
            segment_vectors=segment_vectors if config.planner.decomposer.match_descriptions else None,
        )

    phase = config.training.phase1_supervised
    steps = phase.step_texts_per_batch if phase.step_text_loss_weight else 0
    train = lay_out(samples.train, samples.occurring, "training", steps)
    return train, lay_out(samples.validation, samples.catalog, "validation", 0)


def _group(path: tuple[str, ...]) -> str:
    return ENCODER_GROUP if path[-1].startswith("encoder.") else PLANNER_GROUP
