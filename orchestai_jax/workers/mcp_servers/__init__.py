"""Workers that are tools of Model Context Protocol servers. Needs the extra `mcp` once a worker is used."""

from orchestai_jax.workers.mcp_servers.server import McpServer
from orchestai_jax.workers.mcp_servers.worker import McpWorker

__all__ = [
    "McpServer",
    "McpWorker",
]
