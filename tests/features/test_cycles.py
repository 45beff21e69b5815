"""Rows -> one summary a cycle: however the rows are split, and whatever is wrong with them."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import Recording, SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.domain.recording import CHECKUP_STEP_ID
from orchestrator.features import CycleSummaries, cycle_capacities, cycle_summary

NOMINAL_AH = 1.1


def cycling(numbers, seed=0, capacity_Ah=NOMINAL_AH, fade=0.01, points=40):
    """Noisy cycles: rest, a 10 s pulse, rest, a charge, a discharge to 2 V, rest; unequal sampling, a thermocouple."""
    rng, parts, start_s = np.random.default_rng(seed), [], 0.0
    for place, number in enumerate(numbers):
        Ah = capacity_Ah * (1 - fade * place)
        steps = [
            (0.0, 60.0, 3),
            (1.0, 10.0, 4),
            (0.0, 60.0, 4),
            (2.0, 1800 * Ah, points),
            (-2.0, 1800 * Ah, points),
            (0.0, 90.0, 3),
        ]
        for amps, seconds, rows in steps:
            time_s = start_s + seconds * np.sort(rng.uniform(0, 1, rows))
            noisy_A = amps + 1e-4 * rng.normal(size=rows)
            share = (time_s - start_s) / seconds
            volts = np.where(amps < -1, 3.5 - 1.5 * share, 3.3 + 0.1 * np.sign(amps)) + 0.02 * noisy_A
            parts.append(np.stack([time_s, volts, noisy_A, np.full(rows, number), 25 + 5 * share + rng.normal(size=rows)]))
            start_s += seconds
    time_s, volts, amps, cycle, degC = np.concatenate(parts, axis=1)
    return {
        "test_time_second": time_s,
        "voltage_volt": volts,
        "current_ampere": amps,
        "cycle_count": cycle.astype(np.int64),
        "surface_temperature_celsius": degC,
    }


def pieces(columns, cuts):
    edges = [0, *sorted(cuts), len(columns["cycle_count"])]
    return [{n: v[a:b] for n, v in columns.items()} for a, b in pairwise(edges)]


def summed(columns, **details):
    return cycle_summary(Recording(columns, nominal_capacity_Ah=NOMINAL_AH, **details))


cycle_lists = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@settings(max_examples=60)
@given(cycle_lists, st.integers(0, 99), st.lists(st.integers(0, 500), max_size=8), st.booleans())
def test_a_running_test_has_the_table_of_all_its_rows(numbers, seed, cuts, flagged):
    """Bit for bit, however rows are split, with cycles that come back, rows that are flagged and rows that are no numbers."""
    columns = cycling(numbers, seed)
    rng, rows = np.random.default_rng(seed), len(columns["cycle_count"])
    if flagged:
        columns["quality_flags"] = np.where(rng.random(rows) < 0.1, int(QualityFlag.TIME_BACKWARDS), 0)
        columns["voltage_volt"] = np.where(rng.random(rows) < 0.05, np.nan, columns["voltage_volt"])
        columns["step_id"] = np.where(rng.random(rows) < 0.1, CHECKUP_STEP_ID + 1, 1)
    running = CycleSummaries(NOMINAL_AH)
    for piece in pieces(columns, [min(cut, rows) for cut in cuts]):
        running.add(piece)
        running.table()
    assert running.table(complete=True).equals(summed(columns))
    assert running.table().equals(summed(columns, complete=False))


def test_columns_are_those_named():
    """Names and types of the table, also when there is no cycle in it."""
    table = summed(cycling([1, 2]))
    assert table.schema == CycleSummaries().table().schema
    assert table.columns[:2] == ["cycle_count", "test_time_h"]
    assert {"temperature_min_degC", "pulse_resistance_ohm", "end_reason", "rows_left_out"} <= set(table.columns)


@settings(max_examples=30)
@given(st.integers(0, 99), st.sampled_from([0.5, 2.0, 1024.0]))
def test_twice_the_current_is_twice_the_capacity(seed, factor):
    """Exactly, for factors that are powers of two; reversed current swaps charge and discharge."""
    columns = cycling([1, 2, 3], seed)
    once = summed(columns)
    scaled = summed({**columns, "current_ampere": factor * columns["current_ampere"]})
    turned = summed({**columns, "current_ampere": -columns["current_ampere"]})
    for name in ("charge_capacity_Ah", "discharge_capacity_Ah", "charge_energy_Wh", "discharge_energy_Wh"):
        assert (scaled[name] == factor * once[name]).all()
    assert turned["discharge_capacity_Ah"].equals(once["charge_capacity_Ah"])
    assert turned["charge_energy_Wh"].equals(once["discharge_energy_Wh"])


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 92))
def test_the_two_parts_of_a_cycle_add_up(seed, cut):
    """Cut at a row that both parts have, capacities, energies and durations add."""
    columns = cycling([1], seed)
    parts = [{n: v[: cut + 1] for n, v in columns.items()}, {n: v[cut:] for n, v in columns.items()}]
    whole, halves = summed(columns), pl.concat([summed(part) for part in parts])
    for name in ("charge_capacity_Ah", "discharge_capacity_Ah", "charge_energy_Wh", "duration_h", "temperature_integral_degC_h"):
        assert halves[name].sum() == pytest.approx(whole[name][0], rel=1e-12)


@pytest.mark.parametrize("kinds", [np.float32, np.float64, np.int64, np.int32, np.uint16])
def test_columns_of_any_number_type_are_taken(kinds):
    """Whole amperes, seconds and volts as integers or single precision give the same capacities."""
    columns = {
        "test_time_second": np.array([0, 3600, 7200, 7201, 10801], dtype=kinds),
        "voltage_volt": np.array([3, 3, 3, 3, 3], dtype=kinds),
        "current_ampere": np.array([2, 2, 2, 1, 1], dtype=kinds),
        "cycle_count": np.array([1, 1, 1, 2, 2], dtype=kinds),
    }
    assert summed(columns)["charge_capacity_Ah"].to_list() == pytest.approx([4.0, 1.0])
    numbers, charge_Ah, _ = cycle_capacities(*(columns[n] for n in ("test_time_second", "current_ampere", "cycle_count")))
    assert numbers.tolist() == [1, 2]
    assert charge_Ah == pytest.approx([4.0, 1.0])


def test_cycles_keep_their_numbers():
    """Numbers that begin late, jump, or come back: one row each, in the order of the test; pieces are added."""
    table = summed(cycling([7, 9, 3, 9]))
    assert table["cycle_count"].to_list() == [7, 9, 3]
    apart = summed(cycling([7, 9, 3, 4]))
    assert table["discharge_capacity_Ah"][1] == pytest.approx(
        apart["discharge_capacity_Ah"][1] + apart["discharge_capacity_Ah"][3]
    )
    assert table["duration_h"][1] == pytest.approx(apart["duration_h"][1] + apart["duration_h"][3])
    assert table["test_time_h"][1] == apart["test_time_h"][3]
    assert table["charge_time_to_80_soc_min"][1] == apart["charge_time_to_80_soc_min"][1]


def test_a_row_alone_is_no_cycle():
    """It has no duration; a recording of such rows has an empty table."""
    columns = cycling([1, 2])
    columns["cycle_count"][-1] = 3
    assert summed(columns)["cycle_count"].to_list() == [1, 2]
    alone = {n: v[:1] for n, v in columns.items()}
    assert summed(alone).is_empty()
    assert cycle_capacities(alone["test_time_second"], alone["current_ampere"], alone["cycle_count"]).cycles.tolist() == []


@pytest.mark.parametrize(("sign", "lacking"), [(1.0, "mean_discharge_voltage_V"), (-1.0, "mean_charge_voltage_V")])
def test_what_a_cycle_does_not_have_is_null(sign, lacking):
    """A cycle that only charges or only discharges: its other capacity is exactly 0, efficiency and mean voltage are null."""
    columns = {n: v[:30] for n, v in cycling([1]).items()}
    columns["current_ampere"] = np.full(30, sign)
    row = summed(columns).row(0, named=True)
    assert (row["discharge_capacity_Ah"] == 0) == (sign > 0)
    assert row[lacking] is None
    assert row["coulombic_efficiency"] is None or row["coulombic_efficiency"] == 0


def test_rest_at_constant_voltage_and_huge_currents():
    """Neither divides by nothing nor overflows."""
    columns = cycling([1])
    rest = summed({**columns, "current_ampere": np.zeros(94), "voltage_volt": np.full(94, 3.3)}).row(0, named=True)
    assert rest["charge_capacity_Ah"] == 0
    assert rest["resistance_ohm"] is rest["end_reason"] is rest["pulse_resistance_ohm"] is None
    huge = summed({**columns, "current_ampere": 1e30 * columns["current_ampere"]})
    assert np.isfinite(huge["discharge_energy_Wh"][0])


def test_duplicated_times_and_gaps_are_integrated_as_they_stand():
    """A row twice adds nothing; across a gap within a cycle the trapezoid holds."""
    columns = cycling([1])
    twice = {n: np.repeat(v, 2) for n, v in columns.items()}
    assert summed(twice)["charge_capacity_Ah"][0] == pytest.approx(summed(columns)["charge_capacity_Ah"][0], rel=1e-12)
    gap = {"test_time_second": np.array([0.0, 7200.0]), "voltage_volt": np.full(2, 3.0), "current_ampere": np.ones(2)}
    assert summed(gap)["charge_capacity_Ah"].to_list() == pytest.approx([2.0])


def test_rows_that_say_nothing_are_left_out_and_counted():
    """No numbers, or flagged: the summary is that of the other rows, and says how many there were of these, by cycle."""
    columns, bad = cycling([1, 2]), [5, 30, 31, 100]
    flags = np.zeros(188, dtype=np.int64)
    flags[bad[:2]] = QualityFlag.TIME_BACKWARDS | QualityFlag.AFTER_GAP
    broken = {**columns, "quality_flags": flags, "current_ampere": columns["current_ampere"].copy()}
    broken["test_time_second"] = np.where(flags > 0, -1.0, columns["test_time_second"])
    broken["current_ampere"][bad[2:]] = np.nan
    left = {n: np.delete(v, bad) for n, v in columns.items()}
    table = summed(broken)
    assert table["rows_left_out"].to_list() == [3, 1]
    assert table.drop("rows_left_out").equals(summed(left).drop("rows_left_out"))
    flags[bad[0]] = QualityFlag.AFTER_GAP
    with pytest.raises(SpecError, match="time runs backwards within cycle 1"):
        summed({**broken, "quality_flags": flags})


def test_nothing_is_taken_from_rows_that_are_refused():
    """After an error the running summary is what it was, and goes on; time may not run back from piece to piece either."""
    columns, running = cycling([1, 1]), CycleSummaries(NOMINAL_AH)
    first, second = pieces(columns, [94])
    running.add(first)
    before = running.table()
    with pytest.raises(SpecError, match="within cycle 1"):
        running.add(first)
    with pytest.raises(SpecError, match="current_ampere: is missing"):
        running.add({n: v for n, v in second.items() if n != "current_ampere"})
    with pytest.raises(SpecError, match="cycle_count: is no number in row 0"):
        running.add({**second, "cycle_count": np.full(94, np.nan)})
    with pytest.raises(SpecError, match=r"voltage_volt: must be a vector of 94 \(got shape \(\)\)"):
        running.add({**second, "voltage_volt": np.array(3.3)})
    assert running.table().equals(before)
    running.add(second)
    assert running.table(complete=True).equals(summed(columns))


def test_kept_rows_are_copies():
    """A recorder may use its arrays again."""
    columns, running = cycling([1]), CycleSummaries(NOMINAL_AH)
    reused = {n: v.copy() for n, v in columns.items()}
    running.add(reused)
    for values in reused.values():
        values[:] = 0
    assert running.table(complete=True).equals(summed(columns))


def test_a_pulse_between_rests_is_a_resistance():
    """20 mohm by pulse; a charge that is no pulse gives none."""
    assert summed(cycling([1, 2]))["pulse_resistance_ohm"].to_list() == pytest.approx([0.12, 0.12], rel=0.01)
    columns = cycling([1])
    long = {**columns, "test_time_second": 100 * columns["test_time_second"]}
    assert summed(long)["pulse_resistance_ohm"].to_list() == [None]


def test_a_charge_that_stops_at_80_percent_has_reached_it():
    """The time is that of the charge's end, not of a rest after it, whichever way the sum was rounded."""
    for parts in (3, 7, 11, 13):
        seconds = np.linspace(0, 0.8 * 3600 * NOMINAL_AH, parts)
        time_s = np.r_[seconds, seconds[-1], seconds[-1] + 3600]
        columns = {
            "test_time_second": time_s,
            "voltage_volt": np.full(parts + 2, 3.3),
            "current_ampere": np.r_[np.ones(parts), 0, 0],
        }
        assert summed(columns)["charge_time_to_80_soc_min"].to_list() == pytest.approx([0.8 * 60 * NOMINAL_AH])


