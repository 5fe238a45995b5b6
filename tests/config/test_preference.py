import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestai_jax.config import ConfigError, Preference


def test_presets():
    weights = {name: preference.weights for name, preference in Preference.PRESETS.items()}
    assert weights == {
        "balanced": (1.0, 0.25, 0.25),
        "quality": (1.0, 0.0, 0.02),
        "fast": (0.3, 0.1, 1.0),
        "cheap": (0.3, 1.0, 0.1),
    }
    assert Preference.PRESETS["balanced"] == Preference()
    for name, preference in Preference.PRESETS.items():
        assert Preference.parse(name) == preference


def test_weights_in_text_and_those_left_out():
    assert Preference.parse("success=1,cost=0.2,latency=0").weights == (1.0, 0.2, 0.0)
    assert Preference.parse(" cost = 2 ").weights == (1.0, 2.0, 0.25)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fst", ["'fst'", "did you mean fast?", "balanced, quality, fast, cheap"]),
        ("", ["unknown", "balanced"]),
        ("price=1", ["'price'", "success, cost, latency"]),
        ("cost=a", ["cost is 'a'", "not a number"]),
        ("cost=-1", ["cost", "greater than or equal to 0"]),
        ("cost=nan", ["cost", "finite"]),
        ("cost=1,cost=2", ["cost is given twice"]),
        ("success=0,cost=0,latency=0", ["all 0"]),
    ],
)
def test_wrong_text(text, words):
    with pytest.raises(ConfigError) as caught:
        Preference.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_each_weight_changes_the_choice():
    good, cheap, quick = (0.9, 1.0, 1.0), (0.5, 0.1, 0.9), (0.5, 0.9, 0.1)

    def chosen(preference):
        return max((good, cheap, quick), key=lambda worker: preference.utility(*worker))

    assert chosen(Preference.PRESETS["quality"]) == good
    assert chosen(Preference.PRESETS["cheap"]) == cheap
    assert chosen(Preference.PRESETS["fast"]) == quick


@settings(max_examples=50, deadline=None)
@given(*(st.floats(0, 1) for _ in range(3)), st.floats(0.1, 5), st.floats(0, 5), st.floats(0, 5))
def test_utility(quality, cost, latency, a, b, c):
    preference = Preference(success=a, cost=b, latency=c)
    assert math.isclose(
        preference.utility(quality, cost, latency), a * quality - b * cost - c * latency, rel_tol=1e-12, abs_tol=1e-12
    )
    assert preference.utility(quality, cost, latency) >= preference.utility(quality, cost, 1.0)
