"""Choosing among the plans of a beam: what rescoring and the plans of like training instructions are worth.

Only the training file is read. Choices are fitted and judged on different parts of its validation part (ten parts,
drawn several times), settings included. They are compared with the planner's own choice, sample by sample.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _log_linear import fit_log_linear, softmax, standardised
from _machine import ROOT, command_line, describe_machine
from _options import write_result
from _plan_features import FIGURES, NAMES, Judged, Seen, features, judge
from _plan_pools import PoolMaker
from _script import run_script, wide_console
from numpy.typing import NDArray
from rich.table import Table

from orchestai_jax.config import load_config
from orchestai_jax.evaluation import bootstrap_interval
from orchestai_jax.training.training_samples import load_training_samples

PARTS = 10

LOG_LINEAR = {
    "probability and length": ("logp", "tasks"),
    "+ label head": ("logp", "tasks", "labels"),
    "+ order": ("logp", "tasks", "order", "mentions"),
    "+ plans seen in training": ("logp", "tasks", "chain_seen", "set_seen"),
    "+ neighbours, tuned vectors": ("logp", "tasks", "tuned_tasks", "tuned_plan"),
    "+ neighbours, frozen vectors": ("logp", "tasks", "frozen_tasks", "frozen_plan"),
    "all of these": NAMES,
}
"""Log-linear choices and their features."""

GRID = tuple((weight, temperature) for weight in (0.0, 0.2, 0.4, 0.6) for temperature in (0.03, 0.06, 0.12))
"""(weight of the neighbours' plans, temperature of their cosines) that are tried."""

Part = NDArray[np.intp]
"""Positions of samples."""

EXAMPLES = """examples:
  python experiments/plan_choice.py
  python experiments/plan_choice.py --planner runs/planner_ultratool/seed-1 --beams 32
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = load_config(options.config, options.overrides)
    loaded = load_training_samples(config)
    train, validation = list(loaded.train), list(loaded.validation)
    decoding = config.planner.decoding
    maker = PoolMaker(config, options.planner)
    console.print(f"{len(validation)} validation instructions: plans of {options.beams} beams, vectors of both parts")
    texts = [s.instruction for s in validation]
    pools = maker.search(texts, options.beams)
    here, there = maker.read(texts), maker.read([s.instruction for s in train])
    cosines = {"tuned": here.tuned @ there.tuned.T, "frozen": here.frozen @ there.frozen.T}
    cosines["both"] = (cosines["tuned"] + cosines["frozen"]) / 2
    seen = Seen.of(train)
    judged = [
        judge(sample, pool, {kind: c[i] for kind, c in cosines.items()}, seen)
        for i, (sample, pool) in enumerate(zip(validation, pools, strict=True))
    ]
    result = {
        "what": "choices among the plans of a beam on the validation part, cross-validated within it",
        "command": command_line("plan_choice.py", arguments),
        "n": {"train": len(train), "validation": len(validation)},
        "beams": options.beams,
        **measure(judged, seen, decoding.width, decoding.mbr_temperature, options.draws),
        "machine": describe_machine(),
    }
    out = write_result(options.results, "plan_choice", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides of the configuration")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs" / "planner_ultratool.yaml")
    parser.add_argument("--planner", type=pathlib.Path, default=ROOT / "runs" / "planner_ultratool" / "seed-0")
    parser.add_argument("--beams", type=int, default=16, help="plans to choose from (default: 16)")
    parser.add_argument("--draws", type=int, default=5, help="times that the ten parts are drawn (default: 5)")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "experiments" / "results")
    return parser.parse_args(arguments)


def measure(judged: Sequence[Judged], seen: Seen, width: int, temperature: float, draws: int) -> dict[str, Any]:
    """Figures of the planner's own choice (minimum Bayes risk over `width` plans at a temperature), of the best plan of
    each pool, and of the other choices beside their difference to the planner's own."""
    today = picked(judged, [own_choice(j, width, temperature) for j in judged])
    best = picked(judged, [int(np.argmax(j.gains)) for j in judged])
    choices = {"most probable": picked(judged, [0] * len(judged))}
    described = standardised([features(j, seen) for j in judged])
    for name, used in LOG_LINEAR.items():
        columns = [NAMES.index(feature) for feature in used]
        choose = log_linear(judged, [x[:, columns] for x in described])
        choices[f"log-linear: {name}"] = cross_validated(judged, choose, draws)
    for kind in judged[0].neighbours:
        choose = with_neighbours(judged, kind, temperature)
        choices[f"neighbours' plans, {kind} vectors"] = cross_validated(judged, choose, draws)
    return {
        "today": _named(today.mean(axis=0)),
        "best_of_pool": _named(best.mean(axis=0)),
        "choices": {name: compared(found, today) for name, found in choices.items()},
    }


def own_choice(judged: Judged, width: int, temperature: float) -> int:
    """The planner's: minimum Bayes risk over the first `width` plans."""
    weights = softmax(judged.pool.logp[:width] / temperature)
    return int(np.argmax(judged.agreement[:width, :width] @ weights))


def picked(judged: Sequence[Judged], choice: Sequence[int]) -> NDArray[np.float64]:
    """[samples, FIGURES] of the plans chosen."""
    return np.array([j.figures[c] for j, c in zip(judged, choice, strict=True)])


Choose = Callable[[Part, Part], list[int]]
"""Samples to fit on, samples to choose for → plans chosen for these."""


def cross_validated(judged: Sequence[Judged], choose: Choose, draws: int) -> NDArray[np.float64]:
    """[samples, FIGURES], means over draws of the parts: each sample's plan is chosen by what the other parts say."""
    found = np.zeros((draws, len(judged), len(FIGURES)))
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(judged))
        for part in range(PARTS):
            held_out = order[part::PARTS]
            chosen = choose(np.setdiff1d(order, held_out), held_out)
            found[draw, held_out] = picked([judged[i] for i in held_out], chosen)
    return found.mean(axis=0)


