import json

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    ANY,
    CATALOG_FORMATS,
    Catalog,
    CatalogError,
    Link,
    Reference,
    Task,
    Value,
    Workflow,
    load_catalog,
    validate_workflow,
)

# Published files


def test_ultratool(public_data):
    tools, graph = public_data("ultratool/tool_desc.json"), public_data("ultratool/graph_desc.json")
    catalog = load_catalog(tools, graph=graph)
    assert (len(catalog.task_types), len(catalog.links)) == (260, 611)
    first = catalog.task_types[0]
    assert (first.id, first.description) == ("order_tracking", "Order Tracking Tool")
    assert [(p.type, p.required) for p in first.inputs] == [(ANY, False)]


@pytest.mark.parametrize(("domain", "types", "links"), [("huggingface", 23, 225), ("multimedia", 40, 449)])
def test_taskbench(public_data, domain, types, links):
    catalog = load_catalog(
        public_data(f"taskbench/{domain}_tool_desc.json"), graph=public_data(f"taskbench/{domain}_graph_desc.json")
    )
    assert (len(catalog.task_types), len(catalog.links)) == (types, links)
    # their graph joins tools whose types fit, so ours must find that they do
    assert all(catalog.fits(link.source, link.target) for link in catalog.links)


def test_taskbench_ports(public_data):
    catalog = load_catalog(public_data("taskbench/huggingface_tool_desc.json"))
    answering = catalog.task_type("Question Answering")
    assert [(p.name, p.type, p.required) for p in answering.inputs] == [
        ("text", "text", True),
        ("text_2", "text", True),
    ]
    assert [(p.name, p.type) for p in catalog.task_type("Translation").outputs] == [("output", "text")]
    multimedia = load_catalog(public_data("taskbench/multimedia_tool_desc.json"))
    assert "Image" not in {p.type for t in multimedia.task_types for p in t.outputs}


def test_sealtools_takes_its_own_gold_plans(public_data):
    catalog = load_catalog(public_data("sealtools/tool.jsonl"))
    assert len(catalog.task_types) == 4076
    evidence = catalog.task_type("analyzeEvidence")
    assert [(p.name, p.type, p.required) for p in evidence.parameters] == [
        ("evidence_type", "string", True),
        ("method", "string", True),
        ("sample", "string", True),
    ]
    basketball = {p.name: (p.type, p.required) for p in catalog.task_type("getBasketballScore").parameters}
    assert basketball["period"] == ("integer", False)
    assert [p.name for p in evidence.outputs] == ["analysis_results", "conclusion"]
    assert [p.name for p in catalog.task_type("validateInput").inputs] == ["input_2"]  # it has a parameter `input`
    references = 0
    for line in public_data("sealtools/dev.jsonl").read_text(encoding="utf-8").splitlines():
        tasks, where = [], {}
        for i, call in enumerate(json.loads(line)["calling"]):
            arguments = {}
            for name, value in call["parameters"].items():
                if isinstance(value, str) and value in where:
                    arguments[name] = Reference(task=where[value][0], output=where[value][1])
                    references += 1
                elif isinstance(value, str) and value.startswith("API_call_"):
                    arguments = None  # refers to no call of the sample
                    break
                else:
                    arguments[name] = Value(value=value)
            if arguments is None:
                break
            used = {a.task: None for a in arguments.values() if isinstance(a, Reference)}
            tasks.append(Task(id=str(i), task_type=call["api"], arguments=arguments, depends_on=tuple(used)))
            ports = catalog.task_type(call["api"]).outputs
            where |= {r: (str(i), port.name) for r, port in zip(call["responses"], ports, strict=True)}
        faults = validate_workflow(Workflow(tasks=tuple(tasks)), catalog)
        # literals are as the annotators wrote them ("3 days" for an int); names, types and edges must be right
        assert {f.code for f in faults} <= {"bad_argument", "missing_argument"}, faults
    assert references > 20


@pytest.mark.parametrize(("spec", "types"), [("glaive", 64), ("sgd", 30)])
def test_nestful(public_data, spec, types, caplog):
    catalog = load_catalog(public_data(f"nestful/{spec}-spec.json"))
    assert len(catalog.task_types) == types
    assert all(t.parameters or t.id for t in catalog.task_types)
    if spec == "glaive":  # declares five tools twice or three times, equally
        assert "more than once: translate_text, search_music, schedule_meeting" in caplog.text
        translate = catalog.task_type("translate_text")
        assert [(p.name, p.type, p.required) for p in translate.parameters] == [
            ("text", "string", True),
            ("source_language", "string", True),
            ("target_language", "string", True),
        ]
        price_range = next(p for p in catalog.task_type("search_product").parameters if p.name == "price_range")
        assert (price_range.type, price_range.required) == ("object", False)
    else:
        fare = next(p for p in catalog.task_type("Buses.FindBus").parameters if p.name == "fare_type")
        assert (fare.default, fare.enum) == ("Economy", ("Economy", "Economy extra", "Flexible"))
        origin = next(p for p in catalog.task_type("Buses.FindBus").parameters if p.name == "origin")
        assert (origin.required, origin.enum) == (True, None)


