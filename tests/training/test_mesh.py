"""The same training on meshes of devices and in two processes, in programs of their own (mesh_run.py)."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import ConfigError, MeshConfig, parse_run_config
from orchestai_jax.nn.sharding import PARAMETER_AXES, make_mesh, parameter_sharding, uncut_parameters
from orchestai_jax.training import TrainingError
from orchestai_jax.training.processes import join_processes

PROGRAM = pathlib.Path(__file__).with_name("mesh_run.py")


def start(folder, kind, command, devices, **variables):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    arguments = [sys.executable, str(PROGRAM), str(folder), kind, command]
    return subprocess.Popen(
        arguments,
        env={**os.environ, "XLA_FLAGS": flags, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process):
    out, error = process.communicate(timeout=280)
    assert process.returncode == 0, error[-2000:]
    return json.loads(out.splitlines()[-1])


OTHERS = "8x1x1,1x8x1,1x4x2,1x2x4"


@pytest.mark.parametrize(
    ("kind", "meshes"),
    [
        ("language_model", "2x2x2"),
        pytest.param("language_model", OTHERS, marks=pytest.mark.slow),
        pytest.param("gates", "2x2x2", marks=pytest.mark.slow),
        ("planner", "2x2x2"),
        pytest.param("planner", OTHERS, marks=pytest.mark.slow),
    ],
)
def test_the_loss_curve_is_one_devices(tmp_path, kind, meshes):
    found = result_of(start(tmp_path, kind, f"1x1x1,{meshes}", 8))
    alone = found.pop("1x1x1")
    assert len(alone["train"]) == 50
    assert alone["train"][-1] < alone["train"][0] - 0.3
    for mesh, curves in found.items():
        # A planner's loss is a sum of many, up to 42 here, where a float32's last bit is 3.8e-6.
        rtol = 1e-6 if kind == "planner" else 0
        np.testing.assert_allclose(curves["train"], alone["train"], rtol=rtol, atol=1e-5, err_msg=mesh)
        np.testing.assert_allclose(curves["decisions"], alone["decisions"], rtol=0, atol=1e-5, err_msg=mesh)
        np.testing.assert_allclose(curves["validation"], alone["validation"], rtol=0, atol=1e-5, err_msg=mesh)
        tensor = int(mesh[-1])
        for name, parts in curves["parts"].items():
            assert parts == (tensor if is_cut(kind, name) else 1), (mesh, name)


def is_cut(kind, name):
    """Whether a parameter of the run is cut over the tensor axis."""
    if kind != "planner":
        return name == "embedding" or ("weight" in name and "norm" not in name)
    return any(re.fullmatch(pattern, name) for pattern, _ in PARAMETER_AXES)


def test_all_optimizations_on_a_mesh(tmp_path):
    found = result_of(start(tmp_path, "optimized", "1x1x1,2x2x2", 8))
    alone, mesh = found["1x1x1"], found["2x2x2"]
    # 8-bit codes flip where a sum's last bit does.
    np.testing.assert_allclose(mesh["train"], alone["train"], rtol=0, atol=0.02)
    assert all(0 < error < 0.05 for error in [*mesh["errors"], *alone["errors"]])
    assert len(mesh["errors"]) == 50
    assert not alone["events"]
    (event,) = mesh["events"]
    assert (event["event"], event["optimization"]) == ("backed_off", "kernel_optimizer")
    assert "on a mesh each call is cut over the devices" in event["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps"), [("language_model", 8), ("optimized", 8), ("planner", 50)])
def test_two_processes_save_and_one_goes_on(tmp_path, kind, steps):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = [
        start(
            tmp_path,
            kind,
            "processes",
            2,
            ORCHESTAI_COORDINATOR=address,
            ORCHESTAI_NUM_PROCESSES="2",
            ORCHESTAI_PROCESS_ID=str(index),
        )
        for index in range(2)
    ]
    assert [result_of(process) for process in both] == [{"processes": 2, "devices": 4}] * 2
    reader = open_checkpoint(tmp_path / "run", "latest")
    assert reader.step == steps // 2
    assert {name.split("/")[1] for name in reader.manifest["files"] if "ocdbt.process" in name} == {
        "ocdbt.process_0",
        "ocdbt.process_1",
    }
    went_on, alone = (result_of(start(tmp_path, kind, command, 1)) for command in ("resume", "alone"))
    assert len(went_on["train"]) == steps
    within = 0.02 if kind == "optimized" else 1e-5  # 8-bit codes flip where a sum's last bit does
    for split in ("train", "validation"):
        np.testing.assert_allclose(went_on[split], alone[split], rtol=0, atol=within)


def test_what_the_tables_say():
    mesh = jax.sharding.AbstractMesh((2, 2, 2), ("replica", "data", "tensor"))
    spec = lambda name, shape: tuple(parameter_sharding(mesh, name, shape).spec)  # noqa: E731
    assert spec("layers.attention.qkv.weight", (4, 384, 128)) == (None, "tensor", None)
    assert spec("layers.attention.out.weight", (4, 128, 128)) == (None, None, "tensor")
    assert spec("encoder.layers.3.feed_forward.down.kernel", (32, 16)) == ("tensor", None)
    assert spec("encoder.layers.3.attention.key.bias", (16,)) == ("tensor",)
    assert spec("layers.attention_norm.weight", (4, 128)) == ()
    assert spec("embedding", (65, 128)) == (None, None)
    shapes = {"embedding": (65, 128), "head": (64, 128), "norm.weight": (128,)}
    assert uncut_parameters(mesh, shapes) == ["embedding"]
    assert len({pattern for pattern, _ in PARAMETER_AXES}) == len(PARAMETER_AXES)


def test_meshes_and_batches_that_do_not_fit():
    with pytest.raises(ValueError, match=r"mesh: 2 × 4 × 1 wants 8 devices, there are 1 .cpu.; lower replica"):
        make_mesh(MeshConfig(replica=2, data=4))
    text = "name: x\ndata: {train: x}\n"
    with pytest.raises(ConfigError, match=r"batch_size 12 is not a multiple of mesh.replica × mesh.data = 2 × 4 = 8"):
        parse_run_config(f"kind: language_model\n{text}mesh: {{replica: 2, data: 4}}")
    with pytest.raises(ConfigError, match="batch_size 32 is not a multiple"):
        parse_run_config(text, ["mesh.data=3"])
    with pytest.raises(ConfigError, match=r"mesh\.tensor"):
        parse_run_config(text, ["mesh.tensor=0"])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ORCHESTAI_COORDINATOR": "h:1"}, "must be whole numbers"),
        (
            {"ORCHESTAI_COORDINATOR": "h:1", "ORCHESTAI_NUM_PROCESSES": "2", "ORCHESTAI_PROCESS_ID": "2"},
            "ORCHESTAI_PROCESS_ID is 2; it must be from 0",
        ),
    ],
)
def test_an_environment_that_does_not_fit_together(monkeypatch, variables, message):
    for name in ("ORCHESTAI_NUM_PROCESSES", "ORCHESTAI_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=message):
        join_processes()
