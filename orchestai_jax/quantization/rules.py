"""Which parameter is quantised how: rules matched with dotted names, none of them unused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from orchestai_jax.config import QuantizationRule


def resolve_rules(rules: Sequence[QuantizationRule], names: Iterable[str]) -> dict[str, QuantizationRule]:
    """The first rule that matches each of the names; names that no rule matches are left out.

    Raises ValueError, naming the rule, for one that matches no name, or only names that earlier rules took.
    """
    names = list(names)
    resolved: dict[str, QuantizationRule] = {}
    for index, rule in enumerate(rules):
        matched = [name for name in names if re.fullmatch(rule.pattern, name)]
        taken = [name for name in matched if name in resolved]
        if not matched:
            raise ValueError(
                f"quantization rule {index} ({rule.pattern!r}) matches no parameter; there are: {', '.join(names)}"
            )
        if len(taken) == len(matched):
            raise ValueError(
                f"quantization rule {index} ({rule.pattern!r}) is unused: earlier rules took {', '.join(taken)}"
            )
        resolved |= {name: rule for name in matched if name not in resolved}
    return resolved


def check_parts(parts: Mapping[str, Sequence[int]], names: Iterable[str]) -> None:
    """Raise ValueError where `parts` names a parameter that there is not."""
    unknown = sorted(set(parts) - set(names))
    if unknown:
        raise ValueError(f"parts names {', '.join(unknown)}, which is no parameter; there are: {', '.join(names)}")
