"""How a planner is kept in a checkpoint: metadata, text assets, parameters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import pydantic

from orchestai_jax.checkpoint import CheckpointError
from orchestai_jax.config import PlannerConfig, Preference
from orchestai_jax.data import Tokenizer
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.encoders import KINDS, EncoderSizes
from orchestai_jax.planner.model import ModelSpec
from orchestai_jax.workflow import Catalog

KIND = "planner"
_TOKENIZER, _CATALOG, _STATISTICS = "tokenizer.json", "catalog.json", "statistics.json"


def _read_encoder(raw: Mapping[str, Any]) -> EncoderSizes:
    """Sizes of an encoder; checkpoints of before there were two kinds name none."""
    sizes = {name: value for name, value in raw.items() if name != "kind"}
    return KINDS[raw.get("kind", "bert")](**sizes)


def planner_metadata(spec: ModelSpec, preference: Preference, encoder_source: str, config: Any) -> dict[str, Any]:
    """What a checkpoint must say about a planner besides its arrays and assets; `config` is the run's, as JSON."""
    return {
        "kind": KIND,
        "encoder": {
            "kind": next(name for name, sizes in KINDS.items() if sizes is type(spec.encoder)),
            **dataclasses.asdict(spec.encoder),
        },
        "encoder_source": encoder_source,
        "pretrained": spec.pretrained,
        "planner": spec.planner.model_dump(mode="json"),
        "num_known_task_types": spec.num_known_task_types,
        "num_known_workers": spec.num_known_workers,
        "preference": preference.model_dump(mode="json"),
        "config": config,
    }


def planner_assets(tokenizer: Tokenizer, catalog: Catalog, statistics: PlanStatistics) -> dict[str, str]:
    """The text files of a planner's checkpoint."""
    return {
        _TOKENIZER: tokenizer.json,
        _CATALOG: catalog.model_dump_json(),
        _STATISTICS: json.dumps(statistics.to_json()),
    }


def read_spec(metadata: Mapping[str, Any], where: str) -> tuple[ModelSpec, Preference]:
    """The network's spec and the default preference. Raises CheckpointError for a checkpoint of something else."""
    if metadata.get("kind") != KIND:
        raise CheckpointError(f"{where}: a checkpoint of {metadata.get('kind', 'something unnamed')}, not of a planner")
    try:
        spec = ModelSpec(
            encoder=_read_encoder(metadata["encoder"]),
            planner=PlannerConfig.model_validate(metadata["planner"]),
            num_known_task_types=metadata["num_known_task_types"],
            num_known_workers=metadata["num_known_workers"],
            pretrained=metadata["pretrained"],
        )
        return spec, Preference.model_validate(metadata["preference"])
    except (KeyError, TypeError, pydantic.ValidationError) as error:
        cause = str(error).splitlines()[0]
        raise CheckpointError(f"{where}: its metadata is not that of this version's planner ({cause})") from error


def check_parameters(parameters: Mapping[str, Any], shapes: Mapping[str, jax.ShapeDtypeStruct], where: str) -> None:
    """Raise CheckpointError, naming the first difference, where parameters are not those of the network of `shapes`."""
    different = sorted(parameters.keys() ^ shapes.keys())
    if different:
        what = "lacks the parameter" if different[0] in shapes else "holds the unknown parameter"
        raise CheckpointError(f"{where}: {what} {different[0]}; it is of another version's planner, train it anew")
    for name, wanted in shapes.items():
        if parameters[name].shape != wanted.shape:
            raise CheckpointError(
                f"{where}: parameter {name} has shape {parameters[name].shape}, the planner wants {wanted.shape}"
            )


def read_assets(assets: Mapping[str, str], where: str) -> tuple[str, Catalog, PlanStatistics]:
    """Tokenizer JSON, catalog and statistics. Raises CheckpointError naming what is missing or broken."""
    missing = [name for name in (_TOKENIZER, _CATALOG, _STATISTICS) if name not in assets]
    if missing:
        raise CheckpointError(f"{where}: lacks {', '.join(missing)}")
    try:
        catalog = Catalog.model_validate_json(assets[_CATALOG])
        statistics = PlanStatistics.from_json(json.loads(assets[_STATISTICS]))
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{where}: cannot read catalog or statistics ({str(error).splitlines()[0]})") from error
    return assets[_TOKENIZER], catalog, statistics
