"""Catalogs, workflows and run records: the values that all other rooms hand to one another. Imports no JAX."""

from orchestai_jax.workflow.catalog import (
    ANY,
    Catalog,
    CatalogError,
    Link,
    Parameter,
    Port,
    TaskType,
    WorkerLimits,
    WorkerSpec,
    describe,
    types_fit,
)
from orchestai_jax.workflow.catalog_file import CATALOG_FORMATS, catalog_json_schema, load_catalog, save_catalog
from orchestai_jax.workflow.catalog_merging import merge_catalogs
from orchestai_jax.workflow.connections import (
    Connection,
    Distribution,
    EntryPointConnection,
    HuggingFaceConnection,
    LanguageModelConnection,
    McpConnection,
    OpenAIConnection,
    SimulatedConnection,
    WebConnection,
)
from orchestai_jax.workflow.faults import Fault, WorkflowError
from orchestai_jax.workflow.ordering import critical_path, levels, predecessors, topological_order
from orchestai_jax.workflow.pictures import to_mermaid, to_svg, to_text
from orchestai_jax.workflow.plain_values import plain
from orchestai_jax.workflow.prices import Prices, Usage
from orchestai_jax.workflow.record import Attempt, RecordError, RunRecord, TaskRun, training_example
from orchestai_jax.workflow.record_file import append_record, latest_records, read_records, record_files
from orchestai_jax.workflow.validation import check_workflow, may_fill, validate_workflow
from orchestai_jax.workflow.workflow import Argument, Reference, Task, Value, Workflow
from orchestai_jax.workflow.workflow_file import load_workflow, save_workflow, workflow_json_schema

__all__ = [
    "ANY",
    "CATALOG_FORMATS",
    "Argument",
    "Attempt",
    "Catalog",
    "CatalogError",
    "Connection",
    "Distribution",
    "EntryPointConnection",
    "Fault",
    "HuggingFaceConnection",
    "LanguageModelConnection",
    "Link",
    "McpConnection",
    "OpenAIConnection",
    "Parameter",
    "Port",
    "Prices",
    "RecordError",
    "Reference",
    "RunRecord",
    "SimulatedConnection",
    "Task",
    "TaskRun",
    "TaskType",
    "Usage",
    "Value",
    "WebConnection",
    "WorkerLimits",
    "WorkerSpec",
    "Workflow",
    "WorkflowError",
    "append_record",
    "catalog_json_schema",
    "check_workflow",
    "critical_path",
    "describe",
    "latest_records",
    "levels",
    "load_catalog",
    "load_workflow",
    "may_fill",
    "merge_catalogs",
    "plain",
    "predecessors",
    "read_records",
    "record_files",
    "save_catalog",
    "save_workflow",
    "to_mermaid",
    "to_svg",
    "to_text",
    "topological_order",
    "training_example",
    "types_fit",
    "validate_workflow",
    "workflow_json_schema",
]
