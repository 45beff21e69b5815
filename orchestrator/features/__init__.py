"""Recording -> numbers with units; nothing fitted."""

from orchestrator.features.cycles import cycle_summary
from orchestrator.features.metrics import MetricUnavailableError, known_metrics, measure

__all__ = ["MetricUnavailableError", "cycle_summary", "known_metrics", "measure"]
