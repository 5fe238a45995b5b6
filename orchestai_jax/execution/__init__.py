"""Runs workflows: checks them, starts each task as soon as it can, and records what became of every one."""

from orchestai_jax.execution.collection import (
    Collected,
    CollectionSettings,
    CollectionSummary,
    Judge,
    collect,
    distinct_instructions,
)
from orchestai_jax.execution.engine import execute, new_run_id, resume
from orchestai_jax.execution.events import Event, EventKind
from orchestai_jax.execution.gates import Gates
from orchestai_jax.execution.hybrid_planning import HybridPlan, HybridPolicy, plan_hybrid
from orchestai_jax.execution.journal import (
    FileJournal,
    Journal,
    JournalBusyError,
    JournalError,
    JournalHeader,
    JournalState,
    MemoryJournal,
    is_running,
    journalled_runs,
    read_journal,
)
from orchestai_jax.execution.policies import (
    BreakerPolicy,
    BudgetPolicy,
    FailureKind,
    RatePolicy,
    RetryPolicy,
    RunPolicies,
    WorkerPolicy,
    load_policies,
    parse_policies,
)
from orchestai_jax.execution.preflight import RunRefusedError, check_run
from orchestai_jax.execution.processes import ProcessPool, ProcessWorker
from orchestai_jax.execution.streaming import stream
from orchestai_jax.execution.tracing import Tracer

__all__ = [
    "BreakerPolicy",
    "BudgetPolicy",
    "Collected",
    "CollectionSettings",
    "CollectionSummary",
    "Event",
    "EventKind",
    "FailureKind",
    "FileJournal",
    "Gates",
    "HybridPlan",
    "HybridPolicy",
    "Journal",
    "JournalBusyError",
    "JournalError",
    "JournalHeader",
    "JournalState",
    "Judge",
    "MemoryJournal",
    "ProcessPool",
    "ProcessWorker",
    "RatePolicy",
    "RetryPolicy",
    "RunPolicies",
    "RunRefusedError",
    "Tracer",
    "WorkerPolicy",
    "check_run",
    "collect",
    "distinct_instructions",
    "execute",
    "is_running",
    "journalled_runs",
    "load_policies",
    "new_run_id",
    "parse_policies",
    "plan_hybrid",
    "read_journal",
    "resume",
    "stream",
]
