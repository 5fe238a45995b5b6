"""What every local tool keeps to: one test over the whole family."""

import asyncio
import hashlib
import json
import pathlib

import pytest

from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import (
    CheckedWorker,
    Output,
    WorkerContext,
    WorkerError,
    check_worker,
    load_bundled_catalog,
    local_workers,
    measure_quality,
)
from orchestai_jax.workflow import merge_catalogs

CATALOG = merge_catalogs(load_embedded_catalog(), load_bundled_catalog("extended_tools"))
WORKERS = local_workers(CATALOG)
ON_FILES = [worker_id for worker_id in WORKERS if worker_id != "fetch_url_http"]
"""The workers that need nothing but files; what fetches has its own tests, with a server."""
INPUTS = {"image": "small.png", "audio": "voice.wav", "table": "sales.csv", "text": "article.txt", "file": "logo.png"}
ARGUMENTS = {
    "filter_table": {"column": "region", "value": "North"},
    "select_columns": {"columns": "date, total"},
    "replace_text": {"find": "night train", "replacement": "sleeper"},
    "compare_texts": {"first": "notes.md", "second": "notes_v2.md"},
    "join_tables": {"right": "customers.csv"},
    "extract_contacts": {"text": "contacts.txt"},
    "redact_text": {"text": "contacts.txt"},
    "detect_language": {"text": "letter.de.txt"},
    "denoise_image": {"image": "small_noisy.png"},
    "denoise_audio": {"audio": "voice_noisy.wav"},
    "mix_audio": {"second": "bells.wav"},
    "zip_files": {"second": "sales.csv"},
    "extract_matches": {"pattern": r"\b[A-Z]\w+"},
    "html_to_text": {"text": "page.html"},
    "read_file": {"file": "notes.md"},
    "write_file": {"name": "kept/notes.md"},
    "list_archive": {"archive": "packed.zip"},
    "unpack_file": {"archive": "packed.zip", "member": "sales.csv"},
}
SUFFIXES = {
    "image": {".png", ".jpg", ".webp"},
    "audio": {".wav"},
    "table": {".csv", ".parquet"},
    "document": {".html"},
    "file": {".zip", ".md", ".csv"},
}


def arguments_of(task_type) -> dict:
    return {port.name: INPUTS[port.type] for port in task_type.inputs} | ARGUMENTS.get(task_type.id, {})


def digest(folder: pathlib.Path, values) -> str:
    content = hashlib.sha256()
    for name, value in sorted(values.items()):
        path = folder / value if isinstance(value, str) and len(value) < 200 else None
        data = path.read_bytes() if path is not None and path.is_file() else json.dumps(value).encode()
        content.update(name.encode() + data)
    return content.hexdigest()


@pytest.mark.parametrize("worker_id", ON_FILES)
def test_a_worker_gives_the_outputs_that_the_catalog_says_twice_the_same(worker_id, samples):
    worker = WORKERS[worker_id]
    task_type = CATALOG.task_type(worker.spec.task_types[0])
    assert isinstance(worker, CheckedWorker)
    assert asyncio.run(check_worker(worker)).ok
    before = {path.name for path in samples.iterdir()}
    runs = []
    for attempt in ("a", "b"):
        context = WorkerContext(samples, samples / "out" / "contract" / attempt / worker_id, "tâsk-1")
        output = asyncio.run(worker.run(task_type, arguments_of(task_type), context))
        assert isinstance(output, Output)
        assert output.cost > 0
        assert output.tokens == 0
        assert set(output.values) == {port.name for port in task_type.outputs}
        for port in task_type.outputs:
            value = output.values[port.name]
            if port.type == "json":
                json.dumps(value, allow_nan=False)
                assert value
            elif port.type == "text":
                assert isinstance(value, str)
                assert value.strip()
            if port.type in SUFFIXES:
                path = samples / value
                assert path.suffix in SUFFIXES[port.type]
                assert path.parent == context.output_folder
                assert "tâsk-1" in path.name
                assert path.stat().st_size > 0
        written = list(context.output_folder.iterdir()) if context.output_folder.exists() else []
        assert len(written) <= len(task_type.outputs), "nothing temporary stays behind"
        runs.append(digest(samples, output.values))
        quality = measure_quality(task_type, arguments_of(task_type), output, samples)
        assert quality is None or 0 <= quality <= 1
        assert (quality is not None) == (len(CATALOG.workers_for(task_type.id)) > 1)
    assert len(set(runs)) == 1
    assert {path.name for path in samples.iterdir()} <= before | {"out"}


