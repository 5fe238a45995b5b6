"""Planning samples: readers, splits, synthesis, augmentation, tokenizers and batching."""

from orchestai_jax.data.batching import EpochBatches, bucket_length, epoch_batches
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.hash_split import split_by_hash
from orchestai_jax.data.readers import FORMATS, load_samples, sample_to_json, save_samples
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.data.tokenizer import Tokenizer, clean_text, load_tokenizer, train_tokenizer

__all__ = [
    "FORMATS",
    "DataError",
    "EpochBatches",
    "PlanningSample",
    "Tokenizer",
    "bucket_length",
    "clean_text",
    "epoch_batches",
    "load_samples",
    "load_tokenizer",
    "sample_to_json",
    "save_samples",
    "split_by_hash",
    "train_tokenizer",
]
