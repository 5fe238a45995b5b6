"""Measuring implementations and their configurations, and writing the records that dispatch goes by."""

from orchestai_kernels.tuning.search import SearchPolicy, measure, measure_call, processor_name
from orchestai_kernels.tuning.tune import Bench, bench, tune

__all__ = [
    "Bench",
    "SearchPolicy",
    "bench",
    "measure",
    "measure_call",
    "processor_name",
    "tune",
]
