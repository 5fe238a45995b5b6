"""The criteria are the sixteen, each is measured by a group, and a criterion passes only as a whole interval."""

import pytest
import success_criteria
import yaml

NAMES = [
    "training_speedup",
    "training_loss_ratio",
    "accuracy_retention",
    "training_memory_reduction",
    "optimizer_state_reduction",
    "compression_ratio",
    "compression_error",
    "monitoring_overhead",
    "optimization_overhead",
    "gate_detection",
    "gate_false_alarms",
    "ttft_improvement",
    "throughput",
    "inference_speedup",
    "kv_cache_reduction",
    "inference_retention",
]


def test_the_file_holds_the_sixteen():
    criteria = yaml.safe_load(success_criteria.CRITERIA.read_text())
    assert set(criteria) == set(NAMES)
    assert len(NAMES) == 16
    for criterion in criteria.values():
        assert criterion["group"] in success_criteria.MEASURES
        assert len({"at_least", "at_most", "below"} & set(criterion)) == 1
    assert (criteria["training_speedup"]["at_least"], criteria["compression_error"]["below"]) == (3.0, 0.05)


@pytest.mark.parametrize(
    "limit, figures, passed",
    [
        ({"at_least": 3.0}, [3.1, 3.2, 3.0, 3.3, 3.1, 3.2, 3.1], True),
        ({"at_least": 3.0}, [3.9, 3.9, 2.0, 2.0, 3.9, 3.9, 2.0], False),  # the median passes, its interval does not
        ({"at_most": 1.02}, [1.0, 1.01, 1.0, 0.99, 1.0, 1.0, 1.01], True),
        ({"below": 0.05}, [0.05], False),
        ({"at_most": 0}, [0, 0, 0], True),
        ({"below": 0.3}, [float("inf"), 0.1, float("inf")], False),
    ],
)
def test_all_of_the_interval_must_pass(limit, figures, passed):
    found = success_criteria.judge({"what": "a figure", **limit}, figures)
    assert found["passed"] is passed
    assert found["interval"][0] <= found["median"] <= found["interval"][1]


def test_training_figures_of_pairs(monkeypatch):
    options = success_criteria.parse(["--pairs", "2", "--updates", "10"])
    plain = {
        "samples_per_s": 8.0, "step_s": [4.0] * 8, "validation_loss": 10.0, "node_f1": 0.5, "step_bytes": 1000,
        "moment_bytes": 800, "float_moment_bytes": 800, "gate_violations": 0, "moment_error": 0.0,
        "vector_error": 0.004,
    }  # fmt: skip
    optimized = {
        **plain, "samples_per_s": 32.0, "step_s": [1.0] * 8, "validation_loss": 10.1, "step_bytes": 500,
        "moment_bytes": 212.5, "moment_error": 0.02, "codec_s": 0.1, "kernel_search_s": 2.0,
    }  # fmt: skip
    asked = []

    def kept(what, options, command=None):
        asked.append(what)
        return optimized if "+" in what else plain

    monkeypatch.setattr(success_criteria, "kept", kept)
    figures, _ = success_criteria.training(options)
    # in turn, one after the other
    assert asked[:4] == [f"training:{f}:{s}" for s in (0, 1) for f in ("plain", "cache+buckets+donation+optimization")]
    assert figures["training_speedup"] == [4.0, 4.0]
    assert figures["training_loss_ratio"] == pytest.approx([1.01, 1.01])
    assert figures["training_memory_reduction"] == [0.5]
    assert figures["compression_ratio"] == [0.265625]
    assert figures["compression_error"] == [0.02, 0.02]
    assert figures["optimization_overhead"] == pytest.approx([3 / 33, 3 / 33])  # 10 · .1 + 2 of 10 · 3 + 3


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no criterion or group speed"):
        success_criteria.main(["--only", "speed"])
