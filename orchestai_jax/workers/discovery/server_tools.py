"""Tools of an MCP server as task types, each with its worker."""

from __future__ import annotations

import pydantic

from orchestai_jax.workers.discovery.found import UNMEASURED_QUALITY, Found, worker_id
from orchestai_jax.workflow.catalog import WorkerSpec
from orchestai_jax.workflow.connections import McpConnection
from orchestai_jax.workflow.readers.mcp import read_tool


async def find_server_tools(connection: McpConnection, prefix: str = "") -> Found:
    """Every tool of a server.

    Args:
        connection: the server; its `tool` does not matter.
        prefix: put before the names of task types, so that those of two servers differ.

    Raises:
        WorkerError: the server cannot be started or reached.
        ModuleNotFoundError: the extra `mcp` is not installed.
    """
    from orchestai_jax.workers.mcp_servers import McpServer

    server = McpServer(connection)
    try:
        tools = await server.tools()
    finally:
        await server.close()
    task_types, workers, passed_over = [], [], []
    for tool in tools:
        name = str(tool.get("name", ""))
        try:
            task_type = read_tool(tool)
        except pydantic.ValidationError as error:
            passed_over.append((name, f"is not declared as a tool is: {error.errors()[0]['msg']}"))
            continue
        task_type = task_type.model_copy(update={"id": prefix + task_type.id})
        task_types.append(task_type)
        workers.append(
            WorkerSpec(
                id=worker_id("mcp", task_type.id),
                model_type="mcp_tool",
                task_types=(task_type.id,),
                description=f"Tool of the MCP server {server.name}.",
                quality=UNMEASURED_QUALITY,
                connection=connection.model_copy(update={"tool": name}),
            )
        )
    return Found(tuple(workers), tuple(task_types), tuple(passed_over))
