"""Run configurations: YAML into frozen models, overrides, environment, secrets and their redaction, logging."""

from typing import TYPE_CHECKING

from orchestai_jax.config.arguments import ArgumentFittingConfig, ArgumentsConfig
from orchestai_jax.config.errors import ConfigError, did_you_mean
from orchestai_jax.config.logging_setup import set_up_logging
from orchestai_jax.config.mesh import MeshConfig
from orchestai_jax.config.monitoring import MonitoringConfig
from orchestai_jax.config.optimization import (
    InferenceScalingConfig,
    KernelOptimizerConfig,
    OptimizationConfig,
    SafetyGatesConfig,
    SemanticCompressionConfig,
    serving_in_force,
)
from orchestai_jax.config.preference import Preference
from orchestai_jax.config.redaction import RedactingFilter, looks_secret, redact, register_secret_names
from orchestai_jax.config.run_config import (
    DataConfig,
    DecodingConfig,
    DecomposerConfig,
    EncoderConfig,
    GraphGeneratorConfig,
    Phase1Config,
    PlannerConfig,
    RetrievalConfig,
    RunConfig,
    SystemConfig,
    TaskTypeGraphConfig,
    TrainingConfig,
    WorkerConfig,
    WorkerSelectorConfig,
)
from orchestai_jax.config.training_options import TrainingOptions
from orchestai_jax.config.variables import expand_variables, load_env_file
from orchestai_jax.lazy_names import lazy_names

if TYPE_CHECKING:
    from orchestai_jax.config.distillation import (
        DistillationConfig,
        DistillationDataConfig,
        DistillationRunConfig,
        DistilledEncoderConfig,
        TextSource,
    )
    from orchestai_jax.config.language_model import (
        BITNET_RULES,
        LanguageModelConfig,
        LanguageRunConfig,
        PretrainingConfig,
        QuantizationRule,
        TextDataConfig,
    )
    from orchestai_jax.config.load import (
        AnyRunConfig,
        config_differences,
        config_json_schema,
        dump_config,
        load_config,
        load_run_config,
        parse_config,
        parse_run_config,
    )
    from orchestai_jax.config.scheduled_training import ScheduledTraining

__all__ = [
    "BITNET_RULES",
    "AnyRunConfig",
    "ArgumentFittingConfig",
    "ArgumentsConfig",
    "ConfigError",
    "DataConfig",
    "DecodingConfig",
    "DecomposerConfig",
    "DistillationConfig",
    "DistillationDataConfig",
    "DistillationRunConfig",
    "DistilledEncoderConfig",
    "EncoderConfig",
    "GraphGeneratorConfig",
    "InferenceScalingConfig",
    "KernelOptimizerConfig",
    "LanguageModelConfig",
    "LanguageRunConfig",
    "MeshConfig",
    "MonitoringConfig",
    "OptimizationConfig",
    "Phase1Config",
    "PlannerConfig",
    "Preference",
    "PretrainingConfig",
    "QuantizationRule",
    "RedactingFilter",
    "RetrievalConfig",
    "RunConfig",
    "SafetyGatesConfig",
    "ScheduledTraining",
    "SemanticCompressionConfig",
    "SystemConfig",
    "TaskTypeGraphConfig",
    "TextDataConfig",
    "TextSource",
    "TrainingConfig",
    "TrainingOptions",
    "WorkerConfig",
    "WorkerSelectorConfig",
    "config_differences",
    "config_json_schema",
    "did_you_mean",
    "dump_config",
    "expand_variables",
    "load_config",
    "load_env_file",
    "load_run_config",
    "looks_secret",
    "parse_config",
    "parse_run_config",
    "redact",
    "register_secret_names",
    "serving_in_force",
    "set_up_logging",
]

_LAZY = {
    "distillation": (
        "DistillationConfig",
        "DistillationDataConfig",
        "DistillationRunConfig",
        "DistilledEncoderConfig",
        "TextSource",
    ),
    "language_model": (
        "BITNET_RULES",
        "LanguageModelConfig",
        "LanguageRunConfig",
        "PretrainingConfig",
        "QuantizationRule",
        "TextDataConfig",
    ),
    "load": (
        "AnyRunConfig",
        "config_differences",
        "config_json_schema",
        "dump_config",
        "load_config",
        "load_run_config",
        "parse_config",
        "parse_run_config",
    ),
    "scheduled_training": ("ScheduledTraining",),
}
"""What a plan does without."""

__getattr__ = lazy_names(__name__, _LAZY)
