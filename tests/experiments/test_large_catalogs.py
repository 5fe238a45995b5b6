"""The script on large catalogs: made-up tools, recall, growth, and (slow) the whole of it on few samples."""

import json

import large_catalogs as script
import pytest

from orchestai_jax.data import PlanningSample
from orchestai_jax.workflow import Catalog, TaskType

TYPES = tuple(
    TaskType(id=f"{verb}{noun}", description=f"{verb} some {noun} and give it back")
    for verb in ("get", "send", "track")
    for noun in ("Weather", "Parcel", "PlantGrowth")
)
CATALOG = Catalog(task_types=TYPES)


def test_made_up_tools_are_new_and_of_parts_of_real_ones():
    made = script.recombined(TYPES, 40)
    assert len({t.id for t in (*made, *TYPES)}) == 49
    assert made == script.recombined(TYPES, 40)
    words = {w for t in TYPES for w in t.description.split()}
    assert all(set(t.description.split()) <= words for t in made)
    assert {t.description for t in made} - {t.description for t in TYPES}  # real halves, new wholes


def test_a_smaller_catalog_keeps_what_is_wanted():
    wanted = [PlanningSample("1", "x", ("trackParcel", "trackPlantGrowth"))]
    few = script.catalog_of(CATALOG, 3, wanted)
    assert [t.id for t in few.task_types] == ["trackParcel", "trackPlantGrowth", "getWeather"]
    assert len(script.catalog_of(CATALOG, 20, wanted).task_types) == 20
    assert script.catalog_of(CATALOG, 9, wanted).task_types == TYPES


class ScriptedPlanner:
    """Has one candidate."""

    def task_type_scores(self, text, catalog):
        return {"getWeather": 0.5}


def test_recall_counts_task_types_and_whole_samples():
    samples = [
        PlanningSample("1", "x", ("getWeather",)),
        PlanningSample("2", "y", ("getWeather", "sendParcel", "trackParcel")),
    ]
    got = script.recall(ScriptedPlanner(), samples, CATALOG)
    assert got["recall"] == pytest.approx(2 / 4)
    assert got["all_found"] == 0.5
    assert got["interval"][0] == pytest.approx(1 / 3)
    assert (got["samples"], got["task_types_wanted"]) == (2, 4)


def test_growth_is_the_slope_in_logarithms_over_what_is_narrowed():
    def entry(ms, **more):
        return {"latency_one_core": {"p50_ms": ms}, **more}

    sizes = {"100": entry(50.0), "1000": entry(10.0, recall={}), "100000": entry(100.0, recall={})}
    assert script.growth(sizes) == {"from": 1000, "to": 100_000, "exponent": pytest.approx(0.5)}
    assert script.growth({"100": entry(1.0)}) is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_script_on_few_samples(public_data, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTAI_DATA", str(public_data("sealtools/dev.jsonl").parents[1]))
    got = script.main(["--quick", "--sizes", "100", "300", "--workdir", str(tmp_path)])
    written = json.loads((tmp_path / "large_catalogs.json").read_text())
    assert written["sizes"].keys() == {"100", "300"}
    large = written["sizes"]["300"]
    assert 0.5 < large["recall"]["validation"]["recall"] <= 1
    assert large["latency_one_core"]["cores"] == large["planned_over_whole"]["latency_one_core"]["cores"] == 1
    assert got["growth"]["to"] == 300
