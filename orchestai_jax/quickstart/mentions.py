"""How the inputs of a task are mentioned: files by name or without one, results by a pronoun or by what they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from orchestai_jax.quickstart.plan_sampling import FileInput, Input, Plan, TaskInput, pick
from orchestai_jax.quickstart.wording import Wording, expand

_QUOTED = {"label", "title", "find", "replacement", "column", "name"}
"""Values that people sometimes put in quotes."""


class Telling:
    """What an instruction has said so far about one plan: which files and results, and what was said last."""

    def __init__(self, plan: Plan, wording: Wording, rng: np.random.Generator) -> None:
        self._plan, self._wording, self._rng = plan, wording, rng
        self._files: dict[int, tuple[str, str]] = {}
        """File → (name or its description, noun)."""
        self._values: dict[tuple[int, str], str] = {}
        self._told: set[int] = set()
        self._topic: Input | None = None
        self._looked_at: Input | None = None
        """What the task told last has only looked at."""
        self.nested: set[int] = set()

    def is_topic(self, source: Input) -> bool:
        """Whether `it` would be understood as this input."""
        return self._topic == source or self._looked_at == source

    def depends_on_told(self, task: int, others: Collection[int]) -> bool:
        """Whether a task needs, itself or through what is nested in it, one of the others."""
        return any(
            p in others or (p in self.nested and self.depends_on_told(p, others)) for p in self._plan[task].producers
        )

    def clause(self, task: int, form: str, stands_for: Mapping[Input, Input] | None = None) -> str:
        """A clause of a task with everything filled in; from then on the task's result is what was said last.

        `do` is used where the task type has no clause of the form. `stands_for` mentions inputs in place of others.
        """
        planned = self._plan[task]
        if form in ("short", "done") and self.nested & set(planned.producers):
            form = "do"
        template = self._wording.pick(planned.task_type, form, self._rng)
        if template is None:
            template = self._wording.pick(planned.task_type, "do", self._rng)
        assert template is not None, planned.task_type
        sources = {name: (stands_for or {}).get(source, source) for name, source in planned.inputs}
        named = [name for name in re.findall(r"\{(\w+)\}", template) if name in sources]
        text = template
        if (
            len(sources) == 2
            and "{first} and {second}" in text
            and self._all_told(list(sources.values()))
            and self._rng.random() < 0.6
        ):
            text = text.replace("{first} and {second}", self._mention_of("pair", self._noun(planned.inputs[0][1])))
        elif len(set(named)) == len(sources):
            for name in dict.fromkeys(named):
                text = text.replace(f"{{{name}}}", self.mention(sources[name]))
        elif any(f"{{{slot}}}" in text for slot in ("text", "first")):
            text = re.sub(r"\{(text|first)\}", lambda _: self._list_of(list(sources.values())), text, count=1)
        text = re.sub(r"\{(\w+)\}", lambda match: self._value(task, match[1]), text)
        self._told.add(task)
        self._topic = TaskInput(task, planned.task_type)
        self._looked_at = planned.inputs[0][1] if planned.task_type in self._wording.looks_only else None
        return text

    def _list_of(self, sources: Sequence[Input]) -> str:
        if len(sources) > 1 and self._all_told(sources) and self._rng.random() < 0.6:
            return self._mention_of("all", "file")
        parts = [self.mention(source) for source in sources]
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

    def _all_told(self, sources: Sequence[Input]) -> bool:
        return all(
            source.task in self._told if isinstance(source, TaskInput) else source.file in self._files
            for source in sources
        )

    def mention(self, source: Input) -> str:
        """What an input is called here and now."""
        if isinstance(source, FileInput):
            text = self._mention_file(source)
        elif source.task not in self._told:
            text = self.clause(source.task, "thing")
        elif self._topic == source and self._rng.random() < 0.7:
            text = self._mention_of("result", self._noun(source))
        else:
            names = self._wording.clauses[source.task_type]["names"]
            text = self._fill(source.task, expand(pick(self._rng, names), self._rng))
        self._topic, self._looked_at = source, None
        return text

    def _mention_file(self, source: FileInput) -> str:
        if source.file not in self._files:
            return self._introduce(source)
        name, noun = self._files[source.file]
        return self._mention_of("again" if self.is_topic(source) else "original", noun).replace("{name}", name)

    def _introduce(self, source: FileInput) -> str:
        wording = self._wording.files[source.kind]
        noun = self._wording.draw(wording.nouns, self._rng)
        if self._rng.random() < 0.25:
            text = self._wording.draw(wording.unnamed, self._rng)
            self._files[source.file] = (re.sub(r"^(a|an|my|our|this|that) ", "the ", text), noun)
            return text
        taken = {name for name, _ in self._files.values()}
        while True:
            stem = self._wording.draw(wording.stems, self._rng)
            if self._rng.random() < 0.12:
                stem += str(self._rng.choice(["_2024", "2", "_final", "-new", "_v2", "_copy", "_small", "_01"])).strip()
            name = f"{stem}.{self._wording.draw(wording.extensions, self._rng)}"
            if name not in taken:
                break
        self._files[source.file] = (name, noun)
        frame = self._mention_of("named", noun).replace("{name}", name)
        return frame.replace("{folder}", self._wording.draw(self._wording.folders, self._rng))

    def _mention_of(self, kind: str, noun: str) -> str:
        return self._wording.draw(self._wording.mentions[kind], self._rng).replace("{noun}", noun)

    def _noun(self, source: Input) -> str:
        kind = source.kind if isinstance(source, FileInput) else self._wording.output_kind(source.task_type)
        return self._wording.draw(self._wording.files[kind].nouns, self._rng)

    def _value(self, task: int, slot: str) -> str:
        key = (task, slot)
        if key not in self._values:
            value = self._wording.value(self._plan[task].task_type, slot, self._rng)
            quote = (
                str(self._rng.choice(['"', '"', "'", "`", ""], p=[0.2, 0.1, 0.14, 0.02, 0.54]))
                if slot in _QUOTED
                else ""
            )
            self._values[key] = f"{quote}{value}{quote}"
        return self._values[key]

    def _fill(self, task: int, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: self._value(task, match[1]), text)

    def step_text(self, task: int) -> str:
        """A clause of any form for a task by itself, its inputs called by what they are."""
        planned = self._plan[task]
        forms = [
            f
            for f in ("do", "do", "do", "short", "thing", "thing", "done", "ask", "need")
            if self._wording.has(planned.task_type, f)
        ]
        template = self._wording.pick(planned.task_type, pick(self._rng, forms), self._rng)
        assert template is not None, planned.task_type
        for name, source in planned.inputs:
            template = template.replace(f"{{{name}}}", f"the {self._noun(source)}")
        template = re.sub(r"\{(text|first|second)\}", "the files", template)
        return self._fill(task, template)
