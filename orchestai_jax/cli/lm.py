"""`orchestai lm`: tokenizers, generation, speed and export of language models."""

from __future__ import annotations

import dataclasses
import enum
import json
import pathlib
import sys
from typing import Annotated

import typer

from orchestai_jax.cli.errors import WrongUseError
from orchestai_jax.cli.option_groups import takes_groups
from orchestai_jax.cli.selection_options import SelectionOptions, VerifierOptions, told
from orchestai_jax.cli.train import train


class TokenizerKind(enum.StrEnum):
    """Kinds of tokenizers that can be trained."""

    char = "char"
    bpe = "bpe"


class Precision(enum.StrEnum):
    """How tables are kept."""

    float = "float"
    int8 = "int8"


class Shape(enum.StrEnum):
    """Published shapes, for random weights."""

    large_0_7b = "0.7b"
    official_2b = "2b"


class ExportMode(enum.StrEnum):
    """How weights are stored in Hugging Face's layout."""

    float = "float"
    online = "online"
    offline = "offline"
    offline_divided = "offline_divided"


ModelArgument = Annotated[
    pathlib.Path,
    typer.Argument(metavar="MODEL", help="Work folder, checkpoint, or folder in Hugging Face's BitNet layout."),
]
HeadOption = Annotated[Precision, typer.Option("--head", help="Embedding and head as float or int8.")]
CacheOption = Annotated[Precision, typer.Option("--cache", help="Keys and values as float or int8.")]
SparsityOption = Annotated[
    float | None,
    typer.Option(
        "--sparsity-threshold",
        metavar="SHARE",
        min=0,
        max=1,
        help="Drop blocks of the cache with less than this share of an even spread's attention (0 = none).",
    ),
]
ServedCacheOption = Annotated[
    Precision | None,
    typer.Option("--cache", help="Keys and values as float or int8 (default: as the model's run says, else float)."),
]


def register(app: typer.Typer) -> None:
    """Add the verb group to the command."""
    group = typer.Typer(no_args_is_help=True, help="Ternary language models.", rich_markup_mode=None)
    group.command(name="train", short_help="The same as `orchestai train`.")(train)
    group.command(name="tokenizer", short_help="Train a tokenizer.")(tokenizer)
    group.command(name="generate", short_help="Continue a prompt.")(takes_groups(generate))
    group.command(name="bench", short_help="Measure reading a prompt and making tokens.")(bench)
    group.command(name="export", short_help="Write a folder in Hugging Face's BitNet layout.")(export)
    app.add_typer(group, name="lm")


