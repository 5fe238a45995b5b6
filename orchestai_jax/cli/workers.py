"""`orchestai workers`: what a catalog's workers are, whether they work, and where more of them are."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli import workers_discovery
from orchestai_jax.cli.errors import FAILED, WrongUseError
from orchestai_jax.cli.planning_inputs import JsonOption

if TYPE_CHECKING:
    from orchestai_jax.workflow import Catalog

QUICKSTART = "quickstart"

CatalogsOption = Annotated[
    list[pathlib.Path] | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="Catalog with the workers, or quickstart, extended_tools, model_tasks; may stand several times.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command."""
    workers = typer.Typer(
        name="workers", help="List, check and discover workers.", no_args_is_help=True, rich_markup_mode=None
    )
    workers.command(name="list", short_help="List the workers of a catalog.")(list_workers)
    workers.command(name="check", short_help="Check whether workers work, by a small real call.")(check)
    workers.command(name="catalog", short_help="Write a catalog that puts others together.")(write_catalog)
    workers_discovery.register(workers)
    app.add_typer(workers)


def list_workers(catalog: CatalogsOption = None, as_json: JsonOption = False) -> None:
    """List workers with what they do, what they are expected to cost and take, and what they lack to work here.

    Without --catalog: the local tools of the quickstart's catalog and of extended_tools.

    \b
    Examples:
      orchestai workers list
      orchestai workers list --catalog my_catalog.yaml --json
    """
    from orchestai_jax.workers import fault_of, open_workers

    whole = read_catalogs(catalog)
    opened = open_workers(whole, simulate=True)
    rows: list[dict[str, Any]] = []
    for spec in whole.workers:
        lacks = fault_of(opened[spec.id]) if spec.id in opened else "no connection, and no local tool of that name"
        kind = spec.connection.kind if spec.connection is not None else "local"
        rows.append(
            {
                "id": spec.id,
                "kind": kind,
                "task_types": list(spec.task_types),
                "cost": spec.cost,
                "latency": spec.latency,
                "quality": spec.quality,
                "lacks": lacks,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    lines = [
        (r["id"], r["kind"], ", ".join(r["task_types"]), f"${r['cost']:.2g}", f"{r['latency']:.3g} s", r["lacks"] or "")
        for r in rows
    ]
    print_table(("worker", "kind", "does", "cost", "time", "lacks"), lines)


def check(
    workers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORKER]...", help="Ids of workers; default: all.", show_default=False),
    ] = None,
    catalog: CatalogsOption = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Longest check.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Check workers by the smallest real call: a few tokens, a grey picture, the list of a server's tools.

    A call of a model may cost a little. Exits with 1 unless every worker is healthy.

    \b
    Examples:
      orchestai workers check --catalog my_catalog.yaml
      orchestai workers check openai_llama --catalog my_catalog.yaml --json
    """
    from orchestai_jax.workers import Health, check_worker, close_workers, open_workers

    whole = read_catalogs(catalog)
    wanted = workers or [spec.id for spec in whole.workers]
    unknown = [name for name in wanted if not whole.has_worker(name)]
    if unknown:
        raise WrongUseError(f"the catalog has no worker {unknown[0]!r}; `orchestai workers list` shows those it has")
    opened = open_workers(whole, simulate=True)

    async def look() -> dict[str, Health]:
        healths = {}
        try:
            for name in wanted:
                found = opened.get(name)
                absent = Health(False, "no connection, and no local tool of that name")
                healths[name] = absent if found is None else await check_worker(found, timeout)
        finally:
            await close_workers(opened.values())
        return healths

    healths = asyncio.run(look())
    if as_json:
        typer.echo(json.dumps({name: dataclasses.asdict(health) for name, health in healths.items()}, indent=2))
    else:
        print_healths(healths)
    if not all(health.ok for health in healths.values()):
        raise typer.Exit(FAILED)


def write_catalog(
    out: Annotated[pathlib.Path, typer.Argument(metavar="OUT", help="File to write, .yaml or .json.")],
    catalog: CatalogsOption = None,
) -> None:
    """Write one catalog with the task types, workers and links of several.

    \b
    Examples:
      orchestai workers catalog mine.yaml --catalog quickstart --catalog extended_tools --catalog model_tasks
      orchestai workers catalog all.yaml --catalog mine.yaml --catalog theirs.yaml
    """
    from orchestai_jax.workflow import save_catalog

    if out.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise WrongUseError(f"OUT is {out}; it must end in .yaml or .json")
    whole = read_catalogs(catalog)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_catalog(whole, out)
    typer.echo(f"{out}: {len(whole.task_types)} task types, {len(whole.workers)} workers")


def read_catalogs(names: list[pathlib.Path] | None) -> Catalog:
    """The catalogs of `--catalog`, merged; the local tools' where none is given."""
    from orchestai_jax.workflow import merge_catalogs

    first, *others = [read_one(name) for name in names or [pathlib.Path(QUICKSTART), pathlib.Path("extended_tools")]]
    for other in others:
        first = merge_catalogs(first, other)
    return first


def read_one(name: pathlib.Path) -> Catalog:
    """The catalog of a file, or a bundled one by its name."""
    from orchestai_jax.workers import BUNDLED_CATALOGS, load_bundled_catalog
    from orchestai_jax.workflow import load_catalog

    if not name.exists():
        if str(name) == QUICKSTART:
            from orchestai_jax.quickstart import load_embedded_catalog

            return load_embedded_catalog()
        for bundled in BUNDLED_CATALOGS:
            if str(name) == bundled:
                return load_bundled_catalog(bundled)
        if not name.suffix:
            known = ", ".join((QUICKSTART, *BUNDLED_CATALOGS))
            raise WrongUseError(f"--catalog {name} is neither a file nor one of {known}")
    return load_catalog(name)


def print_healths(healths: dict[str, Any]) -> None:
    """A table of health checks."""
    lines = [
        (name, "ok" if h.ok else "FAILED", "" if h.latency_s is None else f"{h.latency_s:.3f} s", h.detail)
        for name, h in healths.items()
    ]
    print_table(("worker", "health", "time", "found"), lines)


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table on stdout."""
    from rich.table import Table
    from rich.text import Text

    from orchestai_jax.cli.console import open_console
    from orchestai_jax.cli.task_tree import printable

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    open_console().print(table)
