"""`orchestai workers discover`: finds workers, checks them, and writes the healthy ones into a catalog."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
import re
from typing import TYPE_CHECKING, Annotated

import typer

from orchestai_jax.cli.errors import FAILED, WrongUseError
from orchestai_jax.cli.planning_inputs import JsonOption, prove_writable

if TYPE_CHECKING:
    from orchestai_jax.workers.discovery.found import Found
    from orchestai_jax.workflow import Catalog

IntoOption = Annotated[
    pathlib.Path | None,
    typer.Option("--into", metavar="FILE", help="Catalog that healthy workers are added to; made where missing."),
]
ListOption = Annotated[bool, typer.Option("--list", help="Only list what is found: nothing is checked or written.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Longest check of a worker, download and all.")
]

_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMB]?)", re.IGNORECASE)
_FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}


def register(workers: typer.Typer) -> None:
    """Add the group of verbs to `orchestai workers`."""
    discover = typer.Typer(
        name="discover", help="Find workers and add them to a catalog.", no_args_is_help=True, rich_markup_mode=None
    )
    discover.command(name="hub", short_help="Models of the Hugging Face Hub.")(hub)
    discover.command(name="openai", short_help="Models of an endpoint that speaks OpenAI's protocol.")(endpoint)
    discover.command(name="mcp", short_help="Tools of an MCP server.")(mcp)
    discover.command(name="installed", short_help="Workers of installed packages.")(installed)
    workers.add_typer(discover)


def hub(
    task: Annotated[
        str,
        typer.Option(
            metavar="TASK",
            help="image-classification, object-detection, image-text-to-text, automatic-speech-recognition, "
            "text-to-audio.",
        ),
    ],
    search: Annotated[str, typer.Option(metavar="WORDS", help="Words in the model's name.")] = "",
    min_likes: Annotated[int, typer.Option(metavar="N", min=0, help="Fewest likes.")] = 10,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", metavar="ID", help="Allowed licence, as apache-2.0; several times.")
    ] = None,
    max_parameters: Annotated[
        str | None, typer.Option(metavar="N", help="Largest size in parameters, as 300M or 1.5B.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most models, the most liked first.")] = 3,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="A Hub other than that of HF_ENDPOINT or the public one.")
    ] = None,
    into: IntoOption = None,
    only_list: ListOption = False,
    timeout: TimeoutOption = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Find models of the Hugging Face Hub that run here; the check downloads each and runs it.

    \b
    Examples:
      orchestai workers discover hub --task image-classification --licence apache-2.0 --max-parameters 100M --list
      orchestai workers discover hub --task automatic-speech-recognition --limit 1 --into mine.yaml
    """
    from orchestai_jax.workers.discovery.hub import TAGS, HubQuery, find_on_hub

    if task not in TAGS:
        raise WrongUseError(f"--task is {task!r}; it must be one of {', '.join(TAGS)}")
    size = None if max_parameters is None else _count(max_parameters)
    query = HubQuery(task, search, min_likes, tuple(licence or ()), size, limit)  # pyright: ignore[reportArgumentType]
    base = _begin(into, only_list)
    _finish(find_on_hub(query, endpoint), base, into, only_list, timeout, as_json)


def endpoint(
    base_url: Annotated[
        str, typer.Option(metavar="URL", help="The endpoint, as http://127.0.0.1:8000/v1.")
    ] = "https://api.openai.com/v1",
    key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable that holds the key; none: no key is wanted.")
    ] = "OPENAI_API_KEY",
    match: Annotated[str, typer.Option(metavar="PATTERN", help="Names that are wanted, as llama-*.")] = "*",
    prices: Annotated[
        pathlib.Path | None, typer.Option(metavar="FILE", help="Price table: YAML of model names (or patterns).")
    ] = None,
    task_types: Annotated[
        str, typer.Option(metavar="IDS", help="What they are to do, separated by commas; default: by their names.")
    ] = "",
    vision: Annotated[bool, typer.Option("--vision", help="The models see pictures.")] = False,
    into: IntoOption = None,
    only_list: ListOption = False,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Find the models of an endpoint; the check asks each for a few tokens, which may cost a little.

    \b
    Examples:
      orchestai workers discover openai --base-url http://127.0.0.1:8000/v1 --key-env none --into mine.yaml
      orchestai workers discover openai --match 'gpt-*-mini' --prices prices.yaml --list
    """
    from orchestai_jax.workers.discovery.endpoint_models import find_endpoint_models, read_prices
    from orchestai_jax.workflow import OpenAIConnection

    try:
        connection = OpenAIConnection(
            model="*", base_url=base_url, key_env=None if key_env == "none" else key_env, vision=vision
        )
    except ValueError as error:
        raise WrongUseError(_fault(error)) from error
    table = None if prices is None else read_prices(prices)
    wanted = [name.strip() for name in task_types.split(",") if name.strip()]
    base = _begin(into, only_list)
    found = asyncio.run(find_endpoint_models(connection, pattern=match, prices=table, task_types=wanted))
    _finish(found, base, into, only_list, timeout, as_json)


def mcp(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND [ARGUMENT]...]", help="Starts the server.", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A server that speaks streamable HTTP.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with the bearer token for --url.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME", help="Environment variable that COMMAND gets.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Put before the names of task types.")] = "",
    into: IntoOption = None,
    only_list: ListOption = False,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Find the tools of an MCP server. No tool is called: what it does to the world is not known.

    \b
    Examples:
      orchestai workers discover mcp --into mine.yaml -- uvx mcp-server-time
      orchestai workers discover mcp --url https://example.org/mcp --key-env MCP_TOKEN --list
    """
    from orchestai_jax.workers.discovery.server_tools import find_server_tools
    from orchestai_jax.workflow import McpConnection

    try:
        connection = McpConnection(command=tuple(command or ()), url=url, env=tuple(env or ()), key_env=key_env)
    except ValueError as error:
        raise WrongUseError(f"{_fault(error)}; give either --url or -- COMMAND") from error
    base = _begin(into, only_list)
    _finish(asyncio.run(find_server_tools(connection, prefix)), base, into, only_list, timeout, as_json)


