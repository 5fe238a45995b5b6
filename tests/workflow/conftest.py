"""A small catalog and a small diamond-shaped workflow, and random DAGs."""

import pytest
from hypothesis import strategies as st

from orchestai_jax.workflow import (
    Catalog,
    Parameter,
    Port,
    Reference,
    Task,
    TaskType,
    Value,
    WorkerSpec,
    Workflow,
)


@pytest.fixture
def catalog() -> Catalog:
    image, text = Port(name="image", type="image"), Port(name="text", type="text")
    return Catalog(
        name="small",
        task_types=(
            TaskType(id="make_image", outputs=(image,), parameters=(Parameter(name="path", type="path"),)),
            TaskType(
                id="resize",
                inputs=(image,),
                outputs=(image,),
                parameters=(
                    Parameter(name="width", type="integer", required=True),
                    Parameter(name="filter", type="string", enum=("lanczos", "box"), default="box", required=True),
                    Parameter(name="sharpen", type="boolean"),
                    Parameter(name="factor", type="number"),
                ),
            ),
            TaskType(id="read_text", inputs=(image,), outputs=(text,)),
            TaskType(
                id="archive",
                inputs=(Port(name="first", type="file"), Port(name="second", type="any", required=False)),
                outputs=(Port(name="file", type="file"),),
            ),
        ),
        workers=(
            WorkerSpec(id="pillow", task_types=("make_image", "resize")),
            WorkerSpec(id="ocr", task_types=("read_text",)),
            WorkerSpec(id="zip", task_types=("archive",)),
        ),
    )


@pytest.fixture
def diamond() -> Workflow:
    return Workflow(
        instruction="resize it, read it, archive both",
        confidence=0.8,
        tasks=(
            Task(id="make", task_type="make_image", worker="pillow", arguments={"path": Value(value="a.png")}),
            Task(
                id="small",
                task_type="resize",
                worker="pillow",
                confidence=0.93,
                arguments={"image": Reference(task="make", output="image"), "width": Value(value=80)},
                depends_on=("make",),
            ),
            Task(
                id="words",
                task_type="read_text",
                worker="ocr",
                arguments={"image": Reference(task="make", output="image")},
                depends_on=("make",),
            ),
            Task(
                id="pack",
                task_type="archive",
                worker="zip",
                arguments={
                    "first": Reference(task="small", output="image"),
                    "second": Reference(task="words", output="text"),
                },
                depends_on=("small", "words"),
            ),
        ),
    )


# Few but nasty, because drawing free text is slow.
NASTY = [
    "a",
    "t1",
    "",
    " ",
    '"',
    "<b>&amp;</b>",
    "new\nline",
    "]]>",
    "#quot;",
    "é",
    "日本語のタスク",
    "👩‍🚀",
    "\x00\x1b[31m",
    "\u202e",
    "x" * 300,
]
TEXT = st.sampled_from(NASTY)
IDS = [text for text in NASTY if text]


@st.composite
def _dags(draw, most: int = 8):
    """Workflows that are DAGs: tasks in random order, nasty ids, dependencies declared or only referenced."""
    n = draw(st.integers(0, most))
    rotation = draw(st.integers(0, len(IDS) - 1))
    ids = (IDS[rotation:] + IDS[:rotation])[:n]
    tasks = []
    for i in range(n):
        declared, referenced = draw(st.integers(0, 2**i - 1)), draw(st.integers(0, 2**i - 1))
        arguments = {
            f"r{k}": Reference(task=ids[k], output=TEXT_OF_OUTPUT[k % 3]) for k in range(i) if referenced >> k & 1
        }
        if i % 3 == 0:
            arguments[draw(TEXT)] = Value(value=draw(JSON))
        tasks.append(
            Task(
                id=ids[i],
                task_type=draw(TEXT),
                worker=draw(st.none() | TEXT),
                arguments=arguments,
                depends_on=tuple(ids[k] for k in range(i) if declared >> k & 1),
                confidence=draw(st.none() | st.floats(0, 1)),
            )
        )
    if draw(st.booleans()):
        tasks.reverse()
    return Workflow(instruction=draw(TEXT), tasks=tuple(tasks), notes=(draw(TEXT),))


TEXT_OF_OUTPUT = ["image", '"', "new\nline"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="session")
def dags():
    """The strategy of random DAGs; for tests that draw by `data.draw`."""
    return _dags()


@pytest.fixture(scope="session")
def json_values():
    """The strategy of JSON values."""
    return JSON
