"""The embedded default: a catalog of local tools, sample files for them, and the demonstration."""

from orchestai_jax.quickstart.catalog import load_embedded_catalog
from orchestai_jax.quickstart.demonstration import QuickstartResult, QuickstartSettings, run_quickstart
from orchestai_jax.quickstart.report import render_report, write_report
from orchestai_jax.quickstart.requests import REQUEST_SETS, RequestsError, load_requests, parse_requests
from orchestai_jax.quickstart.sample_files import SAMPLE_TYPES, write_sample_files
from orchestai_jax.quickstart.training_data import QuickstartData, make_training_data
from orchestai_jax.quickstart.wording import Wording, WordingError, check_wording, load_wording
from orchestai_jax.quickstart.worker_choice import ChoiceReport, ChoiceScore, score_worker_choice
from orchestai_jax.quickstart.worker_outcomes import (
    OutcomesError,
    WorkerFigures,
    WorkerOutcomes,
    best_worker,
    cheapest_worker,
    highest_quality_worker,
    measure_workers,
    utilities,
    with_measured_figures,
)

__all__ = [
    "REQUEST_SETS",
    "SAMPLE_TYPES",
    "ChoiceReport",
    "ChoiceScore",
    "OutcomesError",
    "QuickstartData",
    "QuickstartResult",
    "QuickstartSettings",
    "RequestsError",
    "Wording",
    "WordingError",
    "WorkerFigures",
    "WorkerOutcomes",
    "best_worker",
    "cheapest_worker",
    "check_wording",
    "highest_quality_worker",
    "load_embedded_catalog",
    "load_requests",
    "load_wording",
    "make_training_data",
    "measure_workers",
    "parse_requests",
    "render_report",
    "run_quickstart",
    "score_worker_choice",
    "utilities",
    "with_measured_figures",
    "write_report",
    "write_sample_files",
]
