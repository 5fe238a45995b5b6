"""Discovery: of a Hub and of an endpoint on loopback, of a real MCP server, of entry points; checked and measured."""

import asyncio

import pytest
from hub_server import SHA, Hub, names_of, row
from loopback_server import serving, unused_port
from openai_server import answer_chat, error

from orchestai_jax.workers import WorkerError, load_bundled_catalog, open_workers
from orchestai_jax.workers.discovery import found as found_module
from orchestai_jax.workers.discovery.endpoint_models import LANGUAGE_TASKS, find_endpoint_models, read_prices
from orchestai_jax.workers.discovery.found import Found, check_found
from orchestai_jax.workers.discovery.hub import HubQuery, find_on_hub
from orchestai_jax.workers.discovery.server_tools import find_server_tools
from orchestai_jax.workflow import (
    Catalog,
    CatalogError,
    McpConnection,
    OpenAIConnection,
    Prices,
    SimulatedConnection,
    TaskType,
    WorkerSpec,
    load_catalog,
    save_catalog,
)

MODELS = [
    row("big/vit", 900, size=300_000_000),
    row("good/vit", 500),
    row("paid/vit", 400, licence="other"),
    row("locked/vit", 350, gated="manual"),
    row("old/vit", 300, tags=["custom_code"]),
    row("timm/vit", 250, library_name="timm"),
    row("unsized/vit", 200, safetensors=None),
    row("small/vit", 100, licence="mit", size=1_000_000),
    row("unliked/vit", 1),
    row("ears/whisper", 800, tag="automatic-speech-recognition"),
    row("old/blip", 600, tag="image-to-text"),
    row("new/vlm", 700, tag="image-text-to-text"),
]


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The tests keep the library offline; these have a Hub of their own."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def search(models=MODELS, **query):
    hub = Hub(models)
    with serving(hub) as server:
        found = find_on_hub(HubQuery(**{"task": "image-classification", **query}), endpoint=server.url)
    return found, hub


def names(found):
    return [spec.connection.model for spec in found.workers]


def test_models_are_found_by_task_and_likes_over_several_pages():
    found, hub = search()
    assert names(found) == ["big/vit", "good/vit", "paid/vit", "unsized/vit", "small/vit"]
    assert dict(found.passed_over) == {
        "locked/vit": "gated",
        "old/vit": "runs code of its own",
        "timm/vit": "made for timm",
    }
    spec = found.workers[1]
    assert (spec.id, spec.task_types) == ("hf_good_vit", ("classify_image",))
    assert spec.connection.revision == SHA, "what was found is what will be run"
    assert "5 million parameters, licence apache-2.0, 500 likes" in spec.description
    query = hub.queries[0]
    assert query["pipeline_tag"] == ["image-classification"]
    assert query["sort"] == ["likes"]
    assert set(query["filter"]) == {"transformers", "safetensors"}
    assert query["gated"][0].lower() == "false"
    assert len(hub.queries) > 1, "the second page was fetched"


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"limit": 1}, ["big/vit"]),
        ({"min_likes": 300}, ["big/vit", "good/vit", "paid/vit"]),
        ({"licences": ("apache-2.0",), "limit": 3}, ["big/vit", "good/vit", "unsized/vit"]),
        ({"licences": ("mit", "other")}, ["paid/vit", "small/vit"]),
        ({"max_parameters": 10_000_000, "min_likes": 100}, ["good/vit", "paid/vit", "small/vit"]),
        ({"task": "automatic-speech-recognition"}, ["ears/whisper"]),
        ({"task": "image-text-to-text"}, ["new/vlm", "old/blip"]),
        ({"task": "text-to-audio"}, []),
    ],
)
def test_every_filter_filters(query, expected):
    assert names(search(**query)[0]) == expected


def test_filters_that_the_hub_knows_are_sent():
    _, hub = search(licences=("mit",), max_parameters=7, search="vit")
    assert hub.queries[0]["filter"] == ["transformers", "safetensors", "license:mit"]
    assert hub.queries[0]["num_parameters"] == ["max:7"]
    assert hub.queries[0]["search"] == ["vit"]


