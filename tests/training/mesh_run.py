"""Trainings on meshes, as a program: `python mesh_run.py FOLDER KIND COMMAND`; prints JSON.

KIND: `language_model`, `gates` (the same under safety gates), `optimized` (with all optimizations), or `planner`.
COMMAND: `2x2x2,1x1x1` trains one on each mesh of 8 forced devices; `processes` trains one on the devices of all
processes and ends it in the second epoch; `resume` goes on with that on one device; `alone` trains it on one device.
"""

import json
import os
import pathlib
import sys

TEXT = "the quick brown fox jumps over the lazy dog. " * 40
LANGUAGE_MODEL = """
kind: language_model
name: tiny
data: {{train: {text}}}
model: {{hidden_size: 16, intermediate_size: 32, num_layers: 2, num_heads: 4, num_kv_heads: 4, max_positions: 16,
  quantization: []}}
training: {{batch_size: 8, sequence_length: 16, num_steps: 50, evaluate_every_steps: 50, warmup_steps: 5,
  learning_rate: 0.001, log_every_steps: 1}}
monitoring: {{trackers: [], layer_norms_every_steps: 25, histograms_every_steps: null}}
system: {{progress: none}}
"""
OPTIMIZATION = {
    "language_model": "null",
    "gates": "{}",
    "optimized": "{kernel_optimizer: {}, semantic_compression: {block_size: 16, compression_ratio: 0.4}}",
}


def configuration(folder, kind, mesh, short):
    """50 steps; of a language model, where short, two epochs of 4 steps each."""
    from orchestai_jax.config import parse_config, parse_run_config

    names = dict(zip(("replica", "data", "tensor"), mesh, strict=True))
    if kind == "planner":
        import yaml
        from toy_planner import toy_config, write_files

        samples = folder / "samples"
        if not samples.exists():
            samples.mkdir()
            write_files(samples)
        content = toy_config(samples, num_epochs=2, learning_rate=0.001, encoder_learning_rate=0.001)
        content = content.model_dump(mode="json", exclude_unset=True)
        monitoring = {"trackers": [], "layer_norms_every_steps": 25, "histograms_every_steps": None}
        return parse_config(yaml.safe_dump({**content, "mesh": names, "monitoring": monitoring}))
    text = folder / "text.txt"
    text.write_text(TEXT)
    changes = [f"mesh={json.dumps(names)}", f"optimization={OPTIMIZATION[kind]}"]
    if short:
        changes += ["training.num_steps=8", "training.evaluate_every_steps=4", "training.keep_checkpoints=2"]
    return parse_run_config(LANGUAGE_MODEL.format(text=text), changes)


def training(config):
    """The function that trains such a configuration."""
    from orchestai_jax.config import RunConfig

    if isinstance(config, RunConfig):
        from orchestai_jax.training.supervised import train_planner

        return train_planner
    from orchestai_jax.training.language_model import train_language_model

    return train_language_model


def lines(folder):
    """Losses of training, a line a step, and the validation's; a planner's by decision; events; compression errors."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {split: [x["values"]["loss"] for x in found if x["split"] == split] for split in ("train", "validation")}
    decisions = [
        x["values"]["decision_loss"] for x in found if x["split"] == "train" and "decision_loss" in x["values"]
    ]
    errors = [x["values"]["compression_error"] for x in found if "compression_error" in x["values"]]
    events = [x["values"] for x in found if x["split"] == "event"]
    return {**losses, "decisions": decisions, "events": events, "errors": errors}


def parts(params):
    """Parameter to how many different parts of it there are on the devices."""
    return {name: len({str(shard.index) for shard in value.addressable_shards}) for name, value in params.items()}


def main(folder, kind, command):
    from orchestai_jax.training.processes import join_processes

    join_processes()
    import jax

    from orchestai_jax.training import QuietHook

    folder = pathlib.Path(folder)

    class Looks(QuietHook):
        def on_end(self, run, result):
            self.parts = parts(run.state.params["trainable"])
            if kind != "optimized":
                moments = run.state.opt_state[1].mu
                assert parts(moments) == self.parts, "the moments lie elsewhere than their parameters"

    class Stops(QuietHook):
        def on_step(self, run, step, values):
            if step == run.steps_per_epoch + 1:
                raise SystemExit(0)

    if "x" in command:
        found = {}
        for mesh in command.split(","):
            config, looks = configuration(folder, kind, map(int, mesh.split("x")), False), Looks()
            training(config)(config, folder / mesh, hooks=[looks])
            found[mesh] = {**lines(folder / mesh), "parts": looks.parts}
        print(json.dumps(found))
    elif command == "processes":
        config = configuration(folder, kind, (1, jax.device_count() // 2, 2), True)
        try:
            training(config)(config, folder / "run", hooks=[Stops()])
        except SystemExit:
            print(json.dumps({"processes": jax.process_count(), "devices": jax.device_count()}))
    else:
        config = configuration(folder, kind, (1, 1, 1), True)
        name, resume = ("run", True) if command == "resume" else ("alone", False)
        training(config)(config, folder / name, resume=resume)
        print(json.dumps(lines(folder / name)))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main(*sys.argv[1:])
