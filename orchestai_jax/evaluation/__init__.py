"""How good plans are: scores against gold plans, intervals, latency, and the baselines that they are compared with."""

from orchestai_jax.evaluation.bootstrap import bootstrap_interval
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
    "EdgeReport",
    "EdgeScores",
    "GraphPlanner",
    "PlanningReport",
    "PlanningScores",
    "PlansInstructions",
    "PredictedPlan",
    "abstention_curve",
    "bootstrap_interval",
    "calibration_error",
    "chain_links",
    "evaluate_edges",
    "evaluate_planner",
    "pooled_f1",
    "predicted_plan",
    "reference_counts",
    "reference_f1",
    "report_edges",
    "score_edges",
    "score_plans",
]
