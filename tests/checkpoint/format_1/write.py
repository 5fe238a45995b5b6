"""Wrote the work folder `run` beside it, with the release of commit 0f1ba1c (checkpoint format 1): not to be run again.

It trained a tiny language model for 6 of 12 steps, then stopped as if by Ctrl-C. Checkpoint 4 was removed, and so were
orbax's notes (commit_success.txt), which hold paths of the machine and which no release reads.
"""

import pathlib

import orchestai_jax.training.loop as loop
from orchestai_jax.config import parse_run_config
from orchestai_jax.training.language_model import train_language_model

CONFIG = """
kind: language_model
name: tiny
data: {train: text.txt}
model: {hidden_size: 8, intermediate_size: 8, num_layers: 1, num_heads: 2, num_kv_heads: 1, max_positions: 16}
training: {batch_size: 4, sequence_length: 16, num_steps: 12, evaluate_every_steps: 4, warmup_steps: 2,
  learning_rate: 0.02, log_every_steps: 1, save_every_steps: 3}
system: {progress: none}
"""


class StopsAt6(loop.StopRequest):
    """Asked for at steps 1 to 6."""

    @property
    def requested(self):
        """Whether it is the sixth step."""
        self.asked = getattr(self, "asked", 0) + 1
        return self.asked > 8

    @requested.setter
    def requested(self, value):
        pass


if __name__ == "__main__":
    pathlib.Path("text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    loop.StopRequest = StopsAt6
    train_language_model(parse_run_config(CONFIG), pathlib.Path("run"))
