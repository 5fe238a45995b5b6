import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orchestai_jax.checkpoint import CheckpointError, CheckpointStore, open_checkpoint, sealed_path
from orchestai_jax.checkpoint import store as store_file


def make_state(scale=1.0, width=4):
    trainable = {"layers": {0: {"w": jnp.full((3, width), float(scale))}, 1: {"w": jnp.full(5, scale, jnp.bfloat16)}}}
    return {
        "params": {"trainable": trainable, "frozen": {"e": jnp.arange(6, dtype=jnp.int8)}},
        "opt_state": optax.adamw(1e-3).init(trainable),
        "key": jax.random.split(jax.random.key(3), 2),
        "step": jnp.int32(scale),
        "list": [np.float64([1 / 3]), jnp.zeros((0, 2))],
    }


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def save(store, step, state=None, score=None, **assets):
    store.save(
        step,
        state if state is not None else make_state(step),
        data_state={"position": step, "third": 1 / 3},
        metadata={"model": {"width": 4}},
        metrics={} if score is None else {"score": score, "loss": -score},
        assets={"tokenizer.json": "{}", **assets},
    )


@pytest.fixture
def workdir(tmp_path):
    """Holds one checkpoint of step 7."""
    with CheckpointStore(tmp_path / "checkpoints", best_metric="score") as store:
        save(store, 7, score=0.5, **{"catalog.yaml": "name: übung\n"})
    return tmp_path


def test_everything_comes_back(workdir):
    with CheckpointStore(workdir / "checkpoints", best_metric="score") as store:
        restored = store.restore(7, make_state(0))
        assert (store.latest_step(), store.best_step()) == (7, 7)
    same(restored.state, make_state(7))
    assert restored.data_state == {"position": 7, "third": 1 / 3}
    assert restored.metadata == {"model": {"width": 4}}
    assert restored.metrics == {"score": 0.5, "loss": -0.5}
    assert restored.assets == {"tokenizer.json": "{}", "catalog.yaml": "name: übung\n"}


def test_reader_knows_the_shapes_and_reads_the_parameters_alone(workdir):
    # The optimizer's moments live in one process file of orbax; what proves that they are not read is that the reader
    # gives exactly the parameters.
    reader = open_checkpoint(workdir)
    abstract = reader.abstract_state()
    expected = make_state(7)["params"]
    assert jax.tree.structure(abstract) == jax.tree.structure(expected)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), abstract) == jax.tree.map(lambda a: (a.shape, a.dtype), expected)
    same(reader.restore(), expected)
    same(reader.restore(abstract["trainable"], subtree="params/trainable"), expected["trainable"])
    assert reader.abstract_state("list")[0].shape == (1,)
    assert reader.abstract_state("step").shape == ()
    same(reader.restore(subtree="key"), make_state(7)["key"])
    with pytest.raises(CheckpointError, match="holds no nothing"):
        reader.abstract_state("nothing")


def test_a_moved_checkpoint_is_read(workdir, tmp_path):
    shutil.move(workdir / "checkpoints" / "7", tmp_path / "elsewhere")
    same(open_checkpoint(tmp_path / "elsewhere").restore(), make_state(7)["params"])


def test_a_relative_path_will_do(workdir, monkeypatch):
    monkeypatch.chdir(workdir.parent)
    same(open_checkpoint(workdir.name).restore(), make_state(7)["params"])


def test_state_may_change_while_it_is_saved(tmp_path):
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    host = np.zeros(2_000_000)
    with CheckpointStore(tmp_path / "c", keep_last=5) as store:
        x = jnp.zeros((1000, 100))
        for number in range(4):
            save(store, number, {"params": {"x": x, "host": host}})
            host += 1
            for _ in range(10):
                x = step(x)
        store.wait()
        for number in range(4):
            params = open_checkpoint(tmp_path / "c", number).restore()
            assert (np.asarray(params["x"]) == 10 * number).all()
            assert (np.asarray(params["host"]) == number).all()


@pytest.mark.parametrize(
    ("mode", "scores", "kept", "best", "options"),
    [
        ("max", [0.1, 0.9, 0.2, 0.9, 0.3], [2, 4, 5], 2, {}),
        ("min", [0.1, 0.9, 0.2, 0.3], [1, 3, 4], 1, {"asynchronous": False}),
        ("max", [None, 0.2, None, float("nan")], [2, 3, 4], 2, {}),
        ("max", [None, None, None], [2, 3], None, {}),
        ("max", [0.1, 0.2, 0.3], [2, 3], 3, {}),
        ("max", [0.8, 0.1, 0.9, 0.3, 0.2, 0.1], [1, 3, 5, 6], 3, {"keep_best": 2}),
        ("max", [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 3, 6, 7], 1, {"keep_every": 3}),
    ],
)
def test_newest_and_best_are_kept(tmp_path, mode, scores, kept, best, options):
    with CheckpointStore(tmp_path, keep_last=2, best_metric="score", best_mode=mode, **options) as store:
        for step, score in enumerate(scores, start=1):
            save(store, step, {"params": {"x": jnp.float32(step)}}, score)
            store.wait()
            assert store.latest_step() == step
        assert (store.steps(), store.best_step()) == (kept, best)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, kept))
    reader = open_checkpoint(tmp_path)
    assert reader.step == (best if best is not None else kept[-1])
    assert float(reader.restore()["x"]) == reader.step
    assert open_checkpoint(tmp_path, "latest").step == kept[-1]
    assert open_checkpoint(tmp_path, kept[0]).step == kept[0]
    with pytest.raises(CheckpointError, match="no checkpoint of step 99"):
        open_checkpoint(tmp_path, 99)