def test_queries_that_cannot_be_meant():
    with pytest.raises(ValueError, match="task is 'dreaming'; it must be one of image-classification"):
        HubQuery(task="dreaming")
    with pytest.raises(ValueError, match="at least 1"):
        HubQuery(task="object-detection", limit=0)


def test_a_hub_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_token")
    with (
        serving(lambda request: request.answer_json({"error": "hf_secret_token is bad"}, 401)) as server,
        pytest.raises(WorkerError, match="cannot be searched") as caught,
    ):
        find_on_hub(HubQuery(task="object-detection"), endpoint=server.url)
    assert "hf_secret_token" not in str(caught.value)


def models_of(*listed):
    def answer(request):
        if request.path.endswith("/models"):
            data = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in listed]
            request.answer_json({"object": "list", "data": data})
        elif request.json["model"] == "broken":
            request.answer_json(error("out of memory"), 500)
        else:
            answer_chat(request, "ok")

    return answer


def test_models_of_an_endpoint_become_workers_with_their_prices():
    listed = ("llama-8b", "gpt-mini", "whisper-1", "tts-1", "text-embedding-3", "gpt-image-1")
    prices = {"gpt-*": Prices(input_per_million=1.0), "*": Prices(per_call=0.5)}

    async def find(**options):
        connection = OpenAIConnection(model="*", base_url=f"{server.url}/v1", key_env=None, stall_s=7)
        return await find_endpoint_models(connection, **options)

    with serving(models_of(*listed)) as server:
        found = asyncio.run(find(prices=prices))
        some = asyncio.run(find(pattern="gpt-*", task_types=["write_text"]))
    by_model = {spec.connection.model: spec for spec in found.workers}
    assert list(by_model) == ["gpt-mini", "llama-8b", "tts-1", "whisper-1"]
    assert by_model["llama-8b"].task_types == LANGUAGE_TASKS
    assert by_model["whisper-1"].task_types == ("transcribe_audio",)
    assert by_model["tts-1"].task_types == ("speak_text",)
    assert by_model["gpt-mini"].connection.prices == prices["gpt-*"]
    assert by_model["llama-8b"].connection.prices == prices["*"]
    assert by_model["llama-8b"].connection.stall_s == 7
    assert [name for name, _ in found.passed_over] == ["gpt-image-1", "text-embedding-3"]
    assert [(spec.connection.model, spec.task_types) for spec in some.workers] == [
        ("gpt-image-1", ("write_text",)),
        ("gpt-mini", ("write_text",)),
    ]


def test_endpoints_that_list_nothing():
    async def find(url):
        await find_endpoint_models(OpenAIConnection(model="*", base_url=url, key_env=None))

    with (
        serving(lambda request: request.answer("[]", content_type="application/json")) as server,
        pytest.raises(WorkerError, match="cannot be read"),
    ):
        asyncio.run(find(server.url))
    with pytest.raises(WorkerError, match="cannot be reached"):
        asyncio.run(find(f"http://127.0.0.1:{unused_port()}"))


