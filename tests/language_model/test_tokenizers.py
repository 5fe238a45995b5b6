import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.language_model.tokenizers import (
    CharacterTokenizer,
    load_tokenizer,
    read_tokenizer,
    train_bpe,
    train_characters,
)

TEXTS = ["the cat sat on the mat, the cat ate. ", "naïve café ☕ ", "the end"] * 3
BPE = train_bpe(TEXTS, 300)


def test_characters_are_numbered_in_order():
    tokenizer = train_characters("cab")
    assert tokenizer.encode("abca").tolist() == [0, 1, 2, 0]
    assert tokenizer.decode([2, 1]) == "cb"
    assert tokenizer.vocab_size == 3
    assert tokenizer.encode("").tolist() == []


def test_unknown_characters_and_numbers():
    tokenizer = train_characters("abc")
    with pytest.raises(ValueError, match="does not know 'd' at character 1; it knows 3"):
        tokenizer.encode("adb")
    for known in (tokenizer, BPE):
        with pytest.raises(ValueError, match="stands for nothing"):
            known.decode([known.vocab_size])
        with pytest.raises(ValueError, match="token -1 stands"):
            known.decode([-1])


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bpe_gives_every_text_back(text):
    assert BPE.decode(BPE.encode(text)) == text


def test_bpe_merges_what_is_frequent():
    assert 256 < BPE.vocab_size <= 300
    assert len(BPE.encode(TEXTS[0])) < len(TEXTS[0]) / 2


@pytest.mark.parametrize("tokenizer", [train_characters("naïve ☕"), BPE], ids=["char", "bpe"])
def test_json_reads_back(tokenizer, tmp_path):
    (tmp_path / "t.json").write_text(tokenizer.json, encoding="utf-8")
    again = load_tokenizer(tmp_path / "t.json")
    assert type(again) is type(tokenizer)
    np.testing.assert_array_equal(again.encode("naïve ☕"), tokenizer.encode("naïve ☕"))


def test_what_is_no_tokenizer(tmp_path):
    for text, message in (("{", "not JSON"), ("{}", "neither a character"), ("[1]", "neither a character")):
        with pytest.raises(ValueError, match=message):
            read_tokenizer(text, "x.json")
    with pytest.raises(ValueError, match="lacks its characters"):
        read_tokenizer('{"format": "orchestai-characters"}')
    with pytest.raises(ValueError, match="cannot be read"):
        load_tokenizer(tmp_path / "missing.json")
    with pytest.raises(ValueError, match="different characters in the order"):
        CharacterTokenizer("ba")
    with pytest.raises(ValueError, match="vocab_size must be at least 257"):
        train_bpe(["a"], 256)
    for train in (train_characters, lambda text: train_bpe([text], 300)):
        with pytest.raises(ValueError, match="no text"):
            train("")


def test_unknown_tokens_of_other_libraries_are_refused():
    tokenizers = pytest.importorskip("tokenizers")
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="does not know 'bb' at character 2"):
        read_tokenizer(backend.to_str()).encode("a bb")


def test_prompts_begin_as_the_tokenizers_rules_say():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "b": 2}, unk_token="b"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = read_tokenizer(backend.to_str())
    assert tokenizer.encode("a a").tolist() == [1, 1]
    assert tokenizer.encode_prompt("a a").tolist() == [0, 1, 1]
    assert tokenizer.encode_prompt("<s> a").tolist() == [0, 1], "once"
    assert tokenizer.encode_prompt("").tolist() == [0]
    assert train_characters("ab").encode_prompt("ba").tolist() == [1, 0]
    np.testing.assert_array_equal(BPE.encode_prompt("the the"), BPE.encode("the the"))
