"""The planner: an instruction and a catalog in, a valid workflow out."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float

from orchestai_jax.checkpoint import open_checkpoint
from orchestai_jax.config import InferenceScalingConfig, Preference, serving_in_force
from orchestai_jax.data import Tokenizer, bucket_length, load_tokenizer
from orchestai_jax.data.tokenizer import clean_text
from orchestai_jax.nn.compilation import enable_compilation_cache
from orchestai_jax.planner import compiled
from orchestai_jax.planner.attribution import Explanation, argument_words, hide_words, split_words
from orchestai_jax.planner.calibration import Calibration
from orchestai_jax.planner.catalog_arrays import CatalogArrays, PlanStatistics, build_catalog_arrays, description_texts
from orchestai_jax.planner.compiled import PlanningInputs
from orchestai_jax.planner.decoding import NO_PLAN
from orchestai_jax.planner.description_vectors import catalog_vectors
from orchestai_jax.planner.encoded_vectors import saved_vectors
from orchestai_jax.planner.evidence_reader import EvidenceReader, Offsets, SegmentArrays
from orchestai_jax.planner.model import (
    ModelSpec,
    Parameters,
    build_structure,
    partition,
)
from orchestai_jax.planner.plan_to_workflow import drawn_edges, empty_workflow, to_workflow
from orchestai_jax.planner.saved import check_parameters, read_assets, read_spec
from orchestai_jax.planner.vector_cache import VectorCache, fingerprint
from orchestai_jax.workflow import Catalog, Workflow

_BUCKET = 16
_BATCH = 32
_BATCH_TIMES_TYPES = 2**18
"""Over large catalogs batches shrink, so that rows x task types stays under this and fits into memory."""
_KEPT_CATALOGS = 8
"""Catalogs whose arrays are kept, the one used longest ago going first."""


@dataclasses.dataclass(frozen=True)
class _Bound:
    """A catalog and its arrays. Keeping the catalog keeps its id from being given to another."""

    catalog: Catalog
    arrays: CatalogArrays
    reader: EvidenceReader | None
    """For planners that match descriptions."""


class Planner:
    """Plans instructions over a catalog: the one it was trained on, or any other.

    Plans are compiled once a bucket of 16 tokens, for one instruction and for batches (of 32, fewer over thousands of
    task types). Use `from_checkpoint`.
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
        self._graphdef, _ = build_structure(spec)
        self._parameters, self._tokenizer, self._statistics = parameters, tokenizer, statistics
        self._bound: dict[int, _Bound] = {}
        if catalog.task_types:
            self._bound[id(catalog)] = self._bind(catalog, vectors)

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
        token_ids = self._tokenizer.encode_batch(texts, self._max_tokens)
        unreadable = self._unreadable(texts, token_ids)
        order = sorted((i for i in range(len(texts)) if i not in unreadable), key=lambda i: len(token_ids[i]))
        for i, reason in unreadable.items():
            workflows[i] = empty_workflow(texts[i], reason)
        size = batch_size(len(catalog.task_types))
        for batch in (order[i : i + size] for i in range(0, len(order), size)):
            full = 1 if len(batch) == 1 else size
            inputs = self._read(bound, [texts[i] for i in batch], [token_ids[i] for i in batch], rows=full)
            weights = self._weights(preference, full)
            decoded = jax.device_get(
                compiled.plan(
                    self._graphdef, self.spec.planner.decoding, self._parameters, bound.arrays, inputs, weights
                )
            )
            for row, i in enumerate(batch):
                notes = ()
                if self._tokenizer.truncated(texts[i], self._max_tokens):
                    notes = (f"only the first {self._max_tokens} tokens of the instruction were read",)
                plan = jax.tree.map(lambda x, row=row: x[row], decoded)
                config = self.spec.planner
                workflows[i] = to_workflow(texts[i], plan, catalog, config, preference, self.calibration, notes)
        return [w for w in workflows if w is not None]

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
        tokens = self._tokenizer.encode_batch([text], self._max_tokens)
        if not catalog.task_types or self._unreadable([text], tokens):
            return []
        bound = self._bound_to(catalog)
        inputs = self._read(bound, [text], tokens)
        decoded = jax.device_get(
            compiled.plan_ranked(
                self._graphdef, n, self._parameters, bound.arrays, inputs, self._weights(preference, 1)
            )
        )
        plans = [jax.tree.map(lambda x, rank=rank: x[rank], decoded) for rank in range(n)]
        return [
            to_workflow(text, plan, catalog, self.spec.planner, preference, self.calibration)
            for plan in plans
            if plan.plan_logp > NO_PLAN
        ]

    def task_type_scores(self, text: str, catalog: Catalog | None = None) -> dict[str, float]:
        """How probable it is that the instruction wants each task type, by the label head: id to [0, 1], highest first.

        Empty for text that cannot be planned.
        """
        catalog = catalog if catalog is not None else self.catalog
        tokens = self._tokenizer.encode_batch([text], self._max_tokens)
        if not catalog.task_types or self._unreadable([text], tokens):
            return {}
        bound = self._bound_to(catalog)
        inputs = self._read(bound, [text], tokens)
        labels = np.asarray(compiled.label_probabilities(self._graphdef, self._parameters, bound.arrays, inputs)[0])
        order = np.argsort(-labels, kind="stable")
        return {catalog.task_types[i].id: float(labels[i]) for i in order}

    def explain(self, text: str, catalog: Catalog | None = None, preference: Preference | None = None) -> Explanation:
        """Plan one instruction, and say which of its words spoke for each task, edge and argument.

        Takes a pass of the network for every 32 words. An instruction without a plan has an explanation without words.
        """
        catalog = catalog if catalog is not None else self.catalog
        workflow = self.plan(text, catalog, preference)
        if not workflow.tasks:
            return Explanation(workflow, (), {}, {}, {})
        tokens = self._tokenizer.encode_batch([text], self._max_tokens)
        offsets = self._tokenizer.offsets(text, self._max_tokens)
        cleaned = clean_text(text)
        words = split_words(cleaned, max(end for _, end in offsets))
        ids, _ = _padded(tokens, self._max_tokens)
        masks = hide_words(words, offsets, ids.shape[1])
        chosen = np.full(self.spec.planner.decomposer.max_tasks, len(catalog.task_types), np.int32)
        chosen[: len(workflow.tasks)] = [catalog.index[task.task_type] for task in workflow.tasks]
        bound = self._bound_to(catalog)
        seen = [cleaned] + [cleaned[:start] + " " * (end - start) + cleaned[end:] for start, end in words]
        logp, edges = self._score_given(bound, ids[0], masks, chosen, seen, offsets)
        position = {task.id: i for i, task in enumerate(workflow.tasks)}
        pairs = [(p, task.id) for task in workflow.tasks for p in task.depends_on]
        forward = np.triu(1 / (1 + np.exp(-edges[0])), k=1)
        return Explanation(
            workflow=workflow,
            words=tuple(cleaned[start:end] for start, end in words),
            tasks={task: tuple((logp[0, i] - logp[1:, i]).tolist()) for task, i in position.items()},
            edges={
                (s, t): tuple((edges[0, position[s], position[t]] - edges[1:, position[s], position[t]]).tolist())
                for s, t in pairs
            },
            arguments=argument_words(workflow, catalog, words, forward),
        )

    def _score_given(
        self,
        bound: _Bound,
        ids: np.ndarray,
        masks: np.ndarray,
        chosen: np.ndarray,
        seen: Sequence[str],
        offsets: Offsets,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`score_given` of one plan under many masks, in batches of one shape. `seen` is what each mask leaves of the
        text, whose tokens stand at `offsets`."""
        size = batch_size(bound.arrays.known.shape[0])
        found = []
        for start in range(0, len(masks), size):
            part, texts = masks[start : start + size], seen[start : start + size]
            more = size - len(part)
            rows = np.concatenate([part, np.repeat(part[-1:], more, axis=0)])
            segments = None
            if bound.reader is not None:
                read = bound.reader.read(texts, [offsets] * len(texts), ids.shape[0])
                segments = _repeated(read, more)
            inputs = PlanningInputs(np.tile(ids, (size, 1)), rows, segments)
            scores = compiled.score_of_given(
                self._graphdef, self._parameters, bound.arrays, inputs, np.tile(chosen, (size, 1))
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
        tokens = self._tokenizer.encode_batch([text], self._max_tokens)
        bound = self._bound_to(catalog)
        inputs = self._read(bound, [text], tokens, least=self._max_tokens)  # one length, compiled once
        chosen = np.full((1, most), len(catalog.task_types), np.int32)
        chosen[0, : len(task_types)] = [catalog.index[t] for t in task_types]
        weights = self._weights(self.preference, 1)
        decoded = compiled.plan_given(self._graphdef, self._parameters, bound.arrays, inputs, weights, chosen)
        probabilities = np.asarray(decoded.edge_probabilities[0])
        return drawn_edges(probabilities, self.spec.planner.graph_generator.threshold)

    @functools.cached_property
    def vector_cache(self) -> VectorCache | None:
        """Keeps vectors of descriptions on disk; set it to None to encode them anew in every process."""
        frozen = partition(self._parameters, self.spec)["frozen"]
        return VectorCache(fingerprint(frozen, self._tokenizer.json), block=self.vector_block)

    @property
    def _max_tokens(self) -> int:
        return min(self.spec.planner.encoder.max_tokens, self.spec.encoder.max_positions)

    def _bind(self, catalog: Catalog, vectors: Float[np.ndarray, "n hidden"]) -> _Bound:
        matches = self.spec.planner.decomposer.match_descriptions
        arrays = build_catalog_arrays(catalog, vectors, self._statistics)
        return _Bound(catalog, arrays, EvidenceReader(catalog) if matches else None)

    def _bound_to(self, catalog: Catalog) -> _Bound:
        bound = self._bound.pop(id(catalog), None)
        if bound is None:
            vectors = catalog_vectors(
                self._graphdef, self._parameters, self._tokenizer, catalog, self.progress, self.vector_cache
            )
            bound = self._bind(catalog, vectors)
        self._bound[id(catalog)] = bound
        if len(self._bound) > _KEPT_CATALOGS:
            del self._bound[next(iter(self._bound))]
        return bound

    def _read(
        self,
        bound: _Bound,
        texts: Sequence[str],
        token_ids: Sequence[Sequence[int]],
        *,
        rows: int | None = None,
        least: int = 1,
    ) -> PlanningInputs:
        """Texts as the network takes them, padded to so many rows by repeating the last and to a bucket of tokens."""
        more = (rows or len(texts)) - len(texts)
        ids, mask = _padded([*token_ids, *[token_ids[-1]] * more], self._max_tokens, least)
        segments = None
        if bound.reader is not None:
            offsets = [self._tokenizer.offsets(text, self._max_tokens) for text in texts]
            segments = _repeated(bound.reader.read(texts, offsets, ids.shape[1]), more)
        return PlanningInputs(ids, mask, segments)

    def _unreadable(self, texts: Sequence[str], token_ids: list[list[int]]) -> dict[int, str]:
        """Why a text cannot be planned, by its position."""
        nothing = set(self._tokenizer.encode_batch([""], self._max_tokens)[0]) | self._tokenizer.unknown_ids
        reasons = {}
        for i, text in enumerate(texts):
            if not text.strip():
                reasons[i] = "the instruction is empty"
            elif not set(token_ids[i]) - nothing or not any(c.isalnum() for c in text):
                reasons[i] = "the instruction holds no words"
        return reasons

    def _weights(self, preference: Preference, rows: int) -> np.ndarray:
        weights = (preference.success, preference.cost, preference.latency)
        return np.tile(np.array(weights, np.float32), (rows, 1))


def _repeated(segments: SegmentArrays, more: int) -> SegmentArrays:
    """With the last row so many times more."""
    return jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], more, axis=0)]) if more else x, segments)


def batch_size(num_task_types: int) -> int:
    """Instructions planned at once over a catalog of that size: a power of two, at most 32."""
    return 1 << min(_BATCH, max(1, _BATCH_TIMES_TYPES // num_task_types)).bit_length() - 1


def _padded(rows: Sequence[Sequence[int]], max_tokens: int, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    length = bucket_length(max(least, *map(len, rows)), _BUCKET, max_tokens)
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = True
    return ids, mask
