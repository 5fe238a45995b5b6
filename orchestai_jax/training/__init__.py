"""Training: optimizer, schedules, the loop with exact resumption, what it shows and what it leaves."""

from orchestai_jax.training.curves import plot_curves
from orchestai_jax.training.errors import TrainingDivergedError, TrainingError, TrainingInterrupted
from orchestai_jax.training.loop import Batches, LoopResult, LoopSettings, run_loop
from orchestai_jax.training.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from orchestai_jax.training.monitoring import Monitor, PlainMonitor, RichMonitor, SilentMonitor, make_monitor
from orchestai_jax.training.optimizer import build_optimizer, learning_rates
from orchestai_jax.training.schedules import constant, warmup_cosine, warmup_linear
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.workdir import WorkdirStatus, prepare_workdir, workdir_status

__all__ = [
    "METRICS_FILE",
    "Batches",
    "LoopResult",
    "LoopSettings",
    "MetricsLog",
    "Monitor",
    "PlainMonitor",
    "RichMonitor",
    "SilentMonitor",
    "TrainState",
    "TrainingDivergedError",
    "TrainingError",
    "TrainingInterrupted",
    "WorkdirStatus",
    "build_optimizer",
    "constant",
    "learning_rates",
    "make_monitor",
    "plot_curves",
    "prepare_workdir",
    "read_metrics",
    "run_loop",
    "warmup_cosine",
    "warmup_linear",
    "workdir_status",
]
