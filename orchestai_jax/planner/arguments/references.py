"""Fills input ports: with earlier outputs where an edge or a word like `it` says so, else with files and text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from orchestai_jax.planner.arguments.clauses import Alignment
from orchestai_jax.planner.arguments.fitting import GOOD, best_output, file_fit, inputs_of, is_untyped, is_version
from orchestai_jax.planner.arguments.known_columns import columns_after, spelled
from orchestai_jax.planner.arguments.mentions import Mention
from orchestai_jax.planner.arguments.port_order import in_order
from orchestai_jax.planner.arguments.reading import Reading
from orchestai_jax.planner.arguments.task_words import TaskWords
from orchestai_jax.workflow.catalog import Port, TaskType
from orchestai_jax.workflow.workflow import Reference, Value

EdgeProbability = Callable[[int, int], float]

_UNLIKELY = 0.05
"""A pronoun adds no edge whose given probability is below this."""
_DOUBTFUL = 0.8
"""A predicted edge less probable than this gives way to a file of the task's own, see `_names_its_own`."""

Filler = Reference | Value


def task_id(task: int) -> str:
    """The id of the task at a position of the plan."""
    return f"t{task + 1}"


class PortFiller:
    """Arguments for the input ports of tasks, in order; `edges` grows and shrinks with them."""

    def __init__(
        self,
        reading: Reading,
        alignment: Alignment,
        types: Sequence[TaskType],
        edges: Collection[tuple[int, int]],
        probability: EdgeProbability | None,
        used: set[Any],
        said_columns: Sequence[Collection[str]] = (),
    ):
        self.reading, self.alignment, self.types = reading, alignment, types
        self.probability, self.used = probability, used
        self.predicted = frozenset(edges)
        self.edges: set[tuple[int, int]] = set()
        self.arguments: list[dict[str, Filler]] = [{} for _ in types]
        self.notes: list[str] = []
        self.said = TaskWords(reading, alignment, types)
        self._columns = said_columns
        self._taken: list[set[str]] = [set() for _ in types]
        """For each task the files that it, or a task that it gets its input from, reads."""

    def fill(self) -> None:
        """Fill the ports of every task in order."""
        for task in range(len(self.types)):
            ports = inputs_of(self.types[task])
            if not is_untyped(self.types[task]):
                self._fill_task(task, ports)
            else:
                self.edges.update(edge for edge in self.predicted if edge[1] == task)
        self._place_leftover_files()

    def _place_leftover_files(self) -> None:
        """A file that nobody reads goes to the last task of its sentence that has a free input for it."""
        read = {file for taken in self._taken for file in taken}
        for file in self.said.all_files:
            if file.text in read:
                continue
            sentence = self._sentence_of(file.start)
            for task in range(len(self.types) - 1, -1, -1):
                anchor = self.alignment.anchors[task]
                if anchor is None or self._sentence_of(anchor) != sentence:
                    continue
                free = [p for p in self.types[task].inputs if p.name not in self.arguments[task]]
                port = self._best_port(free, lambda p, m=file: max(0.0, file_fit(m.data_type, p) - 1), {})
                if port is not None:
                    self.arguments[task][port.name] = Value(value=file.text)
                    self._taken[task].add(file.text)
                    read.add(file.text)
                    break

    def _sentence_of(self, position: int) -> int:
        return self.alignment.clauses[self.alignment.clause_at(position)].sentence

    # one task

    def _fill_task(self, task: int, ports: dict[str, Port]) -> None:
        producers = sorted(i for i, j in self.predicted if j == task)
        for producer in [p for p in producers if self._doubtful(p, task) and self._lacks_columns(p, task)]:
            self.notes.append(
                f"{task_id(task)} reads a file and not {task_id(producer)}, whose table has none of the columns that "
                "the instruction names"
            )
            producers.remove(producer)
        if self._names_its_own(task, ports, producers):
            self.notes.append(
                f"{task_id(task)} reads the file that the instruction names for it, not {task_id(producers[0])}"
            )
            producers = []
        filled = self._match(task, ports, producers)
        for producer in producers:
            if not any(isinstance(f, Reference) and f.task == task_id(producer) for f in filled.values()):
                self.notes.append(
                    f"dropped the edge {task_id(producer)} -> {task_id(task)}: no free input of "
                    f"{self.types[task].id} takes an output of {self.types[producer].id}"
                )
        required = [p for p in ports.values() if p.required]
        self._fill_mentioned(task, ports, filled)
        for port in required:
            if port.name not in filled:
                filler = self._search(task, port, filled)
                if filler is not None:
                    filled[port.name] = filler
        if not required and not filled:
            # A task all of whose inputs are optional must still work on something.
            for port in ports.values():
                filler = self._search(task, port, filled)
                if filler is not None:
                    filled[port.name] = filler
        self.arguments[task] = in_order(self.said, task, ports, filled)
        for filler in filled.values():
            if isinstance(filler, Reference):
                producer = int(filler.task[1:]) - 1
                self.edges.add((producer, task))
                self._taken[task] |= self._taken[producer]
            elif isinstance(filler.value, str):
                self._taken[task].add(filler.value)

    def _match(self, task: int, ports: dict[str, Port], producers: Sequence[int]) -> dict[str, Filler]:
        """Give as many producers as possible a port of their own (augmenting paths), likelier ones first."""
        ranked = sorted(producers, key=lambda p: (-(self.probability(p, task) if self.probability else 0.0), -p))
        wanted = {
            p: sorted(
                (name for name, port in ports.items() if best_output(self.types[p], port)),
                key=lambda name: -(best_output(self.types[p], ports[name]) or (0.0,))[0],
            )
            for p in ranked
        }
        holder: dict[str, int] = {}

        def place(producer: int, seen: set[str]) -> bool:
            for name in wanted[producer]:
                if name in seen:
                    continue
                seen.add(name)
                if name not in holder or place(holder[name], seen):
                    holder[name] = producer
                    return True
            return False

        for producer in ranked:
            place(producer, set())
        return {name: self._reference(producer, ports[name]) for name, producer in holder.items()}

    def _reference(self, producer: int, port: Port) -> Reference:
        best = best_output(self.types[producer], port)
        assert best is not None
        return Reference(task=task_id(producer), output=best[1].name)

    def _names_its_own(self, task: int, ports: dict[str, Port], producers: Sequence[int]) -> bool:
        """`blur a.png and sharpen b.png`: an edge was predicted, yet the task has a file of its own."""
        if (
            len(ports) != 1
            or len(producers) != 1
            or self.said.pronouns(task)
            or self.said.named_results(task, self._improbable)
        ):
            return False
        if self.probability is not None and not self._doubtful(producers[0], task):
            return False
        port = next(iter(ports.values()))
        own = [f for f in self.said.files[task] if file_fit(f.data_type, port) >= GOOD]
        theirs = self._taken[producers[0]]
        return (
            bool(own)
            and bool(theirs)
            and all(f.text not in theirs for f in own)
            and bool(self.said.files[producers[0]])
        )

    # what the task's own clauses mention

    def _fill_mentioned(self, task: int, ports: dict[str, Port], filled: dict[str, Filler]) -> None:
        """What the task's own clauses speak of (files, quoted texts, earlier results) into the ports that are left."""
        left = [p for p in ports.values() if p.name not in filled]
        left.sort(key=lambda p: not p.required)
        several = len(ports) > 1
        has_reference = bool(filled)
        if left and several:
            self._fill_named_results(task, left, filled)
        for mention in self.said.files[task]:
            if mention.text in self._upstream_files(filled) and has_reference and not self.said.original(task):
                continue  # `zip the resized photo.png`: the file was read by what is referenced
            port = self._best_port(left, lambda p, m=mention: file_fit(m.data_type, p), filled)
            if port is not None and not any(f == Value(value=mention.text) for f in filled.values()):
                filled[port.name] = Value(value=mention.text)
        for port in left:
            if port.name in filled:
                continue
            if has_reference and port.required and self.said.original(task):
                original = self._reused_file(port, filled)
                if original is not None:
                    filled[port.name] = original
                    continue
            literal = self._own_literal(task, port)
            if literal is not None and not (has_reference and not port.required):
                filled[port.name] = literal
        if several and self.said.several(task):
            for port in left:
                sink = self._sink(task, port, filled) if port.name not in filled else None
                if sink is not None:
                    filled[port.name] = self._reference(sink, port)

    def _fill_named_results(self, task: int, left: Sequence[Port], filled: dict[str, Filler]) -> None:
        for producer in self.said.named_results(task, self._improbable):
            if any(f.task == task_id(producer) for f in filled.values() if isinstance(f, Reference)):
                continue
            port = self._best_port(left, lambda p, i=producer: (best_output(self.types[i], p) or (0.0,))[0], filled)
            if port is not None:
                filled[port.name] = self._reference(producer, port)

    def _best_port(self, ports: Iterable[Port], fit: Callable[[Port], float], filled: dict[str, Filler]) -> Port | None:
        """The free port with the best fit above 0; of equals the first."""
        best: tuple[float, Port] | None = None
        for port in ports:
            value = fit(port) if port.name not in filled else 0.0
            if value > 0 and (best is None or value > best[0]):
                best = (value, port)
        return None if best is None else best[1]

    def _own_literal(self, task: int, port: Port) -> Value | None:
        """A quoted text (or the passage after a colon) for a text port, a number for a number port."""
        kinds = {"text": ("quoted", "passage"), "any": ("quoted", "passage"), "number": ("number",)}.get(port.type, ())
        for mention in self.reading.mentions:
            key = ("mention", mention.start)
            if mention.kind in kinds and key not in self.used and self.alignment.owns(task, mention.start):
                self.used.add(key)
                return Value(value=mention.value if mention.kind == "number" else mention.text)
        return None

    # what is found elsewhere

    def _search(self, task: int, port: Port, filled: dict[str, Filler]) -> Filler | None:
        """An earlier result, a file or a text for a port that the task's own clauses say nothing certain about."""
        first = not filled
        if first and len(self.types[task].inputs) == 1 and self.said.original(task):
            original = self._nearest_file(task, port, filled, shared=True)
            if original is not None:
                return Value(value=original.text)
        if first and self.said.pronouns(task):
            producer = self._nearest_result(task, port)
            if producer is not None:
                of_file = self._file_of_producer(task, producer, port)
                return of_file if of_file is not None else self._reference(producer, port)
        mention = self._nearest_file(task, port, filled, shared=first)
        if mention is not None:
            return Value(value=mention.text)
        producer = self._nearest_result(task, port) if first else self._sink(task, port, filled)
        if producer is not None:
            return self._reference(producer, port)
        reused = self._reused_file(port, filled)
        if reused is not None:
            return reused
        return self._any_text(port)

    def _nearest_file(self, task: int, port: Port, filled: dict[str, Filler], shared: bool) -> Mention | None:
        """The fitting file nearest before where the text names the task, else the nearest after."""
        given = {f.value for f in filled.values() if isinstance(f, Value) and isinstance(f.value, str)}
        given |= self._upstream_files(filled)
        fitting = [f for f in self.said.all_files if file_fit(f.data_type, port) >= GOOD and f.text not in given]
        if not shared:
            elsewhere = {v for t, taken in enumerate(self._taken) if t != task for v in taken}
            fitting = [f for f in fitting if f.text not in elsewhere]
        if not fitting:
            return None
        anchor = self.alignment.anchors[task]
        best = max(file_fit(f.data_type, port) for f in fitting)
        fitting = [f for f in fitting if file_fit(f.data_type, port) == best]
        before = [f for f in fitting if anchor is not None and f.start < anchor]
        return before[-1] if before else fitting[0]

    def _nearest_result(self, task: int, port: Port) -> int | None:
        for producer in range(task - 1, -1, -1):
            if best_output(self.types[producer], port) is None or self._improbable(producer, task):
                continue
            if not self._lacks_columns(producer, task):
                return producer
        return None

    def _doubtful(self, producer: int, task: int) -> bool:
        return self.probability is not None and self.probability(producer, task) < _DOUBTFUL

    def _lacks_columns(self, producer: int, task: int) -> bool:
        """Whether a producer's table is known to have none of a task's columns, and there is a file of a table."""
        said = self._columns[task] if task < len(self._columns) else ()
        known = columns_after(producer, self.types, self.arguments) if said else frozenset()
        if not known or any(spelled(name, known) is not None for name in said):
            return False
        return any(file.data_type == "table" for file in self.said.all_files)

    def _file_of_producer(self, task: int, producer: int, port: Port) -> Value | None:
        """`the histogram of photo.png and its format`: `its` means what was drawn, not the drawing."""
        if not self.said.only_possessive(task) or is_version(self.types[producer]):
            return None
        fitting = (f for f in self.said.all_files if f.text in self._taken[producer])
        file = next((f for f in fitting if file_fit(f.data_type, port) >= GOOD), None)
        return None if file is None else Value(value=file.text)

    def _sink(self, task: int, port: Port, filled: dict[str, Filler]) -> int | None:
        """The first earlier task with a fitting output that nobody uses yet."""
        referenced = {f.task for f in filled.values() if isinstance(f, Reference)}
        busy = {i for i, _ in self.edges | self.predicted}
        for producer in range(task):
            if producer in busy or task_id(producer) in referenced or self._improbable(producer, task):
                continue
            if best_output(self.types[producer], port) is not None:
                return producer
        return None

    def _improbable(self, producer: int, task: int) -> bool:
        return self.probability is not None and self.probability(producer, task) < _UNLIKELY

    def _upstream_files(self, filled: dict[str, Filler]) -> set[str]:
        sources = [f for f in filled.values() if isinstance(f, Reference)]
        return {file for f in sources for file in self._taken[int(f.task[1:]) - 1]}

    def _reused_file(self, port: Port, filled: dict[str, Filler]) -> Value | None:
        """A file that what is referenced was made from: `compare the summary with the original`."""
        upstream = self._upstream_files(filled)
        given = {f.value for f in filled.values() if isinstance(f, Value) and isinstance(f.value, str)}
        for file in self.said.all_files:
            if file.text in upstream and file.text not in given and file_fit(file.data_type, port) >= 1.0:
                return Value(value=file.text)
        return None

    def _any_text(self, port: Port) -> Value | None:
        if port.type != "text":
            return None
        for mention in self.reading.mentions:
            key = ("mention", mention.start)
            if mention.kind in ("quoted", "passage") and key not in self.used:
                self.used.add(key)
                return Value(value=mention.text)
        return None
