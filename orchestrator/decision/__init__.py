"""Outcomes, and the choice a person can defend: the front, preferences, the report."""

from orchestrator.decision.limit_calibration import LimitCalibration, limit_calibration
from orchestrator.decision.pareto import (
    ParetoFront,
    hypervolume,
    hypervolume_trace,
    infer_reference_point,
    non_dominated_mask,
    pareto_front,
)
from orchestrator.decision.preference import EpsilonConstraint, Preference, WeightedSum, parse_epsilon, parse_weights
from orchestrator.decision.recommendation import NoFeasibleChoiceError, Recommendation, Tested, recommend
from orchestrator.decision.report import ReportData, front_svg, hypervolume_svg, render_report

__all__ = [
    "EpsilonConstraint", "LimitCalibration", "NoFeasibleChoiceError", "ParetoFront", "Preference", "Recommendation",
    "ReportData", "Tested", "WeightedSum", "front_svg", "hypervolume", "hypervolume_svg", "hypervolume_trace",
    "infer_reference_point", "limit_calibration", "non_dominated_mask", "pareto_front", "parse_epsilon",
    "parse_weights", "recommend", "render_report",
]  # fmt: skip
