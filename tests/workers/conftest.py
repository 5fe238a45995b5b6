"""Sample files written once, and a way to run one worker on them."""

import asyncio
import contextlib
import pathlib
import socket
import subprocess
import sys
import time
import zipfile

import pytest
from loopback_server import unused_port
from PIL import Image

from orchestai_jax.quickstart import load_embedded_catalog, write_sample_files
from orchestai_jax.workers import WorkerContext, load_bundled_catalog, local_workers
from orchestai_jax.workflow import merge_catalogs

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the tests here share openai_calls.py


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> pathlib.Path:
    """A folder with every sample file; tests write below `out/` only."""
    folder = tmp_path_factory.mktemp("samples")
    write_sample_files(folder)
    for name in ("photo", "photo_noisy"):
        with Image.open(folder / f"{name}.png") as image:  # the house and a piece of sky: quick to work on
            image.crop((80, 180, 280, 330)).save(folder / f"{name.replace('photo', 'small')}.png")
    with zipfile.ZipFile(folder / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "sales.csv", "data/sales.csv")
        archive.writestr("data/", b"")
        archive.writestr("notes.txt", "a note")
    (folder / "page.html").write_text("<title>Trains</title><script>x</script><p>Night &amp; day<br>on rails", "utf-8")
    return folder


@pytest.fixture(scope="session")
def mcp_url(tmp_path_factory):
    """An MCP server over HTTP that all tests share: starting one takes a second of the processor's time."""
    port = unused_port()
    server = pathlib.Path(__file__).parents[1] / "plugins" / "mcp_tools_server.py"
    process = subprocess.Popen(
        [sys.executable, str(server), "http", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path_factory.mktemp("mcp"),
    )
    try:
        listens = False
        while not listens:
            assert process.poll() is None, "the MCP server of the tests has ended"
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
                listens = True
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def catalog():
    return merge_catalogs(load_embedded_catalog(), load_bundled_catalog("extended_tools"))


@pytest.fixture(scope="session")
def workers(catalog):
    return local_workers(catalog)


@pytest.fixture
def do(samples, catalog, workers, request):
    """`do(worker id, root=None, **arguments)` → values of the output."""

    def run(worker_id, root=None, task_id="t1", **arguments):
        worker = workers[worker_id]
        folder = samples if root is None else root
        context = WorkerContext(folder, folder / "out" / request.node.name.split("[")[0], task_id)
        return dict(asyncio.run(worker.run(catalog.task_type(worker.spec.task_types[0]), arguments, context)).values)

    return run