def test_a_voltage_limit_shows_where_charges_differ():
    """Fading cells that stop at one voltage; one that stopped early is named; a test cut off in mid-discharge is unfinished."""
    columns = cycling([1, 2, 3, 4, 5], points=200)
    assert summed(columns)["end_reason"].to_list() == ["voltage_limit"] * 5
    third = np.flatnonzero((columns["cycle_count"] == 3) & (columns["current_ampere"] < -1))
    short = {n: np.delete(v, third[100:]) for n, v in columns.items()}
    assert summed(short)["end_reason"].to_list() == [
        "voltage_limit",
        "voltage_limit",
        "cut_short",
        "voltage_limit",
        "voltage_limit",
    ]
    cut = {n: v[: np.flatnonzero(columns["current_ampere"] < -1)[-50]] for n, v in columns.items()}
    assert summed(cut, complete=False)["end_reason"][-1] == "unfinished"


def test_rows_that_cannot_tell_say_nothing():
    """Without ageing, voltage and charge both repeat: which of them was the limit is not known."""
    assert summed(cycling([1, 2, 3, 4], fade=0.0, points=300))["end_reason"].to_list() == [None] * 4


def test_a_hold_is_told_by_its_tapering_current():
    """And discharges of one charge that end at different voltages are ended by charge or time."""
    columns = cycling([1])
    end = np.flatnonzero(columns["current_ampere"] < -1)[-10:]
    columns["voltage_volt"][end] = columns["voltage_volt"][end[0]]
    columns["current_ampere"][end] = np.linspace(-2, -0.1, 10)
    assert summed(columns)["end_reason"].to_list() == ["voltage_hold"]
    timed = cycling([1, 2, 3, 4], fade=0.0, points=5000)
    timed["voltage_volt"] = timed["voltage_volt"] - 0.1 * timed["cycle_count"]
    assert summed(timed)["end_reason"].to_list() == ["charge_or_time"] * 4


