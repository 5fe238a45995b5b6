"""`orchestai workers`: lists, checks, catalogs put together, discovery into a catalog."""

import json
import pathlib
import sys

import pytest
from hub_server import Hub, row
from loopback_server import serving, unused_port
from openai_server import answer_chat, error

from orchestai_jax.quickstart import load_embedded_catalog
from orchestai_jax.workers import load_bundled_catalog
from orchestai_jax.workflow import OpenAIConnection, Prices, load_catalog

SERVER = (sys.executable, str(pathlib.Path(__file__).parents[1] / "plugins" / "mcp_tools_server.py"))


def endpoint(*names):
    def answer(request):
        if request.path.endswith("/models"):
            request.answer_json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        elif request.json["model"] == "broken":
            request.answer_json(error("out of memory"), 500)
        else:
            answer_chat(request, "ok")

    return answer


def test_the_local_tools_are_listed(command):
    rows = {row["id"]: row for row in command.json("workers", "list", "--json")}
    assert set(rows) == {
        w.id for c in (load_embedded_catalog(), load_bundled_catalog("extended_tools")) for w in c.workers
    }
    assert rows["blur_image_box"]["lacks"] is None
    shown = command("workers", "list").stdout
    assert "blur_image_box" in shown
    assert "checksum_file" in shown


def test_what_a_worker_lacks_is_listed(command, tmp_path, monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    (tmp_path / "c.yaml").write_text(
        "task_types: [{id: t}]\n"
        "workers:\n"
        "- {id: gpt, task_types: [t], connection: {kind: openai, model: m, key_env: THE_KEY}}\n"
        "- {id: unknown, task_types: [t]}\n"
    )
    gpt, unknown = command.json("workers", "list", "--catalog", "c.yaml", "--json")
    assert (gpt["kind"], "THE_KEY is not set" in gpt["lacks"]) == ("openai", True)
    assert "no local tool of that name" in unknown["lacks"]
    assert "THE_KEY is not set" in command("workers", "list", "--catalog", "c.yaml").stdout


def test_catalogs_are_put_together(command, tmp_path):
    names = ("quickstart", "extended_tools", "model_tasks")
    said = command("workers", "catalog", "new/all.yaml", *(f"--catalog={name}" for name in names)).stdout
    whole = load_catalog(tmp_path / "new" / "all.yaml")
    parts = [load_embedded_catalog(), load_bundled_catalog("extended_tools"), load_bundled_catalog("model_tasks")]
    assert len(whole.task_types) == sum(len(part.task_types) for part in parts)
    assert f"{len(whole.task_types)} task types, {len(whole.workers)} workers" in said
    (tmp_path / "other.yaml").write_text("task_types: [{id: blur_image}]\n")
    refused = command.error("workers", "catalog", "x.yaml", "--catalog", "quickstart", "--catalog", "other.yaml")
    assert "declare the task type 'blur_image' differently" in refused
    assert "neither a file nor one of quickstart" in command.error("workers", "list", "--catalog", "nothing")
    assert "must end in .yaml or .json" in command.error("workers", "catalog", "x.txt")


def test_health_is_checked_and_decides_the_exit_code(command):
    healths = command.json("workers", "check", "checksum_file_hashlib", "write_file_text", "--json")
    assert all(health["ok"] for health in healths.values())
    assert "has no worker 'nobody'" in command.error("workers", "check", "nobody")
    (command.folder / "c.yaml").write_text(
        "task_types: [{id: t}]\nworkers: [{id: w, task_types: [t]}, "
        f"{{id: gpt, task_types: [t], connection: {{kind: openai, model: m, key_env: null, "
        f"base_url: 'http://127.0.0.1:{unused_port()}'}}}}]\n"
    )
    failed = command("workers", "check", "--catalog", "c.yaml", code=1).stdout
    assert "cannot be reached" in failed
    assert "no local tool of that name" in failed


def test_models_of_an_endpoint_enter_a_catalog(command, tmp_path):
    (tmp_path / "prices.yaml").write_text("'*': {input_per_million: 10}\n")
    with serving(endpoint("llama", "broken", "text-embedding")) as server:
        base = ("workers", "discover", "openai", "--base-url", f"{server.url}/v1", "--key-env", "none")
        listed = command.json(*base, "--list", "--json")
        assert [w["connection"]["model"] for w in listed["workers"]] == ["broken", "llama"]
        assert list(listed["passed_over"]) == ["text-embedding"]
        assert "text-embedding" in command(*base, "--list").stdout
        done = command(*base, "--prices", "prices.yaml", "--into", "mine.yaml").stdout
        assert "1 of 2 workers entered mine.yaml" in done
        assert "out of memory" in done
        [worker] = load_catalog(tmp_path / "mine.yaml").workers
        assert worker.latency > 0
        assert worker.cost == pytest.approx(0.006)
        assert worker.connection.prices == Prices(input_per_million=10.0)
        entered = command.json(*base, "--match", "llama", "--task-types", "write_text", "--into", "mine.yaml", "--json")
        assert entered["entered"] == ["openai_llama"]
        assert load_catalog(tmp_path / "mine.yaml").worker("openai_llama").task_types == ("write_text",)
        assert "gave no" not in command("workers", "check", "--catalog", "mine.yaml").stdout
        nothing = command(*base, "--match", "x*", "--into", "mine.yaml", code=1)
        assert "found no worker that fits" in nothing.stderr
        only_broken = command(*base, "--match", "broken", "--into", "other.yaml", code=1)
        assert "0 of 1 workers entered" in only_broken.stdout
    assert not (tmp_path / "other.yaml").exists()


def test_models_of_a_hub_are_listed(command, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with serving(Hub([row("a/vit", 20), row("b/vit", 30, licence="mit"), row("c/vit", 5)])) as server:
        base = ("workers", "discover", "hub", "--endpoint", server.url, "--list", "--json")
        found = command.json(*base, "--task", "image-classification")
        assert [w["id"] for w in found["workers"]] == ["hf_b_vit", "hf_a_vit"]
        found = command.json(*base, "--task", "image-classification", "--licence", "mit", "--max-parameters", "5M")
        assert [w["id"] for w in found["workers"]] == ["hf_b_vit"]
        assert "'dreaming'; it must be one of" in command.error(*base, "--task", "dreaming")
        assert "write a number as 300M" in command.error(*base, "--task", "object-detection", "--max-parameters", "big")


def test_tools_of_a_server_enter_a_catalog(command, tmp_path):
    base = ("workers", "discover", "mcp", "--into", "mine.json", "--prefix", "my_", "--json", "--", *SERVER)
    assert "mcp_my_shout" in command.json(*base)["entered"]
    assert json.loads((tmp_path / "mine.json").read_text())["workers"][0]["connection"]["kind"] == "mcp"
    assert "give either --url or -- COMMAND" in command.error("workers", "discover", "mcp", "--list")


def test_installed_workers_are_looked_for(command):
    assert command.json("workers", "discover", "installed", "--list", "--json") == {"workers": [], "passed_over": {}}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("installed",), "give --into FILE"),
        (("installed", "--into", "x.txt"), "must end in .yaml or .json"),
        (("openai", "--key-env", "sk-123", "--list"), "--key-env: must be the name of an environment variable"),
        (("openai", "--base-url", "nowhere", "--list"), "--base-url: must be an http or https address"),
        (("openai", "--prices", "none.yaml", "--key-env", "none", "--list"), "none.yaml"),
    ],
)
def test_wrong_use_is_said_before_anything_is_looked_for(command, arguments, said):
    code = 1 if "none.yaml" in arguments else 2
    assert said in command.error("workers", "discover", *arguments, code=code)


