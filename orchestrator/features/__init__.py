"""Recording -> numbers with units; nothing fitted."""

from orchestrator.features.cycles import cycle_summary
from orchestrator.features.discharge_curves import delta_q_features, discharge_curve
from orchestrator.features.metrics import MetricUnavailableError, known_metrics, measure

__all__ = ["MetricUnavailableError", "cycle_summary", "delta_q_features", "discharge_curve", "known_metrics", "measure"]
