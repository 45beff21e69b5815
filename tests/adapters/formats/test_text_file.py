"""Text exports: dialects, units, encodings, signs and dates understood; what is wrong is named by file, line and column."""

import gzip

import numpy as np
import pytest

from adapters.formats import open_cycler_file
from orchestrator.domain.errors import FormatError, SpecError

BDF = "test_time_second,voltage_volt,current_ampere\n"
ROWS = "0,3.5,0\n1,3.6,0.1\n2,3.7,-0.1\n"


def columns_of(file) -> list[tuple[str, str]]:
    return [(one.vendor, one.bdf) for one in file.mapping]


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("Test Time / s,Voltage / V,Current / A", "1.5,3.5,0.1", (1.5, 3.5, 0.1)),
        ("Test Time / h,Voltage / mV,Current / mA", "0.5,3412.7,-12.3", (1800.0, 3.4127, -0.0123)),
        ("test_time_millisecond,voltage_volt,current_ampere", "1500,3.5,0.1", (1.5, 3.5, 0.1)),
        ("Current / A,Note,Test Time / s,Voltage / V", "0.1,hello,1.5,3.5", (1.5, 3.5, 0.1)),
    ],
)
def test_battery_data_format_in_every_spelling(header, row, expected, written, read):
    """Names, labels and labels with other units, in any order, with columns between that are no numbers."""
    path = written(f"{header}\n{row}\n")
    assert open_cycler_file(path).format == "bdf_csv"
    columns = read(path)
    assert tuple(columns[name][0] for name in ("test_time_second", "voltage_volt", "current_ampere")) == expected


def test_landt_exports(written, read):
    """Landt's snake-case table with its dates, and its older one in Maccor's words with states."""
    new = "channel_index,cycle_index,step_index,date_time_iso_string,test_time_s,step_time_s,current_a,voltage_v,"
    new += "charge_capacity_Ah\n"
    path = written(new + "1,0,1,2024-04-30T12:00:00,10,10,-0.001,2.9,0.5,\n1,0,2,2024-04-30T12:00:10.500,20,20,0.001,2.8,0.5,\n")
    file = open_cycler_file(path)
    assert file.format == "landt"
    assert file.unmapped == ("channel_index",)
    assert "cycles are counted from 0 in the file, and kept so." in file.notes
    columns = read(path)
    assert columns["unix_time_second"].tolist() == [1714478400.0, 1714478410.5]
    assert columns["cycle_count"].tolist() == [0, 0]
    assert columns["step_id"].tolist() == [1, 2]
    old = "Rec#\tCyc#\tStep\tTest(Sec)\tAmp-hr\tAmps\tVolts\tState\tDPT-Time\n"
    path = written(
        old + "1\t0\t1\t0.0\t0\t0.5\t3.6\tD\t2024-04-30 12:00:00\n2\t0\t1\t1.0\t0.1\t0.5\t3.6\tC\t2024-04-30 12:00:01\n"
    )
    assert open_cycler_file(path).format == "landt"
    assert read(path)["current_ampere"].tolist() == [-0.5, 0.5]


def test_maccor_states_give_the_current_its_sign(written, read):
    """Maccor writes current without sign and a state beside it; times may be clock times with days."""
    header = "Today's Date\t04/30/2024\nRec#\tCyc#\tStep\tTestTime\tStepTime\tAmp-hr\tWatt-hr\tAmps\tVolts\tState\tES\tDPt Time\n"
    rows = (
        "1\t0\t1\t  0d 00:00:00.00\t  0d 00:00:00.00\t0\t0\t0\t3.6\tR\t0\t04/30/2024 3:56:08 PM\n"
        "2\t0\t2\t  0d 00:00:10.06\t  0d 00:00:10.06\t0.1\t0.4\t2.5\t3.5\tD\t1\t04/30/2024 3:56:18 PM\n"
        "3\t0\t3\t  1d 02:00:10.50\t  0d 00:00:00.00\t0.1\t0.4\t2.5\t3.7\tC\t1\t05/01/2024 5:56:18 PM\n"
    )
    path = written(header + rows, "export.023")
    file = open_cycler_file(path)
    assert file.format == "maccor"
    assert any("made negative where 'State' says D" in note for note in file.notes)
    columns = read(path)
    assert columns["current_ampere"].tolist() == [0.0, -2.5, 2.5]
    assert columns["test_time_second"].tolist() == [0.0, 10.06, 93610.5]
    assert columns["step_cumulative_capacity_ah"].tolist() == [0.0, 0.1, 0.1]
    assert columns["unix_time_second"][0] == 1714492568.0


