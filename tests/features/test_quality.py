"""Quality checks: every fault is found where it is, nothing is found where nothing is wrong, however the rows come."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.formats import open_cycler_file
from adapters.peers.injected_faults import FaultKind, InjectedFault
from adapters.peers.sensor_faults import as_recorded
from orchestrator.domain.errors import SpecError
from orchestrator.domain.quality import QualityFlag
from orchestrator.features.quality import check_batches, check_columns

NOMINAL_AH = 2.0


def cycled(cycles=8, interval_s=30.0, rate_C=1.0):
    """A sound recording: constant currents between two rests, with the cycler's own counters."""
    hour = int(3600 / rate_C / interval_s)
    current = np.concatenate(
        [np.full(hour, rate_C * NOMINAL_AH), np.zeros(20), np.full(hour, -rate_C * NOMINAL_AH), np.zeros(20)]
    )
    current = np.tile(current, cycles)
    per_cycle = len(current) // cycles
    time = np.arange(len(current)) * interval_s
    moved = np.concatenate([[0.0], (current[1:] + current[:-1]) / 2 * np.diff(time) / 3600])
    charge = np.cumsum(moved) / NOMINAL_AH
    step = np.cumsum(np.concatenate([[1], (np.diff(current) != 0).astype(int)]))
    return {
        "test_time_second": time,
        "voltage_volt": 3.2 + 0.5 * charge + 0.02 * current + 1e-5 * np.sin(np.arange(len(time))),
        "current_ampere": current,
        "cycle_count": np.arange(len(current)) // per_cycle + 1,
        "step_count": step,
        "surface_temperature_celsius": 25 + 0.1 * np.abs(current) + 0.01 * np.cos(np.arange(len(time))),
        "charging_capacity_ah": np.cumsum(np.maximum(moved, 0)),
        "discharging_capacity_ah": np.cumsum(np.maximum(-moved, 0)),
    }


def changed(columns, **replaced):
    return {**columns, **replaced}


def rows_of(columns, kept):
    return {name: values[kept] for name, values in columns.items()}


def only(columns, check, nominal=NOMINAL_AH):
    """The one finding that is expected, with flags."""
    flags, report = check_columns(columns, nominal)
    assert [finding.check for finding in report.findings] == [check]
    return flags, report.findings[0]


def test_a_sound_recording_gives_no_alarm():
    """Nothing is found, with a known capacity or without, and every flag is 0."""
    for nominal in (NOMINAL_AH, None):
        flags, report = check_columns(cycled(), nominal)
        assert report.clean
        assert not flags.any()
        assert (report.rows, report.cycles) == (len(flags), 8)
    assert report.charged_Ah == pytest.approx(report.vendor_charged_Ah, rel=1e-9)


