"""Training: optimizer, schedules, the loop with exact resumption, what it shows and what it leaves."""

from orchestai_jax.training.curves import plot_curves
from orchestai_jax.training.errors import TrainingDivergedError, TrainingError, TrainingInterrupted
from orchestai_jax.training.hooks import Hook, QuietHook, RunControl
from orchestai_jax.training.loop import run_loop
from orchestai_jax.training.loop_types import Batches, LoopResult, LoopSettings, TrainStep
from orchestai_jax.training.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from orchestai_jax.training.monitoring import Monitor, PlainMonitor, RichMonitor, SilentMonitor, make_monitor
from orchestai_jax.training.optimizer import build_optimizer, learning_rates
from orchestai_jax.training.optimizer_chain import wrap_optimizer
from orchestai_jax.training.schedules import constant, warmup_cosine, warmup_linear, warmup_stable_decay
from orchestai_jax.training.train_state import TrainState
from orchestai_jax.training.update import Accept, apply_gradients
from orchestai_jax.training.workdir import WorkdirStatus, prepare_workdir, workdir_status

__all__ = [
    "METRICS_FILE",
    "Accept",
    "Batches",
    "Hook",
    "LoopResult",
    "LoopSettings",
    "MetricsLog",
    "Monitor",
    "PlainMonitor",
    "QuietHook",
    "RichMonitor",
    "RunControl",
    "SilentMonitor",
    "TrainState",
    "TrainStep",
    "TrainingDivergedError",
    "TrainingError",
    "TrainingInterrupted",
    "WorkdirStatus",
    "apply_gradients",
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
    "warmup_stable_decay",
    "workdir_status",
    "wrap_optimizer",
]