BAD_FILES = {"empty": b"", "garbage": b"\x00\xff\xfe\x89garbage\x00" * 40, "missing": None}


def bad_cases():
    for worker_id in ON_FILES:
        worker = WORKERS[worker_id]
        takes_any_file = any(p.type == "file" for p in CATALOG.task_type(worker.spec.task_types[0]).inputs)
        for kind, content in BAD_FILES.items():
            if content is None or not takes_any_file:
                yield pytest.param(worker_id, content, id=f"{worker_id}-{kind}")


@pytest.mark.parametrize("worker_id, content", list(bad_cases()))
def test_a_worker_says_in_one_line_what_is_wrong_with_a_file(worker_id, content, tmp_path):
    worker = WORKERS[worker_id]
    task_type = CATALOG.task_type(worker.spec.task_types[0])
    suffixes = {"image": ".png", "audio": ".wav", "table": ".csv", "text": ".txt", "file": ".bin"}
    arguments = ARGUMENTS.get(task_type.id, {}) | {p.name: "bad" + suffixes[p.type] for p in task_type.inputs}
    for port in task_type.inputs:
        if content is not None:
            (tmp_path / arguments[port.name]).write_bytes(content)
    with pytest.raises(WorkerError) as caught:
        asyncio.run(worker.run(task_type, arguments, WorkerContext(tmp_path, tmp_path / "out", "t1")))
    message = str(caught.value)
    assert "\n" not in message
    assert "bad." in message, message
    assert "failed with" not in message, f"an error that nobody foresaw: {message}"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("worker_id", ON_FILES)
def test_a_worker_stays_inside_the_root(worker_id, tmp_path, samples):
    worker = WORKERS[worker_id]
    task_type = CATALOG.task_type(worker.spec.task_types[0])
    root = tmp_path / "root"
    root.mkdir()
    arguments = arguments_of(task_type)
    for port in task_type.inputs:
        (root / f"link{pathlib.Path(arguments[port.name]).suffix}").unlink(missing_ok=True)
        (root / f"link{pathlib.Path(arguments[port.name]).suffix}").symlink_to(samples / arguments[port.name])
    for outside in ("absolute", "dots", "link"):
        for port in task_type.inputs:
            name = pathlib.Path(arguments[port.name])
            where = {"absolute": samples / name.name, "dots": f"../{name.name}", "link": f"link{name.suffix}"}
            arguments[port.name] = str(where[outside])
        with pytest.raises(WorkerError, match="out of the root folder"):
            asyncio.run(worker.run(task_type, arguments, WorkerContext(root, root / "out", "t1")))


def test_registry_and_catalog_name_the_same_workers():
    assert set(local_workers()) == {worker.id for worker in CATALOG.workers}
    for worker_id, worker in local_workers().items():
        assert worker.spec.task_types == CATALOG.worker(worker_id).task_types
        assert WORKERS[worker_id].spec == CATALOG.worker(worker_id)


def test_every_worker_has_its_function():
    for worker in WORKERS.values():
        assert callable(worker.load())


def test_local_workers_gives_only_what_the_catalog_lists():
    small = CATALOG.model_copy(update={"workers": CATALOG.workers[:2]})
    assert list(local_workers(small)) == [worker.id for worker in CATALOG.workers[:2]]