SAMPLES = {  # rows, cycles numbered, Ah charged and discharged by integration and by the vendor's counters, findings
    "arbin.csv": (13, 1, 0.000634945, 0.0, 0.000400839, 2.04379e-05, []),
    "biologic_GCPL-0.mpr": (4, 0, 0.0, 0.0, 0.0, 0.0, []),
    "biologic_PEIS-0.mpr": (60, 1, 0.0, 0.0, None, None, []),
    # no thermocouple was connected: the column is 0 degC throughout
    "landt.bdf.csv": (25162, 0, 0.00356336, 0.00862873, 0.0032, 0.0076, ["temperature_absent"]),
    "maccor.csv": (15, 1, 0.0242454, 0.0, 0.024, 0.0, []),
    "neware_nw4-120-1-6-53.ndax": (18700, 150, 0.00715172, 0.00376088, 0.00712418, 0.00376095, []),
    "novonix.csv": (207, 1, 1.70648, 0.0, 1.70653, 0.0, []),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_real_files_give_the_findings_that_they_deserve(public_data, name):
    """Real recordings are sound but for a temperature that nobody measured; sums agree with what the vendor counted."""
    rows, cycles, charged, discharged, counted_in, counted_out, findings = SAMPLES[name]
    flags, report = check_batches(open_cycler_file(public_data / "raw" / name).batches())
    assert [finding.check for finding in report.findings] == findings
    assert (report.rows, report.cycles, int(flags.any())) == (rows, cycles, 0)
    assert report.charged_Ah == pytest.approx(charged, rel=1e-5)
    assert report.discharged_Ah == pytest.approx(discharged, rel=1e-5)
    assert report.vendor_charged_Ah == (None if counted_in is None else pytest.approx(counted_in, rel=1e-5))
    assert report.vendor_discharged_Ah == (None if counted_out is None else pytest.approx(counted_out, rel=1e-5))


def test_the_neware_sample_s_step_time_falls_back_and_its_test_time_does_not(public_data):
    """479 falls at 479 borders of steps, 340 of them by more than a second, none within a step: no row is out of order."""
    columns = next(open_cycler_file(public_data / "raw" / "neware_nw4-120-1-6-53.ndax").batches())
    _, report = check_columns(columns)
    assert report.step_time == {"falls": 479, "falls_over_1_s": 340, "within_a_step": 0}
    assert (np.diff(columns["step_time_second"]) < -1).sum() == 340
    as_test_time = changed(columns, test_time_second=columns["step_time_second"])
    flags, report = check_columns(as_test_time)
    assert report.found("time_backwards").count == (np.diff(columns["step_time_second"]) < 0).sum() == 479
    before = np.maximum.accumulate(np.concatenate([[-np.inf], columns["step_time_second"][:-1]]))
    assert np.array_equal(flags & 1 > 0, columns["step_time_second"] < before)


def test_time_running_backwards_is_counted_by_steps_and_flagged_by_rows():
    """Two steps back; every row before a time already seen is flagged."""
    columns = cycled()
    time = columns["test_time_second"].copy()
    time[100:] -= 95.0
    time[500] -= 200.0
    flags, finding = only(changed(columns, test_time_second=time), "time_backwards")
    assert finding.count == (np.diff(time) < 0).sum() == 2
    assert np.flatnonzero(flags).tolist() == [100, 101, 102, 500]
    assert finding.rows == 4
    assert (finding.first[0].row, finding.first[0].cycle) == (101, 1)


def test_rows_that_repeat_are_found():
    """A repeated row is one whose every value is that of the row before."""
    columns = rows_of(cycled(), np.r_[0:50, 49, 50:300, 299, 299, 300:2000])
    flags, finding = only(columns, "duplicates")
    assert np.flatnonzero(flags & QualityFlag.DUPLICATE).tolist() == [50, 301, 302]
    assert finding.rows == 3


def test_lost_rows_are_found():
    """A stretch lost from a step, and a jump in the file's own numbering."""
    columns = cycled()
    kept = np.r_[0:40, 60 : len(columns["test_time_second"])]
    flags, finding = only(rows_of(columns, kept), "gaps")
    assert (np.flatnonzero(flags).tolist(), finding.first[0].row) == ([40], 41)
    numbered = changed(columns, record_index=np.arange(len(columns["test_time_second"])) + 1)
    flags, _ = only(rows_of(numbered, np.r_[0:130, 131 : len(columns["test_time_second"])]), "gaps")
    assert np.flatnonzero(flags).tolist() == [130]


def test_a_sensor_that_drops_half_the_rows_is_noticed():
    """Half the rows lost at random, in the whole test or its second half: gaps there, and none in the sound half."""
    columns = cycled(cycles=12, interval_s=120.0)
    for start_h in (0.0, columns["test_time_second"][-1] / 7200):
        fault = InjectedFault(FaultKind.SENSOR_DROPOUT, at_h=start_h, size=0.5)
        left = as_recorded([columns], [fault], 0.0, [1])[0]
        flags, report = check_columns(left, NOMINAL_AH)
        after = left["test_time_second"] / 3600 >= start_h
        assert report.found("gaps").rows >= 10
        assert not flags[~after].any()
    assert report.found("sparse_cycles").count >= 4


@pytest.mark.parametrize(
    ("column", "value", "check", "flag"),
    [
        ("voltage_volt", 7.0, "impossible_voltage", QualityFlag.IMPOSSIBLE_VOLTAGE),
        ("voltage_volt", -np.inf, "impossible_voltage", QualityFlag.IMPOSSIBLE_VOLTAGE),
        ("surface_temperature_celsius", 1370.0, "impossible_temperature", QualityFlag.IMPOSSIBLE_TEMPERATURE),
        ("voltage_volt", np.nan, "missing_values", QualityFlag.MISSING_VALUE),
        ("current_ampere", np.nan, "missing_values", QualityFlag.MISSING_VALUE),
    ],
)
def test_impossible_and_missing_values_are_flagged_on_their_row(column, value, check, flag):
    """One bad reading, one flag, on that row alone."""
    columns = cycled()
    values = columns[column].copy()
    values[77] = value
    flags, report = check_columns(changed(columns, **{column: values}), NOMINAL_AH)
    assert np.flatnonzero(flags & flag).tolist() == [77]
    assert report.found(check).first[0].row == 78


def test_currents_and_capacities_are_judged_by_the_nominal_capacity():
    """250 A into a 2 Ah cell is impossible, and so is a charge of four times its capacity."""
    columns = cycled()
    current = columns["current_ampere"].copy()
    current[5] = 250.0
    flags, report = check_columns(changed(columns, current_ampere=current), NOMINAL_AH)
    assert np.flatnonzero(flags & QualityFlag.IMPOSSIBLE_CURRENT).tolist() == [5]
    flags, report = check_columns(cycled(), 0.5)
    assert report.found("impossible_capacity").rows > 0
    assert check_columns(cycled(), 2.0)[1].found("impossible_capacity") is None
    negative = changed(columns, charging_capacity_ah=columns["charging_capacity_ah"] - 1.0)
    assert check_columns(negative)[1].found("impossible_capacity").rows > 0


def test_units_mixed_up_are_told_from_the_cycler_s_own_counters():
    """MA taken for A, mAh for Ah, mV for V, kelvin for degC: each named, every row flagged."""
    columns = cycled()
    cases = {
        "current_unit": changed(columns, current_ampere=columns["current_ampere"] * 1000),
        "capacity_unit": changed(columns, current_ampere=columns["current_ampere"] / 1000),
        "voltage_unit": changed(columns, voltage_volt=columns["voltage_volt"] * 1000),
        "temperature_unit": changed(columns, surface_temperature_celsius=columns["surface_temperature_celsius"] + 273.15),
    }
    for check, wrong in cases.items():
        flags, report = check_columns(wrong)
        assert report.found(check) is not None, check
        assert (flags & QualityFlag.UNIT_SUSPECT).all()
    bare = {name: cases["current_unit"][name] for name in ("test_time_second", "voltage_volt", "current_ampere")}
    assert check_columns(bare, NOMINAL_AH)[1].found("current_unit") is not None
    assert check_columns(bare)[1].found("current_unit") is None


def test_a_turned_sign_is_told_from_counters_or_from_the_voltage():
    """Discharge counted positive is found with counters, without them, and is not confused with a current without a sign."""
    columns = cycled()
    turned = changed(columns, current_ampere=-columns["current_ampere"])
    flags, report = check_columns(turned)
    assert report.found("current_sign") is not None
    assert (flags & QualityFlag.CURRENT_SIGN).all()
    bare = {name: turned[name] for name in ("test_time_second", "voltage_volt", "current_ampere")}
    assert check_columns(bare)[1].found("current_sign") is not None
    unsigned = changed(columns, current_ampere=np.abs(columns["current_ampere"]))
    report = check_columns(unsigned)[1]
    assert report.found("current_unsigned") is not None
    assert report.found("current_sign") is None


def unsigned_without_counters(noise_V=0.0, ohm=0.0):
    """Five balanced cycles, 10 Ah in all, whose current has lost its sign; neither rests nor steps nor counters."""
    up = 3.0 + 0.001 * np.arange(361)
    flow = np.tile(np.repeat([1.0, -1.0], 361), 5)
    noise = noise_V * np.random.default_rng(0).standard_normal(len(flow))
    return {
        "test_time_second": np.arange(len(flow)) * 10.0,
        "voltage_volt": np.tile(np.concatenate([up, up[::-1]]), 5) + ohm * flow + noise,
        "current_ampere": np.abs(flow),
        "cycle_count": np.repeat(np.arange(1, 6), 722),
        "step_cumulative_capacity_ah": np.tile(np.arange(361) / 360, 10),
    }


@pytest.mark.parametrize(("noise_V", "ohm"), [(0.0, 0.0), (1e-3, 0.0), (3e-3, 0.05)])
def test_a_current_without_a_sign_is_told_from_the_voltage_alone(noise_V, ohm):
    """The voltage falls during half of the rows while the current is said to charge: no counter is needed, noise is no matter."""
    columns = unsigned_without_counters(noise_V, ohm)
    flags, finding = only(columns, "current_unsigned", nominal=None)
    assert "no sign" in finding.text
    assert (flags & QualityFlag.CURRENT_SIGN).all()
    bare = {name: columns[name] for name in ("test_time_second", "voltage_volt", "current_ampere")}
    assert check_columns(bare)[1].found("current_unsigned") is not None


def test_discharges_alone_under_a_positive_current_are_a_turned_sign():
    """Where the voltage only ever falls, nothing but the sign is wrong, and turning it mends the recording."""
    columns = unsigned_without_counters(1e-3)
    columns.pop("step_cumulative_capacity_ah")
    falls = rows_of(columns, columns["test_time_second"] % 7220 >= 3610)
    only(falls, "current_sign", nominal=None)
    assert check_columns(changed(falls, current_ampere=-falls["current_ampere"]))[1].clean


def test_charges_alone_are_not_taken_for_a_current_without_a_sign():
    """Discharges not recorded, noise on a flat plateau, a step down of the current with its relaxation: all of it is sound."""
    columns = unsigned_without_counters(1e-3)
    charges = rows_of(columns, columns["test_time_second"] % 7220 < 3610)
    plateau = changed(charges, voltage_volt=3.3 + 3e-3 * np.random.default_rng(1).standard_normal(len(charges["voltage_volt"])))
    fast = changed(charges, current_ampere=np.where(np.arange(1805) % 361 < 100, 6.0, 1.0))
    fast["voltage_volt"] = fast["voltage_volt"] + np.where(
        np.arange(1805) % 361 < 100, 0.2, 0.05 * np.exp(-(np.arange(1805) % 361 - 100) / 10)
    )
    for sound in (charges, plateau, fast):
        sound.pop("step_cumulative_capacity_ah")
        assert check_columns(sound)[1].found("current_unsigned") is None
        assert check_columns({n: v for n, v in sound.items() if n != "cycle_count"})[1].found("current_unsigned") is None


def test_a_temperature_that_is_no_number_throughout_is_said():
    """An open thermocouple that reads NaN: no row can be used, and no row is flagged; a single reading, and it is there."""
    columns = cycled()
    rows = len(columns["voltage_volt"])
    nothing = np.full(rows, np.nan)
    flags, finding = only(changed(columns, surface_temperature_celsius=nothing), "temperature_absent")
    assert (finding.count, flags.any()) == (rows, False)
    nothing[5] = 25.0
    assert check_columns(changed(columns, surface_temperature_celsius=nothing), NOMINAL_AH)[1].clean


def test_a_cycle_that_never_ends_is_found_and_pulses_are_not():
    """Eight cycles under one number are flagged from the seventh half on; a hundred pulses of a cycle are none."""
    columns = cycled()
    flags, finding = only(changed(columns, cycle_count=np.ones(len(columns["cycle_count"]), dtype=int)), "endless_cycles")
    assert finding.first[0].row > 3 * len(flags) / 8
    pulsed = cycled(cycles=100, interval_s=1.0, rate_C=60.0)
    assert (
        check_columns(changed(pulsed, cycle_count=np.ones(len(pulsed["cycle_count"]), dtype=int)))[1].found("endless_cycles")
        is None
    )


def test_cycles_that_were_not_recorded_are_no_gap():
    """A recording of some cycles alone says so by their numbers."""
    columns = cycled(cycles=12)
    flags, report = check_columns(rows_of(columns, np.isin(columns["cycle_count"], (1, 5, 12))), NOMINAL_AH)
    assert report.clean
    assert not flags.any()


def test_nonsense_is_refused():
    """A capacity that is none, columns that are missing or change."""
    with pytest.raises(SpecError, match="positive number"):
        check_columns(cycled(), -1.0)
    with pytest.raises(SpecError, match="voltage_volt"):
        check_columns({"test_time_second": np.arange(3.0), "current_ampere": np.arange(3.0)})
    with pytest.raises(SpecError, match="changed"):
        check_batches([cycled(), rows_of({k: v for k, v in cycled().items() if k != "step_count"}, slice(0, 5))])


@given(st.lists(st.integers(1, 3609), max_size=6))
@settings(max_examples=25)
def test_splitting_a_current_without_a_sign_changes_nothing(cuts):
    """What the voltage climbs and falls is the same in any pieces."""
    columns = unsigned_without_counters(2e-3)
    columns["current_ampere"][np.arange(0, 3610, 97)] = 0.0
    columns["voltage_volt"][np.arange(0, 3610, 301)] = np.nan
    edges = [0, *sorted(cuts), 3610]
    flags, report = check_columns(columns)
    again, split = check_batches([rows_of(columns, slice(a, b)) for a, b in pairwise(edges)])
    assert np.array_equal(flags, again)
    assert split.to_json() == report.to_json()
    assert report.found("current_unsigned") is not None


numbers = st.floats(width=64) | st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300, np.nan, np.inf, -np.inf])


