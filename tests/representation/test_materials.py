"""Formulas as numbers, and what is no formula named by its row."""

import numpy as np
import pytest

from orchestrator.domain import CandidateTable
from orchestrator.domain.errors import SpecError
from orchestrator.representation.materials import composition_descriptors, feature_matrix, principal_components

FORMULAS = ["LiFePO4", "LiCoO2", "LiMn2O4", "LiNi0.8Co0.1Mn0.1O2", "Li2MnO3", "LiMnPO4", "NaFePO4", "LiVPO4F"]


def table(formulas, **columns) -> CandidateTable:
    rows = [{"id": f"m{i}", "formula": f, **{n: v[i] for n, v in columns.items()}} for i, f in enumerate(formulas)]
    return CandidateTable(rows, ["formula", *columns])


def test_descriptors_are_weighted_by_atomic_fractions():
    """LiFePO4 by hand: one seventh each of Li, Fe and P, four sevenths of O."""
    described = composition_descriptors("LiFePO4")
    assert described["fraction_O"] == pytest.approx(4 / 7)
    assert described["X_mean"] == pytest.approx((0.98 + 1.83 + 2.19 + 4 * 3.44) / 7)
    assert (described["X_min"], described["X_max"]) == (0.98, 3.44)
    assert described["atomic_mass_max"] == pytest.approx(55.845)


def test_a_formula_is_what_it_says_not_how_it_is_written():
    """Multiples and order of elements change nothing."""
    assert composition_descriptors("LiFePO4") == pytest.approx(composition_descriptors("Fe2Li2P2O8"))


def test_numbers_stay_and_formulas_are_reduced():
    """Numeric columns come through as they are; many descriptors become few components that still tell rows apart."""
    cost = [float(i) for i in range(len(FORMULAS))]
    matrix, names = feature_matrix(table(FORMULAS, cost=cost))
    assert matrix[:, names.index("cost")].tolist() == cost
    components = [n for n in names if n.startswith("formula:")]
    assert 2 <= len(components) <= 8
    assert len(np.unique(matrix[:, : len(components)].round(9), axis=0)) == len(FORMULAS)


def test_components_hold_the_variance_in_order():
    """The first component varies most; together they keep 98 % of what the columns hold, with signs that do not flip."""
    raw = np.random.default_rng(0).standard_normal((40, 3)) @ np.random.default_rng(1).standard_normal((3, 20))
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    scores = principal_components(standard)
    assert scores.shape == (40, 3)
    assert (np.diff(scores.var(axis=0)) <= 1e-12).all()
    assert scores.var(axis=0).sum() == pytest.approx(20, rel=0.02)
    assert scores == pytest.approx(principal_components(standard.copy()))


@pytest.mark.parametrize("text", ["hello", "Xx2", "Li(", "3", "Fe--"])
def test_what_is_no_formula_is_named_by_its_row(text):
    """The fault says which row, what stood there, and what to do."""
    with pytest.raises(SpecError, match=r"rows\[2\]\.formula.*of row 'm2' is not a chemical formula.*LiFePO4"):
        feature_matrix(table(["LiCoO2", "LiFePO4", text]))


def test_one_formula_everywhere_is_one_dull_column():
    """Nothing varies, nothing divides by zero."""
    matrix, _ = feature_matrix(table(["LiCoO2", "LiCoO2"], x=[1.0, 2.0]))
    assert np.isfinite(matrix).all()
