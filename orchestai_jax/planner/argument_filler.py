"""What fills a planner's arguments: the rules, or the scorer that was fitted with it."""

from __future__ import annotations

import numpy as np

from orchestai_jax.config import ArgumentsConfig
from orchestai_jax.data import Tokenizer
from orchestai_jax.planner.arguments import FillsArguments, fill_arguments
from orchestai_jax.planner.model import ARGUMENTS, Parameters, token_table


def make_filler(config: ArgumentsConfig, parameters: Parameters, tokenizer: Tokenizer) -> FillsArguments:
    """The filler that a configuration says, of a planner's parameters."""
    if config.method == "rules":
        return fill_arguments
    from orchestai_jax.planner.arguments.learned import LearnedFiller  # the rules do without
    from orchestai_jax.planner.arguments.word_vectors import WordVectors

    scorer = {name.removeprefix(ARGUMENTS): x for name, x in parameters.items() if name.startswith(ARGUMENTS)}
    return LearnedFiller(config, scorer, WordVectors(np.asarray(token_table(parameters)), tokenizer))
