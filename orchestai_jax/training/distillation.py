"""Distillation of a ternary text encoder from a float one, layer by layer."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from orchestai_jax.checkpoint import CheckpointError, open_checkpoint
from orchestai_jax.config import DistillationConfig, DistillationRunConfig
from orchestai_jax.data import Tokenizer, epoch_batches
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.planner.pretrained import PretrainedEncoder, import_bert, load_pretrained
from orchestai_jax.planner.published_tensors import EncoderFormatError
from orchestai_jax.planner.ternary_encoder import TernaryEncoder
from orchestai_jax.planner.ternary_files import save_ternary_encoder
from orchestai_jax.planner.ternary_start import start_from, ternary_sizes
from orchestai_jax.planner.text_encoder import TextEncoder, TextEncoderConfig
from orchestai_jax.quantization import quantization_strength
from orchestai_jax.training.distillation_loss import Losses, Parameters
from orchestai_jax.training.distillation_texts import BUCKET, TextBatch, TokenizedTexts, load_texts
from orchestai_jax.training.hooks import Hook
from orchestai_jax.training.layer_monitor import LayerMonitor
from orchestai_jax.training.layer_statistics import LayerStatistics
from orchestai_jax.training.loop import run_loop
from orchestai_jax.training.loop_types import LoopResult, Resume, TrainStep
from orchestai_jax.training.monitoring import Monitor, make_monitor
from orchestai_jax.training.placement import Keep, Placement
from orchestai_jax.training.pretraining_optimizer import pretraining_learning_rate, pretraining_optimizer
from orchestai_jax.training.processes import is_lead
from orchestai_jax.training.trackers import open_trackers
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import apply_gradients
from orchestai_jax.training.workdir import locked_workdir, open_store, prepare_workdir

KIND = "encoder_distillation"
ENCODER_FOLDER = "encoder"
"""Folder in a work folder that the distilled encoder is written to, for `planner.encoder.weights`."""

_CALIBRATION_TEXTS = 64
_TABLES = "embedding."


def distill_encoder(
    config: DistillationRunConfig,
    workdir: str | pathlib.Path,
    resume: Resume = False,
    monitor: Monitor | None = None,
    hooks: Sequence[Hook] = (),
) -> LoopResult:
    """Distil into `workdir` (config.yaml, metrics.jsonl, checkpoints), and write the best student to `encoder/` there.

    The student starts from the teacher's weights; its embeddings stay the teacher's, in int8. With `resume` the run
    goes on from its newest checkpoint, bit for bit on one machine. Raises ValueError subclasses that name what is at
    fault.
    """
    enable_compilation_cache(config.system)
    train_texts, validation_texts = load_texts(config.data)
    published = load_pretrained(config.encoder.teacher)
    if not isinstance(published.config, TextEncoderConfig):
        raise EncoderFormatError(f"encoder.teacher {config.encoder.teacher}: a BERT encoder is wanted")
    most = min(config.encoder.max_tokens, published.config.max_positions)
    train, validation = (TokenizedTexts(t, published.tokenizer, most) for t in (train_texts, validation_texts))
    teacher = TextEncoder(published.config, rngs=nnx.Rngs(0))
    import_bert(teacher, published.tensors)
    placement = Placement(config.mesh)
    student, trainable, fixed = _student(config, published, teacher, train)
    prepare_workdir(
        workdir, config, resume=bool(resume)
    )  # only now, so that a slip in the input leaves no folder begun
    with locked_workdir(workdir):
        monitor = monitor or make_monitor(config.system.progress if is_lead() else "none")
        monitor.note(
            f"teacher: {published.source}; {len(train_texts)} training and {len(validation_texts)} validation texts, "
            f"{sum(train.lengths)} training tokens"
        )
        result = _distill(
            config, teacher, student, trainable, fixed, published.tokenizer, train, validation, placement, workdir,
            resume, monitor, hooks,
        )  # fmt: skip
        if is_lead():
            best = open_checkpoint(workdir).released_parameters()["trainable"]
            folder = pathlib.Path(workdir) / ENCODER_FOLDER
            save_ternary_encoder(folder, student.config, {**best, **fixed}, published.tokenizer)
            monitor.note(f"the encoder is in {folder}")
    return result


def _distill(
    config: DistillationRunConfig,
    teacher: TextEncoder,
    student: TernaryEncoder,
    trainable: Parameters,
    fixed: Parameters,
    tokenizer: Tokenizer,
    train: TokenizedTexts,
    validation: TokenizedTexts,
    placement: Placement,
    workdir: str | pathlib.Path,
    resume: Resume,
    monitor: Monitor,
    hooks: Sequence[Hook],
) -> LoopResult:
    training = config.training
    batches = epoch_batches(
        train.lengths, train.collate, batch_size=training.batch_size, bucket_size=BUCKET, seed=config.seed
    )
    batches.steps_per_epoch = training.evaluate_every_steps  # to the loop an epoch ends with a validation
    optimizer = pretraining_optimizer(training)
    statistics = LayerStatistics.of(
        trainable, config.monitoring.layer_norms_every_steps, config.monitoring.histograms_every_steps
    )
    state = TrainState.at_start(
        {"trainable": trainable}, optimizer, jax.random.key(config.seed), averaged=training.ema_decay is not None
    )
    state = placement.place_state(state, optimizer)
    losses = Losses(teacher, student, fixed, training, placement)
    step = make_train_step(losses, training, optimizer, statistics, placement.keep(state, optimizer))
    with open_store(workdir, training) as store, contextlib.closing(batches):
        return run_loop(
            state=state,
            train_step=placement.fed(step, training.batch_size),
            batches=batches,
            evaluate=make_evaluation(losses, validation.in_order(training.batch_size, training.evaluation_batches)),
            store=store,
            num_epochs=training.num_steps // training.evaluate_every_steps,
            config=training,
            learning_rate=pretraining_learning_rate(training),
            workdir=workdir,
            resume=resume,
            metadata={"kind": KIND, "config": config.model_dump(mode="json")},
            assets={"tokenizer.json": tokenizer.json},
            monitor=monitor,
            hooks=(LayerMonitor(statistics, config.monitoring), *hooks),
            trackers=functools.partial(open_trackers, config, workdir),
        )


def _student(
    config: DistillationRunConfig, published: PretrainedEncoder, teacher: TextEncoder, texts: TokenizedTexts
) -> tuple[TernaryEncoder, Parameters, Parameters]:
    """The student with its parameters that are trained and those that stay."""
    assert isinstance(published.config, TextEncoderConfig)
    sizes = ternary_sizes(published.config, sub_norms=config.encoder.sub_norms)
    student = TernaryEncoder(sizes, rngs=nnx.Rngs(config.seed))
    few = np.random.default_rng(config.seed).permutation(len(texts.lengths))[:_CALIBRATION_TEXTS]
    longest = max(texts.lengths[i] for i in few)
    ids, mask = texts.collate(few, np.ones(len(few), np.float32), longest)
    start_from(student, teacher, jnp.asarray(ids), jnp.asarray(mask))
    parameters = encoder_parameters(student)
    fixed = {name: value for name, value in parameters.items() if name.startswith(_TABLES)}
    trainable = {name: jnp.array(value) for name, value in parameters.items() if name not in fixed}
    start = config.training.initialize_from
    if start is not None:
        trainable = _started(start, trainable)
    return student, trainable, fixed


def _started(start: str, trainable: Parameters) -> Parameters:
    reader = open_checkpoint(start)
    if reader.metadata.get("kind") != KIND:
        raise CheckpointError(
            f"{start}: a checkpoint of {reader.metadata.get('kind')}, not of an encoder's distillation"
        )
    saved = reader.released_parameters()["trainable"]
    for name in sorted(saved.keys() | trainable.keys()):
        there, here = (getattr(x.get(name), "shape", None) for x in (saved, trainable))
        if there != here:
            raise CheckpointError(f"{start}: parameter {name} has shape {there} there and {here} in this run")
    return {name: jnp.array(saved[name], jnp.float32) for name in trainable}


def encoder_parameters(encoder: nnx.Module) -> Parameters:
    """An encoder's parameters by dotted path."""
    state = nnx.to_flat_state(nnx.state(encoder, nnx.Param))
    return {".".join(map(str, path)): variable.get_value() for path, variable in state}


