import copy
import html.parser
import re

import pytest

from orchestai_jax.quickstart import REQUEST_SETS, render_report, write_report
from orchestai_jax.quickstart.report_parts import (
    bars,
    data_table,
    exhibit_figure,
    line_chart,
    percent,
    seconds,
    timeline,
)

PLAN = {
    "node_f1": 0.913,
    "link_f1": 0.8,
    "accuracy": 0.7,
    "coverage": 1.0,
    "dag_validity": 1.0,
    "latency_ms_p50": 12.0,
    "n": 2,
    "intervals": {"node_f1": [0.88, 0.94]},
}
CHOICE = {
    **{
        name: {"accuracy": accuracy, "regret": 0.01}
        for name, accuracy in (("planner", 0.88), ("always_cheapest", 0.41), ("always_best", 0.37), ("random", 0.33))
    },
    "tasks": 40,
    "not_planned": 1,
}
EDGES = {"link_f1": 0.93, "chain": {"link_f1": 0.71}}
RUN = {
    "instruction": "make <b>it</b> grey & small",
    "wanted": ["grayscale_image"],
    "planned": ["grayscale_image", "resize_image"],
    "plan_right": False,
    "status": "succeeded",
    "seconds": 0.25,
    "error": None,
}
SHOWN = {
    **RUN,
    "confidence": 0.9,
    "notes": ["nothing <was> left open"],
    "svg": "<svg xmlns='http://www.w3.org/2000/svg'><text>Grayscale image</text></svg>",
    "tasks": [
        {"task": "t1", "task_type": "grayscale_image", "worker": "grayscale_image_pillow", "status": "succeeded",
         "started_s": 0.0, "duration_s": 0.1},
        {"task": "t2", "task_type": "resize_image", "worker": None, "status": "failed", "started_s": 0.1,
         "duration_s": 0.1},
    ],
    "inputs": [{"title": "photo.png", "kind": "picture", "content": "data:image/png;base64,AA==", "bytes": 1200}],
    "outputs": [
        {"title": "summary", "kind": "text", "content": "<script>alert(1)</script>"},
        {"title": "t (a.csv)", "kind": "table", "content": [["a", "b"], ["1", "<2>"]], "bytes": 9},
        {"title": "v.wav", "kind": "sound", "content": "data:audio/wav;base64,AA==", "bytes": 9_000_000},
        {"title": "report (r.html)", "kind": "file", "content": None, "bytes": 2},
    ],
}  # fmt: skip
RESULTS = {
    "schema_version": 1,
    "seed": 7,
    "requests": "held-out",
    "machine": {"processor": "A <fast> one", "cores": 2, "memory_gib": 8.0, "system": "Linux", "python": "3.12",
                "versions": {"jax": "0.9"}},
    "encoder": {"pretrained": False, "source": "none", "note": "trained from scratch"},
    "data": {"task_types": 45, "workers": 69, "with_choice": 13, "with_three_workers": 11, "train": 5000,
             "validation": 200, "held_out_templates": 250, "requests": 2},
    "training": {"best_step": 10, "best_metrics": {"node_f1": 0.9}, "steps": 12, "stopped_early": False, "epochs": 3,
                 "curve": {"train": [[1, 2.5], [10, 0.4]], "validation": [[10, 0.6]]}},
    "metrics": {
        "requests": {"plan": PLAN, "edges": EDGES, "worker_choice": CHOICE},
        "held_out_templates": {"plan": PLAN, "edges": EDGES, "worker_choice": CHOICE},
    },
    "workers": [
        {"task_type": "resize_image", "worker": "resize_image_nearest", "quality": 0.5, "seconds": 0.01, "cost": 1e-6,
         "best_for": ["fast", "cheap"]},
        {"task_type": "resize_image", "worker": "resize_image_lanczos", "quality": 0.9, "seconds": 0.2, "cost": 2e-6,
         "best_for": []},
    ],
    "execution": {"n": 2, "succeeded": 1, "success_rate": 0.5, "right_and_succeeded": 0.5,
                  "runs": [RUN, {**RUN, "status": "refused", "error": "no <file>", "planned": []}]},
    "shown": [SHOWN],
    "seconds": {"Sample files: all": 1.5, "Training the planner": 100.0},
    "total_seconds": 150.0,
}  # fmt: skip


class Tags(html.parser.HTMLParser):
    VOID = frozenset({"meta", "img", "br", "line", "polyline"})

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag, tag

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


def parsed(text):
    tags = Tags()
    tags.feed(text)
    return tags


