"""Early data -> the outcome nobody can wait for, with the error of saying so. Modules are loaded when a name is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    **dict.fromkeys(("MSPE", "LinearCycleLifeRegressor", "expected_mspe"), "cycle_life"),
    **dict.fromkeys(("AutoCycleLifeRegressor", "auto_cycle_life"), "selection"),
    **dict.fromkeys(("Comparison", "ComparisonTable", "compare_with_baseline"), "gate"),
    **dict.fromkeys(("LifeFeatures", "early_life_features"), "early_curves"),
    "BlockGaussianProcess": "block_kernel",
    "CapacityTrajectoryForecaster": "trajectory",
    "Forecast": "trajectory",
    "MonotoneDecayPenalty": "monotone",
    "MultiTaskRegressor": "multi_task",
    "TransferRegressor": "transfer",
    "centered_kernel_alignment": "alignment",
    "MultipleKernelRidge": "kernel_fusion",
    "NetworkRegressor": "network_regressor",
}
__all__ = list(_WHERE)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"orchestrator.prognostics.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'orchestrator.prognostics' has no attribute '{name}'")
