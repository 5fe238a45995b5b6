"""Next-token training of a language model, ternary or float, from scratch or on from a checkpoint."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from orchestai_jax.config import LanguageModelConfig, LanguageRunConfig, MonitoringConfig, PretrainingConfig
from orchestai_jax.evaluation import Perplexity, TopK
from orchestai_jax.language_model.layer import projection_rules
from orchestai_jax.language_model.model import Parameters, apply_model, initial_parameters
from orchestai_jax.language_model.saved import load_language_model, model_assets, model_metadata
from orchestai_jax.language_model.serving_model import check_parameters
from orchestai_jax.language_model.tokenizers import TextTokenizer
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.nn.straight_through import Strength
from orchestai_jax.optimization import OptimizationOrchestrator
from orchestai_jax.quantization import quantization_strength
from orchestai_jax.training.hooks import Hook
from orchestai_jax.training.layer_monitor import LayerMonitor
from orchestai_jax.training.layer_statistics import LayerStatistics
from orchestai_jax.training.loop import run_loop
from orchestai_jax.training.loop_types import LoopResult, Resume
from orchestai_jax.training.monitoring import Monitor, make_monitor
from orchestai_jax.training.optimization_hook import OptimizationHook
from orchestai_jax.training.placement import Keep, Placement
from orchestai_jax.training.pretraining_optimizer import pretraining_learning_rate, pretraining_optimizer
from orchestai_jax.training.processes import is_lead
from orchestai_jax.training.text_data import CropBatches, choose_tokenizer, load_text, validation_batches
from orchestai_jax.training.trackers import open_trackers
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import Accept, apply_gradients
from orchestai_jax.training.workdir import locked_workdir, open_store, prepare_workdir

Metrics = tuple[Perplexity, TopK, TopK]
"""What validation counts: the loss, and how often the next token is the likeliest, and among the five likeliest."""

_MEANING = ("num_heads", "num_kv_heads", "activation", "rope_theta", "rms_epsilon")
"""Fields that change what parameters mean and, some of them, no shape."""


def train_language_model(
    config: LanguageRunConfig,
    workdir: str | pathlib.Path,
    resume: Resume = False,
    monitor: Monitor | None = None,
    hooks: Sequence[Hook] = (),
) -> LoopResult:
    """Train into `workdir` (config.yaml, metrics.jsonl, checkpoints); `load_language_model` reads it.

    An epoch is `evaluate_every_steps` steps. With `resume` the run goes on from its newest checkpoint, to the same
    parameters and metrics, bit for bit on one machine. Raises ValueError subclasses that name what is at fault.
    """
    enable_compilation_cache(config.system)
    texts = load_text(config.data)
    tokenizer = choose_tokenizer(config.data, texts)
    model = with_vocabulary(config.model, tokenizer)
    projection_rules(model)  # an unused rule is found before anything is read or written
    training, training_tokens = config.training, tokenizer.encode(texts[0])
    batches = CropBatches(
        training_tokens,
        batch_size=training.batch_size,
        length=training.sequence_length,
        seed=config.seed,
        steps_per_epoch=training.evaluate_every_steps,
    )
    validation = validation_batches(
        tokenizer.encode(texts[1]),
        batch_size=training.batch_size,
        length=training.sequence_length,
        most=training.evaluation_batches,
    )
    parameters = _starting_parameters(config, model, tokenizer)
    placement = Placement(config.mesh)
    prepare_workdir(
        workdir, config, resume=bool(resume)
    )  # only now, so that a slip in the input leaves no folder begun
    monitor = monitor or make_monitor(config.system.progress if is_lead() else "none")
    count = sum(value.size for value in parameters.values())
    monitor.note(
        f"{count / 1e6:.2f} M parameters, {training_tokens.size} training tokens, vocabulary {model.vocab_size}"
    )
    optimizer = pretraining_optimizer(training)
    statistics = layer_statistics(parameters, config.monitoring)
    make_step = functools.partial(make_train_step, model, training, observe=statistics)
    hook = None
    if config.optimization is not None and config.optimization.enabled:
        hook = OptimizationHook(OptimizationOrchestrator(config.optimization), optimizer, make_step, workdir, placement)
        optimizer, hooks = hook.optimizer, (*hooks, hook)
    state = TrainState.at_start(
        {"trainable": parameters}, optimizer, jax.random.key(config.seed), averaged=training.ema_decay is not None
    )
    state = placement.place_state(state, optimizer)
    if placement.mesh is not None:
        monitor.note(placement.told(parameters))
    train_step = hook.train_step if hook is not None else make_step(optimizer, keep=placement.keep(state, optimizer))
    with locked_workdir(workdir), open_store(workdir, training) as store:
        return run_loop(
            state=state,
            train_step=placement.fed(train_step, training.batch_size),
            batches=batches,
            evaluate=make_evaluation(model, validation, placement.gather),
            store=store,
            num_epochs=training.num_steps // training.evaluate_every_steps,
            config=training,
            learning_rate=pretraining_learning_rate(training),
            workdir=workdir,
            resume=resume,
            metadata=model_metadata(model, config.model_dump(mode="json")),
            assets=model_assets(tokenizer),
            monitor=monitor,
            hooks=(LayerMonitor(statistics, config.monitoring), *hooks),
            trackers=functools.partial(open_trackers, config, workdir),
            tokens_per_step=training.batch_size * training.sequence_length,
        )


def layer_statistics(parameters: Parameters, config: MonitoringConfig) -> LayerStatistics:
    """What is measured of each layer; the model's layers lie stacked in its parameters."""
    return LayerStatistics.of(
        parameters,
        config.layer_norms_every_steps,
        config.histograms_every_steps,
        is_stacked=lambda name: name.startswith("layers."),
    )


