"""The script about killed trainings: its comparison sees a bit, and a few kills lose nothing."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("psutil")

import resume_faults

from orchestai_jax.checkpoint import CheckpointStore


@pytest.fixture
def workdir(tmp_path):
    with CheckpointStore(tmp_path / "run" / "checkpoints") as store:
        for step in (1, 2):
            store.save(
                step,
                {"params": {"x": np.float32([0.0, step])}},
                data_state={"loop": {"wall_s": 1.0}},
                metadata={},
                metrics={},
                assets={},
            )
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps({"step": 1, "wall_s": 3}) + "\n")
    return tmp_path / "run"


def test_a_bit_makes_a_difference_and_the_wall_time_none(workdir, tmp_path):
    before = resume_faults.fingerprint(workdir)
    shutil.copytree(workdir, tmp_path / "other")
    (tmp_path / "other" / "metrics.jsonl").write_text(json.dumps({"step": 1, "wall_s": 4}) + "\n")
    assert resume_faults.fingerprint(tmp_path / "other") == before
    (tmp_path / "other" / "metrics.jsonl").write_text(json.dumps({"step": 2, "wall_s": 3}) + "\n")
    assert resume_faults.fingerprint(tmp_path / "other") != before
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    with CheckpointStore(tmp_path / "other" / "checkpoints") as store:
        state = {"params": {"x": np.float32([-0.0, 2])}}  # 0.0 but for its sign's bit
        store.save(2, state, data_state={"loop": {"wall_s": 1.0}}, metadata={}, metrics={}, assets={})
    assert resume_faults.fingerprint(tmp_path / "other")["arrays"] != before["arrays"]


def test_every_flip_is_noticed(workdir):
    found = resume_faults.flip_bytes(workdir, 2, 0)
    assert found["undetected"] == []
    assert found["flips"] > 3 * found["files"] > 30
    assert found["latest_good_fell_back"] == found["files"]


@pytest.mark.slow
def test_killed_trainings_lose_nothing(tmp_path):
    found = resume_faults.kill_and_resume(3, 0, tmp_path)
    assert (found["kills"], found["lost_runs"], found["bit_differences"]) == (3, 0, 0)