def make_train_step(
    losses: Losses,
    config: DistillationConfig,
    optimizer: optax.GradientTransformation,
    observe: LayerStatistics | None = None,
    keep: Keep | None = None,
) -> TrainStep:
    """The jitted step (state, (token ids, mask)) → (state, measurements), the state donated; compiled once a length."""
    warmup = config.quantization_warmup_steps

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: TextBatch, constants: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        strength = quantization_strength(state.step, warmup) if warmup else None
        trainable = state.params["trainable"]
        gradients, measured = jax.grad(losses.measure, has_aux=True)(trainable, constants, *batch, strength)
        result = apply_gradients(
            state, gradients, measured, optimizer, key=state.key, ema_decay=config.ema_decay, observe=observe
        )
        return keep(result) if keep is not None else result

    return functools.partial(step, constants=losses.constants)


def make_evaluation(losses: Losses, batches: Sequence[TextBatch]) -> Callable[[TrainState], Mapping[str, float]]:
    """Means over the held-out texts of the measurements at full strength, and `score`, minus the loss."""

    @jax.jit
    def measure(trainable: Parameters, constants: Any, batch: TextBatch) -> dict[str, jax.Array]:
        return losses.gather(losses.measure(trainable, constants, *batch)[1])

    def evaluate(state: TrainState) -> dict[str, float]:
        found = [jax.device_get(measure(state.params["trainable"], losses.constants, batch)) for batch in batches]
        rows = np.array([np.any(mask, axis=1).sum() for _, mask in batches], np.float64)
        means = {name: float(np.sum(rows * np.array([x[name] for x in found])) / rows.sum()) for name in found[0]}
        return {**means, "score": -means["loss"]}

    return evaluate