def test_nestful_a_nested_list_of_required_fields_is_not_about_the_argument(tmp_path):
    arguments = {"range": {"type": "object", "required": ["min"]}, "name": {"required": True}}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps([{"name": "f", "arguments": arguments, "output_parameters": {}}]))
    (only,) = load_catalog(path).task_types
    assert [(p.name, p.required) for p in only.parameters] == [("range", False), ("name", True)]


# Function schemas

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "days": {"type": ["integer", "null"], "default": 1},
        "unit": {"enum": ["C", "F"]},
        "link": {"type": "string", "format": "uri"},
        "when": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "place": {"$ref": "#/$defs/place", "description": "a place"},
        "loop": {"$ref": "#/$defs/loop"},
        "open": True,
        "fixed": {"const": 7},
    },
    "required": ["city", "place"],
    "$defs": {"place": {"$ref": "#/$defs/point"}, "point": {"type": "array"}, "loop": {"$ref": "#/$defs/loop"}},
}
EXPECTED = {
    "city": ("string", True, None, None),
    "days": ("integer", False, 1, None),
    "unit": ("any", False, None, ("C", "F")),
    "link": ("url", False, None, None),
    "when": ("number", False, None, None),
    "either": ("any", False, None, None),
    "place": ("array", True, None, None),
    "loop": ("any", False, None, None),
    "open": ("any", False, None, None),
    "fixed": ("any", False, None, (7,)),
}
FUNCTION = {"name": "weather", "description": "Tell the weather", "parameters": SCHEMA, "strict": True}
TOOL = {
    "name": "weather",
    "title": "Weather",
    "inputSchema": SCHEMA,
    "outputSchema": {"type": "object", "properties": {"degrees": {"type": "number"}, "map": {"type": "string"}}},
}


def write(tmp_path, content, name="catalog.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        [FUNCTION],
        [{"type": "function", "function": FUNCTION}],
        [{"type": "function", **FUNCTION}],
        {"tools": [{"type": "function", "function": FUNCTION}]},
        {"functions": [FUNCTION]},
        [TOOL],
        {"tools": [TOOL], "nextCursor": None},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [TOOL]}},
    ],
)
def test_function_schemas(tmp_path, content):
    catalog = load_catalog(write(tmp_path, content))
    weather = catalog.task_type("weather")
    assert {p.name: (p.type, p.required, p.default, p.enum) for p in weather.parameters} == EXPECTED
    assert weather.parameters[0].description == "Where"
    assert weather.description in ("Tell the weather", "Weather")
    is_mcp = "inputSchema" in json.dumps(content)
    expected = [("degrees", "number"), ("map", "text")] if is_mcp else [("output", ANY)]
    assert [(p.name, p.type) for p in weather.outputs] == expected


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object", "properties": {}}])
def test_a_function_without_parameters(tmp_path, parameters):
    (only,) = load_catalog(write(tmp_path, [{"name": "now", "parameters": parameters}])).task_types
    assert only.parameters == ()


def test_doubles_that_differ_are_merged(tmp_path, caplog):
    def function(required, **properties):
        return {"name": "f", "parameters": {"properties": {k: {"type": v} for k, v in properties.items()}} | required}

    first = function({"required": ["a", "b"]}, a="string", b="integer")
    second = function({"required": ["b", "c"]}, b="number", c="boolean")
    (only,) = load_catalog(write(tmp_path, [first, second])).task_types
    # of both; the first wins for b; what only one of them has is not required
    assert [(p.name, p.type, p.required) for p in only.parameters] == [
        ("a", "string", False),
        ("b", "integer", True),
        ("c", "boolean", False),
    ]
    assert "declared differently, and merged: f" in caplog.text


def test_taskbench_parameters_and_a_graph_that_does_not_belong(tmp_path):
    tools = {"nodes": [{"id": "book", "desc": "Book it", "parameters": [{"name": "input", "type": "string"}]}]}
    path = write(tmp_path, tools)
    (book,) = load_catalog(path).task_types
    assert [p.name for p in book.parameters] == ["input"]
    assert [p.name for p in book.inputs] == ["input_2"]
    links = [{"source": "book", "target": "book"}, {"source": "book", "target": "book"}]
    graph = write(tmp_path, {"links": links}, "graph.json")
    assert load_catalog(path, graph=graph).links == (Link(source="book", target="book"),)
    two = {"task_types": [{"id": "book"}, {"id": "pay"}], "links": [{"source": "book", "target": "pay"}]}
    own = load_catalog(write(tmp_path, two, "own.json"), graph=graph)  # a graph adds to the links that are there
    assert own.links == (Link(source="book", target="pay"), Link(source="book", target="book"))
    graph = write(tmp_path, {"links": [{"source": "book", "target": "ghost"}]}, "graph.json")
    with pytest.raises(CatalogError, match=r"graph\.json does not belong to .*catalog\.json: .*'ghost'"):
        load_catalog(path, graph=graph)


