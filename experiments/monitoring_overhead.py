"""What monitoring and gates cost a training step, and how long a save holds the loop up.

Steps: the language model of configs/lm_tinyshakespeare.yaml (0.8 M parameters, 12 × 64 characters) on its text, 100
steps a side and turn, the sides taking turns. Plain: loss and global gradient norm, a line of metrics every 50 steps.
Monitored: layers' norms every 50 and histograms every 100 steps (five times as often as by default), TensorBoard files,
the layer monitor, and gates inside the step (loss and gradient norm within bounds, else the update is refused). Timed
from the loop's start to its last step's measurements, without compilation, validation and save; beside the time, the
processor's, threads that write included, which other work on the machine changes less.

Saves: the time until `CheckpointStore.save` returns, asynchronous and synchronous in turn, for the state of that model
and for one of 24 M parameters with Adam's moments.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _engine_workloads import parser, write_result
from _machine import ROOT
from _script import run_script

from orchestai_jax.checkpoint import CheckpointStore
from orchestai_jax.config import LanguageRunConfig, SafetyGatesConfig, load_run_config
from orchestai_jax.evaluation import bootstrap_interval
from orchestai_jax.language_model import initial_parameters
from orchestai_jax.optimization import all_kept, gates_of
from orchestai_jax.training import SilentMonitor, TrainState, run_loop
from orchestai_jax.training.language_model import layer_statistics, make_train_step, with_vocabulary
from orchestai_jax.training.layer_monitor import LayerMonitor
from orchestai_jax.training.pretraining_optimizer import pretraining_learning_rate, pretraining_optimizer
from orchestai_jax.training.text_data import CropBatches, choose_tokenizer, load_text
from orchestai_jax.training.trackers import open_trackers

SCRIPT = "monitoring_overhead.py"
GATES = SafetyGatesConfig(gradient_norm=(1e-6, 100.0))
"""As configs/lm_tinyshakespeare_optimized.yaml has them: the model's gradient begins with a norm of 14.6."""
GOALS = {"monitoring_and_gates_share_of_a_step": 0.03, "asynchronous_over_synchronous_save": 0.05}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, SCRIPT, "few steps and saves: checks the script").parse_args(arguments)
    turns, steps, saves = (2, 20, 2) if options.quick else (15, 100, 15)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        result = {
            "what": "what monitoring and gates add to a step; what an asynchronous save blocks of a synchronous one",
            "goals": GOALS,
            "steps": Steps(root, steps, options.seed).measure(turns),
            "saves": {
                name: measure_saves(root / name, state, saves)
                for name, state in (("0.8 M", state_of(0.8e6)), ("24 M", state_of(24e6 if not options.quick else 1e6)))
            },
        }
    print(result)
    write_result(SCRIPT, arguments, options, result)
    return result


class Clock(SilentMonitor):
    """The time from the loop's start to the validation at its end."""

    seconds = processor_seconds = 0.0

    def start(self, **sizes: Any) -> None:
        """The loop begins."""
        self._began, self._processor_began = time.perf_counter(), time.process_time()

    def validation(self, epoch: int, metrics: Any, is_best: bool) -> None:
        """The last step is read."""
        self.seconds = time.perf_counter() - self._began
        self.processor_seconds = time.process_time() - self._processor_began


