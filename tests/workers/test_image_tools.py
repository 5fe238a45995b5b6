"""Picture tools, against NumPy and known pictures."""

import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from orchestai_jax.workers import WorkerError
from orchestai_jax.workers.image_filters import nearest_colors, noise_level

RESIZERS = ["resize_image_nearest", "resize_image_bilinear", "resize_image_lanczos"]
COMPRESSORS = ["compress_image_jpeg", "compress_image_webp", "compress_image_palette"]
BLURS = ["blur_image_box", "blur_image_stacked", "blur_image_gaussian"]
DENOISERS = ["denoise_image_gaussian", "denoise_image_median", "denoise_image_tv"]
PALETTES = ["extract_palette_octree", "extract_palette_median_cut", "extract_palette_kmeans"]


@pytest.fixture
def pixels(samples):
    def read(name) -> np.ndarray:
        with Image.open(samples / name) as image:
            image.load()
            return np.asarray(image, dtype=float)

    return read


def psnr(a, b):
    return 10 * math.log10(255**2 / max(1e-9, ((a - b) ** 2).mean()))


@pytest.mark.parametrize("worker", RESIZERS)
@pytest.mark.parametrize(
    "arguments, size",
    [
        ({}, (100, 75)),
        ({"width": 80}, (80, 60)),
        ({"height": "30 px"}, (40, 30)),
        ({"width": 10, "height": 90}, (10, 90)),
        ({"scale": "200%"}, (400, 300)),
        ({"scale": 0.001}, (1, 1)),
    ],
)
def test_sizes_are_those_asked_for(do, pixels, worker, arguments, size):
    height, width, _ = pixels(do(worker, image="small.png", **arguments)["image"]).shape
    assert (width, height) == size


def test_resizing_a_flat_picture_keeps_it_flat_and_filters_differ(do, tmp_path, pixels, samples):
    Image.new("RGB", (64, 48), (10, 200, 30)).save(tmp_path / "flat.png")
    for worker in RESIZERS:
        name = do(worker, root=tmp_path, image="flat.png", width=23)["image"]
        assert np.ptp(np.asarray(Image.open(tmp_path / name)).reshape(-1, 3), axis=0).max() == 0
    results = [pixels(do(worker, image="small.png", task_id=worker)["image"]) for worker in RESIZERS]
    assert psnr(results[0], results[1]) < 40
    assert psnr(results[1], results[2]) < 45


@pytest.mark.parametrize("worker", COMPRESSORS)
def test_compression_saves_bytes_and_stays_like_the_picture(do, samples, pixels, worker):
    sizes = []
    for quality in (20, 90):
        name = do(worker, image="photo.png", quality=quality, task_id=f"q{quality}")["image"]
        sizes.append((samples / name).stat().st_size)
        with Image.open(samples / name) as image:
            assert psnr(pixels("photo.png"), np.asarray(image.convert("RGB"), dtype=float)) > 25
    assert sizes[0] < sizes[1] < (samples / "photo.png").stat().st_size


@pytest.mark.parametrize("worker", COMPRESSORS)
def test_a_size_limit_is_kept_at_the_best_quality_that_keeps_it(do, samples, worker):
    free = (samples / do(worker, image="small.png", quality=95)["image"]).stat().st_size
    limit = free * 0.6 / 1000
    name = do(worker, image="small.png", quality=95, max_kilobytes=limit, task_id="limited")["image"]
    size = (samples / name).stat().st_size
    assert 0.3 * limit * 1000 < size <= limit * 1000
    with pytest.raises(WorkerError, match="lowest quality"):
        do(worker, image="small.png", max_kilobytes=0.1)


@pytest.mark.parametrize("form, magic", [
    ("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("webp", b"RIFF"), ("bmp", b"BM"), ("gif", b"GIF8"), ("tif", b"II*"),
])  # fmt: skip
def test_conversion_writes_the_format(do, samples, form, magic):
    name = do("convert_image_pillow", image="small.png", format=form)["image"]
    assert (samples / name).read_bytes().startswith(magic)


def test_grey_is_the_luma(do, pixels):
    expected = pixels("small.png") @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels(do("grayscale_image_pillow", image="small.png")["image"]) - expected).max() <= 1