def test_tags_are_balanced_and_nothing_is_loaded_from_elsewhere():
    text = render_report(RESULTS)
    tags = parsed(text)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    for _, attributes in tags.seen:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("data:")
    assert "@import" not in text
    assert "url(" not in text


def test_what_people_and_tools_wrote_is_escaped():
    text = render_report(RESULTS)
    assert "<script>" not in text
    assert "make &lt;b&gt;it&lt;/b&gt; grey &amp; small" in text
    assert "no &lt;file&gt;" in text
    assert "A &lt;fast&gt; one" in text
    assert "nothing &lt;was&gt; left open" in text
    assert "&lt;2&gt;" in text


@pytest.mark.parametrize(
    "figure",
    ["0.913", "0.91", "88 %", "41 %", "37 %", "33 %", "0.710", "50 %", "5,000", "2 min 30 s", "trained from scratch"],
)
def test_figures_of_the_results_stand_in_it(figure):
    assert figure in render_report(RESULTS).replace("\u202f", " ")


def test_it_says_which_requests_were_scored_and_what_is_true_of_them():
    held_out, development = render_report(RESULTS), render_report({**RESULTS, "requests": "development"})
    assert "2 requests it had never seen" in held_out
    assert "held-out set" in held_out
    assert "had never seen" not in development
    assert "had not seen" not in development
    assert "no measure of how well it does on requests never seen" in development
    assert "<td>development set</td>" in development


def test_every_set_of_requests_can_be_reported():
    for name in REQUEST_SETS:
        assert f"{name} set" in render_report({**RESULTS, "requests": name})


def test_goals_are_judged_by_the_figures():
    assert render_report(RESULTS).count("below the goal") == 1  # half of the plans ran
    worse = copy.deepcopy(RESULTS)
    worse["metrics"]["requests"]["plan"]["node_f1"] = 0.6
    worse["metrics"]["requests"]["plan"]["dag_validity"] = 0.99
    worse["metrics"]["requests"]["worker_choice"]["planner"]["accuracy"] = 0.79
    assert render_report(worse).count("below the goal") == 4


def test_it_stands_without_worker_choices_runs_or_curve():
    bare = copy.deepcopy(RESULTS)
    for name in bare["metrics"]:
        bare["metrics"][name]["worker_choice"] = None
    bare["shown"] = [{**SHOWN, "tasks": [], "inputs": [], "outputs": [], "confidence": None, "status": "refused",
                      "error": "a file is missing"}]  # fmt: skip
    bare["training"]["curve"] = {"train": [], "validation": []}
    bare["machine"]["memory_gib"] = None
    text = render_report(bare)
    assert parsed(text).open == []
    assert "a file is missing" in text
    assert "Nothing was logged" in text


def test_it_is_written_as_utf8(tmp_path):
    path = write_report(RESULTS, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == render_report(RESULTS)


def test_a_share_is_never_rounded_up_to_all():
    assert percent(1.0) == "100\u202f%"
    assert percent(0.996) == "99\u202f%"
    assert percent(0.0) == "0\u202f%"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0 ms"), (0.0042, "4.2 ms"), (0.042, "42 ms"), (0.42, "0.4 s"), (42.0, "42 s"), (150.0, "2 min 30 s")],
)
def test_times_have_a_unit_that_suits_them(value, text):
    assert seconds(value).replace("\u202f", " ") == text


def test_bars_stay_inside_their_track():
    widths = re.findall(
        r"width:([\d.]+)%", bars([("a", 1.7, "x", True), ("b", -1, "y", False), ("c", 0.25, "z", False)])
    )
    assert widths == ["100.0", "0.0", "25.0"]


def test_lanes_stay_inside_the_run():
    lanes = timeline(SHOWN["tasks"], 0.1)
    for left, width in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", lanes):
        assert float(left) + float(width) <= 100.01
    assert "class='bad'" in lanes


def test_tables_may_have_groups_and_no_head():
    assert "<thead>" not in data_table(("", ""), [("a", "b")])
    assert data_table(("x",), [("1",), ("2",)], first=[0, 1]).count("class='first'") == 1


def test_a_chart_spans_its_points():
    chart = line_chart([("loss", [[0, 0.0], [10, 2.0]], "red")], x_label="steps")
    (points,) = re.findall(r"points='([^']*)'", chart)
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in points.split())
    assert x0 < x1
    assert y0 > y1  # SVG counts downwards


def test_every_kind_of_exhibit_has_its_figure():
    for entry in SHOWN["inputs"] + SHOWN["outputs"]:
        assert parsed(exhibit_figure(entry)).open == []
    assert "HTML file" in exhibit_figure(SHOWN["outputs"][3])
