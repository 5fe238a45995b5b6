"""Ternary against float on tinyshakespeare, in nanoGPT's small CPU setting: loss, convergence, training speed.

Trains configs/lm_tinyshakespeare.yaml (4 layers, 4 heads, 64 characters of context, batches of 12, 2,000 steps) at
three widths, ternary and float, and the ternary one at 64 with ten seeds. A run converges when its validation loss
ends below that of counting pairs of characters (measured here). Trainings are kept under --runs, gone on with where
they were stopped, and reused. Speed: steps a second of our step and of the same float model in plain PyTorch, in turns.
Step: what a step takes of memory besides its state, with and without remat (which needs scanned layers, as the larger
size has them), and how often it is compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from _machine import ROOT, command_line, describe_machine
from _script import run_script, wide_console
from rich.table import Table

from orchestai_jax.config import LanguageRunConfig, load_run_config

CONFIG = ROOT / "configs" / "lm_tinyshakespeare.yaml"
OUTPUT = ROOT / "experiments" / "results" / "lm_tinyshakespeare.json"
WIDTHS = {64: (176, 3e-3), 128: (352, 3e-3), 192: (512, 2e-3)}
"""Width → width of the feed-forward layers (8/3, in multiples of 16), and learning rate (3e-3 is too high for 256)."""
SEEDS, WIDTH_OF_SEEDS = 10, 64

EXAMPLES = """examples:
  python experiments/lm_tinyshakespeare.py
  python experiments/lm_tinyshakespeare.py --only speed
  python experiments/lm_tinyshakespeare.py --quick --output /tmp/lm.json
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    if options.measure:
        print(json.dumps(measure_speed(options.measure, options.quick)))
        return {}
    result: dict[str, Any] = {
        "what": "tinyshakespeare, characters: validation loss in nats a character",
        "command": command_line("lm_tinyshakespeare.py", arguments),
        "quick": options.quick,
        "machine": describe_machine(),
    }
    if options.only in (None, "loss"):
        result |= losses(options)
    if options.only in (None, "step"):
        result["step"] = step_costs(options.quick)
    if options.only in (None, "speed"):
        result["steps_per_s"] = speeds(options)
    result["goals"] = goals(result)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=pathlib.Path, default=ROOT / "runs" / "lm_tinyshakespeare")
    parser.add_argument("--only", choices=("loss", "step", "speed"), help="one part")
    parser.add_argument("--quick", action="store_true", help="20 steps, 2 seeds: to see that it works")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
    parser.add_argument("--measure", choices=("ours", "ours-ternary", "torch"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def configuration(width: int, kind: str, seed: int, quick: bool) -> LanguageRunConfig:
    overrides = [
        f"seed={seed}",
        f"model.hidden_size={width}",
        f"model.intermediate_size={WIDTHS[width][0]}",
        f"training.learning_rate={WIDTHS[width][1]}",
        "system.progress=plain",
    ]
    overrides += ["model.quantization=[]"] if kind == "float" else []
    if quick:
        overrides += ["training.num_steps=20", "training.evaluate_every_steps=10", "training.warmup_steps=2",
                      "training.evaluation_batches=2"]  # fmt: skip
    config = load_run_config(CONFIG, overrides)
    assert isinstance(config, LanguageRunConfig)
    return config


def losses(options: argparse.Namespace) -> dict[str, Any]:
    # One ternary width has more seeds than the rest: they tell what share of the runs converges.
    seeds = 2 if options.quick else SEEDS
    wanted = [(width, kind, 0) for width in WIDTHS for kind in ("float", "ternary")]
    wanted += [(WIDTH_OF_SEEDS, "ternary", seed) for seed in range(1, seeds)]
    runs = []
    for width, kind, seed in wanted:
        folder = options.runs / f"{'quick-' if options.quick else ''}{kind}-{width}-{seed}"
        runs.append({"width": width, "kind": kind, "seed": seed, **train_or_reuse(folder, width, kind, seed, options)})
    bound = pair_loss(configuration(128, "ternary", 0, options.quick))
    final = {(run["width"], run["kind"]): run["best_loss"] for run in runs if run["seed"] == 0}
    of_seeds = [run for run in runs if (run["width"], run["kind"]) == (WIDTH_OF_SEEDS, "ternary")]
    return {
        "runs": runs,
        "loss_of_counting_pairs": bound,
        "gap_by_width": {str(width): final[width, "ternary"] - final[width, "float"] for width in WIDTHS},
        "converged_share": statistics.mean(run["last_loss"] < bound for run in of_seeds),
        "seeds": len(of_seeds),
    }


def train_or_reuse(
    folder: pathlib.Path, width: int, kind: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    from orchestai_jax.training import TrainingDivergedError, workdir_status
    from orchestai_jax.training.language_model import train_language_model
    from orchestai_jax.training.workdir import prepare_workdir

    config = configuration(width, kind, seed, options.quick)
    begun = (folder / "config.yaml").exists()
    if begun and workdir_status(folder).state == "finished":
        prepare_workdir(folder, config, resume=True)  # refuses a run of another configuration
        print(f"{folder.name}: reusing the finished run", file=sys.stderr)
    else:
        print(f"{folder.name}: {'going on' if begun else 'training'}", file=sys.stderr)
        try:
            train_language_model(config, folder, begun)
        except TrainingDivergedError as error:  # counts as a run that does not converge
            return {"best_loss": float("inf"), "last_loss": float("inf"), "diverged": str(error)}
    status = workdir_status(folder)
    curve = [(line["step"], line["loss"]) for line in status.validation]
    return {"best_loss": min(loss for _, loss in curve), "last_loss": curve[-1][1], "validation": curve}


def pair_loss(config: LanguageRunConfig) -> float:
    """Validation loss of the next character by the one before it, counted in the training text (plus one)."""
    from orchestai_jax.training.text_data import choose_tokenizer, load_text

    texts = load_text(config.data)
    tokenizer = choose_tokenizer(config.data, texts)
    counted, held_out = tokenizer.encode(texts[0]), tokenizer.encode(texts[1])
    counts = np.ones((tokenizer.vocab_size, tokenizer.vocab_size))
    np.add.at(counts, (counted[:-1], counted[1:]), 1)
    probabilities = counts / counts.sum(1, keepdims=True)
    return float(-np.log(probabilities[held_out[:-1], held_out[1:]]).mean())


def speeds(options: argparse.Namespace) -> dict[str, Any]:
    """Each contender in processes of its own, in turns; all cores for all of them."""
    found: dict[str, list[float]] = {"ours": [], "ours-ternary": [], "torch": []}
    for _ in range(1 if options.quick else 3):
        for name, of_name in found.items():
            command = [sys.executable, __file__, "--measure", name, *(["--quick"] if options.quick else [])]
            done = subprocess.run(
                command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE, text=True, check=False
            )
            if done.returncode:
                raise ValueError(f"{name}: its process ended with {done.returncode}")
            of_name += json.loads(done.stdout.splitlines()[-1])
    return {name: {"median": statistics.median(of_name), "rounds": of_name} for name, of_name in found.items()}


def measure_speed(name: str, quick: bool) -> list[float]:
    from orchestai_jax.training.language_model import with_vocabulary
    from orchestai_jax.training.text_data import CropBatches, choose_tokenizer, load_text

    config = configuration(128, "ternary" if name == "ours-ternary" else "float", 0, quick)
    texts = load_text(config.data)
    tokenizer = choose_tokenizer(config.data, texts)
    model, training = with_vocabulary(config.model, tokenizer), config.training
    crops = CropBatches(
        tokenizer.encode(texts[0]),
        batch_size=training.batch_size,
        length=training.sequence_length,
        seed=0,
        steps_per_epoch=1,
    )
    batches = [next(crops) for _ in range(5 if quick else 100)]
    rounds = 1 if quick else 5
    if name == "torch":
        from _torch_language_model import torch_steps_per_s

        return torch_steps_per_s(model, training, batches, rounds)
    return our_steps_per_s(model, training, batches, rounds)


def our_steps_per_s(model: Any, training: Any, batches: list[np.ndarray], rounds: int) -> list[float]:
    import time

    step, state = first_state(model, training)
    found = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for batch in batches:
            state, measured = step(state, batch)
            float(measured["loss"])  # the loop reads every step's loss too
        found.append(len(batches) / (time.perf_counter() - begun))
    return found[1:]


def step_costs(quick: bool) -> dict[str, Any]:
    """Bytes that XLA plans beside state and batch, and programs compiled over five steps, for two sizes."""
    large = ["model.num_layers=6", "model.num_heads=6", "model.num_kv_heads=6", "model.hidden_size=384",
             "model.intermediate_size=1024", "model.max_positions=256", "training.sequence_length=256",
             "training.batch_size=64", "model.scan_layers=true"]  # fmt: skip
    found: dict[str, Any] = {}
    for name, overrides in {"small": [], **({} if quick else {"6 layers, 384 wide, 64 x 256": large})}.items():
        for remat in (False, True):
            config = load_run_config(CONFIG, [*overrides, f"model.remat={str(remat).lower()}"])
            assert isinstance(config, LanguageRunConfig)
            found[f"{name}, {'with' if remat else 'without'} remat"] = step_cost(config, steps=0 if overrides else 5)
    return found


def step_cost(config: LanguageRunConfig, steps: int) -> dict[str, Any]:
    import jax
    import numpy as np

    step, state = first_state(config.model.model_copy(update={"vocab_size": 65}), config.training)
    tokens = np.zeros((config.training.batch_size, config.training.sequence_length + 1), np.int32)
    memory = step.lower(state, tokens).compile().memory_analysis()
    programs = []
    for _ in range(steps):
        state, _ = step(state, tokens)
        programs.append(step._cache_size())
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    return {"temporary_mib": memory.temp_size_in_bytes / 2**20, "parameters_mib": state_bytes / 2**20,
            "programs_after_each_step": programs}  # fmt: skip


def first_state(model: Any, training: Any) -> tuple[Any, Any]:
    """The jitted step, and the state before the first."""
    import jax
    import jax.numpy as jnp

    from orchestai_jax.language_model.model import initial_parameters
    from orchestai_jax.training import TrainState
    from orchestai_jax.training.language_model import make_train_step
    from orchestai_jax.training.pretraining_optimizer import pretraining_optimizer

    optimizer = pretraining_optimizer(training)
    parameters = initial_parameters(model, 0)
    state = TrainState(
        jnp.zeros((), jnp.int32), {"trainable": parameters}, jax.jit(optimizer.init)(parameters), jax.random.key(0)
    )
    return make_train_step(model, training, optimizer), state


def goals(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, and what came."""
    found: list[tuple[str, float, str, float]] = []
    if "runs" in result:
        of = {(run["width"], run["kind"]): run["best_loss"] for run in result["runs"] if run["seed"] == 0}
        found += [
            ("validation loss, float, 128 wide", of[128, "float"], "<=", 1.88),
            ("gap of ternary to float at the widest", result["gap_by_width"][str(max(WIDTHS))], "<=", 0.05),
            ("share of seeds that converge", result["converged_share"], ">=", 0.96),
        ]
    if "step" in result:
        counts = [of["programs_after_each_step"] for of in result["step"].values()]
        again = max((of[-1] - of[1] for of in counts if of), default=0)
        found.append(("programs compiled after the second step", again, "<=", 0.0))
    if "steps_per_s" in result:
        ours, theirs = (result["steps_per_s"][name]["median"] for name in ("ours", "torch"))
        found.append(("steps a second, times PyTorch's", ours / theirs, ">=", 1.0))
    return [
        {
            "goal": name,
            "value": round(value, 4),
            "wanted": f"{sign} {bound}",
            "met": bool(value >= bound if sign == ">=" else value <= bound),
        }
        for name, value, sign, bound in found
    ]


def show(result: dict[str, Any]) -> None:
    console = wide_console()
    if "runs" in result:
        table = Table("width", "kind", "seed", "best validation loss")
        for run in result["runs"]:
            table.add_row(str(run["width"]), run["kind"], str(run["seed"]), f"{run['best_loss']:.4f}")
        console.print(table)
    for name, cost in result.get("step", {}).items():
        console.print(
            f"step, {name}: {cost['temporary_mib']:.0f} MiB beside {cost['parameters_mib']:.0f} of parameters"
        )
    for name, speed in result.get("steps_per_s", {}).items():
        console.print(f"{name}: {speed['median']:.1f} steps/s")
    for goal in result["goals"]:
        console.print(
            f"{goal['goal']}: {goal['value']} (wanted {goal['wanted']}): {'met' if goal['met'] else 'not met'}"
        )


if __name__ == "__main__":
    sys.exit(run_script(main))
