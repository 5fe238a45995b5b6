"""The planner whose weights a training starts from, fitted to the catalog that it is trained on now."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from orchestai_jax.checkpoint import CheckpointError, open_checkpoint
from orchestai_jax.checkpoint.leaves import check_same, described_leaves
from orchestai_jax.config import ConfigError, PlannerConfig, RunConfig
from orchestai_jax.data import Tokenizer, load_tokenizer
from orchestai_jax.planner.catalog_arrays import PlanStatistics
from orchestai_jax.planner.model import ModelSpec, Parameters, build_structure
from orchestai_jax.planner.past_plans import PlanMemory, saved_past
from orchestai_jax.planner.saved import read_assets, read_spec
from orchestai_jax.planner.text_encoder import TextEncoderConfig
from orchestai_jax.training.encoder_choice import ChosenEncoder, sizes_from_scratch
from orchestai_jax.training.kept_samples import KeptSamples
from orchestai_jax.workflow import Catalog

TASK_TYPE_ROWS, WORKER_ROWS = "task_types.free_embedding", "worker_selector.worker.free_embedding"
"""Parameters with a row a task type, or a worker, that training knew."""

_MEANING = (
    "encoder.weights",
    "decomposer.num_heads",
    "decomposer.glimpse",
    "task_type_graph.layer",
    "graph_generator.layer",
)
"""Settings that change what parameters mean and, some of them, no shape."""


@dataclasses.dataclass(frozen=True)
class StartingPlanner:
    """A trained planner as it lies in its checkpoint."""

    where: str
    """Its folder as it was given, and the step."""
    spec: ModelSpec
    tokenizer: Tokenizer
    catalog: Catalog
    statistics: PlanStatistics
    parameters: Parameters
    """All of them, frozen ones too; the average of the trained ones, where one was kept."""
    source: str
    """Where its encoder is from."""
    kept: KeptSamples
    """What it has kept of the samples that it was trained on."""
    past: tuple[PlanMemory, Float[np.ndarray, "N V"]] | None = None
    """Its past plans and their instructions' vectors, where such vote."""

    @classmethod
    def of(cls, config: RunConfig) -> StartingPlanner | None:
        """The planner of `initialize_from`; None where there is none.

        Raises CheckpointError for a folder that is missing, damaged, or of something else, ConfigError where there is
        none and the configuration asks for what only a trained planner can do.
        """
        phase = config.training.phase1_supervised
        path = phase.initialize_from
        if path is None:
            for key, given in (("data.records", config.data.records), ("freeze_encoder", phase.freeze_encoder)):
                if given:
                    raise ConfigError(f"{key} is for a planner that is trained already: give one, --from CHECKPOINT")
            return None
        reader = open_checkpoint(path)
        spec, _ = read_spec(reader.metadata, path)
        tokenizer, catalog, statistics = read_assets(reader.assets, path)
        params = reader.released_parameters()
        parameters = {**params["trainable"], **params["frozen"]}
        where, source = f"{path} (step {reader.step})", reader.metadata["encoder_source"]
        kept = KeptSamples.of(reader)
        past = saved_past(params, reader.assets, 2 * spec.encoder.hidden_size, path)
        return cls(where, spec, load_tokenizer(tokenizer), catalog, statistics, parameters, source, kept, past)

    def settled(self, config: RunConfig) -> RunConfig:
        """The run's configuration, with what its `planner` section leaves open taken from this planner's."""
        return config.model_copy(update={"planner": PlannerConfig.model_validate(self._merged(config.planner))})

    def encoder(self, config: PlannerConfig) -> ChosenEncoder:
        """This planner's tokenizer, and its encoder's sizes as `config` would have them."""
        sizes = self.spec.encoder
        if not self.spec.pretrained:
            sizes = sizes_from_scratch(config.encoder, self.tokenizer.vocab_size)
        return ChosenEncoder(sizes, self.tokenizer, self.source, self.spec.pretrained)

    def check(self, spec: ModelSpec) -> None:
        """Raise CheckpointError where the weights are not those of the network of `spec`: the first parameter that
        differs, with both shapes, or a setting that gives them another meaning. Rows may be of other types and workers.
        """
        wanted = build_structure(spec)[1]
        rows = {name: wanted[name] for name in (TASK_TYPE_ROWS, WORKER_ROWS)}
        saved: dict[str, Any] = dict(self.parameters)
        for name, leaf in rows.items():  # as many rows as there are wanted: only their width counts
            if name in saved:
                saved[name] = jax.ShapeDtypeStruct((leaf.shape[0], *saved[name].shape[1:]), saved[name].dtype)
        here, there = ([leaf for leaf, _ in described_leaves(tree)] for tree in (wanted, saved))
        check_same(here, there, self.where)
        for setting in _MEANING:
            section, field = setting.split(".")
            there, here = (getattr(getattr(s.planner, section), field) for s in (self.spec, spec))
            if there != here:
                raise CheckpointError(f"{self.where}: planner.{setting} is {there} there and {here} in this run")
        if isinstance(spec.encoder, TextEncoderConfig) and spec.encoder != self.spec.encoder:
            there, here = (dataclasses.asdict(encoder) for encoder in (self.spec.encoder, spec.encoder))
            changed = [
                f"{name} is {there[name]} there and {here[name]} in this run"
                for name in here
                if there.get(name) != here[name]
            ]
            raise CheckpointError(f"{self.where}: the encoder's {', '.join(changed)}")

    def weights(self, fresh: Parameters, task_types: list[str], workers: list[str]) -> Parameters:
        """This planner's parameters, fit for donation, in place of the fresh ones.

        Args:
          fresh: of the network to train; task types and workers that this planner never knew keep their rows of these.
          task_types: ids of the types that training knows now, a row each.
          workers: ids of the workers, likewise.
        """
        found = {}
        for name, value in fresh.items():
            own = self.parameters[name]
            if name == TASK_TYPE_ROWS:
                own = _rows(value, own, self.statistics.task_types, task_types)
            elif name == WORKER_ROWS:
                own = _rows(value, own, self.statistics.workers, workers)
            found[name] = jnp.array(own, value.dtype)
        return found

    def _merged(self, planner: PlannerConfig) -> dict[str, Any]:
        own, given = self.spec.planner.model_dump(mode="json"), planner.model_dump(mode="json", exclude_unset=True)
        return {section: {**fields, **given.get(section, {})} for section, fields in own.items()}


def _rows(fresh: jax.Array, saved: jax.Array, known: tuple[str, ...], wanted: list[str]) -> jax.Array:
    """`saved`'s rows for the names that it has, `fresh`'s for the others."""
    positions = {name: i for i, name in enumerate(known)}
    pairs = [(i, positions[name]) for i, name in enumerate(wanted) if name in positions]
    if not pairs:
        return fresh
    to, of = (jnp.array(rows) for rows in zip(*pairs, strict=True))
    return fresh.at[to].set(saved[of])
