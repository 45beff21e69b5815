"""Simulated cyclers with synthetic LFP/graphite cells (PyBaMM). Importing this loads no PyBaMM: workers do, when needed."""

from adapters.simulated.cycler import SimulatedCycler

__all__ = ["SimulatedCycler"]
