"""Figures of the embedded catalog's workers that no machine has to measure."""

import pytest

from orchestai_jax.quickstart import WorkerFigures, WorkerOutcomes, load_embedded_catalog


@pytest.fixture(scope="session")
def catalog():
    return load_embedded_catalog()


@pytest.fixture(scope="session")
def outcomes(catalog):
    """Of each type's workers the later ones are better, slower and dearer."""
    figures = []
    for task_type in catalog.task_types:
        for place, worker in enumerate(catalog.workers_for(task_type.id)):
            figures.append(
                WorkerFigures(
                    task_type=task_type.id,
                    worker=worker.id,
                    quality=(0.5, 0.82, 0.95)[place],
                    seconds=(0.01, 0.03, 0.2)[place],
                    cost=(1e-7, 3e-7, 2e-6)[place],
                    success_rate=1.0,
                    tasks=2,
                    measured=True,
                )
            )
    return WorkerOutcomes(tuple(figures))
