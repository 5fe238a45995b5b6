import pytest

from orchestai_jax.config import Preference
from orchestai_jax.quickstart import RequestsError, load_requests, parse_requests

GOOD = {"text": "grey and small", "tasks": ["grayscale_image", "resize_image"], "edges": [[0, 1]], "preference": "fast"}


def test_a_request_is_labelled_under_its_preference(catalog, outcomes):
    (sample,) = parse_requests({"requests": [GOOD]}, catalog, outcomes)
    assert sample.dependencies == ((0, 1),)
    assert sample.workers == ("grayscale_image_pillow", "resize_image_nearest")
    assert sample.preference == Preference.PRESETS["fast"].weights
    (plain,) = parse_requests([{"text": "grey", "tasks": ["grayscale_image"]}], catalog, outcomes)
    assert plain.preference == Preference().weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": " "}, "number 2: text is missing"),
        ({"tasks": []}, "number 2: tasks is missing"),
        ({"tasks": ["bake_cake"]}, "number 2: task type 'bake_cake'"),
        ({"preference": "lazy"}, "number 2: preference is 'lazy'; allowed: balanced, quality, fast, cheap"),
        ({"edges": [[0, 7]]}, "number 2: edges: .*outside"),
        ({"edges": [[0]]}, "number 2: edges"),
        ({"edges": 3}, "number 2: edges"),
    ],
)
def test_a_bad_request_is_named(catalog, outcomes, change, message):
    with pytest.raises(RequestsError, match=message):
        parse_requests({"requests": [GOOD, {**GOOD, **change}]}, catalog, outcomes)


@pytest.mark.parametrize("content", [None, {}, {"requests": []}, "text", {"requests": "x"}])
def test_no_requests_at_all(catalog, outcomes, content):
    with pytest.raises(RequestsError, match="expected a list"):
        parse_requests(content, catalog, outcomes)


def test_the_packaged_ones_load(catalog, outcomes):
    samples = load_requests(catalog, outcomes)
    assert len(samples) == 100
    assert len({sample.id for sample in samples}) == 100
