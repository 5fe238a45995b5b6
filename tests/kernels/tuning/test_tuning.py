import dataclasses

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels import records
from orchestai_kernels.dispatch import OPS, ConfigSpace, Implementation, Op, overridden
from orchestai_kernels.shapes import NamedShape, TransformerSize
from orchestai_kernels.tuning import SearchPolicy, bench, measure, ops, search, tune

QUICK = SearchPolicy(repeats=3, sample_seconds=0.0)


@dataclasses.dataclass(frozen=True)
class Turns:
    turns: int


def _turning(x, *, config):
    if config.turns == 3:
        raise NotImplementedError("not three")
    return jax.lax.fori_loop(0, config.turns, lambda _, y: jnp.sin(y @ y), x)


@pytest.fixture
def op(tmp_path):
    source = tmp_path / "kernel.py"
    source.write_text("one = 1\n")
    configs = ConfigSpace(Turns, heuristic=lambda x: Turns(2), candidates=lambda x: tuple(map(Turns, (1, 3, 2000))))
    made = Op(
        "turning",
        key=lambda x: f"n{x.shape[0]}",
        implementations=[
            Implementation("loop", run=_turning, configs=configs, sources=(source,)),
            Implementation("elsewhere", run=_turning, platforms=("tpu",), sources=(source,)),
        ],
    )
    made.source = source  # pyright: ignore[reportAttributeAccessIssue]
    yield made
    OPS.pop("turning")


SHAPES = {
    "small": NamedShape((jax.ShapeDtypeStruct((8, 8), jnp.float32),)),
    "trained": NamedShape((jax.ShapeDtypeStruct((4, 4), jnp.float32),), gradient=True),
    "tpu": NamedShape((jax.ShapeDtypeStruct((9, 9), jnp.float32),), platforms=("tpu",)),
}


def test_a_record_holds_every_trial_and_decides(op, tmp_path):
    seen = []
    entries = tune(op, SHAPES, folder=tmp_path, policy=QUICK, progress=lambda name, entry: seen.append(name))
    assert seen == ["small", "trained"]
    assert {name: entry.key for name, entry in entries.items()} == {"small": "n8", "trained": "n4"}
    small, trained = entries["small"], entries["trained"]
    assert [timing.config for timing in small.timings] == [{"turns": 1}, {"turns": 3}, {"turns": 2000}]
    assert [len(timing.seconds) for timing in small.timings] == [3, 0, 3]
    assert small.timings[1].error == "NotImplementedError: not three"
    medians = {timing.median_seconds: timing.config for timing in small.timings if timing.seconds}
    assert small.ranked()[0].config == medians[min(medians)]
    assert small.jax_version == jax.__version__
    assert small.sources == {"loop": op.implementations["loop"].source_hash()}
    assert "gradient" in trained.example
    # fori_loop with a fixed count has a gradient; a trial that cannot be compiled is told, not dropped
    assert records.read_record(records.record_path(tmp_path, records.device_name(), "turning")) == {
        "n4": trained,
        "n8": small,
    }
    with overridden(records=tmp_path):
        assert op.choose(jnp.ones((8, 8))).config == Turns(**small.ranked()[0].config)


def test_tuning_again_keeps_other_keys_that_still_hold_and_drops_the_rest(op, tmp_path):
    path = records.record_path(tmp_path, records.device_name(), "turning")
    tune(op, {"small": SHAPES["small"]}, folder=tmp_path, policy=QUICK)
    tune(op, {"trained": SHAPES["trained"]}, folder=tmp_path, policy=QUICK)
    assert set(records.read_record(path)) == {"n4", "n8"}
    op.source.write_text("one = 2\n")
    tune(op, {"trained": SHAPES["trained"]}, folder=tmp_path, policy=QUICK)
    assert set(records.read_record(path)) == {"n4"}


def test_bench_reports_each_implementation_and_marks_the_chosen(op, tmp_path):
    with overridden(records=tmp_path):
        rows = bench(op, SHAPES, QUICK)
    assert [(row.shape, row.implementation, row.chosen, row.note) for row in rows] == [
        ("small", "elsewhere", False, "runs on tpu, not on cpu"),
        ("small", "loop", True, None),
        ("trained", "elsewhere", False, "runs on tpu, not on cpu"),
        ("trained", "loop", True, None),
    ]
    assert rows[1].config == {"turns": 2}
    assert len(rows[1].seconds) == 3


def test_kernels_that_can_be_interpreted_are_measured_too(tmp_path):
    given = []

    def run(x, *, interpret):
        given.append(interpret)
        return 2 * x

    made = Op(
        "interpretable",
        key=str,
        implementations=[
            Implementation("kernel", run=run, platforms=("cpu",), interpretable=True),
            Implementation("elsewhere", run=run, platforms=("gpu",), interpretable=True),
        ],
    )
    OPS.pop("interpretable")
    shapes = {"small": SHAPES["small"]}
    for interpret in (False, True):
        with overridden(interpret=interpret, records=tmp_path):
            entry = tune(made, shapes, folder=tmp_path, policy=QUICK)["small"]
            assert [(timing.implementation, timing.error) for timing in entry.timings] == [("kernel", None)]
            assert [row.note is None for row in bench(made, shapes, QUICK)] == [False, True]
            with overridden(on_miss="tune", records=tmp_path / "none"):
                made(jnp.ones((8, 8)))
    assert set(given) == {False}  # what is compiled for this platform is what counts
    with overridden(interpret=True):
        measure(made, [(made.implementations["elsewhere"], None)], shapes["small"].args, {}, policy=QUICK)
    assert given[-1] is True


