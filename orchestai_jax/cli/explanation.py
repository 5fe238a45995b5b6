"""Why a plan is as it is: the words that spoke for each of its parts, in the terminal and as an HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from orchestai_jax.cli.task_tree import argument_lines, printable

if TYPE_CHECKING:
    from orchestai_jax.planner.attribution import Explanation
    from orchestai_jax.workflow import Task


def explained_lines(explanation: Explanation, task: Task) -> list[Text]:
    """The lines beneath a task: its words, those of its edges, and its arguments with theirs."""
    lines = [_because("words", explanation.spoke_for(explanation.tasks[task.id]))]
    for (producer, consumer), scores in explanation.edges.items():
        if consumer == task.id:
            lines.append(_because(f"after {printable(producer)}", explanation.spoke_for(scores)))
    for name, line in zip(task.arguments, argument_lines(task), strict=True):
        words = _words_of(explanation, task.id, name)
        lines.append(line.append(f"   from {' '.join(map(printable, words))}", style="magenta") if words else line)
    return lines


def explanation_json(explanation: Explanation) -> dict:
    """The explanation as plain values; `words` and every list of scores go together."""
    return {
        "words": list(explanation.words),
        "tasks": {task: list(scores) for task, scores in explanation.tasks.items()},
        "edges": [{"source": s, "target": t, "scores": list(scores)} for (s, t), scores in explanation.edges.items()],
        "arguments": [
            {"task": task, "name": name, "words": _words_of(explanation, task, name)}
            for task, name in explanation.arguments
        ],
    }


def explanation_html(explanation: Explanation) -> str:
    """A page with the instruction once for each task, edge and argument, its words shaded by what they did."""
    rows = []
    for task in explanation.workflow.tasks:
        confidence = "" if task.confidence is None else f" · {task.confidence:.0%}"
        rows.append(f"<h2>{html.escape(task.id)} {html.escape(task.task_type)}<small>{confidence}</small></h2>")
        rows.append(_shaded(explanation.words, explanation.tasks[task.id]))
        for (producer, consumer), scores in explanation.edges.items():
            if consumer == task.id:
                rows.append(f"<h3>after {html.escape(producer)}</h3>" + _shaded(explanation.words, scores))
        for name, line in zip(task.arguments, argument_lines(task), strict=True):
            changes = explanation.arguments.get((task.id, name), ())
            rows.append(f"<h3>{html.escape(line.plain)}</h3>" + _shaded(explanation.words, [float(c) for c in changes]))
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in explanation.workflow.notes)
    return _PAGE.format(title=html.escape(explanation.workflow.instruction[:80]), body="".join(rows) + notes)


def _because(what: str, words: Sequence[tuple[str, float]]) -> Text:
    line = Text(f"{what}: ", style="dim")
    if not words:
        return line.append("no single word decides", style="dim")
    for word, score in words:
        line.append(printable(word), style="magenta").append(f" {score:.2f}  ", style="dim")
    return line


def _words_of(explanation: Explanation, task: str, name: str) -> list[str]:
    changes = explanation.arguments.get((task, name), ())
    return [word for word, changed in zip(explanation.words, changes, strict=False) if changed]


def _shaded(words: Sequence[str], scores: Sequence[float]) -> str:
    """Words on green where they spoke for it, on red where they spoke against it, the more the stronger."""
    strongest = max((abs(s) for s in scores), default=0.0) or 1.0
    spans = []
    for word, score in zip(words, scores, strict=False):
        colour = "46,160,67" if score > 0 else "218,54,51"
        style = f"background:rgba({colour},{abs(score) / strongest * 0.7:.2f})"
        spans.append(f"<span style='{style}' title='{score:+.3f}'>{html.escape(word)}</span>")
    return f"<p>{' '.join(spans)}</p>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ margin: 2rem 0 0; font-size: 1.1rem; }} h3 {{ margin: .6rem 0 0; font-size: .9rem; font-weight: 500; }}
small, .note {{ color: #667; font-weight: 400; }} p {{ margin: .2rem 0; }}
span {{ border-radius: 3px; padding: 1px 2px; }}
</style></head><body>
<h1>Why this plan</h1>
<p class="note">Each word is hidden in turn: green words spoke for the task, edge or argument (without them it is less
probable, or another), red ones against it. Hover for the change in log-probability.</p>
{body}
</body></html>
"""
