"""A planner and a language model of paper, a small catalog, and plans as the model gives them."""

import asyncio
import json
import types

from orchestai_jax.execution.hybrid_planning import HybridPolicy, plan_hybrid
from orchestai_jax.workflow import (
    Catalog,
    Link,
    Parameter,
    Port,
    Task,
    TaskType,
    Value,
    WorkerSpec,
    Workflow,
)

IMAGE, TEXT = Port(name="image", type="image"), Port(name="text", type="text")


CATALOG = Catalog(
    name="small",
    task_types=(
        TaskType(id="blur_image", description="Blurs a picture.", inputs=(IMAGE,), outputs=(IMAGE,)),
        TaskType(
            id="resize_image",
            description="Changes the size of a picture.",
            inputs=(IMAGE,),
            outputs=(IMAGE,),
            parameters=(
                Parameter(name="width", type="integer", required=True),
                Parameter(name="options", type="object"),
            ),
        ),
        TaskType(id="caption_image", description="Describes a picture in words.", inputs=(IMAGE,), outputs=(TEXT,)),
        TaskType(id="translate_text", description="Translates a text.", inputs=(TEXT,), outputs=(TEXT,)),
        TaskType(id="send_money", description="Pays an invoice.", inputs=(TEXT,), outputs=()),
    ),
    workers=(
        WorkerSpec(id="quick", task_types=("blur_image", "resize_image", "caption_image"), latency=1, quality=0.5),
        WorkerSpec(id="good", task_types=("blur_image", "caption_image"), latency=9, quality=1.0),
        WorkerSpec(id="other", task_types=("translate_text", "send_money")),
    ),
    links=(Link(source="blur_image", target="caption_image"), Link(source="caption_image", target="translate_text")),
)


ASKED = "Blur photo.png and describe it in words."


def learned(confidence=0.9, *tasks):
    blur = Task(id="t1", task_type="blur_image", worker="good", arguments={"image": Value(value="photo.png")})
    return Workflow(instruction=ASKED, tasks=tasks or (blur,), confidence=confidence, notes=("learned",))


class Planner:
    """Gives one plan."""

    def __init__(self, plan=None):
        self.workflow = plan or learned()
        self.asked = []

    def plan(self, text, catalog=None, preference=None):
        self.asked.append((text, catalog, preference))
        return self.workflow


class ScoringPlanner(Planner):
    def task_type_scores(self, text, catalog=None):
        return {"send_money": 0.9, "translate_text": 0.8, "caption_image": 0.1, "blur_image": 0.0, "resize_image": 0.0}


class Model:
    """Says what it was given to say, in order; an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def complete(self, messages, *, response_format=None):
        self.asked.append((list(messages), response_format))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return types.SimpleNamespace(text=text, cost=0.25, usage=types.SimpleNamespace(tokens=100))


def given(name, value):
    return {"name": name, "value": value, "from_task": None, "from_output": None}


def taken(name, task, output):
    return {"name": name, "value": None, "from_task": task, "from_output": output}


def step(name, task_type, *arguments, after=()):
    return {"id": name, "task_type": task_type, "arguments": list(arguments), "depends_on": list(after)}


GOOD = {
    "tasks": [
        step("one", "blur_image", given("image", "photo.png")),
        step("../two", "caption_image", taken("image", "one", "image"), after=["one"]),
    ]
}


WRONG = {"tasks": [step("t1", "translate_text", given("text", "hello"), given("language", "German"))]}


def plan(planner, model=None, **policy):
    return asyncio.run(
        plan_hybrid(ASKED, planner, CATALOG, model=model, policy=HybridPolicy(**{"threshold": 0.5, **policy}))
    )
