"""The scorer of arguments as a part of a planner's training: fitted before the rest, measured on validation samples."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from orchestai_jax.config import RunConfig
from orchestai_jax.data import PlanningSample, Tokenizer
from orchestai_jax.evaluation import score_arguments
from orchestai_jax.planner.argument_filler import make_filler
from orchestai_jax.planner.arguments.word_vectors import WordVectors
from orchestai_jax.planner.model import ARGUMENTS, Parameters, token_table
from orchestai_jax.training.argument_fitting import NO_ARGUMENTS, fit_arguments, labelled_queries
from orchestai_jax.training.errors import TrainingError
from orchestai_jax.training.monitoring import Monitor
from orchestai_jax.training.training_samples import TrainingSamples


def check_has_arguments(samples: Sequence[PlanningSample]) -> None:
    """Raise TrainingError where no sample has arguments to learn from."""
    if not any(any(given) for s in samples if s.arguments is not None for given in s.arguments):
        raise TrainingError(NO_ARGUMENTS)


def fit_planner_arguments(
    config: RunConfig, samples: TrainingSamples, parameters: Parameters, tokenizer: Tokenizer, monitor: Monitor
) -> Parameters:
    """The scorer's parameters by their names in the planner of `parameters`, fitted on the training samples.

    Raises TrainingError where no training sample has arguments.
    """
    fitting = config.training.arguments
    vectors = WordVectors(np.asarray(token_table(parameters)), tokenizer)
    told = functools.partial(monitor.progress, "reading arguments")
    queries = labelled_queries(samples.train, samples.catalog, vectors, fitting.unmatched_weight, told)
    told = functools.partial(monitor.progress, "fitting arguments")
    fitted = fit_arguments(queries, config.planner.arguments, fitting, config.seed, told)
    monitor.note(f"arguments: a scorer is fitted on {len(queries)} parameters of tasks")
    return {ARGUMENTS + name: value for name, value in fitted.items()}


def argument_metrics(
    config: RunConfig, samples: TrainingSamples, parameters: Parameters, tokenizer: Tokenizer
) -> dict[str, float]:
    """`argument_value_f1` and `argument_reference_f1` of a planner's scorer on validation samples, given their tasks.

    Empty where none of them has arguments.
    """
    known = [s for s in samples.validation if s.arguments is not None]
    if not known:
        return {}
    fill = make_filler(config.planner.arguments, parameters, tokenizer)
    filled = [fill(s.instruction, s.task_types, (), samples.catalog).arguments for s in known]
    scores = score_arguments(known, filled).as_dict()
    return {"argument_value_f1": scores["value_f1"], "argument_reference_f1": scores["reference_f1"]}
