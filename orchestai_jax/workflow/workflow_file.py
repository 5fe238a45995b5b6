"""Workflows in files: JSON, one workflow a file."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import pydantic

from orchestai_jax.workflow._field_errors import one_line
from orchestai_jax.workflow.faults import WorkflowError
from orchestai_jax.workflow.workflow import SCHEMA_VERSION, Workflow


def load_workflow(path: str | os.PathLike[str]) -> Workflow:
    """Read a workflow, as `save_workflow` or `orchestai plan --json` write it.

    Raises WorkflowError naming the file and the line or field for what is no workflow. What it reads may still be no
    valid plan for a catalog: `validate_workflow` says.
    """
    try:
        data = pathlib.Path(path).read_bytes()
        content = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise WorkflowError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise WorkflowError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"{path}: a workflow is a JSON object with `tasks`, given a {type(content).__name__}")
    version = content.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise WorkflowError(f"{path}: schema_version is {version!r}; this package reads {SCHEMA_VERSION}")
    try:
        return Workflow.model_validate(content)
    except pydantic.ValidationError as error:
        raise WorkflowError(f"{path}: {one_line(error)}") from error


def workflow_json_schema() -> dict[str, Any]:
    """The JSON schema of workflows in files, for editors and for whoever writes them by machine."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Workflow.model_json_schema()}


def save_workflow(workflow: Workflow, path: str | os.PathLike[str]) -> None:
    """Write a workflow as indented JSON. Raises WorkflowError for a literal that JSON cannot express."""
    try:
        text = json.dumps(workflow.model_dump(mode="python"), indent=2, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WorkflowError(f"{path}: the workflow cannot be written as JSON: {error}") from error
    pathlib.Path(path).write_text(text + "\n", encoding="utf-8")