def test_a_kernel_of_another_platform_is_measured_interpreted():
    op, x = ops(["feed_forward"])["feed_forward"], jax.ShapeDtypeStruct((16, 16), jnp.float32)
    kernel = op.implementations["pallas_gpu"]
    args, options = (x, x, x, x, None), {"activation": "silu", "epsilon": 1e-5}
    assert kernel.configs is not None
    with overridden(interpret=True):
        trials = [(kernel, kernel.configs.heuristic(*args, **options))]
        entry = measure(op, trials, args, options, gradient=True, policy=QUICK)
    assert [timing.error for timing in entry.timings] == [None]


def test_with_gradient_the_backward_runs_too():
    backward_traced = []

    @jax.custom_vjp
    def doubled(x):
        return 2 * x

    def backward(_, g):
        backward_traced.append(1)
        return (2 * g,)

    doubled.defvjp(lambda x: (2 * x, None), backward)
    op = Op("doubled", key=str, implementations=[Implementation("only", run=doubled)])
    OPS.pop("doubled")
    trials = [(op.implementations["only"], None)]
    measure(op, trials, SHAPES["small"].args, {}, policy=QUICK)
    assert not backward_traced
    measure(op, trials, SHAPES["small"].args, {}, gradient=True, policy=QUICK)
    assert backward_traced


def test_what_an_op_changes_in_place_is_carried_from_run_to_run():
    counted = []

    def run(step, state):
        jax.debug.callback(lambda at: counted.append(int(at)), state["at"], ordered=True)
        return step * 2, {"at": state["at"] + 1, "kept": state["kept"].at[0].set(step)}

    made = Op("stateful", key=lambda *args: "once", in_place={1: 1}, implementations=[Implementation("only", run=run)])
    OPS.pop("stateful")
    kept = jnp.zeros(4, jnp.float32)
    call = (jnp.float32(3), {"at": jnp.int32(0), "kept": kept})
    entry = measure(made, [(made.implementations["only"], None)], call, {}, policy=QUICK)
    assert [timing.error for timing in entry.timings] == [None]
    jax.effects_barrier()
    assert counted == [0, 1, 2, 3, 4]  # a first run, one to see how long it takes, and three that count
    assert not kept.is_deleted()  # the caller's arrays stay


def test_a_step_of_decoding_is_measured_without_a_copy_of_its_cache(monkeypatch):
    compiled = []

    def keeping(*args):
        compiled.extend(compile_all(*args))
        return compiled

    compile_all = search._compile
    monkeypatch.setattr(search, "_compile", keeping)
    number, numbers = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    new, stored = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 2, 16), (2, 1, 2, 8, 16)))
    op, args = ops(["cached_attention"])["cached_attention"], (new, new, new, stored, stored, number, numbers, number)
    trials = [(op.implementations[name], None) for name in ("sliced", "reference")]
    measure(op, trials, args, {"scale": 0.25}, policy=QUICK)
    assert [each.memory_analysis().alias_size_in_bytes for each in compiled] == [2 * 4 * 512] * 2


def test_nothing_to_measure_and_nothing_that_ran_are_errors(op):
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(op, [], SHAPES["small"].args, {})
    with pytest.raises(RuntimeError, match="not three"):
        measure(op, [(op.implementations["loop"], Turns(3))], SHAPES["small"].args, {}, policy=QUICK)


def test_policy_and_sizes_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        SearchPolicy(repeats=0)
    with pytest.raises(ValueError, match="kv_heads must divide heads: 3 does not divide 4"):
        TransformerSize(hidden=8, feed_forward=8, heads=4, kv_heads=3, head_dim=2, positions=8)
    with pytest.raises(ValueError, match="positions must be at least 1, got 0"):
        TransformerSize(hidden=8, feed_forward=8, heads=4, kv_heads=2, head_dim=2, positions=0)
    with pytest.raises(ValueError, match=r"training must be at least one sequence of one token, got \(0, 4\)"):
        TransformerSize(hidden=8, feed_forward=8, heads=4, kv_heads=2, head_dim=2, positions=8, training=(0, 4))


def test_the_packaged_cpu_records_are_current():
    for path in sorted(records.PACKAGED.glob("cpu_*/*.json")):
        op = ops([path.stem])[path.stem]
        sources = {name: implementation.source_hash() for name, implementation in op.implementations.items()}
        stale = [key for key, entry in records.read_record(path).items() if not records.is_current(entry, sources)]
        assert not stale, f"{path.name}: run `orchestai kernels tune --op {path.stem}` again for {stale}"
        assert all(len(timing.seconds) > 1 for entry in records.read_record(path).values() for timing in entry.ranked())
