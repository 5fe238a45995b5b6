"""Sample files written once, and a way to run one worker on them."""

import asyncio
import pathlib
import sys
import zipfile

import pytest
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