@pytest.mark.parametrize("worker", BLURS)
def test_blurs_keep_the_mean_and_spread_a_point_by_their_radius(do, tmp_path, worker):
    point = np.zeros((81, 81), dtype=np.uint8)
    point[38:43, 38:43] = 255
    Image.fromarray(point).save(tmp_path / "point.png")
    name = do(worker, root=tmp_path, image="point.png", radius=5)["image"]
    blurred = np.asarray(Image.open(tmp_path / name), dtype=float)
    assert blurred.sum() == pytest.approx(point.sum(dtype=float), rel=0.15)  # rounding to whole numbers
    offsets = np.arange(81) - 40
    variance = (blurred.sum(axis=0) * offsets**2).sum() / blurred.sum() - 2  # the square's own variance
    assert math.sqrt(variance) == pytest.approx(5, rel=0.12)


def test_no_blur_changes_nothing(do, pixels):
    for worker in BLURS:
        assert np.array_equal(pixels(do(worker, image="small.png", radius=0)["image"]), pixels("small.png"))


def test_sharpening_raises_the_contrast_of_edges(do, pixels):
    edges = [np.abs(np.diff(pixels(name), axis=1)).mean() for name in (
        "small.png", do("sharpen_image_unsharp", image="small.png")["image"])]  # fmt: skip
    assert edges[1] > 1.1 * edges[0]


def test_crops_are_slices(do, pixels):
    source = pixels("small.png")
    cut = pixels(do("crop_image_pillow", image="small.png", left=10, top=20, width=30, height=40)["image"])
    assert np.array_equal(cut, source[20:60, 10:40])
    centre = pixels(do("crop_image_pillow", image="small.png")["image"])
    assert np.array_equal(centre, source[:, 25:175])
    for wrong in ({"width": 999}, {"width": 50, "left": 190}, {"width": 0, "height": 5, "left": -1}):
        with pytest.raises(WorkerError, match=r"pixels|within"):
            do("crop_image_pillow", image="small.png", **wrong)


def test_right_angles_turn_exactly_and_clockwise(do, pixels):
    source = pixels("small.png")
    for degrees, turns in ((90, 3), (180, 2), (-90, 1), (450, 3), (0, 0)):
        turned = pixels(do("rotate_image_pillow", image="small.png", degrees=degrees)["image"])
        assert np.array_equal(turned, np.rot90(source, turns))
    assert pixels(do("rotate_image_pillow", image="small.png", degrees=45)["image"]).shape[0] > 150


def test_a_watermark_changes_the_corner_only(do, pixels):
    marked, source = (
        pixels(do("watermark_image_pillow", image="photo.png", label="Ünïcode ©")["image"]),
        pixels("photo.png"),
    )
    changed = np.argwhere(np.abs(marked - source).sum(axis=2) > 0)
    assert len(changed) > 200
    assert changed[:, 0].min() > 380
    with pytest.raises(WorkerError, match="label is empty"):
        do("watermark_image_pillow", image="photo.png", label=" ")


def test_two_pictures_stand_side_by_side(do, pixels):
    both = pixels(do("combine_images_pillow", first="small.png", second="logo.png")["image"])
    assert both.shape == (150, 350, 3)
    assert np.array_equal(both[:, :200], pixels("small.png"))


@pytest.mark.parametrize("worker, least", list(zip(DENOISERS, (0.6, 0.5, 0.75), strict=True)))
def test_denoising_comes_nearer_to_the_clean_picture(do, pixels, worker, least):
    clean, noisy = pixels("small.png"), pixels("small_noisy.png")
    result = pixels(do(worker, image="small_noisy.png")["image"])
    assert 1 - ((result - clean) ** 2).sum() / ((noisy - clean) ** 2).sum() > least


def test_the_median_is_the_one_for_specks(do, pixels):
    clean = pixels("flowers.png")
    errors = {
        w: ((pixels(do(w, image="flowers_noisy.png", task_id=w)["image"]) - clean) ** 2).mean() for w in DENOISERS
    }
    assert min(errors, key=lambda worker: errors[worker]) == "denoise_image_median"


def test_the_noise_level_is_estimated():
    noise = np.random.default_rng(0).normal(0, 12, (200, 200))
    assert noise_level(noise + np.linspace(0, 200, 200)) == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize("worker", PALETTES)