def test_best_is_kept_across_a_resumption(tmp_path):
    small = {"params": {"x": jnp.zeros(2)}}
    with CheckpointStore(tmp_path, keep_last=1, best_metric="score") as store:
        save(store, 1, small, 0.9)
    with CheckpointStore(tmp_path, keep_last=1, best_metric="score") as store:
        save(store, 2, small, 0.1)
        save(store, 3, small, 0.2)
        store.wait()
        assert (store.steps(), store.best_step()) == ([1, 3], 1)


def files_of(checkpoint):
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


def test_any_damaged_file_is_named(workdir):
    checkpoint = workdir / "checkpoints" / "7"
    files = files_of(checkpoint)
    assert len(files) > 8
    assert not list(checkpoint.rglob("commit_success.txt"))
    for path in files:
        before = path.read_bytes()
        for damaged in (before[:-1], bytes([before[0] ^ 1]) + before[1:]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError) as caught:
                open_checkpoint(checkpoint)
            assert str(path) in str(caught.value)
            assert "damaged" in str(caught.value)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"missing|it is not complete"):
            open_checkpoint(checkpoint)
        path.write_bytes(before)
    same(open_checkpoint(checkpoint).restore(), make_state(7)["params"])


def test_damage_is_found_when_resuming_too(workdir):
    manifest_file = workdir / "checkpoints" / "7" / "manifest.json"
    text = manifest_file.read_text()
    for damaged in (text.replace('"format_version": 2', '"format_version": 1'), text.replace("+00:00", "+01:00")):
        assert damaged != text
        manifest_file.write_text(damaged)
        with pytest.raises(CheckpointError, match=r"manifest\.json: its own checksum differs"):
            open_checkpoint(workdir)
    manifest_file.write_text(text)
    path = next(p for p in files_of(workdir / "checkpoints" / "7") if p.stat().st_size > 200 and "state" in str(p))
    path.write_bytes(path.read_bytes()[:-5] + b"12345")
    with CheckpointStore(workdir / "checkpoints") as store, pytest.raises(CheckpointError, match=path.name):
        store.restore(7, make_state(0))


def test_damage_where_orbax_looks_first_is_named(tmp_path):
    """Its manager reads the metrics of every checkpoint as it is opened."""
    with CheckpointStore(tmp_path / "c", best_metric="score") as store:
        save(store, 1, {"params": {"x": jnp.zeros(2)}}, 0.9)
        save(store, 2, {"params": {"x": jnp.zeros(2)}}, 0.1)
    broken = tmp_path / "c" / "1" / "metrics" / "metrics"
    broken.write_bytes(b"\xff" + broken.read_bytes()[1:])
    with CheckpointStore(tmp_path / "c", best_metric="score") as store:
        assert store.newest()[0].step == 2  # the newest one is whole
        save(store, 3, {"params": {"x": jnp.zeros(2)}}, 0.2)
        with pytest.raises(CheckpointError, match=r"1/metrics/metrics: its checksum differs"):
            store.wait()
        reader, faults = store.newest(good=True)
        assert reader.step == 2
        assert "1/metrics/metrics" in str(faults[0])
        save(store, 3, {"params": {"x": jnp.zeros(2)}}, 0.2)
    assert open_checkpoint(tmp_path / "c").step == 3


def test_the_first_differing_leaf_is_named(workdir):
    reader = open_checkpoint(workdir)
    wider = make_state(0, width=5)
    with pytest.raises(CheckpointError) as caught:
        reader.restore(wider, subtree=None)
    message = str(caught.value)
    assert "layers/0/w" in message
    assert "float32[3,4]" in message
    assert "float32[3,5]" in message
    other_dtype = jax.tree.map(lambda x: x.astype(jnp.float32), make_state(0)["params"]["trainable"])
    with pytest.raises(CheckpointError, match=r"layers/1/w is saved as bfloat16\[5\]"):
        reader.restore(other_dtype, subtree="params/trainable")
    more = make_state(0)["params"] | {"extra": jnp.zeros(2)}
    with pytest.raises(CheckpointError, match="has no params/extra"):
        reader.restore(more)
    with pytest.raises(CheckpointError, match="params/frozen/e"):
        reader.restore({"trainable": make_state(0)["params"]["trainable"]})


