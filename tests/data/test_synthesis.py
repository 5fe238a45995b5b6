"""Synthesis: valid plans over any catalog, worded from templates, the same for the same seed."""

import json
import logging

import pytest

from orchestai_jax.data import (
    DataError,
    ShapeWeights,
    SynthesisConfig,
    Templates,
    check_templates,
    load_samples,
    load_templates,
    parse_templates,
    save_samples,
    synthesize,
)
from orchestai_jax.data.clause_wording import held_out_positions
from orchestai_jax.data.plan_draft import plan_shape
from orchestai_jax.workflow import (
    Catalog,
    Link,
    Parameter,
    Port,
    Reference,
    Task,
    TaskType,
    Value,
    Workflow,
    load_catalog,
    types_fit,
    validate_workflow,
)


def kind(name, inputs=(), outputs=("image",), parameters=(), description=""):
    return TaskType(
        id=name,
        description=description,
        inputs=tuple(i if isinstance(i, Port) else Port(name=i, type=i) for i in inputs),
        outputs=tuple(Port(name=o, type=o) for o in outputs),
        parameters=tuple(parameters),
    )


TWO_TABLES = (Port(name="left", type="table"), Port(name="right", type="table"))
CATALOG = Catalog(
    name="small",
    task_types=(
        kind("resize", ["image"], parameters=[Parameter(name="width", type="integer", required=True)]),
        kind("blur", ["image"], description="Blurs a picture."),
        kind("chart", ["table"]),
        kind("sort", ["table"], ["table"], description="Sort a table"),
        kind("join", TWO_TABLES, ["table"]),
        kind("palette", ["image"], ["json"]),
        kind("explain", ["json"], ["text"]),
        kind(
            "report", [Port(name="text", type="text", required=False), Port(name="image", type="image", required=False)]
        ),
        kind("pack", [Port(name="first", type="file"), Port(name="second", type="file", required=False)], ["file"]),
    ),
)
UNTYPED = Catalog(
    task_types=tuple(TaskType(id=f"call_{c}", description=f"Do {c}", outputs=(Port(name="output"),)) for c in "abcdef"),
    links=(
        Link(source="call_a", target="call_b"),
        Link(source="call_b", target="call_c"),
        Link(source="call_a", target="call_d"),
    ),
)


def make(catalog=CATALOG, templates=None, **options):
    return synthesize(catalog, SynthesisConfig(**{"n": 60, **options}), templates)


def as_workflow(sample):
    tasks = []
    for i, task_type in enumerate(sample.task_types):
        arguments = {
            name: Value(value=a["value"]) if "value" in a else Reference(task=f"t{a['task']}", output=a["output"])
            for name, a in sample.arguments[i].items()
        }
        before = tuple(f"t{s}" for s, t in sample.dependencies if t == i)
        tasks.append(Task(id=f"t{i}", task_type=task_type, arguments=arguments, depends_on=before))
    return Workflow(instruction=sample.instruction, tasks=tuple(tasks))


def assert_sound(catalog, samples):
    """Each sample is a valid workflow of the catalog, its values are said, its instruction is its own."""
    for sample in samples:
        assert validate_workflow(as_workflow(sample), catalog) == []
        assert len(sample.nodes) == len(sample.task_types) == len(sample.step_texts)
        assert all(source < target for source, target in sample.dependencies)
        references = {(a["task"], i) for i, args in enumerate(sample.arguments) for a in args.values() if "task" in a}
        assert references <= set(sample.dependencies)
        for i, arguments in enumerate(sample.arguments):
            for name, argument in arguments.items():
                if "task" in argument:
                    output = catalog.task_type(sample.task_types[argument["task"]]).outputs
                    port = next((p for p in catalog.task_type(sample.task_types[i]).inputs if p.name == name), None)
                    assert port is None or types_fit(
                        next(o.type for o in output if o.name == argument["output"]), port.type
                    )
                elif not isinstance(argument["value"], bool | list):
                    assert str(argument["value"]) in sample.instruction
        assert sample.instruction == " ".join(sample.instruction.split())
        assert "{" not in sample.instruction
    assert len({sample.instruction.casefold() for sample in samples}) == len(samples)


def shape(sample):
    return plan_shape(len(sample.task_types), set(sample.dependencies))


def test_samples_are_valid_workflows_whose_values_are_said():
    samples = make(n=150)
    assert_sound(CATALOG, samples)
    assert {t for sample in samples for t in sample.task_types} == set(CATALOG.index)
    references = {
        (a["task"], i, s.id) for s in samples for i, x in enumerate(s.arguments) for a in x.values() if "task" in a
    }
    assert references == {(a, b, s.id) for s in samples for a, b in s.dependencies}


def test_the_same_seed_gives_the_same_samples_and_another_others():
    assert make(seed=3) == make(seed=3)
    assert make(seed=3) != make(seed=4)


@pytest.mark.parametrize("wanted", ["node", "chain", "dag"])
def test_shapes_are_as_weighted(wanted):
    weights = ShapeWeights(**{"node": 0, "chain": 0, "dag": 0, wanted: 1})
    assert {shape(s) for s in make(n=30, shapes=weights)} == {wanted}


