"""A small training run, in this process or as a program.

python toy_run.py WORKDIR [resume] [kill=step:7|seal:9] [full=checkpoint:5]
"""

import os
import pathlib
import resource
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from orchestai_jax.checkpoint import CheckpointStore
from orchestai_jax.config import Phase1Config
from orchestai_jax.data import epoch_batches
from orchestai_jax.training import TrainState, apply_gradients, build_optimizer, learning_rates, run_loop
from orchestai_jax.training.optimizer import PLANNER_GROUP

CONFIG = Phase1Config(
    batch_size=4,
    learning_rate=0.05,
    encoder_learning_rate=0.01,
    num_epochs=3,
    save_every_steps=3,
    log_every_steps=2,
    early_stop_patience=None,
)
SAMPLES = 14  # 4 steps an epoch, the last batch not full


def make_batches(n=SAMPLES):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = np.sin(x.sum(1)).astype(np.float32)

    def collate(indices, weights, padded_length):
        return {"x": x[indices], "y": y[indices], "weights": weights}

    return epoch_batches([8] * n, collate, batch_size=CONFIG.batch_size, seed=5), x, y


def forward(params, x, key=None):
    hidden = jnp.tanh(x @ params["frozen"]["projection"] @ params["trainable"]["encoder"]["kernel"])
    if key is not None:
        hidden = hidden * jax.random.bernoulli(key, 0.8, hidden.shape) / 0.8
    return hidden @ params["trainable"]["head"]["kernel"] + params["trainable"]["head"]["bias"]


def make_state(optimizer, ema=False):
    rng = np.random.default_rng(1)
    params = {
        "trainable": {
            "encoder": {"kernel": jnp.asarray(rng.normal(size=(6, 16)) * 0.3, jnp.float32)},
            "head": {"kernel": jnp.asarray(rng.normal(size=16) * 0.3, jnp.float32), "bias": jnp.float32(0)},
        },
        "frozen": {"projection": jnp.eye(6)},
    }
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params["trainable"]),
        key=jax.random.key(7),
        ema=jax.tree.map(jnp.copy, params["trainable"]) if ema else None,
    )


def make_train_step(optimizer, bad=lambda step: False, accept=None, ema_decay=None, observe=None):
    def loss_of(trainable, frozen, batch, key):
        predicted = forward({"trainable": trainable, "frozen": frozen}, batch["x"], key)
        return jnp.sum(batch["weights"] * (predicted - batch["y"]) ** 2) / jnp.sum(batch["weights"])

    def step(state, batch):
        key, dropout = jax.random.split(state.key)
        loss, gradients = jax.value_and_grad(loss_of)(state.params["trainable"], state.params["frozen"], batch, dropout)
        loss, gradients = jax.tree.map(lambda x: jnp.where(bad(state.step + 1), jnp.nan, x), (loss, gradients))
        return apply_gradients(
            state, gradients, {"loss": loss}, optimizer, key=key, ema_decay=ema_decay, accept=accept, observe=observe
        )

    return jax.jit(step, donate_argnums=0)


def run(
    workdir,
    resume=False,
    *,
    config=CONFIG,
    evaluate=None,
    before_step=None,
    monitor=None,
    bad=lambda step: False,
    samples=SAMPLES,
    accept=None,
    hooks=(),
    starts_with_average=None,
    observe=None,
    tracker=None,
):
    batches, x, y = make_batches(samples)
    optimizer = build_optimizer(config, config.num_epochs * batches.steps_per_epoch)
    jitted = make_train_step(optimizer, bad, accept, config.ema_decay, observe)

    starts_with_average = config.ema_decay is not None if starts_with_average is None else starts_with_average

    def train_step(state, batch):
        if before_step is not None:
            before_step(int(state.step) + 1)
        result = jitted(state, batch)
        assert (
            jitted._cache_size() == 1 or hooks
        )  # the second step compiles nothing, nor does the first after a resumption
        return result

    def validate(state):
        return {"score": -float(jnp.mean((forward(state.params, x) - y) ** 2))}

    with CheckpointStore(
        pathlib.Path(workdir) / "checkpoints",
        keep_last=config.keep_checkpoints,
        best_metric=config.best_metric,
        best_mode=config.best_mode,
    ) as store:
        return run_loop(
            state=make_state(optimizer, starts_with_average),
            train_step=train_step,
            batches=batches,
            evaluate=evaluate or validate,
            store=store,
            num_epochs=config.num_epochs,
            config=config,
            learning_rate=learning_rates(config, config.num_epochs * batches.steps_per_epoch)[PLANNER_GROUP],
            workdir=workdir,
            resume=resume,
            metadata={"toy": True},
            assets={"notes.txt": "toy"},
            monitor=monitor,
            hooks=hooks,
            trackers=lambda step: [] if tracker is None else [tracker],
        )


def kill_now():
    os.kill(os.getpid(), signal.SIGKILL)


def main(arguments):
    kill = next((a.removeprefix("kill=") for a in arguments if a.startswith("kill=")), None)
    before_step = None
    if kill is not None:
        where, _, number = kill.partition(":")
        if where == "seal":
            from orchestai_jax.checkpoint import sealed_path

            seal = sealed_path.seal

            def dying_seal(folder, step):
                seal(folder, step)  # everything is written, only the rename is missing
                if step >= int(number):
                    kill_now()

            sealed_path.seal = dying_seal
        else:

            def before_step(step):
                if step >= int(number):
                    kill_now()

    full = next((a.removeprefix("full=") for a in arguments if a.startswith("full=")), None)
    if full is not None:
        what, _, number = full.partition(":")

        def before_step(step):
            if step == int(number):
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                size = (pathlib.Path(arguments[0]) / "metrics.jsonl").stat().st_size if what == "metrics" else 100
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    print(run(arguments[0], "resume" in arguments, before_step=before_step))


if __name__ == "__main__":
    main(sys.argv[1:])
