"""Tools of MCP servers: a real server over stdio and one over HTTP, well behaved and not."""

import asyncio
import pathlib
import sys

import mcp
import pytest
from loopback_server import unused_port

from orchestai_jax.workers import WorkerContext, WorkerError, check_worker, fault_of
from orchestai_jax.workers.mcp_servers import McpServer, McpWorker
from orchestai_jax.workflow import McpConnection, TaskType, WorkerSpec
from orchestai_jax.workflow.readers.mcp import read_tool

SERVER = str(pathlib.Path(__file__).parents[1] / "plugins" / "mcp_tools_server.py")
COMMAND = (sys.executable, SERVER)


@pytest.fixture(scope="module")
def server():
    """One server for the tests here: starting one takes a second of the processor's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCP_TEST_SECRET", "abc-def")
        patch.setenv("MCP_TEST_OTHER", "ghi")
        yield McpServer(McpConnection(command=COMMAND, env=("MCP_TEST_SECRET",)))


@pytest.fixture(scope="module")
def together(server):
    """What `do(task_types)` gives, in the one event loop that the server's session belongs to."""

    async def whole(do):
        async with asyncio.timeout(60):
            return await do({tool["name"]: read_tool(tool) for tool in await server.tools()})

    with asyncio.Runner() as runner:
        yield lambda do: runner.run(whole(do))
        runner.run(server.close())


def worker(server, name, **connection):
    spec = WorkerSpec(id=f"mcp_{name}", task_types=(name,), connection=McpConnection(command=COMMAND, **connection))
    return McpWorker(spec, server)


def context(root):
    return WorkerContext(root, root / "out", "t1")


def test_tools_become_task_types_and_do_them(tmp_path, server, together):
    async def do(kinds):
        async def call(name, /, **arguments):
            return (await worker(server, name).run(kinds[name], arguments, context(tmp_path))).values

        async def fails(name, /, **arguments):
            with pytest.raises(WorkerError) as caught:
                await call(name, **arguments)
            return str(caught.value)

        assert [port.name for port in kinds["count_words"].outputs] == ["words", "longest"]
        assert await call("count_words", text="one three") == {"words": 2, "longest": "three"}
        assert await call("shout", text="go", marks="3") == {"result": "GO!!!"}
        # the output of an earlier task takes the place of the one required parameter that is left
        assert await call("shout", input="go") == {"result": "GO!"}
        assert "no one parameter left that 'input' could fill" in await fails("shout", input="go", text="x")
        assert "the tool fail failed" in (message := await fails("fail", reason="it rains"))
        assert "it rains" in message
        picture = (await call("draw"))["output"]
        assert (tmp_path / picture).read_bytes() == bytes.fromhex("89504e470d0a1a0a")
        # one process for all the calls; it sees the variables that it is given, and no others
        answers = [(await call("environment", name=n))["result"] for n in ("MCP_TEST_SECRET", "MCP_TEST_OTHER")]
        assert answers == ["abc-def 1", "not set 2"]
        many = await asyncio.gather(*(call("shout", text=str(i)) for i in range(20)))
        assert [values["result"] for values in many] == [f"{i}!" for i in range(20)]
        assert "takes" in await fails("shout", words="x")

        health = await check_worker(worker(server, "shout"))
        assert health.ok
        assert health.latency_s is not None
        other = await check_worker(worker(server, "whisper"))
        assert not other.ok
        assert "lists no tool 'whisper'; it lists count_words, shout" in other.detail
        assert (await check_worker(worker(server, "whisper", tool="shout"))).ok
        renamed = TaskType(id="whisper", parameters=kinds["shout"].parameters, outputs=kinds["shout"].outputs)
        output = await worker(server, "whisper", tool="shout").run(renamed, {"text": "x"}, context(tmp_path))
        assert output.values == {"result": "X!"}

    together(do)


def test_a_server_that_dies_fails_the_call_and_is_started_anew_for_the_next(tmp_path, server, together):
    async def do(kinds):
        with pytest.raises(WorkerError) as caught:
            await worker(server, "die").run(kinds["die"], {}, context(tmp_path))
        assert caught.value.retryable
        assert "\n" not in str(caught.value)
        output = await worker(server, "shout").run(kinds["shout"], {"text": "again"}, context(tmp_path))
        assert output.values == {"result": "AGAIN!"}

    together(do)


