import json

import hypothesis
import jsonschema
import pytest
import yaml
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    Catalog,
    CatalogError,
    Link,
    Parameter,
    Port,
    TaskType,
    WorkerLimits,
    WorkerSpec,
    catalog_json_schema,
    describe,
    load_catalog,
    save_catalog,
    types_fit,
)


def test_all_faults_are_in_one_error():
    port = Port(name="x")
    with pytest.raises(CatalogError) as caught:
        Catalog(
            name="bad",
            task_types=(
                TaskType(id="a"),
                TaskType(id="b"),
                TaskType(id="a"),
                TaskType(id="c", inputs=(port,), outputs=(port, port), parameters=(Parameter(name="x"),)),
            ),
            workers=(WorkerSpec(id="w", task_types=("a", "ghost")), WorkerSpec(id="w", task_types=("phantom",))),
            links=(Link(source="a", target="nowhere"), Link(source="nobody", target="nobody")),
        )
    message = str(caught.value)
    assert "\n" not in message
    assert "7 fault(s)" not in message
    for fault in (
        "'bad' has 8 fault(s)",
        "task type 'a' stands twice",
        "worker 'w' stands twice",
        "'c' has two inputs named 'x'",
        "'c' has two outputs named 'x'",
        "unknown task type 'ghost'",
        "unknown task type 'phantom'",
        "unknown task type 'nowhere'",
        "unknown task type 'nobody'",
    ):
        assert fault in message


def test_what_is_legal():
    assert Catalog().task_types == ()
    one = Catalog(task_types=(TaskType(id="a"),))
    assert one.workers_for("a") == ()
    ring = Catalog(
        task_types=tuple(TaskType(id=i) for i in "ab"),
        links=(Link(source="a", target="b"), Link(source="b", target="a"), Link(source="a", target="a")),
    )
    assert len(ring.links) == 3


def test_ten_thousand_types_and_workers():
    ids = [f"type_{i}" for i in range(10_000)]
    catalog = Catalog(
        task_types=tuple(TaskType(id=i) for i in ids),
        workers=tuple(WorkerSpec(id=f"w{i}", task_types=(i, "type_0")) for i in ids),
        links=tuple(Link(source="type_0", target=i) for i in ids),
    )
    assert catalog.task_type("type_9999").id == "type_9999"
    assert len(catalog.workers_for("type_0")) == 10_000
    assert catalog.can_do("wtype_7", "type_7")
    assert not catalog.can_do("wtype_7", "type_8")
    assert not catalog.can_do("nobody", "type_8")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("field", ["cost", "latency"])
def test_cost_and_latency_are_numbers(field, number):
    with pytest.raises(ValueError, match=field):
        WorkerSpec(id="w", **{field: number})


def test_types_fit():
    assert types_fit("image", "file")
    assert not types_fit("file", "image")
    assert not types_fit("text", "file")
    assert types_fit("any", "image")
    assert types_fit("image", "any")


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("book_flight", "book flight"),
        ("getWeatherNow", "get weather now"),
        ("Homes.FindHome", "homes find home"),
        ("Image-to-Video", "image to video"),
        ("parseHTML", "parse html"),
        ("...", ""),
    ],
)
def test_ids_become_words(identifier, words):
    assert describe(identifier, "") == words
    assert describe(identifier, "Do it.") == f"{words}: Do it."


# The own format


