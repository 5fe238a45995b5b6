"""Decoder-only ternary transformers: the model, its files in Hugging Face's layout, generation."""

from orchestai_jax.language_model.hugging_face_config import Mode
from orchestai_jax.language_model.hugging_face_export import export_hugging_face
from orchestai_jax.language_model.hugging_face_import import import_hugging_face
from orchestai_jax.language_model.model import LanguageModel, Parameters, apply_model, initial_parameters

__all__ = [
    "LanguageModel",
    "Mode",
    "Parameters",
    "apply_model",
    "export_hugging_face",
    "import_hugging_face",
    "initial_parameters",
]
