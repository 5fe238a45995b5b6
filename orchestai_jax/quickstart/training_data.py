"""Training data of the quickstart: plans over the embedded catalog in words, workers from measured outcomes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from orchestai_jax.config import Preference
from orchestai_jax.data import PlanningSample, SynthesisConfig, Templates, parse_templates, synthesize
from orchestai_jax.quickstart.composition import compose
from orchestai_jax.quickstart.plan_sampling import Plan, PlanSampler
from orchestai_jax.quickstart.wording import FORMS, Part, Wording, expand, load_wording
from orchestai_jax.quickstart.worker_outcomes import WorkerOutcomes, best_worker
from orchestai_jax.workflow import Catalog

STATED_SHARE = 0.7
"""Share of the instructions that state a preference, among those with a choice of workers in their plan."""

PREFERENCE_WEIGHTS = {"fast": 0.3, "quality": 0.45, "cheap": 0.25}
"""How often each is stated: quality is what changes the best worker most often."""

MAX_TEXT_LENGTH = 240
"""Longer instructions, in characters, are left out: hardly anybody writes them, and they cost a compilation."""

GENERIC_SHARE = 0.2
"""Share of the instructions that `data.synthesize` composes, with the same clauses."""

STEP_TEXTS = 2000
"""Training samples that keep a text for each of their tasks: more teach nothing new and take long to encode."""

_POOL = 48
"""Values drawn for each slot of the generic templates."""


@dataclasses.dataclass(frozen=True)
class QuickstartData:
    """Samples to train on, to validate with (the same clauses), and of clauses never used in training."""

    train: tuple[PlanningSample, ...]
    validation: tuple[PlanningSample, ...]
    held_out_templates: tuple[PlanningSample, ...]


def make_training_data(
    catalog: Catalog,
    outcomes: WorkerOutcomes,
    *,
    seed: int = 0,
    train: int,
    validation: int,
    held_out: int,
    progress: Callable[[int, int], None] | None = None,
) -> QuickstartData:
    """Make all samples. Equal arguments give equal samples; no instruction comes twice, in whatever part.

    A sample's workers are the best ones under the preference that its instruction states, else under the balanced
    default; `preference` holds the weights. `complexities` are the task types' measured times as shares of the longest.

    Raises ValueError where a number of samples is below 1.
    """
    for name, count in (("train", train), ("validation", validation), ("held_out", held_out)):
        if count < 1:
            raise ValueError(f"{name} is {count}; at least 1 sample is needed")
    wording = load_wording(catalog)
    maker = _Maker(catalog, outcomes, progress, train + validation + held_out)
    parts = [
        maker.make(wording.part(part), count, np.random.default_rng([seed, number]), generic_seed=seed)
        for number, (part, count) in enumerate(_parts(train, validation, held_out))
    ]
    silent = [[dataclasses.replace(s, step_texts=None) for s in part] for part in (parts[0][STEP_TEXTS:], *parts[1:])]
    return QuickstartData((*parts[0][:STEP_TEXTS], *silent[0]), tuple(silent[1]), tuple(silent[2]))


def _parts(train: int, validation: int, held_out: int) -> tuple[tuple[Part, int], ...]:
    return ("train", train), ("train", validation), ("held_out", held_out)


def label(sample: PlanningSample, outcomes: WorkerOutcomes, preference: Preference) -> PlanningSample:
    """The sample with the best workers under a preference, its weights, and the complexity of each task."""
    chosen = {task_type: best_worker(outcomes, task_type, preference) for task_type in sample.nodes}
    return dataclasses.replace(
        sample,
        workers=tuple(chosen[t] for t in sample.task_types),
        complexities=tuple(outcomes.complexities[t] for t in sample.task_types),
        preference=preference.weights,
    )


class _Maker:
    """Makes samples of which no two have the same instruction."""

    def __init__(
        self, catalog: Catalog, outcomes: WorkerOutcomes, progress: Callable[[int, int], None] | None, total: int
    ) -> None:
        self._catalog, self._outcomes = catalog, outcomes
        self._sampler = PlanSampler(catalog)
        self._seen: set[str] = set()
        self._progress, self._total, self._done = progress, total, 0
        self._choices = set(outcomes.choices)

    def make(self, wording: Wording, count: int, rng: np.random.Generator, generic_seed: int) -> list[PlanningSample]:
        """`count` labelled samples in random order."""
        samples: list[PlanningSample] = []
        generic = round(count * GENERIC_SHARE)
        if generic:
            samples += self._generic(wording, generic, rng, generic_seed)
        often: Counter[str] = Counter()
        while len(samples) < count:
            plan = self._balanced_plan(rng, often)
            preference = self._preference([task.task_type for task in plan], rng)
            request = compose(plan, wording, rng, preference)
            sample = PlanningSample(
                id=_id(request.text),
                instruction=request.text,
                task_types=tuple(task.task_type for task in plan),
                dependencies=tuple((source, i) for i, task in enumerate(plan) for source in task.producers),
                step_texts=request.step_texts,
            )
            self._keep(sample, preference, samples)
        return [samples[i] for i in rng.permutation(len(samples))]

    def _balanced_plan(self, rng: np.random.Generator, often: Counter[str]) -> Plan:
        """Of a few plans the one whose task types came least so far."""
        plans = [self._sampler.sample(rng) for _ in range(3)]
        plan = min(plans, key=lambda p: sum(often[task.task_type] for task in p) / len(p))
        often.update(task.task_type for task in plan)
        return plan

    def _preference(self, task_types: Sequence[str], rng: np.random.Generator) -> str | None:
        share = STATED_SHARE if self._choices & set(task_types) else STATED_SHARE / 3
        if rng.random() >= share:
            return None
        return str(rng.choice(list(PREFERENCE_WEIGHTS), p=list(PREFERENCE_WEIGHTS.values())))

    def _keep(self, sample: PlanningSample, preference: str | None, samples: list[PlanningSample]) -> None:
        key = " ".join(sample.instruction.casefold().split())
        if key in self._seen or len(sample.instruction) > MAX_TEXT_LENGTH:
            return
        self._seen.add(key)
        samples.append(label(sample, self._outcomes, Preference.PRESETS[preference or "balanced"]))
        self._done += 1
        if self._progress is not None and self._done % 100 == 0:
            self._progress(self._done, self._total)

    def _generic(self, wording: Wording, count: int, rng: np.random.Generator, seed: int) -> list[PlanningSample]:
        config = SynthesisConfig(n=count + count // 10, seed=seed + int(rng.integers(1 << 30)), max_tasks=4)
        kept: list[PlanningSample] = []  # a few more are made than wanted, because long ones are left out
        for sample in synthesize(self._catalog, config, generic_templates(wording, self._catalog, rng)):
            preference = self._preference(sample.task_types, rng)
            text = sample.instruction
            if preference is not None:
                text = f"{text} {expand_one(wording, preference, rng)}"
            self._keep(dataclasses.replace(sample, id=_id(text), instruction=text, arguments=None), preference, kept)
        return kept[:count]


def expand_one(wording: Wording, preference: str, rng: np.random.Generator) -> str:
    """A sentence that states a preference."""
    return wording.draw(wording.preferences[preference]["sentence"], rng)


def generic_templates(wording: Wording, catalog: Catalog, rng: np.random.Generator) -> Templates:
    """The same clauses and values for `data.synthesize`, which composes them in its own way.

    Values are words: what they mean as arguments is not known here. A slot that is a parameter gives it its words; one
    that is none (`{condition}`) gives its words to the required parameters that no slot is named after.
    """
    task_types = {
        task_type: {form: [line.source for line in lines] for form, lines in forms.items() if form in FORMS and lines}
        for task_type, forms in wording.clauses.items()
    }
    values: dict[str, list[dict[str, object]]] = {}
    for task_type in catalog.task_types:
        slots = {s for forms in wording.clauses[task_type.id].values() for line in forms for s in line.slots()}
        parameters = {parameter.name for parameter in task_type.parameters}
        implied = {p.name for p in task_type.parameters if p.must_be_given} - slots
        for slot in sorted(slots - {port.name for port in task_type.inputs}):
            given = {slot} if slot in parameters else implied
            says = {wording.value(task_type.id, slot, rng) for _ in range(_POOL)}
            values[f"{task_type.id}.{slot}"] = [{"say": say, "set": dict.fromkeys(given, say)} for say in sorted(says)]
    for kind, files in wording.files.items():
        names = {f"{wording.draw(files.stems, rng)}.{wording.draw(files.extensions, rng)}" for _ in range(2 * _POOL)}
        unnamed = {wording.draw(files.unnamed, rng) for _ in range(_POOL // 2)}
        values[kind] = [{"say": say, "value": say} for say in sorted(names | unnamed)]
    for task_type_id, forms in task_types.items():
        if "names" in forms:
            names = wording.clauses  # names are no clauses there: alternatives and slots are filled in here
            forms["names"] = [expand(line, rng) for line in names[task_type_id]["names"] if not line.slots()]
    return parse_templates({"task_types": task_types, "values": values})


def _id(text: str) -> str:
    return f"quickstart-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
