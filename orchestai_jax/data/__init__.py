"""Planning samples: readers, splits, synthesis, augmentation, tokenizers and batching."""

from orchestai_jax.data.batching import EpochBatches, bucket_length, epoch_batches
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.hash_split import split_by_hash
from orchestai_jax.data.readers import FORMATS, load_samples, sample_to_json, save_samples
from orchestai_jax.data.sample import PlanningSample

__all__ = [
    "FORMATS",
    "DataError",
    "EpochBatches",
    "PlanningSample",
    "bucket_length",
    "epoch_batches",
    "load_samples",
    "sample_to_json",
    "save_samples",
    "split_by_hash",
]
