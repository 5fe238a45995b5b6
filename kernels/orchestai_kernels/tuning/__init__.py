"""Measuring implementations and their configurations, and writing the records that dispatch goes by."""

from orchestai_kernels.tuning.catalog import OP_NAMES, Listing, listing, named_shapes, ops
from orchestai_kernels.tuning.search import SearchPolicy, measure, measure_call, processor_name
from orchestai_kernels.tuning.tune import Bench, bench, tune

__all__ = [
    "OP_NAMES",
    "Bench",
    "Listing",
    "SearchPolicy",
    "bench",
    "listing",
    "measure",
    "measure_call",
    "named_shapes",
    "ops",
    "processor_name",
    "tune",
]
