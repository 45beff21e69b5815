"""A table of materials as numbers: chemical formulas become statistics over their elements.

For each formula, with the atomic fractions w_i of its elements and an elemental property p_i, the descriptors are the
weighted mean, the weighted standard deviation, the smallest and the largest p_i (Ward et al. 2016, "A general-purpose
machine learning framework for predicting properties of inorganic materials"), and the fractions themselves. Many
descriptors say the same thing, so a wide block is reduced to its principal components. The one door to pymatgen.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain import CandidateTable, Fault, SpecError

Matrix = NDArray[np.float64]

PROPERTIES = ("X", "atomic_mass", "row", "group", "atomic_radius", "mendeleev_no", "average_ionic_radius")
STATISTICS = ("mean", "sd", "min", "max")
# A block of descriptors with more columns than this is reduced, to what holds this share of its variance.
WIDE, VARIANCE_KEPT, MOST_COMPONENTS = 12, 0.98, 8


def feature_matrix(table: CandidateTable) -> tuple[Matrix, tuple[str, ...]]:
    """What a surrogate reads of a table: numeric features as they are, formulas as descriptors.

    Args:
        table: its `features` are numbers or chemical formulas.

    Returns:
        A matrix of shape (rows, k) and the k columns' names. Numbers are not scaled. A formula's columns, named
        `<feature>:<descriptor>`, belong together: their relative scale says how much each tells.

    Raises:
        SpecError: for a text that is not a chemical formula, naming the row.
    """
    blocks: list[Matrix] = []
    names: list[str] = []
    for feature in table.features:
        if isinstance(table.rows[0][feature], str):
            block, columns = _formula_block(table, feature)
        else:
            block = np.array([[float(row[feature])] for row in table.rows])  # type: ignore[arg-type]
            columns = (feature,)
        blocks.append(block)
        names += columns
    return np.hstack(blocks), tuple(names)


def composition_descriptors(formula: str) -> dict[str, float]:
    """The descriptors of one formula by name, such as `X_mean` (Pauling electronegativity) or `fraction_Li`.

    Raises:
        SpecError: if the text is not a chemical formula.
    """
    return dict(_descriptors(formula))


def _formula_block(table: CandidateTable, feature: str) -> tuple[Matrix, tuple[str, ...]]:
    described = [_of_row(table, i, feature) for i in range(len(table.rows))]
    columns = sorted(set().union(*described))
    raw = np.array([[row.get(column, 0.0) for column in columns] for row in described])
    varying = np.ptp(raw, axis=0) > 0
    raw, columns = raw[:, varying], [c for c, v in zip(columns, varying, strict=True) if v]
    if not columns:
        return np.zeros((len(described), 1)), (f"{feature}:same",)
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    if len(columns) <= WIDE:
        return standard, tuple(f"{feature}:{c}" for c in columns)
    reduced = principal_components(standard)
    return reduced, tuple(f"{feature}:component{i + 1}" for i in range(reduced.shape[1]))


def _of_row(table: CandidateTable, row: int, feature: str) -> dict[str, float]:
    formula = str(table.rows[row][feature])
    try:
        return composition_descriptors(formula)
    except SpecError:
        problem = f"'{formula}' of row '{table.ids[row]}' is not a chemical formula."
        remedy = f"Write it like 'LiFePO4', or leave {feature} out of the features."
        raise SpecError(Fault(f"rows[{row}].{feature}", problem, remedy)) from None


def principal_components(standard: Matrix) -> Matrix:
    """The scores of the leading components of standardised columns.

    Args:
        standard: shape (n, k), every column with mean 0.

    Returns:
        Shape (n, c): as many components as hold `VARIANCE_KEPT` of the variance, at most `MOST_COMPONENTS`, each scaled to
        the variance that it explains. Signs are fixed, so that every machine gives the same numbers.
    """
    _, singular, directions = np.linalg.svd(standard, full_matrices=False)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    count = min(int(np.searchsorted(share, VARIANCE_KEPT)) + 1, MOST_COMPONENTS, len(singular))
    directions = directions[:count]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return np.asarray(standard @ (directions * np.sign(largest)).T)


@lru_cache(maxsize=100_000)
def _descriptors(formula: str) -> tuple[tuple[str, float], ...]:
    fractions = _fractions(formula)
    weights = np.array(list(fractions.values()))
    found = [(f"fraction_{symbol}", share) for symbol, share in fractions.items()]
    for name in PROPERTIES:
        values = np.array([_property(symbol, name) for symbol in fractions])
        mean = float(weights @ values)
        sd = float(np.sqrt(weights @ (values - mean) ** 2))
        statistics = (mean, sd, float(values.min()), float(values.max()))
        found += [(f"{name}_{statistic}", x) for statistic, x in zip(STATISTICS, statistics, strict=True)]
    return tuple(found)


def _fractions(formula: str) -> dict[str, float]:
    """Atomic fractions by element symbol."""
    from pymatgen.core import Composition, Element

    try:
        composition = Composition(formula.strip()).element_composition
        fractions = {element.symbol: float(share) for element, share in composition.fractional_composition.items()}
    except (ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"'{formula}' is not a chemical formula ({error}).") from None
    if not fractions or not all(Element.is_valid_symbol(symbol) for symbol in fractions):
        raise SpecError(f"'{formula}' is not a chemical formula.")
    return fractions


@lru_cache(maxsize=1000)
def _property(symbol: str, name: str) -> float:
    """An elemental property; 0 where the element has none (the electronegativity of a noble gas)."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(Element(symbol), name, None)
    number = float(found) if found is not None else 0.0
    return number if np.isfinite(number) else 0.0
