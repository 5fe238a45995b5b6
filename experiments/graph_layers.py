"""What a graph layer is worth in the graph generator, on data with real DAGs: NESTFUL's calls and their references.

The gold tasks are given, the graph generator draws the edges (see edges.py): without a graph layer, with graph
convolution, graph attention and GraphSAGE, each trained with several seeds over the frozen encoder.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

import edges
import numpy as np
from _machine import command_line, describe_machine
from _options import add_data, add_trainings, option_parser, settle_folders, write_result
from _script import run_script, wide_console
from rich.table import Table

LAYERS = ("none", "gcn", "gat", "sage")
FROZEN = "planner.encoder.trainable_layers=0"

EXAMPLES = """examples:
  python experiments/graph_layers.py
  python experiments/graph_layers.py --layers none gat --seeds 0
  python experiments/graph_layers.py --quick
"""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    options = parse(arguments)
    console = wide_console()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    data = edges.read_nestful(options.data)
    if options.quick:
        data = edges.shrink(data)
    found = {}
    for layer in options.layers:
        console.print(f"[bold]graph layer: {layer}[/bold]")
        overrides = [FROZEN, f"planner.graph_generator.layer={layer}", *options.overrides]
        own = argparse.Namespace(**{**vars(options), "overrides": overrides, "workdir": options.workdir / layer})
        found[layer] = edges.run(data, own, console)["tests"]
    result = {
        "what": "edges over gold tasks on NESTFUL by graph layer, several seeds, the encoder frozen",
        "command": command_line("graph_layers.py", arguments),
        "quick": options.quick,
        "seeds": list(options.seeds),
        "tests": {test.name: by_layer(found, test.name) for test in data.tests},
        "machine": describe_machine(),
    }
    out = write_result(options.results, "graph_layers", result)
    console.print(table(result))
    console.print(f"written: {out}")
    return result


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = option_parser(__doc__, EXAMPLES, config="planner_ultratool.yaml")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), help="default: all")
    add_trainings(parser)
    add_data(parser)
    return settle_folders(parser.parse_args(arguments), "graph_layers")


def by_layer(found: dict[str, dict[str, Any]], test: str) -> dict[str, Any]:
    """Means and spreads over seeds of a test set's edges, and how far each seed is above the same without a layer."""
    rows: dict[str, Any] = {}
    for layer, tests in found.items():
        given = tests[test]["mean"]["gold_tasks"]["all"]
        rows[layer] = {name: given[name] for name in ("link_f1", "reference_f1")}
        rows["chain"] = given["chain"]
        if "none" in found and layer != "none":
            own, without = (
                np.array([seed["gold_tasks"]["all"]["reference_f1"] for seed in found[of][test]["seeds"]])
                for of in (layer, "none")
            )
            rows[layer]["reference_f1_above_none"] = [float(x) for x in own - without]
    return {"n": found[next(iter(found))][test]["n"], "layers": rows}


def table(result: dict[str, Any]) -> Table:
    """Each test set and layer."""
    shown = Table(title=f"NESTFUL, edges over gold tasks, {len(result['seeds'])} seeds")
    for name in ("test set", "graph layer", "link F1", "reference F1", "reference F1 above none, a seed"):
        shown.add_column(name, justify="left" if name in ("test set", "graph layer") else "right")
    for test, figures in result["tests"].items():
        for layer, row in figures["layers"].items():
            if layer == "chain":
                shown.add_row(test, "the tasks in a chain", *(f"{row[n]:.3f}" for n in ("link_f1", "reference_f1")), "")
                continue
            cells = [told(row[name]) for name in ("link_f1", "reference_f1")]
            above = ", ".join(f"{x:+.3f}" for x in row.get("reference_f1_above_none", ()))
            shown.add_row(test, layer, *cells, above)
    return shown


def told(figure: dict[str, float | None]) -> str:
    """`mean ± spread`."""
    return f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if figure["std"] is not None else "")


if __name__ == "__main__":
    sys.exit(run_script(main))