def test_a_price_table_is_read_and_its_faults_are_named(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("gpt-*: {input_per_million: 0.5, output_per_million: 2}\n")
    assert read_prices(path) == {"gpt-*": Prices(input_per_million=0.5, output_per_million=2.0)}
    for text, said in (
        ("[1]", "a mapping of model names"),
        ("a: {input: 1}", "a: input: Extra inputs"),
        ("a: {per_call: -1}", "a: per_call:"),
        ("a: [", "not YAML"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"prices\.yaml") as caught:
            read_prices(path)
        assert said in str(caught.value)


def test_healthy_workers_enter_the_catalog_measured_and_the_others_do_not(tmp_path):
    async def whole():
        connection = OpenAIConnection(
            model="*", base_url=f"{server.url}/v1", key_env=None, prices=Prices(input_per_million=10.0, per_call=0.001)
        )
        return await check_found(await find_endpoint_models(connection), base)

    base = Catalog(name="mine", task_types=(TaskType(id="own"),), workers=(WorkerSpec(id="me", task_types=("own",)),))
    with serving(models_of("fine", "broken")) as server:
        checked = asyncio.run(whole())
    assert checked.healthy == ["openai_fine"]
    assert "out of memory" in checked.healths["openai_broken"].detail
    catalog = checked.catalog
    assert (catalog.name, [w.id for w in catalog.workers]) == ("mine", ["me", "openai_fine"])
    assert {t.id for t in catalog.task_types} == {"own", *LANGUAGE_TASKS}
    entered = catalog.worker("openai_fine")
    assert entered.latency == pytest.approx(checked.healths["openai_fine"].latency_s, abs=1e-4)
    assert entered.latency > 0
    assert entered.cost == pytest.approx(600 * 10 / 1e6 + 0.001)
    save_catalog(catalog, tmp_path / "catalog.yaml")
    assert load_catalog(tmp_path / "catalog.yaml") == catalog
    assert set(open_workers(catalog)) == {"openai_fine"}


def test_finding_again_replaces_what_was_found_before():
    spec = WorkerSpec(id="x", task_types=("write_text",), connection=OpenAIConnection(model="m"), latency=1.0)
    first = Found((spec,)).catalog()
    again = Found((spec.model_copy(update={"latency": 2.0}),)).catalog(first)
    assert [worker.latency for worker in again.workers] == [2.0]
    assert again.task_types == (load_bundled_catalog("model_tasks").task_type("write_text"),)
    with pytest.raises(CatalogError, match="unknown task type 'nothing'"):
        Found((spec.model_copy(update={"task_types": ("nothing",)}),)).catalog()
    own = TaskType(id="write_text", description="another")
    with pytest.raises(CatalogError, match="declare the task type 'write_text' differently"):
        Found((spec,), (own,)).catalog(first)


def test_a_simulated_worker_is_not_found_by_chance():
    spec = WorkerSpec(id="x", task_types=("write_text",), connection=SimulatedConnection())
    checked = asyncio.run(check_found(Found((spec,))))
    assert checked.catalog.workers == ()
    assert not checked.healths["x"].ok


def test_tools_of_a_server_become_task_types_with_workers(mcp_url):
    async def whole():
        found = await find_server_tools(McpConnection(url=mcp_url), prefix="my_")
        few = Found(found.workers[:2], found.task_types, found.passed_over)
        return found, await check_found(few)

    found, checked = asyncio.run(whole())
    assert {t.id for t in found.task_types} >= {"my_count_words", "my_shout"}
    assert checked.healthy == ["mcp_my_count_words", "mcp_my_shout"]
    assert [t.id for t in checked.catalog.task_types] == ["my_count_words", "my_shout"]
    worker = checked.catalog.worker("mcp_my_shout")
    assert worker.connection == McpConnection(url=mcp_url, tool="shout")
    assert worker.latency > 0


def test_figures_follow_from_prices_or_from_time():
    from orchestai_jax.workers import Health

    spec = WorkerSpec(id="x", cost=9.0, latency=9.0)
    assert found_module.with_figures(spec, Health(True, "")) == spec
    assert found_module.with_figures(spec, Health(True, "", 0.5)) == spec.model_copy(update={"latency": 0.5})


def test_a_found_model_is_downloaded_checked_and_measured(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import huggingface_hub.constants
    from tiny_models import save_tiny_models

    save_tiny_models(tmp_path, only="classify")
    folder = tmp_path / "classify"
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    (folder / "evil.py").write_text("1/0")
    with serving(Hub([row("tiny/vit", 5)], {"tiny/vit": folder})) as server:
        where = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", where)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        found = find_on_hub(HubQuery(task="image-classification"), endpoint=server.url)
        checked = asyncio.run(check_found(found))
        assert checked.healthy, checked.healths
        [worker] = checked.catalog.workers
        assert worker.latency > 0
        assert worker.cost > 0
        asked = names_of(server.requests)
    assert "model.safetensors" in asked
    assert not {"pytorch_model.bin", "evil.py"} & set(asked), "neither pickles nor code are downloaded"
    # and again, without the Hub
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again = asyncio.run(check_found(Found(checked.catalog.workers)))
    assert again.healthy == ["hf_tiny_vit"]