def test_own_yaml(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text(
        """
schema_version: 1
name: mine
task_types:
  - id: resize
    description: Resize an image.
    inputs: [{name: image, type: image}]
    outputs: [{name: image, type: image}]
    parameters:
      - {name: width, type: integer, required: true}
      - {name: since, type: string, default: 2024-01-01}
workers:
  - {id: pillow, task_types: [resize], cost: 0.01, latency: 0.2, limits: {max_concurrency: 2}}
links:
  - {source: resize, target: resize}
"""
    )
    catalog = load_catalog(path)
    assert catalog.name == "mine"
    assert catalog.task_type("resize").parameters[1].default == "2024-01-01"
    assert catalog.worker("pillow").limits == WorkerLimits(max_concurrency=2)
    save_catalog(catalog, tmp_path / "again.yaml")
    save_catalog(catalog, tmp_path / "again.json")
    assert load_catalog(tmp_path / "again.yaml") == load_catalog(tmp_path / "again.json") == catalog


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("task_types:\n  - id: a\n    colour: red\n", 3, r"task_types\[0\].colour"),
        (
            "name: x\ntask_types:\n  - id: no\n",
            3,
            r"task_types\[0\].id: Input should be a valid string \(given False\)",
        ),
        ("task_types:\n  - description: d\n", 2, r"task_types\[0\].id: Field required"),
        ("workers:\n  - id: w\n    cost: cheap\n", 3, r"workers\[0\].cost"),
        ("task_types:\n  - id: a\n  - id: b\n  - id: a\n  - id: a\n", 4, "'a' stands twice"),
        ("task_types:\n  - id: a\nworkers:\n  - id: w\n  - id: w\n", 5, "'w' stands twice"),
        ("task_types:\n  - id: a\n  - id: b\n    outputs:\n    - {name: x}\n    - {name: x}\n", 3, "two outputs named"),
        ("task_types:\n  - id: a\nworkers:\n  - id: w\n    task_types: [ghost]\n", 4, "unknown task type 'ghost'"),
        ("task_types:\n  - id: a\nlinks:\n  - {source: a, target: ghost}\n", 4, "unknown task type 'ghost'"),
        ("task_types: [\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("task_types:\n\t- id: a\n", 2, "not YAML"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, text, line, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=rf"bad\.yaml, line {line}\b.*{says}") as caught:
        load_catalog(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "given nothing"),
        ("- 1\n", "first tool has int"),
        ("true\n", "given a bool"),
        ("schema_version: 2\n", "schema_version is 2"),
        ("task_types: [{id: a}, {id: a}]\n", "'a' stands twice"),
        ("1: 2\n", "Extra inputs|Keys should be strings"),
        ("a: \x01\n", "not YAML"),
        ("x: !!python/object/apply:os.system ['true']\n", "not YAML"),
        ("[" * 5000, "not YAML|nested"),
        ("task_types: [{id: a, parameters: [{name: p, default: !!set {x}}]}]\n", "default"),
    ],
)
def test_other_wrong_files(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=rf"bad\.yaml.*({says})"):
        load_catalog(path)


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task_types: [{id: a, description: '1e-05', parameters: [{name: p, default: 1e-05}]}]\n")
    catalog = load_catalog(path)
    assert catalog.task_type("a").parameters[0].default == 1e-05
    save_catalog(catalog, path)
    assert load_catalog(path) == catalog


def test_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: x\n# fine\n# Größe\n".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"latin\.yaml, line 3: byte 0xf6 is not UTF-8"):
        load_catalog(path)
    path = tmp_path / "marked.json"
    path.write_bytes('{"name": "Größe"}'.encode("utf-8-sig"))  # with a byte order mark, as some editors write it
    assert load_catalog(path).name == "Größe"


def test_no_file_a_folder_and_an_unknown_format(tmp_path):
    with pytest.raises(CatalogError, match=r"ghost\.yaml: cannot be read"):
        load_catalog(tmp_path / "ghost.yaml")
    with pytest.raises(CatalogError, match="cannot be read"):
        load_catalog(tmp_path)
    with pytest.raises(CatalogError, match="known: orchestai, taskbench"):
        load_catalog(tmp_path / "ghost.yaml", format="toml")


SCHEMA = jsonschema.Draft202012Validator(catalog_json_schema())
NAMES = st.sampled_from(
    ["a", "no", "1", "é", "日本", "x: y", "- x", "#", "\x85", "\u2028", " ", "'", '"', "null", "\t"]
)


