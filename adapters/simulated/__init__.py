"""Simulated cyclers with synthetic cells (PyBaMM). Importing this loads no PyBaMM: workers do, when needed."""

from adapters.simulated.cycler import SimulatedCycler

__all__ = ["SimulatedCycler"]
