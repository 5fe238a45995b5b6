"""Connections of workers in catalogs, the price table, and catalogs put together."""

import jsonschema
import pytest

from orchestai_jax.workflow import (
    Catalog,
    CatalogError,
    Distribution,
    EntryPointConnection,
    HuggingFaceConnection,
    LanguageModelConnection,
    Link,
    McpConnection,
    OpenAIConnection,
    Prices,
    SimulatedConnection,
    TaskType,
    Usage,
    WebConnection,
    WorkerSpec,
    catalog_json_schema,
    load_catalog,
    merge_catalogs,
    save_catalog,
)

CONNECTIONS = (
    OpenAIConnection(model="m", key_env=None, prices=Prices(input_per_million=0.5, cached_input_per_million=0.1)),
    HuggingFaceConnection(model="google/vit", task="image-classification"),
    LanguageModelConnection(model="runs/lm", stop=("\n\n",), top_k=5),
    McpConnection(command=("python", "server.py"), env=("TOKEN_OF_SERVER",)),
    McpConnection(url="https://example.org/mcp", key_env="MCP_TOKEN", tool="search"),
    WebConnection(allow=("example.org",)),
    SimulatedConnection(seed=3, latency=Distribution(shape="lognormal", mean=0.1, spread=0.5), failure=0.25),
    EntryPointConnection(name="mine"),
)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_saved_catalog_gives_every_connection_back(tmp_path, suffix):
    workers = tuple(
        WorkerSpec(id=f"w{i}", task_types=("t",), connection=connection) for i, connection in enumerate(CONNECTIONS)
    )
    catalog = Catalog(task_types=(TaskType(id="t"),), workers=workers)
    path = tmp_path / f"catalog{suffix}"
    save_catalog(catalog, path)
    assert load_catalog(path) == catalog
    jsonschema.validate(catalog.model_dump(mode="json", exclude_defaults=True), catalog_json_schema())
    wrong = {"name": "x", "workers": [{"id": "w", "connection": {"kind": "openai", "model": 3}}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, catalog_json_schema())


@pytest.mark.parametrize(
    "connection, said",
    [
        ("{kind: openai}", "model: Field required"),
        ("{kind: telegraph}", "telegraph"),
        ("{model: m}", "kind"),
        ("{kind: openai, model: m, key_env: sk-abc123}", "name of an environment variable"),
        ("{kind: openai, model: m, key_env: sk_abc123}", "the key itself stays in it"),
        ("{kind: openai, model: m, api_key: abc}", "api_key"),
        ("{kind: openai, model: m, base_url: 'ftp://x'}", "http or https address"),
        ("{kind: openai, model: m, base_url: 'https://me:pass@x/v1'}", "must not hold a user or password"),
        ("{kind: openai, model: m, prices: {input_per_million: -1}}", "greater than or equal to 0"),
        ("{kind: mcp}", "either a command or a url"),
        ("{kind: mcp, url: 'https://x', command: [a]}", "either a command or a url"),
        ("{kind: mcp, command: [a], key_env: K}", "key_env goes with url"),
        ("{kind: huggingface, model: m, task: dreaming}", "task"),
        ("{kind: language_model, model: m, template: 'no place'}", "must hold {prompt} once"),
        ("{kind: language_model, model: m, stop: ['']}", "stop must not hold an empty text"),
        ("{kind: simulated, failure: 0.7, stall: 0.4}", "together they are more than 1"),
        ("{kind: simulated, latency: {shape: uniform, mean: 1, spread: 2}}", "more than its mean"),
    ],
)
def test_what_is_wrong_with_a_connection_is_named_with_its_line(tmp_path, connection, said):
    path = tmp_path / "catalog.yaml"
    path.write_text(f"task_types: [{{id: t}}]\nworkers:\n  - {{id: w}}\n  - {{id: v, connection: {connection}}}\n")
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    message = str(caught.value)
    assert said in message
    assert "catalog.yaml, line 4" in message
    assert "workers[1].connection" in message
    assert "\n" not in message


def test_every_price_acts_on_the_cost():
    usage = Usage(input_tokens=1_000, cached_tokens=400, output_tokens=50, audio_seconds=90, characters=2_000, calls=3)
    prices = {
        "input_per_million": (2.0, 0.0020),  # the cached tokens too, as they have no price of their own
        "cached_input_per_million": (0.5, 0.0002),
        "output_per_million": (8.0, 0.0004),
        "per_call": (0.01, 0.03),
        "per_audio_minute": (0.006, 0.009),
        "per_million_characters": (15.0, 0.03),
    }
    assert set(prices) == set(Prices.model_fields)
    for name, (price, cost) in prices.items():
        assert Prices(**{name: price}).cost(usage) == pytest.approx(cost), name
    together = Prices(**{name: price for name, (price, _) in prices.items()})
    assert together.cost(usage) == pytest.approx(0.6e-3 * 2 + 0.0002 + 0.0004 + 0.03 + 0.009 + 0.03)
    assert usage.tokens == 1_050


def test_usages_add_up():
    one = Usage(input_tokens=1, cached_tokens=1, output_tokens=2, audio_seconds=0.5, characters=3, calls=1)
    assert one + one == Usage(2, 2, 4, 1.0, 6, 2)
    assert (one + Usage(estimated=True)).estimated


def test_catalogs_become_one():
    a, b = TaskType(id="a"), TaskType(id="b")
    v, w = WorkerSpec(id="v", task_types=("a",)), WorkerSpec(id="w", task_types=("b",))
    first = Catalog(name="first", task_types=(a,), workers=(v,))
    second = Catalog(name="second", task_types=(b, a), workers=(w, v), links=(Link(source="a", target="b"),))
    both = merge_catalogs(first, second)
    assert both == Catalog(name="first", task_types=(a, b), workers=(v, w), links=second.links)
    assert merge_catalogs(both, second) == both

    faster = Catalog(name="third", task_types=(a,), workers=(v.model_copy(update={"latency": 2.0}),))
    with pytest.raises(CatalogError, match="'first' and 'third' declare the worker 'v' differently"):
        merge_catalogs(first, faster)
    assert merge_catalogs(first, faster, replace_workers=True).worker("v").latency == 2.0
    other = Catalog(name="fourth", task_types=(TaskType(id="a", description="another"),))
    with pytest.raises(CatalogError, match="declare the task type 'a' differently"):
        merge_catalogs(first, other, replace_workers=True)
