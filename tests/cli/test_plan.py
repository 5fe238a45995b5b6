"""`orchestai plan`."""

import json

import pytest

from orchestai_jax.config import InferenceScalingConfig, Preference
from orchestai_jax.workflow import Workflow, load_workflow

PLANNER = ("--planner", "planner")


def test_the_tree_shows_workers_arguments_confidence_and_notes(command):
    lines = command("plan", "shorten notes.txt", *PLANNER).stdout.splitlines()
    assert lines[0] == "shorten notes.txt  confidence 50%"
    text = "\n".join(lines)
    for part in (
        "t1 summarize_text  by summarize_text_lead  75%",
        "sentences = 2",
        "t2 extract_keywords",
        "text = t1.text",
        "note: guessed the [bold] width",
    ):
        assert part in text
    column = {name: line.index(name) for name in ("t1 ", "t2 ", "t3 ") for line in lines if name in line}
    assert column["t1 "] == column["t3 "] < column["t2 "]  # t2 hangs under t1, t3 stands beside it


def test_json_is_what_run_reads(command, tmp_path):
    (tmp_path / "plan.json").write_text(command("plan", "shorten notes.txt", *PLANNER, "--json").stdout)
    plan = load_workflow(tmp_path / "plan.json")
    assert isinstance(plan, Workflow)
    assert plan.tasks == command.planner.plan_tasks


def test_mermaid_and_svg(command, tmp_path):
    drawn = command("plan", "x", *PLANNER, "--mermaid").stdout
    assert drawn.startswith("flowchart")
    assert "Summarize text" in drawn
    assert "fill:#e6effb" in drawn  # the colour of texts
    assert command("plan", "x", *PLANNER, "--svg", "plan.svg").stdout == "wrote plan.svg\n"
    picture = (tmp_path / "plan.svg").read_text()
    assert picture.lstrip().startswith("<")
    assert ">text</text>" in picture  # the legend
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("task_types: [{id: summarize_text, outputs: [{name: text, type: audio}]}]\n")
    command("plan", "x", *PLANNER, "--svg", "plan.svg", "--catalog", str(catalog))
    assert ">audio</text>" in (tmp_path / "plan.svg").read_text()


def test_stdin_preference_and_catalog_reach_the_planner(command, tmp_path):
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("name: mine\ntask_types: [{id: only_one}]\n")
    command("plan", "-", *PLANNER, "--prefer", "fast", "--catalog", str(catalog), stdin="Größe ändern \n".encode())
    text, catalog, preference = command.planner.asked
    assert text == "Größe ändern"
    assert catalog.name == "mine"
    assert preference == Preference.PRESETS["fast"]
    command("plan", "x", *PLANNER, "--prefer", "success=1,cost=0.2,latency=0")
    assert command.planner.asked[1:] == (None, Preference(success=1, cost=0.2, latency=0))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("",), "the instruction is empty"),
        ((" \n\t",), "the instruction is empty"),
        (("x" * 100_000,), "put the long text in a file"),
        (("x\udcff",), "not valid UTF-8"),
        (("x", "--prefer", "fastest"), "preference 'fastest' is unknown"),
        (("x", "--prefer", "cost=-1"), "cost"),
        (("x", "--graph", "graph.json"), "--graph goes with --catalog"),
        (("x", "--catalog", "none.yaml"), "none.yaml"),
        (("x", "--json", "--mermaid"), "exclude one another"),
    ],
)
def test_bad_input_is_one_line(command, arguments, said):
    assert said in command.error("plan", *arguments, *PLANNER)


def test_bad_stdin_is_one_line(command):
    assert "not UTF-8" in command.error("plan", "-", *PLANNER, stdin=b"\xff\xfe\x00")
    assert "empty" in command.error("plan", "-", *PLANNER, stdin=b"")
    assert "more than" in command.error("plan", "-", *PLANNER, stdin=b"x" * 200_000)


def test_a_planner_that_is_missing_or_damaged_is_one_line(command, tmp_path):
    assert "no planner folder at none" in command.error("plan", "x", "--planner", "none")
    (tmp_path / "planner" / "damaged").write_text("")
    assert "damaged: checksum" in command.error("plan", "x", *PLANNER)


def test_an_svg_that_cannot_be_written_is_one_line(command, tmp_path):
    assert "planner: Is a directory" in command.error("plan", "x", *PLANNER, "--svg", "planner", code=1)


