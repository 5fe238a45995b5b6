"""Hugging Face pipelines as workers, with tiny real models of random weights, against the models called by hand."""

import asyncio
import pathlib
import shutil
import threading

import numpy as np
import pytest
import soundfile
from PIL import Image

from orchestai_jax.workers import PRICE_PER_CORE_SECOND, WorkerContext, WorkerError, check_worker, load_bundled_catalog
from orchestai_jax.workers.huggingface import HuggingFaceWorker, pipelines
from orchestai_jax.workflow import HuggingFaceConnection, WorkerSpec

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CATALOG = load_bundled_catalog("model_tasks")
PIPELINES = {
    "classify": ("image-classification", "classify_image"),
    "detect": ("object-detection", "detect_objects"),
    "caption": ("image-text-to-text", "caption_image"),
    "chat": ("image-text-to-text", "describe_image"),
    "ctc": ("automatic-speech-recognition", "transcribe_audio"),
    "whisper": ("automatic-speech-recognition", "transcribe_audio"),
    "speak": ("text-to-audio", "speak_text"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> pathlib.Path:
    from tiny_models import save_tiny_models

    root = tmp_path_factory.mktemp("models")
    save_tiny_models(root)
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("files")
    dice = np.random.default_rng(0)
    Image.fromarray(dice.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(root / "picture.png")
    soundfile.write(root / "speech.wav", 0.1 * dice.standard_normal((8000, 2)), 8000)
    soundfile.write(root / "still.wav", np.zeros(8000), 8000)
    return root


@pytest.fixture(scope="module")
def made(folders):
    """Workers by name, each made once: `made("classify")`, or anew with other fields of the connection."""
    workers = {}

    def make(name, **fields):
        task, task_type = PIPELINES[name]
        if name not in workers or fields:
            connection = HuggingFaceConnection(**{"model": str(folders / name), "task": task, **fields})
            spec = WorkerSpec(id=f"hf_{name}", task_types=(task_type,), connection=connection)
            worker = HuggingFaceWorker(spec, [CATALOG.task_type(task_type)])
            if fields:
                return worker
            workers[name] = worker
        return workers[name]

    return make


def run(worker, files, chunks=None, **arguments):
    told = None if chunks is None else chunks.append
    context = WorkerContext(files, files / "out", "t1", on_chunk=told)
    return asyncio.run(worker.run(CATALOG.task_type(worker.spec.task_types[0]), arguments, context))


def test_classes_are_those_of_the_model(made, files, folders):
    chunks = []
    output = run(made("classify"), files, chunks, image="picture.png")
    processor = transformers.AutoImageProcessor.from_pretrained(folders / "classify")
    model = transformers.AutoModelForImageClassification.from_pretrained(folders / "classify")
    with Image.open(files / "picture.png") as image, torch.no_grad():
        shares = model(**processor(image, return_tensors="pt")).logits.softmax(-1)[0].tolist()
    expected = sorted(zip(["cat", "dog", "train"], shares, strict=True), key=lambda pair: -pair[1])
    assert [entry["label"] for entry in output.values["scores"]] == [label for label, _ in expected]
    assert [entry["score"] for entry in output.values["scores"]] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert output.values["label"] == expected[0][0]
    assert chunks == [expected[0][0]]
    assert output.cost > 0
    assert len(run(made("classify", top_k=1), files, image="picture.png").values["scores"]) == 1


def test_objects_are_those_above_the_threshold(made, files):
    every = run(made("detect", threshold=0.0), files, image="picture.png").values["objects"]
    assert len(every) == 5, "as many as the model has tokens for"
    assert [o["score"] for o in every] == sorted((o["score"] for o in every), reverse=True)
    assert set(every[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}
    limit = every[2]["score"] - 1e-7
    some = run(made("detect", threshold=limit), files, image="picture.png").values["objects"]
    assert some == [o for o in every if o["score"] >= limit]


@pytest.mark.parametrize("name", ["caption", "chat"])
def test_pictures_are_told_of(made, files, name):
    output = run(made(name), files, image="picture.png")
    assert output.values["text"].strip()
    short = run(made(name, max_new_tokens=1), files, image="picture.png")
    assert len(short.values["text"]) < len(output.values["text"])


def test_a_question_reaches_a_model_that_chats(made, files):
    answers = {run(made("chat"), files, image="picture.png", question=q).values["text"] for q in ("a b c", "x y")}
    assert len(answers) == 2


def test_a_transcript_is_the_models(made, files, folders):
    output = run(made("ctc"), files, audio="speech.wav")
    samples, _ = soundfile.read(files / "speech.wav")
    doubled = pipelines_resample(samples.mean(axis=1))
    processor = transformers.AutoProcessor.from_pretrained(folders / "ctc")
    model = transformers.AutoModelForCTC.from_pretrained(folders / "ctc")
    with torch.no_grad():
        logits = model(**processor(doubled, sampling_rate=16_000, return_tensors="pt")).logits
    assert output.values["text"] == processor.batch_decode(logits.argmax(-1))[0].strip()


def pipelines_resample(samples):
    import scipy.signal

    return scipy.signal.resample_poly(samples, 2, 1).astype(np.float32)


def test_whisper_is_told_the_language(made, files, monkeypatch):
    worker = made("whisper", max_new_tokens=6)
    with pytest.raises(WorkerError, match="Unsupported language: xx"):
        run(worker, files, audio="speech.wav", language="xx")
    heard = []
    monkeypatch.setattr(
        worker, "_pipeline", lambda recording, **options: heard.append(options) or {"text": " Guten Tag "}
    )
    monkeypatch.setattr(pipelines, "rate_of", lambda pipeline: 16_000)
    worker._pipeline.type = "seq2seq_whisper"
    assert run(worker, files, audio="speech.wav", language="de").values["text"] == "Guten Tag"
    assert heard == [{"generate_kwargs": {"max_new_tokens": 6, "language": "de"}}]


@pytest.mark.parametrize("name", ["ctc", "whisper"])
def test_a_long_recording_is_heard_piece_by_piece(made, name, monkeypatch):
    seen = []
    inner = made(name)._loaded()

    def outer(recording, **options):
        seen.append(options)
        # Whisper hears whole windows of 30 s however short the recording is, which takes long
        return inner(recording, **options) if name == "ctc" else {"text": "x"}

    outer.type = inner.type
    monkeypatch.setattr(pipelines, "LONG_SECONDS", 1.0)
    samples = 0.1 * np.random.default_rng(1).standard_normal(24_000).astype(np.float32)
    pipelines.transcribe(outer, samples, 16_000, 4)
    expected = {"ctc": {"chunk_length_s": 1.0}, "whisper": {"return_timestamps": True, "generate_kwargs": {}}}
    assert seen == [expected[name]]


def test_a_recording_without_words_is_a_failure(made, files, monkeypatch):
    monkeypatch.setattr(pipelines, "transcribe", lambda *_: "")
    with pytest.raises(WorkerError, match="found no words") as caught:
        run(made("ctc"), files, audio="still.wav")
    assert caught.value.cost > 0, "the model ran all the same"


def test_a_call_that_was_cancelled_while_it_waited_does_not_run_the_model(made, files, monkeypatch):
    begun, release, seen = threading.Event(), threading.Event(), []

    def transcribe(*_):
        seen.append(1)
        begun.set()
        release.wait(20)
        return "words"

    monkeypatch.setattr(pipelines, "transcribe", transcribe)
    worker = made("ctc")
    kind = CATALOG.task_type("transcribe_audio")

    async def both():
        def start(name):
            context = WorkerContext(files, files / "out", name)
            return asyncio.create_task(worker.run(kind, {"audio": "still.wav"}, context))

        first = start("a")
        while not begun.is_set():
            await asyncio.sleep(0.001)
        second = start("b")
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        release.set()
        return (await first).values["text"]

    assert asyncio.run(both()) == "words"
    assert seen == [1], "asyncio.run has waited for the threads"


def test_a_text_is_spoken(made, files):
    name = run(made("speak"), files, text="hello world").values["audio"]
    samples, rate = soundfile.read(files / name)
    assert rate == 8000
    assert len(samples) > 100
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("name", list(PIPELINES))
def test_health_runs_the_model(made, name):
    health = asyncio.run(check_worker(made(name)))
    assert health.ok, health.detail
    assert health.latency_s is not None
    assert health.latency_s > 0


def test_the_cost_is_that_of_the_threads(made, files, monkeypatch):
    monkeypatch.setattr(pipelines, "cores_in_use", lambda: 1000)
    output = run(made("classify"), files, image="picture.png")
    assert output.cost > 1000 * 1e-5 * PRICE_PER_CORE_SECOND
    worker = made("classify", device="meta")
    worker._pipeline = made("classify")._loaded()
    worker._spec = worker.spec.model_copy(update={"cost": 0.25})
    assert run(worker, files, image="picture.png").cost == 0.25


def test_the_event_loop_is_free_and_tasks_take_turns(made, files):
    worker = made("classify")
    context = WorkerContext(files, files / "out", "t1")
    running, most, ticks = 0, 0, 0
    inner = worker._loaded()

    def watched(*args, **kwargs):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return inner(*args, **kwargs)
        finally:
            running -= 1

    async def several():
        nonlocal ticks
        kind = CATALOG.task_type("classify_image")
        tasks = [asyncio.create_task(worker.run(kind, {"image": "picture.png"}, context)) for _ in range(4)]
        while not all(task.done() for task in tasks):
            ticks += 1
            await asyncio.sleep(0)
        return [await task for task in tasks]

    worker._pipeline = watched
    try:
        outputs = asyncio.run(several())
    finally:
        worker._pipeline = inner
    assert len({output.values["label"] for output in outputs}) == 1
    assert most == 1
    assert ticks > 10


def test_models_that_cannot_be_loaded(made, files, folders, tmp_path, monkeypatch):
    def said(name="classify", **fields):
        with pytest.raises(WorkerError) as caught:
            run(made(name, **fields), files, **({"audio": "speech.wav"} if name == "ctc" else {"image": "picture.png"}))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no folder './none'" in said(model="./none")
    pickled = tmp_path / "pickled"
    shutil.copytree(folders / "classify", pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert "has no safetensors; weights in other formats are not read" in said(model=str(pickled))
    assert "cannot be loaded as image-classification" in said(model=str(folders / "ctc"))
    torn = tmp_path / "torn"
    shutil.copytree(folders / "classify", torn)
    (torn / "model.safetensors").write_bytes(b"not at all")
    assert "cannot be loaded as image-classification" in said(model=str(torn))
    # without the network, a repository that is not in the cache is named with the place that was looked in
    assert "is not to be had from the local cache" in said(model="nobody/no-such-model", download=False)
    monkeypatch.setattr(pipelines, "missing_library", lambda: "torch")
    assert 'install it with pip install "orchestai-jax[huggingface]"' in said(device="cpu", top_k=3)
    assert "needs the library 'torch'" in str(made("classify").fault())


def test_code_that_comes_with_a_model_is_not_run(made, files, folders, tmp_path):
    evil = tmp_path / "evil"
    shutil.copytree(folders / "classify", evil)
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    config = (
        (evil / "config.json")
        .read_text()
        .replace(
            '"model_type": "vit"',
            '"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", '
            '"AutoModelForImageClassification": "evil.Model"}',
        )
    )
    (evil / "config.json").write_text(config)
    with pytest.raises(WorkerError, match="cannot be loaded"):
        run(made("classify", model=str(evil)), files, image="picture.png")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("image, said", [("none.png", "file not found"), ("../x.png", "out of the root")])
def test_files_that_cannot_be_read(made, files, image, said):
    with pytest.raises(WorkerError, match=said):
        run(made("classify"), files, image=image)
