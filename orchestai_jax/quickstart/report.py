"""The quickstart's report: one HTML file that needs nothing else, made of `results.json`."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestai_jax.quickstart.report_parts import (
    bars,
    card,
    chips,
    data_table,
    exhibit_figure,
    line_chart,
    percent,
    seconds,
    timeline,
)

GOALS = {"node_f1": 0.80, "worker_choice": 0.80, "execution": 0.80, "dag_validity": 1.0}
"""What the project asks of the hand-written requests."""

_SETS = (("requests", "Hand-written requests"), ("held_out_templates", "Clauses never trained on"))

_SEEN = {
    "held-out": (
        "it had never seen",
        "written by hand, by somebody who had not seen the templates",
    ),
    "development": (
        "of the development set",
        "written by hand and looked at while the planner was made, so that they are no measure of how well it does on "
        "requests never seen",
    ),
}
"""Set of requests → what is true of its requests: in the heading, and of the figures."""


def write_report(results: Mapping[str, Any], path: Path) -> Path:
    """Write the report of a run's results; returns its path."""
    path.write_text(render_report(results), encoding="utf-8")
    return path


def render_report(results: Mapping[str, Any]) -> str:
    """The report as an HTML document, computed from the results alone; nothing is loaded from elsewhere."""
    style = importlib.resources.files("orchestai_jax.quickstart").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(
        [
            _header(results),
            "<main>",
            _shown(results),
            _plans(results),
            _choice(results),
            _workers(results),
            _execution(results),
            _training(results),
            _time_and_machine(results),
            _next(),
            "</main>",
        ]
    )
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>OrchestAI-JAX quickstart</title><style>{style}</style></head>\n<body>{body}</body></html>\n"
    )


def _header(results: Mapping[str, Any]) -> str:
    plan, choice = results["metrics"]["requests"]["plan"], results["metrics"]["requests"]["worker_choice"]
    data, execution = results["data"], results["execution"]
    cards = [
        card(f"{plan['node_f1']:.2f}", "node F1: the right tasks", plan["node_f1"] >= GOALS["node_f1"]),
        card(
            percent(plan["dag_validity"]), "plans that are a valid DAG", plan["dag_validity"] >= GOALS["dag_validity"]
        ),
        card(
            percent(execution["success_rate"]),
            "plans that ran to their end",
            execution["success_rate"] >= GOALS["execution"],
        ),
    ]
    if choice is not None:
        right = choice["planner"]["accuracy"]
        cards.insert(2, card(percent(right), "best worker chosen", right >= GOALS["worker_choice"]))
    cards.append(card(seconds(results["total_seconds"]), "from nothing to this page", None))
    encoder = results["encoder"]
    seen, written = _SEEN[results["requests"]]
    return (
        "<header><p class='kicker'>OrchestAI-JAX quickstart</p>"
        f"<h1>A planner was trained here, and {data['requests']} requests {seen} were planned and run</h1>"
        f"<p class='lead'>It learned from {data['train']:,} synthesised requests over {data['task_types']} kinds of "
        f"tasks that local tools do. The figures are for {data['requests']} requests {written}. "
        f"Encoder: {html.escape(encoder['note'])}.</p>"
        f"<div class='cards'>{''.join(cards)}</div></header>"
    )


def _shown(results: Mapping[str, Any]) -> str:
    parts = [
        "<h2>Three requests, planned and run</h2>",
        "<p class='note'>For pictures, for sound, and for tables and texts: the hand-written request that asks for "
        "most tasks. They were picked by what they ask for, whatever came of it.</p>",
    ]
    for run in results["shown"]:
        good = run["status"] == "succeeded"
        labels = [
            (run["status"], "good" if good else "bad"),
            (
                "plan as wanted" if run["plan_right"] else "plan differs from what was wanted",
                "good" if run["plan_right"] else "bad",
            ),
            (f"{len(run['planned'])} tasks in {seconds(run['seconds'])}", ""),
        ]
        if run["confidence"] is not None:
            labels.append((f"confidence {percent(run['confidence'])}", ""))
        parts.append("<section class='panel'>")
        parts.append(f"<blockquote>{html.escape(run['instruction'])}</blockquote>{chips(labels)}")
        if not run["plan_right"]:
            parts.append(f"<p class='small'>Wanted: {html.escape(', '.join(run['wanted']))}.</p>")
        if run["error"]:
            parts.append(f"<p class='small'>{html.escape(run['error'])}</p>")
        for note in run["notes"]:
            parts.append(f"<p class='small'>The planner notes: {html.escape(note)}</p>")
        parts.append(f"<div class='drawing'>{run['svg']}</div>")
        if run["tasks"]:
            parts.append(f"<h4>When each task ran</h4>{timeline(run['tasks'], run['seconds'])}")
        for title, exhibits in (("Given", run["inputs"]), ("Made", run["outputs"])):
            if exhibits:
                figures = "".join(exhibit_figure(entry) for entry in exhibits)
                parts.append(f"<h4>{title}</h4><div class='outputs'>{figures}</div>")
        parts.append("</section>")
    return "\n".join(parts)


