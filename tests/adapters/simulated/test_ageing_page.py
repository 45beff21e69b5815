"""The page that documents the simulated cell, beside the law that it documents."""

import re
from dataclasses import asdict
from pathlib import Path

from adapters.simulated.ageing import LAW

PAGE = Path(__file__).resolve().parents[3] / "docs" / "simulated_cell.md"


def test_the_page_shows_every_coefficient_as_it_is():
    """One table of all coefficients, none missing, none left over, each with its value and a source."""
    rows = re.findall(r"(?m)^\| `(\w+)` \|[^|]*\| ([^|]+) \|[^|]*\| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"))
    assert {name: value for name, value, _ in rows} == {name: f"{value:.6g}" for name, value in asdict(LAW).items()}
    assert all(source.strip() for *_, source in rows)
