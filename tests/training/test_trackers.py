"""One contract for every tracker; what they wrote is read back without them."""

import pathlib
import sqlite3
import struct

import numpy as np
import pytest

from orchestai_jax.config import parse_config
from orchestai_jax.training import TrainingError
from orchestai_jax.training.trackers import open_trackers

KINDS = ("tensorboard", "mlflow", "wandb")


def config(*names):
    return parse_config("name: toy\ndata: {train: x.jsonl}\n", [f"monitoring.trackers={list(names)}"])


def events_of(folder):
    """Every event of the TensorBoard files in a folder: records of length, checksum, protocol buffer, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(pathlib.Path(folder).glob("events.out.tfevents.*"), key=lambda p: p.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length


def read_tensorboard(workdir):
    scalars, histograms = [], []
    for event in events_of(workdir / "tensorboard"):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                scalars.append((value.tag, event.step, value.simple_value))
            elif value.HasField("histo"):
                histograms.append((value.tag, event.step, value.histo.num))
    return scalars, histograms


def read_mlflow(workdir):
    with sqlite3.connect(workdir / "mlflow.db") as base:
        found = base.execute("select key, step, value from metrics order by step, key").fetchall()
        assert base.execute("select count(*) from runs").fetchone() == (1,)
        (name,) = base.execute("select value from params where key = 'name'").fetchone()
        assert name == "toy"
        assert base.execute("select value from tags where key = 'layer at step 2'").fetchone() == ("vanishing",)
    scalars = [row for row in found if not row[0].startswith("histograms/")]
    return scalars, [(key.split("/", 1)[1].removesuffix("/mean"), step, 3) for key, step, _ in found if "/mean" in key]


def read_wandb(workdir):
    files = list((workdir / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2  # one a process, to be joined by their id
    assert len({path.stem for path in files}) == 1
    written = b"".join(path.read_bytes() for path in files)
    for text in (b"train/loss", b"validation/score", b"gradient/embedding", b"vanishing"):
        assert text in written
    return None, None


@pytest.mark.parametrize("kind", KINDS)
def test_contract(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("WANDB_MODE", "offline")
    edges, counts = np.array([0.0, 1.0, 2.0, 4.0]), np.array([0, 2, 1])
    (tracker,) = open_trackers(config(kind), tmp_path)
    tracker.scalars(1, "train", {"loss": 2.5, "gradient_norm": 0.5})
    tracker.scalars(2, "validation", {"score": 0.25})
    tracker.histogram(2, "gradient/embedding", edges, counts)
    tracker.histogram(2, "gradient/nothing", edges, np.zeros(3, np.int64))
    tracker.text(2, "layer", "vanishing")
    tracker.close()
    (again,) = open_trackers(config(kind), tmp_path, resumed_at=2)
    again.scalars(3, "train", {"loss": 1.5})
    again.close()
    scalars, histograms = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb}[kind](tmp_path)
    if scalars is not None:
        assert sorted(scalars) == [
            ("train/gradient_norm", 1, 0.5),
            ("train/loss", 1, 2.5),
            ("train/loss", 3, 1.5),
            ("validation/score", 2, 0.25),
        ]
        assert ("gradient/embedding", 2, 3) in histograms


def test_tensorboard_forgets_what_came_after_the_checkpoint(tmp_path):
    (first,) = open_trackers(config("tensorboard"), tmp_path)
    first.scalars(5, "train", {"loss": 1.0})
    first.close()
    (second,) = open_trackers(config("tensorboard"), tmp_path, resumed_at=3)
    second.close()
    starts = [event.step for event in events_of(tmp_path / "tensorboard") if event.HasField("session_log")]
    assert starts == [4]  # from this step on, older events are dropped


def test_none_and_one_that_is_not_installed(tmp_path, monkeypatch):
    assert open_trackers(config(), tmp_path) == []
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(TrainingError, match=r"mlflow needs mlflow; install orchestai-jax\[mlflow\]"):
        open_trackers(config("mlflow"), tmp_path)
