"""YAML and dotted overrides into a RunConfig, and back."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from orchestai_jax.config.distillation import DistillationRunConfig
from orchestai_jax.config.errors import ConfigError, did_you_mean
from orchestai_jax.config.language_model import LanguageRunConfig
from orchestai_jax.config.run_config import RunConfig
from orchestai_jax.config.variables import expand_variables, read_env_file

Path = tuple[str, ...]
AnyRunConfig = RunConfig | LanguageRunConfig | DistillationRunConfig
"""What `orchestai train` trains: a planner, or what `kind` says."""

_KINDS: dict[str, type[AnyRunConfig]] = {
    "language_model": LanguageRunConfig,
    "encoder_distillation": DistillationRunConfig,
}


def load_config(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    env_file: str | os.PathLike[str] | None = ".env",
) -> RunConfig:
    """Read the configuration of a planner's run: as `load_run_config`, refusing other kinds."""
    return _of_planner(load_run_config(path, overrides, env, env_file), os.fspath(path))


def load_run_config(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    env: Mapping[str, str] = os.environ,
    env_file: str | os.PathLike[str] | None = ".env",
) -> AnyRunConfig:
    """Read a run configuration.

    Args:
      path: YAML file (UTF-8).
      overrides: dotted assignments, `training.phase1_supervised.batch_size=8`, the value read as YAML.
      env: what `${NAME}` and `${NAME:-default}` are taken from.
      env_file: a `.env` file whose variables are used where `env` has none (null = none).

    Raises ConfigError, one line, for a file that cannot be read and for every field that is wrong or unknown.
    """
    source = os.fspath(path)
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return parse_run_config(
        text, overrides, {**(read_env_file(env_file) if env_file is not None else {}), **env}, source
    )


def parse_config(
    text: str, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None, source: str = "config"
) -> RunConfig:
    """`load_config` from YAML text; `source` names it in errors, `env` may be empty."""
    return _of_planner(parse_run_config(text, overrides, env, source), source)


