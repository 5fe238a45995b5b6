"""The sample files: the same from the same seed, of the types they say, small."""

import csv
import hashlib

import numpy as np
import soundfile
from PIL import Image

from orchestai_jax.quickstart import SAMPLE_TYPES
from orchestai_jax.quickstart import sample_files as module


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_the_types_are_those_of_the_files(samples):
    for name, kind in SAMPLE_TYPES.items():
        path = samples / name
        match kind:
            case "image":
                with Image.open(path) as image:
                    assert min(image.size) >= 400
            case "audio":
                assert soundfile.info(str(path)).duration >= 3
            case "table":
                assert path.suffix in {".csv", ".tsv", ".jsonl"}
            case "text":
                assert path.read_text(encoding="utf-8").strip()
    assert sum((samples / name).stat().st_size for name in SAMPLE_TYPES) < 12_000_000


def test_equal_seeds_give_equal_files_and_others_do_not(samples, tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        module._write_tables(tmp_path / str(seed), seed)
        module._write_recordings(tmp_path / str(seed), seed)
    first, other, session = digests(tmp_path / "0"), digests(tmp_path / "1"), digests(samples)
    assert len(first) == 9
    assert all(session[name] == value for name, value in first.items())
    changed = {name for name in first if first[name] != other[name]}
    assert changed == set(first) - {"music.wav"}, "the music is written out, not drawn"
    pictures = [module._flowers(90, 120, np.random.default_rng([seed, 3])) for seed in (0, 0, 1)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_the_tables_share_a_key_and_have_the_faults_of_real_ones(samples):
    with (samples / "sales.csv").open(encoding="utf-8") as file:
        sales = list(csv.DictReader(file))
    with (samples / "customers.csv").open(encoding="utf-8") as file:
        customers = {row["customer_id"] for row in csv.DictReader(file)}
    assert {row["customer_id"] for row in sales} <= customers
    assert len(sales) - len({tuple(row.values()) for row in sales}) == 3
    assert sum(row["region"] == "" for row in sales) == 1


def test_noisy_files_are_the_clean_ones_with_noise(samples):
    for name in ("photo", "flowers"):
        clean, noisy = (
            np.asarray(Image.open(samples / f"{name}{suffix}.png"), dtype=float) for suffix in ("", "_noisy")
        )
        assert 10 < np.sqrt(((noisy - clean) ** 2).mean()) < 50
    clean, noisy = (soundfile.read(samples / f"voice{suffix}.wav")[0] for suffix in ("", "_noisy"))
    assert 0.02 < np.sqrt(((noisy - clean) ** 2).mean()) < 0.04
