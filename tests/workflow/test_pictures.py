import html
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import Task, Value, Workflow, WorkflowError, predecessors, to_mermaid, to_svg, to_text
from orchestai_jax.workflow.pictures.labels import printable
from orchestai_jax.workflow.pictures.layout import lay_out
from orchestai_jax.workflow.pictures.mermaid import escape

LOOP = Workflow(tasks=(Task(id="a", task_type="x", depends_on=("b",)), Task(id="b", task_type="x", depends_on=("a",))))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("draw", [to_text, to_mermaid, to_svg])
def test_a_cycle_is_not_drawn(draw):
    with pytest.raises(WorkflowError, match="cycle"):
        draw(LOOP)


def test_the_text_tree(diamond):
    assert to_text(diamond, annotations={"words": "0.2 s"}).splitlines() == [
        "resize it, read it, archive both  (80 %)",
        "└─ make make_image  [pillow]",
        '   │    path = "a.png"',
        "   ├─ small resize  [pillow]  93 %",
        "   │  │    image <- make.image, width = 80",
        "   │  └─ pack (below)",
        "   └─ words read_text  [ocr]  0.2 s",
        "      │    image <- make.image",
        "      └─ pack archive  [zip]  needs small too",
        "              first <- small.image, second <- words.text",
    ]
    assert "width" not in to_text(diamond, arguments=False)


def test_the_text_of_an_empty_workflow_says_so():
    assert to_text(Workflow(notes=("nothing fits",))) == "(no instruction)  (no tasks)\nnote: nothing fits"


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(data=st.data())
def test_the_text_tree_shows_each_task_once_after_all_it_waits_for(dags, data):
    workflow = data.draw(dags)
    # plain ids, so that a line can be found again
    plain = {task.id: f"id{i}." for i, task in enumerate(workflow.tasks)}
    renamed = Workflow(
        tasks=tuple(
            Task(id=plain[t.id], task_type="t", depends_on=tuple(plain[p] for p in predecessors(t)))
            for t in workflow.tasks
        )
    )
    lines = to_text(renamed).splitlines()[1:]
    full = {m.group(1): i for i, line in enumerate(lines) if (m := re.search(r"─ (id\d+\.) t", line))}
    assert sorted(full) == sorted(plain.values())
    assert sum("─ id" in line for line in lines) == sum(max(1, len(t.depends_on)) for t in renamed.tasks)
    assert all(full[p] < full[t.id] for t in renamed.tasks for p in t.depends_on)
    assert all("below" not in line for i, line in enumerate(lines) for t, at in full.items() if t in line and i > at)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(data=st.data())
def test_nasty_text_breaks_no_picture(dags, data):
    workflow = data.draw(dags)
    text = to_text(workflow)
    assert len(text.split("\n")) == len(text.splitlines())  # no line break but ours
    assert "\x1b" not in text
    assert "\u202e" not in text
    root = ElementTree.fromstring(to_svg(workflow))
    assert len(root.findall(f".//{SVG}rect")) == len(workflow.tasks)
    edges = sum(len(predecessors(t)) for t in workflow.tasks)
    assert len([p for p in root.iter(f"{SVG}path") if "marker-end" in p.attrib]) == edges
    lines = to_mermaid(workflow).splitlines()
    assert lines[0] == "flowchart LR"
    known = re.compile(
        r'    (n\d+\["<b>[^"<>`&]*</b>(<br/>[^"<>`&]*)?"\]|n\d+ (-->\|"[^"<>`&|]*"\||-\.->) n\d+|class(Def)? [^"]*)'
    )
    assert all(known.fullmatch(line) for line in lines[1:])
    assert sum("-->" in line or "-.->" in line for line in lines) == edges


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(text=st.text(max_size=30))
def test_mermaid_shows_text_unchanged(text):
    escaped = escape(text)
    assert not set(escaped) & set('"<>`&{}[]|\\\n')
    assert re.sub(r"#(\d+);", lambda m: chr(int(m.group(1))), escaped) == printable(text)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(text=st.text(max_size=40), most=st.integers(1, 20))
def test_printable_text_is_one_safe_line(text, most):
    shown = printable(text, most)
    assert len(shown) <= most
    assert shown.isprintable()
    shown.encode()


