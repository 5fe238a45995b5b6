"""The loop over a thousand steps, in two threads, and the gradient of every parameter."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_run import CONFIG, run

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model import initial_parameters
from orchestai_jax.training import QuietHook, TrainingError, read_metrics
from orchestai_jax.training.language_model import next_token_loss
from orchestai_jax.training.workdir import locked_workdir


def test_a_thousand_steps_keep_nothing(tmp_path):
    """As many arrays are alive at its end as after a quarter of it."""

    class Counts(QuietHook):
        alive = ()

        def on_step(self, run, step, values):
            if step in (251, 501, 751, 1001):  # each right after an epoch's end
                self.alive = (*self.alive, len(jax.live_arrays()))

    hook = Counts()
    config = CONFIG.model_copy(update={"num_epochs": 5, "save_every_steps": None, "log_every_steps": 100})
    run(tmp_path, config=config, hooks=[hook], samples=1000, evaluate=lambda state: {"score": 0.0})
    assert len(hook.alive) == 4
    assert len(set(hook.alive)) == 1


def test_two_threads_train_as_one_does(tmp_path):
    config = CONFIG.model_copy(update={"num_epochs": 2})
    names = ("one", "two", "alone")
    threads = [threading.Thread(target=run, args=(tmp_path / name,), kwargs={"config": config}) for name in names[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run(tmp_path / "alone", config=config)
    params = [open_checkpoint(tmp_path / name, "latest").restore() for name in names]
    for other in params[:2]:
        jax.tree.map(np.testing.assert_array_equal, other, params[2])
    lines = [[line["values"] for line in read_metrics(tmp_path / name / "metrics.jsonl")] for name in names]
    assert lines[0] == lines[1] == lines[2]


def test_two_threads_in_one_folder_are_refused(tmp_path):
    refused = []

    def second():
        try:
            with locked_workdir(tmp_path):
                pass
        except TrainingError as error:
            refused.append(str(error))

    with locked_workdir(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "another training is at work in it" in refused[0]


def test_the_gradient_of_every_parameter():
    """Against differences of the loss along it: f(p + h·g) − f(p − h·g) = 2·h·|g|²."""
    model = LanguageModelConfig(
        vocab_size=11, hidden_size=8, intermediate_size=12, num_layers=2, num_heads=2, num_kv_heads=1,
        max_positions=8, quantization=(), tied_embeddings=False, initializer_range=0.3,
    )  # fmt: skip
    parameters = initial_parameters(model, 0)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (3, 9)), jnp.int32)
    loss = jax.jit(lambda parameters: next_token_loss(model, parameters, tokens))
    gradients = jax.grad(lambda parameters: next_token_loss(model, parameters, tokens))(parameters)
    assert gradients.keys() == parameters.keys()
    for name, gradient in gradients.items():
        norm = float(jnp.linalg.norm(gradient))
        assert norm > 1e-4, name
        step = 0.003 / norm
        ahead, behind = (loss({**parameters, name: parameters[name] + sign * step * gradient}) for sign in (1, -1))
        assert float(ahead - behind) == pytest.approx(2 * step * norm**2, rel=0.05), name