def test_palettes_find_the_colours_of_a_flat_picture(do, tmp_path, worker):
    flat = np.zeros((40, 40, 3), dtype=np.uint8)
    flat[:20] = (255, 0, 0)
    flat[20:30] = (0, 0, 255)
    flat[30:] = (255, 255, 0)
    Image.fromarray(flat).save(tmp_path / "flag.png")
    palette = do(worker, root=tmp_path, image="flag.png", colors=3)["palette"]
    found = np.array([[int(entry["color"][i : i + 2], 16) for i in (1, 3, 5)] for entry in palette])
    assert np.abs(found[0] - [255, 0, 0]).max() <= 8
    assert [entry["share"] for entry in palette] == pytest.approx([0.5, 0.25, 0.25])


def test_k_means_explains_more_than_the_quick_ways(do, pixels):
    source = pixels("flowers.png").reshape(-1, 3)
    errors = []
    for worker in PALETTES:
        palette = do(worker, image="flowers.png", colors=6)["palette"]
        colors = np.array([[int(entry["color"][i : i + 2], 16) for i in (1, 3, 5)] for entry in palette], dtype=float)
        errors.append(((source - colors[nearest_colors(source, colors)]) ** 2).sum(axis=1).mean())
    assert errors[2] == min(errors)


def test_metadata_is_that_of_the_file(do, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    Image.new("L", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    metadata = do("image_metadata_pillow", root=tmp_path, image="a.jpg")["metadata"]
    assert metadata["exif"] == {"Make": "Maker", "Orientation": 6}
    assert (metadata["width"], metadata["height"], metadata["format"], metadata["mode"]) == (30, 20, "JPEG", "L")
    turned = do("resize_image_nearest", root=tmp_path, image="a.jpg", scale=1)["image"]
    assert Image.open(tmp_path / turned).size == (20, 30), "turned upright as the orientation says"


def test_every_mode_of_picture_is_read(do, tmp_path):
    colors = Image.linear_gradient("L").resize((32, 24))
    deep = np.linspace(0, 65535, 32 * 24).reshape(24, 32).astype(np.uint16)
    pictures = {
        "grey.png": colors,
        "bit.png": colors.convert("1"),
        "palette.gif": colors.convert("RGB").quantize(8),
        "alpha.png": Image.merge("RGBA", [colors] * 4),
        "greyalpha.png": Image.merge("LA", [colors] * 2),
        "print.jpg": Image.merge("CMYK", [colors] * 4),
        "deep.png": Image.fromarray(deep),
        "real.tiff": Image.fromarray(deep.astype(np.float32) / 65535 * 255),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        for worker in (
            "rotate_image_pillow",
            "blur_image_gaussian",
            "compress_image_jpeg",
            "image_histogram_matplotlib",
        ):
            if worker.startswith("image_h") and name != "alpha.png":
                continue
            result = Image.open(tmp_path / do(worker, root=tmp_path, image=name)["image"])
            assert np.ptp(np.asarray(result.convert("L"))) > 50, f"{worker} made {name} flat"


def test_a_picture_that_unpacks_to_gigabytes_is_refused(do, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(9000 * 27))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    (tmp_path / "larger.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", body)
    )
    with pytest.raises(WorkerError, match=r"bomb\.png.*megapixels"):
        do("resize_image_nearest", root=tmp_path, image="bomb.png")
    with pytest.raises(WorkerError, match=r"larger\.png"):
        do("resize_image_nearest", root=tmp_path, image="larger.png")


def test_a_resize_that_makes_gigabytes_is_refused(do):
    for arguments in ({"scale": 90}, {"width": 20000}, {"width": 30000}):
        with pytest.raises(WorkerError, match=r"megapixels|between 1 and 20000"):
            do("resize_image_nearest", image="small.png", **arguments)


def test_a_cut_off_picture_is_damaged_and_a_table_is_no_picture(do, tmp_path, samples):
    (tmp_path / "cut.png").write_bytes((samples / "small.png").read_bytes()[:4000])
    (tmp_path / "table.png").write_bytes((samples / "sales.csv").read_bytes())
    (tmp_path / "print.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(WorkerError, match=r"'cut\.png' is damaged"):
        do("blur_image_box", root=tmp_path, image="cut.png")
    for name in ("table.png", "print.eps"):
        with pytest.raises(WorkerError, match="not a readable picture"):
            do("blur_image_box", root=tmp_path, image=name)