def test_arbin_with_underscores(written, read):
    """Arbin's older headers, with the unit against the name and no month above twelve: dates are said to be taken month first."""
    header = "Data_Point,Test_Time(s),Date_Time,Step_Time(s),Step_Index,Cycle_Index,Current(A),Voltage(V),Charge_Capacity(Ah)\n"
    path = written(header + "1,10.5,04/05/2024 10:00:00,10.5,1,1,-1.5,3.3,0.001\n")
    file = open_cycler_file(path)
    assert file.format == "arbin"
    assert any("month/day/year" in note for note in file.notes)
    columns = read(path)
    assert columns["current_ampere"].tolist() == [-1.5]
    assert columns["unix_time_second"].tolist() == [1712311200.0]


def test_a_plain_csv_with_units_is_read(written, read):
    """Other spellings with units are unambiguous: nothing but the sign is assumed."""
    path = written("Time [min];Cell Voltage (mV);Current (mA);Cycle Index;Temperature (K)\n1,5;3412,7;-12,3;2;298,15\n")
    file = open_cycler_file(path)
    assert file.format == "csv"
    assert "numbers have a decimal comma." in file.notes
    columns = read(path)
    assert [columns[name][0] for name in file.columns] == [90.0, 3.4127, -0.0123, 2, 25.0]


def test_a_user_says_what_columns_mean(written, read):
    """`columns` gives names, units and signs to what would be refused, and leaves out what is not wanted."""
    path = written("t,U,I,x\n1,3412.7,12.3,7\n")
    with pytest.raises(FormatError, match=r"test\.csv.*no format known here: 't', 'U', 'I', 'x'"):
        open_cycler_file(path)
    stated = {"t": "test_time_second [min]", "U": "voltage_volt [mV]", "I": "-current_ampere [mA]", "x": "ignore"}
    file = open_cycler_file(path, columns=stated)
    assert columns_of(file) == [("t", "test_time_second"), ("U", "voltage_volt"), ("I", "current_ampere")]
    assert file.unmapped == ("x",)
    assert {name: column[0] for name, column in read(path, columns=stated).items()} == {
        "test_time_second": 60.0,
        "voltage_volt": 3.4127,
        "current_ampere": -0.0123,
    }


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"t": "time"}, "'time' is not a Battery Data Format name"),
        ({"t": "test_time_second [furlong]"}, "'furlong' is no unit of `test_time_second`"),
        ({"t": "test_time_second", "U": "test_time_second"}, "two columns are said to be `test_time_second`"),
        ({"t": "a b c"}, "is not understood"),
    ],
)
def test_statements_that_mean_nothing_are_refused(columns, said, written):
    """Before the file is looked at."""
    with pytest.raises(SpecError, match="columns") as error:
        open_cycler_file(written("t,U,I\n1,2,3\n"), columns=columns)
    assert said in str(error.value)


