"""Which shape of workflow (single, chain, DAG) a request of TaskBench asks for, from another domain.

The data has the shapes of the gold workflows and not the workflows, so no planner can be trained on them. What is
trained on the huggingface requests is a logistic regression over the planner's frozen encoder (MiniLM's mean vectors);
beside it the majority class, and TF-IDF with the same regression. With `--planner`, the shape of the plans that a
planner trained elsewhere makes over multimedia's tools, none of which it knows, by their descriptions. The strength of
regularisation is chosen by cross-validation within huggingface; the multimedia requests are the test set.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from _machine import command_line, describe_machine
from _options import add_data, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from _sentence_embedding import embed_texts
from numpy.typing import NDArray
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from orchestai_jax.evaluation import bootstrap_interval
from orchestai_jax.planner import Planner
from orchestai_jax.workflow import Workflow, load_catalog

SHAPES = ("single", "chain", "dag")
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths (scikit-learn's C) that are tried."""
FOLDS = 5

EXAMPLES = """examples:
  python experiments/taskbench_shape.py
  python experiments/taskbench_shape.py --planner runs/planner_ultratool/seed-0
  python experiments/taskbench_shape.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    data = options.data / "taskbench"
    train, test = (read_requests(data / f"{name}_shape.jsonl") for name in ("huggingface", "multimedia"))
    if options.quick:
        train, test = train[::25], test[::90]  # the files go by shape
    labels = np.array([SHAPES.index(shape) for _, shape in train])
    gold = np.array([SHAPES.index(shape) for _, shape in test])
    texts = [text for text, _ in train], [text for text, _ in test]
    majority = int(np.bincount(labels, minlength=len(SHAPES)).argmax())
    predicted: dict[str, NDArray[np.int64]] = {"majority_class": np.full(len(gold), majority)}
    chosen: dict[str, Any] = {}
    console.print(f"learning from {len(labels)} requests, testing on {len(gold)}")
    predicted["tfidf"], chosen["tfidf"] = fitted(tfidf(), texts[0], labels, texts[1])
    console.print("TF-IDF is fitted; encoding the requests")
    embeddings = [embed_texts(part, options.encoder, cache=options.workdir) for part in texts]
    predicted["planner_encoder"], chosen["planner_encoder"] = fitted(
        make_pipeline(Normalizer(), LogisticRegression(max_iter=2000, random_state=0)),
        embeddings[0],
        labels,
        embeddings[1],
    )
    notes = ["the data has no gold workflows: no planner is trained on them"]
    if options.planner is not None:
        predicted["plans_of_another_planner"] = planned_shapes(options.planner, data, texts[1])
    result = {
        "what": "shape of the workflow that a request asks for (TaskBench, from huggingface to multimedia)",
        "command": command_line("taskbench_shape.py", arguments),
        "quick": options.quick,
        "train": counted(labels),
        "test": counted(gold),
        "settings": chosen,
        "methods": {name: judged(found, gold) for name, found in predicted.items()},
        "notes": notes,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "machine": describe_machine(),
    }
    out = write_result(options.results, "taskbench_shape", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def read_requests(path: pathlib.Path) -> list[tuple[str, str]]:
    """(request, shape) of each line. Raises FileNotFoundError, and ValueError for a shape that is none of the three."""
    requests = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        entry = json.loads(line)
        if entry["type"] not in SHAPES:
            raise ValueError(f"{path}, line {number}: type is {entry['type']!r}, not one of {', '.join(SHAPES)}")
        requests.append((entry["user_request"], entry["type"]))
    return requests


def tfidf() -> Any:
    """Words and pairs of them under a logistic regression."""
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    return make_pipeline(features, LogisticRegression(max_iter=2000, random_state=0))


def fitted(pipeline: Any, train: Any, labels: NDArray[np.int64], test: Any) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """What a pipeline predicts of the test set, its C chosen by cross-validation on the training set."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS}, cv=folds, scoring="accuracy")
    search.fit(train, labels)
    settings = {
        "C": search.best_params_["logisticregression__C"],
        "cross_validated_accuracy": round(float(search.best_score_), 4),
    }
    return search.predict(test), settings


def planned_shapes(folder: pathlib.Path, data: pathlib.Path, texts: Sequence[str]) -> NDArray[np.int64]:
    """The shapes of a planner's plans over multimedia's tools."""
    catalog = load_catalog(data / "multimedia_tool_desc.json", data / "multimedia_graph_desc.json")
    workflows = Planner.from_checkpoint(folder).plan_many(texts, catalog)
    return np.array([SHAPES.index(shape_of(workflow)) for workflow in workflows])


def shape_of(workflow: Workflow) -> str:
    """One task at most is single; each task feeding the next and nothing else is a chain; all else is a DAG."""
    if len(workflow.tasks) <= 1:
        return "single"
    incoming = [len(task.depends_on) for task in workflow.tasks]
    outgoing = collections.Counter(source for task in workflow.tasks for source in task.depends_on)
    is_path = sorted(incoming) == [0, *[1] * (len(incoming) - 1)] and max(outgoing.values(), default=0) == 1
    return "chain" if is_path else "dag"


def counted(labels: NDArray[np.int64]) -> dict[str, int]:
    """How many requests of each shape."""
    return {"n": len(labels), **{shape: int((labels == i).sum()) for i, shape in enumerate(SHAPES)}}


def judged(found: NDArray[np.int64], gold: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy with its interval, macro F1, and how often each shape was said."""
    right = (found == gold).astype(np.float64)
    low, high = bootstrap_interval(right)
    return {
        "accuracy": round(float(right.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "macro_f1": round(float(f1_score(gold, found, average="macro")), 4),
        "said": counted(found),
    }


def table(result: dict[str, Any]) -> Table:
    """The figures as people read them."""
    shown = Table("", "accuracy", "95 %", "macro F1")
    for name, found in result["methods"].items():
        low, high = found["interval"]
        shown.add_row(
            name.replace("_", " "), f"{found['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", f"{found['macro_f1']:.3f}"
        )
    shown.caption = f"{result['test']['n']} multimedia requests"
    return shown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES)
    add_data(parser)
    parser.add_argument("--encoder", default="minilm", help="name or folder of BERT weights (default: minilm)")
    parser.add_argument("--planner", type=pathlib.Path, help="a planner of elsewhere, for its plans' shapes")
    return settle_folders(parser.parse_args(arguments), "taskbench_shape")


if __name__ == "__main__":
    sys.exit(run_script(main))
