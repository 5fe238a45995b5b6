"""Decoder-only ternary transformers: the model, its files in Hugging Face's layout, generation."""

from orchestai_jax.language_model.generation import Generated, Generator
from orchestai_jax.language_model.hugging_face_config import Mode
from orchestai_jax.language_model.hugging_face_export import export_hugging_face
from orchestai_jax.language_model.hugging_face_import import import_hugging_face
from orchestai_jax.language_model.model import LanguageModel, Parameters, apply_model, initial_parameters
from orchestai_jax.language_model.sampling import Sampling
from orchestai_jax.language_model.saved import LoadedModel, load_language_model
from orchestai_jax.language_model.serving_model import ServingModel, serving_model
from orchestai_jax.language_model.text_generation import Answer, TextGenerator
from orchestai_jax.language_model.tokenizers import TextTokenizer, load_tokenizer, train_bpe, train_characters

__all__ = [
    "Answer",
    "Generated",
    "Generator",
    "LanguageModel",
    "LoadedModel",
    "Mode",
    "Parameters",
    "Sampling",
    "ServingModel",
    "TextGenerator",
    "TextTokenizer",
    "apply_model",
    "export_hugging_face",
    "import_hugging_face",
    "initial_parameters",
    "load_language_model",
    "load_tokenizer",
    "serving_model",
    "train_bpe",
    "train_characters",
]
