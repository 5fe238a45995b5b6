"""A planner of a few thousand parameters and the little data set that it is trained on."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import yaml

from orchestai_jax.config import RunConfig, parse_config
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.workflow import Catalog, Port, TaskType, WorkerSpec, save_catalog

VERBS = {"blur": "soften", "crop": "cut", "caption": "describe", "zip": "pack"}
"""Task types and the verbs that ask for them."""


def write_files(folder: pathlib.Path) -> None:
    """Write some little samples over four task types, as a user would have them, and their catalog."""
    port = Port(name="file", type="file")
    types = tuple(TaskType(id=t, description=f"{v} a file", inputs=(port,), outputs=(port,)) for t, v in VERBS.items())
    workers = (WorkerSpec(id="one", task_types=tuple(VERBS)), WorkerSpec(id="two", task_types=("blur",), cost=1))
    save_catalog(Catalog(name="toy", task_types=types, workers=workers), folder / "catalog.yaml")
    random = np.random.default_rng(0)
    samples = []
    for i in range(240):
        chosen = [str(t) for t in random.permutation(list(VERBS))[: random.integers(1, 4)]]
        samples.append(
            PlanningSample(
                id=f"s{i}",
                instruction=", then ".join(f"{VERBS[t]} file {i % 7}" for t in chosen),
                task_types=tuple(chosen),
                dependencies=tuple((j, j + 1) for j in range(len(chosen) - 1)),
                workers=tuple("two" if t == "blur" else "one" for t in chosen),
                complexities=tuple(0.5 for _ in chosen),
            )
        )
    save_samples(folder / "train.jsonl", samples)


def toy_config(files: pathlib.Path, *, encoder: dict[str, Any] | None = None, **phase: Any) -> RunConfig:
    """The configuration of a tiny planner over the files of `write_files`.

    `encoder` and `phase` change keys of `planner.encoder` and of `training.phase1_supervised`.
    """
    content = {
        "name": "toy",
        "data": {
            "train": str(files / "train.jsonl"),
            "format": "planning",
            "catalog": str(files / "catalog.yaml"),
            "validation_fraction": 0.2,
        },
        "planner": {
            "encoder": {
                "weights": "none",
                "hidden_size": 16,
                "num_heads": 2,
                "num_layers": 1,
                "intermediate_size": 16,
                "max_tokens": 32,
                "vocab_size": 100,
                **(encoder or {}),
            },
            "decomposer": {"num_heads": 2, "max_tasks": 4},
            "graph_generator": {"hidden_size": 8},
            "worker_selector": {"hidden_size": 8},
        },
        "training": {
            "phase1_supervised": {
                "batch_size": 8,
                "num_epochs": 7,
                "learning_rate": 0.01,
                "encoder_learning_rate": 0.01,
                "early_stop_patience": None,
                "log_every_steps": 1,
                **phase,
            }
        },
        "system": {"progress": "none"},
    }
    return parse_config(yaml.safe_dump(content))
