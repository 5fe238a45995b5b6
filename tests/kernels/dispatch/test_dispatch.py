import dataclasses
import json
import logging

import jax
import jax.numpy as jnp
import pytest
from orchestai_kernels import records
from orchestai_kernels.dispatch import (
    OPS,
    Choice,
    ConfigSpace,
    Implementation,
    KernelMissingError,
    KernelSettings,
    MissingRecordError,
    Op,
    bucket,
    configure,
    current_settings,
    overridden,
)


@dataclasses.dataclass(frozen=True)
class Tiles:
    rows: int = 8


def _missing():
    raise KernelMissingError("no compiler when it was installed")


def _short_only(x):
    if x.shape[0] > 4:
        raise NotImplementedError(f"takes up to 4, got {x.shape[0]}")


def _late(x, *, config):
    if x.shape[0] == 3:
        raise NotImplementedError("3 is found out while tracing")
    return 2 * x + 0 * config.rows


def _broken(x):
    raise TypeError("a fault, not a limit")


@pytest.fixture
def op(tmp_path):
    source = tmp_path / "kernel.py"
    source.write_text("one = 1\n")
    made = Op(
        "doubling",
        key=lambda x: f"n{bucket(x.shape[0])}",
        implementations=[
            Implementation("gpu_only", run=_late, platforms=("gpu",), sources=(source,)),
            Implementation("unbuilt", run=_late, available=_missing, sources=(source,)),
            Implementation(
                "short",
                run=_late,
                accepts=_short_only,
                sources=(source,),
                configs=ConfigSpace(Tiles, heuristic=lambda x: Tiles(4), candidates=lambda x: (Tiles(4), Tiles(8))),
            ),
            Implementation("reference", run=lambda x: 2 * x, sources=(source,)),
        ],
    )
    made.source = source  # pyright: ignore[reportAttributeAccessIssue]
    with overridden(records=tmp_path / "measured"):
        yield made
    OPS.pop("doubling")


def write_entry(op, folder, timings, *, key="n4", jax_version=jax.__version__, sources=None):
    entry = records.Entry(
        key=key,
        example="",
        jax_version=jax_version,
        processor="",
        measured="2026-01-01",
        sources=sources or {t.implementation: op.implementations[t.implementation].source_hash() for t in timings},
        timings=tuple(timings),
    )
    records.write_record(records.record_path(folder, records.device_name(), op.name), op.name, "here", {key: entry})


def test_the_heuristic_takes_the_first_that_can_and_says_why_not_the_others(op):
    choice = op.choose(jnp.ones(4))
    assert choice == Choice("short", Tiles(4), "heuristic", choice.rejected)
    assert choice.rejected == {"gpu_only": "runs on gpu, not on cpu", "unbuilt": "no compiler when it was installed"}
    assert op.choose(jnp.ones(5)).implementation == "reference"
    assert op.choose(jnp.ones(5)).rejected["short"] == "takes up to 4, got 5"


def test_what_only_tracing_finds_out_is_passed_over_and_other_exceptions_are_not(op):
    assert jnp.array_equal(op(jnp.ones(3)), jnp.full(3, 2.0))
    with pytest.raises(NotImplementedError, match="found out"):
        op(jnp.ones(3), implementation="short")
    broken = Op(
        "broken",
        key=lambda x: "",
        implementations=[Implementation("a", run=_broken), Implementation("b", run=lambda x: x)],
    )
    with pytest.raises(TypeError, match="a fault"):
        broken(jnp.ones(3))
    OPS.pop("broken")


def test_the_choice_is_logged_once_and_a_missing_build_warns(op, caplog):
    with caplog.at_level(logging.INFO, logger="orchestai_kernels.dispatch"):
        for _ in range(3):
            op(jnp.ones(4))
    assert [(r.levelname, "unbuilt" in r.message) for r in caplog.records] == [("WARNING", True), ("INFO", True)]
    assert "doubling on cpu: `short` (heuristic); not `gpu_only`: runs on gpu" in caplog.records[1].message


def test_named_is_taken_or_refused(op):
    assert op.choose(jnp.ones(4), implementation="reference").why == "named"
    assert op.choose(jnp.ones(4), implementation="short", config=Tiles(16)).config == Tiles(16)
    with pytest.raises(ValueError, match="one of gpu_only, unbuilt, short, reference, not 'other'"):
        op(jnp.ones(4), implementation="other")
    with pytest.raises(NotImplementedError, match="`gpu_only`: runs on gpu, not on cpu"):
        op(jnp.ones(4), implementation="gpu_only")
    with pytest.raises(ValueError, match="takes Tiles, not 'wide'"):
        op(jnp.ones(4), implementation="short", config="wide")
    with pytest.raises(ValueError, match="takes no config"):
        op(jnp.ones(4), implementation="reference", config=Tiles())
    with pytest.raises(ValueError, match="name it beside the config"):
        op(jnp.ones(4), config=Tiles())