def test_control_characters_do_not_reach_the_terminal(command):
    out = command("plan", "a\x1b[31mb\x07 [red]c", *PLANNER).stdout
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]c" in out
    assert json.loads(command("plan", "a\x1b", *PLANNER, "--json").stdout)["instruction"] == "a\x1b"


def test_limits_choose_the_workers_of_all_tasks_together(command, tmp_path):
    (tmp_path / "catalog.yaml").write_text(
        """
task_types: [{id: summarize_text, outputs: [{name: text, type: text}]}, {id: extract_keywords}, {id: text_statistics}]
workers:
  - {id: slow, task_types: [summarize_text, extract_keywords, text_statistics], cost: 1, latency: 4, quality: 0.9}
  - {id: quick, task_types: [summarize_text, extract_keywords, text_statistics], cost: 3, latency: 1, quality: 0.8}
"""
    )

    def chosen(*limits):
        shown = command("plan", "x", *PLANNER, "--catalog", str(tmp_path / "catalog.yaml"), *limits, "--json").stdout
        plan = json.loads(shown)
        return [task["worker"] for task in plan["tasks"]], plan["notes"][-1]

    # t1 then t2; t3 stands alone: it may be slow whatever the others must be
    workers, note = chosen("--deadline", "6")
    assert sorted(workers[:2]) == ["quick", "slow"]
    assert workers[2] == "slow"
    assert "$5, 5 s on the critical path, success 0.65" in note
    assert chosen("--budget", "9")[0] == ["quick", "quick", "quick"]
    assert chosen("--least-success", "0.72")[0] == ["slow", "slow", "slow"]
    where = ("plan", "x", *PLANNER, "--catalog", str(tmp_path / "catalog.yaml"))
    assert "the fastest workers take 2 s, the deadline is 1 s" in command.error(*where, "--deadline", "1")
    assert "least_success is 2" in command.error(*where, "--least-success", "2")
    assert "deadline is nan" in command.error(*where, "--deadline", "nan")


def test_explain_shows_the_words_that_spoke_for_each_part(command, tmp_path):
    shown = command("plan", "shorten notes.txt <b>", *PLANNER, "--explain", "--explain-html", "why.html")
    lines = [line.strip("│├└─ ") for line in shown.stdout.splitlines()]
    assert lines.count("words: notes.txt 2.50") == 1
    assert lines.count("words: no single word decides") == 2
    assert lines.count("after t1: notes.txt 2.50") == 1
    assert "text = notes.txt   from notes.txt" in lines
    assert shown.stderr == "wrote why.html\n"
    page = (tmp_path / "why.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("title='+2.500'") == 2
    plan = json.loads(command("plan", "shorten notes.txt", *PLANNER, "--explain", "--json").stdout)
    assert plan["explanation"]["tasks"]["t1"] == [-0.5, 2.5]
    assert plan["explanation"]["arguments"] == [{"task": "t1", "name": "text", "words": ["notes.txt"]}]
    assert plan["workflow"]["tasks"][0]["id"] == "t1"
    said = command.error("plan", "x", *PLANNER, "--explain", "--hybrid-threshold", "0.5")
    assert "leave --llm" in said


def test_a_candidate_that_can_be_run_is_taken_where_the_first_choice_cannot(command, other_tasks):
    command.planner.plan_tasks = other_tasks(t1={"arguments": {}}, t3={"arguments": {}})
    given = ("plan", "shorten notes.txt", *PLANNER, "--json")
    assert len(command.json(*given)["tasks"]) == 3
    taken = command.json(*given, "--candidates", "2", "--path-threshold", "0.5")
    assert [task["id"] for task in taken["tasks"]] == ["t1"]
    assert taken["notes"][-1] == "candidate 2 of 2: reward 1.00, the first one's is lower by 0.67"
    assert len(command.json(*given, "--candidates", "2")["tasks"]) == 3  # .67 is under the default threshold
    assert len(command.json(*given, "--candidates", "1", "--path-threshold", "0")["tasks"]) == 3
    command.planner.serving = InferenceScalingConfig(path_selection_threshold=0.6)  # as its run says
    assert len(command.json(*given)["tasks"]) == 1
    assert len(command.json(*given, "--path-threshold", "0.9")["tasks"]) == 3
    assert "without --llm and --explain" in command.error("plan", "x", *PLANNER, "--candidates", "2", "--explain")
