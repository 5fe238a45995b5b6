"""Arrays read without orbax are those that orbax reads."""

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.checkpoint import CheckpointStore, open_checkpoint
from orchestai_jax.checkpoint.reader import CheckpointReader
from orchestai_jax.checkpoint.stored_arrays import is_readable


def _state():
    draw = np.random.default_rng(0)
    return {
        "params": {
            "dotted.name": jnp.asarray(draw.normal(size=(3, 5)), jnp.float32),
            "half": jnp.asarray(draw.normal(size=4), jnp.bfloat16),
            "codes": np.arange(6, dtype=np.int8).reshape(2, 3),
            "none": np.zeros((0, 2), np.float32),
            "number": jnp.float32(2.5),
            "all zero": np.zeros((2, 2), np.float32),
        },
        "layers": [{"a b/c": jnp.ones(2)}, jnp.arange(3)],
        "key": jax.random.key(1),
    }


def test_they_are_what_orbax_reads(tmp_path, monkeypatch):
    with CheckpointStore(tmp_path / "checkpoints") as store:
        store.save(1, _state(), data_state={}, metadata={}, metrics={}, assets={})
    reader = open_checkpoint(tmp_path)
    assert is_readable(reader.folder / "state")
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointReader, "_read_by_orbax", None)  # would raise if it were asked
        found = reader.restore(subtree=None)
    monkeypatch.setattr("orchestai_jax.checkpoint.reader.is_readable", lambda state: False)
    wanted = reader.restore(subtree=None)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == two.dtype
        assert type(one) is type(two)
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        np.testing.assert_array_equal(one, two)


def test_what_is_no_state_is_left_to_orbax(tmp_path):
    assert not is_readable(tmp_path)
    (tmp_path / "_METADATA").write_text('{"use_ocdbt": true, "use_zarr3": true}')
    assert not is_readable(tmp_path)
