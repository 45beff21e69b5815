"""Recording -> numbers with units. What needs scipy is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from orchestrator.features.capacities import CycleCapacities, cycle_capacities
from orchestrator.features.cycles import CycleSummaries, cycle_summary
from orchestrator.features.delta_q import delta_q_features, delta_q_statistics
from orchestrator.features.discharge_curves import delta_q_of, discharge_curve, discharge_curves
from orchestrator.features.early_life import early_life_features, fade_line
from orchestrator.features.metrics import MetricUnavailableError, known_metrics, measure
from orchestrator.features.spectrum_shape import arc_tops, characteristic_points

_LATER = {
    **dict.fromkeys(("checkup_capacity_Ah", "impedance_spectra", "pulse_resistance_ohm"), "checkups"),
    **dict.fromkeys(("differential_voltage", "incremental_capacity", "curve_peaks"), "differential"),
    "fit_randles": "impedance",
    "number_cycles": "cycle_numbers",
    "kramers_kronig": "spectrum_validity",
    **dict.fromkeys(("QualityCheck", "QualityReport", "check_batches", "check_columns"), "quality"),
}
__all__ = [
    "CycleCapacities",
    "CycleSummaries",
    "MetricUnavailableError",
    "QualityCheck",
    "QualityReport",
    "arc_tops",
    "characteristic_points",
    "check_batches",
    "check_columns",
    "checkup_capacity_Ah",
    "curve_peaks",
    "cycle_capacities",
    "cycle_summary",
    "delta_q_features",
    "delta_q_of",
    "delta_q_statistics",
    "differential_voltage",
    "discharge_curve",
    "discharge_curves",
    "early_life_features",
    "fade_line",
    "fit_randles",
    "impedance_spectra",
    "incremental_capacity",
    "known_metrics",
    "kramers_kronig",
    "measure",
    "number_cycles",
    "pulse_resistance_ohm",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"orchestrator.features.{_LATER[name]}"), name)
    raise AttributeError(f"module 'orchestrator.features' has no attribute '{name}'")