@settings(max_examples=30)
@given(cycle_lists, st.integers(0, 99), st.booleans())
def test_fast_capacities_are_those_of_the_summary(numbers, seed, broken):
    """Bit for bit, in the same order, with rows that are no numbers."""
    columns = cycling(numbers, seed)
    if broken:
        columns["current_ampere"][np.random.default_rng(seed).integers(0, len(columns["cycle_count"]), 5)] = np.nan
    found = cycle_capacities(columns["test_time_second"], columns["current_ampere"], columns["cycle_count"])
    table = summed(columns)
    assert found.cycles.tolist() == table["cycle_count"].to_list()
    assert found.charge_Ah.tolist() == table["charge_capacity_Ah"].to_list()
    assert found.discharge_Ah.tolist() == table["discharge_capacity_Ah"].to_list()


def test_a_cycle_of_many_rows_and_an_empty_one():
    """Cycles longer than what is worked on at a time, beside short ones; no rows give no capacities."""
    time_s = np.arange(200_000.0)
    found = cycle_capacities(time_s, np.full(200_000, 3.6), np.where(time_s < 150_000, 1, 2 + time_s // 100))
    assert found.charge_Ah[0] == pytest.approx(149.999)
    assert len(found.cycles) == 501
    assert found.charge_Ah[1:] == pytest.approx(0.099)
    assert [len(each) for each in cycle_capacities([], [], [])] == [0, 0, 0]
    with pytest.raises(SpecError, match="within cycle 2"):
        cycle_capacities([0, 1, 5, 4], [1, 1, 1, 1], [1, 1, 2, 2])
    with pytest.raises(SpecError, match="current_A: must be a vector of 2"):
        cycle_capacities([0, 1], [1.0], [1, 1])


@pytest.mark.parametrize("scale", [2e-3, 1.0, 100.0])
def test_resistance_needs_no_nominal_capacity(scale):
    """Without one it is that of a cell whose capacity is known, for cells of any size; charge times stay unknown."""
    columns = cycling([1, 2, 3])
    columns["current_ampere"] = scale * columns["current_ampere"]
    known = cycle_summary(Recording(columns, nominal_capacity_Ah=scale * NOMINAL_AH))
    found = cycle_summary(Recording(columns))
    assert found["resistance_ohm"].null_count() == 0
    assert found["resistance_ohm"].equals(known["resistance_ohm"])
    assert found["charge_time_to_80_soc_min"].null_count() == 3
    assert found.drop("charge_time_to_80_soc_min").equals(known.drop("charge_time_to_80_soc_min"))


@given(cycle_lists, st.integers(0, 99), st.lists(st.integers(0, 500), max_size=8))
def test_a_running_test_without_a_capacity_has_the_table_of_all_its_rows(numbers, seed, cuts):
    """Bit for bit as well where thresholds come from the currents."""
    columns = cycling(numbers, seed)
    running = CycleSummaries()
    for piece in pieces(columns, [min(cut, len(columns["cycle_count"])) for cut in cuts]):
        running.add(piece)
        running.table()
    assert running.table(complete=True).equals(cycle_summary(Recording(columns)))


def test_noise_at_rest_has_no_resistance():
    """A cycle whose largest current is below 1 % of the recording's is a rest, whatever its steps."""
    columns = cycling([1, 2])
    rest = columns["cycle_count"] == 2
    columns["current_ampere"] = np.where(rest, 1e-4, 1.0) * columns["current_ampere"]
    assert cycle_summary(Recording(columns))["resistance_ohm"].is_null().to_list() == [False, True]