def test_dags_hold_joins_fan_outs_and_parallel_branches():
    samples = make(n=120, shapes=ShapeWeights(node=0, chain=0, dag=1))
    inward = [max(sum(t == i for _, t in s.dependencies) for i in range(len(s.task_types))) for s in samples]
    outward = [max(sum(f == i for f, _ in s.dependencies) for i in range(len(s.task_types))) for s in samples]
    assert max(inward) >= 2
    assert max(outward) >= 2
    assert any(not s.dependencies for s in samples)


def test_max_tasks_is_kept_and_reached():
    assert max(len(s.task_types) for s in make(n=80, max_tasks=3)) == 3
    assert {len(s.task_types) for s in make(n=20, max_tasks=1)} == {1}


def test_an_input_that_cannot_be_written_out_always_comes_from_a_task():
    fed = [s.arguments[s.task_types.index("explain")] for s in make(n=150) if "explain" in s.task_types]
    assert fed
    assert all("task" in arguments["json"] for arguments in fed)


def test_tasks_follow_the_tool_graph_where_there_is_one():
    samples = make(UNTYPED, n=40)
    assert {link for s in samples for link in s.links} == {(link.source, link.target) for link in UNTYPED.links}


def test_function_catalogs_chain_through_their_required_parameters():
    parameters = (Parameter(name="city", type="string", required=True),)
    catalog = Catalog(task_types=tuple(kind(n, (), ["info"], parameters) for n in ("find", "book", "cancel")))
    samples = make(catalog, n=20, shapes=ShapeWeights(node=0, chain=1, dag=0))
    assert all(s.arguments[t]["city"]["task"] == f for s in samples for f, t in s.dependencies)


TEMPLATES = parse_templates(
    {
        "task_types": {
            "resize": {
                "do": [
                    "(scale|shrink) {image} to {width}",
                    "make {image} {width} wide",
                    "TRAIN {image} {width}",
                    "fit {input} into {width}",
                    "HELD {image} {width}",
                ],
                "short": ["resize to {width}"],
                "thing": ["a {width} version of {image}"],
                "done": ["resized to {width}"],
                "ask": ["how does {image} look at {width}"],
                "need": ["{image} must fit into {width}"],
                "names": "the smaller picture\nthe thumbnail",
            },
            "blur": {"do": ["blur the picture {image}"], "done": ["blurred"]},
            "pack": {"do": ["zip {first}"]},
        },
        "values": {
            "resize.width": [320, {"say": "five hundred pixels", "value": 500}],
            "image": ["cat.png", "dog.png"],
        },
        "synonyms": {"picture": ["photo"]},
    }
)


def test_templates_word_the_plan_and_pools_fill_it():
    samples = make(templates=TEMPLATES, n=150)
    said = " ".join(s.instruction for s in samples)
    for words in ("five hundred pixels", "cat.png", "the thumbnail", "the photo", "version of", "must fit into", "?"):
        assert words in said
    widths = {s.arguments[i]["width"]["value"] for s in samples for i, t in enumerate(s.task_types) if t == "resize"}
    assert widths == {320, 500}


def test_inputs_that_a_line_does_not_name_are_listed_with_the_one_it_names():
    samples = [s for s in make(templates=TEMPLATES, n=200) if "pack" in s.task_types]
    both = [s for s in samples if len(s.arguments[s.task_types.index("pack")]) == 2]
    assert both
    assert all(" and " in s.step_texts[s.task_types.index("pack")] for s in both)


def test_held_out_lines_are_used_by_the_held_out_split_alone():
    train = " ".join(s.instruction for s in make(templates=TEMPLATES, n=150, template_split="train"))
    held = " ".join(s.instruction for s in make(templates=TEMPLATES, n=60, template_split="held_out"))
    assert "TRAIN" in train
    assert "HELD" in held
    assert "HELD" not in train
    assert "TRAIN" not in held
    assert "into" not in held


@pytest.mark.parametrize(("n", "positions"), [(0, set()), (1, set()), (3, {2}), (5, {4}), (11, {4, 9})])
def test_every_fifth_line_is_held_out_and_never_the_only_one(n, positions):
    assert held_out_positions(n, 5) == positions


def test_a_value_may_set_several_parameters():
    names = ("column", "operator", "value")
    catalog = Catalog(
        task_types=(kind("filter", ["table"], ["table"], [Parameter(name=n, required=True) for n in names]),)
    )
    entry = {"say": "amount over 100", "set": {"column": "amount", "operator": ">", "value": 100}}
    templates = parse_templates(
        {"task_types": {"filter": {"do": ["keep {table} with {condition}"]}}, "values": {"filter.condition": [entry]}}
    )
    [sample] = make(catalog, templates, n=1)
    given = {name: a["value"] for name, a in sample.arguments[0].items() if name != "table"}
    assert given == entry["set"]