@st.composite
def any_columns(draw):
    rows = draw(st.integers(0, 40))
    counters = ["charging_capacity_ah", "discharging_capacity_ah", "step_net_capacity_ah"]
    clocks = ["step_time_second", "unix_time_second", "frequency_hertz", "surface_temperature_celsius"]
    optional = ["cycle_count", "record_index", "step_count", *clocks, *counters]
    names = ["test_time_second", "voltage_volt", "current_ampere", *draw(st.lists(st.sampled_from(optional), unique=True))]
    whole = {"cycle_count", "record_index", "step_count"}
    column = {n: st.integers(-(2**62), 2**62) | st.integers(0, 3) if n in whole else numbers for n in names}
    kind = {n: np.int64 if n in whole else np.float64 for n in names}
    return {n: np.array(draw(st.lists(column[n], min_size=rows, max_size=rows)), dtype=kind[n]) for n in names}


@given(columns=any_columns(), cuts=st.lists(st.integers(0, 40), max_size=6), nominal=st.sampled_from([None, 1e-6, 1.1, 1e9]))
@settings(max_examples=150)
def test_any_numbers_are_checked_and_splitting_changes_nothing(columns, cuts, nominal):
    """No numbers make a check fail, and flags and report are those of all rows at once."""
    rows = len(columns["voltage_volt"])
    flags, report = check_columns(columns, nominal)
    assert (len(flags), report.rows) == (rows, rows)
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    pieces = [{n: v[a:b] for n, v in columns.items()} for a, b in pairwise(edges)]
    again, split = check_batches(pieces, nominal)
    assert np.array_equal(flags, again)
    assert split.to_json() == report.to_json()


@given(st.lists(st.integers(1, 2400), max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_splitting_a_faulty_recording_changes_nothing(cuts, seed):
    """The same with every kind of fault in a recording of some length."""
    rng = np.random.default_rng(seed)
    columns = cycled()
    length = len(columns["test_time_second"])
    columns = rows_of(columns, np.sort(rng.integers(0, length, length)))
    columns["voltage_volt"][rng.integers(0, length, 5)] = rng.choice([np.nan, 9.0])
    columns["test_time_second"] = columns["test_time_second"] - np.where(np.arange(length) > length // 2, 500.0, 0.0)
    flags, report = check_columns(columns, NOMINAL_AH)
    edges = [0, *sorted(min(c, length) for c in cuts), length]
    pieces = [rows_of(columns, slice(a, b)) for a, b in pairwise(edges)]
    again, split = check_batches(pieces, NOMINAL_AH)
    assert np.array_equal(flags, again)
    assert split.to_json() == report.to_json()
