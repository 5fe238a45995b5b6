"""A task as a conversation: its words, its inputs, what the answer has to look like, and the answer read back."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from orchestai_jax.workers.local_tool import TEXT_SUFFIXES, ToolCall, read_text
from orchestai_jax.workers.worker import WorkerError
from orchestai_jax.workflow.catalog import Parameter, Port, TaskType

MAX_IMAGE_BYTES = 20_000_000
"""Largest picture that is sent."""

ANSWERABLE = frozenset({"text", "number", "json", "any", "boolean"})
"""Types of outputs that an answer can hold."""

READABLE = frozenset({"text", "number", "json", "any", "table", "document", "image", "boolean"})
"""Types of inputs that a conversation can hold; `image` by a model that sees."""

_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}

_SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "path": {"type": "string"},
    "url": {"type": "string"},
    "array": {"type": "array", "items": {}},
    "object": {"type": "object"},
    "any": {},
}


def check_chat(task_type: TaskType, vision: bool) -> None:
    """Raise ValueError where no conversation can do a task type, naming the input or output that stands in the way."""
    for port in task_type.inputs:
        if port.type not in READABLE:
            raise ValueError(f"{task_type.id} takes {port.name} of the type {port.type}, which no chat can hold")
        if port.type == "image" and not vision:
            raise ValueError(f"{task_type.id} takes a picture; write vision: true where the model sees")
    for port in task_type.outputs:
        if port.type not in ANSWERABLE:
            raise ValueError(f"{task_type.id} gives {port.name} of the type {port.type}, which no answer can hold")


def messages_of(call: ToolCall, system: str) -> list[dict[str, Any]]:
    """The conversation that asks for a task.

    Raises:
        WorkerError: an input cannot be read.
    """
    task_type = call.task_type
    lines = [f"Task: {task_type.text}"]
    for parameter in task_type.parameters:
        value = call.arguments[parameter.name]
        if value is not None:
            lines.append(f"{parameter.name} ({parameter.description or parameter.type}): {_plain(value)}")
    pictures: list[dict[str, Any]] = []
    for port in task_type.inputs:
        if not call.given(port.name):
            continue
        if port.type == "image":
            pictures.append({"type": "image_url", "image_url": {"url": picture_url(call.file(port.name))}})
            lines.append(f"{port.name}: the attached picture {len(pictures)}")
        else:
            lines.append(f"<{port.name}>\n{_content(call, port)}\n</{port.name}>")
    lines.append(_wanted(task_type))
    text = "\n\n".join(lines)
    content: Any = [{"type": "text", "text": text}, *pictures] if pictures else text
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": content}]


def response_format(task_type: TaskType, structured: str) -> dict[str, Any] | None:
    """What keeps the answer to its form; None where it is plain text, or nothing but the request keeps it."""
    if is_plain(task_type) or structured == "none":
        return None
    if structured == "json_object":
        return {"type": "json_object"}
    closed = all(port.type in ("text", "number", "boolean") for port in task_type.outputs)
    properties = {port.name: _schema_of(port) for port in task_type.outputs}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
    if closed:  # only what is wholly described may be strict
        schema["additionalProperties"] = False
    return {"type": "json_schema", "json_schema": {"name": "outputs", "schema": schema, "strict": closed}}


def is_plain(task_type: TaskType) -> bool:
    """Whether the answer's text is the output: there is one, and it is text."""
    return len(task_type.outputs) == 1 and task_type.outputs[0].type in ("text", "any")


def read_answer(task_type: TaskType, text: str) -> dict[str, Any]:
    """The outputs in an answer.

    Raises:
        WorkerError: it is empty, or not of the form that was asked for; the same request may well be answered better.
    """
    if not text.strip():
        raise WorkerError("the model answered nothing", retryable=True)
    if is_plain(task_type):
        return {task_type.outputs[0].name: text.strip()}
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", text, re.DOTALL)
    try:
        found = json.loads(fenced[1] if fenced else text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise WorkerError(f"the model's answer is not JSON: {_plain(text.strip())[:80]!r}", retryable=True) from error
    if not isinstance(found, dict):
        raise WorkerError(f"the model answered a JSON {type(found).__name__} in place of an object", retryable=True)
    values: dict[str, Any] = {}
    for port in task_type.outputs:
        if port.name not in found and port.required:
            given = ", ".join(map(str, found)) or "nothing"
            raise WorkerError(f"the model's answer lacks {port.name!r}; it has {given}"[:300], retryable=True)
        value = found.get(port.name)
        if port.type == "number" and isinstance(value, str):
            value = _number(port, value)
        values[port.name] = value if port.type != "text" or isinstance(value, str) else _plain(value)
    return values


def function_of(task_type: TaskType) -> dict[str, Any]:
    """A task type as a function that the model may call."""
    properties: dict[str, Any] = {}
    required = []
    for port in task_type.inputs:
        how = "a text, or the path of a text file" if port.type == "text" else f"path of a {port.type} file"
        properties[port.name] = {"type": "string", "description": f"{port.description} ({how})"}
        required += [port.name] if port.must_be_given else []
    for parameter in task_type.parameters:
        properties[parameter.name] = _parameter_schema(parameter)
        required += [parameter.name] if parameter.must_be_given else []
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    function = {"name": function_name(task_type.id), "description": task_type.description, "parameters": parameters}
    return {"type": "function", "function": function}


def function_name(task_type_id: str) -> str:
    """A task type's id as the protocol allows it for functions: letters, digits, _ and -, at most 64."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", task_type_id)[:64]


def picture_url(path: Path) -> str:
    """A picture as a data URL. Raises WorkerError where it is none that models take, or too large."""
    data = path.read_bytes()
    if len(data) > MAX_IMAGE_BYTES:
        raise WorkerError(f"{path.name!r} has {len(data)} bytes; at most {MAX_IMAGE_BYTES} are sent")
    media_type = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if media_type is None or (media_type == "image/webp" and data[8:12] != b"WEBP"):
        raise WorkerError(f"{path.name!r} is no PNG, JPEG, GIF or WebP picture; convert it first")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _content(call: ToolCall, port: Port) -> str:
    value = call.arguments[port.name]
    if port.type == "text":
        return call.text(port.name)
    if port.type in ("table", "document"):
        path = call.file(port.name)
        if path.suffix.lower() not in TEXT_SUFFIXES:
            raise WorkerError(f"{port.name}: {path.name!r} is no text; convert it to CSV or text first")
        return read_text(path, path.name)
    return value if isinstance(value, str) else _plain(value)


def _wanted(task_type: TaskType) -> str:
    if is_plain(task_type):
        what = task_type.outputs[0].description or "the result"
        return f"Answer with {what} and nothing else: no introduction, no explanation."
    wanted = ", ".join(f'"{port.name}" ({port.type}: {port.description or port.name})' for port in task_type.outputs)
    return f"Answer with one JSON object and nothing else. Its keys: {wanted}."


def _schema_of(port: Port) -> dict[str, Any]:
    kinds = {"text": "string", "number": "number", "boolean": "boolean"}
    described = {"description": port.description} if port.description else {}
    return {**({"type": kinds[port.type]} if port.type in kinds else {}), **described}


def _parameter_schema(parameter: Parameter) -> dict[str, Any]:
    schema = dict(_SCHEMAS[parameter.type])
    if parameter.description:
        schema["description"] = parameter.description
    if parameter.enum is not None:
        schema["enum"] = list(parameter.enum)
    return schema


def _number(port: Port, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        message = f"the model's answer has {value[:40]!r} for {port.name}, which is not a number"
        raise WorkerError(message, retryable=True) from error


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