def test_a_line_that_leaves_a_required_parameter_out_is_not_used():
    lines = {"do": ["enlarge {image}", "resize {image} to {width}"]}
    samples = make(templates=parse_templates({"task_types": {"resize": lines}}), n=80)
    worded = [s.step_texts[i] for s in samples for i, t in enumerate(s.task_types) if t == "resize"]
    assert worded
    assert all(text.startswith("resize") for text in worded)


def test_polite_and_paraphrase_change_the_wording():
    plain = make(templates=TEMPLATES, n=100, polite=0.0, paraphrase=0.0)
    assert not any("ould you" in s.instruction or "blur the photo" in s.instruction for s in plain)
    assert any("ould you" in s.instruction for s in make(templates=TEMPLATES, n=100, polite=1.0))


def test_samples_go_through_a_file(tmp_path):
    samples = make()
    save_samples(tmp_path / "s.jsonl", samples)
    assert load_samples(tmp_path / "s.jsonl", "planning", CATALOG) == samples


def test_an_impossible_shape_is_left_out_with_a_warning(caplog):
    catalog = Catalog(name="lone", task_types=(kind("blur", ["image"], ["json"]),))
    with caplog.at_level(logging.WARNING):
        samples = make(catalog, n=40)
    assert {shape(s) for s in samples} == {"node"}
    assert "`lone`: no plan of shape" in caplog.text


ONE_WAY = {
    "task_types": {"blur": {"do": ["blur {image}"]}},
    "values": {"image": ["cat.png"]},
    "frames": {"do": ["{do}."], "openers": [], "closers": [], "mentions": {"any": ["{value}"]}},
}


@pytest.mark.parametrize(
    ("catalog", "n", "message"),
    [
        (Catalog(name="none"), 1, "`none` has no task types"),
        (Catalog(task_types=(kind("blur", ["json"]),)), 1, "no plan of the wanted shapes"),
        (Catalog(task_types=(kind("blur", ["image"]),)), 2, "only 1 different instructions of 2"),
    ],
)
def test_what_cannot_be_made_is_said(catalog, n, message):
    templates = parse_templates(ONE_WAY) if catalog.task_types and catalog.fits("blur", "blur") else None
    with pytest.raises(DataError, match=message):
        make(catalog, templates, n=n, shapes=ShapeWeights(node=1, chain=0, dag=0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"task_types": {"fly": {"do": ["fly"]}}}, "task type `fly` is not in the catalog"),
        (
            {"task_types": {"blur": {"do": ["blur {picture}"]}}},
            "slot {picture} is no input or parameter (image, input)",
        ),
        ({"task_types": {"blur": {"do": ["blur {x}"]}}, "values": {"x": [1]}}, "sets x, which it does not have"),
    ],
)
def test_templates_of_another_catalog_are_refused(content, message):
    with pytest.raises(DataError) as caught:
        check_templates(parse_templates(content), CATALOG)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task_types: [", r"t\.yaml:1: is not YAML"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
        ("colour: red", "field `colour`"),
        ("task_types: {a: {do: ['x {y']}}", "field `task_types.a.do.0`: template `x {y`"),
        ("task_types: {a: {short: [x]}}", "field `task_types.a.do`"),
        ("values: {a: [{say: x}]}", "field `values.a.0`: give either `value` or `set`"),
        ("values: {a: [null]}", "field `values.a.0`: expected a scalar"),
    ],
)
def test_a_template_file_that_is_wrong_names_the_field(tmp_path, text, message):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_templates(path)


def test_the_example_of_the_docstring_is_read(tmp_path):
    block = Templates.__doc__.split("YAML::")[1].split("Task types of the catalog")[0]
    path = tmp_path / "t.yaml"
    path.write_text("\n".join(line[8:] for line in block.splitlines()))
    loaded = load_templates(path)
    assert loaded.values["resize_image.width"][1].value == 500
    assert loaded.values["filter_table.condition"][0].set == {"column": "amount", "operator": ">", "value": 100}
    assert len(loaded.task_types["resize_image"].do) == 2
    assert loaded.frames.closers == ("Thanks!",)


@pytest.mark.parametrize(
    ("tools", "graph"),
    [
        ("ultratool/tool_desc.json", "ultratool/graph_desc.json"),
        ("nestful/sgd-spec.json", None),
        ("taskbench/multimedia_tool_desc.json", "taskbench/multimedia_graph_desc.json"),
    ],
)
def test_published_catalogs_give_sound_samples(public_data, tools, graph):
    catalog = load_catalog(public_data(tools), public_data(graph) if graph else None)
    samples = make(catalog, n=60)
    assert_sound(catalog, samples)
    assert {shape(s) for s in samples} == {"node", "chain", "dag"}
    if graph:
        assert {link for s in samples for link in s.links} <= {(k.source, k.target) for k in catalog.links}
    json.dumps([dict(a) for s in samples for a in s.arguments])


def test_a_catalog_of_thousands_of_types_is_drawn_from_widely():
    catalog = Catalog(task_types=tuple(kind(f"tool_{i}", ["image"]) for i in range(3000)))
    samples = make(catalog, n=40)
    assert len({t for s in samples for t in s.task_types}) > 60