def log_linear(judged: Sequence[Judged], described: Sequence[NDArray[np.float64]]) -> Choose:
    """Minimum Bayes risk under a log-linear model of which plan is right."""

    def choose(fit: Part, judge: Part) -> list[int]:
        weights = fit_log_linear([described[i] for i in fit], [judged[i].gains for i in fit])
        return [int(np.argmax(judged[i].agreement @ softmax(described[i] @ weights))) for i in judge]

    return choose


def with_neighbours(judged: Sequence[Judged], kind: str, temperature: float) -> Choose:
    """Minimum Bayes risk where the plans of the nearest training instructions count beside the beam's."""

    def chosen(weight: float, cosine_temperature: float) -> list[int]:
        found = []
        for j in judged:
            near = j.neighbours[kind]
            by_beam = j.agreement @ softmax(j.pool.logp / temperature)
            by_neighbours = near.agreement @ softmax(near.cosines / cosine_temperature)
            found.append(int(np.argmax(by_beam + weight * by_neighbours)))
        return found

    choices = [chosen(*setting) for setting in GRID]
    gains = np.array([[j.gains[c] for j, c in zip(judged, choice, strict=True)] for choice in choices])

    def choose(fit: Part, judge: Part) -> list[int]:
        best = choices[int(np.argmax(gains[:, fit].mean(axis=1)))]
        return [best[i] for i in judge]

    return choose


def compared(found: NDArray[np.float64], today: NDArray[np.float64]) -> dict[str, Any]:
    """Means, and means of the differences to `today` with their intervals over samples."""
    difference = found - today
    return {
        "mean": _named(found.mean(axis=0)),
        "gain": {
            name: {"mean": float(column.mean()), "interval": list(bootstrap_interval(column))}
            for name, column in zip(FIGURES, difference.T, strict=True)
        },
    }


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(FIGURES, values.tolist(), strict=True))


def table(result: dict[str, Any]) -> Table:
    """Choices, their figures, and the intervals of the difference to the planner's own."""
    shown = Table(title=f"UltraTool, {result['n']['validation']} validation samples, {result['beams']} beams")
    for name in ("", "node F1", "link F1", "accuracy", "node F1 less today's", "link F1 less today's"):
        shown.add_column(name, justify="left" if not name else "right")
    for name in ("today", "best_of_pool"):
        shown.add_row(name.replace("_", " "), *(f"{v:.3f}" for v in result[name].values()), "", "")
    for name, choice in result["choices"].items():
        gains = [choice["gain"][figure] for figure in ("node_f1", "link_f1")]
        told = [f"{g['mean']:+.3f} [{g['interval'][0]:+.3f}, {g['interval'][1]:+.3f}]" for g in gains]
        shown.add_row(name, *(f"{v:.3f}" for v in choice["mean"].values()), *told)
    return shown


if __name__ == "__main__":
    sys.exit(run_script(main))