def tokenizer(
    texts: Annotated[list[pathlib.Path], typer.Argument(metavar="TEXT...", help="Text files, UTF-8.")],
    out: Annotated[pathlib.Path, typer.Option("--out", metavar="FILE", help="Where the tokenizer goes.")],
    kind: Annotated[TokenizerKind, typer.Option("--kind", help="Characters, or byte-level BPE.")] = TokenizerKind.bpe,
    vocab_size: Annotated[int, typer.Option("--vocab-size", help="Tokens in the vocabulary (bpe only).")] = 4096,
) -> None:
    """Train a tokenizer on texts; `data.tokenizer` of a language model's configuration names the file.

    \b
    Examples:
      orchestai lm tokenizer input.txt --kind char --out chars.json
      orchestai lm tokenizer a.txt b.txt --vocab-size 8192 --out bpe.json
    """
    from orchestai_jax.language_model.tokenizers import train_bpe, train_characters

    contents = [_read(path) for path in texts]
    trained = train_characters("".join(contents)) if kind is TokenizerKind.char else train_bpe(contents, vocab_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(trained.json, encoding="utf-8")
    typer.echo(f"{out}: {trained.vocab_size} tokens")


def generate(
    *,
    model: ModelArgument,
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What is continued; - reads stdin.")],
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", metavar="N", help="Most tokens (default: up to the model's positions)."),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="K", help="Draw among the K likeliest.")] = None,
    top_p: Annotated[float, typer.Option("--top-p", metavar="P", help="Draw among those that reach P.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 0,
    stop: Annotated[list[str] | None, typer.Option("--stop", metavar="TEXT", help="End before this text.")] = None,
    head: HeadOption = Precision.float,
    cache: ServedCacheOption = None,
    sparsity_threshold: SparsityOption = None,
    selecting: SelectionOptions,
    verifying: VerifierOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, at its end.")] = False,
) -> None:
    """Continue a prompt; text is printed as it comes.

    With one of the --verify options several continuations are drawn, and another than the first is taken where the
    verifier's reward (0 or 1) is higher by the threshold. What an option leaves open is as the model's run says in
    `optimization.inference_scaling`.

    \b
    Examples:
      orchestai lm generate runs/shakespeare --prompt "ROMEO:" --candidates 8 --verify-pattern "love"
      orchestai lm generate runs/shakespeare --prompt "ROMEO:" --max-new-tokens 50
      orchestai lm generate runs/shakespeare --prompt "ROMEO:" --temperature 0 --stop "JULIET" --json
    """
    from orchestai_jax.language_model.sampling import Sampling
    from orchestai_jax.language_model.saved import load_language_model
    from orchestai_jax.language_model.text_generation import TextGenerator
    from orchestai_jax.nn.compilation import enable_compilation_cache

    sampling = Sampling(temperature, top_k, top_p, seed)
    enable_compilation_cache()
    loaded = load_language_model(model)
    verifier = verifying.verifier()
    if verifier is None and selecting.given:
        raise WrongUseError("--candidates and --path-threshold go with one of the --verify options")
    generator = TextGenerator.of(
        loaded,
        head=head.value,
        cache=cache.value if cache is not None else None,
        sparsity_threshold=sparsity_threshold,
        release=True,
    )
    text = sys.stdin.read() if prompt == "-" else prompt
    if verifier is not None:
        from orchestai_jax.optimization.candidates import select_answer

        candidates, threshold = selecting.over(loaded.serving)
        selection = select_answer(
            generator,
            text,
            verifier,
            candidates=candidates,
            threshold=threshold,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop=stop or (),
        )
        answer = selection.chosen
        if not as_json:
            typer.echo(answer.text)
            typer.echo(f"candidate {selection.index + 1} of {len(selection.rewards)}: {told(selection)}", err=True)
            return
        chosen = {"candidate": selection.index, "rewards": selection.rewards, "margin": selection.margin}
        typer.echo(
            json.dumps({"model": loaded.source, "prompt": text, **dataclasses.asdict(answer), "selection": chosen})
        )
        return
    if as_json:
        answer = generator.answer(text, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop or ())
        typer.echo(json.dumps({"model": loaded.source, "prompt": text, **dataclasses.asdict(answer)}))
        return
    for piece in generator.stream(text, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop or ()):
        sys.stdout.write(piece)
        sys.stdout.flush()
    typer.echo()


def bench(
    model: Annotated[
        pathlib.Path | None, typer.Argument(metavar="[MODEL]", help="As for generate; or give --shape.")
    ] = None,
    shape: Annotated[Shape | None, typer.Option("--shape", help="Random ternary weights of this shape.")] = None,
    prefill_tokens: Annotated[int, typer.Option("--prefill", metavar="N", help="Length of the prompt.")] = 128,
    decode_tokens: Annotated[int, typer.Option("--decode", metavar="N", help="Tokens made.")] = 64,
    repeats: Annotated[int, typer.Option("--repeats", help="Measurements; their median is shown.")] = 5,
    head: HeadOption = Precision.int8,
    cache: CacheOption = Precision.float,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure tokens a second of reading a prompt and of making tokens, one row, greedy.

    \b
    Examples:
      orchestai lm bench runs/shakespeare --prefill 32 --decode 32
      orchestai lm bench --shape 0.7b --json
    """
    from orchestai_jax.language_model.benchmark import measure_generation
    from orchestai_jax.language_model.saved import load_language_model
    from orchestai_jax.language_model.serving_model import random_packed_model, serving_model
    from orchestai_jax.language_model.shapes import SHAPES

    if (model is None) == (shape is None):
        raise WrongUseError("give either a MODEL or --shape")
    if model is not None:
        loaded = load_language_model(model)
        served = serving_model(loaded.config, loaded.parameters, head=head.value, release=True)
        name = loaded.source
    else:
        assert shape is not None
        served, name = random_packed_model(SHAPES[shape.value], 0, head=head.value), f"random weights, {shape.value}"
    speed = measure_generation(
        served,
        prefill_tokens=prefill_tokens,
        decode_tokens=decode_tokens,
        repeats=repeats,
        cache=cache.value,
        told=lambda text: typer.echo(text, err=True),
    )
    if as_json:
        typer.echo(json.dumps({"model": name, **dataclasses.asdict(speed)}))
        return
    typer.echo(
        f"{name}: prefill {speed.prefill_tokens_per_s:.1f} tokens/s ({prefill_tokens}), "
        f"decode {speed.decode_tokens_per_s:.1f} tokens/s ({decode_tokens}), {speed.model_bytes / 2**20:.0f} MiB"
    )


def export(
    model: ModelArgument,
    folder: Annotated[pathlib.Path, typer.Argument(metavar="FOLDER", help="Where it goes.")],
    mode: Annotated[
        ExportMode,
        typer.Option(
            "--mode",
            help="float (no quantisation), online (float masters), offline (packed), offline_divided (older, packed).",
        ),
    ],
    max_shard_mb: Annotated[int, typer.Option("--max-shard-mb", help="Files are cut at this size.")] = 5000,
) -> None:
    """Write a folder that transformers' BitNetForCausalLM reads.

    \b
    Example:
      orchestai lm export runs/shakespeare exported --mode offline
    """
    from orchestai_jax.language_model.hugging_face_export import export_hugging_face
    from orchestai_jax.language_model.saved import TOKENIZER_FILE, load_language_model

    if max_shard_mb < 1:
        raise WrongUseError(f"--max-shard-mb must be at least 1, got {max_shard_mb}")
    if folder.resolve() == model.resolve():
        raise WrongUseError(f"FOLDER must be another than MODEL, whose weights would be replaced: {folder}")
    loaded = load_language_model(model)
    files = export_hugging_face(
        folder,
        loaded.config,
        loaded.parameters,
        mode=mode.value,
        max_shard_bytes=max_shard_mb * 10**6,
        special_tokens=loaded.special_tokens,
    )
    if loaded.tokenizer is not None:
        (folder / TOKENIZER_FILE).write_text(loaded.tokenizer.json, encoding="utf-8")
    typer.echo(f"{folder}: {', '.join(path.name for path in files)}")


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise WrongUseError(f"{path}: not UTF-8 text (byte {error.start})") from None