def _plans(results: Mapping[str, Any]) -> str:
    rows: list[Sequence[str]] = []
    for key, title in _SETS:
        plan = results["metrics"][key]["plan"]
        low, high = plan["intervals"]["node_f1"]
        rows.append(
            (
                title,
                str(plan["n"]),
                f"{plan['node_f1']:.3f} <span class='small'>({low:.2f} to {high:.2f})</span>",
                f"{plan['link_f1']:.3f}",
                percent(plan["accuracy"]),
                percent(plan["dag_validity"]),
                f"{plan['latency_ms_p50']:.0f} ms",
            )
        )
    head = ("", "requests", "node F1 (95 %)", "link F1", "exactly right", "valid DAG", "one plan")
    edges = []
    for key, title in _SETS:
        found = results["metrics"][key]["edges"]
        pair = [("graph generator", found["link_f1"], True), ("tasks in a chain", found["chain"]["link_f1"], False)]
        edges.append(f"<h3>{title}</h3>{bars([(n, v, f'{v:.3f}', strong) for n, v, strong in pair])}")
    return (
        "<h2>Plans</h2><p class='note'>Node F1 compares the set of planned task types with the wanted one, link F1 the "
        "set of edges between them.</p>"
        f"<div class='panel'>{data_table(head, rows, numbers=range(1, 7))}</div>"
        "<div class='panel'><h3>Edges alone</h3><p class='note'>Given the wanted tasks: link F1 of the edges that the "
        f"graph generator draws, beside simply joining the tasks in order.</p><div class='two'>"
        + "".join(f"<div>{part}</div>" for part in edges)
        + "</div></div>"
    )


def _choice(results: Mapping[str, Any]) -> str:
    names = (
        ("planner", "planner"),
        ("always_cheapest", "always the cheapest"),
        ("always_best", "always the best quality"),
        ("random", "at random"),
    )
    parts = []
    for key, title in _SETS:
        choice = results["metrics"][key]["worker_choice"]
        if choice is None:
            continue
        rows = [(label, choice[n]["accuracy"], percent(choice[n]["accuracy"]), n == "planner") for n, label in names]
        regrets = ", ".join(f"{label} {choice[n]['regret']:.3f}" for n, label in names)
        parts.append(
            f"<div class='panel'><h3>{title}</h3>{bars(rows)}<p class='small' style='margin-top:14px'>"
            f"{choice['tasks']} tasks with a choice of workers. Utility given away on average: {regrets}.</p></div>"
        )
    return (
        "<h2>Choice of workers</h2><p class='note'>Share of tasks given the worker that is best under the preference "
        "that the request states in its own words (&ldquo;quickly&rdquo;, &ldquo;in the best quality&rdquo;, "
        "&ldquo;on a budget&rdquo;, or nothing). The planner is told no preference beside the text.</p>"
        f"<div class='two'>{''.join(parts)}</div>"
    )


def _workers(results: Mapping[str, Any]) -> str:
    rows: list[Sequence[str]] = []
    first: list[int] = []
    previous = ""
    for entry in results["workers"]:
        if entry["task_type"] != previous:
            first.append(len(rows))
        name = entry["task_type"].replace("_", " ") if entry["task_type"] != previous else ""
        previous = entry["task_type"]
        variant = entry["worker"].removeprefix(f"{entry['task_type']}_").replace("_", " ")
        rows.append(
            (
                html.escape(name),
                html.escape(variant),
                f"{entry['quality']:.3f}",
                seconds(entry["seconds"]),
                f"{entry['cost'] * 1e6:.2f}",
                chips([(p, "accent") for p in entry["best_for"]]) if entry["best_for"] else "",
            )
        )
    head = ("task type", "worker", "quality", "time", "cost, millionths of a $", "best when")
    return (
        "<h2>What the workers really do</h2><p class='note'>Every worker ran the same real tasks on this machine. "
        "Quality is measured against a reference that no worker had a hand in, such as a windowed-sinc resampling, the "
        "clean original of a noisy file, or keywords that a person gave. The label of a task is the worker with the "
        "highest utility: quality less cost and time, weighed by the preference.</p>"
        f"<div class='panel'>{data_table(head, rows, numbers=(2, 3, 4), first=first)}</div>"
    )