def make_train_step(
    model: LanguageModelConfig,
    config: PretrainingConfig,
    optimizer: optax.GradientTransformation,
    accept: Accept | None = None,
    observe: LayerStatistics | None = None,
    keep: Keep | None = None,
) -> Callable[[TrainState, np.ndarray], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step (state, tokens int32 [batch, length + 1]) → (state, measurements), the state donated.

    `accept` may refuse an update, `observe` may measure more: see `apply_gradients`. `keep` says where the next
    state lies, see `Placement`.
    """
    warmup = config.quantization_warmup_steps

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, tokens: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        strength = quantization_strength(state.step, warmup) if warmup else None
        trainable = state.params["trainable"]
        loss, gradients = jax.value_and_grad(next_token_loss, argnums=1)(model, trainable, tokens, strength)
        result = apply_gradients(
            state,
            gradients,
            {"loss": loss},
            optimizer,
            key=state.key,
            ema_decay=config.ema_decay,
            accept=accept,
            observe=observe,
        )
        return keep(result) if keep is not None else result

    return step


def next_token_loss(
    model: LanguageModelConfig, parameters: Parameters, tokens: jax.Array, strength: Strength = None
) -> jax.Array:
    """Mean cross-entropy, in nats a token, of tokens [batch, length + 1] given those before each."""
    logits = apply_model(model, parameters, tokens[:, :-1], strength=strength)
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def make_evaluation(
    model: LanguageModelConfig,
    batches: Sequence[tuple[np.ndarray, int]],
    gather: Callable[[Metrics], Metrics] = lambda metrics: metrics,
) -> Callable[[TrainState], Mapping[str, float]]:
    """Validation of a state: `loss` (nats a token), `perplexity`, `accuracy` and `top_5_accuracy` of the next token,
    and `score`, minus the loss.

    While quantisation warms up, the model is scored as it will be packed: at full strength. `gather` is for results
    that lie on several devices.
    """

    @jax.jit
    def update(metrics: Metrics, parameters: Parameters, tokens: jax.Array, count: jax.Array) -> Metrics:
        logits = apply_model(model, parameters, tokens[:, :-1])
        labels = tokens[:, 1:]
        mask = jnp.broadcast_to((jnp.arange(tokens.shape[0]) < count)[:, None], labels.shape)
        perplexity, top_1, top_5 = metrics
        return gather(
            (
                perplexity.update(labels, logits, mask),
                top_1.update(labels, logits, mask),
                top_5.update(labels, logits, mask),
            )
        )

    def evaluate(state: TrainState) -> dict[str, float]:
        metrics = (Perplexity.empty(), TopK.empty(1), TopK.empty(5))
        for tokens, count in batches:
            metrics = update(metrics, state.params["trainable"], tokens, np.int32(count))
        perplexity, top_1, top_5 = jax.device_get(metrics)
        loss = perplexity.mean_loss()
        return {
            "loss": loss,
            "perplexity": perplexity.perplexity(),
            "accuracy": top_1.accuracy(),
            "top_5_accuracy": top_5.accuracy(),
            "score": -loss,
        }

    return evaluate


def with_vocabulary(config: LanguageModelConfig, tokenizer: TextTokenizer) -> LanguageModelConfig:
    """The configuration with the tokenizer's vocabulary. Raises ValueError where the two do not fit."""
    if config.vocab_size is None:
        return config.model_copy(update={"vocab_size": max(tokenizer.vocab_size, 2)})
    if config.vocab_size < tokenizer.vocab_size:
        raise ValueError(
            f"model.vocab_size {config.vocab_size} is below the tokenizer's {tokenizer.vocab_size} tokens; "
            "leave it out to take the tokenizer's"
        )
    return config


def _starting_parameters(config: LanguageRunConfig, model: LanguageModelConfig, tokenizer: TextTokenizer) -> Parameters:
    start = config.training.initialize_from
    if start is None:
        return initial_parameters(model, config.seed)
    loaded = load_language_model(start)
    different = [
        f"{field} is {getattr(loaded.config, field)} there and {getattr(model, field)} in the configuration"
        for field in _MEANING
        if getattr(loaded.config, field) != getattr(model, field)
    ]
    if different:
        raise ValueError(f"initialize_from {start}: model.{'; model.'.join(different)}")
    if loaded.tokenizer is not None and loaded.tokenizer.json != tokenizer.json:
        raise ValueError(f"initialize_from {start}: its tokenizer is not the one of data.tokenizer")
    packed = [name for name, value in loaded.parameters.items() if not isinstance(value, jax.Array | np.ndarray)]
    if packed:
        raise ValueError(f"initialize_from {start}: {packed[0]} is packed; training wants float weights")
    try:
        check_parameters(model, loaded.parameters)
    except ValueError as error:
        raise ValueError(f"initialize_from {start}: {error}") from None
    return {name: jnp.array(value, jnp.float32) for name, value in loaded.parameters.items()}
