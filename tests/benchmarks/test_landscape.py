from pathlib import Path

import numpy as np
import pytest

from benchmarks.landscape import Landscape, read_landscape


@pytest.fixture
def protocols(tmp_path: Path) -> Path:
    path = tmp_path / "protocols.csv"
    path.write_text("id,C1,C2,C3,C4,minutes,life\np1,4,5,5,4.4,10,900\np2,6,5,4,3.9,10,1100\np3,8,4,4,3.6,10,700\n")
    return path


def test_protocols_are_searched_by_their_three_free_currents(protocols: Path) -> None:
    """Of a table of protocols the currents are features, the first three the axes; other columns and the target are neither."""
    landscape = read_landscape(protocols, "life")
    assert landscape.features == ("C1", "C2", "C3", "C4")
    assert landscape.axes == ("C1", "C2", "C3")
    assert landscape.life.tolist() == [900.0, 1100.0, 700.0]


def test_any_other_table_is_searched_by_all_its_numbers(tmp_path: Path) -> None:
    """A table without currents has every numeric column but the target as a feature and an axis."""
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,3\n2,2,4\n")
    assert read_landscape(tmp_path / "t.csv", "y").axes == ("a", "b")
    with pytest.raises(KeyError, match="no column 'z'; it has a, b, y"):
        read_landscape(tmp_path / "t.csv", "z")


def test_a_point_of_the_box_is_tested_at_the_row_beside_it(protocols: Path) -> None:
    """Distances count the axes alike, whatever their ranges; a row is nearest to itself."""
    landscape: Landscape = read_landscape(protocols, "life")
    assert landscape.nearest(landscape.raw) == [0, 1, 2]
    assert landscape.nearest(np.array([[5.8, 4.9, 4.2]])) == [1]
