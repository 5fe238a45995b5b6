import io
import logging
import sys

import numpy as np
import pytest
from rich.console import Console

from orchestai_jax.training import PlainMonitor, RichMonitor, SilentMonitor, make_monitor, monitoring
from orchestai_jax.training.memory import memory_in_use


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_plain_lines_every_so_often(monkeypatch):
    clock, stream = Clock(), io.StringIO()
    monitor = PlainMonitor(stream, every_s=10, clock=clock)
    monkeypatch.setattr(monitoring, "memory_in_use", lambda: {"host_mb": 512.4, "device_mb": 99.0})
    monitor.start(step=20, total_steps=60, steps_per_epoch=20, samples_per_step=4, tokens_per_step=40)
    for step in range(21, 41):
        clock.now += 2.0
        monitor.step(step, {"b": 2.0, "loss": 0.5}, 1e-3)
    monitor.validation(2, {"score": 0.75}, True)
    monitor.progress("reading", 5, 5)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training from step 20 to 60, 20 steps an epoch"
    assert (
        lines[1]
        == "epoch 2/3 step 21/60 loss 0.5  b 2 lr 1.00e-03 2 samples/s 20 tokens/s 1:18 left, 512 MB, device 99 MB"
    )
    assert [line.split()[3] for line in lines[1:-2]] == ["21/60", "26/60", "31/60", "36/60"]
    assert lines[-2:] == ["epoch 2 validation: score 0.75 (best)", "reading: 5/5"]


def test_rich_bar_shows_everything():
    clock, stream = Clock(), io.StringIO()
    monitor = RichMonitor(Console(file=stream, force_terminal=True, width=160, color_system=None), clock=clock)
    monitor.progress("reading", 1, 2)
    monitor.progress("reading", 2, 2)
    monitor.start(step=0, total_steps=60, steps_per_epoch=20, samples_per_step=4)
    clock.now = 2.0
    monitor.step(21, {"loss": 0.5}, 1e-3)
    monitor.validation(1, {"score": 0.75}, False)
    monitor.close()
    text = stream.getvalue()
    for part in (
        "reading",
        "epoch 2/3",
        "21/60",
        "loss 0.5",
        "lr 1.0e-03",
        "42 samples/s",
        " MB",
        "epoch 1 validation",
    ):
        assert part in text


def test_choice_of_monitor(monkeypatch):
    assert isinstance(make_monitor("none"), SilentMonitor)
    assert isinstance(make_monitor("plain"), PlainMonitor)
    assert isinstance(make_monitor("rich"), RichMonitor)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(make_monitor("auto"), PlainMonitor)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(make_monitor("auto"), RichMonitor)


def test_memory_is_what_the_system_says():
    before = memory_in_use()["host_mb"]
    block = np.ones(2**25)  # 256 MB, touched
    assert 200 < memory_in_use()["host_mb"] - before < 400
    assert block.sum() == 2**25
    assert "device_mb" not in memory_in_use()  # a CPU does not tell


@pytest.mark.parametrize("kind", ["none", "plain", "rich"])
def test_every_monitor_takes_everything(kind):
    monitor = make_monitor(kind)
    monitor.progress("encoding", 0, 0)
    monitor.start(step=0, total_steps=0, steps_per_epoch=1, samples_per_step=1)
    monitor.step(0, {}, 0.0)
    monitor.validation(0, {}, False)
    monitor.note("x [not markup]")
    monitor.close()
    monitor.close()
    logging.getLogger(__name__).debug("still fine")
