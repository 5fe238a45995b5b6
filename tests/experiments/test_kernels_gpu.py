"""The GPU script over tiny shapes on this machine's implementations: its bookkeeping, not its figures."""

import json

import jax
import jax.numpy as jnp
import kernels_gpu
import numpy as np
import pytest
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.tuning import SearchPolicy

from orchestai_jax.config import LanguageModelConfig

TINY = LanguageModelConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    max_positions=192,
    compute_dtype="bfloat16",
)


def test_a_machine_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(ValueError, match="this measures a GPU; JAX's backend here is cpu"):
        kernels_gpu.main(["--out", str(tmp_path / "out.json")])


def test_everything_is_compared_and_kept(tmp_path, monkeypatch):
    x = jax.ShapeDtypeStruct((1, 4, 2, 8), jnp.float32)
    small = NamedShape((x, x, x, Masks(causal=True)), {"scale": 1.0}, gradient=True)
    elsewhere = NamedShape((x, x, x, Masks()), {"scale": 1.0}, platforms=("tpu",))
    monkeypatch.setattr(kernels_gpu, "require_gpu", lambda: None)
    monkeypatch.setattr(kernels_gpu, "KERNEL", "reference")
    monkeypatch.setattr(kernels_gpu, "LIBRARY", {"attention": ("cudnn", "xla")})
    monkeypatch.setattr(kernels_gpu, "MATRICES", {"tiny": (64, 128)})
    monkeypatch.setattr(kernels_gpu, "COPIED_BYTES", 2**16)
    monkeypatch.setattr(kernels_gpu, "ROTATED_BYTES", 3 * 64 * 128 // 4)
    monkeypatch.setattr(kernels_gpu, "MODEL", TINY)
    monkeypatch.setattr(kernels_gpu, "named_shapes", lambda op: {"small": small, "elsewhere": elsewhere})
    out, kept = tmp_path / "out.json", tmp_path / "records"
    kernels_gpu.main(["--out", str(out), "--records", str(kept), "--repeats", "2"])
    found = json.loads(out.read_text())
    assert [(row["shape"], row["measured"]) for row in found["ops"]] == [
        ("small", "forward and backward"),
        ("small", "forward"),
    ]
    for row in found["ops"]:
        assert row["library"] == "xla"
        assert row["kernel_ratio"] == row["library_seconds"] / row["kernel_seconds"]
        assert row["auto_ratio"] >= row["kernel_ratio"]
    product = found["matrix_vector"]["tiny"]
    assert product["packed_bytes"] == 64 * 128 // 4
    assert product["copy_bandwidth_share"] > 0
    decode = found["decode"]
    assert decode["against_bfloat16"] > 0
    assert decode["bfloat16"]["model_bytes"] > 1.5 * decode["ternary"]["model_bytes"]
    assert len(list(kept.rglob("attention.json"))) == 1
    kernels_gpu.main(["--out", str(out), "--records", str(kept), "--only", "attention", "--minutes", "0"])
    assert [row["left_out"] for row in json.loads(out.read_text())["ops"]] == ["no time left; give --minutes more"]


def test_each_weight_has_a_token_of_its_own(monkeypatch):
    """Products of one x could be merged into one, or its rounding done once for all."""
    given = []

    def timed(function, args, repeats):
        given.append(args)
        jax.block_until_ready(function(*args))
        return [1.0] * repeats

    monkeypatch.setattr(kernels_gpu, "KERNEL", "reference")
    monkeypatch.setattr(kernels_gpu, "ROTATED_BYTES", 3 * 64 * 128 // 4)
    monkeypatch.setattr(kernels_gpu, "timed", timed)
    kernels_gpu.matrix_vector(64, 128, 1.0, SearchPolicy(repeats=1, sample_seconds=0.0))
    for tokens, weights in given:
        assert len(tokens) == len(weights) >= 2
        assert len({np.asarray(token).tobytes() for token in tokens}) == len(tokens)
        assert {token.shape for token in tokens} == {(1, 128)}
