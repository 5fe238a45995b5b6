"""Criteria that are measured on language models: gates, and what serving them smaller costs in accuracy."""

from __future__ import annotations

import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _machine import ROOT

from orchestai_jax.config import InferenceScalingConfig, LanguageRunConfig, SafetyGatesConfig, load_run_config
from orchestai_jax.language_model import load_language_model, serving_model
from orchestai_jax.language_model.generation import next_logits, observed_prefill, pad_left
from orchestai_jax.language_model.model import apply_model, initial_parameters
from orchestai_jax.language_model.sampling import Draws, Sampling
from orchestai_jax.optimization import all_kept, encoded_moments, gates_of, optimize_kv_cache
from orchestai_jax.optimization.safety_gates import violations
from orchestai_jax.training.language_model import (
    layer_statistics,
    make_train_step,
    next_token_loss,
    train_language_model,
    with_vocabulary,
)
from orchestai_jax.training.pretraining_optimizer import pretraining_optimizer
from orchestai_jax.training.text_data import choose_tokenizer, load_text
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import apply_gradients

CONFIG = ROOT / "configs" / "lm_tinyshakespeare.yaml"
GATES = SafetyGatesConfig(gradient_norm=(1e-6, 100.0))
"""As configs/lm_tinyshakespeare_optimized.yaml has them: the model's gradient begins with a norm of 14.6."""
POSITIONS, PROMPT = 192, 128
"""Of the model that retention is measured with: dropping needs a prompt of several blocks."""


def language_config(*overrides: str) -> LanguageRunConfig:
    config = load_run_config(CONFIG, [f"model.max_positions={POSITIONS}", "system.progress=plain", *overrides])
    assert isinstance(config, LanguageRunConfig)
    return config


