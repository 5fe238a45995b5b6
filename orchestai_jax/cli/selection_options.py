"""Options of serving that `plan` and `lm generate` share: candidates, and the verifier that selects among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import WrongUseError

if TYPE_CHECKING:
    from orchestai_jax.config import InferenceScalingConfig
    from orchestai_jax.optimization import Selection


@dataclasses.dataclass(frozen=True)
class SelectionOptions:
    """How many candidates there are, and when another than the first is taken."""

    candidates: Annotated[
        int | None, typer.Option("--candidates", metavar="N", min=1, help="How many the verifier is shown.")
    ] = None
    path_threshold: Annotated[
        float | None,
        typer.Option(
            "--path-threshold",
            metavar="MARGIN",
            min=0,
            max=1,
            help="How much higher a reward than the first one's must be to be taken in its place.",
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any was."""
        return self != SelectionOptions()

    def over(self, serving: InferenceScalingConfig | None) -> tuple[int, float]:
        """(candidates, threshold): as given, else as the model's run says, else the defaults of such a run."""
        from orchestai_jax.config import InferenceScalingConfig

        serving = serving or InferenceScalingConfig()
        candidates = self.candidates if self.candidates is not None else serving.candidates
        threshold = self.path_threshold if self.path_threshold is not None else serving.path_selection_threshold
        return candidates, threshold


@dataclasses.dataclass(frozen=True)
class VerifierOptions:
    """What makes a text right."""

    verify_pattern: Annotated[
        str | None,
        typer.Option("--verify-pattern", metavar="REGEX", help="Right is what this expression is found in."),
    ] = None
    verify_answer: Annotated[
        str | None, typer.Option("--verify-answer", metavar="TEXT", help="Right is exactly this text.")
    ] = None
    verify_json: Annotated[bool, typer.Option("--verify-json", help="Right is what can be read as JSON.")] = False

    def verifier(self) -> Callable[[str], float] | None:
        """The one that is given; None where there is none. Raises WrongUseError for several, and a bad expression."""
        from orchestai_jax.optimization import answer_verifier, json_verifier, pattern_verifier

        given = [
            f"--{name.replace('_', '-')}"
            for name, value in dataclasses.asdict(self).items()
            if value not in (None, False)
        ]
        if len(given) > 1:
            raise WrongUseError(f"{' and '.join(given)} exclude one another; give one")
        if self.verify_pattern is not None:
            try:
                return pattern_verifier(self.verify_pattern)
            except ValueError as error:
                raise WrongUseError(f"--verify-pattern {error}") from error
        if self.verify_answer is not None:
            return answer_verifier(self.verify_answer)
        return json_verifier() if self.verify_json else None


def told(selection: Selection[Any]) -> str:
    """Why this candidate."""
    reward = f"reward {selection.rewards[selection.index]:.2f}"
    if selection.replaced:
        return f"{reward}, the first one's is lower by {selection.margin:.2f}"
    if selection.margin > 0:
        return f"{reward}; the best one's is higher by {selection.margin:.2f}, which is under the threshold"
    return f"{reward}, none is higher"
