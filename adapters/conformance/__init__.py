"""The conformance kit: what every driver of a cycler must keep, and a check that finds the first rule broken."""

from adapters.conformance.bench import short_request
from adapters.conformance.check import RULES, ConformanceError, ConformanceReport, check_cycler

__all__ = ["RULES", "ConformanceError", "ConformanceReport", "check_cycler", "short_request"]