def test_mermaid_of_the_diamond(diamond, catalog):
    chart = to_mermaid(diamond, catalog)
    assert '    n1["<b>Resize</b><br/>pillow · 93 %"]' in chart.splitlines()
    assert '    n0 -->|"image"| n1' in chart.splitlines()
    assert "    class n0,n1 c0" in chart.splitlines()
    silent = diamond.model_copy(update={"tasks": tuple(t.model_copy(update={"arguments": {}}) for t in diamond.tasks)})
    assert "    n0 -.-> n1" in to_mermaid(silent).splitlines()


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_svg_of_the_diamond(diamond, catalog):
    svg = to_svg(diamond, catalog, annotations={"words": "0.2 s"})
    shown = texts(svg)
    for text in ("Resize", "pillow · 93 %", "width = 80", "Read text", "0.2 s", "resize it, read it, archive both"):
        assert text in shown
    assert {"image", "text", "file"} <= set(shown)  # the legend
    assert "#9a5bd0" in svg  # the colour of images
    assert "#9a5bd0" not in to_svg(diamond)
    assert "stroke-dasharray" not in svg
    assert "resize it" not in texts(to_svg(diamond, caption=False))
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height")) for r in root.iter(f"{SVG}rect")]
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    make, small, words, pack = boxes
    assert make[0] + make[2] < small[0] == words[0] < small[0] + small[2] < pack[0]


def test_long_texts_are_cut_and_stay_in_the_tooltip(catalog):
    worker = "worker-" + "w" * 100
    task = Task(id="t", task_type="resize", worker=worker, arguments={"width": Value(value=[1] * 1000)})
    svg = to_svg(Workflow(instruction="word " * 10_000, tasks=(task,)), catalog)
    assert len(svg) < 6_000
    assert all(len(text) < 60 for text in texts(svg))
    assert worker in html.unescape(svg)


def test_boxes_never_overlap_and_edges_pass_between_them():
    # 3 columns; an edge from the first to the last passes through the middle one
    levels, edges = [[0, 1], [2, 3, 4], [5]], [(0, 2), (1, 3), (1, 4), (0, 5), (2, 5), (4, 5)]
    heights = [40.0, 60.0, 40.0, 80.0, 40.0, 50.0]
    layout = lay_out(levels, edges, heights, gap=10)
    assert len(layout.routes[0, 5]) == 3
    sizes = [*heights, 6.0]
    for column in layout.columns:
        for above, below in itertools.pairwise(column):
            lower_edge = layout.centres[above] + sizes[above] / 2
            assert lower_edge + 10 <= layout.centres[below] - sizes[below] / 2 + 1e-6
    assert min(layout.centres[i] - heights[i] / 2 for i in range(6)) >= 0
    assert max(layout.centres[i] + heights[i] / 2 for i in range(6)) <= layout.height + 1e-6


def test_crossings_that_can_be_avoided_are():
    crossed = lay_out([[0, 1, 2], [3, 4, 5]], [(0, 5), (1, 4), (2, 3)], [10.0] * 6)
    order = {box: i for column in crossed.columns for i, box in enumerate(column)}
    assert [order[t] - order[s] for s, t in [(0, 5), (1, 4), (2, 3)]] == [0, 0, 0]
    # and so the arrows are level
    assert all(crossed.centres[s] == pytest.approx(crossed.centres[t]) for s, t in crossed.routes)


@pytest.mark.parametrize("draw", [to_text, to_mermaid, to_svg])
def test_a_long_chain_is_drawn_in_little_space(draw):
    tasks = [Task(id=str(i), task_type="step", depends_on=(str(i - 1),) if i else ()) for i in range(2_000)]
    assert len(draw(Workflow(tasks=tuple(tasks)))) < 2_000 * 800


def test_any_literal_can_be_drawn(json_values):
    values = [float("nan"), object(), {1: 2}, "\ud800", [None], json.loads("[" * 200 + "]" * 200)]
    arguments = {f"a{i}": Value(value=v) for i, v in enumerate(values)}
    workflow = Workflow(tasks=(Task(id="t", task_type="x", arguments=arguments),))
    for draw in (to_text, to_mermaid, to_svg):
        draw(workflow).encode()