class Steps:
    """The same training, plain and monitored."""

    def __init__(self, root: pathlib.Path, steps: int, seed: int):
        loaded = load_run_config(
            ROOT / "configs" / "lm_tinyshakespeare.yaml",
            [
                f"training.num_steps={steps}",
                f"training.evaluate_every_steps={steps}",
                "training.warmup_steps=10",
                "monitoring.histograms_every_steps=100",
            ],
        )
        assert isinstance(loaded, LanguageRunConfig)
        self.config, self.root, self.steps = loaded, root, steps
        texts = load_text(loaded.data)
        tokenizer = choose_tokenizer(loaded.data, texts)
        self.tokens, self.seed, self.turn = tokenizer.encode(texts[0]), seed, 0
        self.model = with_vocabulary(loaded.model, tokenizer)
        self.parameters = initial_parameters(self.model, seed)
        self.optimizer = pretraining_optimizer(loaded.training)
        self.layers = layer_statistics(self.parameters, loaded.monitoring)
        make = functools.partial(make_train_step, self.model, loaded.training, self.optimizer)
        accept = functools.partial(all_kept, gates_of(GATES))
        self.plain, self.monitored = make(), make(accept=accept, observe=self.layers)

    def measure(self, turns: int) -> dict[str, Any]:
        """Milliseconds a step of both sides, turn by turn, and what they differ by."""
        for full in (False, True):  # compile
            self.once(full)
        pairs = []
        for turn in range(turns):
            sides = {full: self.once(full) for full in ((False, True) if turn % 2 == 0 else (True, False))}
            pairs.append((sides[False], sides[True]))
            (plain, of_plain), (monitored, of_monitored) = pairs[-1]
            print(
                f"plain {plain:.3f} ms, monitored {monitored:.3f} ms a step; processor {of_plain:.3f}, "
                f"{of_monitored:.3f} ms",
                file=sys.stderr,
            )
        return {
            "wall": compared([(plain[0], monitored[0]) for plain, monitored in pairs]),
            "processor": compared([(plain[1], monitored[1]) for plain, monitored in pairs]),
            "steps_a_turn": self.steps,
        }

    def once(self, full: bool) -> tuple[float, float]:
        """Milliseconds a step of one run, of wall and processor time."""
        self.turn += 1
        training, workdir, clock = self.config.training, self.root / f"turn{self.turn}", Clock()
        trainable = jax.tree.map(jnp.copy, self.parameters)
        state = TrainState(
            jnp.zeros((), jnp.int32), {"trainable": trainable}, self.optimizer.init(trainable), jax.random.key(0)
        )
        batches = CropBatches(
            self.tokens,
            batch_size=training.batch_size,
            length=training.sequence_length,
            seed=self.seed,
            steps_per_epoch=self.steps,
        )
        with CheckpointStore(workdir / "checkpoints") as store:
            run_loop(
                state=jax.device_put(state, jax.devices()[0]),
                train_step=self.monitored if full else self.plain,
                batches=batches,
                evaluate=lambda state: {"score": 0.0},
                store=store,
                num_epochs=1,
                config=training,
                learning_rate=pretraining_learning_rate(training),
                workdir=workdir,
                resume=False,
                metadata={},
                assets={},
                monitor=clock,
                hooks=[LayerMonitor(self.layers, self.config.monitoring)] if full else [],
                trackers=functools.partial(open_trackers, self.config, workdir) if full else lambda step: (),
            )
        return clock.seconds / self.steps * 1e3, clock.processor_seconds / self.steps * 1e3


def compared(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians of (plain, monitored) milliseconds, and of what the monitored side takes more, as a share."""
    shares = [monitored / plain - 1 for plain, monitored in pairs]
    low, high = bootstrap_interval(np.array(shares), seed=0)
    return {
        "plain_ms": statistics.median(plain for plain, _ in pairs),
        "monitored_ms": statistics.median(monitored for _, monitored in pairs),
        "share": statistics.median(shares),
        "share_of_mean_95": [low, high],
        "turns": list(pairs),
    }


def state_of(parameters: float) -> dict[str, Any]:
    """A training state of so many parameters in 16 matrices, with two moments each."""
    side = int((parameters / 16) ** 0.5)
    keys = jax.random.split(jax.random.key(0), 16)
    weights = {f"w{i}": jax.random.normal(key, (side, side)) for i, key in enumerate(keys)}
    return {"params": weights, "opt_state": [jax.tree.map(jnp.copy, weights), jax.tree.map(jnp.copy, weights)]}


def measure_saves(folder: pathlib.Path, state: Any, saves: int) -> dict[str, Any]:
    """Milliseconds that `save` takes, asynchronous and synchronous in turn; each is finished before the next begins."""
    stores = {
        kind: CheckpointStore(folder / kind, keep_last=1, asynchronous=kind == "async") for kind in ("async", "sync")
    }
    times: dict[str, list[float]] = {"async": [], "sync": []}
    for step in range(1, saves + 2):
        for kind, store in stores.items():
            began = time.perf_counter()
            store.save(step, state, data_state={}, metadata={}, metrics={}, assets={})
            milliseconds = (time.perf_counter() - began) * 1e3
            store.wait()
            if step > 1:  # the first opens everything
                times[kind].append(milliseconds)
    for store in stores.values():
        store.close()
    asynchronous, synchronous = (statistics.median(times[kind]) for kind in ("async", "sync"))
    return {
        "megabytes": round(sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6, 1),
        "asynchronous_ms": asynchronous,
        "synchronous_ms": synchronous,
        "ratio": asynchronous / synchronous,
        "all": times,
    }


if __name__ == "__main__":
    sys.exit(run_script(main))