def rewrite(checkpoint, **changes):
    path = checkpoint / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 99}, ["99", "this release reads 1 to 2", "upgrade"]),
        ({"format_version": 0}, ["format version 0", "train again"]),
        ({"format_version": None}, ["format version None"]),
        ({"format": "other"}, ["not a manifest of orchestai-checkpoint"]),
        ({"files": None}, ["damaged"]),
    ],
)
def test_other_versions_are_refused(workdir, changes, words):
    rewrite(workdir / "checkpoints" / "7", **changes)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(workdir)
    for word in words:
        assert word in str(caught.value)


def test_manifest_says_what_wrote_it(workdir):
    found = json.loads((workdir / "checkpoints" / "7" / "manifest.json").read_text())
    assert found["format_version"] == 2
    assert found["step"] == 7
    assert found["libraries"]["jax"] == jax.__version__
    assert set(found["libraries"]) >= {"orchestai-jax", "flax", "orbax-checkpoint"}
    assert found["created"].endswith("+00:00")
    assert {"assets/tokenizer.json", "record/leaves.json"} <= found["files"].keys()


def test_folders_that_are_no_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder; give a work folder"):
        open_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no checkpoint of orchestai"):
        open_checkpoint(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="a file"):
        open_checkpoint(tmp_path / "file")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no complete checkpoint yet"):
        open_checkpoint(tmp_path)
    (tmp_path / "7" / "state").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="not complete"):
        open_checkpoint(tmp_path / "7")
    (tmp_path / "7" / "manifest.json").write_text('{"format": ')
    with pytest.raises(CheckpointError, match="damaged"):
        open_checkpoint(tmp_path / "7")


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_failed_save_is_raised_and_leaves_nothing(tmp_path, monkeypatch, asynchronous):
    def full(folder, step):
        raise OSError(28, "No space left on device")

    small = {"params": {"x": jnp.zeros(2)}}
    store = CheckpointStore(tmp_path / "c", best_metric="score", asynchronous=asynchronous)
    save(store, 1, small, 0.5)
    store.wait()
    monkeypatch.setattr(sealed_path, "seal", full)

    def save_twice():  # an asynchronous save fails at the next one, a synchronous one at once
        save(store, 2, small, 0.6)
        save(store, 3, small, 0.7)

    with pytest.raises(CheckpointError, match="No space left on device"):
        save_twice()
    assert store.latest_step() == 1
    assert open_checkpoint(tmp_path / "c").step == 1
    monkeypatch.undo()
    save(store, 3, small, 0.7)
    store.close()
    assert open_checkpoint(tmp_path / "c").step == 3


def test_a_failed_save_is_raised_by_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed_path, "seal", lambda folder, step: 1 / 0)
    store = CheckpointStore(tmp_path / "c")
    save(store, 1, {"params": {"x": jnp.zeros(2)}})
    with pytest.raises(CheckpointError, match="division by zero"):
        store.wait()
    store.close()


def test_remains_of_a_killed_process_are_cleared_and_never_read(tmp_path):
    folder = tmp_path / "c"
    with CheckpointStore(folder) as store:
        save(store, 1, {"params": {"x": jnp.zeros(2)}})
    unfinished = folder / "2.orbax-checkpoint-tmp"
    shutil.copytree(folder / "1", unfinished)
    shutil.copytree(folder / "1", folder / store_file._DISCARDED / "0")
    assert open_checkpoint(folder, "latest").step == 1
    with CheckpointStore(folder) as store:
        assert store.steps() == [1]
    assert [path.name for path in folder.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"metadata": {"x": object()}}, "metadata is not JSON"),
        ({"data_state": {"x": {1}}}, "data_state is not JSON"),
        ({"assets": {"../x": "y"}}, "'../x'"),
        ({"assets": {"x": b"y"}}, "bytes"),
        ({"state": {"params": "words"}}, "params is a str"),
        ({"state": {"a": {"0": {"1": jnp.zeros(1)}, "0/1": jnp.zeros(1)}}}, "two leaves named a/0/1"),
        ({"state": {"params": {}}}, "no arrays"),
        ({"step": 1}, "saved already"),
    ],
)
def test_what_cannot_be_saved(tmp_path, change, word):
    with CheckpointStore(tmp_path / "c") as store:
        save(store, 1, {"params": {"x": jnp.zeros(2)}})
        arguments = {
            "step": 2,
            "state": {"params": {"x": jnp.zeros(2)}},
            "data_state": {},
            "metadata": {},
            "metrics": {},
            "assets": {},
            **change,
        }
        with pytest.raises(CheckpointError) as caught:
            store.save(**arguments)
        assert word in str(caught.value)
        assert store.steps() == [1]


def test_wrong_settings(tmp_path):
    with pytest.raises(CheckpointError, match="keep_last is 0"):
        CheckpointStore(tmp_path, keep_last=0)
    for name in ("keep_best", "keep_every"):
        with pytest.raises(CheckpointError, match=f"{name} is 0"):
            CheckpointStore(tmp_path, **{name: 0})
    with pytest.raises(CheckpointError, match="best_mode"):
        CheckpointStore(tmp_path, best_mode="most")  # type: ignore[arg-type]
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be made"):
        CheckpointStore(pathlib.Path(tmp_path / "file" / "c"))