def test_statements_about_headers_that_are_not_there_are_refused(written):
    """With the header that is not there, and those that are."""
    with pytest.raises(FormatError, match=r"missing: 'V'.*'t', 'U', 'I'"):
        open_cycler_file(written("t,U,I\n1,2,3\n"), columns={"V": "voltage_volt"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_every_usual_encoding_is_read(encoding, written, read):
    """With and without byte order marks, and with letters that not all of them share."""
    path = written("Test Time (s),Voltage (V),Current (A),Temperature (°C)\r\n1,3.5,0.1,25.5\r\n", encoding=encoding)
    columns = read(path)
    assert [column[0] for column in columns.values()] == [1.0, 3.5, 0.1, 25.5]
    assert not any("°" in name for name in open_cycler_file(path).unmapped)


def test_gzip_and_line_ends(written, read, tmp_path):
    """Compressed text is read as what it is, whatever its name; old and new line ends too."""
    for text in (
        BDF + ROWS,
        (BDF + ROWS).replace("\n", "\r\n"),
        (BDF + ROWS).replace("\n", "\r"),
        BDF + "\n" + ROWS.replace("\n", "\n\n"),
    ):
        path = tmp_path / "data.csv"
        path.write_bytes(gzip.compress(text.encode()))
        np.testing.assert_array_equal(read(path)["voltage_volt"], [3.5, 3.6, 3.7])


def test_dates_in_a_time_zone(written, read):
    """Dates without a zone are taken for the one that is named; dates with one for what they say."""
    path = written("Test Time / s,Voltage / V,Current / A,Note\n1,2,3,x\n")
    assert "unix_time_second" not in read(path)
    header = "Test Time (s),Voltage (V),Current (A),Date Time\n"
    path = written(header + "0,3.5,0,2024-07-01 12:00:00\n")
    assert read(path)["unix_time_second"][0] == 1719835200.0
    assert read(path, time_zone="Europe/Berlin")["unix_time_second"][0] == 1719828000.0
    assert any("Europe/Berlin was taken" in note for note in open_cycler_file(path, time_zone="Europe/Berlin").notes)
    path = written(header + "0,3.5,0,2024-07-01T12:00:00+02:00\n")
    assert read(path)["unix_time_second"][0] == 1719828000.0
    with pytest.raises(SpecError, match="'Mars/Olympus' is not a time zone"):
        open_cycler_file(path, time_zone="Mars/Olympus")


def test_missing_numbers_are_nan(written, read):
    """Empty cells, `nan` and `NA` are NaN; nothing else is."""
    columns = read(written(BDF + "0,,nan\n1,NA,inf\n"))
    assert np.isnan(columns["voltage_volt"]).all()
    assert np.isnan(columns["current_ampere"][0])
    assert np.isinf(columns["current_ampere"][1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BDF, "has a header and no rows"),
        (BDF + "\n\n", "has a header and no rows"),
        (BDF + "0,3.5,0\n1,abc,0\n2,3.5,0\n", "line 3, column 'voltage_volt' has 'abc' where a number belongs"),
        (BDF + "\n0,3.5,0\n\n1,3.5,x\n", "line 5, column 'current_ampere' has 'x' where a number belongs"),
        (BDF + "0,3.5,0\n1,3.5\n2,3.5,0\n", "line 3 has 2 cells where the header has 3"),
        (BDF + "0,3.5,0\n1,3", "line 3 has 2 cells where the header has 3. It is the last line: the file seems to be cut off"),
        (BDF + "0,3.5,0\n1,3.5,0,7\n", "line 3 has 4 cells"),
        (BDF[:-1] + ",cycle_count\n0,3.5,0,1\n1,3.5,0,1.5\n", "line 3, column 'cycle_count' has 1.5"),
        (BDF[:-1] + ",cycle_count\n0,3.5,0,1\n1,3.5,0,\n", "line 3, column 'cycle_count' is empty"),
        ("voltage_volt,voltage_volt,test_time_second,current_ampere\n1,2,3,4\n", "two columns are called 'voltage_volt'"),
        ("Test Time (s),Voltage (V),Cycle Index\n1,2,3\n", "no format known here"),
        (
            "Test Time (s),Voltage (furlong),Current (A)\n1,2,3\n",
            "'Voltage (furlong)' has the unit 'furlong', which is not known",
        ),
        ("Test_Time,Voltage,Current\n1,3412,3\n", "3412 is no cell's voltage in V"),
        ("hello world\n", "no line of it is the header of a table"),
        (
            "Test Time (s),Voltage (V),Current (A),Date Time\n0,1,2,2024-01-01 00:00:00\n1,1,2,yesterday\n",
            "line 3, column 'Date Time' has 'yesterday'",
        ),
    ],
)
def test_faults_are_named(text, said, written, read):
    """Each by file, line and column, in one message; nothing is read past it."""
    path = written(text)
    with pytest.raises(FormatError, match=r"test\.csv") as error:
        read(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_date_that_turns_wrong_far_down_is_named(written, read):
    """Beyond the rows that the plan looked at."""
    rows = "".join(f"{n},3.5,0,2024-01-01 00:00:{n % 60:02d}\n" for n in range(300))
    path = written("Test Time (s),Voltage (V),Current (A),Date Time\n" + rows + "300,3.5,0,yesterday\n")
    with pytest.raises(FormatError, match="line 302, column 'Date Time' has 'yesterday'"):
        read(path)


def test_a_column_that_is_no_date_at_all_is_left_out(written, read):
    """With a note: the rest of the file is as good as before."""
    path = written("Test Time (s),Voltage (V),Current (A),Date Time\n0,1,2,Monday\n")
    assert any("'Monday' is no date" in note for note in open_cycler_file(path).notes)
    assert open_cycler_file(path).unmapped == ("Date Time",)


def test_rows_before_a_fault_are_sound(written):
    """What was given before the fault can be kept: batches are not taken back."""
    path = written(BDF + "".join(f"{n},3.5,0\n" for n in range(400_000)) + "x,y,z\n")
    batches = open_cycler_file(path).batches(1000)
    found = [len(next(batches)["voltage_volt"]) for _ in range(100)]
    assert set(found) == {1000}
    with pytest.raises(FormatError, match="line 400002"):
        list(batches)


def test_capitals_are_never_mega(written, read):
    """`MV` in a header all in capitals is milli, noted; in another it is refused with the way on."""
    path = written("TIME(S),VOLTAGE(MV),CURRENT(MA)\n0,3650,1000\n")
    assert [column[0] for column in read(path).values()] == [0.0, 3.65, 1.0]
    assert any("'VOLTAGE(MV)' was read in mV" in note for note in open_cycler_file(path).notes)
    path = written("Time (s),Voltage (MV),Current (A)\n0,3650,1\n")
    with pytest.raises(FormatError, match=r"'Voltage \(MV\)'.*mega or milli.*voltage_volt \[mV\]"):
        open_cycler_file(path)
    assert read(path, columns={"Voltage (MV)": "voltage_volt [mV]"})["voltage_volt"].tolist() == [3.65]