def measure_overhead(rounds: int, steps: int) -> dict[str, Any]:
    """Seconds a step with gates and monitoring, and without, in turns; batches of the configuration's size."""
    config = language_config()
    texts = load_text(config.data)
    tokenizer = choose_tokenizer(config.data, texts)
    model, training = with_vocabulary(config.model, tokenizer), config.training
    parameters = initial_parameters(model, 0)
    tokens = tokenizer.encode(texts[0])[: training.batch_size * (training.sequence_length + 1)]
    batch = np.asarray(tokens, np.int32).reshape(training.batch_size, -1)
    optimizer = pretraining_optimizer(training)
    gates = gates_of(GATES)
    observe = layer_statistics(parameters, config.monitoring)
    variants = {
        "without": make_train_step(model, training, optimizer),
        "with": make_train_step(model, training, optimizer, accept=functools.partial(all_kept, gates), observe=observe),
    }
    states = {
        name: TrainState(
            step=jnp.int32(0),
            params={"trainable": jax.tree.map(jnp.copy, parameters)},
            opt_state=optimizer.init(parameters),
            key=jax.random.key(0),
        )
        for name in variants
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    alarms = 0
    for number in range(rounds + 1):
        for name in variants if number % 2 else reversed(variants):
            step = variants[name]
            begun = time.perf_counter()
            for _ in range(steps if number else 3):
                states[name], measured = step(states[name], batch)
                values = jax.device_get(measured)
                if name == "with":
                    alarms += bool(violations(gates, values))
            if number:
                seconds[name].append((time.perf_counter() - begun) / steps)
    return {"step_s": seconds, "gate_violations": alarms}


def measure_gate_detection(faults: int = 100) -> dict[str, Any]:
    """Real steps with a fault each: NaN, infinity, loss over 10, gradient 0, gradient × 1e6, codec error.

    A fault is caught where the step refuses its update (parameters stay to the bit); a healthy step between is not.
    """
    config = language_config("model.hidden_size=32", "model.num_layers=1", "model.intermediate_size=64")
    model = config.model.model_copy(update={"vocab_size": 65})
    training, gates = config.training, gates_of(GATES)
    optimizer = encoded_moments(pretraining_optimizer(training), 64)
    names = ("nan", "infinity", "loss", "no_gradient", "large_gradient", "codec")

    @jax.jit
    def step(state: TrainState, tokens: jax.Array, fault: jax.Array):
        loss, gradients = jax.value_and_grad(next_token_loss, argnums=1)(model, state.params["trainable"], tokens)
        factor = jnp.select([fault == 3, fault == 4], [0.0, 1e6], 1.0)
        loss = jnp.select([fault == 0, fault == 1, fault == 2], [jnp.nan, jnp.inf, loss + 10.0], loss)
        gradients = jax.tree.map(lambda g: g * factor, gradients)

        def accept(measured: Any) -> jax.Array:
            error = jnp.where(fault == 5, 0.06, measured["compression_error"])
            return all_kept(gates, {**measured, "compression_error": error})

        return apply_gradients(state, gradients, {"loss": loss}, optimizer, key=state.key, accept=accept)

    parameters = initial_parameters(model, 0)
    state = TrainState(
        step=jnp.int32(0),
        params={"trainable": parameters},
        opt_state=jax.jit(optimizer.init)(parameters),
        key=jax.random.key(0),
    )
    rng, caught, alarms = np.random.default_rng(0), dict.fromkeys(names, 0), 0
    for number in range(faults):
        tokens = rng.integers(0, 65, (4, 33)).astype(np.int32)
        kind = number % len(names)
        after, _ = step(state, tokens, jnp.int32(kind))
        same = jax.tree.map(lambda a, b: bool((a == b).all()), after.params, state.params)
        caught[names[kind]] += all(jax.tree.leaves(same)) and int(after.skipped) == int(state.skipped) + 1
        healthy, _ = step(after, tokens, jnp.int32(-1))
        alarms += int(healthy.skipped) - int(after.skipped)
        state = healthy
    return {"faults": faults, "caught": sum(caught.values()), "by_kind": caught, "false_alarms": alarms}


def measure_retention(workdir: pathlib.Path, windows: int, steps: int) -> dict[str, Any]:
    """Next-token accuracy on validation text, teacher-forced after a prompt; the cache's bytes."""
    config = language_config(
        f"training.num_steps={steps}",
        f"training.evaluate_every_steps={steps // 4}",
        f"training.warmup_steps={min(100, steps // 10)}",
        f"training.sequence_length={POSITIONS}",
    )
    if not (workdir / "checkpoints").exists():
        train_language_model(config, workdir)
    else:
        train_language_model(config, workdir, resume=True)
    loaded = load_language_model(workdir)
    assert loaded.tokenizer is not None
    text = loaded.tokenizer.encode(load_text(config.data)[1])
    starts = np.random.default_rng(0).integers(0, len(text) - POSITIONS - 1, windows)
    rows = np.stack([text[s : s + POSITIONS + 1] for s in starts]).astype(np.int32)
    simulated = jax.jit(functools.partial(apply_model, loaded.config))
    model = serving_model(loaded.config, loaded.parameters, head="float")
    draws = Draws.of([Sampling()], 65)
    serving = InferenceScalingConfig()
    right = {"twin": [], "optimized": []}
    before = after = dropped = 0
    for row in rows:
        wanted = row[PROMPT + 1 :]
        logits = simulated(loaded.parameters, row[None, :-1])
        right["twin"].append(np.asarray(logits.argmax(-1))[0, PROMPT:] == wanted)
        padded, start = pad_left([row[:PROMPT]])
        _, cache, mass = observed_prefill(
            model, jnp.asarray(padded), jnp.asarray(start), draws, capacity=POSITIONS + 1, kind="float"
        )
        cache, report = optimize_kv_cache(cache, np.asarray(mass), serving, capacity_step=serving.cache_block)
        before, after, dropped = (
            before + report.bytes_before,
            after + report.bytes_after,
            dropped + report.slots_dropped,
        )
        step, hits = jax.jit(next_logits), []
        for token in row[PROMPT:-1]:
            made, cache = step(model, cache, jnp.asarray([token], jnp.int32))
            hits.append(int(made.argmax()))
        right["optimized"].append(np.asarray(hits) == wanted)
    return {
        "accuracy": {name: [float(r.mean()) for r in found] for name, found in right.items()},
        "cache_reduction": 1 - after / before,
        "slots_dropped": dropped / windows,
        "prompt": PROMPT,
        "windows": windows,
    }


def median_share(seconds: dict[str, list[float]]) -> list[float]:
    """Share of a step with gates that goes to them, a round each."""
    return [1 - without / with_ for without, with_ in zip(seconds["without"], seconds["with"], strict=True)]