def test_doctor_looks_at_a_catalog_with_its_keys_and_endpoints(command, tmp_path, monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    monkeypatch.setenv("SET_KEY", "abcdefgh")
    with serving(endpoint("llama")) as server:
        openai = f"kind: openai, base_url: '{server.url}/v1'"
        (tmp_path / "c.yaml").write_text(
            "task_types: [{id: t}, {id: lonely}]\n"
            "workers:\n"
            f"- {{id: a, task_types: [t], connection: {{{openai}, model: llama, key_env: SET_KEY}}}}\n"
            f"- {{id: b, task_types: [t], connection: {{{openai}, model: gone, key_env: null}}}}\n"
            "- {id: c, task_types: [t], connection: {kind: openai, model: m, key_env: THE_KEY}}\n"
            "- {id: d, task_types: [t], connection: {kind: mcp, command: [no-such-program]}}\n"
            f"- {{id: e, task_types: [t], connection: {{kind: openai, model: m, key_env: null, "
            f"base_url: 'http://127.0.0.1:{unused_port()}/v1'}}}}\n"
            "- {id: f, task_types: [t]}\n"
            "- {id: g, task_types: [t], connection: {kind: language_model, model: no/such/folder}}\n"
        )
        result = command("doctor", "--catalog", "c.yaml", "--json")
    assert "abcdefgh" not in result.stdout
    checks = [(c["name"], c["status"], c["found"], c["remedy"]) for c in json.loads(result.stdout)]
    by_name = {}
    for name, status, found, remedy in checks:
        by_name.setdefault(name, []).append((status, found, remedy))
    assert by_name["catalog c.yaml"] == [
        ("ok", "2 task types; workers: 4 openai, 1 mcp, 1 local, 1 language_model", None)
    ]
    assert by_name["task types without worker"][0][:2] == ("missing", "lonely")
    assert by_name["workers that are not here"][0][:2] == ("missing", "f")
    assert by_name["key SET_KEY"][0][0] == "ok"
    assert by_name["key THE_KEY"] == [("missing", "not set; wanted by c", "set THE_KEY in the environment or in .env")]
    assert "no-such-program" in by_name["worker d"][0][1]
    assert by_name["local language model"] == [
        ("missing", "listed, but not to be used as they are: g", "see what is said of each below")
    ]
    assert "there is no folder 'no/such/folder'" in by_name["worker g"][0][1]
    endpoints = by_name[f"endpoint {server.url}/v1"]
    assert ("ok", "serves 1 models, the catalog's among them", None) in endpoints
    assert any("does not serve gone; it serves llama" in found for _, found, _ in endpoints)
    [[unreachable]] = [found for name, found in by_name.items() if "endpoint" in name and server.url not in name]
    assert unreachable[0] == "missing"
    assert "cannot be reached" in unreachable[1]
    assert all(remedy for _, status, _, remedy in checks if status != "ok")


def test_doctor_tells_language_models_that_work_from_those_that_do_not(command, tmp_path, monkeypatch):
    def model(name, text):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "bitnet"}')
        (folder / "model.safetensors").write_bytes(b"x")
        (folder / "tokenizer.json").write_text(text)

    model("good", '{"version": "1.0"}')
    model("toy", '{"format": "orchestai-characters", "characters": "abc"}')
    (tmp_path / "c.yaml").write_text(
        "task_types: [{id: t, outputs: [{name: x, type: text}]}]\n"
        "workers:\n"
        "- {id: a, task_types: [t], connection: {kind: language_model, model: good}}\n"
        "- {id: b, task_types: [t], connection: {kind: language_model, model: toy}}\n"
    )
    checks = {check["name"]: check for check in command.json("doctor", "--catalog", "c.yaml", "--json")}
    found = checks["local language model"]
    assert (found["status"], found["found"]) == ("ok", "listed: a; not to be used as they are: b")
    assert "reads single characters" in checks["worker b"]["found"]
    assert "worker a" not in checks

    # Without a catalog the cache of the Hub is looked into.
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    [found] = [check for check in command.json("doctor", "--json") if check["name"] == "local language model"]
    assert found["status"] == "missing"
    assert "--catalog" in found["remedy"]
    snapshots = tmp_path / "hub" / "models--org--bit" / "snapshots"
    snapshots.mkdir(parents=True)
    (tmp_path / "toy").rename(snapshots / "1")
    [found] = [check for check in command.json("doctor", "--json") if check["name"] == "local language model"]
    assert found["status"] == "missing", "it reads characters"
    (tmp_path / "good").rename(snapshots / "2")
    [found] = [check for check in command.json("doctor", "--json") if check["name"] == "local language model"]
    assert (found["status"], found["found"]) == ("ok", f"in the cache of the Hub: {snapshots / '2'}")


def test_doctor_says_that_a_catalog_is_broken(command, tmp_path):
    (tmp_path / "c.yaml").write_text("task_types: [{id: t}, {id: t}]\n")
    checks = json.loads(command("doctor", "--catalog", "c.yaml", "--json", code=1).stdout)
    assert checks[-1]["status"] == "broken"
    assert "'t' stands twice" in checks[-1]["found"]
    checks = json.loads(command("doctor", "--catalog", "quickstart", "--json").stdout)
    [model] = [check for check in checks if check["name"] == "local language model"]
    assert (model["status"], model["found"]) == ("missing", "none is listed")
    assert "docs/workers.md" in model["remedy"]
    (tmp_path / "d.yaml").write_text(
        "task_types: [{id: t, outputs: [{name: x, type: image}]}]\n"
        "workers: [{id: w, task_types: [t], connection: {kind: openai, model: m}}]\n"
    )
    checks = json.loads(command("doctor", "--catalog", "d.yaml", "--json", code=1).stdout)
    assert "worker 'w' cannot do that: t gives x of the type image" in checks[-1]["found"]


def test_a_key_is_never_printed(command, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdefgh")
    connection = OpenAIConnection(model="m")
    assert "sk-abcdefgh" not in connection.model_dump_json()
