"""The benchmark of recordings, in small: what it compares and says, never how fast it is."""

import json

import numpy as np
import pytest

from adapters.simulated.instrument import GOOD_CYCLER
from benchmarks import recordings
from benchmarks.recording_rows import ageing_cell, checkups, recorded
from benchmarks.recordings import exponent, figure, main, same_bits
from orchestrator.features import cycle_capacities


@pytest.fixture(scope="module")
def pool():
    """Two check-ups under each of two protocols, of the simulated cell."""
    return checkups(2)


def test_the_table_says_what_is_wanted_beside_what_is_reached(public_data, tmp_path, monkeypatch, capsys):
    """One command measures everything; nothing it compares differs, and the JSON has every line of the table."""
    monkeypatch.setattr("benchmarks.tables.RESULTS", tmp_path / "results")
    main(
        [
            "--rows",
            "2000",
            "--cells",
            "2",
            "--points",
            "80",
            "--repeats",
            "1",
            "--checkups",
            "2",
            "--folder",
            str(tmp_path),
            "--json",
        ]
    )
    said = capsys.readouterr().out
    figures = {line["what"]: line for line in json.loads(said.splitlines()[-1])["figures"]}
    assert all(what in said for what in figures)
    same = ("simulated rows, every bit back", "a123_gitt, every bit back", "same results as pandas")
    assert {what: figures[what]["met"] for what in same} == dict.fromkeys(same, "yes")
    wanted = {what: line["wanted"] for what, line in figures.items() if line["wanted"]}
    assert {"ingestion, ours / bare": ">= 0.5", "decoding + features": "< 3", "a123_gitt, ours": "<= 8"}.items() <= wanted.items()
    assert (tmp_path / "results" / "recordings.csv").is_file()
    assert not list(tmp_path.glob("recordings-*"))


def test_simulated_rows_are_those_of_the_channel_and_no_cycle_comes_twice(pool):
    """Rows have the simulated cycler's columns and converter steps; the same check-up never gives the same digits again."""
    columns = recorded(5000, 1, pool)
    assert len(columns["voltage_volt"]) >= 5000
    steps = columns["voltage_volt"] / GOOD_CYCLER.voltage_resolution_V
    assert np.allclose(steps, np.round(steps), atol=1e-6)
    assert (np.diff(columns["test_time_second"]) > 0).all()
    cycles = np.split(columns["voltage_volt"], np.flatnonzero(np.diff(columns["cycle_count"])) + 1)
    assert len({cycle.tobytes() for cycle in cycles}) == len(cycles)
    assert same_bits(columns, recorded(5000, 1, pool))
    assert not same_bits(columns, recorded(5000, 2, pool))


def test_a_cell_for_features_fades(pool):
    """The recordings that features are computed from have the rows asked for, and capacities that fall."""
    columns = ageing_cell(3, 100, 60, pool)
    assert {len(column) for column in columns.values()} == {6000}
    found = cycle_capacities(columns["test_time_second"], columns["current_ampere"], columns["cycle_count"])
    assert len(found.cycles) == 100
    assert found.discharge_Ah[-1] < 0.97 * found.discharge_Ah[0]


def test_one_bit_is_a_difference():
    """What comes back is compared by name, type and bits: a signed zero, another type or another name is not the same."""
    columns = {"voltage_volt": np.array([0.0, np.nan])}
    assert same_bits(columns, {"voltage_volt": np.array([0.0, np.nan])})
    assert not same_bits(columns, {"voltage_volt": np.array([-0.0, np.nan])})
    assert not same_bits(columns, {"voltage_volt": np.array([0.0, np.nan], dtype=np.float32)})
    assert not same_bits(columns, {"current_ampere": columns["voltage_volt"]})


def test_figures_have_median_least_and_most():
    """A line gives the spread of its repeats, and says plainly that what is wanted was not reached."""
    line = figure("speed", [3.0, 1.0, 2.0], "s", "< 1", met=False)
    assert (line["median"], line["least"], line["most"], line["met"]) == (2.0, 1.0, 3.0, "NO")


def test_the_exponent_of_growth_has_an_error():
    """Times that follow a power law give its exponent exactly; one size alone gives none."""
    slope, error = exponent([(n, 0.01 * n**1.5) for n in (1, 10, 100)])
    assert slope == pytest.approx(1.5)
    assert error == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(exponent([(1, 0.5), (1, 0.4)])[0])


def test_quick_is_a_choice_of_sizes():
    """`--quick` needs no other option."""
    assert recordings.options(["--quick"]).rows == 500_000