def test_a_current_record_wins_over_the_heuristic(op, tmp_path):
    timings = [records.Timing("reference", None, (1.0,)), records.Timing("short", {"rows": 8}, (3.0, 0.5, 0.4))]
    write_entry(op, tmp_path / "measured", timings)
    assert op.choose(jnp.ones(3)) == Choice("short", Tiles(8), "tuned", op.choose(jnp.ones(3)).rejected)
    assert op.choose(jnp.ones(2)).why == "heuristic"  # another bucket
    write_entry(op, tmp_path / "measured", [records.Timing("reference", None, (0.1,)), *timings[1:]])
    assert op.choose(jnp.ones(3)).implementation == "reference"
    with overridden(platform="gpu"):  # what was measured here says nothing about a platform that is not
        assert op.choose(jnp.ones(3)).why == "heuristic"


def test_a_record_of_other_source_is_not_used(op, tmp_path, caplog):
    write_entry(op, tmp_path / "measured", [records.Timing("reference", None, (1.0,))])
    assert op.choose(jnp.ones(3)).why == "tuned"
    op.source.write_text("one = 2\n")
    with caplog.at_level(logging.WARNING, logger="orchestai_kernels.dispatch"):
        assert [op.choose(jnp.ones(3)).why for _ in range(2)] == ["heuristic"] * 2
    told = [record.getMessage() for record in caplog.records if "is of other kernel source; not used" in record.message]
    assert told == [
        "doubling: the record of `n4` is of other kernel source; not used until `orchestai kernels tune --op doubling`"
    ]


def test_a_record_of_another_jax_is_used_with_one_warning(op, tmp_path, caplog):
    write_entry(op, tmp_path / "measured", [records.Timing("reference", None, (1.0,))], jax_version="0.1.0")
    assert [op.choose(jnp.ones(n)).why for n in (3, 4)] == ["tuned", "tuned"]
    assert sum("was measured with jax 0.1.0" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("on_miss", ["heuristic", "error", "tune"])
def test_the_policy_on_a_miss(op, on_miss):
    with overridden(on_miss=on_miss):
        if on_miss == "error":
            with pytest.raises(MissingRecordError, match=r"no usable record of `n4` .* kernels tune --op doubling"):
                op(jnp.ones(4))
            return
        result = jax.jit(op)(jnp.ones(4))  # tuning must work in the middle of a trace
        assert jnp.array_equal(result, jnp.full(4, 2.0))
        assert op.choose(jnp.ones(4)).why == {"heuristic": "heuristic", "tune": "tuned"}[on_miss]


def test_with_one_that_can_there_is_nothing_to_look_up(op):
    with overridden(on_miss="error"):
        assert op.choose(jnp.ones(9)).why == "only one"


def test_a_file_that_is_no_record_is_named(op, tmp_path):
    path = records.record_path(tmp_path / "measured", records.device_name(), op.name)
    path.parent.mkdir(parents=True)
    for content in ("{", json.dumps({"entries": [{"key": "n4"}]}), json.dumps([])):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"doubling\.json"):
            op.choose(jnp.ones(4))


def test_settings_are_checked_and_restored():
    with pytest.raises(ValueError, match="on_miss is heuristic, tune or error, not 'guess'"):
        KernelSettings(on_miss="guess")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="platform is one of"):
        KernelSettings(platform="fpga")  # pyright: ignore[reportArgumentType]
    before = current_settings()
    with overridden(on_miss="error", interpret=True):
        assert current_settings() == dataclasses.replace(before, on_miss="error", interpret=True)
    assert current_settings() == before
    try:
        assert configure(on_miss="error") == current_settings()
    finally:
        configure(on_miss=before.on_miss)


def test_names_differ():
    with pytest.raises(ValueError, match="must differ"):
        Op("twice", key=str, implementations=[Implementation("a", run=abs), Implementation("a", run=abs)])


def test_buckets():
    assert [bucket(n) for n in (0, 1, 2, 3, 4, 5, 1000)] == [0, 1, 2, 4, 4, 8, 1024]
