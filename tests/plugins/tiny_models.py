"""Tiny real models with random weights, saved as the Hub's are: transformers loads them like any other."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

_ATTENTION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_SIZE = {"height": 16, "width": 16}


def save_tiny_models(root: pathlib.Path, only: str | None = None) -> None:
    """A folder for each kind, or for one: `caption`, `chat`, `classify`, `ctc`, `detect`, `speak`, `whisper`."""
    torch.manual_seed(0)
    for save in (_classify, _detect, _caption, _chat, _ctc, _whisper, _speak):
        name = save.__name__.removeprefix("_")
        if only in (None, name):
            (root / name).mkdir(parents=True)
            save(root / name)


def _classify(folder: pathlib.Path) -> None:
    labels = {0: "cat", 1: "dog", 2: "train"}
    config = transformers.ViTConfig(
        **_ATTENTION, image_size=16, patch_size=8, id2label=labels, label2id={name: i for i, name in labels.items()}
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size=_SIZE).save_pretrained(folder)


def _detect(folder: pathlib.Path) -> None:
    config = transformers.YolosConfig(
        **_ATTENTION, image_size=[32, 32], patch_size=16, num_detection_tokens=5, num_labels=3
    )
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder)


def _caption(folder: pathlib.Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    text: dict[str, Any] = {**_ATTENTION, "vocab_size": len(words), "encoder_hidden_size": 16, "projection_dim": 16}
    text |= {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3, "max_position_embeddings": 64}
    vision = {**_ATTENTION, "image_size": 16, "patch_size": 8, "projection_dim": 16}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"))
    transformers.BlipProcessor(transformers.BlipImageProcessor(size=_SIZE), tokenizer).save_pretrained(folder)


def _chat(folder: pathlib.Path) -> None:
    words = ["<pad>", "<unk>", "<s>", "</s>", "<image>", "USER:", "ASSISTANT:", *map(chr, range(33, 127))]
    words = list(dict.fromkeys(words))
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    vision = transformers.CLIPVisionConfig(**_ATTENTION, image_size=16, patch_size=8, projection_dim=16)
    text = transformers.LlamaConfig(
        **_ATTENTION, vocab_size=len(words), max_position_embeddings=128, bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-1
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    template = (
        "{% for m in messages %}USER: {% for p in m['content'] %}"
        "{% if p['type'] == 'image' %}<image> {% else %}{{ p['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}ASSISTANT:"
    )
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size=_SIZE, crop_size=_SIZE),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
        image_token="<image>",
    ).save_pretrained(folder)


def _ctc(folder: pathlib.Path) -> None:
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{c: i + 5 for i, c in enumerate("abcde")}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    config = transformers.Wav2Vec2Config(
        **_ATTENTION,
        vocab_size=len(vocabulary),
        conv_dim=[16, 16],
        conv_kernel=[10, 8],
        conv_stride=[80, 4],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    transformers.Wav2Vec2Processor(transformers.Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)


def _whisper(folder: pathlib.Path) -> None:
    letters = [*map(chr, range(33, 127)), "Ġ"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    end, start = "<|endoftext|>", "<|startoftranscript|>"
    tokenizer = transformers.WhisperTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        **dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), end),
    )
    others = ["<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    others += ["<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [start, *others]})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (end, start, *others)}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        **{f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in _WHISPER_SIDE.items()},
        max_target_positions=64,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), ids[end]),
        decoder_start_token_id=ids[start],
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    settings: Any = model.generation_config
    settings._from_model_config = False
    settings.lang_to_id = {name: ids[name] for name in ("<|en|>", "<|de|>")}
    settings.task_to_id = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    settings.no_timestamps_token_id = ids["<|notimestamps|>"]
    settings.is_multilingual, settings.max_length = True, 64
    model.save_pretrained(folder)
    transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


_WHISPER_SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 32}


def _speak(folder: pathlib.Path) -> None:
    vocabulary = {letter: i for i, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz'")}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    ones = ("posterior_encoder_num_wavenet_layers", "prior_encoder_num_wavenet_layers", "wavenet_dilation_rate")
    ones += ("prior_encoder_num_flows", "duration_predictor_num_flows", "depth_separable_num_layers")
    config = transformers.VitsConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=32,
        window_size=2,
        vocab_size=len(vocabulary),
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=32,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        sampling_rate=8000,
        **dict.fromkeys(ones, 1),
    )
    transformers.VitsModel(config).save_pretrained(folder)
    transformers.VitsTokenizer(
        str(folder / "vocab.json"),
        language="eng",
        phonemize=False,
        is_uroman=False,
        pad_token="_",
        unk_token="_",
    ).save_pretrained(folder)
