"""How good plans are, against gold plans and baselines; and streaming metrics of classification and language."""

from orchestai_jax.evaluation.arguments import (
    ArgumentScores,
    FillsGivenTasks,
    evaluate_arguments,
    score_arguments,
    value_counts,
)
from orchestai_jax.evaluation.bootstrap import bootstrap_interval
from orchestai_jax.evaluation.classification import ConfusionMatrix, Perplexity, TopK
from orchestai_jax.evaluation.confidence import abstention_curve, calibration_error
from orchestai_jax.evaluation.edges import (
    EdgeReport,
    EdgeScores,
    GraphPlanner,
    evaluate_edges,
    report_edges,
    score_edges,
)
from orchestai_jax.evaluation.planning import (
    PlanningScores,
    PredictedPlan,
    chain_links,
    pooled_f1,
    predicted_plan,
    reference_counts,
    reference_f1,
    score_plans,
)
from orchestai_jax.evaluation.report import PlanningReport, PlansInstructions, evaluate_planner

__all__ = [
    "ArgumentScores",
    "ConfusionMatrix",
    "EdgeReport",
    "EdgeScores",
    "FillsGivenTasks",
    "GraphPlanner",
    "Perplexity",
    "PlanningReport",
    "PlanningScores",
    "PlansInstructions",
    "PredictedPlan",
    "TopK",
    "abstention_curve",
    "bootstrap_interval",
    "calibration_error",
    "chain_links",
    "evaluate_arguments",
    "evaluate_edges",
    "evaluate_planner",
    "pooled_f1",
    "predicted_plan",
    "reference_counts",
    "reference_f1",
    "report_edges",
    "score_arguments",
    "score_edges",
    "score_plans",
    "value_counts",
]
