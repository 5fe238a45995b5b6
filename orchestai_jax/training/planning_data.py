"""Planning samples as padded arrays, with the output of the encoder's frozen layers computed once and kept."""

from __future__ import annotations

import dataclasses
import graphlib
import re
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from orchestai_jax.data import PlanningSample, Tokenizer, bucket_length
from orchestai_jax.planner.evidence_reader import EvidenceReader
from orchestai_jax.planner.loss import PlanningBatch
from orchestai_jax.training.segmented_texts import SegmentedTexts, SegmentVectors
from orchestai_jax.workflow import Catalog

Lower = Callable[[Int[np.ndarray, "batch n"], np.ndarray], Float[np.ndarray, "batch n hidden"]]
"""Token ids and mask → output of the frozen layers."""

MAX_STEP_TOKENS = 32
"""What a step's text holds beyond this many tokens is not read (a twentieth of UltraTool's are longer)."""

_STEP_NUMBER = re.compile(r"^\s*(?:step)?\s*\d+\s*[.:)]?\s*", re.IGNORECASE)
_LOWER_BATCH = 32
_BUCKET = 16

TRAINING_BUCKET = 32
"""Training pads to buckets of 32 tokens: half as many lengths to compile as planning's 16, for more padding."""


class PlanningData:
    """Samples laid out once; `collate` makes a PlanningBatch of any of them.

    Raises ValueError as `check_samples` does, and when a sample's dependencies make a cycle.
    """

    def __init__(
        self,
        samples: Sequence[PlanningSample],
        catalog: Catalog,
        tokenizer: Tokenizer,
        *,
        max_tokens: int,
        max_tasks: int,
        default_preference: tuple[float, float, float],
        lower: Lower | None,
        seed: int = 0,
        step_texts_per_batch: int = 16,
        progress: Callable[[int, int], None] | None = None,
        segment_vectors: SegmentVectors | None = None,
    ) -> None:
        check_samples(samples, catalog, max_tasks)
        self.samples = [in_topological_order(s) for s in samples]
        self._catalog, self._max_tasks, self._default = catalog, max_tasks, default_preference
        self._seed, self._lower, self._progress = seed, lower, progress
        self._workers = {w.id: i for i, w in enumerate(catalog.workers)}
        self._tokens = self._encode(tokenizer.encode_batch([s.instruction for s in samples], max_tokens))
        self.lengths = [len(t) for t in self._tokens]
        steps = [
            (step_clause(text, task_type), catalog.index[task_type])
            for sample in self.samples
            for text, task_type in zip(sample.step_texts or (), sample.task_types, strict=False)
        ]
        steps = [(text, i) for text, i in steps if text]
        self._steps_per_batch = step_texts_per_batch if steps else 0
        step_ids = tokenizer.encode_batch([text for text, _ in steps], MAX_STEP_TOKENS) if steps else []
        self._step_tokens = self._encode(step_ids)
        self._step_types = np.array([i for _, i in steps], np.int32)
        self._targets = [self._target(s) for s in self.samples]
        self._segments = self._step_segments = None
        if segment_vectors is not None:
            reader = EvidenceReader.of(catalog)
            texts = [s.instruction for s in samples]
            self._segments = SegmentedTexts(texts, tokenizer, max_tokens, reader, segment_vectors)
            texts = [text for text, _ in steps]
            if self._steps_per_batch:
                self._step_segments = SegmentedTexts(texts, tokenizer, MAX_STEP_TOKENS, reader, segment_vectors)

    def collate(self, indices: np.ndarray, weights: np.ndarray, padded_length: int) -> PlanningBatch:
        """The batch of the samples at `indices`, padded to `padded_length` tokens."""
        random = np.random.default_rng([self._seed, padded_length, *map(int, indices)])
        picked = random.integers(0, max(len(self._step_tokens), 1), self._steps_per_batch)
        tokens, mask = _pad([self._tokens[i] for i in indices], padded_length)
        step_tokens, step_mask = self._step_rows(picked)
        chosen, edges, workers, complexity, preference = map(
            np.stack, zip(*(self._targets[i] for i in indices), strict=True)
        )
        # The instruction may say what is preferred ("quickly"): half of the time the model must hear it from there.
        silent = random.random(len(indices)) < 0.5
        stated = preference
        preference = np.where(silent[:, None], np.array(self._default, np.float32), preference)
        on_device = jnp.asarray
        return PlanningBatch(
            tokens=on_device(tokens),
            mask=on_device(mask),
            chosen=on_device(chosen),
            edges=on_device(edges),
            workers=on_device(workers),
            complexity=on_device(complexity),
            preference=on_device(preference, jnp.float32),
            stated_preference=on_device(stated, jnp.float32),
            is_silent=on_device(silent),
            weights=on_device(weights, jnp.float32),
            step_tokens=on_device(step_tokens),
            step_mask=on_device(step_mask),
            step_task_types=on_device(self._step_types[picked]),
            evidence=self._segments and self._segments.evidence(indices, padded_length),
            step_evidence=self._step_segments and self._step_segments.evidence(picked, MAX_STEP_TOKENS),
        )

    def _step_rows(self, picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The step texts at `picked`, all of one length, so that they add no shape to compile."""
        if not len(picked):
            return np.zeros((0, MAX_STEP_TOKENS), np.int32), np.zeros((0, MAX_STEP_TOKENS), bool)
        return _pad([self._step_tokens[i] for i in picked], MAX_STEP_TOKENS)

    def _target(self, sample: PlanningSample) -> tuple[np.ndarray, ...]:
        n, most = len(sample.task_types), self._max_tasks
        chosen = np.full(most, len(self._catalog.task_types), np.int32)
        chosen[:n] = [self._catalog.index[t] for t in sample.task_types]
        edges = np.zeros((most, most), np.float32)
        for source, target in sample.dependencies:
            edges[source, target] = 1
        workers = np.full(most, -1, np.int32)
        for j, worker in enumerate(sample.workers or ()):
            if worker is not None:
                workers[j] = self._workers[worker]
        complexity = np.full(most, -1, np.float32)
        complexity[: len(sample.complexities or ())] = sample.complexities or ()
        return chosen, edges, workers, complexity, np.array(sample.preference or self._default, np.float32)

    def instructions(self, indices: Sequence[int], padded_length: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (ids, or frozen layers' output) and mask of the instructions at `indices`, as in a PlanningBatch."""
        return _pad([self._tokens[i] for i in indices], padded_length)

    def preference_of(self, index: int) -> tuple[float, float, float]:
        """The weights under which the workers of a sample are the best: its own, else the default."""
        return self.samples[index].preference or self._default

    def _encode(self, token_ids: list[list[int]]) -> list[np.ndarray]:
        """Token ids, or frozen layers' output of each text [its tokens, hidden] where there are frozen layers."""
        if self._lower is None or not token_ids:
            return [np.array(t, np.int32) for t in token_ids]
        encoded: list[np.ndarray] = [np.zeros(0)] * len(token_ids)
        order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
        for start in range(0, len(order), _LOWER_BATCH):
            batch = order[start : start + _LOWER_BATCH]
            rows = [np.array(token_ids[i], np.int32) for i in batch]
            padded = bucket_length(max(map(len, rows)), _BUCKET)
            rows += rows[-1:] * (_LOWER_BATCH - len(rows))  # always full, so that each length compiles once
            hidden = self._lower(*_pad(rows, padded))
            for row, i in zip(hidden, batch, strict=False):
                encoded[i] = row[: len(token_ids[i])]
            if self._progress:
                self._progress(start + len(batch), len(order))
        return encoded


def check_samples(samples: Sequence[PlanningSample], catalog: Catalog, max_tasks: int) -> None:
    """Raise ValueError for a sample with more tasks than `max_tasks`, with a worker that the catalog does not have, or
    with one that cannot do its task."""
    for sample in samples:
        n = len(sample.task_types)
        if n > max_tasks:
            raise ValueError(
                f"sample {sample.id} has {n} tasks, the planner plans at most {max_tasks};"
                f" set planner.decomposer.max_tasks={n} or more"
            )
        for task_type, worker in zip(sample.task_types, sample.workers or (), strict=sample.workers is not None):
            if worker is not None and not catalog.has_worker(worker):
                raise ValueError(f"sample {sample.id} names worker {worker!r}, which the catalog does not have")
            if worker is not None and not catalog.can_do(worker, task_type):
                raise ValueError(f"sample {sample.id} gives {task_type} to {worker!r}, which cannot do it")


def _pad(rows: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n_i, ...] cut and padded with zeros to [rows, length, ...], and the mask of what is real."""
    padded = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        row = row[:length]
        padded[i, : len(row)] = row
        mask[i, : len(row)] = True
    return padded, mask


def in_topological_order(sample: PlanningSample) -> PlanningSample:
    """The sample, tasks moved where needed so that every dependency goes forward. Raises ValueError on a cycle."""
    if all(source < target for source, target in sample.dependencies):
        return sample
    sorter = graphlib.TopologicalSorter(dict.fromkeys(range(len(sample.task_types)), ()))
    for source, target in sample.dependencies:
        sorter.add(target, source)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise ValueError(f"sample {sample.id}: its dependencies make a cycle: {error.args[1]}") from error
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        ready.extend(sorter.get_ready())
        ready.sort()  # as near to the order given as the dependencies allow
        order.append(ready.pop(0))
        sorter.done(order[-1])
    position = {old: new for new, old in enumerate(order)}

    def moved(values):
        return None if values is None else tuple(values[i] for i in order)

    return dataclasses.replace(
        sample,
        task_types=moved(sample.task_types),
        dependencies=tuple((position[s], position[t]) for s, t in sample.dependencies),
        workers=moved(sample.workers),
        step_texts=moved(sample.step_texts),
        arguments=moved(sample.arguments),
        complexities=moved(sample.complexities),
    )


def step_clause(text: str, task_type: str) -> str:
    """A step's text without its number and the words `Call <task type> to`, which would give the answer away."""
    text = _STEP_NUMBER.sub("", text)
    return re.sub(rf"^\s*call\s+{re.escape(task_type)}\s*(?:to\s+)?", "", text, flags=re.IGNORECASE).strip()
