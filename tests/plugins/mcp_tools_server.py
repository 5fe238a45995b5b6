"""A real MCP server over stdio, for the tests."""

import asyncio
import os
import sys

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("tests")


class Counted(BaseModel):
    words: int
    longest: str


@server.tool()
def count_words(text: str) -> Counted:
    """Count the words of a text."""
    words = text.split()
    return Counted(words=len(words), longest=max(words, key=len))


@server.tool()
def shout(text: str, marks: int = 1) -> str:
    """Write a text in capitals."""
    return text.upper() + "!" * marks


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(reason)


@server.tool()
def draw() -> Image:
    """Draw a dot."""
    return Image(data=bytes.fromhex("89504e470d0a1a0a"), format="png")


@server.tool()
def environment(name: str) -> str:
    """The value of an environment variable, and how often this process was asked."""
    environment.calls += 1
    return f"{os.environ.get(name, 'not set')} {environment.calls}"


environment.calls = 0


@server.tool()
def key_of_call(ctx: Context) -> str:
    """The idempotency key that came with the call."""
    return str((ctx.request_context.meta or {}).get("idempotency-key", "none"))


@server.tool()
async def stall() -> str:
    """Never answer, and hold nobody else up."""
    await asyncio.sleep(600)
    return "late"


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "broken":
        print("no licence for this server", file=sys.stderr)
        sys.exit(1)
    if len(sys.argv) > 1 and sys.argv[1] == "http":
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")
