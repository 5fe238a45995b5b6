import json
import shutil

import pytest
from typer.testing import CliRunner

import orchestai_jax.cli
from orchestai_jax.config import LanguageModelConfig
from orchestai_jax.language_model import export_hugging_face, initial_parameters
from orchestai_jax.language_model.tokenizers import load_tokenizer, train_characters


def cli(*arguments, **options):
    return CliRunner().invoke(orchestai_jax.cli.build_app(), [*map(str, arguments)], **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder in Hugging Face's layout with a character tokenizer."""
    config = LanguageModelConfig(
        vocab_size=26, hidden_size=16, intermediate_size=16, num_layers=1, num_heads=2, num_kv_heads=2,
        max_positions=40, tied_embeddings=False, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    export_hugging_face(folder, config, initial_parameters(config, 0), mode="online")
    (folder / "tokenizer.json").write_text(train_characters("abcdefghijklmnopqrstuvwxyz").json)
    return folder


def test_tokenizers_are_trained(tmp_path):
    (tmp_path / "a.txt").write_text("abcabc")
    result = cli("lm", "tokenizer", tmp_path / "a.txt", "--kind", "char", "--out", tmp_path / "t.json")
    assert result.exit_code == 0, result.output
    assert result.output.strip() == f"{tmp_path / 't.json'}: 3 tokens"
    assert load_tokenizer(tmp_path / "t.json").encode("cab").tolist() == [2, 0, 1]
    assert cli("lm", "tokenizer", tmp_path / "a.txt", "--vocab-size", 9, "--out", tmp_path / "b.json").exit_code == 2


def test_generation_streams_what_json_holds_whole(model):
    given = ("lm", "generate", model, "--max-new-tokens", "12", "--temperature", "0.9", "--seed", "4")
    streamed = cli(*given, "--prompt", "hello")
    assert streamed.exit_code == 0, streamed.output
    answer = json.loads(cli(*given, "--prompt", "-", "--json", input="hello").output)
    assert streamed.output == answer["text"] + "\n"
    assert (answer["num_tokens"], answer["finish_reason"], len(answer["text"])) == (12, "length", 12)
    end = answer["text"][3:5]
    stopped = json.loads(cli(*given, "--prompt", "hello", "--stop", end, "--json").output)
    assert stopped["text"] == answer["text"][: answer["text"].index(end)]
    assert stopped["finish_reason"] == "stop"


def test_the_continuation_that_a_verifier_rewards_is_taken(model):
    given = ("lm", "generate", model, "--prompt", "hello", "--max-new-tokens", "6")
    texts = [cli(*given, "--seed", seed).output.strip() for seed in range(4, 8)]
    wanted = next(i for i, text in enumerate(texts) if i and text != texts[0])
    options = ("--seed", "4", "--candidates", "4", "--verify-answer", texts[wanted])
    found = json.loads(cli(*given, *options, "--json").output)
    assert found["text"] == texts[wanted]
    assert found["selection"]["candidate"] == wanted
    assert found["selection"]["margin"] == 1
    shown = cli(*given, *options)
    assert shown.stdout.strip() == texts[wanted]
    assert f"candidate {wanted + 1} of 4: reward 1.00, the first one's is lower by 1.00" in shown.stderr
    assert cli(*given, "--seed", "4", "--verify-pattern", "[0-9]").stdout.strip() == texts[0]  # no reward anywhere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "héllo"], "does not know 'é' at character 1"),
        (["--prompt", "a" * 41], "the prompt has 41 tokens, the model has 40 positions"),
        (["--prompt", "a", "--temperature", "-1"], "temperature must be 0 or more"),
        (["--prompt", "a", "--top-k", "0"], "top_k must be at least 1"),
        (["--prompt", "a", "--candidates", "2"], "go with one of the --verify options"),
        (["--prompt", "a", "--verify-json", "--verify-answer", "b"], "exclude one another"),
        (["--prompt", "a", "--verify-pattern", "("], "not a regular expression"),
        (["--prompt", "a", "--verify-json", "--temperature", "0"], "want a temperature above 0"),
        (["--prompt", "a", "--sparsity-threshold", "2"], "--sparsity-threshold"),
    ],
)
def test_wrong_use_is_told_in_a_line(model, arguments, message):
    result = cli("lm", "generate", model, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_folder_without_a_model(tmp_path):
    result = cli("lm", "generate", tmp_path, "--prompt", "a")
    assert result.exit_code == 2
    assert "no checkpoint of orchestai" in result.output


def test_export_and_bench(model, tmp_path):
    result = cli("lm", "export", model, tmp_path / "packed", "--mode", "offline")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    result = cli("lm", "bench", tmp_path / "packed", "--prefill", "16", "--decode", "4", "--repeats", "2", "--json")
    assert result.exit_code == 0, result.output
    speed = json.loads(result.output.splitlines()[-1])
    assert (len(speed["prefill_s"]), len(speed["decode_s"])) == (2, 2)
    assert cli("lm", "bench").exit_code == 2
    result = cli("lm", "bench", model, "--prefill", "41")
    assert result.exit_code == 2
    assert "must fit the model's 40 positions" in result.output


def test_a_model_is_not_exported_over_itself(model):
    before = (model / "model.safetensors").read_bytes()
    result = cli("lm", "export", model, model.parent / "." / model.name, "--mode", "offline")
    assert result.exit_code == 2
    assert "FOLDER must be another than MODEL" in result.output
    assert (model / "model.safetensors").read_bytes() == before


def test_export_keeps_all_special_tokens(model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    special = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0}
    shutil.copytree(model, tmp_path / "from")
    (tmp_path / "from" / "config.json").write_text(json.dumps(config | special))
    assert cli("lm", "export", tmp_path / "from", tmp_path / "to", "--mode", "online").exit_code == 0
    written = json.loads((tmp_path / "to" / "config.json").read_text())
    assert {name: written[name] for name in special} == special


@pytest.mark.parametrize("prompt", [17, 33, 130])
def test_bench_of_prompts_of_any_length(prompt):
    """130 is padded to 256, which is more than a cache for 130 tokens would hold."""
    from orchestai_jax.language_model.benchmark import measure_generation
    from orchestai_jax.language_model.serving_model import serving_model

    config = LanguageModelConfig(
        vocab_size=26, hidden_size=16, intermediate_size=16, num_layers=1, num_heads=2, num_kv_heads=2,
        max_positions=160,
    )  # fmt: skip
    model = serving_model(config, initial_parameters(config, 0))
    speed = measure_generation(model, prefill_tokens=prompt, decode_tokens=1, repeats=1)
    assert (speed.prefill_tokens, len(speed.prefill_s)) == (prompt, 1)
