"""Quality measures: perfect outputs have full marks, worse ones fewer, whoever made them."""

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageFilter

from orchestai_jax.workers import Output, WorkerError, measure_quality
from orchestai_jax.workers.quality import has_measure


@pytest.fixture
def measure(samples, catalog):
    def run(task_type, arguments, **values):
        return measure_quality(catalog.task_type(task_type), arguments, Output(values), samples)

    return run


@pytest.fixture
def made(samples):
    """Saves something below `out/made` and gives its relative name."""
    folder = samples / "out" / "made"
    folder.mkdir(parents=True, exist_ok=True)

    def save(name, thing, rate=None):
        match thing:
            case Image.Image():
                thing.save(folder / name)
            case np.ndarray():
                soundfile.write(folder / name, thing, rate)
            case _:
                (folder / name).write_text(thing, encoding="utf-8")
        return f"out/made/{name}"

    return save


def test_task_types_with_a_choice_of_workers_are_measured(catalog):
    for task_type in catalog.task_types:
        assert has_measure(task_type.id) == (len(catalog.workers_for(task_type.id)) > 1), task_type.id


def test_resizing(samples, measure, made):
    with Image.open(samples / "photo.png") as image:
        image.load()
    marks = [
        measure("resize_image", {"image": "photo.png"}, image=made(f"r{i}.png", image.resize((320, 240), method)))
        for i, method in enumerate((Image.Resampling.NEAREST, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS))
    ]
    assert marks == sorted(marks)
    assert marks[0] < 0.7 < 0.95 < marks[2]
    assert measure("resize_image", {"image": "photo.png"}, image=made("same.png", image)) == pytest.approx(1.0)
    assert measure("resize_image", {"image": "photo.png"}, image=made("black.png", Image.new("RGB", (320, 240)))) == 0


def test_compressing(samples, measure, made):
    with Image.open(samples / "photo.png") as image:
        image.load()
    arguments = {"image": "photo.png"}
    good, blurred = made("c.webp", image), made("b.webp", image.filter(ImageFilter.GaussianBlur(6)))
    assert measure("compress_image", arguments, image=good) > measure("compress_image", arguments, image=blurred)
    assert measure("compress_image", arguments, image=made("c.bmp", image)) == 0, "larger than the source"


def test_blurring(samples, measure, made):
    with Image.open(samples / "photo.png") as image:
        image.load()
    arguments = {"image": "photo.png", "radius": 3}
    right = measure("blur_image", arguments, image=made("b3.png", image.filter(ImageFilter.GaussianBlur(3))))
    wrong = measure("blur_image", arguments, image=made("b5.png", image.filter(ImageFilter.GaussianBlur(5))))
    assert right > 0.8 > wrong


def test_denoising(measure):
    assert measure("denoise_image", {"image": "photo_noisy.png"}, image="photo.png") == 1
    assert measure("denoise_image", {"image": "photo_noisy.png"}, image="photo_noisy.png") == 0
    assert measure("denoise_audio", {"audio": "voice_noisy.wav"}, audio="voice.wav") == 1
    assert measure("denoise_audio", {"audio": "voice_noisy.wav"}, audio="voice_noisy.wav") == 0
    assert measure("denoise_image", {"image": "photo.png"}, image="photo.png") is None, "no clean original"
    assert measure("denoise_audio", {"audio": "music.wav"}, audio="music.wav") is None


def test_palettes(measure):
    logo = [{"color": c, "share": 0.2} for c in ("#ffffff", "#d9d9d9", "#143c8c", "#e6501e", "#fab414")]
    assert measure("extract_palette", {"image": "logo.png"}, palette=logo) > 0.99
    assert measure("extract_palette", {"image": "logo.png"}, palette=logo[:3]) < 0.95
    assert measure("extract_palette", {"image": "logo.png"}, palette=[{"color": "#00ff00", "share": 1}]) == 0


def test_resampling(samples, measure, made):
    samples_, rate = soundfile.read(samples / "bells.wav")
    t = np.arange(len(samples_)) / rate
    assert measure("resample_audio", {"audio": "bells.wav", "rate": rate}, audio="bells.wav") == 1
    picked = made("picked.wav", samples_[::3], rate // 3)
    spectrum = np.fft.rfft(samples_)[: len(samples_) // 6 + 1]
    cut = made("cut.wav", np.fft.irfft(spectrum, len(samples_) // 3) / 3, rate // 3)
    arguments = {"audio": "bells.wav", "rate": rate // 3}
    assert measure("resample_audio", arguments, audio=picked) < 0.5 < measure("resample_audio", arguments, audio=cut)
    assert measure("resample_audio", arguments, audio=made("no.wav", 0.2 * np.sin(t), rate // 3)) == 0


def test_summaries(samples, measure, made):
    whole = measure("summarize_text", {"text": "article.txt"}, text="article.txt")
    about = "The night train came back: operators ordered new sleeping cars, although berths and track fees cost much."
    off = "Bananas ripen faster in a paper bag."
    assert whole == pytest.approx(1.0)
    assert measure("summarize_text", {"text": "article.txt"}, text=made("off.txt", off)) == pytest.approx(0)
    assert 0.1 < measure("summarize_text", {"text": "article.txt"}, text=made("about.txt", about)) < whole


def test_keywords(measure):
    gold = "night trains, sleeping car, track fee, carbon, berths, operators, route, cabin"
    assert measure("extract_keywords", {"text": "article.txt"}, keywords=gold) == 1
    assert measure("extract_keywords", {"text": "article.txt"}, keywords="carbon, banana") < 0.3
    assert measure("extract_keywords", {"text": "notes.md"}, keywords=gold) is None, "nobody gave it keywords"


def test_languages(measure):
    assert measure("detect_language", {"text": "letter.de.txt"}, language="German") == 1
    assert measure("detect_language", {"text": "letter.de.txt"}, language="Dutch") == 0
    assert measure("detect_language", {"text": "article.txt"}, language="English") is None
    assert measure("detect_language", {"text": "Wo ist es?"}, language="German") is None


@pytest.mark.parametrize(
    "task_type, worker, arguments",
    [
        (
            "aggregate_table",
            "aggregate_table_python",
            {"table": "sales.csv", "group_by": "product", "function": "mean"},
        ),
        ("join_tables", "join_tables_python", {"left": "sales.csv", "right": "customers.csv", "how": "left"}),
        ("describe_table", "describe_table_python", {"table": "inventory.jsonl"}),
    ],
)
def test_tables(do, samples, measure, task_type, worker, arguments):
    name = do(worker, **arguments)["table"]
    assert measure(task_type, arguments, table=name) == 1
    text = (samples / name).read_text(encoding="utf-8")
    (samples / name).write_text(text.replace("8", "9"), encoding="utf-8")
    assert 0 < measure(task_type, arguments, table=name) < 1


def test_what_cannot_be_measured_has_no_quality_and_missing_files_are_errors(measure):
    assert measure("crop_image", {"image": "photo.png"}, image="photo.png") is None
    with pytest.raises(WorkerError, match=r"file not found: 'gone\.png'"):
        measure("resize_image", {"image": "photo.png"}, image="gone.png")