def _execution(results: Mapping[str, Any]) -> str:
    execution = results["execution"]
    rows = [
        (
            html.escape(run["instruction"]),
            html.escape(" → ".join(t.replace("_", " ") for t in run["planned"]) or "nothing"),
            chips([(run["status"], "good" if run["status"] == "succeeded" else "bad")])
            + ("" if run["plan_right"] else chips([("plan differs", "bad")]))
            + (f"<span class='small'>{html.escape(run['error'])}</span>" if run["error"] else ""),
            seconds(run["seconds"]),
        )
        for run in execution["runs"]
    ]
    table = data_table(("request", "planned", "outcome", "time"), rows, numbers=(3,))
    return (
        "<h2>Running all of them</h2>"
        f"<p class='note'>{execution['succeeded']} of {execution['n']} plans ran to their end on the sample files; in "
        f"{percent(execution['right_and_succeeded'])} of the requests the plan also held exactly the wanted tasks.</p>"
        f"<details class='panel'><summary>Every request, its plan and what became of it</summary>{table}</details>"
    )


def _training(results: Mapping[str, Any]) -> str:
    training, data = results["training"], results["data"]
    curve = training["curve"]
    chart = line_chart(
        [("training", curve["train"], "var(--accent)"), ("validation", curve["validation"], "var(--good)")],
        x_label="steps",
    )
    best = training["best_metrics"]
    facts = [
        f"{training['epochs']} epochs, {training['steps']} steps, best at step {training['best_step']}",
        f"{data['train']:,} requests to train on, {data['validation']} to validate with",
        f"{data['task_types']} task types, {data['workers']} workers; {data['with_choice']} task types have a choice, "
        f"{data['with_three_workers']} of them of three",
        *(f"validation {name.replace('_', ' ')} {best[name]:.3f}" for name in ("node_f1", "link_f1") if name in best),
    ]
    items = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    return (
        "<h2>Training</h2><div class='panel'><h3>Mean loss of one decision (next task type, or stop)</h3>"
        f"{chart}<ul class='small'>{items}</ul></div>"
    )


def _time_and_machine(results: Mapping[str, Any]) -> str:
    longest = max(results["seconds"].values(), default=1.0) or 1.0
    rows = [
        (name.partition(":")[0], value / longest, seconds(value), False) for name, value in results["seconds"].items()
    ]
    machine = results["machine"]
    memory = f", {machine['memory_gib']} GiB" if machine["memory_gib"] is not None else ""
    facts: Iterable[Sequence[str]] = (
        ("processor", html.escape(f"{machine['processor']}, {machine['cores']} cores{memory}")),
        ("system", html.escape(f"{machine['system']}, Python {machine['python']}")),
        ("versions", html.escape(", ".join(f"{k} {v}" for k, v in machine["versions"].items()))),
        ("seed", str(results["seed"])),
        ("requests", html.escape(f"{results['requests']} set")),
    )
    return (
        "<h2>Time and machine</h2><div class='two'>"
        f"<div class='panel'><h3>Where the time went</h3>{bars(rows)}</div>"
        f"<div class='panel'><h3>Where it ran</h3>{data_table(('', ''), list(facts))}</div></div>"
    )


def _next() -> str:
    steps = (
        (
            "Plan something else",
            'orchestai plan "shrink photo.png to 200 pixels and make it grey" --planner runs/quickstart/planner',
        ),
        (
            "Plan and run it on your own files",
            'orchestai run "plot total by region from sales.csv" --planner runs/quickstart/planner',
        ),
        ("See what was run, learn from it", "orchestai runs list"),
        (
            "Train with other settings",
            "orchestai train configs/quickstart.yaml training.phase1_supervised.num_epochs=8",
        ),
    )
    items = "".join(f"<li>{title}<pre><code>{html.escape(command)}</code></pre></li>" for title, command in steps)
    return (
        f"<h2>How to go on</h2><div class='panel'><ol class='next'>{items}</ol></div>"
        "<footer>Made by <code>orchestai quickstart</code>. Every figure on this page was computed in this run; "
        "all of them are in <code>results.json</code> beside it.</footer>"
    )
