"""Hybrid planning on the command line: `--llm`, its model, key and prices, `--hybrid-threshold`."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestai_jax.cli.errors import WrongUseError

if TYPE_CHECKING:
    from orchestai_jax.config import Preference
    from orchestai_jax.execution import HybridPlan, HybridPolicy
    from orchestai_jax.planner import Planner
    from orchestai_jax.workflow import Catalog, Prices


@dataclasses.dataclass(frozen=True)
class HybridOptions:
    """What was given of the options; nothing of it is used before something is planned."""

    llm: Annotated[
        str | None,
        typer.Option(
            "--llm",
            metavar="URL",
            help="OpenAI-compatible endpoint (http://127.0.0.1:8080/v1, …) that plans where the planner is unsure.",
        ),
    ] = None
    llm_model: Annotated[
        str | None, typer.Option("--llm-model", metavar="NAME", help="The endpoint's model that plans.")
    ] = None
    llm_key_env: Annotated[
        str | None,
        typer.Option(
            "--llm-key-env", metavar="NAME", help="Environment variable with the endpoint's key; default: none."
        ),
    ] = None
    llm_prices: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--llm-prices",
            metavar="FILE",
            help="YAML of model name (or pattern) to prices (`gpt-*: {input_per_million: 2}`); default: no cost.",
        ),
    ] = None
    hybrid_threshold: Annotated[
        float | None,
        typer.Option(
            "--hybrid-threshold",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Least confidence of a plan that is not planned again; without --llm it is only said.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.llm is None and any(given is not None for given in (self.llm_model, self.llm_key_env, self.llm_prices)):
            raise WrongUseError(
                "--llm-model, --llm-key-env and --llm-prices go with --llm URL, the endpoint that plans"
            )
        if self.llm is not None and self.llm_model is None:
            raise WrongUseError("--llm needs --llm-model NAME, the model that plans")

    @property
    def wanted(self) -> bool:
        """Whether hybrid planning is asked for."""
        return self.llm is not None or self.hybrid_threshold is not None

    def policy(self) -> HybridPolicy:
        """When the model is asked."""
        from orchestai_jax.execution import HybridPolicy

        return HybridPolicy() if self.hybrid_threshold is None else HybridPolicy(threshold=self.hybrid_threshold)

    def open_model(self) -> Any:
        """The model as a worker; None where there is no endpoint. Raises WrongUseError for what is no endpoint."""
        if self.llm is None:
            return None
        import pydantic

        from orchestai_jax.workers.openai_compatible import OpenAIWorker
        from orchestai_jax.workflow import OpenAIConnection, WorkerSpec

        try:
            connection = OpenAIConnection(
                model=self.llm_model or "", base_url=self.llm, key_env=self.llm_key_env, prices=self._prices()
            )
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            raise WrongUseError(f"--llm: {first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error
        return OpenAIWorker(WorkerSpec(id="planning-model", model_type="llm", connection=connection))

    def _prices(self) -> Prices:
        from orchestai_jax.workers.discovery.endpoint_models import price_of, read_prices
        from orchestai_jax.workflow import Prices

        if self.llm_prices is None:
            return Prices()
        try:
            row = price_of(self.llm_model or "", read_prices(self.llm_prices))
        except (ValueError, OSError) as error:
            raise WrongUseError(f"--llm-prices: {error}") from error
        if row is None:
            raise WrongUseError(f"--llm-prices: {self.llm_prices} has no row for the model {self.llm_model}")
        return row

    def plan(
        self, planner: Planner, instruction: str, catalog: Catalog | None, preference: Preference | None
    ) -> HybridPlan:
        """Plan an instruction, asking the model where it is needed."""
        import asyncio

        from orchestai_jax.execution import plan_hybrid

        async def planned() -> HybridPlan:
            model = self.open_model()
            try:
                return await plan_hybrid(
                    instruction,
                    planner,
                    catalog if catalog is not None else planner.catalog,
                    model=model,
                    policy=self.policy(),
                    preference=preference or planner.preference,
                )
            finally:
                if model is not None:
                    await model.close()

        return asyncio.run(planned())
