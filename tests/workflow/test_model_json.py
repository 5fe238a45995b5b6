import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestai_jax.workflow import Attempt, Catalog, Reference, RunRecord, Task, TaskRun, Value, Workflow
from orchestai_jax.workflow.model_json import model_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
NUMBERS = st.floats(min_value=0, max_value=1e12)


@st.composite
def records(draw) -> RunRecord:
    task = Task(
        id=draw(st.text(min_size=1)),
        task_type="t",
        worker=draw(st.none() | st.text()),
        arguments={"a": Value(value=draw(JSON)), "b": Reference(task="x", output=draw(st.text()))},
        depends_on=("x",),
        confidence=draw(st.none() | st.floats(0, 1)),
    )
    run = TaskRun(
        task=task.id,
        task_type="t",
        status=draw(st.sampled_from(["succeeded", "failed", "skipped", "cancelled"])),
        started_s=draw(NUMBERS),
        cost=draw(NUMBERS),
        tokens=draw(st.integers(0, 2**80)),
        error=draw(st.none() | st.text()),
        outputs=draw(st.dictionaries(st.text(), JSON, max_size=3)),
        attempts=(Attempt(worker="w", duration_s=draw(NUMBERS), error=draw(st.none() | st.text())),),
    )
    return RunRecord(
        run_id="r",
        workflow=Workflow(instruction=draw(st.text()), tasks=(task,), notes=("n",)),
        tasks=(run,),
        status="partial",
        planner=draw(st.dictionaries(st.text(), JSON, max_size=3)),
        preference=draw(st.none() | st.just((0.5, 0.25, 0.25))),
    )


@given(records())
def test_it_is_what_pydantic_writes(record):
    try:
        written = model_json(record)
    except UnicodeEncodeError:  # a lone surrogate: whoever asked goes on with pydantic, which escapes nothing either
        with pytest.raises(ValueError, match="surrogate"):
            record.model_dump_json()
        return
    assert json.loads(written) == json.loads(record.model_dump_json())


def test_what_is_no_json_and_models_with_writers_of_their_own_are_refused():
    record = RunRecord(run_id="r", workflow=Workflow(), status="succeeded")
    assert b'"planner":{"a":[1.0,null]}' in model_json(
        record.model_copy(update={"planner": {"a": [1.0, float("nan")]}})
    )
    for value in (np.zeros(2), np.float64(1.0), object(), {(1, 2): 3}, {None: 1}, Catalog(name="c")):
        with pytest.raises(TypeError):
            model_json(record.model_copy(update={"planner": {"a": value}}))
    deep: list[object] = []
    deep.append(deep)
    with pytest.raises(RecursionError):
        model_json(deep)