def parse_run_config(
    text: str, overrides: Sequence[str] = (), env: Mapping[str, str] | None = None, source: str = "config"
) -> AnyRunConfig:
    """`load_run_config` from YAML text."""
    tree, lines = _parse_yaml(text, source)
    origins: dict[Path, str] = {field: f"{source}:{line}" for field, line in lines.items()}
    for override in overrides:
        _apply(tree, override, origins)
    expanded = _expand(tree, env or {}, (), origins)
    root = _root(expanded, origins, source)
    try:
        return root.model_validate(expanded)
    except ValidationError as error:
        faults = [_explain(fault, origins, source, root) for fault in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from None


def dump_config(config: BaseModel) -> str:
    """The whole configuration as YAML, defaults written out; `parse_config` reads it back to an equal value."""
    text = yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text.replace("${", "$${")


def config_differences(first: BaseModel, second: BaseModel) -> list[tuple[str, Any, Any]]:
    """(dotted key, its value in `first`, its value in `second`) wherever two configurations differ."""
    one, other = dict(_leaves(first.model_dump(mode="json"))), dict(_leaves(second.model_dump(mode="json")))
    keys = list(dict.fromkeys([*one, *other]))
    return [(key, one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)]


def config_json_schema(root: type[AnyRunConfig] = RunConfig) -> dict[str, Any]:
    """JSON schema of a run configuration, each field with its line of doc."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root.model_json_schema()}


def _root(tree: Mapping[str, Any], origins: Mapping[Path, str], source: str) -> type[AnyRunConfig]:
    """The model of a configuration's `kind`."""
    kind = tree.get("kind")
    if kind is None:
        return RunConfig
    if kind not in _KINDS:
        place = _place(("kind",), origins, source)
        raise ConfigError(f"{place}: got {kind!r}; {', '.join(_KINDS)}, or no kind for a planner")
    return _KINDS[kind]


def _of_planner(config: AnyRunConfig, source: str) -> RunConfig:
    if not isinstance(config, RunConfig):
        raise ConfigError(f"{source}: kind: {config.kind} is for `orchestai train`; a planner's run is wanted here")
    return config


_EXPONENT = (
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which `_Loader` would read as a number."""


_Dumper.add_implicit_resolver(*_EXPONENT)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-3` as a number (YAML 1.2) and leaves dates as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(*_EXPONENT)


def _parse_yaml(text: str, source: str) -> tuple[dict[str, Any], dict[Path, int]]:
    lines: dict[Path, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _collect_lines(node, (), lines, source)
        tree = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
        raise ConfigError(f"{source}:{line}: not valid YAML: {error.problem or error.context}") from None
    except ConfigError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError, KeyError) as error:  # `!!int x` and the like
        raise ConfigError(f"{source}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, dict):
        what = "empty" if tree is None else f"a {type(tree).__name__}"
        raise ConfigError(
            f"{source}: must hold a mapping with the keys {', '.join(RunConfig.model_fields)}; it is {what}"
        )
    return tree, lines


def _collect_lines(node: yaml.Node, prefix: Path, lines: dict[Path, int], source: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line, name = key.start_mark.line + 1, str(key.value)
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{source}:{line}: a key must be a word")
        if name in seen:
            raise ConfigError(
                f"{source}:{line}: {'.'.join((*prefix, name))} is given twice (before on line {seen[name]})"
            )
        seen[name] = line
        if (*prefix, name) not in lines:  # an alias may lead back here: each node is visited once per path
            lines[(*prefix, name)] = line
            if len(prefix) < 16:
                _collect_lines(value, (*prefix, name), lines, source)


def _apply(tree: dict[str, Any], override: str, origins: dict[Path, str]) -> None:
    name, separator, text = override.partition("=")
    keys = tuple(key.strip() for key in name.split("."))
    origin = f"override {override!r}"
    if not separator or not all(keys):
        raise ConfigError(f"{origin}: must be written key=value, as training.phase1_supervised.batch_size=8")
    try:
        value = _Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError, KeyError):
        raise ConfigError(f"{origin}: {text!r} is not a YAML value; quote it") from None
    branch: Any = tree
    for depth, key in enumerate(keys[:-1]):
        if branch.get(key) is None:
            branch[key] = {}
        branch = branch[key]
        if not isinstance(branch, dict):
            raise ConfigError(f"{origin}: {'.'.join(keys[: depth + 1])} is the value {branch!r}, not a section")
    branch[keys[-1]] = value
    for field in [field for field in origins if field[: len(keys)] == keys]:
        del origins[field]
    origins[keys] = origin


def _expand(value: Any, env: Mapping[str, str], field: Path, origins: Mapping[Path, str]) -> Any:
    if isinstance(value, str):
        return expand_variables(value, env, _place(field, origins, ""))
    if isinstance(value, dict):
        return {str(key): _expand(inner, env, (*field, str(key)), origins) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, env, field, origins) for inner in value]
    return value


def _place(field: Path, origins: Mapping[Path, str], source: str) -> str:
    """`configs/x.yaml:7: a.b.c`, or the override that set it."""
    for length in range(len(field), 0, -1):
        if field[:length] in origins:
            return f"{origins[field[:length]]}: {'.'.join(field)}"
    inside = next((origin for set_field, origin in origins.items() if field and set_field[: len(field)] == field), None)
    if inside is not None:
        return f"{inside}: {'.'.join(field)}"
    return ": ".join(part for part in (source, ".".join(field)) if part)


def _explain(fault: Any, origins: Mapping[Path, str], source: str, root: type[BaseModel]) -> str:
    field: Path = tuple(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        allowed = list(_section(field[:-1], root).model_fields)
        near = did_you_mean(field[-1], allowed) or _elsewhere(field[-1], root)
        return f"{_place(field, origins, source)}: unknown key{near}; allowed: {', '.join(allowed)}"
    if fault["type"] == "missing":
        return f"{_place(field, {}, source)}: missing; give it a value"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = fault["input"]
    shown = "" if isinstance(given, dict) else f" got {json.dumps(given, default=str, ensure_ascii=False)[:80]};"
    return f"{_place(field, origins, source)}:{shown} {message}"


def _section(field: Path, root: type[BaseModel]) -> type[BaseModel]:
    """The model that a dotted path leads to (the last one on the way, where it leads to no section)."""
    model = root
    for key in field:
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model


def _elsewhere(key: str, root: type[BaseModel]) -> str:
    """Where a key that is unknown here does belong."""
    places = [field for field in _fields(root) if field[-1] == key]
    return f" (it belongs at {', '.join('.'.join(place) for place in places)})" if places else ""


def _fields(model: type[BaseModel], prefix: Path = ()) -> Iterator[Path]:
    for name, info in model.model_fields.items():
        yield (*prefix, name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, (*prefix, name))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
