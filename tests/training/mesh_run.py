"""Language models on meshes, as a program: `python mesh_run.py TEXT FOLDER COMMAND`; prints JSON.

COMMAND: `2x2x2,1x1x1` trains one on each mesh of 8 forced devices; `processes` trains one on the devices of all
processes, 4 of 8 steps; `resume` goes on with that on one device.
"""

import json
import os
import pathlib
import sys

CONFIG = """
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


def losses(folder):
    """Of training, a line a step, and the validation's."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {split: [x["values"]["loss"] for x in lines if x["split"] == split] for split in ("train", "validation")}


def parts(params):
    """Parameter to how many different parts of it there are on the devices."""
    return {name: len({str(shard.index) for shard in value.addressable_shards}) for name, value in params.items()}


def main(text, folder, command):
    from orchestai_jax.config import parse_run_config
    from orchestai_jax.training.processes import join_processes

    join_processes()
    import jax

    from orchestai_jax.training import QuietHook
    from orchestai_jax.training.language_model import train_language_model

    folder = pathlib.Path(folder)

    class Looks(QuietHook):
        def on_end(self, run, result):
            self.parts = parts(run.state.params["trainable"])
            moments = run.state.opt_state[1].mu
            assert parts(moments) == self.parts, "the moments lie elsewhere than their parameters"

    if "x" in command:
        found = {}
        for mesh in command.split(","):
            names = dict(zip(("replica", "data", "tensor"), map(int, mesh.split("x")), strict=True))
            config = parse_run_config(CONFIG.format(text=text), [f"mesh={json.dumps(names)}"])
            workdir, looks = folder / mesh, Looks()
            train_language_model(config, workdir, hooks=[looks])
            found[mesh] = {**losses(workdir), "parts": looks.parts}
        print(json.dumps(found))
        return
    short = ["training.num_steps=8", "training.evaluate_every_steps=4", "training.keep_checkpoints=2"]
    mesh = f"mesh={{data: {jax.device_count() // 2 if command == 'processes' else 1}, tensor: 2}}"
    if command == "processes":

        class Stops(QuietHook):
            def on_step(self, run, step, values):
                if step == 5:
                    raise SystemExit(0)

        config = parse_run_config(CONFIG.format(text=text), [*short, mesh])
        try:
            train_language_model(config, folder / "run", hooks=[Stops()])
        except SystemExit:
            print(json.dumps({"processes": jax.process_count(), "devices": jax.device_count()}))
    else:
        config = parse_run_config(CONFIG.format(text=text), short)
        name, resume = ("run", True) if command == "resume" else ("alone", False)
        train_language_model(config, folder / name, resume=resume)
        print(json.dumps(losses(folder / name)))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main(*sys.argv[1:])
