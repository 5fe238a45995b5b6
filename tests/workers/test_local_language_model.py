"""The package's language model as a worker: a tiny one with random weights, in the published layout."""

import asyncio
import json
import pathlib
import threading

import pytest

from orchestai_jax.workers import WorkerContext, WorkerError, check_worker, fault_of, load_bundled_catalog, open_workers
from orchestai_jax.workers.local_language_model import LocalLanguageModel, _Request
from orchestai_jax.workflow import Catalog, LanguageModelConnection, TaskType, WorkerSpec

KIND = load_bundled_catalog("model_tasks").task_type("write_text")
TEXT = "Answer with the text and nothing else. Task: write text about trains, ships and what else there is. " * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    from orchestai_jax.config import LanguageModelConfig
    from orchestai_jax.language_model import export_hugging_face, initial_parameters

    # Tokens of one letter, as every one of them can be shown: random weights would make torn bytes of a byte-level BPE.
    letters = ["\n", *map(chr, range(32, 127))]
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="~"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    config = LanguageModelConfig(
        vocab_size=len(letters),
        hidden_size=32,
        intermediate_size=64,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        max_positions=512,
        initializer_range=0.5,
        tied_embeddings=False,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_hugging_face(folder, config, initial_parameters(config, 0), mode="online")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def make(folder):
    """A worker with other fields of its connection; the model behind it is loaded once for each."""
    made = {}

    def make(**fields):
        key = json.dumps(fields, sort_keys=True)
        if key not in made:
            settings = {"model": str(folder), "max_new_tokens": 12, "may_be_cut": True, **fields}
            spec = WorkerSpec(id="lm", task_types=("write_text",), connection=LanguageModelConnection(**settings))
            made[key] = LocalLanguageModel(spec, [KIND])
        return made[key]

    return make


def context(root, chunks=None, task_id="t"):
    return WorkerContext(root, root / "out", task_id, on_chunk=None if chunks is None else chunks.append)


def run(worker, root, request="trains", chunks=None):
    return asyncio.run(worker.run(KIND, {"request": request}, context(root, chunks)))


def alone(worker, request):
    """The answer by the library's own generation of one prompt."""
    from orchestai_jax.language_model.text_generation import TextGenerator

    served = worker._load()
    prompt = f"Task: {KIND.text}\n\nrequest (what to write): {request}\n\n"
    prompt += "Answer with the text and nothing else: no introduction, no explanation."
    generator = TextGenerator(served._generator, served._tokenizer, served._stops)
    return generator.answer(prompt, max_new_tokens=worker.connection.max_new_tokens).text.strip()


def test_a_task_is_answered_and_its_text_told_as_it_comes(make, tmp_path):
    chunks = []
    output = run(make(), tmp_path, chunks=chunks)
    assert output.values["text"] == "".join(chunks).strip() == alone(make(), "trains")
    assert len(chunks) > 3
    assert output.cost > 0
    assert output.tokens > 12


def test_tasks_at_once_are_one_batch_and_each_gets_its_own_answer(make, tmp_path, monkeypatch):
    """Those that wait while it answers another are its next batch."""
    worker = make()
    sizes = []
    inner, all_wait = worker._run_batch, threading.Event()

    def run_batch(batch):
        sizes.append(len(batch))
        if len(sizes) == 1:
            all_wait.wait(60)
        inner(batch)

    monkeypatch.setattr(worker, "_run_batch", run_batch)
    requests = ["trains", "ships and ships and ships", "what else there is"]

    async def open_when_all_wait():
        queue = worker._queues[asyncio.get_running_loop()]
        while len(queue._waiting) < len(requests):
            await asyncio.sleep(0.01)
        all_wait.set()

    async def together():
        first = asyncio.ensure_future(worker.run(KIND, {"request": "first"}, context(tmp_path, [], "first")))
        while not sizes:
            await asyncio.sleep(0.01)
        told = [[] for _ in requests]
        tasks = [
            worker.run(KIND, {"request": request}, context(tmp_path, chunks, str(i)))
            for i, (request, chunks) in enumerate(zip(requests, told, strict=True))
        ]
        *answers, _, _ = await asyncio.gather(*tasks, open_when_all_wait(), first)
        return answers, told

    outputs, told = asyncio.run(together())
    assert sizes == [1, 3]
    for request, output, chunks in zip(requests, outputs, told, strict=True):
        assert output.values["text"] == alone(worker, request) == "".join(chunks).strip()
    assert len({output.values["text"] for output in outputs}) > 1


def test_a_long_prompt_with_a_short_answer_goes_along_with_others(make, tmp_path):
    """Longest prompt and longest answer of a batch, of different tasks, may be more than the model has positions."""
    worker = make()
    positions = worker._load()._positions
    request = "a"
    while len(worker._load().encode(request + " a", 1)) < positions - 1:
        request += " a"

    async def together():
        loop, served = asyncio.get_running_loop(), worker._load()
        requests = [
            _Request(served.encode(text, limit), limit, None, loop.create_future(), loop)
            for text, limit in ((request, 1), ("trains", 12))
        ]
        await asyncio.to_thread(worker._run_batch, requests)
        return [await asked.future for asked in requests]

    long, short = asyncio.run(together())
    assert long.new_tokens == 1
    assert short.text == asyncio.run(worker._answer("trains", None, 12)).text
    assert short.new_tokens == 12


def test_a_batch_is_no_larger_than_it_may_be(make, tmp_path, monkeypatch):
    worker = make(batch=2)
    sizes = []
    inner = worker._run_batch
    monkeypatch.setattr(worker, "_run_batch", lambda requests: (sizes.append(len(requests)), inner(requests)))

    async def together():
        await asyncio.gather(*(worker.run(KIND, {"request": "x" * i}, context(tmp_path)) for i in range(1, 6)))

    asyncio.run(together())
    assert sum(sizes) == 5
    assert max(sizes) == 2


def test_an_answer_ends_at_a_stop_text_which_is_neither_given_nor_told(make, tmp_path):
    whole = run(make(), tmp_path).values["text"]
    stop = whole[3:6]
    chunks = []
    worker = make(stop=(stop,), may_be_cut=False)
    output = run(worker, tmp_path, chunks=chunks)
    assert output.values["text"] == whole[: whole.index(stop)].strip() == "".join(chunks).strip()


def test_an_answer_that_is_cut_is_a_failure_unless_that_is_allowed(make, tmp_path):
    with pytest.raises(WorkerError, match=r"longer than 12 tokens; raise connection\.max_new_tokens") as caught:
        run(make(may_be_cut=False), tmp_path)
    assert not caught.value.retryable
    assert caught.value.cost > 0, "it took its time all the same"
    assert caught.value.tokens > 12
    assert len(run(make(max_new_tokens=3), tmp_path).values["text"]) < len(run(make(), tmp_path).values["text"])


def test_fields_of_the_connection_act(make, tmp_path):
    base = run(make(), tmp_path).values["text"]
    drawn = run(make(temperature=5.0, seed=1), tmp_path).values["text"]
    assert drawn != base
    assert drawn == run(make(temperature=5.0, seed=1), tmp_path).values["text"]
    assert drawn != run(make(temperature=5.0, seed=2), tmp_path).values["text"]
    assert run(make(temperature=5.0, seed=1, top_k=1), tmp_path).values["text"] == base
    assert run(make(temperature=5.0, seed=1, top_p=1e-6), tmp_path).values["text"] == base
    assert run(make(template="ships {prompt} ships"), tmp_path).values["text"] != base
    assert run(make(head="int8", cache="int8"), tmp_path).values["text"]
    served = make(head="int8", cache="int8")._load()
    assert served._generator.cache == "int8"
    assert type(served._generator.model.embedding).__name__ == "Int8Array"


def test_what_the_model_cannot_read_is_named(make, tmp_path):
    with pytest.raises(WorkerError, match=r"the task has \d+ tokens; with 12 for the answer"):
        run(make(), tmp_path, request="zq" * 400)


def test_a_cancelled_task_ends_and_the_next_is_answered(make, tmp_path):
    worker = make()

    async def cancel():
        task = asyncio.create_task(worker.run(KIND, {"request": "trains"}, context(tmp_path)))
        while not worker._queues:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await worker.run(KIND, {"request": "ships"}, context(tmp_path))

    assert asyncio.run(cancel()).values["text"] == alone(worker, "ships")


def test_a_fault_of_the_model_reaches_every_task_of_its_batch(make, tmp_path, monkeypatch):
    worker = make(batch=3)

    def breaks(requests):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(worker, "_run_batch", breaks)

    async def together():
        tasks = [worker.run(KIND, {"request": "x"}, context(tmp_path)) for _ in range(2)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    for error in asyncio.run(together()):
        assert isinstance(error, WorkerError)
        assert "failed with RuntimeError: out of memory" in str(error)


def test_health_is_an_answer_that_was_timed(make):
    health = asyncio.run(check_worker(make()))
    assert health.ok
    assert health.latency_s is not None
    assert "gave 8 tokens" in health.detail


def test_models_that_are_no_language_workers(make, folder, tmp_path):
    from orchestai_jax.language_model.tokenizers import train_characters

    assert "there is no folder" in str(fault_of(make(model=str(tmp_path / "none"))))
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert fault_of(make(model=str(copy))) is None
    (copy / "tokenizer.json").write_text(train_characters(TEXT).json)
    assert "reads single characters" in str(fault_of(make(model=str(copy))))
    with pytest.raises(WorkerError, match="it reads single characters, which makes no language worker"):
        run(make(model=str(copy)), tmp_path)
    assert not asyncio.run(check_worker(make(model=str(copy)))).ok
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in str(fault_of(make(model=str(copy))))
    (copy / "model.safetensors").unlink()
    with pytest.raises(WorkerError, match="cannot be loaded"):
        run(make(model=str(copy), seed=9), tmp_path)


@pytest.mark.parametrize(
    ("kind", "characters", "said"),
    [
        ("language_model", True, "reads single characters, which makes no language worker"),
        ("planner", False, "is a checkpoint of planner, not of a language model"),
        ("language_model", False, None),
    ],
)
def test_what_a_work_folder_holds_is_seen_without_loading_it(make, folder, tmp_path, kind, characters, said):
    import numpy as np

    from orchestai_jax.checkpoint import CheckpointStore
    from orchestai_jax.language_model.tokenizers import train_characters

    tokenizer = train_characters(TEXT).json if characters else (folder / "tokenizer.json").read_text()
    work = tmp_path / "work"
    with CheckpointStore(work / "checkpoints") as store:
        store.save(
            1,
            {"params": np.zeros(1)},
            data_state={},
            metadata={"kind": kind},
            metrics={},
            assets={"tokenizer.json": tokenizer},
        )
    for place in (work, work / "checkpoints", work / "checkpoints" / "1"):
        fault = fault_of(make(model=str(place)))
        assert fault is None if said is None else said in str(fault)
    (tmp_path / "empty").mkdir()
    assert "holds no language model" in str(fault_of(make(model=str(tmp_path / "empty"))))


def test_it_is_opened_from_a_catalog_for_texts_only(folder):
    connection = LanguageModelConnection(model=str(folder))
    spec = WorkerSpec(id="lm", task_types=("write_text",), connection=connection)
    assert isinstance(open_workers(Catalog(task_types=(KIND,), workers=(spec,)))["lm"], LocalLanguageModel)
    fields = load_bundled_catalog("model_tasks").task_type("extract_fields")
    other = spec.model_copy(update={"task_types": (fields.id,)})
    with pytest.raises(ValueError, match=r"worker 'lm' cannot do that: extract_fields gives fields \(json\)"):
        open_workers(Catalog(task_types=(fields,), workers=(other,)))
    with pytest.raises(ValueError, match="has no connection of the kind language_model"):
        LocalLanguageModel(WorkerSpec(id="lm"))
    worker = open_workers(Catalog(task_types=(KIND,), workers=(spec,)))["lm"]
    with pytest.raises(WorkerError, match="cannot do fly"):
        asyncio.run(worker.run(TaskType(id="fly"), {}, WorkerContext(folder, folder, "t")))