def installed(
    into: IntoOption = None, only_list: ListOption = False, timeout: TimeoutOption = 60.0, as_json: JsonOption = False
) -> None:
    """Find the workers of installed packages: entry points of the group orchestai.workers.

    \b
    Examples:
      orchestai workers discover installed --list
      orchestai workers discover installed --into mine.yaml
    """
    from orchestai_jax.workers.discovery.installed import find_installed

    _finish(find_installed(), _begin(into, only_list), into, only_list, timeout, as_json)


def _begin(into: pathlib.Path | None, only_list: bool) -> Catalog | None:
    """The catalog to add to, read before anything is looked for."""
    if into is None:
        if not only_list:
            raise WrongUseError("give --into FILE, the catalog to add to, or --list to see what there is")
        return None
    from orchestai_jax.cli.workers import read_one
    from orchestai_jax.workflow import Catalog

    if into.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise WrongUseError(f"--into is {into}; it must end in .yaml or .json")
    prove_writable(into, "--into")
    return read_one(into) if into.exists() else Catalog(name=into.stem)


def _finish(
    found: Found, base: Catalog | None, into: pathlib.Path | None, only_list: bool, timeout: float, as_json: bool
) -> None:
    from orchestai_jax.cli.workers import print_healths, print_table
    from orchestai_jax.workers.discovery.found import check_found
    from orchestai_jax.workflow import save_catalog

    if only_list:
        whole = found.catalog(base)  # says what is wrong with it, as it would when it is written
        rows = [(spec.id, ", ".join(spec.task_types), spec.description) for spec in found.workers]
        passed_over = [(name, "passed over", reason) for name, reason in found.passed_over]
        if as_json:
            listed = [spec.model_dump(mode="json", exclude_defaults=True) for spec in whole.workers]
            typer.echo(json.dumps({"workers": listed, "passed_over": dict(found.passed_over)}, indent=2))
        else:
            print_table(("worker", "does", "what it is"), [*rows, *passed_over])
        return
    assert into is not None
    if not found.workers:
        for name, reason in found.passed_over:
            typer.echo(f"passed over: {name}: {reason}", err=True)
        typer.echo("orchestai: found no worker that fits; nothing was written", err=True)
        raise typer.Exit(FAILED)
    checked = asyncio.run(check_found(found, base, timeout))
    if checked.healthy:
        save_catalog(checked.catalog, into)
    if as_json:
        healths = {name: dataclasses.asdict(health) for name, health in checked.healths.items()}
        typer.echo(json.dumps({"entered": checked.healthy, "healths": healths}, indent=2))
    else:
        print_healths(dict(checked.healths))
        typer.echo(f"{len(checked.healthy)} of {len(checked.healths)} workers entered {into}")
    if not checked.healthy:
        raise typer.Exit(FAILED)


def _count(text: str) -> int:
    """`300M` → 300,000,000."""
    match = _COUNT.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise WrongUseError(f"--max-parameters is {text!r}; write a number as 300M or 1.5B")
    return round(float(match[1]) * _FACTORS[match[2].upper()])


def _fault(error: ValueError) -> str:
    """The first fault of a connection, in one line."""
    import pydantic

    if not isinstance(error, pydantic.ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"--{field.replace('_', '-')}: {message}" if field else message
