"""The planner: an instruction and a catalog in, a valid workflow out."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float
from orchestai_kernels.arrays import Int8Array

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import InferenceScalingConfig, Preference, serving_in_force
from orchestai_jax.data import Tokenizer, load_tokenizer
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.planner import compiled
from orchestai_jax.planner.argument_filler import make_filler
from orchestai_jax.planner.arguments import FillsArguments
from orchestai_jax.planner.attribution import Explanation, argument_words, hide_words, split_words
from orchestai_jax.planner.bound_catalog import BoundCatalog, bind
from orchestai_jax.planner.calibration import Calibration
from orchestai_jax.planner.catalog_arrays import PlanStatistics, description_texts
from orchestai_jax.planner.catalog_view import CatalogView
from orchestai_jax.planner.compiled import PlanningInputs
from orchestai_jax.planner.decoding import NO_PLAN, DecodedPlans, plan_rows
from orchestai_jax.planner.description_vectors import catalog_vectors, int8_catalog_vectors
from orchestai_jax.planner.encoded_vectors import int8_rows, saved_vectors
from orchestai_jax.planner.evidence_reader import Offsets
from orchestai_jax.planner.graph_generator import pairs_fit
from orchestai_jax.planner.instruction_reader import InstructionReader, repeated
from orchestai_jax.planner.large_catalog import stacked
from orchestai_jax.planner.model import (
    ARGUMENTS,
    ModelSpec,
    Parameters,
    build_structure,
    partition,
    serving_parameters,
)
from orchestai_jax.planner.past_plans import PlanMemory, saved_past
from orchestai_jax.planner.plan_batches import batch_size, in_batches
from orchestai_jax.planner.plan_to_workflow import drawn_edges, empty_workflow, to_workflow
from orchestai_jax.planner.planning_programs import PlanningPrograms, parameters_key
from orchestai_jax.planner.program_cache import ProgramCache
from orchestai_jax.planner.saved import check_parameters, read_assets, read_spec
from orchestai_jax.planner.vector_cache import VectorCache, fingerprint
from orchestai_jax.workflow import Argument, Catalog, Workflow

_KEPT_CATALOGS = 8
"""Catalogs whose arrays are kept, the one used longest ago going first."""


class Planner:
    """Plans instructions over a catalog: the one it was trained on, or any other.

    Plans are compiled once a bucket of 16 tokens, for one instruction and for batches (of 32, fewer over thousands of
    task types). Of a catalog with more task types than `planner.retrieval.above` each instruction is planned over the
    `candidates` that speak for it most, see Retrieval. Use `from_checkpoint`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        parameters: Parameters,
        tokenizer: Tokenizer,
        catalog: Catalog,
        statistics: PlanStatistics,
        vectors: Float[np.ndarray, "n hidden"],
        preference: Preference,
        calibration: Calibration | None = None,
        vector_block: int | None = None,
        serving: InferenceScalingConfig | None = None,
        programs: ProgramCache | None = None,
        past: tuple[PlanMemory, Float[np.ndarray, "N V"]] | None = None,
    ):
        self.spec, self.catalog, self.preference = spec, catalog, preference
        self.calibration = calibration or Calibration()
        """How the decoder's probabilities become confidences."""
        self.serving = serving
        """How its run says that plans are to be selected; None where it says nothing."""
        self.vector_block = vector_block
        """Numbers that share a scale where description vectors are kept in 8 bits a number; None: float32."""
        self.progress: Callable[[int, int], None] | None = None
        """Told how many of how many descriptions are encoded, when a catalog is met for the first time."""
        self._parameters = serving_parameters(spec, parameters)
        self._tokenizer, self._statistics = tokenizer, statistics
        self._reader = InstructionReader(tokenizer, min(spec.planner.encoder.max_tokens, spec.encoder.max_positions))
        self._own, self._past = (catalog, vectors), past
        self._programs = PlanningPrograms(lambda: self._graphdef, self._parameters, programs)
        self._bound: dict[int, BoundCatalog] = {}

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path, catalog: Catalog | None = None) -> Planner:
        """Load a planner from a training's work folder (its best checkpoint) or from one checkpoint folder.

        `catalog` is planned over in place of the one of training. Raises CheckpointError for a folder that is missing,
        damaged, or of something else.
        """
        enable_compilation_cache()
        reader = open_checkpoint(path)
        spec, preference = read_spec(reader.metadata, str(path))
        tokenizer, own_catalog, statistics = read_assets(reader.assets, str(path))
        params = reader.released_parameters()
        parameters = {**params["trainable"], **params["frozen"]}
        past = saved_past(params, reader.assets, 2 * spec.encoder.hidden_size, str(path))
        programs = ProgramCache(parameters_key(spec, parameters))
        if not programs.has_any:
            check_parameters(parameters, build_structure(spec)[1], str(path))
        count = len(description_texts(own_catalog))
        vectors, vector_block = saved_vectors(params["catalog"]["vectors"], count, spec.encoder.hidden_size)
        planner = cls(
            spec,
            parameters,
            load_tokenizer(tokenizer),
            own_catalog,
            statistics,
            vectors,
            preference,
            Calibration.from_metrics(reader.metrics),
            vector_block,
            serving_in_force(reader.data_state),
            programs,
            past,
        )
        if catalog is not None:
            planner.catalog = catalog
        return planner

    def plan(self, text: str, catalog: Catalog | None = None, preference: Preference | None = None) -> Workflow:
        """Plan one instruction. Never raises for what the text holds: the notes say what went unread or unfilled."""
        return self.plan_many([text], catalog, preference)[0]

    def plan_many(
        self, texts: Sequence[str], catalog: Catalog | None = None, preference: Preference | None = None
    ) -> list[Workflow]:
        """Plan many instructions, batched by length; the same plans as `plan` gives one by one."""
        catalog = catalog if catalog is not None else self.catalog
        preference = preference or self.preference
        if not catalog.task_types:
            return [empty_workflow(text, "the catalog has no task types") for text in texts]
        bound = self._bound_to(catalog)
        workflows: list[Workflow | None] = [None] * len(texts)
        token_ids = self._reader.tokens(texts)
        unreadable = self._reader.unreadable(texts, token_ids)
        order = sorted((i for i in range(len(texts)) if i not in unreadable), key=lambda i: len(token_ids[i]))
        for i, reason in unreadable.items():
            workflows[i] = empty_workflow(texts[i], reason)
        size = batch_size(len(catalog.task_types))
        for batch in in_batches(order, size):
            read = [texts[i] for i in batch], [token_ids[i] for i in batch]
            plans = self._decode(bound, *read, preference, 1 if len(batch) == 1 else size)
            for i, plan in zip(batch, plans, strict=True):
                config, notes = self.spec.planner, self._reader.cut_note(texts[i], token_ids[i])
                workflows[i] = to_workflow(
                    texts[i], plan, catalog, config, preference, self.calibration, notes, self._fill
                )
        return [w for w in workflows if w is not None]

    def _decode(
        self,
        bound: BoundCatalog,
        texts: Sequence[str],
        token_ids: Sequence[list[int]],
        preference: Preference,
        rows: int,
    ) -> list[DecodedPlans]:
        """The plans of a batch, padded to so many rows, as arrays over the catalog."""
        views, inputs = self._read(bound, texts, token_ids, rows=rows)
        weights, decoding = self._weights(preference, rows), self.spec.planner.decoding
        if bound.retrieval is not None and rows > 1:  # each over candidates of its own
            catalogs = stacked([view.arrays for view in [*views, *views[-1:] * (rows - len(views))]])
            model = self._graphdef, decoding, self._parameters
            decoded = compiled.plan_each(*model, catalogs, inputs, weights)
        else:
            decoded = self._programs.plan(decoding, views[0].arrays, inputs, weights)
        return [view.of_catalog(plan) for view, plan in zip(views, plan_rows(decoded), strict=False)]

    def candidates(
        self, text: str, n: int = 4, catalog: Catalog | None = None, preference: Preference | None = None
    ) -> list[Workflow]:
        """The most probable plans of an instruction that a search with `n` beams finds, the most probable first.

        `plan` gives out the one of minimum Bayes risk where the decoding says so, which may be another than the first.
        Fewer than `n` where there are fewer plans; none for text that cannot be planned. Raises ValueError for n < 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1")
        catalog = catalog if catalog is not None else self.catalog
        preference = preference or self.preference
        tokens = self._reader.tokens([text])
        if not catalog.task_types or self._reader.unreadable([text], tokens):
            return []
        (view,), inputs = self._read(self._bound_to(catalog), [text], tokens)
        weights = self._weights(preference, 1)
        decoded = compiled.plan_ranked(self._graphdef, n, self._parameters, view.arrays, inputs, weights)
        plans = [view.of_catalog(plan) for plan in plan_rows(decoded)]
        return [
            to_workflow(text, plan, catalog, self.spec.planner, preference, self.calibration, fill=self._fill)
            for plan in plans
            if plan.plan_logp > NO_PLAN
        ]

    def task_type_scores(self, text: str, catalog: Catalog | None = None) -> dict[str, float]:
        """How probable it is that the instruction wants each task type, by the label head: id to [0, 1], highest first.

        Of a large catalog the candidates alone. Empty for text that cannot be planned.
        """
        catalog = catalog if catalog is not None else self.catalog
        tokens = self._reader.tokens([text])
        if not catalog.task_types or self._reader.unreadable([text], tokens):
            return {}
        (view,), inputs = self._read(self._bound_to(catalog), [text], tokens)
        labels = np.asarray(compiled.label_probabilities(self._graphdef, self._parameters, view.arrays, inputs)[0])
        order = np.argsort(-labels, kind="stable")
        return {catalog.task_types[view.types[i]].id: float(labels[i]) for i in order}

    def explain(self, text: str, catalog: Catalog | None = None, preference: Preference | None = None) -> Explanation:
        """Plan one instruction, and say which of its words spoke for each task, edge and argument.

        Takes a pass of the network for every 32 words. An instruction without a plan has an explanation without words.
        """
        catalog = catalog if catalog is not None else self.catalog
        workflow = self.plan(text, catalog, preference)
        if not workflow.tasks:
            return Explanation(workflow, (), {}, {}, {})
        wanted = [catalog.index[task.task_type] for task in workflow.tasks]
        (view,), inputs = self._read(self._bound_to(catalog), [text], self._reader.tokens([text]), also=wanted)
        chosen = self._chosen(view, wanted)
        offsets = self._reader.offsets(text)
        cleaned = clean_text(text)
        words = split_words(cleaned, max(end for _, end in offsets))
        ids = np.asarray(inputs.ids)[0]
        masks = hide_words(words, offsets, len(ids))
        seen = [cleaned] + [cleaned[:start] + " " * (end - start) + cleaned[end:] for start, end in words]
        logp, edges = self._score_given(view, ids, masks, chosen, seen, offsets)
        position = {task.id: i for i, task in enumerate(workflow.tasks)}
        fit = np.asarray(pairs_fit(view.arrays, jax.device_put(chosen[None])))[0]
        forward = np.triu(1 / (1 + np.exp(-edges[0])), k=1) * fit
        drawn = set(drawn_edges(forward, self.spec.planner.graph_generator.threshold))
        depends = [(p, task.id) for task in workflow.tasks for p in task.depends_on]
        pairs = [(p, t) for p, t in depends if (position[p], position[t]) in drawn]
        return Explanation(
            workflow=workflow,
            words=tuple(cleaned[start:end] for start, end in words),
            tasks={task: tuple((logp[0, i] - logp[1:, i]).tolist()) for task, i in position.items()},
            edges={
                (s, t): tuple((edges[0, position[s], position[t]] - edges[1:, position[s], position[t]]).tolist())
                for s, t in pairs
            },
            arguments=argument_words(workflow, catalog, words, forward, self._fill),
        )

    def _score_given(
        self,
        view: CatalogView,
        ids: np.ndarray,
        masks: np.ndarray,
        chosen: np.ndarray,
        seen: Sequence[str],
        offsets: Offsets,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`score_given` of one plan under many masks, in batches of one shape. `seen` is what each mask leaves of the
        text, whose tokens stand at `offsets`."""
        size = batch_size(view.size)
        found = []
        for start in range(0, len(masks), size):
            part, texts = masks[start : start + size], seen[start : start + size]
            more = size - len(part)
            rows = np.concatenate([part, np.repeat(part[-1:], more, axis=0)])
            segments = None
            if view.reader is not None:
                read = view.reader.read(texts, [offsets] * len(texts), ids.shape[0])
                segments = repeated(read, more)
            inputs = PlanningInputs(np.tile(ids, (size, 1)), rows, segments)
            by_labels = self.spec.planner.decoding.method == "labels"
            scores = compiled.score_of_given(
                self._graphdef, by_labels, self._parameters, view.arrays, inputs, np.tile(chosen, (size, 1))
            )
            found.append([x[: len(part)] for x in jax.device_get(scores)])
        logp, edges = (np.concatenate(x) for x in zip(*found, strict=True))
        return logp, edges

    def graph(
        self, text: str, task_types: Sequence[str], catalog: Catalog | None = None
    ) -> tuple[tuple[int, int], ...]:
        """Edges (producer, consumer) between given tasks, in an order that has producers first: the graph generator
        alone. At most `max_tasks` tasks; raises ValueError for more, KeyError for an unknown task type."""
        catalog = catalog if catalog is not None else self.catalog
        most = self.spec.planner.decomposer.max_tasks
        if len(task_types) > most:
            raise ValueError(f"{len(task_types)} tasks given, this planner handles at most {most}")
        if len(task_types) < 2:
            return ()
        wanted = [catalog.index[t] for t in task_types]
        (view,), inputs = self._read(
            self._bound_to(catalog), [text], self._reader.tokens([text]), also=wanted, whole_length=True
        )  # one length, compiled once
        chosen, weights = self._chosen(view, wanted)[None], self._weights(self.preference, 1)
        decoded = compiled.plan_given(self._graphdef, self._parameters, view.arrays, inputs, weights, chosen)
        probabilities = np.asarray(decoded.edge_probabilities[0])
        return drawn_edges(probabilities, self.spec.planner.graph_generator.threshold)

    def arguments(
        self, text: str, task_types: Sequence[str], catalog: Catalog | None = None
    ) -> tuple[Mapping[str, Argument], ...]:
        """The arguments of given tasks, in an order that has producers first: references name them `t1`, `t2` …

        Raises like `graph`, whose edges the rules follow.
        """
        catalog = catalog if catalog is not None else self.catalog
        return self._fill(text, task_types, self.graph(text, task_types, catalog), catalog).arguments

    @functools.cached_property
    def _graphdef(self) -> nnx.GraphDef:
        return build_structure(self.spec)[0]

    @functools.cached_property
    def _fill(self) -> FillsArguments:
        return make_filler(self.spec.planner.arguments, self._parameters, self._tokenizer)

    @functools.cached_property
    def vector_cache(self) -> VectorCache | None:
        """Keeps vectors of descriptions on disk; set it to None to encode them anew in every process."""
        frozen = partition(self._parameters, self.spec)["frozen"]
        encoder = {name: x for name, x in frozen.items() if not name.startswith(ARGUMENTS)}
        return VectorCache(fingerprint(encoder, self._tokenizer.json), block=self.vector_block)

    @functools.cached_property
    def _int8_vector_cache(self) -> VectorCache | None:
        """`vector_cache` of large catalogs: one scale a vector."""
        cache = self.vector_cache
        return cache and cache.in_blocks(self.spec.encoder.hidden_size)

    def _is_large(self, catalog: Catalog) -> bool:
        return len(catalog.task_types) > self.spec.planner.retrieval.above

    def _bind(self, catalog: Catalog, vectors: Float[np.ndarray, "n hidden"] | Int8Array) -> BoundCatalog:
        model = self.spec, lambda: self._graphdef, self._parameters
        return bind(*model, catalog, vectors, self._statistics, self._past)

    def _vectors_of(self, catalog: Catalog) -> Float[np.ndarray, "n hidden"] | Int8Array:
        own, vectors = self._own
        if catalog is own:
            return int8_rows(vectors) if self._is_large(catalog) else vectors
        made = self._graphdef, self._parameters, self._tokenizer, catalog, self.progress
        if self._is_large(catalog):
            return int8_catalog_vectors(*made, self._int8_vector_cache)
        return catalog_vectors(*made, self.vector_cache)

    def _bound_to(self, catalog: Catalog) -> BoundCatalog:
        bound = self._bound.pop(id(catalog), None)
        if bound is None:
            bound = self._bind(catalog, self._vectors_of(catalog))
        self._bound[id(catalog)] = bound
        if len(self._bound) > _KEPT_CATALOGS:
            del self._bound[next(iter(self._bound))]
        return bound

    def _read(
        self,
        bound: BoundCatalog,
        texts: Sequence[str],
        token_ids: Sequence[list[int]],
        *,
        rows: int | None = None,
        also: Sequence[int] = (),
        whole_length: bool = False,
    ) -> tuple[list[CatalogView], PlanningInputs]:
        """What each text is planned over, and the texts as the network takes them, padded to so many rows.

        Candidates hold the task types at the positions `also`; see InstructionReader for the rest.
        """
        reader = bound.whole.reader if bound.whole is not None else None
        inputs = self._reader.read(texts, token_ids, reader, rows=rows, whole_length=whole_length)
        if bound.retrieval is None:
            assert bound.whole is not None
            return [bound.whole] * len(texts), inputs
        return bound.retrieval.narrow(inputs, self._reader.split(texts, inputs.ids.shape[1]), also)

    def _chosen(self, view: CatalogView, wanted: Sequence[int]) -> np.ndarray:
        """Task types at positions of the catalog as the network takes a given plan."""
        chosen = np.full(self.spec.planner.decomposer.max_tasks, view.size, np.int32)
        chosen[: len(wanted)] = view.places(wanted)
        return chosen

    def _weights(self, preference: Preference, rows: int) -> np.ndarray:
        weights = (preference.success, preference.cost, preference.latency)
        return np.tile(np.array(weights, np.float32), (rows, 1))