# What is malformed

SEAL = {"api_name": "f", "parameters": {"x": {"type": "int"}}, "required": ["x"], "responses": {"y": {"type": "str"}}}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.json", '{"nodes": [\n {"id": "a"},\n {"id": 3}\n]}', r"line 3: nodes\[1\]\.id: .*given 3"),
        ("t.json", '{"nodes": [\n {"desc": "a"}]}', r"line 2: nodes\[0\]\.id: Field required"),
        ("t.json", '{"nodes": {"id": "a"}}', r"line 1: nodes: "),
        ("t.json", '{"nodes": [\n {"id": "a", "input-type": "text"}]}', r"line 2: nodes\[0\]\.input-type"),
        ("t.json", '{"nodes": [\n {"id": "a"', "line 2, column 12: not JSON"),
        ("t.jsonl", json.dumps(SEAL) + "\n" + json.dumps(SEAL)[:50], "line 2, column .*: not JSON"),
        ("t.jsonl", json.dumps(SEAL) + '\n\n{"api_name": 7}\n', r"line 3: api_name: .*given 7"),
        ("t.jsonl", json.dumps(SEAL) + "\n[]\n", "line 2: "),
        ("t.jsonl", '{"what": 1}', "'what'"),
        ("t.jsonl", "\n", "is empty"),
        ("t.json", '[\n{"name": "a", "output_parameters": {}, "arguments": []}]', r"line 2: \[0\]\.arguments"),
        ("t.json", '[\n{"function": {"description": "x"}}]', r"line 2: \[0\]\.function\.name: Field required"),
        ("t.json", '{"tools": [\n{"name": "a", "inputSchema": 3}]}', r"line 2: tools\[0\]\.inputSchema"),
        ("t.json", '[{"name": ""}]', r"\[0\]\.name"),
        ("t.json", "[]", "lists no tool"),
        ("t.json", "[3]", "first tool has int"),
        ("t.json", '{"result": {}}', "list of tools is wanted"),
        ("t.json", "3", "given a int"),
        ("t.json", "", "line 1, column 1: not JSON"),
        ("t.json", "[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_malformed_files_say_what_and_where(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(CatalogError, match=says) as caught:
        load_catalog(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mixed_encodings(tmp_path):
    path = tmp_path / "tool.jsonl"
    path.write_bytes(json.dumps(SEAL).encode() + b'\n{"api_name": "caf\xe9"}\n')
    with pytest.raises(CatalogError, match=r"tool\.jsonl, line 2: byte 0xe9 is not UTF-8"):
        load_catalog(path)


@pytest.mark.parametrize("file", ["ultratool/tool_desc.json", "nestful/sgd-spec.json", "sealtools/tool.jsonl"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_truncated_public_files(public_data, tmp_path, file, share):
    whole = public_data(file).read_bytes()[:60_000]
    path = tmp_path / file.split("/")[1]
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CatalogError, match=rf"{path.name}, line \d+"):
        load_catalog(path)


KEYS = st.sampled_from(
    [
        "name",
        "id",
        "description",
        "desc",
        "nodes",
        "links",
        "tools",
        "function",
        "parameters",
        "properties",
        "type",
        "required",
        "enum",
        "default",
        "api_name",
        "responses",
        "inputSchema",
        "outputSchema",
        "output_parameters",
        "arguments",
        "task_types",
        "workers",
        "inputs",
        "outputs",
        "$ref",
        "x",
    ]
)
ANYTHING = st.recursive(
    st.sampled_from([None, True, 0, -1.5, "", "a", "string", "#/x", "\ud800", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
ENTRY = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", ""])},
    optional=dict.fromkeys(
        ("parameters", "arguments", "output_parameters", "inputSchema", "outputSchema", "description"), ANYTHING
    ),
)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    content=ANYTHING | st.lists(ENTRY, min_size=1, max_size=3),
    format=st.none() | st.sampled_from(CATALOG_FORMATS),
    suffix=st.sampled_from([".json", ".yaml", ".jsonl"]),
)
def test_any_json_gives_a_catalog_or_a_catalog_error(tmp_path_factory, content, format, suffix):
    path = tmp_path_factory.mktemp("any") / f"c{suffix}"
    path.write_text(json.dumps(content))
    message = path.name
    try:
        assert isinstance(load_catalog(path, format=format), Catalog)
    except CatalogError as error:
        message = str(error)
    assert path.name in message
    assert "\n" not in message
    message.encode()  # can be printed


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(data=st.binary(max_size=30), suffix=st.sampled_from([".json", ".yaml", ".jsonl"]))
def test_any_bytes_give_a_catalog_or_a_catalog_error(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp("bytes") / f"c{suffix}"
    path.write_bytes(data)
    message = path.name
    try:
        load_catalog(path)
    except CatalogError as error:
        message = str(error)
    assert path.name in message
