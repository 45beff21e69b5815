"""Early data -> the outcome nobody can wait for, with the error of saying so."""

from orchestrator.prognostics.cycle_life import MSPE, LinearCycleLifeRegressor, expected_mspe

__all__ = ["MSPE", "LinearCycleLifeRegressor", "expected_mspe"]
