import pytest

from orchestai_jax.quantization import BITNET_RULES, QuantizationRule, resolve_rules

NAMES = ["layers.attention.qkv.weight", "layers.attention.sub_norm.weight", "layers.feed_forward.down.weight"]


def test_the_first_rule_that_matches_counts():
    first = QuantizationRule(pattern=r"layers\.attention\.qkv\.weight", weights="int8")
    resolved = resolve_rules([first, *BITNET_RULES], NAMES)
    assert resolved == {NAMES[0]: first, NAMES[2]: BITNET_RULES[0]}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["layers"], r"rule 0 \('layers'\) matches no parameter; there are: layers.attention.qkv.weight"),
        ([r".*\.weight", r".*down.*"], r"rule 1 .* is unused: earlier rules took layers.feed_forward.down.weight"),
    ],
)
def test_unused_rules_are_errors(patterns, message):
    with pytest.raises(ValueError, match=message):
        resolve_rules([QuantizationRule(pattern=pattern) for pattern in patterns], NAMES)


def test_a_pattern_must_be_an_expression():
    with pytest.raises(ValueError, match="not a regular expression"):
        QuantizationRule(pattern="layers.(")
