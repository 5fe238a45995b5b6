"""What the experiments' command lines have in common, and where their figures go."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from typing import Any

from _machine import ROOT

RESULTS = ROOT / "experiments" / "results"


def option_parser(
    description: str | None,
    examples: str,
    *,
    config: str | None = None,
    overrides: str = "dotted overrides of the configuration",
) -> argparse.ArgumentParser:
    """Options of every experiment: --quick, --workdir, --results (see `settle_folders`); with the name of a file in
    configs/ also --config and overrides."""
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if config:
        parser.add_argument("overrides", nargs="*", metavar="key=value", help=overrides)
        parser.add_argument(
            "--config", type=pathlib.Path, default=ROOT / "configs" / config, help=f"default: configs/{config}"
        )
    parser.add_argument("--quick", action="store_true", help="few samples and steps: checks the script")
    parser.add_argument("--workdir", type=pathlib.Path, help="folder of what is kept (default: below runs/)")
    parser.add_argument("--results", type=pathlib.Path, help="folder of the JSON (default: experiments/results)")
    return parser


def add_trainings(parser: argparse.ArgumentParser, *, seeds: bool = True) -> None:
    """Options of experiments that train: --fresh, and --seeds where they train more than once."""
    if seeds:
        parser.add_argument(
            "--seeds", type=int, nargs="+", default=[0, 1, 2], help="one training each (default: 0 1 2)"
        )
    parser.add_argument("--fresh", action="store_true", help="train again what is finished")


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data, the folder of the public data sets."""
    default = pathlib.Path(os.environ.get("ORCHESTAI_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument(
        "--data", type=pathlib.Path, default=default, help="folder of the public data (default: ORCHESTAI_DATA)"
    )


def settle_folders(options: argparse.Namespace, name: str) -> argparse.Namespace:
    """Where no folder was given: runs/NAME (quick: runs/quick/NAME), and experiments/results.

    A quick run keeps its JSON in its work folder, so that it never overwrites figures that mean something.
    """
    runs = ROOT / "runs"
    options.workdir = options.workdir or (runs / "quick" / name if options.quick else runs / name)
    options.results = options.results or (options.workdir if options.quick else RESULTS)
    return options


def write_result(folder: pathlib.Path, name: str, result: dict[str, Any]) -> pathlib.Path:
    """`result` as FOLDER/NAME.json; the path.

    Raises:
        ValueError: for numbers that JSON does not have (NaN, infinities); what was there stays.
    """
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(text, encoding="utf-8")
    return path
