"""`orchestai kernels` on small shapes."""

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels.attention import shapes as attention_shapes
from orchestai_kernels.attention.masks import Masks
from orchestai_kernels.shapes import NamedShape
from orchestai_kernels.tuning import OP_NAMES


@pytest.fixture
def small(monkeypatch):
    x = jax.ShapeDtypeStruct((1, 4, 2, 8), jnp.float32)
    shapes = {"tiny": NamedShape((x, x, x, Masks(causal=True)), {"scale": 1.0})}
    monkeypatch.setattr(attention_shapes, "SHAPES", shapes)


def test_list_says_what_runs_and_why_not(command):
    found = command.json("kernels", "list", "--json")
    assert found["platform"] == "cpu"
    rows = {(row["op"], row["implementation"]): row for row in found["kernels"]}
    assert {op for op, _ in rows} == set(OP_NAMES)
    assert rows["attention", "reference"]["runs"]
    assert rows["attention", "pallas_gpu"]["why_not"] == "runs on gpu, not on cpu"
    shown = command("kernels", "list", "--op", "graph_attention").stdout
    assert "pallas_tpu" in shown
    assert "runs on tpu, not on cpu" in shown
    assert "ternary_matmul" not in shown


def test_tune_keeps_a_record_that_list_and_bench_go_by(command, tmp_path, small):
    options = ("--op", "attention", "--records", "kept")
    assert "tiny: " in command("kernels", "tune", *options, "--repeats", "2").stdout
    files = list((tmp_path / "kept").rglob("attention.json"))
    assert len(files) == 1
    rows = command.json("kernels", "list", *options, "--json")["kernels"]
    assert {row["records"] for row in rows} == {1}
    assert sum(row["fastest"] for row in rows) == 1
    best = next(row["implementation"] for row in rows if row["fastest"])
    timed = command.json("kernels", "bench", *options, "--shape", "tiny", "--repeats", "2", "--json")
    assert [row["implementation"] for row in timed if row["chosen"]] == [best]
    assert {len(row["seconds"]) for row in timed if row["note"] is None} == {2}
    assert "chosen" in command("kernels", "bench", *options, "--repeats", "1").stdout
    again = command.json("kernels", "tune", *options, "--repeats", "2", "--json")
    assert list(again["attention"]) == ["tiny"]


def test_shapes_of_a_model(command, tmp_path):
    model = tmp_path / "lm.yaml"
    model.write_text(
        "kind: language_model\nname: x\ndata: {train: notes.txt}\n"
        "model: {hidden_size: 16, intermediate_size: 32, num_heads: 2, num_kv_heads: 1, max_positions: 8}\n"
        "training: {batch_size: 2, sequence_length: 8}\n"
    )
    rows = command.json(
        "kernels",
        "bench",
        "--op",
        "attention",
        "--op",
        "ternary_matmul",
        "--model",
        str(model),
        "--repeats",
        "1",
        "--json",
    )
    shapes = {(row["op"], row["shape"]) for row in rows}
    assert shapes == {
        ("attention", "train"),
        ("attention", "prefill_16"),
        *(("ternary_matmul", f"{name}_{n}") for name in ("qkv", "out", "gate_up", "down") for n in (1, 16)),
    }


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["list", "--op", "softmax"],
            "op is one of attention, cached_attention, encoder_block, feed_forward, graph_attention, "
            "ternary_encoder_block, ternary_matmul, int8_matmul",
        ),
        (["tune", "--shape", "tiny"], "--shape names a shape of one op: give --op once beside it"),
        (["bench", "--op", "attention", "--shape", "none"], "attention has no shape 'none'; it has char_lm_train"),
        (["bench", "--op", "graph_attention", "--model", "lm.yaml"], "lm.yaml: cannot be read"),
        (["bench", "--model", "notes.txt"], "notes.txt: no configuration of a language model"),
    ],
)
def test_wrong_use_is_told(command, arguments, message):
    assert message in command.error("kernels", *arguments)


@pytest.mark.parametrize("verb", ["list", "tune", "bench"])
def test_each_help_has_examples(command, verb):
    shown = command("kernels", verb, "--help").stdout
    assert f"orchestai kernels {verb}" in shown.split("Examples:")[1]
