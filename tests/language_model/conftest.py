import jax.numpy as jnp
import numpy as np
import pytest

from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model import initial_parameters

SMALL = LanguageModelConfig(
    vocab_size=17,
    hidden_size=16,
    intermediate_size=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    max_positions=48,
    initializer_range=0.3,
)


@pytest.fixture(scope="session")
def small():
    """(configuration, parameters) of a ternary model whose answers vary."""
    return SMALL, initial_parameters(SMALL, 3)


@pytest.fixture(scope="session")
def tokens():
    return jnp.asarray(np.random.default_rng(0).integers(0, 17, (2, 11)), jnp.int32)