@st.composite
def catalogs(draw):
    ids = draw(st.lists(NAMES, unique=True, max_size=4))
    enum = st.none() | st.tuples(NAMES, st.integers(), st.booleans())
    task_types = tuple(
        TaskType(
            id=i,
            description=draw(NAMES),
            inputs=tuple(Port(name=f"i{n}", type=n) for n in draw(st.lists(NAMES, unique=True, max_size=2))),
            outputs=tuple(Port(name=n) for n in draw(st.lists(NAMES, unique=True, max_size=2))),
            parameters=tuple(
                Parameter(name=n, default=draw(st.none() | NAMES | st.floats(-1, 1)), enum=draw(enum))
                for n in draw(st.lists(NAMES, unique=True, max_size=2))
            ),
        )
        for i in ids
    )
    some = st.lists(st.sampled_from(ids), unique=True) if ids else st.just([])
    workers = tuple(
        WorkerSpec(id=n, task_types=tuple(draw(some)), cost=draw(st.floats(0, 1e9)), quality=draw(st.floats(0, 1)))
        for n in draw(st.lists(NAMES, unique=True, max_size=3))
    )
    links = tuple(Link(source=s, target=t) for s, t in zip(draw(some), draw(some), strict=False))
    return Catalog(name=draw(NAMES), task_types=task_types, workers=workers, links=links)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(catalog=catalogs(), suffix=st.sampled_from([".yaml", ".json"]))
def test_what_is_saved_is_loaded_and_fits_the_schema(tmp_path_factory, catalog, suffix):
    path = tmp_path_factory.mktemp("catalog") / f"c{suffix}"
    save_catalog(catalog, path)
    assert load_catalog(path) == catalog
    text = path.read_text(encoding="utf-8")
    SCHEMA.validate(json.loads(text) if suffix == ".json" else yaml.safe_load(text))


@pytest.mark.parametrize(
    "content",
    [
        {"task_types": [{"description": "no id"}]},
        {"task_types": [{"id": "a", "inputs": [{"name": ""}]}]},
        {"workers": [{"id": "w", "quality": 2}]},
        {"workers": [{"id": "w", "limits": {"timeout_s": 0}}]},
        {"colour": "red"},
        {"schema_version": 2},
    ],
)
def test_schema_and_loader_refuse_the_same(tmp_path, content):
    schema = catalog_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CatalogError):
        load_catalog(path)


def test_a_changed_copy_looks_itself_up():
    first = Catalog(
        task_types=(TaskType(id="a"), TaskType(id="b")),
        workers=(WorkerSpec(id="w", task_types=("a", "b")), WorkerSpec(id="v", task_types=("a",))),
    )
    assert first.index == {"a": 0, "b": 1}
    assert first.choices == {"a"}
    second = first.model_copy(update={"task_types": (TaskType(id="b"),), "workers": ()})
    assert second.index == {"b": 0}
    assert second.workers_for("a") == second.workers_for("b") == ()
    assert second.choices == frozenset()
    with pytest.raises(CatalogError, match="unknown task type 'a'"):
        first.model_copy(update={"task_types": (TaskType(id="b"),)})


def test_a_part_of_a_catalog_keeps_what_still_holds_together():
    types = tuple(TaskType(id=i) for i in "abc")
    workers = (WorkerSpec(id="w", task_types=("a", "b")), WorkerSpec(id="v", task_types=("b",)))
    links = (Link(source="a", target="b"), Link(source="c", target="a"))
    whole = Catalog(name="whole", task_types=types, workers=workers, links=links)
    part = whole.restricted_to({"c", "a"})
    assert [t.id for t in part.task_types] == ["a", "c"]
    assert [(w.id, w.task_types) for w in part.workers] == [("w", ("a",)), ("v", ())]
    assert part.links == (Link(source="c", target="a"),)
    assert part.workers_for("b") == ()
    assert whole.restricted_to({"a", "b", "c", "d"}) is whole
