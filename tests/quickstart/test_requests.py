"""Each set of hand-written requests: that it is a hundred, all different, and that its plans hold together."""

import collections
import importlib.resources
import re

import pytest
import yaml

from orchestai_jax.config import Preference
from orchestai_jax.quickstart import REQUEST_SETS, load_embedded_catalog
from orchestai_jax.quickstart.sample_files import SAMPLE_TYPES
from orchestai_jax.workflow import types_fit

FILE_NAME = re.compile(
    r"[\w-]+(?:\.\w+)*\.(?:png|jpe?g|webp|gif|bmp|tiff|wav|mp3|csv|tsv|jsonl|json|parquet|txt|md|html|zip)\b"
)
CATALOG = load_embedded_catalog()


@pytest.fixture(params=sorted(REQUEST_SETS))
def requests(request):
    file = importlib.resources.files("orchestai_jax.quickstart").joinpath(REQUEST_SETS[request.param])
    return yaml.safe_load(file.read_text(encoding="utf-8"))["requests"]


def test_they_are_a_hundred_and_no_two_are_alike(requests):
    assert len(requests) == 100
    plain = [" ".join(re.findall(r"[\w.]+", request["text"].lower())) for request in requests]
    assert [text for text, times in collections.Counter(plain).items() if times > 1] == []


def test_keys_and_preferences_are_known(requests):
    for number, request in enumerate(requests, start=1):
        assert set(request) <= {"text", "tasks", "edges", "preference"}, number
        assert request["text"].strip() == request["text"] != "", number
        assert request.get("preference", "balanced") in Preference.PRESETS, number


def test_task_types_are_in_the_catalog(requests):
    for number, request in enumerate(requests, start=1):
        assert 1 <= len(request["tasks"]) <= 5, number
        assert [task_type for task_type in request["tasks"] if task_type not in CATALOG.index] == [], number


def test_edges_run_forwards_and_fit_by_type(requests):
    for number, request in enumerate(requests, start=1):
        tasks, edges = request["tasks"], [tuple(edge) for edge in request.get("edges", ())]
        assert len(set(edges)) == len(edges), number
        for source, target in edges:
            # Producer before consumer in the order given: this makes a cycle impossible.
            assert 0 <= source < target < len(tasks), number
            assert CATALOG.fits(tasks[source], tasks[target]), f"{number}: {tasks[source]} -> {tasks[target]}"


def test_every_task_has_an_input_for_each_task_that_feeds_it(requests):
    for number, request in enumerate(requests, start=1):
        free = [list(CATALOG.task_type(task_type).inputs) for task_type in request["tasks"]]
        for source, target in request.get("edges", ()):
            made = [output.type for output in CATALOG.task_type(request["tasks"][source]).outputs]
            fitting = [port for port in free[target] if any(types_fit(m, port.type) for m in made)]
            assert fitting, f"{number}: nothing left in {request['tasks'][target]} for {request['tasks'][source]}"
            free[target].remove(fitting[0])


def test_files_named_are_sample_files(requests):
    for number, request in enumerate(requests, start=1):
        named = FILE_NAME.findall(request["text"])
        assert named, f"{number}: a request works on at least one file"
        assert [name for name in named if name not in SAMPLE_TYPES] == [], number


def test_every_task_type_is_asked_for_twice(requests):
    # Counted once a request: two tasks of a type in one request are still one wording.
    asked = collections.Counter(task_type for request in requests for task_type in set(request["tasks"]))
    assert {t.id: asked[t.id] for t in CATALOG.task_types if asked[t.id] < 2} == {}


def test_single_tasks_chains_graphs_and_preferences_are_mixed(requests):
    shapes = collections.Counter(_shape(request) for request in requests)
    assert shapes["single"] == 30
    assert min(shapes["chain"], shapes["graph"]) >= 28
    stated = collections.Counter(request.get("preference", "balanced") for request in requests)
    assert 60 <= stated["balanced"] <= 70
    assert min(stated[name] for name in ("quality", "fast", "cheap")) >= 8


def _shape(request) -> str:
    n, edges = len(request["tasks"]), sorted(map(tuple, request.get("edges", ())))
    if n == 1:
        return "single"
    return "chain" if edges == [(i, i + 1) for i in range(n - 1)] else "graph"


def test_the_sets_share_no_request():
    folder = importlib.resources.files("orchestai_jax.quickstart")
    texts = [
        {" ".join(r["text"].lower().split()) for r in yaml.safe_load(folder.joinpath(f).read_text("utf-8"))["requests"]}
        for f in REQUEST_SETS.values()
    ]
    assert not set.intersection(*texts)
