"""The worker in ten lines of docs/workers.md: the very text of the document, announced, discovered, opened, run."""

import asyncio
import importlib
import pathlib
import re
import sys

from orchestai_jax.workers import WorkerContext, open_workers
from orchestai_jax.workers.discovery.found import check_found
from orchestai_jax.workers.discovery.installed import find_installed
from orchestai_jax.workflow import load_catalog, save_catalog

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "workers.md"


def test_a_worker_in_ten_lines(tmp_path, monkeypatch):
    text = DOCUMENT.read_text(encoding="utf-8")
    snippet = re.search(r"```python\n# my_workers.py\n(.*?)```", text, re.DOTALL)
    assert snippet is not None
    lines = [line for line in snippet[1].splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= 10
    (tmp_path / "my_workers.py").write_text(snippet[1])
    # what installing the package leaves behind
    announced = re.search(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)```', text, re.DOTALL)
    assert announced is not None
    folder = tmp_path / "my_workers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my_workers\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{announced[1]}]\n{announced[2]}".replace('"', ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    try:
        checked = asyncio.run(check_found(find_installed()))
        assert checked.healthy == ["shouter"]
        save_catalog(checked.catalog, tmp_path / "catalog.yaml")
        catalog = load_catalog(tmp_path / "catalog.yaml")
        worker = open_workers(catalog)["shouter"]
        context = WorkerContext(tmp_path, tmp_path / "out", "t1")
        output = asyncio.run(worker.run(catalog.task_type("shout"), {"text": "hello"}, context))
    finally:
        sys.modules.pop("my_workers", None)
    assert output.values == {"text": "HELLO"}


def test_the_fields_of_every_connection_are_documented():
    from orchestai_jax.workflow import connections

    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("OpenAI", "HuggingFace", "LanguageModel", "Mcp", "Web", "Simulated", "EntryPoint"):
        model = getattr(connections, f"{name}Connection")
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{model.model_fields['kind'].default}` |")]
        missing = [field for field in model.model_fields if field != "kind" and f"`{field}`" not in row]
        assert missing == [], name


def test_every_catalog_in_the_document_is_one(tmp_path):
    text = DOCUMENT.read_text(encoding="utf-8")
    [workers] = re.findall(r"```yaml\n(workers:.*?)```", text, re.DOTALL)
    task_types = sorted(set(re.findall(r"\w+", " ".join(re.findall(r"task_types: \[(.*?)\]", workers)))))
    (tmp_path / "c.yaml").write_text(f"task_types: [{', '.join(f'{{id: {name}}}' for name in task_types)}]\n{workers}")
    catalog = load_catalog(tmp_path / "c.yaml")
    assert [worker.connection.kind for worker in catalog.workers] == ["openai", "huggingface", "mcp", "web"]
