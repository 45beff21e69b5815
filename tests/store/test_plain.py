"""What the store hands out, and what it can keep as JSON."""

from datetime import UTC, datetime

import numpy as np
import pytest

from orchestrator.store.plain import json_ready


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (float("inf"), None),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        ((1, "a", None), [1, "a", None]),
        ({3: {"x": float("nan")}}, {"3": {"x": None}}),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
    ],
)
def test_what_a_dossier_holds_can_be_stored(given: object, stored: object) -> None:
    """Numpy values, NaN, tuples and times become what JSON and both databases can hold."""
    assert json_ready(given) == stored
    assert type(json_ready(given)) is type(stored)


def test_what_cannot_be_stored_says_so() -> None:
    """Anything else is refused with its type."""
    with pytest.raises(TypeError, match="object cannot be stored as JSON"):
        json_ready({"a": object()})