def test_a_call_that_takes_too_long_is_left_and_the_server_serves_on(tmp_path, server, together, monkeypatch):
    async def do(kinds):
        monkeypatch.setattr(server, "connection", server.connection.model_copy(update={"call_s": 0.2}))
        with pytest.raises(WorkerError, match=r"did not answer within 0\.2 s \(connection\.call_s\)") as caught:
            await worker(server, "stall").run(kinds["stall"], {}, context(tmp_path))
        assert caught.value.retryable
        monkeypatch.undo()
        [session] = server._sessions.values()
        output = await worker(server, "shout").run(kinds["shout"], {"text": "on"}, context(tmp_path))
        assert output.values == {"result": "ON!"}
        assert list(server._sessions.values()) == [session], "in the same process"

    together(do)


def test_a_call_carries_a_key_that_tells_a_repeated_one(tmp_path, server, together):
    async def do(kinds):
        async def key(**fields):
            where = WorkerContext(tmp_path, tmp_path, "t1", **fields)
            return (await worker(server, "key_of_call").run(kinds["key_of_call"], {}, where)).values["result"]

        first = await key(idempotency_key="run1-t1")
        assert first.startswith("run1-t1")
        assert await key(idempotency_key="run1-t1") == first
        assert await key(idempotency_key="run1-t1", attempt=2) != first
        assert await key() == "none"

    together(do)


def test_a_session_that_broke_does_not_take_the_next_one_with_it(server, together):
    async def do(_):
        loop = asyncio.get_running_loop()
        sessions = []

        async def breaks():
            async with server._calling():
                sessions.append(server._sessions.pop(loop))  # another call saw it break, and has begun the next one
                async with server._calling():
                    sessions.append(server._sessions[loop])
                raise mcp.MCPError(-32000, "Connection closed")

        with pytest.raises(WorkerError, match="Connection closed"):
            await breaks()
        old, new = sessions
        assert old.over
        assert server._sessions[loop] is new
        assert not new.over
        await server.close()
        assert new.over

    together(do)


def test_servers_that_do_not_start(tmp_path, monkeypatch):
    async def said(**connection):
        server = McpServer(McpConnection(**connection))
        try:
            with pytest.raises(WorkerError) as caught:
                await server.tools()
        finally:
            await server.close()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    async def all_of_them():
        assert "no licence for this server" in await said(command=(*COMMAND, "broken"))
        assert "the program 'no-such-program'" in await said(command=("no-such-program",))
        monkeypatch.delenv("MCP_TEST_SECRET", raising=False)
        assert "MCP_TEST_SECRET" in await said(command=COMMAND, env=("MCP_TEST_SECRET",))
        pid = tmp_path / "pid"
        silent = f"import os, sys; open({str(pid)!r}, 'w').write(str(os.getpid())); sys.stdin.read()"
        assert "did not answer within 3 s" in await said(command=(sys.executable, "-S", "-c", silent), start_s=3.0)
        assert not pathlib.Path(f"/proc/{pid.read_text()}").exists(), "the silent server was ended"
        assert "failed" in await said(url=f"http://127.0.0.1:{unused_port()}/mcp")

    asyncio.run(all_of_them())


def test_faults_are_seen_without_starting_anything(monkeypatch):
    monkeypatch.delenv("MCP_TEST_SECRET", raising=False)
    spec = WorkerSpec(id="w", task_types=("t",))
    for connection, said in (
        (McpConnection(command=("no-such-program",)), "the program 'no-such-program'"),
        (McpConnection(url="https://example.org", key_env="MCP_TEST_SECRET"), "MCP_TEST_SECRET"),
        (McpConnection(command=COMMAND), None),
    ):
        fault = fault_of(McpWorker(spec.model_copy(update={"connection": connection})))
        assert (fault is None) if said is None else (fault is not None and said in fault)


def test_a_server_over_http(tmp_path, mcp_url):
    server = McpServer(McpConnection(url=mcp_url))

    async def do():
        kinds = {tool["name"]: read_tool(tool) for tool in await server.tools()}
        output = await worker(server, "shout").run(kinds["shout"], {"text": "http"}, context(tmp_path))
        assert output.values == {"result": "HTTP!"}
        await server.close()

    asyncio.run(do())
