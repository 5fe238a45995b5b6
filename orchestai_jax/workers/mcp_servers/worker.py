"""A tool of an MCP server as a worker: arguments out, contents in."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
from collections.abc import Mapping
from typing import Any

from orchestai_jax.workers.arguments import check_arguments
from orchestai_jax.workers.health import Health, Stopwatch
from orchestai_jax.workers.local_tool import ToolCall
from orchestai_jax.workers.mcp_servers.server import McpServer
from orchestai_jax.workers.paths import locate, resolve_inside
from orchestai_jax.workers.worker import Output, WorkerContext, WorkerError
from orchestai_jax.workflow.catalog import TaskType, WorkerSpec
from orchestai_jax.workflow.connections import McpConnection


class McpWorker:
    """One tool of a server.

    Args:
        spec: its entry in the catalog; `connection` says which server and which tool.
        server: the server, where several workers share it.

    Raises:
        ValueError: the connection is of another kind.
    """

    def __init__(self, spec: WorkerSpec, server: McpServer | None = None) -> None:
        if not isinstance(spec.connection, McpConnection):
            raise ValueError(f"worker {spec.id!r} has no connection of the kind mcp")
        self._spec = spec
        self._tool = spec.connection.tool
        self.server = server or McpServer(spec.connection)

    @property
    def spec(self) -> WorkerSpec:
        """Its entry in the catalog."""
        return self._spec

    def fault(self) -> str | None:
        """What can be seen to be missing without starting the server."""
        return self.server.fault()

    async def run(self, task_type: TaskType, arguments: Mapping[str, Any], context: WorkerContext) -> Output:
        """Call the tool.

        Parameters go to it under their names; those of the type `path` as whole paths of files inside the root. An
        input of the task type (the output of an earlier task) takes the place of the one required parameter that
        nothing fills.

        Raises:
            WorkerError: wrong arguments, a server that fails, or the tool's own error.
        """
        if task_type.id not in self._spec.task_types:
            raise WorkerError(f"worker {self._spec.id} cannot do {task_type.id}")
        call = ToolCall(task_type, check_arguments(task_type, _filled(task_type, arguments)), context)
        given = {p.name: call.arguments[p.name] for p in task_type.parameters if call.given(p.name)}
        for parameter in task_type.parameters:
            if parameter.type == "path" and parameter.name in given:
                given[parameter.name] = str(resolve_inside(context.root, given[parameter.name]))
        tool = self._tool or task_type.id
        key = f"{context.idempotency_key}-{context.attempt}" if context.idempotency_key else ""
        result = await self.server.call(tool, given, key)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        if result.is_error:
            raise WorkerError(f"the tool {tool} failed: {' '.join(text.split())[:300] or 'it does not say why'}")
        return Output(_values(call, result.structured_content, text, result.content))

    async def check(self) -> Health:
        """Whether the server answers and lists the tool; the tool itself is not called, as it may act on the world."""
        await self.server.tools()  # starts the server where it is not running, which is not what a call takes
        watch = Stopwatch()
        tools = [tool["name"] for tool in await self.server.tools()]
        wanted = self._tool or self._spec.task_types[0]
        if wanted not in tools:
            return Health(False, f"{self.server.name} lists no tool {wanted!r}; it lists {', '.join(tools) or 'none'}")
        return Health(True, f"{self.server.name} lists {wanted}", watch.seconds())

    async def close(self) -> None:
        """End the server that was started."""
        await self.server.close()


def _filled(task_type: TaskType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, an input moved to the one required parameter that is empty."""
    filled = dict(arguments)
    empty = [p.name for p in task_type.parameters if p.must_be_given and filled.get(p.name) is None]
    inputs = [port.name for port in task_type.inputs if filled.get(port.name) is not None]
    if len(empty) == 1 and len(inputs) == 1:
        filled[empty[0]] = filled.pop(inputs[0])
    elif inputs:
        raise WorkerError(f"{task_type.id} has no one parameter left that {inputs[0]!r} could fill; name one")
    return filled


def _values(call: ToolCall, structured: Any, text: str, content: Any) -> dict[str, Any]:
    outputs = call.task_type.outputs
    if isinstance(structured, dict) and all(port.name in structured or not port.required for port in outputs):
        values = {port.name: structured.get(port.name) for port in outputs}
    elif len(outputs) == 1:
        files = [name for block in content if (name := _file(call, block)) is not None]
        value = structured if structured is not None and not files else text or None
        values = {outputs[0].name: files[0] if files and not text else value}
    else:
        wanted = ", ".join(port.name for port in outputs)
        raise WorkerError(f"the tool gave no structured result with {wanted}", retryable=True)
    for port in outputs:
        value = values[port.name]
        if value is None and port.required:
            raise WorkerError(f"the tool gave nothing for the output {port.name}", retryable=True)
        if port.type == "text" and value is not None and not isinstance(value, str):
            values[port.name] = json.dumps(value, ensure_ascii=False)
        if port.type == "file" and isinstance(value, str) and locate(call.context.root, value) is None:
            raise WorkerError(f"the tool names the file {value[:80]!r}, which is not there")
    return values


def _file(call: ToolCall, block: Any) -> str | None:
    """The file of a picture or recording among the contents, written to the output folder."""
    if block.type not in ("image", "audio"):
        return None
    try:
        data = base64.b64decode(block.data, validate=True)
    except binascii.Error as error:
        raise WorkerError(f"the tool's {block.type} is not base64") from error
    return call.write(mimetypes.guess_extension(block.mime_type) or ".bin", lambda path: path.write_bytes(data))
