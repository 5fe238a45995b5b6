"""Planning samples: readers, splits, synthesis, augmentation, tokenizers and batching."""

from typing import TYPE_CHECKING

from orchestai_jax.data.batching import EpochBatches, bucket_length, epoch_batches
from orchestai_jax.data.data_error import DataError
from orchestai_jax.data.hash_split import split_by_hash
from orchestai_jax.data.learnable_runs import learnable_runs
from orchestai_jax.data.readers import FORMATS, load_samples, sample_to_json, save_samples
from orchestai_jax.data.sample import PlanningSample
from orchestai_jax.data.sample_summary import SampleSummary, summarize
from orchestai_jax.data.tokenizer import Tokenizer, clean_text, load_tokenizer, train_tokenizer
from orchestai_jax.lazy_names import lazy_names

if TYPE_CHECKING:
    from orchestai_jax.data.augmentation import AugmentationConfig, augment, augmented_samples, join_samples
    from orchestai_jax.data.instructions_on_files import instructions_on_files
    from orchestai_jax.data.synthesis import ShapeWeights, SynthesisConfig, synthesize
    from orchestai_jax.data.templates import Templates, check_templates, load_templates, parse_templates

__all__ = [
    "FORMATS",
    "AugmentationConfig",
    "DataError",
    "EpochBatches",
    "PlanningSample",
    "SampleSummary",
    "ShapeWeights",
    "SynthesisConfig",
    "Templates",
    "Tokenizer",
    "augment",
    "augmented_samples",
    "bucket_length",
    "check_templates",
    "clean_text",
    "epoch_batches",
    "instructions_on_files",
    "join_samples",
    "learnable_runs",
    "load_samples",
    "load_templates",
    "load_tokenizer",
    "parse_templates",
    "sample_to_json",
    "save_samples",
    "split_by_hash",
    "summarize",
    "synthesize",
    "train_tokenizer",
]

_LAZY = {
    "augmentation": (
        "AugmentationConfig",
        "augment",
        "augmented_samples",
        "join_samples",
    ),
    "instructions_on_files": ("instructions_on_files",),
    "synthesis": (
        "ShapeWeights",
        "SynthesisConfig",
        "synthesize",
    ),
    "templates": (
        "Templates",
        "check_templates",
        "load_templates",
        "parse_templates",
    ),
}
"""Making up samples takes templates and grammars that planning does without."""

__getattr__ = lazy_names(__name__, _LAZY)
