"""OrchestAI-JAX: instructions into workflows, planned by small JAX models and run by the workers that suit them."""

__version__ = "0.1.0"
