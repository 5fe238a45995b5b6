"""A work folder that the release before format 2 wrote (format_1/write.py) is read and gone on with."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.checkpoint.manifest import FORMAT_VERSION
from orchestai_jax.config import parse_run_config
from orchestai_jax.language_model import load_language_model
from orchestai_jax.training import workdir_status
from orchestai_jax.training.language_model import train_language_model

WRITTEN = pathlib.Path(__file__).parent / "format_1"
SUMS = {  # of the parameters, by the release that wrote them
    "embedding": -0.010720013058744371,
    "layers.attention.qkv.weight": 0.11544020091969287,
    "layers.feed_forward.gate_up.weight": 0.3702791900068405,
    "norm.weight": 8.447339355945587,
}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    shutil.copytree(WRITTEN, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return pathlib.Path("run")


def test_it_is_read(workdir):
    reader = open_checkpoint(workdir)
    assert (reader.version, reader.step) == (1, 6)
    assert reader.data_state["hooks"] == {}
    assert reader.data_state["loop"]["validations_since_best"] == 0
    assert reader.data_state["loop"]["best"]["step"] == 4
    model = load_language_model(workdir, "latest")
    for name, expected in SUMS.items():
        assert np.asarray(model.parameters[name], np.float64).sum() == pytest.approx(expected, rel=1e-12)
    state = reader.restore(subtree=None)
    assert (int(state["step"]), int(state["skipped"])) == (6, 0)
    assert workdir_status(workdir).state == "unfinished"


def test_it_is_gone_on_with_and_saved_in_the_new_format(workdir):
    config = parse_run_config((workdir / "config.yaml").read_text())
    result = train_language_model(config, workdir, resume=True)
    assert result.steps == 12
    assert open_checkpoint(workdir, "latest").version == FORMAT_VERSION == 2
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["values"]["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) == 12
    assert max(losses[6:]) < min(losses[:3])  # it does go on from there
